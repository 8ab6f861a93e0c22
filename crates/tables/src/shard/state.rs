//! What a shard keeps of facts and places, in memory.

use std::sync::Arc;

use yibiao_records::{Fact, FactId, RawPosition, Statement, Value};

use crate::spec::FACT_COLUMNS_BEFORE_PAYLOAD;

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

impl StoredFact {
    /// In the order of the table `fact_<kind>`, which has `width` columns: a fact that was stored before its kind
    /// had a column has null there. A retraction's row has the content that was retracted.
    pub fn row(&self, width: usize) -> Vec<Value> {
        let fact = &self.fact;
        let text = |text: &str| Value::Text(text.to_owned());
        let mut row = Vec::with_capacity(width);
        row.extend([
            text(match fact.statement {
                Statement::Assert => "assert",
                Statement::Retract => "retract",
            }),
            Value::Text(fact.id.to_string()),
            Value::Int(fact.place.get()),
            text(&fact.division_code),
            text(&fact.level),
            Value::Bool(fact.provisional),
            Value::Timestamp(fact.valid_from_ms),
            fact.valid_to_ms.map_or(Value::Null, Value::Timestamp),
            Value::Timestamp(fact.recorded_at_ms),
            text(&self.feed),
            text(&fact.source_key),
            text(&self.raw_topic),
            Value::Int(i64::from(self.raw_partition)),
            Value::Int(fact.raw.offset),
            Value::Int(i64::from(fact.raw.index)),
            text(&self.contract_version),
            text(&self.gazetteer_version),
            text(&fact.match_reason),
            Value::Decimal((f64::from(fact.confidence) * 1000.0).round() as i64),
        ]);
        debug_assert_eq!(row.len(), FACT_COLUMNS_BEFORE_PAYLOAD);
        row.extend(fact.payload.iter().cloned());
        row.resize(width, Value::Null);
        row
    }
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
    /// Of each kind that some rule listens to, once a fact of it was here; in the order of kinds.
    pub silences: Vec<Silence>,
}

/// When facts of one kind came to a place last, and when that they do not come will mean something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    pub kind: Arc<str>,
    /// By feed, in their order: the latest day of its facts here.
    pub last: Vec<(Arc<str>, i32)>,
    /// Nothing changes before the feed's clock has reached this day; it may be earlier than the day it will change.
    pub waiting: Option<Due>,
    /// The day of the last threshold that was passed.
    pub passed: Option<Due>,
}

/// A day in the time of one feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub feed: Arc<str>,
    /// Days since 1970-01-01, Asia/Shanghai.
    pub day: i32,
}

/// The fact that gave a column its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Winner {
    /// Stored once: it is the row's cell of this column.
    pub value: Value,
    /// Index of the source in the column's list.
    pub rank: u32,
    /// Most of a row comes of one fact: its columns share this.
    pub origin: Arc<Origin>,
}

/// Which fact it is, and what its freshness is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
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

impl Origin {
    pub fn of(stored: &StoredFact) -> Self {
        Self {
            kind: stored.kind.clone(),
            fact: stored.fact.id,
            valid_from_ms: stored.fact.valid_from_ms,
            recorded_at_ms: stored.fact.recorded_at_ms,
            feed: stored.feed.clone(),
            source_key: stored.fact.source_key.clone(),
            raw_topic: stored.raw_topic.clone(),
            raw_partition: stored.raw_partition,
            raw: stored.fact.raw,
        }
    }
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MarkKey {
    pub std_topic: Arc<str>,
    pub raw_topic: Arc<str>,
    pub raw_partition: i32,
}
