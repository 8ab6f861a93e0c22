//! The row of a place, and its column `sources`.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Serialize, Serializer};
use yibiao_records::{ColumnType, PlaceId, Value};
use yibiao_tables::{
    shard::{Origin, PlaceState},
    spec::{Measure, Merge, PlacesSpec},
};

use super::series;
use crate::day;

/// Columns that came of the same facts, together: most of a row comes of one record.
#[derive(Debug, Serialize)]
struct From<'a> {
    columns: Vec<&'a str>,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Debug, Serialize, PartialEq)]
#[serde(untagged)]
enum What<'a> {
    One {
        feed: &'a str,
        source_key: &'a str,
        raw: Raw<'a>,
        #[serde(serialize_with = "day")]
        since: i32,
    },
    Many {
        feeds: BTreeSet<&'a str>,
        facts: u64,
        days: Option<Days>,
    },
}

/// topic/partition/offset
#[derive(Debug, PartialEq)]
struct Raw<'a>(&'a str, i32, i64);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}/{}", self.0, self.1, self.2))
    }
}

/// first/last
#[derive(Debug, PartialEq)]
struct Days(i32, i32);

impl Serialize for Days {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", Value::Date(self.0), Value::Date(self.1)))
    }
}

fn day<S: Serializer>(day: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Value::Date(*day))
}

/// What the columns of one row came of, in the order of the columns.
#[derive(Default)]
struct Sources<'a> {
    list: Vec<From<'a>>,
    /// Where in the list an origin is: the columns that one fact won share theirs.
    origins: Vec<(&'a Arc<Origin>, usize)>,
}

impl<'a> Sources<'a> {
    /// The column's value is that of one fact.
    fn one(&mut self, column: &'a str, origin: &'a Arc<Origin>) {
        if let Some((_, at)) = self.origins.iter().find(|(known, _)| Arc::ptr_eq(known, origin)) {
            self.list[*at].columns.push(column);
            return;
        }
        let at = self.add(
            column,
            What::One {
                feed: &origin.feed,
                source_key: &origin.source_key,
                raw: Raw(&origin.raw_topic, origin.raw_partition, origin.raw.offset),
                since: day::of_ms(origin.valid_from_ms),
            },
        );
        self.origins.push((origin, at));
    }

    /// Adds the column to others that came of the same; where in the list that is.
    fn add(&mut self, column: &'a str, what: What<'a>) -> usize {
        match self.list.iter().position(|from| from.what == what) {
            Some(at) => {
                self.list[at].columns.push(column);
                at
            }
            None => {
                self.list.push(From { columns: vec![column], what });
                self.list.len() - 1
            }
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(&self.list).expect("invariant: texts and numbers are always JSON")
    }
}

pub(super) fn of(spec: &PlacesSpec, place: PlaceId, state: &PlaceState, updated_at_ms: i64) -> Vec<Value> {
    let event_day = series::event_day(spec, state);
    let mut row = Vec::with_capacity(spec.columns.len() + 3);
    let mut sources = Sources::default();
    row.push(Value::Int(place.get()));
    for (index, merged) in spec.columns.iter().enumerate() {
        let name = &merged.column.name;
        row.push(match merged.merge {
            Merge::EventDay => event_day.map_or(Value::Null, Value::Date),
            Merge::Series { series, measure } => {
                if let Some(what) = many(state, series, measure, event_day) {
                    sources.add(name, what);
                }
                let value = series::measure(measure, &state.series[series], event_day);
                value.map_or(Value::Null, |value| match merged.column.column_type {
                    ColumnType::Decimal => Value::Decimal(value),
                    _ => Value::Int(value),
                })
            }
            _ => match &state.winners[index] {
                Some(winner) => {
                    sources.one(name, &winner.origin);
                    winner.value.clone()
                }
                None => Value::Null,
            },
        });
    }
    row.push(Value::Text(sources.json()));
    row.push(Value::Timestamp(updated_at_ms));
    row
}

fn many(state: &PlaceState, series: usize, measure: Measure, event_day: Option<i32>) -> Option<What<'_>> {
    let (from, to) = series::span(measure, event_day)?;
    let within = state.series[series].days.iter().filter(|daily| (from..=to).contains(&daily.day));
    let (mut feeds, mut facts) = (BTreeSet::new(), 0);
    for daily in within {
        feeds.insert(&*daily.feed);
        facts += daily.facts;
    }
    let days = (from != to || from != 0).then_some(Days(from, to));
    (facts > 0).then_some(What::Many { feeds, facts, days })
}
