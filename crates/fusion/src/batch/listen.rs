//! Silence in a batch: clocks move with what the batch says, timers that are due bring their places into it.
//!
//! ```text
//!  facts ──► last days of their places ──► clocks ──► timers that are due, so many a batch ──► their places join
//!                                                                                                │
//!                                        rules over all of them, against the clocks as they are ◄┘
//! ```

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use yibiao_records::PlaceId;
use yibiao_tables::shard::{Due, Queue, Silence, Writer, Writing};

use super::{Applier, Batch, Touch};
use crate::{
    Error,
    silence::{self, ClockKey, Clocks, Watched},
};

/// The clocks of a shard, and up to where its timers have been looked at.
#[derive(Debug, Default)]
pub(super) struct Listening {
    pub clocks: Clocks,
    /// How many places are looked at in one batch because their timer was due.
    pub timers_max: usize,
    looked: BTreeMap<ClockKey, Looked>,
}

/// What is known of one clock's timers without reading them. Of what is not here all must be read.
#[derive(Debug)]
struct Looked {
    /// No waiting timer has a day before this one.
    waiting_from: i32,
    /// The clock fell: timers that had passed may not have passed now.
    fell: bool,
}

impl Default for Looked {
    fn default() -> Self {
        Self { waiting_from: i32::MIN, fell: true }
    }
}

impl Listening {
    pub fn new(writer: &Writer, timers_max: usize) -> Result<Self, Error> {
        Ok(Self { clocks: Clocks::new(writer.last_days()?), timers_max, looked: BTreeMap::new() })
    }

    /// Whether a batch without messages would find something to do.
    pub fn is_due(&self) -> bool {
        self.clocks.keys().any(|key| {
            let looked = self.looked.get(key);
            let waiting_from = looked.map_or(i32::MIN, |looked| looked.waiting_from);
            looked.is_none_or(|looked| looked.fell)
                || self.clocks.day(&key.0, &key.1).is_some_and(|clock| waiting_from <= clock)
        })
    }

    fn settle_clock(&mut self, key: &ClockKey) {
        let before = self.clocks.settle(key);
        let now = self.clocks.day(&key.0, &key.1);
        if now < before {
            let looked = self.looked.entry(key.clone()).or_default();
            looked.fell = true;
            // Timers that are set from now on wait for a day after the clock's.
            looked.waiting_from = now.map_or(i32::MIN, |now| looked.waiting_from.min(now.saturating_add(1)));
        }
    }

    /// The places whose timers are due, at most so many for all clocks together.
    fn take_due(&mut self, writer: &Writer) -> Result<Vec<PlaceId>, Error> {
        let mut due = Vec::new();
        let keys: Vec<ClockKey> = self.clocks.keys().cloned().collect();
        for key in keys {
            let (kind, feed) = (&*key.0, &*key.1);
            let clock = self.clocks.day(kind, feed);
            let looked = self.looked.entry(key.clone()).or_default();
            let room = |due: &Vec<PlaceId>| self.timers_max.saturating_sub(due.len());
            if let Some(clock) = clock.filter(|clock| looked.waiting_from <= *clock) {
                let days = looked.waiting_from..=clock;
                let found = writer.timers(Queue::Waiting, kind, feed, days, room(&due))?;
                looked.waiting_from = match found.last() {
                    _ if found.len() < room(&due) => clock.saturating_add(1),
                    Some((day, _)) => *day,
                    None => looked.waiting_from,
                };
                due.extend(found.into_iter().map(|(_, place)| place));
            }
            if looked.fell {
                let after = clock.map_or(i32::MIN, |clock| clock.saturating_add(1));
                let found = writer.timers(Queue::Passed, kind, feed, after..=i32::MAX, room(&due))?;
                looked.fell = found.len() >= room(&due);
                due.extend(found.into_iter().map(|(_, place)| place));
            }
        }
        Ok(due)
    }
}

impl Applier {
    /// Whether timers are due that no batch has looked at: apply one without messages.
    pub fn is_due(&self) -> bool {
        self.listening.is_due()
    }

    /// At most so many places are looked at in one batch because their timer was due; at least one.
    pub fn limit_timers(&mut self, timers_max: usize) {
        self.listening.timers_max = timers_max.max(1);
    }

    /// Moves the clocks, brings in the places that are due, and sets the timers of all places of the batch.
    pub(super) fn listen(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if batch.watched.is_empty() {
            return Ok(());
        }
        self.hear(batch)?;
        for place in self.listening.take_due(&self.writer)? {
            batch.applied.timers += 1;
            if let Entry::Vacant(entry) = batch.places.entry(place) {
                let mut touch = Touch::new(self.writer.place(place)?.unwrap_or_default());
                touch.state.row = std::mem::take(&mut touch.row_before);
                entry.insert(touch);
            }
        }
        set_timers(batch, &self.listening.clocks);
        Ok(())
    }

    /// What the batch's facts say of the last days of their places, and so of the clocks.
    pub(super) fn hear(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let mut places = std::mem::take(&mut batch.places);
        for (place, touch) in &mut places {
            for kind in std::mem::take(&mut touch.stale_silences) {
                let facts = self.facts_now(batch, *place, Some(&kind))?;
                silence::recompute(&mut touch.state.silences, &kind, &facts);
            }
            for silence in &touch.state.silences {
                let before = of_kind(&touch.silences_before, &silence.kind);
                let before = before.map_or(&[][..], |before| before.last.as_slice());
                self.listening.clocks.turn(&silence.kind, before, &silence.last, &mut batch.last_days);
            }
        }
        batch.places = places;
        let mut turned: Vec<&ClockKey> = batch.last_days.iter().map(|(key, _)| key).collect();
        turned.dedup();
        for key in turned {
            self.listening.settle_clock(key);
        }
        Ok(())
    }
}

/// Sets the timers of every place of the batch; where a threshold was passed, or is not passed any more, rules are asked.
pub(super) fn set_timers(batch: &mut Batch, clocks: &Clocks) {
    for touch in batch.places.values_mut() {
        for silence in &mut touch.state.silences {
            let days = batch.watched.days(&silence.kind).unwrap_or_default();
            let passed = silence.passed.clone();
            silence::set_timers(silence, days, clocks);
            touch.is_due |= silence.passed != passed;
        }
        silence::forget(&mut touch.state.silences);
        touch.state_changed |= touch.state.silences != touch.silences_before;
    }
}

fn of_kind<'a>(silences: &'a [Silence], kind: &Arc<str>) -> Option<&'a Silence> {
    silences.iter().find(|silence| silence.kind == *kind)
}

/// Writes what differs: timers of one place, from `before` to `after`.
pub(super) fn write_timers(writing: &mut Writing<'_>, place: PlaceId, before: &[Silence], after: &[Silence]) {
    let all = |silences: &[Silence]| -> Vec<(Queue, Arc<str>, Due)> {
        let of = |silence: &Silence| {
            let due = |queue, due: &Option<Due>| Some((queue, silence.kind.clone(), due.clone()?));
            let both = [due(Queue::Waiting, &silence.waiting), due(Queue::Passed, &silence.passed)];
            both.into_iter().flatten()
        };
        silences.iter().flat_map(of).collect()
    };
    if before == after {
        return;
    }
    let (before, after) = (all(before), all(after));
    for (queue, kind, due) in before.iter().filter(|timer| !after.contains(timer)) {
        writing.delete_timer(*queue, kind, &due.feed, due.day, place);
    }
    for (queue, kind, due) in after.iter().filter(|timer| !before.contains(timer)) {
        writing.put_timer(*queue, kind, &due.feed, due.day, place);
    }
}

/// What a touched place keeps of silence, for one fact.
pub(super) fn hear_fact(
    watched: &Watched,
    touch: &mut Touch,
    kind: &Arc<str>,
    old: Option<&yibiao_tables::shard::StoredFact>,
    new: Option<&yibiao_tables::shard::StoredFact>,
) {
    if watched.days(kind).is_some() && !silence::change(&mut touch.state.silences, kind, old, new) {
        touch.stale_silences.insert(kind.clone());
    }
}
