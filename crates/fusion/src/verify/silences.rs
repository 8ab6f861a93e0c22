//! Last days, clocks and timers, computed from all facts, against what the shard keeps of them.

use std::{collections::BTreeSet, sync::Arc};

use yibiao_records::PlaceId;
use yibiao_tables::{
    View,
    shard::{Due, PlaceState, Queue, Silence, StoredFact},
};

use super::{Difference, Verified};
use crate::{
    Error,
    silence::{self, Clocks, Standing, Watched},
};

/// The clocks as all facts of the shard give them.
pub struct Silences {
    watched: Arc<Watched>,
    clocks: Clocks,
}

/// One place, by its facts.
pub struct Heard {
    pub standings: Vec<Standing>,
    /// A timer is due that no batch has looked at: what the place's warnings are is still to come.
    pub is_due: bool,
}

impl Silences {
    /// Reads the facts of the kinds that rules listen to, of all places, and compares the shard's clocks and the number
    /// of its timers.
    pub fn of(view: &View, watched: &Arc<Watched>, verified: &mut Verified) -> Result<Self, Error> {
        let (mut clocks, mut changed, mut timers) = (Clocks::default(), BTreeSet::new(), 0u64);
        if !watched.is_empty() {
            for place in view.places() {
                let (place, state) = place?;
                for kind in watched.kinds() {
                    let mut silences = Vec::new();
                    silence::recompute(&mut silences, kind, &view.facts(place, Some(kind))?);
                    clocks.turn(kind, &[], &silences[0].last, &mut changed);
                }
                let kept = state.silences.iter().flat_map(timers_of);
                timers += kept.count() as u64;
            }
        }
        for (key, _) in &changed {
            clocks.settle(key);
        }
        let mut differ = |what: &str, incremental: String, full: String| {
            let (shard, what) = (view.shard(), what.to_owned());
            verified.differences.push(Difference { shard, place: None, what, incremental, full });
        };
        let kept = Clocks::new(view.last_days()?);
        if kept != clocks {
            differ("clock", format!("{kept:?}"), format!("{clocks:?}"));
        }
        let count = view.timers_count()?;
        if count != timers {
            differ("timers", format!("{count} in order of days"), format!("{timers} at their places"));
        }
        Ok(Self { watched: watched.clone(), clocks })
    }

    /// Compares what is kept of the place, and tells what its facts say.
    pub fn of_place(
        &self,
        view: &View,
        place: PlaceId,
        state: &PlaceState,
        facts: &[StoredFact],
        verified: &mut Verified,
    ) -> Result<Heard, Error> {
        let mut full = Vec::new();
        for kind in self.watched.kinds() {
            silence::recompute(&mut full, kind, facts);
        }
        let is_due = state.silences.iter().any(|silence| silence::is_due(silence, &self.clocks));
        verified.due += u64::from(is_due);
        silence::forget(&mut full);
        let mut differ = |what: &str, incremental: String, full: String| {
            let (shard, what) = (view.shard(), what.to_owned());
            verified.differences.push(Difference { shard, place: Some(place), what, incremental, full });
        };
        let last = |silences: &[Silence]| -> Vec<_> {
            silences.iter().map(|silence| (silence.kind.clone(), silence.last.clone())).collect()
        };
        let (kept_last, full_last) = (last(&state.silences), last(&full));
        if kept_last != full_last {
            differ("silence", format!("{kept_last:?}"), format!("{full_last:?}"));
        }
        for kept in &state.silences {
            // With the timers that are kept: one that waits for an earlier day may stay.
            let mut set = kept.clone();
            silence::set_timers(&mut set, self.watched.days(&kept.kind).unwrap_or_default(), &self.clocks);
            if !silence::is_due(kept, &self.clocks) && set != *kept {
                differ("timer", format!("{kept:?}"), format!("{set:?}"));
            }
            for (queue, due) in timers_of(kept) {
                if !view.has_timer(queue, &kept.kind, &due.feed, due.day, place)? {
                    differ("timer", "not in order of days".into(), format!("{queue:?} {due:?}"));
                }
            }
        }
        let standings = full.iter().filter_map(|silence| Standing::of(silence, &self.clocks)).collect();
        Ok(Heard { standings, is_due })
    }
}

fn timers_of(silence: &Silence) -> impl Iterator<Item = (Queue, &Due)> {
    let waiting = silence.waiting.iter().map(|due| (Queue::Waiting, due));
    waiting.chain(silence.passed.iter().map(|due| (Queue::Passed, due)))
}
