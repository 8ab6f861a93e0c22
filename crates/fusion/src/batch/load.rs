//! The first content of a shard, as one batch of any size: everything is read and sorted, then merged place by place.
//!
//! ```text
//!  frames ── marks: applied already? ──► facts, packed ──► sorted by place, kind, fact id; of one fact in its order
//!                                                               │
//!  sorted runs: facts, places, warnings, timers, change log ◄── so many places at a time: merge, rules
//!                                                               │
//!  marks, positions, last days: at the end ◄────────────────────┘
//! ```
//!
//! What a fact, a place and a warning become is decided by the same functions as in a batch. Two things differ. The change log
//! goes place by place. And clocks are known only when all places are, so that every timer waits for its first day, as after a
//! change of rules; places that are silent already are looked at in the batches that follow.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use yibiao_records::{CrashPoint, Operation, PlaceId};
use yibiao_state::Sorter;
use yibiao_tables::shard::{Loading, Packed, Queue, Shard, StoredFact};

use super::{
    Applied, Applier, Batch, FactKey, Incoming, Said, Touch, heard,
    listen::{hear_fact, set_timers},
    write::note,
};
use crate::{
    Error,
    rules::Rules,
    silence::{ClockKey, Clocks},
};

/// Places that are merged and judged together; rules cost a part of a millisecond each time.
const CHUNK_PLACES: usize = 2048;
/// The same for their facts, which are in memory; fewer where little memory may be taken.
const CHUNK_FACTS_MAX: usize = 32_768;
/// About what a fact takes while it is merged, with its part of the place.
const FACT_BYTES: usize = 4096;

/// A shard that is being loaded. After an error it is worth nothing.
pub struct Load {
    applier: Applier,
    /// What was read: positions, marks and counts.
    read: Batch,
    sorter: Sorter,
    dir: PathBuf,
    memory_max: usize,
}

impl Load {
    /// Begins to load an empty shard that nobody else sees. What does not fit into about `memory_max` bytes lies in `dir`.
    pub async fn begin(
        shard: &Shard,
        rules: &mut Rules,
        std_partitions: u32,
        dir: &Path,
        memory_max: usize,
    ) -> Result<Self, Error> {
        let mut applier = Applier::new(shard, std_partitions)?;
        applier.refresh(rules).await?;
        applier.is_loading = true;
        let sorter = Sorter::new(dir.join("facts"), memory_max / 2).map_err(yibiao_tables::Error::from)?;
        Ok(Self { applier, read: Batch::new(0, rules), sorter, dir: dir.to_path_buf(), memory_max })
    }

    /// Reads messages; those of one topic in their order.
    pub fn read(&mut self, messages: &[Incoming<'_>]) -> Result<(), Error> {
        let Self { applier, read, sorter, .. } = self;
        for message in messages {
            read.recorded_at_ms = read.recorded_at_ms.max(message.timestamp_ms);
            applier.read(read, message, |applier, _, shared, fact| {
                Ok(applier.writer.shard().pack(&shared.stored(fact), sorter)?)
            })?;
        }
        Ok(())
    }

    /// Merges everything that was read and writes it, synchronised to disk. `places` hears how many places are written, and
    /// may stop it: then there is None.
    pub async fn finish(
        self,
        rules: &mut Rules,
        mut places: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<Applied>, Error> {
        let Self { applier, read, sorter, dir, memory_max } = self;
        let shard = applier.shard().clone();
        let recorded_at_ms = read.recorded_at_ms;
        let mut sorted = sorter.sorted().map_err(yibiao_tables::Error::from)?;
        CrashPoint::LoadRead.pass();
        let mut merging = Merging {
            loading: shard.loading(&dir, memory_max / 2, recorded_at_ms)?,
            applier,
            read,
            clocks: Clocks::default(),
            last_days: BTreeSet::new(),
            places: Vec::new(),
            facts: Vec::new(),
            facts_max: (memory_max / FACT_BYTES).clamp(1, CHUNK_FACTS_MAX),
            fact: None,
            packed: Default::default(),
        };
        let mut written = 0;
        while let Some((key, value)) = sorted.next().map_err(yibiao_tables::Error::from)? {
            let packed = Packed::of(key, value).ok_or_else(|| merging.damaged())?;
            let stated = shard.unpack(&packed)?;
            if merging.is_full(stated.fact.place)? {
                written += merging.write(rules).await?;
                if places(written).is_break() {
                    return Ok(None);
                }
            }
            merging.state(&packed, stated)?;
        }
        merging.settle()?;
        merging.write(rules).await?;
        merging.end().map(Some)
    }
}

/// One fact, as it stands after what was said of it so far.
struct Standing {
    key: FactKey,
    /// None once it was retracted.
    stored: Option<Arc<StoredFact>>,
}

struct Merging<'a> {
    applier: Applier,
    read: Batch,
    loading: Loading<'a>,
    /// By all places so far; only at the end they are right.
    clocks: Clocks,
    last_days: BTreeSet<(ClockKey, i32)>,
    /// Of the chunk; the last one may get more facts.
    places: Vec<(PlaceId, Touch)>,
    facts: Vec<(FactKey, Option<Arc<StoredFact>>)>,
    facts_max: usize,
    fact: Option<Standing>,
    /// Its key, and the value that stands, as they are stored.
    packed: (Vec<u8>, Vec<u8>),
}

impl Merging<'_> {
    fn damaged(&self) -> Error {
        let detail = "what was sorted cannot be read".to_owned();
        yibiao_tables::Error::Corrupt { shard: self.applier.shard().number(), what: "first load", detail }
            .into()
    }

    /// Whether the chunk is to be written before this place begins.
    fn is_full(&mut self, next: PlaceId) -> Result<bool, Error> {
        let is_large = self.places.len() >= CHUNK_PLACES || self.facts.len() >= self.facts_max;
        if !is_large || self.fact.as_ref().is_some_and(|fact| fact.key.0 == next) {
            return Ok(false);
        }
        self.settle()?;
        Ok(true)
    }

    /// Takes what was said of a fact, after everything that was said of it before.
    fn state(&mut self, packed: &Packed<'_>, stated: StoredFact) -> Result<(), Error> {
        let (place, kind) = (stated.fact.place, stated.kind.clone());
        if self.fact.is_none() || self.packed.0 != packed.key() {
            self.settle()?;
            let key = (place, kind.clone(), stated.fact.id);
            self.packed.0.clear();
            self.packed.0.extend_from_slice(packed.key());
            self.fact = Some(Standing { key, stored: None });
        }
        let Some(fact) = &mut self.fact else { return Ok(()) };
        let Some((operation, said)) = heard(fact.stored.as_deref(), stated) else {
            self.read.applied.facts_unknown += 1;
            return Ok(());
        };
        let table = &self.applier.fact_tables[&kind];
        if operation == Operation::Delete {
            self.loading.retracted(table, &said)?;
            fact.stored = None;
        } else {
            self.loading.asserted(table, operation, place, packed)?;
            self.packed.1.clear();
            self.packed.1.extend_from_slice(packed.fact());
            fact.stored = Some(Arc::new(said));
        }
        self.read.applied.facts += 1;
        if self.applier.merger.merges(&kind) {
            if self.places.last().is_none_or(|(last, _)| *last != place) {
                self.places.push((place, Touch { state_changed: true, ..Touch::default() }));
            }
            if let Some((_, touch)) = self.places.last_mut()
                && !touch.kinds.contains(&kind)
            {
                touch.kinds.insert(kind);
            }
        }
        Ok(())
    }

    /// Nothing more is said of the fact: as it stands now it is stored and merged.
    fn settle(&mut self) -> Result<(), Error> {
        let Some(Standing { key, stored: Some(stored) }) = self.fact.take() else {
            return Ok(());
        };
        self.loading.put_fact(&self.packed.0, &self.packed.1)?;
        self.applier.holding.facts += 1;
        let is_merged = self.applier.merger.merges(&key.1);
        if let Some((_, touch)) = self.places.last_mut().filter(|_| is_merged) {
            hear_fact(&self.read.watched, touch, &key.1, None, Some(&stored));
            self.applier.merger.change(&mut touch.state, None, Some(&stored), &mut touch.stale);
        }
        self.facts.push((key, Some(stored)));
        Ok(())
    }

    /// Merges and judges the chunk's places, and writes them. How many those are.
    async fn write(&mut self, rules: &mut Rules) -> Result<u64, Error> {
        let mut batch = Batch::new(self.read.recorded_at_ms, rules);
        batch.places = std::mem::take(&mut self.places).into_iter().collect();
        batch.facts = std::mem::take(&mut self.facts).into_iter().collect();
        self.applier.merge(&mut batch)?;
        for touch in batch.places.values() {
            for silence in &touch.state.silences {
                self.clocks.turn(&silence.kind, &[], &silence.last, &mut self.last_days);
            }
        }
        set_timers(&mut batch, &Clocks::default());
        self.applier.warn(&mut batch, rules, false).await?;
        let places_table = &self.applier.places_table;
        for (place, touch) in &batch.places {
            let is_new = !touch.state.row.is_empty();
            self.loading.put_place(*place, &touch.state, is_new.then_some(places_table))?;
            put_timers(&mut self.loading, *place, touch)?;
        }
        for ((place, rule, ordinal), row) in &batch.warnings {
            self.loading.put_warning(*place, rule, *ordinal, row)?;
        }
        for said in &batch.said {
            if let Said::Warning(operation, place, row) = said {
                self.loading.change(&self.applier.warnings_table, *operation, *place, row)?;
            }
        }
        self.read.applied.add(&batch.applied);
        Ok(batch.places.len() as u64)
    }

    /// What is known when all places are: clocks, and how far everything was read.
    fn end(self) -> Result<Applied, Error> {
        let Self { mut applier, read, mut loading, clocks, last_days, .. } = self;
        for (key, day) in &last_days {
            loading.put_last_day(&clocks.last_day(key, *day))?;
        }
        let applied = Applied { changes: loading.changes(), ..read.applied };
        let mut writing = loading.finish(&mut applier.writer)?;
        for (key, raw) in &read.marks {
            writing.mark(key, *raw);
        }
        for (of, next) in &read.positions {
            writing.position(of, *next);
        }
        note(&mut writing, read.recorded_at_ms, applier.holding);
        writing.commit()?;
        CrashPoint::LoadWritten.pass();
        applier.shard().persist()?;
        Ok(applied)
    }
}

fn put_timers(loading: &mut Loading<'_>, place: PlaceId, touch: &Touch) -> Result<(), Error> {
    for silence in &touch.state.silences {
        for (queue, due) in [(Queue::Waiting, &silence.waiting), (Queue::Passed, &silence.passed)] {
            if let Some(due) = due {
                loading.put_timer(queue, &silence.kind, &due.feed, due.day, place)?;
            }
        }
    }
    Ok(())
}
