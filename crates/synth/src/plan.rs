//! How large a city, over which days, and how dirty.

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The same plan gives the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    pub seed: u64,
    /// Rooms with a standard address: 300 to 2,000,000.
    pub dwellings: u32,
    /// Days of readings and reports: 7 to 366.
    pub days: u32,
    /// The last of these days.
    pub end: NaiveDate,
    pub rates: Rates,
}

/// How often the departments do what departments do. All are shares of records or of accounts, 0 to 0.2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Readings that come 1 to 6 days late.
    pub late: f64,
    /// Records sent twice.
    pub repeated: f64,
    /// Readings first sent wrong and sent again right.
    pub corrected: f64,
    /// Readings that never come.
    pub missing: f64,
    /// Records that cannot be used (each kind comes at least once a feed), beside the good ones.
    pub broken: f64,
    /// Accounts whose address is in no standard address: another province, a site without an address.
    pub strangers: f64,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            seed: 1,
            dwellings: 20_000,
            days: 35,
            end: NaiveDate::from_ymd_opt(2025, 11, 30).expect("invariant: a real date"),
            rates: Rates::default(),
        }
    }
}

impl Default for Rates {
    fn default() -> Rates {
        Rates {
            late: 0.012,
            repeated: 0.004,
            corrected: 0.003,
            missing: 0.008,
            broken: 0.0005,
            strangers: 0.002,
        }
    }
}

impl Plan {
    /// The first day of readings.
    pub fn start(&self) -> NaiveDate {
        self.date(0)
    }

    /// Day 0 is `start`, day `days - 1` is `end`.
    pub fn date(&self, day: u32) -> NaiveDate {
        let back = u64::from(self.days.saturating_sub(1));
        let start = self.end.checked_sub_days(Days::new(back)).unwrap_or(self.end);
        start.checked_add_days(Days::new(u64::from(day))).unwrap_or(self.end)
    }

    /// The day on which a file of standard addresses changes what is in force: full dump, first and second increment.
    pub(crate) fn epoch_day(&self, epoch: u8) -> u32 {
        match epoch {
            0 => 0,
            1 => self.days * 2 / 5,
            _ => self.days * 3 / 4,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Plan(what));
        if !(300..=2_000_000).contains(&self.dwellings) {
            return wrong(format!("{} dwellings; give 300 to 2,000,000", self.dwellings));
        }
        if !(7..=366).contains(&self.days) {
            return wrong(format!("{} days; give 7 to 366", self.days));
        }
        let rates = &self.rates;
        for (name, rate) in [
            ("late", rates.late),
            ("repeated", rates.repeated),
            ("corrected", rates.corrected),
            ("missing", rates.missing),
            ("broken", rates.broken),
            ("strangers", rates.strangers),
        ] {
            if !(0.0..=0.2).contains(&rate) {
                return wrong(format!("the rate {name} is {rate}; give 0 to 0.2"));
            }
        }
        Ok(())
    }
}

/// How far the writing is; given to the caller's closure often enough to draw a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is being written: `the city`, `standard addresses`, `day 2025-11-03`, …
    pub what: String,
    pub done: u64,
    pub of: u64,
}
