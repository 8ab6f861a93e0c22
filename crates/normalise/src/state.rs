//! What the stage remembers, and how far it has read: one atomic batch for both.
//!
//! | keyspace  | key                                                | value                         |
//! |-----------|----------------------------------------------------|-------------------------------|
//! | `records` | hash of the feed (4), partition (2), fact id (16)   | [`Known`], about 80 bytes     |
//! | `shards`  | `<department>/<feed>` 0x1f partition                | [`ShardRecord`] as JSON       |
//! | `about`   | `std_partitions`                                   | the number, decimal           |

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;
use yibiao_records::{FactId, FeedId, NextOffset, PlaceId};
use yibiao_state::{Batch, Keyspace, Options, Store};

use crate::{
    Error,
    accounting::Counts,
    diff::{Known, LEVELS, Standing},
};

const RECORDS: Keyspace = 0;
const SHARDS: Keyspace = 1;
const ABOUT: Keyspace = 2;
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
}

/// The stage's store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State(Store);

impl State {
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        Ok(Self(Store::open(path, &["records", "shards", "about"], options)?))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn shard(&self, id: &ShardId) -> Result<ShardRecord, Error> {
        match self.0.get(SHARDS, id.key())? {
            Some(bytes) => self.decode_shard(&bytes, &id.feed),
            None => Ok(ShardRecord::default()),
        }
    }

    /// Every shard that was ever committed.
    pub fn shards(&self) -> Result<BTreeMap<ShardId, ShardRecord>, Error> {
        let mut shards = BTreeMap::new();
        for pair in self.0.prefix(SHARDS, b"") {
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

    /// What is known of these records; sorted, so that neighbours are read together.
    pub fn known(
        &self,
        keys: &mut Vec<RecordKey>,
        into: &mut HashMap<RecordKey, Known>,
    ) -> Result<(), Error> {
        keys.sort_unstable();
        keys.dedup();
        for key in keys.iter() {
            if let Some(bytes) = self.0.get(RECORDS, key.0)? {
                let known =
                    decode(&bytes).ok_or_else(|| self.damaged("a record", "it is of another form"))?;
                into.insert(*key, known);
            }
        }
        Ok(())
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
        self.0.put(RECORDS, key.0.to_vec(), encode(known));
    }

    pub fn shard(&mut self, id: &ShardId, record: &ShardRecord) {
        let json = serde_json::to_vec(record).expect("invariant: a shard's record is JSON");
        self.0.put(SHARDS, id.key(), json);
    }

    pub fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit()?)
    }
}

/// A source record's key in the store: records of one shard lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey([u8; 22]);

impl RecordKey {
    pub fn new(shard: ShardPrefix, fact: FactId) -> Self {
        let mut key = [0; 22];
        key[..6].copy_from_slice(&shard.0);
        key[6..].copy_from_slice(fact.as_bytes());
        Self(key)
    }
}

/// The first bytes of the keys of one shard. Two feeds may share them: fact ids tell their records apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardPrefix([u8; 6]);

impl ShardPrefix {
    pub fn new(id: &ShardId) -> Self {
        let mut prefix = [0; 6];
        prefix[..4].copy_from_slice(&xxh3_64(id.feed.as_str().as_bytes()).to_be_bytes()[..4]);
        prefix[4..].copy_from_slice(&(id.partition as u16).to_be_bytes());
        Self(prefix)
    }
}

const FORM: u8 = 1;
const HOLDS: u8 = 1;
const PROVISIONAL: u8 = 2;
const CHALLENGED: u8 = 4;
/// Form, flags, level, content, said, place, division, gazetteer, origin; the kind's name follows. Where the record
/// does not hold, what stands is left zero.
const FIXED: usize = 3 + 16 + 16 + 8 + 8 + 4 + 8;

fn encode(known: &Known) -> Vec<u8> {
    let challenged = if known.challenged { CHALLENGED } else { 0 };
    let mut out = Vec::with_capacity(FIXED + known.standing.as_ref().map_or(0, |it| it.kind.len()));
    let Some(standing) = &known.standing else {
        out.extend([FORM, challenged, 0]);
        out.extend(known.content.to_le_bytes());
        out.extend([0; 16 + 8 + 8 + 4]);
        out.extend(known.origin.to_le_bytes());
        return out;
    };
    let level = LEVELS
        .iter()
        .position(|level| *level == standing.level)
        .expect("invariant: a level is one of LEVELS");
    let provisional = if standing.provisional { PROVISIONAL } else { 0 };
    out.extend([FORM, HOLDS | provisional | challenged, level as u8]);
    out.extend(known.content.to_le_bytes());
    out.extend(standing.said.to_le_bytes());
    out.extend(standing.place.get().to_le_bytes());
    out.extend(standing.division_code.to_le_bytes());
    out.extend(standing.gazetteer.to_le_bytes());
    out.extend(known.origin.to_le_bytes());
    out.extend(standing.kind.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Known> {
    fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (head, tail) = rest.split_first_chunk::<N>()?;
        *rest = tail;
        Some(*head)
    }
    let rest = &mut &bytes[..];
    let [form, flags, level] = take::<3>(rest)?;
    if form != FORM {
        return None;
    }
    let content = u128::from_le_bytes(take(rest)?);
    let said = u128::from_le_bytes(take(rest)?);
    let place = i64::from_le_bytes(take(rest)?);
    let division_code = u64::from_le_bytes(take(rest)?);
    let gazetteer = u32::from_le_bytes(take(rest)?);
    let origin = i64::from_le_bytes(take(rest)?);
    let standing = if flags & HOLDS == 0 {
        None
    } else {
        Some(Standing {
            said,
            place: PlaceId::new(place)?,
            level: LEVELS.get(usize::from(level)).copied()?,
            provisional: flags & PROVISIONAL != 0,
            division_code,
            gazetteer,
            kind: Arc::from(std::str::from_utf8(rest).ok()?),
        })
    };
    Some(Known { content, origin, challenged: flags & CHALLENGED != 0, standing })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn what_is_known_comes_back_as_it_was(
            (content, said, place, division_code) in (any::<u128>(), any::<u128>(), 1i64.., any::<u64>()),
            (level, holds, provisional, gazetteer, origin, challenged) in
                (0..LEVELS.len(), any::<bool>(), any::<bool>(), any::<u32>(), any::<i64>(), any::<bool>()),
            kind in "[a-z_]{1,12}",
        ) {
            let standing = Standing {
                said, provisional, gazetteer, division_code,
                place: PlaceId::new(place).unwrap(),
                level: LEVELS[level],
                kind: kind.as_str().into(),
            };
            let known = Known { content, origin, challenged, standing: holds.then_some(standing) };
            let bytes = encode(&known);
            prop_assert_eq!(decode(&bytes), Some(known));
            prop_assert_eq!(decode(&bytes[..FIXED - 1]), None);
        }
    }
}
