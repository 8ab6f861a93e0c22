//! Warnings of crowded rentals, against the truth.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{Days, NaiveDate};
use serde::Serialize;

use super::{DwellingTruth, Truth, ratio};
use crate::households::Kind;

/// A rental that became or ceased to be crowded within so many days of the day of scoring may be warned of or not:
/// a window of readings cannot know yet.
pub const GRACE_DAYS: u64 = 14;

/// How well warnings of crowded rentals hit, on one day.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WarningScore {
    /// Crowded on the day, and for more than the days of grace.
    pub crowded: u64,
    /// Of these, warned.
    pub right: u64,
    /// Turned within the days of grace: warned or not, both is right.
    pub in_grace: u64,
    /// Warned, and not crowded: by what the dwelling truly is. `not_a_dwelling` for other places.
    pub false_alarms: BTreeMap<String, u64>,
    /// Crowded, and not warned: by how the crowd came to be (`throughout` or `begun_within`).
    pub missed: BTreeMap<String, u64>,
    pub precision: f64,
    pub recall: f64,
}

/// Scores the 地址编码 of the places that are warned of on a day, with [`GRACE_DAYS`].
pub fn warnings<'a>(truth: &Truth, warned: impl Iterator<Item = &'a str>, as_of: NaiveDate) -> WarningScore {
    warnings_within(truth, warned, as_of, GRACE_DAYS)
}

/// The same with other days of grace: as many as the rule's window is long.
pub fn warnings_within<'a>(
    truth: &Truth,
    warned: impl Iterator<Item = &'a str>,
    as_of: NaiveDate,
    grace_days: u64,
) -> WarningScore {
    let mut score = WarningScore::default();
    let mut is_warned = vec![false; truth.places.len()];
    for code in warned {
        match truth.place_at.get(code) {
            Some(&at) if truth.places[at as usize].dwelling.is_some() => is_warned[at as usize] = true,
            _ => *score.false_alarms.entry("not_a_dwelling".to_owned()).or_default() += 1,
        }
    }
    for (place, is_warned) in truth.places.iter().zip(is_warned) {
        let Some(dwelling) = &place.dwelling else { continue };
        match (dwelling.standing(as_of, grace_days), is_warned) {
            (Standing::Turning, _) => score.in_grace += 1,
            (Standing::Crowded, true) => {
                score.crowded += 1;
                score.right += 1;
            }
            (Standing::Crowded, false) => {
                score.crowded += 1;
                let since = if dwelling.crowded_from.is_some() { "begun_within" } else { "throughout" };
                *score.missed.entry(since.to_owned()).or_default() += 1;
            }
            (Standing::Quiet, true) => {
                *score.false_alarms.entry(dwelling.kind.name().to_owned()).or_default() += 1
            }
            (Standing::Quiet, false) => {}
        }
    }
    let false_alarms: u64 = score.false_alarms.values().sum();
    score.precision = ratio(score.right, score.right + false_alarms);
    score.recall = ratio(score.right, score.crowded);
    score
}

enum Standing {
    Quiet,
    Crowded,
    /// It turned too short a time ago.
    Turning,
}

impl DwellingTruth {
    fn standing(&self, as_of: NaiveDate, grace_days: u64) -> Standing {
        if self.kind != Kind::Crowded {
            return Standing::Quiet;
        }
        let settled = as_of.checked_sub_days(Days::new(grace_days)).unwrap_or(as_of);
        match (self.crowded_from, self.crowded_to) {
            (Some(from), _) if from > as_of => Standing::Quiet,
            (Some(from), _) if from > settled => Standing::Turning,
            (_, Some(to)) if to < settled => Standing::Quiet,
            (_, Some(to)) if to < as_of => Standing::Turning,
            _ => Standing::Crowded,
        }
    }
}

impl fmt::Display for WarningScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        writeln!(
            f,
            "crowded rentals: precision {:.1}%, recall {:.1}% ({} of {} found; {} turned too lately to say)",
            self.precision * 100.0,
            self.recall * 100.0,
            self.right,
            self.crowded,
            self.in_grace
        )?;
        writeln!(f, "  false alarms: {}", list(&self.false_alarms))?;
        write!(f, "  missed: {}", list(&self.missed))
    }
}
