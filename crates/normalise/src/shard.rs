//! One raw partition of one feed: each of its records comes to exactly one outcome.
//!
//! ```text
//!  RawRecord ─ same bytes as known? ──────────────────────────────────────────────► unchanged
//!      │ decode ──────────────── Refusal ─────────────────────────────────────────► quarantined
//!      │ locate (cache, gazetteer) ── Refusal ────────────────────────────────────► quarantined
//!      └ diff with what is known ── same ─────────────────────────────────────────► unchanged
//!                                └─ retract at the old place, assert at the new ──► accepted
//! ```
//!
//! A repetition is told by what the thread remembers ([`Same`]), or else by what the state knows of the record.
//!
//! What was learnt in a batch is kept in an overlay until the batch is committed, so that two versions of one
//! source record in one batch are taken in their order.

mod dumps;
mod prepare;
mod versions;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use yibiao_contracts::{Contract, Decoded, Decoder, FullDump};
use yibiao_records::{FactId, FactKinds, FrameHeader, NextOffset, TopicPartition};

use crate::{
    Error,
    decode::{self, RawRecord, Refusal},
    diff::{
        Claim, Decision, Known, Located, Said, Version, diff, is_same, is_settled, is_superseded, refused,
        said_again,
    },
    emit::{self, Frames, Origin, Outlet},
    gazetteer::Edition,
    resolve::{Places, Question, may_be_found_later},
    same::Same,
    source::PlaceSource,
    state::{ByRecord, Commit, RecordKey, ShardId, ShardPrefix, ShardRecord, State, Waiting},
};
use prepare::Prepared;
pub use prepare::contract_hash;
pub use versions::EditionOf;

/// Everything that one shard needs between two commits.
pub struct Shard {
    pub id: ShardId,
    pub raw: TopicPartition,
    pub source: PlaceSource,
    /// As of the last record that was taken; as of the last commit between batches.
    pub record: ShardRecord,
    /// Under which addresses are resolved; None for feeds that do not need one, or while there is none.
    pub edition: Option<Arc<Edition>>,
    /// What may have been sent before a crash, under the edition that the state names, ends here: no other edition
    /// is taken before.
    pub held_until: NextOffset,
    /// What may have been sent before a death, by the contract that the state names, ends here: before, the shard is not at
    /// rest.
    owed_until: NextOffset,
    prefix: ShardPrefix,
    quarantine_topic: String,
    kind: Arc<str>,
    kinds: Arc<FactKinds>,
    contract_version: String,
    contract_hash: u128,
    decoder: Decoder,
    frames: Frames,
    header: FrameHeader,
    known: ByRecord<Known>,
    /// Which of `known` were learnt in this batch.
    learnt: Vec<RecordKey>,
    /// Of this batch: what did not change, and will not if it comes again; with its content.
    again: Vec<(RecordKey, u128)>,
    prepared: Vec<Prepared>,
    prepared_next: usize,
    keys: Vec<RecordKey>,
    /// Room for what is hashed together.
    hashed: Vec<u8>,
    full_dump: Option<FullDump>,
    sweep_records_max: usize,
    /// Of this batch: records of the dump that is coming in.
    seen: Vec<FactId>,
    /// Of this batch: which records wait for another gazetteer, and which do no longer.
    waits: HashMap<RecordKey, Option<Waiting>>,
    /// Of this batch: what was asked and may not have been kept.
    questions: HashMap<u128, Vec<u8>>,
    /// Lists of dumps that have ended: number and how many.
    forget: Vec<(u64, u32)>,
}

/// The limits of a shard's frames.
#[derive(Debug, Clone, Copy)]
pub struct FrameLimits {
    pub std_partitions: u32,
    pub facts_max: usize,
}

impl Shard {
    pub fn new(
        contract: &Contract,
        source: PlaceSource,
        kinds: &Arc<FactKinds>,
        partition: i32,
        record: ShardRecord,
        limits: FrameLimits,
    ) -> Result<Self, Error> {
        let id = ShardId { feed: contract.feed.clone(), partition };
        let topic = contract.feed.raw_topic();
        let header = FrameHeader {
            kind: String::new(),
            feed: id.feed.to_string(),
            raw_topic: topic.clone(),
            raw_partition: partition,
            contract_version: contract.version.clone(),
            ..FrameHeader::default()
        };
        Ok(Self {
            prefix: ShardPrefix::new(&id),
            raw: TopicPartition::new(topic, partition),
            quarantine_topic: id.feed.quarantine_topic(),
            id,
            source,
            record,
            edition: None,
            held_until: NextOffset::START,
            owed_until: NextOffset::START,
            kind: contract.fact.kind.as_str().into(),
            kinds: kinds.clone(),
            contract_version: contract.version.clone(),
            contract_hash: contract_hash(contract),
            decoder: contract.decoder(kinds)?,
            frames: Frames::new(limits.std_partitions, limits.facts_max),
            header,
            known: ByRecord::default(),
            learnt: Vec::new(),
            again: Vec::new(),
            prepared: Vec::new(),
            prepared_next: 0,
            keys: Vec::new(),
            hashed: Vec::new(),
            full_dump: contract.ingest.full_dump.clone(),
            sweep_records_max: dumps::SWEEP_RECORDS,
            seen: Vec::new(),
            waits: HashMap::new(),
            questions: HashMap::new(),
            forget: Vec::new(),
        })
    }

    /// Begins a batch: reads at once, in key order, what is known of its records, but for those that are remembered.
    pub fn begin<'a>(
        &mut self,
        state: &State,
        same: &Same,
        records: impl Iterator<Item = RawRecord<'a>>,
    ) -> Result<(), Error> {
        self.known.clear();
        self.learnt.clear();
        self.again.clear();
        self.prepare(same, records);
        state.known(&mut self.keys, &self.kind, &mut self.known)?;
        let gazetteer = self.edition.as_ref().map(|edition| edition.version().to_owned());
        self.header.gazetteer_version = gazetteer.clone().unwrap_or_default();
        self.record.gazetteer_version = gazetteer;
        self.frames.begin(self.header.clone());
        Ok(())
    }

    /// Takes one record of the batch, in the order of offsets.
    pub fn take(
        &mut self,
        record: &RawRecord<'_>,
        state: &State,
        places: &mut Places,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let prepared = self.next_prepared(record);
        if self.full_dump.is_some() {
            self.see(record, &prepared);
        }
        self.record.counts.received += 1;
        self.record.next = NextOffset::after(record.offset);
        if prepared.same && prepared.key.is_some_and(|key| !self.known.contains_key(&key)) {
            self.record.counts.unchanged += 1;
            return Ok(());
        }
        let origin = record.first_offset();
        match self.judge(record, &prepared, state, places)? {
            Outcome::Unchanged(refreshed) => {
                self.record.counts.unchanged += 1;
                if let Some((key, known)) = refreshed {
                    self.waits_no_longer(key, origin, state)?;
                    self.learn(key, known);
                }
            }
            Outcome::Superseded(key) => {
                self.record.counts.unchanged += 1;
                self.waits_no_longer(key, origin, state)?;
            }
            Outcome::Refused { refusal, challenged, waits } => {
                if let Some((key, known)) = challenged {
                    self.learn(key, known);
                }
                if let Some((key, waiting)) = waits {
                    self.waits(key, waiting, state)?;
                }
                let rejection = emit::rejection(&self.header, record, &refusal);
                outlet.quarantine(&self.quarantine_topic, record, &rejection)?;
                self.record.counts.quarantine(refusal.reason);
            }
            Outcome::Decided { key, source_key, fact, decision } => {
                self.waits_no_longer(key, origin, state)?;
                match *decision {
                    Decision::Unchanged { refreshed } => {
                        self.record.counts.unchanged += 1;
                        if let Some(known) = refreshed {
                            self.learn(key, known);
                        }
                    }
                    Decision::Changed { retract, assert, known } => {
                        let origin = Origin {
                            fact,
                            source_key: &source_key,
                            offset: record.offset,
                            recorded_at_ms: record.timestamp_ms,
                        };
                        let mut index = 0;
                        if let Some(retraction) = retract {
                            self.frames.retract(&retraction, origin, index, &self.kinds, outlet)?;
                            self.record.counts.retracted += 1;
                            index += 1;
                        }
                        if let Some(claim) = assert {
                            self.frames.assert(&self.kind, claim, origin, index, &self.kinds, outlet)?;
                            self.record.counts.asserted += 1;
                        }
                        self.record.counts.accepted += 1;
                        self.learn(key, known);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends what is left in open frames.
    pub fn finish(&mut self, outlet: &mut impl Outlet) -> Result<(), Error> {
        self.frames.finish(outlet)
    }

    /// Adds the batch to the commit, after everything that it sent was acknowledged, and remembers it: where the commit fails,
    /// neither the shard nor what is remembered is to be used again.
    pub fn write(&mut self, commit: &mut Commit, same: &mut Same) -> Result<(), Error> {
        let counts = &self.record.counts;
        if !counts.balances() {
            return Err(Error::Unbalanced {
                feed: self.id.feed.to_string(),
                received: counts.received,
                accepted: counts.accepted,
                quarantined: counts.quarantined,
                unchanged: counts.unchanged,
            });
        }
        self.learnt.sort_unstable();
        self.learnt.dedup();
        self.again.drain(..).for_each(|(key, content)| same.remember(key, content));
        for key in &self.learnt {
            let known = &self.known[key];
            commit.record(*key, known);
            if is_settled(known) { same.remember(*key, known.content) } else { same.forget(*key) }
        }
        self.write_seen(commit);
        for (key, waiting) in self.waits.drain() {
            match waiting {
                Some(waiting) => commit.waits(key, waiting),
                None => commit.waits_no_longer(key),
            }
        }
        for (asked, question) in self.questions.drain() {
            commit.question(asked, question);
        }
        commit.shard(&self.id, &self.record);
        Ok(())
    }

    fn learn(&mut self, key: RecordKey, known: Known) {
        self.known.insert(key, known);
        self.learnt.push(key);
    }

    /// The version of the record that waits for another gazetteer: the last one that was refused.
    fn waiting(&self, key: RecordKey, state: &State) -> Result<Option<Waiting>, Error> {
        match self.waits.get(&key) {
            Some(waiting) => Ok(*waiting),
            None => state.waiting_at(key),
        }
    }

    /// A version of the record was refused that another gazetteer may place.
    fn waits(&mut self, key: RecordKey, version: Waiting, state: &State) -> Result<(), Error> {
        if self.waiting(key, state)?.is_none_or(|waiting| waiting.origin <= version.origin) {
            self.waits.insert(key, Some(version));
        }
        Ok(())
    }

    /// The version of the record that first came at `origin` was taken, or is older than one that was. A later one may
    /// wait all the same: the taken one may be asked again, or come from quarantine.
    fn waits_no_longer(&mut self, key: RecordKey, origin: i64, state: &State) -> Result<(), Error> {
        let may_wait = self.source.needs_gazetteer();
        if may_wait && self.waiting(key, state)?.is_some_and(|waiting| waiting.origin <= origin) {
            self.waits.insert(key, None);
        }
        Ok(())
    }

    fn judge(
        &mut self,
        record: &RawRecord<'_>,
        prepared: &Prepared,
        state: &State,
        places: &mut Places,
    ) -> Result<Outcome, Error> {
        let gazetteer = self.edition.as_ref().map_or(0, |edition| edition.short());
        let content = prepared.content;
        let kind = self.kind.clone();
        let replayed = record.origin.is_some();
        let origin = record.first_offset();
        let mut version = Version { content, gazetteer, origin, replayed, asked: 0, kind: &kind };
        let told = record.key.and_then(|key| std::str::from_utf8(key).ok());
        let mut fact = match prepared.key {
            Some(key) => key.fact(),
            None => FactId::derive(&self.id.feed, "", 0),
        };
        let mut key = RecordKey::new(self.prefix, fact);
        if told.is_some() && self.is_outdated(record, self.known.get(&key)) {
            return Ok(Outcome::Superseded(key));
        }
        if let Some(known) = told.and_then(|_| self.known.get(&key)) {
            if replayed && is_superseded(known, version) {
                return Ok(Outcome::Superseded(key));
            }
            if is_same(known, version) && !record.revised {
                if is_settled(known) {
                    self.again.push((key, content));
                }
                return Ok(Outcome::Unchanged(said_again(known, version).map(|known| (key, known))));
            }
        }

        let Some(value) = record.value else {
            let Some(source_key) = told else {
                let detail = "墓碑记录没有主键 (a tombstone without a key)";
                let refusal = Refusal::new(yibiao_records::Reason::MissingKey, None, detail);
                return Ok(Outcome::Refused { refusal, challenged: None, waits: None });
            };
            let said = Said::Ended { at_ms: record.timestamp_ms };
            let decision = diff(self.known.get(&key), said, version);
            let (source_key, decision) = (source_key.to_owned(), Box::new(decision));
            return Ok(Outcome::Decided { key, source_key, fact, decision });
        };
        let decoded = match decode::decode(&mut self.decoder, record, value) {
            Ok(decoded) => decoded,
            Err(refusal) => return Ok(self.refuse(refusal, told.map(|_| key), version, None)),
        };
        if told != Some(decoded.source_key.as_str()) {
            // The topic was not written by our connectors. The contract's key counts.
            fact = FactId::derive(&self.id.feed, &decoded.source_key, 0);
            key = RecordKey::new(self.prefix, fact);
            if let Entry::Vacant(_) = self.known.entry(key) {
                state.known(&mut vec![key], &kind, &mut self.known)?;
            }
            let known = self.known.get(&key);
            let is_superseded = known.is_some_and(|known| is_superseded(known, version));
            if replayed && is_superseded || self.is_outdated(record, known) {
                return Ok(Outcome::Superseded(key));
            }
        }
        let (said, source_key) = if decoded.withdrawn {
            (Said::Ended { at_ms: decoded.valid_from_ms }, decoded.source_key)
        } else {
            let (asked, located) = self.locate(&decoded, places);
            version.asked = asked;
            let located = match located {
                Ok(located) => located,
                Err(refusal) => {
                    let stands = |known: &&Known| known.content == content && known.standing.is_some();
                    if let Some(known) = self.known.get(&key).filter(stands) {
                        // This gazetteer has no answer for what another one placed: what stood stays.
                        return Ok(Outcome::Unchanged(said_again(known, version).map(|known| (key, known))));
                    }
                    let waiting = Waiting { asked, valid_from_ms: decoded.valid_from_ms, origin };
                    let waits = Some(waiting).filter(|_| asked != 0 && may_be_found_later(refusal.reason));
                    return Ok(self.refuse(refusal, Some(key), version, waits));
                }
            };
            let Decoded { source_key, valid_from_ms, valid_to_ms, payload, .. } = decoded;
            (Said::Holds(Claim { located, valid_from_ms, valid_to_ms, payload }), source_key)
        };
        let decision = diff(self.known.get(&key), said, version);
        Ok(Outcome::Decided { key, source_key, fact, decision: Box::new(decision) })
    }

    /// What is known of the record stays; a replay may bring the refused version after it was said again.
    fn refuse(
        &self,
        refusal: Refusal,
        key: Option<RecordKey>,
        version: Version<'_>,
        waits: Option<Waiting>,
    ) -> Outcome {
        let challenged = key.and_then(|key| Some((key, refused(self.known.get(&key)?, version)?)));
        Outcome::Refused { refusal, challenged, waits: key.zip(waits) }
    }

    /// With the hash of what was asked of the gazetteer; 0: nothing was.
    fn locate(&mut self, decoded: &Decoded, places: &mut Places) -> (u128, Result<Located, Refusal>) {
        match &self.source {
            PlaceSource::Defines(defines) => (0, defines.locate(decoded)),
            PlaceSource::Names(names) => (0, names.locate(decoded)),
            PlaceSource::Resolves(resolves) => {
                let edition =
                    self.edition.as_ref().expect("invariant: a feed that resolves waits for a gazetteer");
                let question = Question::of(resolves, decoded);
                let asked = question.hash();
                if places.is_new(asked) {
                    self.questions.insert(asked, question.to_bytes());
                }
                (asked, places.locate(edition, resolves, &question, asked, decoded.valid_from_ms))
            }
        }
    }
}

enum Outcome {
    /// With what is to be remembered, if anything.
    Unchanged(Option<(RecordKey, Known)>),
    /// A later version of the record was taken.
    Superseded(RecordKey),
    Refused {
        refusal: Refusal,
        /// The known record of which this is another version, where that is to be remembered.
        challenged: Option<(RecordKey, Known)>,
        /// What it waits for, where another gazetteer may have an answer.
        waits: Option<(RecordKey, Waiting)>,
    },
    Decided {
        key: RecordKey,
        source_key: String,
        fact: FactId,
        decision: Box<Decision>,
    },
}
