//! One rule of silence, and by brute force where it must hold, what the clocks show, and how many timers there are.
//!
//! A feed's clock in a shard stands at the latest day of which it spoke last, or later, at one in twenty of its places there,
//! and at least three. A place is silent for so many days when the clock is so many days past the last day of which the
//! feed spoke there; no fact counts for a day after it was recorded.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use yibiao_records::PlaceId;
use yibiao_tables::View;

use crate::{
    oracle::{Expected, Stands},
    setup::{JUSTICE, KINDS, POWER},
};

pub const RULE: &str = r#"-- rule: quiet
-- title: 长期无用电或调解记录
-- version: 1
-- shape: silence
-- message: "{address}：用电自{electricity_last_on}、调解自{dispute_last_on}起再无记录"
-- update_when: electricity_days, dispute_days
-- silent: electricity 3, 10
-- silent: dispute 7, 30
-- evidence: electricity newest 1
-- evidence: dispute newest 1
--
-- So few days that it rises, changes and clears all the time.
SELECT place_id, coalesce(electricity_days, 0) + 100 * coalesce(dispute_days, 0) AS severity,
       electricity_days, dispute_days, electricity_last_on, dispute_last_on
FROM places JOIN silent USING (place_id)
"#;
/// The kinds that it listens to, with its days.
const LISTENS: [(usize, [i64; 2]); 2] = [(POWER, [3, 10]), (JUSTICE, [7, 30])];

/// What one shard must know of silence.
#[derive(Debug, Default)]
pub struct Silences {
    /// By feed and place.
    last: BTreeMap<(usize, PlaceId), i64>,
    clocks: BTreeMap<usize, i64>,
}

impl Silences {
    pub fn of(expected: &Expected, shard: u32, shards: u32) -> Self {
        let mut silences = Self::default();
        for ((feed, _), stands) in &expected.facts {
            let place = stands.claim.spot.place;
            if LISTENS.iter().any(|(listened, _)| listened == feed) && place.shard(shards) == shard {
                let last = silences.last.entry((*feed, place)).or_insert(i64::MIN);
                *last = day(stands).max(*last);
            }
        }
        for (feed, _) in LISTENS {
            let mut days: Vec<i64> = silences.days(feed).collect();
            days.sort_unstable_by(|a, b| b.cmp(a));
            let quorum = days.len().div_ceil(20).max(3);
            silences.clocks.extend(days.get(quorum - 1).map(|day| (feed, *day)));
        }
        silences
    }

    fn days(&self, feed: usize) -> impl Iterator<Item = i64> {
        self.last.iter().filter(move |((of, _), _)| *of == feed).map(|(_, day)| *day)
    }

    /// How many of the days have passed.
    fn passed(&self, feed: usize, last: i64, days: &[i64]) -> usize {
        let clock = self.clocks.get(&feed);
        days.iter().filter(|days| clock.is_some_and(|clock| last + **days <= *clock)).count()
    }

    /// Where the rule holds, and how gravely.
    pub fn firing(&self) -> BTreeMap<PlaceId, i64> {
        let mut firing: BTreeMap<PlaceId, i64> = BTreeMap::new();
        for ((feed, place), last) in &self.last {
            for (of, days) in LISTENS.iter().filter(|(of, _)| of == feed) {
                if let Some(passed) = self.passed(*feed, *last, days).checked_sub(1) {
                    *firing.entry(*place).or_default() += days[passed] * if *of == POWER { 1 } else { 100 };
                }
            }
        }
        firing
    }

    /// The shard's days and timers: one that waits where there is a day to come, and one where the last has passed.
    pub fn compare(&self, view: &View) -> Result<()> {
        let (mut wanted, mut found) = (BTreeMap::new(), BTreeMap::new());
        for (feed, _) in LISTENS {
            for day in self.days(feed) {
                *wanted.entry((KINDS[feed].to_owned(), day)).or_default() += 1;
            }
        }
        for last in view.last_days()? {
            found.insert((last.kind.to_string(), i64::from(last.day)), last.places);
        }
        ensure!(found == wanted, "last days are {found:?}, not {wanted:?}");
        let timers = self.last.iter().map(|((feed, _), last)| {
            let days = LISTENS.iter().find(|(of, _)| of == feed).map_or(&[][..], |(_, days)| days);
            let passed = self.passed(*feed, *last, days);
            u64::from(passed > 0) + u64::from(passed < days.len())
        });
        let (found, wanted) = (view.timers_count()?, timers.sum::<u64>());
        ensure!(found == wanted, "there are {found} timers, not {wanted}");
        Ok(())
    }
}

/// In China.
fn day(stands: &Stands) -> i64 {
    (stands.claim.valid_from_ms.min(stands.recorded_at_ms) + 8 * 3_600_000).div_euclid(86_400_000)
}
