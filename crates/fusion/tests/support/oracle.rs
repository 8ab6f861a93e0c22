//! A naive row: every column by brute force over the list of facts, written apart from the crate's merging.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use yibiao_records::{ColumnType, Value};
use yibiao_tables::{
    shard::StoredFact,
    spec::{FactField, Measure, Merge, MergedColumn, PlacesSpec, Source, Span},
};

use super::DAY_MS;

fn value(source: &Source, stored: &StoredFact) -> Option<Value> {
    if source.kind.as_ref().is_some_and(|kind| *kind != stored.kind) {
        return None;
    }
    if !source.feeds.is_empty() && !source.feeds.iter().any(|feed| feed.as_str() == &*stored.feed) {
        return None;
    }
    for (index, text) in &source.only {
        if stored.fact.payload[*index].to_string() != *text {
            return None;
        }
    }
    let value = match source.field {
        FactField::Payload(index) => stored.fact.payload[index].clone(),
        FactField::Level => Value::Text(stored.fact.level.clone()),
        FactField::Provisional => Value::Bool(stored.fact.provisional),
        FactField::DivisionCode => Value::Text(stored.fact.division_code.clone()),
        FactField::Itself => Value::Int(0),
    };
    (value != Value::Null && value != Value::Text(String::new())).then_some(value)
}

fn day(stored: &StoredFact) -> i32 {
    (stored.fact.valid_from_ms + 8 * 3_600_000).div_euclid(DAY_MS) as i32
}

fn ended(stored: &StoredFact) -> bool {
    stored.fact.valid_to_ms.is_some_and(|to| to <= stored.fact.recorded_at_ms)
}

fn is_by_day(measure: Measure) -> bool {
    !matches!(measure, Measure::Sum(Span::All) | Measure::Count(Span::All) | Measure::Days(Span::All))
}

/// Day and value of each fact that the column counts.
fn counted(column: &MergedColumn, facts: &[StoredFact]) -> Vec<(i32, i64)> {
    let one = |stored: &StoredFact| {
        let value = column.sources.iter().find_map(|source| value(source, stored))?;
        Some((day(stored), value.as_i64().unwrap_or(0)))
    };
    facts.iter().filter_map(one).collect()
}

/// The merged columns, without place_id, sources and updated_at.
pub fn row(spec: &PlacesSpec, facts: &[StoredFact]) -> Vec<Value> {
    let is_by_day = |column: &&MergedColumn| match column.merge {
        Merge::Series { measure, .. } => is_by_day(measure),
        _ => false,
    };
    let days = spec.columns.iter().filter(is_by_day).flat_map(|column| counted(column, facts));
    let last = days.map(|(day, _)| day).max();
    spec.columns.iter().map(|column| cell(column, facts, last)).collect()
}

fn cell(column: &MergedColumn, facts: &[StoredFact], last: Option<i32>) -> Value {
    let number = |n: i64| match column.column.column_type {
        ColumnType::Decimal => Value::Decimal(n),
        _ => Value::Int(n),
    };
    match column.merge {
        Merge::EventDay => last.map_or(Value::Null, Value::Date),
        Merge::Series { measure, .. } if !is_by_day(measure) => {
            let holding: Vec<StoredFact> = facts.iter().filter(|stored| !ended(stored)).cloned().collect();
            let counted = counted(column, &holding);
            match measure {
                Measure::Count(_) => number(counted.len() as i64),
                _ if counted.is_empty() => Value::Null,
                _ => number(counted.iter().map(|(_, value)| value).sum()),
            }
        }
        Merge::Series { measure, .. } => {
            let counted = counted(column, facts);
            let within = |days: u32, end: Option<i32>| -> Vec<(i32, i64)> {
                let inside = |d: i32| end.is_some_and(|end| d <= end && d > end - days as i32);
                counted.iter().copied().filter(|(d, _)| inside(*d)).collect()
            };
            match measure {
                Measure::Sum(Span::Days(days)) => {
                    let within = within(days, last);
                    if within.is_empty() { Value::Null } else { number(within.iter().map(|(_, v)| v).sum()) }
                }
                Measure::Count(Span::Days(days)) => number(within(days, last).len() as i64),
                Measure::Days(Span::Days(days)) => {
                    let distinct: BTreeSet<i32> = within(days, last).into_iter().map(|(d, _)| d).collect();
                    number(distinct.len() as i64)
                }
                Measure::Peak { window, over, days } => {
                    let Some(last) = last else { return Value::Null };
                    let mean = |end: i32| {
                        let within = within(window, Some(end));
                        let distinct: BTreeSet<i32> = within.iter().map(|(d, _)| *d).collect();
                        let sum: i64 = within.iter().map(|(_, v)| v).sum();
                        (distinct.len() as u32 >= days).then(|| sum.div_euclid(distinct.len() as i64))
                    };
                    let peak = (0..over as i32).filter_map(|back| mean(last - back)).max();
                    peak.map_or(Value::Null, number)
                }
                _ => unreachable!("by day"),
            }
        }
        merge => {
            // By rank, then by freshness; the best stands last.
            let mut candidates: BTreeMap<_, Value> = BTreeMap::new();
            for stored in facts.iter().filter(|stored| !ended(stored)) {
                let found =
                    column.sources.iter().enumerate().find_map(|(rank, s)| Some((rank, value(s, stored)?)));
                let Some((rank, value)) = found else { continue };
                let order = match merge {
                    Merge::SourceOrder => (-(rank as i64), Value::Null),
                    Merge::Max => (0, value.clone()),
                    Merge::Latest => (0, Value::Null),
                    other => unreachable!("{other:?} is not in the tests' specification"),
                };
                let fact = &stored.fact;
                let fresh =
                    (fact.valid_from_ms, fact.recorded_at_ms, stored.feed.clone(), stored.raw_topic.clone());
                let fresh = (fresh, stored.raw_partition, fact.raw, stored.kind.clone(), fact.id);
                candidates.insert((order, fresh), value);
            }
            candidates.pop_last().map(|(_, value)| value).unwrap_or_default()
        }
    }
}
