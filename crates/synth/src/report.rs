//! What was written, counted, so that the pipeline's own accounting can be held against it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use yibiao_records::Reason;

use crate::households::Kind;
use crate::plan::Plan;

/// Also written to `<dir>/truth/report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub plan: Plan,
    pub compounds: u32,
    pub buildings: u32,
    /// Places of all levels with a standard address.
    pub places: u32,
    pub dwellings: u32,
    pub dwellings_by_city: BTreeMap<String, u32>,
    pub dwellings_by_kind: BTreeMap<Kind, u32>,
    pub crowded: Crowded,
    /// Lived in, but their water and electricity meters are not read any more.
    #[serde(default)]
    pub silent: u32,
    /// By feed id.
    pub feeds: BTreeMap<String, FeedReport>,
}

/// The crowded rentals, by when they are crowded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Crowded {
    pub total: u32,
    pub throughout: u32,
    pub begin_within: u32,
    pub end_within: u32,
    /// Crowded on the last day.
    pub on_last_day: u32,
}

/// One feed, by records as the department sends them (lines, rows, messages).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedReport {
    pub files: u32,
    pub bytes: u64,
    /// All records, good and bad, first and repeated.
    pub records: u64,
    /// Of these: made unusable, by the reason that a reader should find.
    pub broken: BTreeMap<String, u64>,
    /// Of these: the same content sent again.
    pub repeated: u64,
    /// Of these: sent days after their own day.
    pub late: u64,
    /// Of these: a new content under a known key.
    pub corrected: u64,
    /// Not among these: readings that never came.
    pub missing: u64,
    /// Distinct accounts or records whose address is in no standard address.
    pub strangers: u64,
}

impl FeedReport {
    pub(crate) fn count_broken(&mut self, reason: Reason) {
        self.records += 1;
        *self.broken.entry(reason.code().to_owned()).or_default() += 1;
    }

    pub fn broken_total(&self) -> u64 {
        self.broken.values().sum()
    }
}

impl Report {
    pub fn records(&self) -> u64 {
        self.feeds.values().map(|feed| feed.records).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.feeds.values().map(|feed| feed.bytes).sum()
    }

    pub fn look_alikes(&self) -> u32 {
        self.dwellings_by_kind.iter().filter(|(kind, _)| kind.is_look_alike()).map(|(_, n)| n).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        writeln!(
            f,
            "a city of {} dwellings, {} to {}, seed {}",
            self.dwellings,
            plan.start(),
            plan.end,
            plan.seed
        )?;
        let cities: Vec<String> =
            self.dwellings_by_city.iter().map(|(city, n)| format!("{city} {n}")).collect();
        writeln!(
            f,
            "  {} compounds, {} buildings, {} places; {}",
            self.compounds,
            self.buildings,
            self.places,
            cities.join(", ")
        )?;
        let crowded = &self.crowded;
        writeln!(
            f,
            "  crowded rentals {} ({} throughout, {} begin and {} end within, {} on the last day); look-alikes {}; silent {}",
            crowded.total,
            crowded.throughout,
            crowded.begin_within,
            crowded.end_within,
            crowded.on_last_day,
            self.look_alikes(),
            self.silent
        )?;
        writeln!(
            f,
            "  {:<32}{:>11}{:>8}{:>10}{:>8}{:>10}{:>9}{:>8}",
            "feed", "records", "broken", "repeated", "late", "corrected", "MB", "files"
        )?;
        for (id, feed) in &self.feeds {
            writeln!(
                f,
                "  {:<32}{:>11}{:>8}{:>10}{:>8}{:>10}{:>9.1}{:>8}",
                id,
                feed.records,
                feed.broken_total(),
                feed.repeated,
                feed.late,
                feed.corrected,
                feed.bytes as f64 / 1e6,
                feed.files
            )?;
        }
        write!(f, "  {:<32}{:>11}{:>45.1}", "all", self.records(), self.bytes() as f64 / 1e6)
    }
}
