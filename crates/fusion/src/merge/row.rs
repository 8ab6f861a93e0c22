//! The row of a place.

use yibiao_records::{ColumnType, PlaceId, Value};
use yibiao_tables::{
    shard::PlaceState,
    spec::{Measure, Merge, PlacesSpec},
};

use super::{
    series,
    sources::{Sources, What},
};

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
                    sources.add(name, What::One(&winner.origin));
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
    let (mut feeds, mut facts) = (Vec::new(), 0);
    // Days of one feed follow each other, in the order of feeds.
    for daily in within {
        if feeds.last() != Some(&&*daily.feed) {
            feeds.push(&*daily.feed);
        }
        facts += daily.facts;
    }
    let days = (from != to || from != 0).then_some((from, to));
    (facts > 0).then_some(What::Many { feeds, facts, days })
}
