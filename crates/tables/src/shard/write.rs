//! The one writer of a shard, and its atomic batches.

use std::sync::{Arc, atomic::Ordering};

use yibiao_records::{FactId, NextOffset, Operation, PlaceId, RawPosition, Statement, TopicPartition, Value};
use yibiao_state::Batch;

use super::{
    FACTS_KEYSPACE, MARKS_KEYSPACE, META_KEYSPACE, MarkKey, NAMES_KEYSPACE, OUTBOX_KEYSPACE, PLACES_KEYSPACE,
    POSITIONS_KEYSPACE, PlaceState, SEQUENCE, Shard, StoredFact, WARNINGS_KEYSPACE,
    codec::{self, ChangeHead},
    ends::{BATCH, BatchEnd, Ending, end_key},
};
use crate::Error;

/// The highest raw position applied, with what it belongs to.
pub type Mark = (MarkKey, RawPosition);

/// Reads what is there now and writes batch after batch.
#[derive(Debug)]
pub struct Writer {
    pub(super) shard: Shard,
    sequence: u64,
    /// Counted where the shard has an owner.
    batch: u64,
    pub(super) end: Option<BatchEnd>,
    /// A batch failed: what the store holds now is not known here.
    poisoned: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shard.inner.writer_taken.store(false, Ordering::Release);
    }
}

impl Writer {
    pub(super) fn take(shard: &Shard) -> Result<Self, Error> {
        if shard.inner.writer_taken.swap(true, Ordering::AcqRel) {
            return Err(Error::Written { shard: shard.number() });
        }
        let view = shard.view();
        let (sequence, batch) = (view.last_sequence(), view.last_batch()?);
        Ok(Self { shard: shard.clone(), sequence, batch, end: None, poisoned: false })
    }

    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    pub fn last_sequence(&self) -> u64 {
        self.sequence
    }

    pub fn place(&self, place: PlaceId) -> Result<Option<PlaceState>, Error> {
        let inner = &self.shard.inner;
        let key = codec::place_key(inner.tables.bucket(place), place);
        let Some(bytes) = inner.store.get(PLACES_KEYSPACE, key)? else { return Ok(None) };
        codec::place_from(&bytes, &inner.names).map(Some).map_err(|e| self.shard.corrupt("place", e))
    }

    pub fn fact(&self, place: PlaceId, kind: &str, id: &FactId) -> Result<Option<StoredFact>, Error> {
        let inner = &self.shard.inner;
        let Some(kind) = inner.names.number(kind) else { return Ok(None) };
        let key = codec::fact_key(place, kind, id);
        let Some(bytes) = inner.store.get(FACTS_KEYSPACE, key)? else { return Ok(None) };
        codec::fact_from(&key, &bytes, &inner.names).map(Some).map_err(|e| self.shard.corrupt("fact", e))
    }

    /// The place's facts of one kind, or of all.
    pub fn facts(&self, place: PlaceId, kind: Option<&str>) -> Result<Vec<StoredFact>, Error> {
        let Some(prefix) = self.shard.fact_prefix(place, kind) else { return Ok(Vec::new()) };
        let inner = &self.shard.inner;
        inner
            .store
            .prefix(FACTS_KEYSPACE, prefix)
            .map(|pair| {
                let (key, value) = pair?;
                codec::fact_from(&key, &value, &inner.names).map_err(|e| self.shard.corrupt("fact", e))
            })
            .collect()
    }

    pub fn warning(&self, place: PlaceId, rule: &str, ordinal: u32) -> Result<Option<Vec<Value>>, Error> {
        let inner = &self.shard.inner;
        let Some(rule) = inner.names.number(rule) else { return Ok(None) };
        let key = codec::warning_key(inner.tables.bucket(place), place, rule, ordinal);
        let Some(bytes) = inner.store.get(WARNINGS_KEYSPACE, key)? else { return Ok(None) };
        codec::row_from(&bytes).map(Some).map_err(|e| self.shard.corrupt("warning", e))
    }

    /// What was applied: all marks.
    pub fn marks(&self) -> Result<Vec<Mark>, Error> {
        let inner = &self.shard.inner;
        let pairs = inner.store.prefix(MARKS_KEYSPACE, b"");
        pairs
            .map(|pair| {
                let (key, value) = pair?;
                self.mark_from(&key, &value).ok_or_else(|| self.shard.corrupt("mark", "wrong length".into()))
            })
            .collect()
    }

    fn mark_from(&self, key: &[u8], value: &[u8]) -> Option<Mark> {
        let names = &self.shard.inner.names;
        let number = |from: usize| Some(u32::from_be_bytes(key.get(from..from + 4)?.try_into().ok()?));
        let raw = RawPosition {
            offset: i64::from_be_bytes(value.get(..8)?.try_into().ok()?),
            index: i32::from_be_bytes(value.get(8..)?.try_into().ok()?),
        };
        let key = MarkKey {
            std_topic: names.name(number(0)?)?,
            raw_topic: names.name(number(4)?)?,
            raw_partition: number(8)? as i32,
        };
        Some((key, raw))
    }

    /// Where to go on reading.
    pub fn positions(&self) -> Result<Vec<(TopicPartition, NextOffset)>, Error> {
        let pairs = self.shard.inner.store.prefix(POSITIONS_KEYSPACE, b"");
        pairs.map(|pair| pair.map_err(Error::from).and_then(|pair| self.shard.position_from(&pair))).collect()
    }

    /// A word that the stage keeps, such as the fingerprint of its rules.
    pub fn note(&self, name: &str) -> Result<Option<String>, Error> {
        let bytes = self.shard.inner.store.get(META_KEYSPACE, format!("note.{name}"))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Begins a batch. `recorded_at_ms` is that of all its changes; it comes from the input, not from a clock.
    pub fn begin(&mut self, recorded_at_ms: i64) -> Result<Writing<'_>, Error> {
        if self.poisoned {
            return Err(Error::Poisoned { shard: self.shard.number() });
        }
        let batch = self.shard.inner.store.batch();
        let sequence = self.sequence;
        let ending = self.shard.owner().is_some().then(Ending::new);
        Ok(Writing { writer: self, batch, scratch: Scratch::default(), sequence, recorded_at_ms, ending })
    }
}

/// One atomic batch: everything that it was given is there after [`Writing::commit`], or nothing. Each fact, place,
/// warning, mark and position may be written once.
pub struct Writing<'a> {
    pub(super) writer: &'a mut Writer,
    pub(super) batch: Batch,
    scratch: Scratch,
    pub(super) sequence: u64,
    recorded_at_ms: i64,
    ending: Option<Ending>,
}

/// Where values are put together before the batch takes a copy of just their size.
#[derive(Default)]
struct Scratch {
    /// A row, or a fact.
    part: Vec<u8>,
    /// A place, or a change.
    whole: Vec<u8>,
    /// Changes that were not put yet.
    group: Vec<u8>,
}

impl Writing<'_> {
    pub fn put_fact(&mut self, stored: &StoredFact) {
        let key = self.fact_into_part(stored);
        self.batch.put(FACTS_KEYSPACE, key, &*self.scratch.part);
    }

    /// The fact's bytes, and its key.
    fn fact_into_part(&mut self, stored: &StoredFact) -> [u8; 28] {
        let names = &self.writer.shard.inner.names;
        self.scratch.part.clear();
        codec::put_fact(&mut self.scratch.part, stored, names);
        codec::fact_key(stored.fact.place, names.number_or_add(&stored.kind), &stored.fact.id)
    }

    fn row_into_part(&mut self, row: &[Value]) {
        self.scratch.part.clear();
        codec::put_row(&mut self.scratch.part, row);
    }

    pub fn delete_fact(&mut self, place: PlaceId, kind: &Arc<str>, id: &FactId) {
        let kind = self.writer.shard.inner.names.number_or_add(kind);
        self.batch.delete(FACTS_KEYSPACE, codec::fact_key(place, kind, id));
    }

    pub fn put_place(&mut self, place: PlaceId, state: &PlaceState) {
        self.row_into_part(&state.row);
        self.put_place_with_part(place, state);
    }

    /// The place, and the change of its row. Its row is put into bytes once for both.
    pub fn put_changed_place(
        &mut self,
        table: &Arc<str>,
        operation: Operation,
        place: PlaceId,
        state: &PlaceState,
    ) {
        self.row_into_part(&state.row);
        self.put_place_with_part(place, state);
        let head = self.change_head(table, operation, place);
        self.log_part(&head);
    }

    fn put_place_with_part(&mut self, place: PlaceId, state: &PlaceState) {
        let inner = &self.writer.shard.inner;
        let key = codec::place_key(inner.tables.bucket(place), place);
        self.scratch.whole.clear();
        codec::put_place(&mut self.scratch.whole, state, &self.scratch.part, &inner.names);
        self.batch.put(PLACES_KEYSPACE, key, &*self.scratch.whole);
    }

    pub fn put_warning(&mut self, place: PlaceId, rule: &Arc<str>, ordinal: u32, row: &[Value]) {
        self.row_into_part(row);
        let inner = &self.writer.shard.inner;
        let rule = inner.names.number_or_add(rule);
        let key = codec::warning_key(inner.tables.bucket(place), place, rule, ordinal);
        self.batch.put(WARNINGS_KEYSPACE, key, &*self.scratch.part);
    }

    /// Appends a row's change to the change log.
    pub fn change(&mut self, table: &Arc<str>, operation: Operation, place: PlaceId, row: &[Value]) {
        self.row_into_part(row);
        let head = self.change_head(table, operation, place);
        self.log_part(&head);
    }

    fn log_part(&mut self, head: &ChangeHead) {
        self.scratch.whole.clear();
        codec::put_change(&mut self.scratch.whole, head, &self.scratch.part);
        self.log();
    }

    /// Appends what was said of a fact to the change log, where it stands as a row of the fact's table. `is_kept`: the fact
    /// stands so from now on, and is put too.
    pub fn fact_change(&mut self, table: &Arc<str>, operation: Operation, said: &StoredFact, is_kept: bool) {
        let head = self.change_head(table, operation, said.fact.place);
        let key = self.fact_into_part(said);
        let Scratch { part, whole, .. } = &mut self.scratch;
        whole.clear();
        codec::put_fact_change(whole, &head, &key, said.fact.statement == Statement::Retract, part);
        if is_kept {
            self.batch.put(FACTS_KEYSPACE, key, &**part);
        }
        self.log();
    }

    fn change_head(&self, table: &Arc<str>, operation: Operation, place: PlaceId) -> ChangeHead {
        let table = self.writer.shard.inner.names.number_or_add(table);
        ChangeHead { table, operation, place, recorded_at_ms: self.recorded_at_ms }
    }

    fn log(&mut self) {
        let change = &*self.scratch.whole;
        self.sequence += 1;
        if let Some(ending) = &mut self.ending {
            ending.change(change);
        }
        codec::put_in_group(&mut self.scratch.group, change);
        if self.scratch.group.len() >= codec::GROUP_BYTES {
            self.put_group();
        }
    }

    fn put_group(&mut self) {
        if !self.scratch.group.is_empty() {
            self.batch.put(OUTBOX_KEYSPACE, self.sequence.to_be_bytes(), &*self.scratch.group);
            self.scratch.group.clear();
        }
    }

    pub fn mark(&mut self, key: &MarkKey, raw: RawPosition) {
        let names = &self.writer.shard.inner.names;
        let mut bytes = names.number_or_add(&key.std_topic).to_be_bytes().to_vec();
        bytes.extend(names.number_or_add(&key.raw_topic).to_be_bytes());
        bytes.extend(key.raw_partition.to_be_bytes());
        let mut value = raw.offset.to_be_bytes().to_vec();
        value.extend(raw.index.to_be_bytes());
        self.batch.put(MARKS_KEYSPACE, bytes, value);
    }

    pub fn position(&mut self, of: &TopicPartition, next: NextOffset) {
        if let Some(ending) = &mut self.ending {
            ending.position(of, next);
        }
        let mut key = self.writer.shard.inner.names.number_or_add(&of.topic).to_be_bytes().to_vec();
        key.extend(of.partition.to_be_bytes());
        self.batch.put(POSITIONS_KEYSPACE, key, next.get().to_be_bytes().to_vec());
    }

    /// The batch is one of messages and timers, and would have looked at so many places whose timer was due.
    pub fn timers_max(&mut self, timers_max: u64) {
        if let Some(ending) = &mut self.ending {
            ending.timers_max(timers_max);
        }
    }

    pub fn note(&mut self, name: &str, text: &str) {
        self.batch.put(META_KEYSPACE, format!("note.{name}").into_bytes(), text.as_bytes());
    }

    /// How many changes the batch holds so far.
    pub fn changes(&self) -> u64 {
        self.sequence - self.writer.sequence
    }

    /// Writes everything and wakes those who wait for changes. Returns the change log's last sequence.
    pub fn commit(mut self) -> Result<u64, Error> {
        self.put_group();
        let names = self.writer.shard.inner.names.not_durable();
        for (number, name) in &names {
            self.batch.put(NAMES_KEYSPACE, number.to_be_bytes().to_vec(), name.as_bytes());
        }
        if self.sequence != self.writer.sequence {
            self.batch.put(META_KEYSPACE, SEQUENCE.as_bytes(), self.sequence.to_be_bytes().to_vec());
        }
        let changes = self.changes();
        let ending = self.ending.take();
        let end = ending.and_then(|ending| ending.end(self.writer.batch + 1, self.sequence, changes));
        if let Some(end) = &end {
            let value = serde_json::to_vec(end).expect("a batch's end is JSON");
            self.batch.put(META_KEYSPACE, end_key(end.batch), value);
            self.batch.put(META_KEYSPACE, BATCH.as_bytes(), end.batch.to_be_bytes().to_vec());
        }
        self.writer.poisoned = true;
        self.batch.commit()?;
        self.writer.poisoned = false;
        if let Some(end) = end {
            self.writer.batch = end.batch;
            self.writer.end = Some(end);
        }
        let inner = &self.writer.shard.inner;
        inner.names.made_durable(names.len());
        if self.sequence != self.writer.sequence {
            self.writer.sequence = self.sequence;
            inner.changed.send_replace(self.sequence);
        }
        Ok(self.sequence)
    }
}
