//! Columns computed from daily figures, kept so that a fact costs one day's entry and not a scan.
//!
//! Only days that a window can reach are kept, and some more (`SLACK_DAYS`), so that the latest event day may
//! fall back a little (a retraction, a corrected date). When it falls back further the series is stale.

use yibiao_tables::{
    shard::{Daily, DailySeries, PlaceState, StoredFact},
    spec::{Measure, PlacesSpec, SeriesSpec, Span},
};

use super::{given, has_ended};
use crate::day;

/// How many days the latest event day may fall back without a scan of the place's facts.
const SLACK_DAYS: i32 = 21;

/// What the fact adds: its day and value. A series that is not by day has one day, 0.
fn entry(spec: &SeriesSpec, stored: &StoredFact) -> Option<(i32, i64)> {
    let value = spec.sources.iter().find_map(|source| given(source, stored))?;
    let day = match spec.reach_days {
        Some(_) => day::of_ms(stored.fact.valid_from_ms),
        None if has_ended(stored) => return None,
        None => 0,
    };
    Some((day, value.as_i64().unwrap_or(0)))
}

pub(super) fn add(spec: &SeriesSpec, kept: &mut DailySeries, stored: &StoredFact) {
    let Some((day, value)) = entry(spec, stored) else { return };
    if day < kept.floor_day {
        kept.facts_before += 1;
        return;
    }
    match position(kept, stored, day) {
        Ok(index) => {
            let daily = &mut kept.days[index];
            daily.facts += 1;
            daily.sum = daily.sum.wrapping_add(value);
        }
        Err(index) => {
            kept.days.insert(index, Daily { feed: stored.feed.clone(), day, facts: 1, sum: value });
        }
    }
}

/// Takes out what [`add`] put in.
pub(super) fn take(spec: &SeriesSpec, kept: &mut DailySeries, stored: &StoredFact) {
    let Some((day, value)) = entry(spec, stored) else { return };
    if day < kept.floor_day {
        kept.facts_before = kept.facts_before.saturating_sub(1);
        return;
    }
    if let Ok(index) = position(kept, stored, day) {
        let daily = &mut kept.days[index];
        daily.facts -= 1;
        daily.sum = daily.sum.wrapping_sub(value);
        if daily.facts == 0 {
            kept.days.remove(index);
        }
    }
}

fn position(kept: &DailySeries, stored: &StoredFact, day: i32) -> Result<usize, usize> {
    kept.days.binary_search_by(|daily| (&*daily.feed, daily.day).cmp(&(&*stored.feed, day)))
}

pub(super) fn of(spec: &SeriesSpec, facts: &[&StoredFact]) -> DailySeries {
    let mut kept = DailySeries::default();
    facts.iter().for_each(|stored| add(spec, &mut kept, stored));
    kept
}

/// The latest day of all series that are by day.
pub(super) fn event_day(spec: &PlacesSpec, state: &PlaceState) -> Option<i32> {
    let by_day = spec.series.iter().zip(&state.series).filter(|(spec, _)| spec.reach_days.is_some());
    by_day.flat_map(|(_, kept)| &kept.days).map(|daily| daily.day).max()
}

pub(super) fn is_stale(spec: &SeriesSpec, kept: &DailySeries, event_day: Option<i32>) -> bool {
    let Some(reach) = spec.reach_days else { return false };
    kept.facts_before > 0 && event_day.is_none_or(|last| last - reach as i32 + 1 < kept.floor_day)
}

/// Forgets days that no window reaches. What is forgotten is counted, so that it is known whether there is
/// something to compute again.
pub(super) fn forget(spec: &SeriesSpec, kept: &mut DailySeries, event_day: Option<i32>) {
    let (Some(reach), Some(last)) = (spec.reach_days, event_day) else { return };
    let floor = last - reach as i32 + 1 - SLACK_DAYS;
    if floor <= kept.floor_day {
        return;
    }
    kept.floor_day = floor;
    let facts_before = &mut kept.facts_before;
    kept.days.retain(|daily| {
        let stays = daily.day >= floor;
        if !stays {
            *facts_before += daily.facts;
        }
        stays
    });
}

/// The days that a measure looks at: first and last, both included.
pub(super) fn span(measure: Measure, event_day: Option<i32>) -> Option<(i32, i32)> {
    match measure {
        Measure::Sum(Span::All) | Measure::Count(Span::All) | Measure::Days(Span::All) => Some((0, 0)),
        Measure::Sum(Span::Days(days))
        | Measure::Count(Span::Days(days))
        | Measure::Days(Span::Days(days)) => event_day.map(|last| (last - days as i32 + 1, last)),
        Measure::Peak { window, over, .. } => event_day.map(|last| (last - (window + over) as i32 + 2, last)),
    }
}

/// None where a sum or peak has nothing to be computed of; counts are 0 then.
pub(super) fn measure(measure: Measure, kept: &DailySeries, event_day: Option<i32>) -> Option<i64> {
    let span = span(measure, event_day);
    let within = move |daily: &&Daily| span.is_some_and(|(from, to)| (from..=to).contains(&daily.day));
    let days = || kept.days.iter().filter(within);
    match measure {
        Measure::Sum(_) => days().map(|daily| daily.sum).reduce(i64::wrapping_add),
        Measure::Count(_) => Some(days().map(|daily| daily.facts as i64).sum()),
        Measure::Days(_) => {
            let mut distinct: Vec<i32> = days().map(|daily| daily.day).collect();
            distinct.sort_unstable();
            distinct.dedup();
            Some(distinct.len() as i64)
        }
        Measure::Peak { window, days: least, .. } => {
            let (from, to) = span?;
            // By day: the sum, and whether there is any.
            let mut by_day = vec![(0i64, 0u32); (to - from + 1) as usize];
            for daily in days() {
                let entry = &mut by_day[(daily.day - from) as usize];
                *entry = (entry.0.wrapping_add(daily.sum), 1);
            }
            let window = window as usize;
            let (mut sum, mut filled) = (0i64, 0u32);
            let mut peak: Option<i64> = None;
            for end in 0..by_day.len() {
                sum = sum.wrapping_add(by_day[end].0);
                filled += by_day[end].1;
                if end >= window {
                    sum = sum.wrapping_sub(by_day[end - window].0);
                    filled -= by_day[end - window].1;
                }
                if end + 1 >= window && filled >= least {
                    peak = peak.max(Some(sum.div_euclid(i64::from(filled))));
                }
            }
            peak
        }
    }
}
