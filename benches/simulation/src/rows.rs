//! The rows of places, column by column, by brute force over the facts that stand.

use std::collections::{BTreeMap, BTreeSet};

use yibiao_records::{FactId, PlaceId, Value};

use crate::{
    oracle::{Expected, Stands},
    setup::{JUSTICE, POLICE, POWER, Setup},
};

const DAY_MS: i64 = 86_400_000;

type Cells = BTreeMap<&'static str, Value>;

/// A fact with its feed and key.
type Fact<'a> = (usize, &'a str, &'a Stands);

/// By place: the columns that are not null, nor 0 where they count.
pub fn rows(setup: &Setup, expected: &Expected) -> BTreeMap<PlaceId, Cells> {
    let mut by_place: BTreeMap<PlaceId, Vec<Fact<'_>>> = BTreeMap::new();
    for ((feed, key), stands) in &expected.facts {
        by_place.entry(stands.claim.spot.place).or_default().push((*feed, key, stands));
    }
    let row = |facts: Vec<Fact<'_>>| {
        let mut cells = row(setup, &facts);
        cells.retain(|_, value| !is_nothing(value));
        cells
    };
    by_place.into_iter().map(|(place, facts)| (place, row(facts))).collect()
}

fn row(setup: &Setup, facts: &[Fact<'_>]) -> Cells {
    let mut cells = Cells::new();
    let of = |feed: usize| facts.iter().filter(move |(of, ..)| *of == feed).map(|(_, _, stands)| *stands);
    let own = of(POLICE).next();
    let columns = [
        "external_id",
        "address",
        "level",
        "status",
        "",
        "province",
        "city",
        "county",
        "township",
        "community",
        "",
        "",
        "compound",
        "building",
        "unit",
        "room",
    ];
    for (column, value) in columns.iter().zip(own.iter().flat_map(|own| &own.claim.payload)) {
        if !column.is_empty() {
            cells.insert(column, value.clone());
        }
    }
    // What every fact says of its place: the place's own fact before the freshest of the others.
    if let Some(spot) = own.or_else(|| freshest(setup, facts)).map(|stands| &stands.claim.spot) {
        cells.insert("level", Value::Text(spot.level.clone()));
        cells.insert("provisional", Value::Bool(spot.provisional));
        cells.insert("division_code", Value::Text(spot.division_code.clone()));
    }
    let readings: Vec<(i64, i64)> =
        of(POWER).map(|stands| (day(stands), stands.claim.payload[0].as_i64().unwrap_or_default())).collect();
    let disputes: Vec<i64> = of(JUSTICE).map(day).collect();
    let last = readings.iter().map(|(day, _)| *day).chain(disputes.iter().copied()).max();
    let Some(last) = last else { return cells };
    cells.insert("last_event_on", Value::Date(last as i32));
    let within = |days: i64, end: i64| -> Vec<(i64, i64)> {
        readings.iter().copied().filter(|(day, _)| *day <= end && *day > end - days).collect()
    };
    let distinct =
        |readings: &[(i64, i64)]| readings.iter().map(|(day, _)| *day).collect::<BTreeSet<_>>().len() as i64;
    let sum = |readings: &[(i64, i64)]| readings.iter().map(|(_, amount)| amount).sum::<i64>();
    let month = within(30, last);
    if !month.is_empty() {
        cells.insert("electricity_kwh_30d", Value::Decimal(sum(&month)));
        cells.insert("electricity_days_30d", Value::Int(distinct(&month)));
    }
    let mean = |end: i64| {
        let within = within(14, end);
        let days = distinct(&within);
        (days >= 10).then(|| sum(&within).div_euclid(days))
    };
    let peaks = [("electricity_kwh_day", 1), ("electricity_kwh_day_peak", 14)];
    for (column, over) in peaks {
        if let Some(peak) = (0..over).filter_map(|back| mean(last - back)).max() {
            cells.insert(column, Value::Decimal(peak));
        }
    }
    let year = disputes.iter().filter(|day| **day > last - 365).count() as i64;
    cells.insert("disputes_365d", Value::Int(year));
    cells
}

/// Null, or a count of nothing.
pub fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Int(0))
}

/// By event time, then when it was recorded, then by where it came from.
fn freshest<'a>(setup: &Setup, facts: &[Fact<'a>]) -> Option<&'a Stands> {
    let order = |(feed, key, stands): &Fact<'_>| {
        let of = &setup.feeds[*feed].contract.feed;
        let id = FactId::derive(of, key, 0);
        let raw = (stands.partition, stands.offset, stands.index);
        (stands.claim.valid_from_ms, stands.recorded_at_ms, of.to_string(), raw, id)
    };
    facts.iter().max_by_key(|fact| order(fact)).map(|(_, _, stands)| *stands)
}

/// In China.
fn day(stands: &Stands) -> i64 {
    (stands.claim.valid_from_ms + 8 * 3_600_000).div_euclid(DAY_MS)
}
