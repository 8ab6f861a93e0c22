//! What the stage remembers, and how far it has read: one atomic batch for both.
//!
//! | keyspace    | key                                               | value                         |
//! |-------------|---------------------------------------------------|-------------------------------|
//! | `records`   | hash of the feed (4), partition (2), fact id (16) | [`Known`], about 110 bytes    |
//! | `waiting`   | as in `records`                                   | [`Waiting`], 32 bytes         |
//! | `questions` | hash of the question (16)                         | [`Question`] as JSON          |
//! | `seen`      | feed and partition (6), dump (8), list (4)        | fact ids (16 each), ascending |
//! | `shards`    | `<department>/<feed>` 0x1f partition              | [`ShardRecord`] as JSON       |
//! | `about`     | `std_partitions`                                  | the number, decimal           |
//! | `about`     | `revised` 0x1f and the shard's key                | the gazetteer by which its records were asked again |
//! | `about`     | `note` 0x1f and a name                            | a word of whoever keeps the state |

mod key;
mod known;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use yibiao_records::{FactId, FeedId, NextOffset};
use yibiao_state::{Batch, Bytes, Keyspace, Options, Store};

use crate::{
    Error,
    accounting::Counts,
    diff::Known,
    dump::{Dump, Whole},
    resolve::Question,
};
pub use key::{ByRecord, RecordKey, ShardPrefix};
use known::{decode, encode};

const RECORDS: Keyspace = 0;
const SHARDS: Keyspace = 1;
const ABOUT: Keyspace = 2;
const SEEN: Keyspace = 3;
const WAITING: Keyspace = 4;
const QUESTIONS: Keyspace = 5;
const STD_PARTITIONS: &[u8] = b"std_partitions";

/// One raw partition of one feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId {
    pub feed: FeedId,
    pub partition: i32,
}

impl ShardId {
    fn key(&self) -> Vec<u8> {
        format!("{}\u{1f}{:05}", self.feed, self.partition).into_bytes()
    }
}

/// How far a shard has come, and under which versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    pub next: NextOffset,
    pub counts: Counts,
    /// None before the first batch.
    pub contract_version: Option<String>,
    /// None for feeds that do not resolve addresses.
    pub gazetteer_version: Option<String>,
    /// The first raw offset that is resolved by it: a gazetteer that comes back is another change.
    #[serde(default)]
    pub gazetteer_since: NextOffset,
    /// The highest epoch that has announced a gazetteer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub announced: u64,
    /// Of everything in the contract by which records are read, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// The shard was stopped in order: nothing was sent beyond `next`.
    #[serde(default)]
    pub at_rest: bool,
    /// Of a feed of full dumps, after the first record of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<Dump>,
    /// What was refused before its end is not to come true by a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_dump: Option<Whole>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ShardRecord {
    /// The change of gazetteer after which what is known is to be asked again.
    pub fn revision(&self) -> Option<String> {
        self.gazetteer_version.as_ref().map(|version| format!("{version}@{}", self.gazetteer_since))
    }
}

/// A record that was refused because of its address: another gazetteer may have an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The hash of what it asks.
    pub asked: u128,
    /// Event time, ms.
    pub valid_from_ms: i64,
    /// The raw offset at which it came.
    pub origin: i64,
}

impl Waiting {
    fn to_bytes(self) -> Vec<u8> {
        [&self.asked.to_le_bytes()[..], &self.valid_from_ms.to_le_bytes(), &self.origin.to_le_bytes()]
            .concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (asked, rest) = bytes.split_first_chunk()?;
        let (valid_from_ms, rest) = rest.split_first_chunk()?;
        Some(Self {
            asked: u128::from_le_bytes(*asked),
            valid_from_ms: i64::from_le_bytes(*valid_from_ms),
            origin: i64::from_le_bytes(rest.try_into().ok()?),
        })
    }
}

/// The stage's store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State(Store);

impl State {
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        Ok(Self(Store::open(path, &["records", "shards", "about", "seen", "waiting", "questions"], options)?))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A copy of the whole state in the folder `to`, which [`State::open`] opens, and how far it is in each raw partition.
    /// Commits wait for some links only.
    pub fn copy(&self, to: &Path) -> Result<BTreeMap<ShardId, NextOffset>, Error> {
        let snapshot = self.0.checkpoint(to)?;
        let shards = self.shards_in(snapshot.prefix(SHARDS, b""))?;
        Ok(shards.into_iter().map(|(id, record)| (id, record.next)).collect())
    }

    /// A word that is kept with the state; empty where it is not there.
    pub fn note(&self, name: &str) -> Result<String, Error> {
        let bytes = self.0.get(ABOUT, note_key(name))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default())
    }

    /// Durably.
    pub fn put_note(&self, name: &str, text: &str) -> Result<(), Error> {
        let mut batch = self.0.batch();
        batch.put(ABOUT, note_key(name), text.as_bytes());
        batch.commit()?;
        self.persist()
    }

    /// For simulations, which use one store for many runs.
    #[doc(hidden)]
    pub fn store(&self) -> &Store {
        &self.0
    }

    pub fn shard(&self, id: &ShardId) -> Result<ShardRecord, Error> {
        match self.0.get(SHARDS, id.key())? {
            Some(bytes) => self.decode_shard(&bytes, &id.feed),
            None => Ok(ShardRecord::default()),
        }
    }

    /// Every shard that was ever committed.
    pub fn shards(&self) -> Result<BTreeMap<ShardId, ShardRecord>, Error> {
        self.shards_in(self.0.prefix(SHARDS, b""))
    }

    fn shards_in(
        &self,
        pairs: impl Iterator<Item = Result<(Bytes, Bytes), yibiao_state::Error>>,
    ) -> Result<BTreeMap<ShardId, ShardRecord>, Error> {
        let mut shards = BTreeMap::new();
        for pair in pairs {
            let (key, value) = pair?;
            let id = std::str::from_utf8(&key)
                .ok()
                .and_then(|key| key.split_once('\u{1f}'))
                .and_then(|(feed, partition)| {
                    Some(ShardId { feed: feed.parse().ok()?, partition: partition.parse().ok()? })
                })
                .ok_or_else(|| self.damaged("a shard", "its key is no feed and partition"))?;
            let record = self.decode_shard(&value, &id.feed)?;
            shards.insert(id, record);
        }
        Ok(shards)
    }

    /// Notes the number of std partitions at the first start, and refuses another one later.
    pub fn check_std_partitions(&self, topic: &str, found: u32) -> Result<(), Error> {
        if let Some(bytes) = self.0.get(ABOUT, STD_PARTITIONS)? {
            let expected = std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| self.damaged("std_partitions", "it is no number"))?;
            if expected == found {
                return Ok(());
            }
            let state = self.path().to_path_buf();
            return Err(Error::Partitions { topic: topic.to_owned(), found, expected, state });
        }
        let mut batch = self.0.batch();
        batch.put(ABOUT, STD_PARTITIONS, found.to_string().into_bytes());
        Ok(batch.commit()?)
    }

    /// What is known of these records; sorted, so that neighbours are read together. Nearly all have facts of this kind.
    pub fn known(
        &self,
        keys: &mut Vec<RecordKey>,
        kind: &Arc<str>,
        into: &mut ByRecord<Known>,
    ) -> Result<(), Error> {
        keys.sort_unstable();
        keys.dedup();
        for key in keys.iter() {
            if let Some(bytes) = self.0.get(RECORDS, key.bytes())? {
                let known = decode(&bytes, Some(kind))
                    .ok_or_else(|| self.damaged("a record", "it is of another form"))?;
                into.insert(*key, known);
            }
        }
        Ok(())
    }

    /// The records of one shard in the order of their fact ids, from this one on.
    pub fn records(
        &self,
        shard: ShardPrefix,
        from: FactId,
    ) -> impl Iterator<Item = Result<(RecordKey, Known), Error>> + '_ {
        self.of_shard(RECORDS, shard, from, |bytes| decode(bytes, None))
    }

    /// The records of one shard that wait for another gazetteer, in the order of their fact ids.
    pub fn waiting(
        &self,
        shard: ShardPrefix,
        from: FactId,
    ) -> impl Iterator<Item = Result<(RecordKey, Waiting), Error>> + '_ {
        self.of_shard(WAITING, shard, from, Waiting::from_bytes)
    }

    pub fn waiting_at(&self, key: RecordKey) -> Result<Option<Waiting>, Error> {
        let Some(bytes) = self.0.get(WAITING, key.bytes())? else { return Ok(None) };
        let waiting = Waiting::from_bytes(&bytes);
        Ok(Some(waiting.ok_or_else(|| self.damaged("a record that waits", "it is of another form"))?))
    }

    fn of_shard<T: 'static>(
        &self,
        keyspace: Keyspace,
        shard: ShardPrefix,
        from: FactId,
        read: impl Fn(&[u8]) -> Option<T> + 'static,
    ) -> impl Iterator<Item = Result<(RecordKey, T), Error>> + '_ {
        let pairs = self.0.from(keyspace, *RecordKey::new(shard, from).bytes());
        let of_shard = pairs
            .take_while(move |pair| pair.as_ref().map_or(true, |(key, _)| key.starts_with(shard.bytes())));
        of_shard.map(move |pair| {
            let (key, value) = pair?;
            let found = RecordKey::of(&key).zip(read(&value));
            found.ok_or_else(|| self.damaged("a record", "it is of another form"))
        })
    }

    /// What was asked, by its hash.
    pub fn question(&self, asked: u128) -> Result<Option<Question<'static>>, Error> {
        let Some(bytes) = self.0.get(QUESTIONS, asked.to_be_bytes())? else { return Ok(None) };
        let question = Question::from_bytes(&bytes);
        Ok(Some(question.ok_or_else(|| self.damaged("a question", "it is of another form"))?))
    }

    /// The [revision](ShardRecord::revision) after which this shard's records were last asked again.
    pub fn revised(&self, id: &ShardId) -> Result<Option<String>, Error> {
        let bytes = self.0.get(ABOUT, revised_key(id))?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()))
    }

    /// The fact ids in one list of records that a dump had.
    pub fn seen(&self, shard: ShardPrefix, dump: u64, list: u32) -> Result<Bytes, Error> {
        let bytes = self.0.get(SEEN, seen_key(shard, dump, list))?;
        bytes.ok_or_else(|| self.damaged("a dump", "a list of its records is missing"))
    }

    /// How many lists of dumps there are. For tests.
    #[doc(hidden)]
    pub fn seen_lists(&self) -> Result<usize, Error> {
        self.0.prefix(SEEN, b"").try_fold(0, |lists, pair| pair.map(|_| lists + 1).map_err(Error::from))
    }

    pub fn begin(&self) -> Commit {
        Commit(self.0.batch())
    }

    /// For an orderly end.
    pub fn persist(&self) -> Result<(), Error> {
        Ok(self.0.persist()?)
    }

    fn decode_shard(&self, bytes: &[u8], feed: &FeedId) -> Result<ShardRecord, Error> {
        serde_json::from_slice(bytes).map_err(|error| self.damaged(feed.as_str(), &error.to_string()))
    }

    fn damaged(&self, what: &str, detail: &str) -> Error {
        Error::Damaged { path: self.path().to_path_buf(), what: what.to_owned(), detail: detail.to_owned() }
    }
}

/// One atomic batch: all of it is there after a crash, or none.
pub struct Commit(Batch);

impl Commit {
    pub fn record(&mut self, key: RecordKey, known: &Known) {
        self.0.put(RECORDS, key.bytes(), encode(known));
    }

    pub fn shard(&mut self, id: &ShardId, record: &ShardRecord) {
        let json = serde_json::to_vec(record).expect("invariant: a shard's record is JSON");
        self.0.put(SHARDS, id.key(), json);
    }

    /// Fact ids, ascending, as one list of the records that a dump had.
    pub fn seen(&mut self, shard: ShardPrefix, dump: u64, list: u32, facts: &[FactId]) {
        let mut bytes = Vec::with_capacity(16 * facts.len());
        facts.iter().for_each(|fact| bytes.extend_from_slice(fact.as_bytes()));
        self.0.put(SEEN, seen_key(shard, dump, list), bytes);
    }

    pub fn waits(&mut self, key: RecordKey, waiting: Waiting) {
        self.0.put(WAITING, key.bytes(), waiting.to_bytes());
    }

    pub fn waits_no_longer(&mut self, key: RecordKey) {
        self.0.delete(WAITING, key.bytes());
    }

    pub fn question(&mut self, asked: u128, question: Vec<u8>) {
        self.0.put(QUESTIONS, asked.to_be_bytes().to_vec(), question);
    }

    pub fn revised(&mut self, id: &ShardId, revision: &str) {
        self.0.put(ABOUT, revised_key(id), revision.as_bytes());
    }

    pub fn forget_seen(&mut self, shard: ShardPrefix, dump: u64, lists: u32) {
        for list in 0..lists {
            self.0.delete(SEEN, seen_key(shard, dump, list));
        }
    }

    pub fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit()?)
    }
}

fn note_key(name: &str) -> Vec<u8> {
    format!("note\u{1f}{name}").into_bytes()
}

fn revised_key(id: &ShardId) -> Vec<u8> {
    [b"revised\x1f", &id.key()[..]].concat()
}

fn seen_key(shard: ShardPrefix, dump: u64, list: u32) -> Vec<u8> {
    [&shard.bytes()[..], &dump.to_be_bytes(), &list.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn open(path: &Path) -> State {
        State::open(path, &Options::default()).unwrap()
    }

    #[test]
    fn another_number_of_std_partitions_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(dir.path());
        state.check_std_partitions("std.water", 4).unwrap();
        state.check_std_partitions("std.gas", 4).unwrap();
        let error = state.check_std_partitions("std.gas", 8).unwrap_err().to_string();
        assert!(error.contains("has 8 partitions, but 4"), "{error}");
    }

    #[test]
    fn accounts_and_positions_come_back_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let id = ShardId { feed: "utilities/water-readings".parse().unwrap(), partition: 1 };
        let mut record = ShardRecord { next: NextOffset::after(41), ..ShardRecord::default() };
        record.counts.received = 1;
        record.counts.quarantine(yibiao_records::Reason::BadDate);
        {
            let state = open(dir.path());
            let mut commit = state.begin();
            commit.shard(&id, &record);
            commit.commit().unwrap();
        }
        let state = open(dir.path());
        assert_eq!(state.shard(&id).unwrap(), record);
        assert_eq!(state.shards().unwrap(), BTreeMap::from([(id, record.clone())]));
        assert!(record.counts.balances());
    }
}
