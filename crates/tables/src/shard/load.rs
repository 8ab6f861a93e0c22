//! The first content of a shard, written as sorted runs: no journal, no memtables, nothing is read.
//!
//! ```text
//!  in the order of places ──► facts, change log       straight into the store's tables
//!                         └─► places, warnings, timers ──► sorted by their own keys ──► the store's tables
//! ```
//!
//! The shard must be empty, and belongs to whoever loads it: it is worth nothing before [`Loading::finish`].

use std::{path::Path, sync::Arc};

use yibiao_records::{Operation, PlaceId, Statement, Value};
use yibiao_state::{Run, Sorter};

use super::{
    FACTS_KEYSPACE, OUTBOX_KEYSPACE, PLACES_KEYSPACE, PlaceState, Queue, Shard, StoredFact, TIMERS_KEYSPACE,
    WARNINGS_KEYSPACE, Writer, Writing,
    codec::{self, ChangeHead},
    names::Names,
    timers::{DAYS, LastDay, timer_key},
};
use crate::Error;

/// Place, kind and fact id, see [`codec`].
const FACT_KEY_BYTES: usize = 8 + 4 + 16;

const RETRACTED: u8 = b'r';
const ASSERTED: u8 = b'a';

/// A fact as bytes that sort by place, kind and fact id: what was said of one fact stays together.
pub struct Packed<'a> {
    key: &'a [u8],
    said: u8,
    fact: &'a [u8],
}

impl<'a> Packed<'a> {
    /// None where these bytes are none of [`Shard::pack`].
    pub fn of(key: &'a [u8], value: &'a [u8]) -> Option<Self> {
        let (said, fact) = value.split_first()?;
        (key.len() == FACT_KEY_BYTES).then_some(Self { key, said: *said, fact })
    }

    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// As the shard stores it.
    pub fn fact(&self) -> &'a [u8] {
        self.fact
    }
}

impl Shard {
    /// Gives a fact, or its retraction, to the sorter; [`Packed`] reads it.
    pub fn pack(&self, stored: &StoredFact, sorter: &mut Sorter) -> Result<(), Error> {
        let names = &self.inner.names;
        let key = codec::fact_key(stored.fact.place, names.number_or_add(&stored.kind), &stored.fact.id);
        let said = match stored.fact.statement {
            Statement::Assert => ASSERTED,
            Statement::Retract => RETRACTED,
        };
        let mut bytes = vec![said];
        codec::put_fact(&mut bytes, stored, names);
        Ok(sorter.push(&key, &[&bytes])?)
    }

    pub fn unpack(&self, packed: &Packed<'_>) -> Result<StoredFact, Error> {
        let read = codec::fact_from(packed.key, packed.fact, &self.inner.names);
        let mut stored = read.map_err(|e| self.corrupt("fact", e))?;
        if packed.said == RETRACTED {
            stored.fact.statement = Statement::Retract;
        }
        Ok(stored)
    }

    /// Begins to load the shard. What has another order waits in `dir`, with at most about `memory_max` bytes in memory.
    pub fn loading(&self, dir: &Path, memory_max: usize, recorded_at_ms: i64) -> Result<Loading<'_>, Error> {
        let store = &self.inner.store;
        Ok(Loading {
            shard: self,
            recorded_at_ms,
            sequence: 0,
            facts: store.run(FACTS_KEYSPACE)?,
            outbox: store.run(OUTBOX_KEYSPACE)?,
            places: Sorter::new(dir.join("places"), memory_max / 2)?,
            warnings: Sorter::new(dir.join("warnings"), memory_max / 4)?,
            timers: Sorter::new(dir.join("timers"), memory_max / 4)?,
            part: Vec::new(),
            whole: Vec::new(),
            group: Vec::new(),
        })
    }
}

/// Everything that is given to it is in the shard after [`Loading::finish`]. Facts come in the order of their keys.
pub struct Loading<'a> {
    shard: &'a Shard,
    recorded_at_ms: i64,
    sequence: u64,
    facts: Run<'a>,
    outbox: Run<'a>,
    places: Sorter,
    warnings: Sorter,
    timers: Sorter,
    /// A row, or a fact, as bytes.
    part: Vec<u8>,
    /// A place, or a change.
    whole: Vec<u8>,
    /// Changes that were not put yet.
    group: Vec<u8>,
}

impl Loading<'_> {
    pub fn put_fact(&mut self, key: &[u8], fact: &[u8]) -> Result<(), Error> {
        Ok(self.facts.put(key, fact)?)
    }

    /// Stores the place; where `table` is given, its row is one that was not there, which the change log says.
    pub fn put_place(
        &mut self,
        place: PlaceId,
        state: &PlaceState,
        table: Option<&Arc<str>>,
    ) -> Result<(), Error> {
        self.row_into_part(&state.row);
        if let Some(table) = table {
            let head = self.head(table, Operation::Insert, place);
            self.log_part(&head)?;
        }
        let inner = &self.shard.inner;
        self.whole.clear();
        codec::put_place(&mut self.whole, state, &self.part, &inner.names);
        Ok(self.places.push(&codec::place_key(inner.tables.bucket(place), place), &[&self.whole])?)
    }

    fn row_into_part(&mut self, row: &[Value]) {
        self.part.clear();
        codec::put_row(&mut self.part, row);
    }

    pub fn put_warning(
        &mut self,
        place: PlaceId,
        rule: &Arc<str>,
        ordinal: u32,
        row: &[Value],
    ) -> Result<(), Error> {
        self.row_into_part(row);
        let inner = &self.shard.inner;
        let rule = inner.names.number_or_add(rule);
        let key = codec::warning_key(inner.tables.bucket(place), place, rule, ordinal);
        Ok(self.warnings.push(&key, &[&self.part])?)
    }

    pub fn put_timer(
        &mut self,
        queue: Queue,
        kind: &Arc<str>,
        feed: &Arc<str>,
        day: i32,
        place: PlaceId,
    ) -> Result<(), Error> {
        let key = timer_key(&self.shard.inner.names, queue.letter(), kind, feed, day, Some(place));
        Ok(self.timers.push(&key, &[])?)
    }

    pub fn put_last_day(&mut self, last: &LastDay) -> Result<(), Error> {
        let key = timer_key(&self.shard.inner.names, DAYS, &last.kind, &last.feed, last.day, None);
        Ok(self.timers.push(&key, &[&last.places.to_be_bytes()])?)
    }

    /// As [`Writing::change`].
    pub fn change(
        &mut self,
        table: &Arc<str>,
        operation: Operation,
        place: PlaceId,
        row: &[Value],
    ) -> Result<(), Error> {
        self.row_into_part(row);
        let head = self.head(table, operation, place);
        self.log_part(&head)
    }

    fn log_part(&mut self, head: &ChangeHead) -> Result<(), Error> {
        self.whole.clear();
        codec::put_change(&mut self.whole, head, &self.part);
        self.log()
    }

    /// As [`Writing::fact_change`], of a fact that is retracted.
    pub fn retracted(&mut self, table: &Arc<str>, said: &StoredFact) -> Result<(), Error> {
        let names = &self.shard.inner.names;
        let head = self.head(table, Operation::Delete, said.fact.place);
        let key = codec::fact_key(said.fact.place, names.number_or_add(&said.kind), &said.fact.id);
        self.part.clear();
        codec::put_fact(&mut self.part, said, names);
        self.whole.clear();
        codec::put_fact_change(&mut self.whole, &head, &key, true, &self.part);
        self.log()
    }

    /// As [`Writing::fact_change`], of a fact that is asserted: its bytes are the ones that are stored.
    pub fn asserted(
        &mut self,
        table: &Arc<str>,
        operation: Operation,
        place: PlaceId,
        packed: &Packed<'_>,
    ) -> Result<(), Error> {
        let head = self.head(table, operation, place);
        self.whole.clear();
        codec::put_fact_change(&mut self.whole, &head, packed.key, false, packed.fact);
        self.log()
    }

    fn head(&self, table: &Arc<str>, operation: Operation, place: PlaceId) -> ChangeHead {
        let names: &Names = &self.shard.inner.names;
        ChangeHead {
            table: names.number_or_add(table),
            operation,
            place,
            recorded_at_ms: self.recorded_at_ms,
        }
    }

    fn log(&mut self) -> Result<(), Error> {
        self.sequence += 1;
        codec::put_in_group(&mut self.group, &self.whole);
        match self.group.len() >= codec::GROUP_BYTES {
            true => self.put_group(),
            false => Ok(()),
        }
    }

    fn put_group(&mut self) -> Result<(), Error> {
        if !self.group.is_empty() {
            self.outbox.put(self.sequence.to_be_bytes().as_slice(), self.group.as_slice())?;
            self.group.clear();
        }
        Ok(())
    }

    /// How many changes there are so far.
    pub fn changes(&self) -> u64 {
        self.sequence
    }

    /// Writes all runs to disk. The change log's last sequence follows in a batch of `writer`, with what else belongs to it.
    pub fn finish(mut self, writer: &mut Writer) -> Result<Writing<'_>, Error> {
        self.put_group()?;
        let Self { shard, recorded_at_ms, sequence, facts, outbox, places, warnings, timers, .. } = self;
        facts.finish()?;
        outbox.finish()?;
        for (keyspace, sorter) in
            [(PLACES_KEYSPACE, places), (WARNINGS_KEYSPACE, warnings), (TIMERS_KEYSPACE, timers)]
        {
            let (mut run, mut sorted) = (shard.inner.store.run(keyspace)?, sorter.sorted()?);
            while let Some((key, value)) = sorted.next()? {
                run.put(key, value)?;
            }
            run.finish()?;
        }
        let mut writing = writer.begin(recorded_at_ms)?;
        writing.sequence = sequence;
        Ok(writing)
    }
}
