//! One micro-batch of one shard, from frames to one atomic write.
//!
//! ```text
//!  frames ── marks: applied already? ──► facts by place ──► merge (changed places) ──► listen (clocks, and the places
//!                                                                                        │      whose timers are due)
//!                    Writing: facts, places, warnings, timers,  ◄── rules over these places
//!                    change log, marks, positions
//! ```
//!
//! Nothing is kept between batches but what is in the store, the marks (which are in the store too), and counts.

mod listen;
mod load;
mod refresh;
mod warn;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use yibiao_records::{
    Fact, FactId, Frame, FrameHeader, NextOffset, Operation, PlaceId, Statement, TopicPartition, Value,
};
use yibiao_tables::{
    Tables,
    shard::{BatchEnd, MarkKey, PlaceState, Shard, Silence, StoredFact, Writer},
    spec::{PLACES, WARNINGS, fact_table},
};

use crate::{
    Error,
    applied::{Decision, Marks},
    config::Config,
    merge::{Merger, Stale},
    rules::Rules,
    silence::{ClockKey, Watched},
};
use listen::Listening;

pub use load::Load;

/// A message of a std topic, as it was read.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub topic: &'a Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    /// The header `frame`.
    pub header: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// What a batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    pub frames: u64,
    /// Frames that the header alone showed to be applied already.
    pub frames_skipped: u64,
    pub facts: u64,
    pub facts_skipped: u64,
    /// Retractions of facts that are not there.
    pub facts_unknown: u64,
    /// Timers that were due.
    pub timers: u64,
    pub changes: u64,
    pub raised: u64,
    pub updated: u64,
    pub cleared: u64,
}

/// What a shard holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    pub places: i64,
    pub facts: i64,
    pub firing: i64,
}

type FactKey = (PlaceId, Arc<str>, FactId);

/// A place of the batch: as it was, and as it becomes.
#[derive(Default)]
struct Touch {
    row_before: Vec<Value>,
    /// Its row is empty until the place is merged.
    state: PlaceState,
    stale: Stale,
    /// Of which facts were changed.
    kinds: BTreeSet<Arc<str>>,
    row_changed: bool,
    /// Something that is stored of the place is another now.
    state_changed: bool,
    silences_before: Vec<Silence>,
    /// Kinds whose last day must be sought among all facts.
    stale_silences: BTreeSet<Arc<str>>,
    /// It has been silent for longer than a rule's threshold, or is no more.
    is_due: bool,
}

impl Touch {
    fn new(mut state: PlaceState) -> Self {
        let silences_before = state.silences.clone();
        Self { row_before: std::mem::take(&mut state.row), state, silences_before, ..Self::default() }
    }
}

/// What goes into the change log, in this order.
enum Said {
    /// The place's row as the batch leaves it, or its last one where it has none any more.
    Place(Operation, PlaceId),
    Fact(Operation, Arc<StoredFact>),
    Warning(Operation, PlaceId, Vec<Value>),
}

/// Applies batches to one shard.
pub struct Applier {
    writer: Writer,
    tables: Tables,
    merger: Merger,
    std_partitions: u32,
    marks: Marks,
    positions: HashMap<TopicPartition, NextOffset>,
    holding: Holding,
    listening: Listening,
    recorded_at_ms: i64,
    /// Nothing is stored yet, so that nothing need be looked for ([`Load`]).
    is_loading: bool,
    kinds: HashMap<String, Arc<str>>,
    /// The names of the tables; of fact tables by kind.
    places_table: Arc<str>,
    warnings_table: Arc<str>,
    fact_tables: HashMap<Arc<str>, Arc<str>>,
}

const STD_PARTITIONS: &str = "std_partitions";
const RECORDED_AT: &str = "recorded_at";
const HOLDING: &str = "holding";

impl Applier {
    pub fn new(shard: &Shard, std_partitions: u32) -> Result<Self, Error> {
        let mut writer = shard.writer()?;
        match writer.note(STD_PARTITIONS)? {
            Some(found) if found != std_partitions.to_string() => {
                return Err(Error::Partitions { shard: shard.number(), found, expected: std_partitions });
            }
            Some(_) => {}
            None => {
                let mut writing = writer.begin(0)?;
                writing.note(STD_PARTITIONS, &std_partitions.to_string());
                writing.commit()?;
            }
        }
        let tables = shard.tables().clone();
        Ok(Self {
            merger: Merger::new(tables.places(), tables.kinds()),
            std_partitions,
            marks: Marks::new(writer.marks()?),
            positions: writer.positions()?.into_iter().collect(),
            holding: writer.note(HOLDING)?.and_then(|text| Holding::parse(&text)).unwrap_or_default(),
            listening: Listening::new(&writer, Config::default().batch_timers_max)?,
            recorded_at_ms: writer.note(RECORDED_AT)?.and_then(|text| text.parse().ok()).unwrap_or_default(),
            is_loading: false,
            kinds: tables
                .kinds()
                .iter()
                .map(|kind| (kind.name.clone(), Arc::from(kind.name.as_str())))
                .collect(),
            places_table: PLACES.into(),
            warnings_table: WARNINGS.into(),
            fact_tables: tables
                .kinds()
                .iter()
                .map(|kind| (Arc::from(kind.name.as_str()), fact_table(&kind.name).into()))
                .collect(),
            tables,
            writer,
        })
    }

    pub fn shard(&self) -> &Shard {
        self.writer.shard()
    }

    pub fn holding(&self) -> Holding {
        self.holding
    }

    pub fn position(&self, of: &TopicPartition) -> Option<NextOffset> {
        self.positions.get(of).copied()
    }

    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, &NextOffset)> {
        self.positions.iter()
    }

    /// The end of the last batch that this applier wrote, where the shard has an owner.
    pub fn last_end(&self) -> Option<&BatchEnd> {
        self.writer.last_end()
    }

    /// Applies the messages, all of this shard, in one atomic write, and looks at places whose timers are due. Without
    /// messages it does only that, which is wanted as long as [`Applier::is_due`]. After an error the applier is not used again.
    pub async fn apply(&mut self, rules: &mut Rules, messages: &[Incoming<'_>]) -> Result<Applied, Error> {
        let latest_ms = messages.iter().map(|m| m.timestamp_ms).max().unwrap_or(0);
        let mut batch = Batch::new(latest_ms.max(self.recorded_at_ms), rules);
        batch.timers_max = Some(self.listening.timers_max as u64);
        // Topics come in any order: in this one the change log depends on the batch's ends alone.
        let mut messages: Vec<&Incoming<'_>> = messages.iter().collect();
        messages.sort_by(|a, b| (a.topic, a.partition, a.offset).cmp(&(b.topic, b.partition, b.offset)));
        for message in messages {
            self.read(&mut batch, message, Self::fact)?;
        }
        self.merge(&mut batch)?;
        self.listen(&mut batch)?;
        self.warn(&mut batch, rules, false).await?;
        self.write(batch)
    }

    /// Gives `each` the facts of a message that were not applied yet.
    fn read(
        &mut self,
        batch: &mut Batch,
        message: &Incoming<'_>,
        mut each: impl FnMut(&mut Self, &mut Batch, &Shared, Fact) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let at = TopicPartition { topic: message.topic.clone(), partition: message.partition };
        let next = NextOffset::after(message.offset);
        // A reader that was set back gives messages again: they count for nothing.
        if self.positions.get(&at).is_some_and(|position| *position >= next) {
            batch.applied.frames_skipped += 1;
            return Ok(());
        }
        self.positions.insert(at.clone(), next);
        batch.positions.insert(at, next);
        let failed = |source| Error::Frame {
            topic: message.topic.to_string(),
            partition: message.partition,
            offset: message.offset,
            source: Box::new(source),
        };
        let header = Frame::decode_header(message.header.unwrap_or_default()).map_err(failed)?;
        let kind = self.tables.kinds().get(&header.kind).cloned().ok_or_else(|| Error::Kind {
            topic: message.topic.to_string(),
            partition: message.partition,
            offset: message.offset,
            kind: header.kind.clone(),
        })?;
        let mark = MarkKey {
            std_topic: message.topic.clone(),
            raw_topic: header.raw_topic.as_str().into(),
            raw_partition: header.raw_partition,
        };
        let Decision::After(after) = self.marks.decide(&mark, &header) else {
            batch.applied.frames_skipped += 1;
            batch.applied.facts_skipped += u64::from(header.facts);
            return Ok(());
        };
        batch.applied.frames += 1;
        let frame = Frame::decode(header, message.value.unwrap_or_default(), &kind).map_err(failed)?;
        let shared = Shared::new(&frame.header, self.kinds[&kind.name].clone());
        let mut last = None;
        for fact in frame.facts(&kind).map_err(failed)? {
            if after.is_some_and(|after| fact.raw <= after) {
                batch.applied.facts_skipped += 1;
                continue;
            }
            let shard = fact.place.shard(self.std_partitions);
            if shard != self.shard().number() {
                let (topic, partition) = (message.topic.to_string(), message.partition);
                return Err(Error::Misplaced {
                    topic,
                    partition,
                    offset: message.offset,
                    place: fact.place,
                    shard,
                });
            }
            last = last.max(Some(fact.raw));
            each(self, batch, &shared, fact)?;
        }
        if let Some(last) = last {
            self.marks.applied(&mark, last);
            batch.marks.insert(mark, last);
        }
        Ok(())
    }

    /// Applies a fact to the batch, in memory.
    fn fact(&mut self, batch: &mut Batch, shared: &Shared, fact: Fact) -> Result<(), Error> {
        let key = (fact.place, shared.kind.clone(), fact.id);
        let old = match batch.facts.get(&key) {
            Some(known) => {
                batch.has_repeats = true;
                known.clone()
            }
            None => self.writer.fact(fact.place, &shared.kind, &fact.id)?.map(Arc::new),
        };
        let place = fact.place;
        let Some((operation, said)) = heard(old.as_deref(), shared.stored(fact)) else {
            batch.applied.facts_unknown += 1;
            return Ok(());
        };
        batch.applied.facts += 1;
        let is_asserted = operation != Operation::Delete;
        self.holding.facts += i64::from(is_asserted) - i64::from(old.is_some());
        let said = Arc::new(said);
        let new = is_asserted.then(|| said.clone());
        batch.said.push(Said::Fact(operation, said));
        if self.merger.merges(&shared.kind) {
            let touch = match batch.places.entry(place) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Touch::new(self.writer.place(place)?.unwrap_or_default()))
                }
            };
            touch.kinds.insert(shared.kind.clone());
            touch.state_changed = true;
            listen::hear_fact(&batch.watched, touch, &shared.kind, old.as_deref(), new.as_deref());
            self.merger.change(&mut touch.state, old.as_deref(), new.as_deref(), &mut touch.stale);
        }
        batch.facts.insert(key, new);
        Ok(())
    }

    /// Settles every touched place and logs the rows that changed.
    fn merge(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let mut places = std::mem::take(&mut batch.places);
        for (place, touch) in &mut places {
            loop {
                self.merger.settle(&mut touch.state, &mut touch.stale);
                if touch.stale.is_empty() {
                    break;
                }
                let facts = self.facts_now(batch, *place, None)?;
                self.merger.recompute(&mut touch.state, &facts, std::mem::take(&mut touch.stale));
            }
            let row = self.merger.row(*place, &touch.state, batch.recorded_at_ms);
            let Some(change) = self.row_change(&touch.row_before, &row) else {
                touch.state.row = std::mem::take(&mut touch.row_before);
                continue;
            };
            self.holding.places += match change {
                Operation::Insert => 1,
                Operation::Update => 0,
                Operation::Delete => -1,
            };
            batch.said.push(Said::Place(change, *place));
            touch.state.row = row;
            (touch.row_changed, touch.state_changed) = (true, true);
        }
        batch.places = places;
        Ok(())
    }

    fn row_change(&self, before: &[Value], after: &[Value]) -> Option<Operation> {
        match (before.is_empty(), after.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Operation::Insert),
            (false, true) => Some(Operation::Delete),
            (false, false) => (!self.merger.same(before, after)).then_some(Operation::Update),
        }
    }

    /// The place's facts with this batch's, as they will be.
    fn facts_now(&self, batch: &Batch, place: PlaceId, kind: Option<&str>) -> Result<Vec<StoredFact>, Error> {
        let mut facts = if self.is_loading { Vec::new() } else { self.writer.facts(place, kind)? };
        let first = (place, Arc::<str>::from(kind.unwrap_or_default()), FactId::from_bytes([0; 16]));
        let pending: BTreeMap<_, _> = batch
            .facts
            .range(first..)
            .take_while(|((of, of_kind, _), _)| *of == place && kind.is_none_or(|kind| *kind == **of_kind))
            .map(|((_, kind, id), stored)| ((kind.clone(), *id), stored))
            .collect();
        facts.retain(|stored| !pending.contains_key(&(stored.kind.clone(), stored.fact.id)));
        facts.extend(pending.into_values().flatten().map(|stored| (**stored).clone()));
        Ok(facts)
    }
}

/// What is said of a fact that stood as `old`, and what that does. None: a retraction of one that is not there.
fn heard(old: Option<&StoredFact>, mut said: StoredFact) -> Option<(Operation, StoredFact)> {
    match (old, said.fact.statement) {
        (None, Statement::Assert) => Some((Operation::Insert, said)),
        (Some(_), Statement::Assert) => Some((Operation::Update, said)),
        (None, Statement::Retract) => None,
        (Some(old), Statement::Retract) => {
            // A record that is missing in a full dump says nothing, not even its key.
            if said.fact.source_key.is_empty() {
                said.fact.source_key.clone_from(&old.fact.source_key);
            }
            said.fact.payload.clone_from(&old.fact.payload);
            Some((Operation::Delete, said))
        }
    }
}

/// What a batch will write.
struct Batch {
    recorded_at_ms: i64,
    /// None: the fact is deleted.
    facts: BTreeMap<FactKey, Option<Arc<StoredFact>>>,
    /// More than one thing was said of some fact.
    has_repeats: bool,
    places: BTreeMap<PlaceId, Touch>,
    said: Vec<Said>,
    warnings: BTreeMap<(PlaceId, Arc<str>, u32), Vec<Value>>,
    /// In order, so that names are numbered in the same order each time.
    marks: BTreeMap<MarkKey, yibiao_records::RawPosition>,
    positions: BTreeMap<TopicPartition, NextOffset>,
    /// What rules listen to.
    watched: Arc<Watched>,
    /// Days of which feeds speak last at more or fewer places now.
    last_days: BTreeSet<(ClockKey, i32)>,
    /// How many places may be looked at because their timer is due; None where tables or rules have changed.
    timers_max: Option<u64>,
    applied: Applied,
}

impl Batch {
    fn new(recorded_at_ms: i64, rules: &Rules) -> Self {
        Self {
            recorded_at_ms,
            facts: BTreeMap::new(),
            has_repeats: false,
            places: BTreeMap::new(),
            said: Vec::new(),
            warnings: BTreeMap::new(),
            marks: BTreeMap::new(),
            positions: BTreeMap::new(),
            watched: rules.watched().clone(),
            last_days: BTreeSet::new(),
            timers_max: None,
            applied: Applied::default(),
        }
    }
}

/// What all facts of a frame have in common.
struct Shared {
    kind: Arc<str>,
    feed: Arc<str>,
    raw_topic: Arc<str>,
    raw_partition: i32,
    contract_version: Arc<str>,
    gazetteer_version: Arc<str>,
}

impl Shared {
    fn new(header: &FrameHeader, kind: Arc<str>) -> Self {
        Self {
            kind,
            feed: header.feed.as_str().into(),
            raw_topic: header.raw_topic.as_str().into(),
            raw_partition: header.raw_partition,
            contract_version: header.contract_version.as_str().into(),
            gazetteer_version: header.gazetteer_version.as_str().into(),
        }
    }

    fn stored(&self, fact: Fact) -> StoredFact {
        StoredFact {
            kind: self.kind.clone(),
            feed: self.feed.clone(),
            raw_topic: self.raw_topic.clone(),
            raw_partition: self.raw_partition,
            contract_version: self.contract_version.clone(),
            gazetteer_version: self.gazetteer_version.clone(),
            fact,
        }
    }
}
