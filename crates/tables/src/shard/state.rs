//! What a shard keeps of facts and places, in memory.

use std::sync::Arc;

use yibiao_records::{Fact, FactId, RawPosition, Value};

/// A fact as it is kept: with what its frame said of all its facts.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFact {
    pub kind: Arc<str>,
    pub feed: Arc<str>,
    pub raw_topic: Arc<str>,
    pub raw_partition: i32,
    pub contract_version: Arc<str>,
    pub gazetteer_version: Arc<str>,
    pub fact: Fact,
}

/// Everything that is kept of one place beside its facts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlaceState {
    /// In the order of the table's columns; empty when the place has no facts any more.
    pub row: Vec<Value>,
    /// How many facts the row was merged from.
    pub facts: u64,
    /// For each merged column the fact whose value stands in the row; None where it is computed or null.
    pub winners: Vec<Option<Winner>>,
    /// Daily figures, by series of the specification.
    pub series: Vec<DailySeries>,
    /// The newest warning of each rule that ever fired here.
    pub alarms: Vec<Alarm>,
}

/// The fact that gave a column its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Winner {
    pub value: Value,
    /// Index of the source in the column's list.
    pub rank: u32,
    pub kind: Arc<str>,
    pub fact: FactId,
    pub valid_from_ms: i64,
    pub recorded_at_ms: i64,
    pub feed: Arc<str>,
    pub source_key: String,
    pub raw_topic: Arc<str>,
    pub raw_partition: i32,
    pub raw: RawPosition,
}

/// Daily figures of one series: from `floor_day` on by day and feed, before that only how many facts there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailySeries {
    pub floor_day: i32,
    /// Facts of days before `floor_day`.
    pub facts_before: u64,
    /// In the order of feed, then day; a day without facts is absent.
    pub days: Vec<Daily>,
}

impl Default for DailySeries {
    fn default() -> Self {
        Self { floor_day: i32::MIN, facts_before: 0, days: Vec::new() }
    }
}

/// One feed's figures of one day. Whole numbers, so that taking out what was put in is exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daily {
    pub feed: Arc<str>,
    /// Days since 1970-01-01, Asia/Shanghai.
    pub day: i32,
    pub facts: u64,
    /// Of the values, thousandths where they are decimals.
    pub sum: i64,
}

/// The newest warning of one rule at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    pub rule: Arc<str>,
    /// From 1: the how-manieth warning of this rule here.
    pub ordinal: u32,
    pub firing: bool,
    pub severity: i64,
    /// What must differ for the warning to be updated.
    pub update_key: String,
}

/// The highest raw position that was applied, of those that came over one std topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MarkKey {
    pub std_topic: Arc<str>,
    pub raw_topic: Arc<str>,
    pub raw_partition: i32,
}
