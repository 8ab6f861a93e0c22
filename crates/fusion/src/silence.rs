//! How long a place has been silent, by the clock of the feed that spoke last: pure, a function of the set of facts.
//!
//! ```text
//!  facts of a place ──► last day by feed ──► Clocks: the day that a feed has reached, by all its places
//!                             │                 │
//!                             └────► Standing ◄─┘  which of the days that rules name have passed, and when the next is due
//! ```
//!
//! Nothing here asks what time it is. A feed's clock stands at the latest day of which it spoke at one in twenty of its
//! places ([`quorum`]): a feed that is down stops its clock, and no few meters with a wrong date can advance it
//! (docs/adr/0008).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use yibiao_tables::shard::{Due, LastDay, Silence, StoredFact};

use crate::day;

/// Of how many of a feed's places must it have spoken on a day or later for the day to count as reached?
const QUORUM_PLACES_MIN: u64 = 3;
const QUORUM_ONE_OF: u64 = 20;

fn quorum(places: u64) -> u64 {
    places.div_ceil(QUORUM_ONE_OF).max(QUORUM_PLACES_MIN)
}

/// The kinds that some rule listens to, each with all days that any rule names, rising.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched(BTreeMap<Arc<str>, Vec<i32>>);

impl Watched {
    pub fn add(&mut self, kind: &str, days: &[i32]) {
        let all = self.0.entry(kind.into()).or_default();
        all.extend(days);
        all.sort_unstable();
        all.dedup();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn days(&self, kind: &str) -> Option<&[i32]> {
        self.0.get(kind).map(Vec::as_slice)
    }

    pub fn kinds(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }

    /// What is kept of silence was made with this.
    pub fn fingerprint(&self) -> String {
        let kinds: Vec<String> = self.0.iter().map(|(kind, days)| format!("{kind} {days:?}")).collect();
        kinds.join("; ")
    }
}

/// The day on which the fact shows that its feed spoke: its event day, but never one after it was recorded.
pub fn day_of(stored: &StoredFact) -> i32 {
    day::of_ms(stored.fact.valid_from_ms.min(stored.fact.recorded_at_ms))
}

/// One fact of the kind becomes `new`, where before it was `old`. False: the last day must be sought among all
/// facts ([`recompute`]).
#[must_use]
pub fn change(
    silences: &mut Vec<Silence>,
    kind: &Arc<str>,
    old: Option<&StoredFact>,
    new: Option<&StoredFact>,
) -> bool {
    if let Some(new) = new {
        let day = day_of(new);
        let last = &mut of_kind(silences, kind).last;
        match last.binary_search_by(|(feed, _)| (**feed).cmp(&*new.feed)) {
            Ok(at) => last[at].1 = last[at].1.max(day),
            Err(at) => last.insert(at, (new.feed.clone(), day)),
        }
    }
    let Some(old) = old else { return true };
    let replaces = new.is_some_and(|new| new.feed == old.feed && day_of(new) >= day_of(old));
    let last = silences.iter().find(|silence| silence.kind == *kind).map(|silence| &silence.last);
    let was_last =
        last.is_some_and(|last| last.iter().any(|(feed, day)| *feed == old.feed && *day <= day_of(old)));
    replaces || !was_last
}

fn of_kind<'a>(silences: &'a mut Vec<Silence>, kind: &Arc<str>) -> &'a mut Silence {
    let at = match silences.binary_search_by(|silence| (*silence.kind).cmp(kind)) {
        Ok(at) => at,
        Err(at) => {
            let silence = Silence { kind: kind.clone(), last: Vec::new(), waiting: None, passed: None };
            silences.insert(at, silence);
            at
        }
    };
    &mut silences[at]
}

/// The last days of the kind, from all facts of the place.
pub fn recompute(silences: &mut Vec<Silence>, kind: &Arc<str>, facts: &[StoredFact]) {
    of_kind(silences, kind).last.clear();
    for stored in facts.iter().filter(|stored| stored.kind == *kind) {
        // Nothing is taken away, so that nothing must be sought.
        let _ = change(silences, kind, None, Some(stored));
    }
}

/// Kinds that never came, or come no more, are forgotten once nothing waits for them.
pub fn forget(silences: &mut Vec<Silence>) {
    silences
        .retain(|silence| !silence.last.is_empty() || silence.waiting.is_some() || silence.passed.is_some());
}

/// How a place stands with one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub kind: Arc<str>,
    /// The feed that spoke last; of several on one day the last in order.
    pub feed: Arc<str>,
    pub last_day: i32,
    /// Where the feed's clock stands; None where it has too few places to have one.
    pub clock_day: Option<i32>,
}

impl Standing {
    /// None where no fact of the kind is there: who never spoke is not silent.
    pub fn of(silence: &Silence, clocks: &Clocks) -> Option<Self> {
        let (feed, last_day) = silence.last.iter().max_by_key(|(feed, day)| (*day, feed.clone()))?;
        Some(Self {
            kind: silence.kind.clone(),
            feed: feed.clone(),
            last_day: *last_day,
            clock_day: clocks.day(&silence.kind, feed),
        })
    }

    /// The highest of these days that the silence has lasted.
    pub fn passed(&self, days: &[i32]) -> Option<i32> {
        let clock = self.clock_day?;
        days.iter().rev().copied().find(|days| self.due(*days) <= clock)
    }

    /// The day on which the silence will have lasted so many days.
    pub fn due(&self, days: i32) -> i32 {
        self.last_day.saturating_add(days)
    }

    fn next(&self, days: &[i32]) -> Option<i32> {
        let is_ahead = |due: &i32| self.clock_day.is_none_or(|clock| *due > clock);
        days.iter().map(|days| self.due(*days)).find(is_ahead)
    }
}

/// Sets the timers of one kind. One that waits for an earlier day stays: it will find, when it is due, that
/// the place has spoken meanwhile. So a place that speaks every day costs a write now and then, and not every day.
pub fn set_timers(silence: &mut Silence, days: &[i32], clocks: &Clocks) {
    let standing = Standing::of(silence, clocks);
    let due = |day: Option<i32>| Some(Due { feed: standing.as_ref()?.feed.clone(), day: day? });
    let next = due(standing.as_ref().and_then(|standing| standing.next(days)));
    silence.passed =
        due(standing.as_ref().and_then(|standing| standing.passed(days).map(|days| standing.due(days))));
    let may_stay = |waiting: &Due, next: &Due| {
        waiting.feed == next.feed
            && waiting.day <= next.day
            && clocks.day(&silence.kind, &waiting.feed).is_none_or(|clock| waiting.day > clock)
    };
    match (&silence.waiting, &next) {
        (Some(waiting), Some(next)) if may_stay(waiting, next) => {}
        _ => silence.waiting = next,
    }
}

/// Whether the clock has gone past a timer that was not looked at yet.
pub fn is_due(silence: &Silence, clocks: &Clocks) -> bool {
    let clock = |due: &Due| clocks.day(&silence.kind, &due.feed);
    silence.waiting.as_ref().is_some_and(|due| clock(due).is_some_and(|clock| due.day <= clock))
        || silence.passed.as_ref().is_some_and(|due| clock(due).is_none_or(|clock| due.day > clock))
}

/// By kind and feed.
pub type ClockKey = (Arc<str>, Arc<str>);

/// How far the feeds of a shard have come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clocks(BTreeMap<ClockKey, Clock>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Clock {
    /// How many places it spoke of on each day last.
    last: BTreeMap<i32, u64>,
    places: u64,
    day: Option<i32>,
}

impl Clock {
    /// The latest day that a quorum of the places reached.
    fn reached(&self) -> Option<i32> {
        let quorum = quorum(self.places);
        let mut places = 0;
        self.last.iter().rev().find_map(|(day, count)| {
            places += count;
            (places >= quorum).then_some(*day)
        })
    }
}

impl Clocks {
    pub fn new(last_days: Vec<LastDay>) -> Self {
        let mut clocks = Self::default();
        for last in last_days {
            let clock = clocks.0.entry((last.kind, last.feed)).or_default();
            clock.last.insert(last.day, last.places);
            clock.places += last.places;
        }
        let keys: Vec<ClockKey> = clocks.keys().cloned().collect();
        for key in &keys {
            clocks.settle(key);
        }
        clocks
    }

    pub fn keys(&self) -> impl Iterator<Item = &ClockKey> {
        self.0.keys()
    }

    pub fn day(&self, kind: &str, feed: &str) -> Option<i32> {
        // A shard has a handful of clocks.
        let found = self.0.iter().find(|((k, f), _)| **k == *kind && **f == *feed);
        found.and_then(|(_, clock)| clock.day)
    }

    /// A place's last days of one kind become others. The days that count otherwise now are added to `changed`.
    pub fn turn(
        &mut self,
        kind: &Arc<str>,
        before: &[(Arc<str>, i32)],
        after: &[(Arc<str>, i32)],
        changed: &mut BTreeSet<(ClockKey, i32)>,
    ) {
        for (feed, day) in before.iter().filter(|last| !after.contains(last)) {
            let key = (kind.clone(), feed.clone());
            let clock = self.0.entry(key.clone()).or_default();
            clock.places = clock.places.saturating_sub(1);
            if let Some(count) = clock.last.get_mut(day) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    clock.last.remove(day);
                }
            }
            changed.insert((key, *day));
        }
        for (feed, day) in after.iter().filter(|last| !before.contains(last)) {
            let key = (kind.clone(), feed.clone());
            let clock = self.0.entry(key.clone()).or_default();
            clock.places += 1;
            *clock.last.entry(*day).or_default() += 1;
            changed.insert((key, *day));
        }
    }

    /// Has the clock show what its places say, and tells what it showed before.
    pub fn settle(&mut self, key: &ClockKey) -> Option<i32> {
        let clock = self.0.get_mut(key)?;
        let reached = clock.reached();
        std::mem::replace(&mut clock.day, reached)
    }

    pub fn last_day(&self, key: &ClockKey, day: i32) -> LastDay {
        let places = self.0.get(key).and_then(|clock| clock.last.get(&day)).copied().unwrap_or_default();
        LastDay { kind: key.0.clone(), feed: key.1.clone(), day, places }
    }
}
