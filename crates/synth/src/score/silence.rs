//! Warnings of silent meters, against the truth.

use std::{collections::HashSet, fmt};

use chrono::{Days, NaiveDate};
use serde::Serialize;

use super::{Truth, ratio};

/// A feed's clock is behind the day of scoring: its last readings are still on their way.
const CLOCK_DAYS: u64 = 2;

/// How well warnings of dwellings whose meters fell silent hit, on one day.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SilenceScore {
    /// Silent for longer than the rule waits.
    pub silent: u64,
    /// Of these, warned.
    pub right: u64,
    /// Silent, but for too short a time to say: warned or not, both is right.
    pub in_grace: u64,
    /// Warned, and read all the time, or no dwelling.
    pub false_alarms: u64,
    pub precision: f64,
    pub recall: f64,
}

/// Scores the 地址编码 of the places that are warned of on a day by a rule that waits for `threshold_days`.
pub fn silence<'a>(
    truth: &Truth,
    warned: impl Iterator<Item = &'a str>,
    as_of: NaiveDate,
    threshold_days: u64,
) -> SilenceScore {
    let mut score = SilenceScore::default();
    let mut warned: HashSet<&str> = warned.collect();
    for (code, at) in &truth.place_at {
        let since = truth.places[*at as usize].dwelling.as_ref().and_then(|dwelling| dwelling.silent_from);
        let Some(since) = since.filter(|since| *since <= as_of) else { continue };
        let is_warned = warned.remove(code.as_str());
        if since.checked_add_days(Days::new(threshold_days + CLOCK_DAYS)).is_some_and(|known| known <= as_of)
        {
            score.silent += 1;
            score.right += u64::from(is_warned);
        } else {
            score.in_grace += 1;
        }
    }
    score.false_alarms = warned.len() as u64;
    score.precision = ratio(score.right, score.right + score.false_alarms);
    score.recall = ratio(score.right, score.silent);
    score
}

impl fmt::Display for SilenceScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "silent meters: precision {:.1}%, recall {:.1}% ({} of {} found; {} silent too lately to say; {} false alarms)",
            self.precision * 100.0,
            self.recall * 100.0,
            self.right,
            self.silent,
            self.in_grace,
            self.false_alarms
        )
    }
}
