//! What is kept of one place beside its facts, as stored bytes:
//!
//! ```text
//!  1 row       a `Row`; absent where there are no facts    5 alarms    each { 1 rule: name, 2 ordinal, 3 firing,
//!  2 facts     uint64                                                         4 severity: sint64, 5 update_key }
//!  3 origins   each { 1 kind: name, 2 fact id,             6 winners   by merged column: 0, or 1 + number of its origin
//!                4 recorded_at_ms, 3 valid_from_ms,        7 ranks     by merged column
//!                5 feed: name, 6 source_key,               8 silences  each { 1 kind: name, 2 feeds: names, 3 days,
//!                7 raw_topic: name, 8 raw_partition,                          4 waiting, 5 passed: { 1 feed, 2 day } }
//!                9 raw_offset, 10 raw_index }
//!  4 series    each { 1 floor_day, 2 facts_before, and by day: 3 feeds: names, 4 days as differences, 5 facts, 6 sums }
//! ```
//! Most of a row comes of one or two records, so what is known of a winning fact is stored once, and a winner names it
//! by its number. A winner's value is not stored again: it stands in the row.

use std::sync::Arc;

use yibiao_records::{FactId, RawPosition, Value};

use super::{
    Unreadable, name, row_from,
    wire::{
        Field, Fields, put_bytes, put_int, put_nested, put_number, put_packed, put_signed, put_some_bytes,
        unzigzag, zigzag,
    },
};
use crate::shard::{
    names::{Names, Reading},
    state::{Alarm, Daily, DailySeries, Due, Origin, PlaceState, Silence, Winner},
};

/// The row's columns before the merged ones: the place's id.
const BEFORE_MERGED: usize = 1;

/// Appends the place's bytes; `row` are those of its row, which stands for `state.row`.
pub(in crate::shard) fn put_place(out: &mut Vec<u8>, state: &PlaceState, row: &[u8], names: &Names) {
    let (origins, winners) = origins_of(&state.winners);
    if !state.row.is_empty() {
        put_some_bytes(out, 1, row);
    }
    put_number(out, 2, state.facts);
    for origin in origins {
        put_nested(out, 3, |out| put_origin(out, origin, names));
    }
    for series in &state.series {
        put_nested(out, 4, |out| put_series(out, series, names));
    }
    for alarm in &state.alarms {
        put_nested(out, 5, |out| put_alarm(out, alarm, names));
    }
    put_packed(out, 6, winners.into_iter().map(u64::from));
    let ranks = state.winners.iter().map(|winner| winner.as_ref().map_or(0, |winner| winner.rank.into()));
    put_packed(out, 7, ranks);
    for silence in &state.silences {
        put_nested(out, 8, |out| put_silence(out, silence, names));
    }
}

/// The winners' origins, each once, and by column which of them it is (from 1; 0: none).
fn origins_of(winners: &[Option<Winner>]) -> (Vec<&Arc<Origin>>, Vec<u32>) {
    let mut origins: Vec<&Arc<Origin>> = Vec::new();
    let mut numbers = Vec::with_capacity(winners.len());
    for winner in winners {
        let Some(Winner { origin, .. }) = winner else {
            numbers.push(0);
            continue;
        };
        let is_it = |other: &&Arc<Origin>| Arc::ptr_eq(other, origin) || *other == origin;
        let at = origins.iter().position(is_it).unwrap_or_else(|| {
            origins.push(origin);
            origins.len() - 1
        });
        numbers.push(at as u32 + 1);
    }
    (origins, numbers)
}

fn put_origin(out: &mut Vec<u8>, origin: &Origin, names: &Names) {
    put_number(out, 1, names.number_or_add(&origin.kind).into());
    put_bytes(out, 2, origin.fact.as_bytes());
    put_signed(out, 3, origin.valid_from_ms);
    put_signed(out, 4, origin.recorded_at_ms);
    put_number(out, 5, names.number_or_add(&origin.feed).into());
    put_bytes(out, 6, origin.source_key.as_bytes());
    put_number(out, 7, names.number_or_add(&origin.raw_topic).into());
    put_int(out, 8, origin.raw_partition.into());
    put_int(out, 9, origin.raw.offset);
    put_int(out, 10, origin.raw.index.into());
}

fn origin_from(bytes: &[u8], names: &Reading<'_>) -> Result<Arc<Origin>, Unreadable> {
    let (mut kind, mut fact, mut feed, mut raw_topic, mut raw_partition): (_, &[u8], _, _, _) =
        (0, &[], 0, 0, 0);
    let (mut valid_from_ms, mut recorded_at_ms, mut source_key) = (0, 0, "");
    let mut raw = RawPosition { offset: 0, index: 0 };
    for field in Fields::of(bytes) {
        let (tag, field) = field?;
        match tag {
            1 => kind = field.u32()?,
            2 => fact = field.bytes()?,
            3 => valid_from_ms = field.signed()?,
            4 => recorded_at_ms = field.signed()?,
            5 => feed = field.u32()?,
            6 => source_key = field.text()?,
            7 => raw_topic = field.u32()?,
            8 => raw_partition = field.u32()? as i32,
            9 => raw.offset = field.number()? as i64,
            10 => raw.index = field.u32()? as i32,
            _ => {}
        }
    }
    Ok(Arc::new(Origin {
        kind: name(names, kind)?,
        fact: FactId::from_bytes(fact.try_into().map_err(|_| "an origin's fact has not sixteen bytes")?),
        valid_from_ms,
        recorded_at_ms,
        feed: name(names, feed)?,
        source_key: source_key.to_owned(),
        raw_topic: name(names, raw_topic)?,
        raw_partition,
        raw,
    }))
}

fn put_alarm(out: &mut Vec<u8>, alarm: &Alarm, names: &Names) {
    put_number(out, 1, names.number_or_add(&alarm.rule).into());
    put_number(out, 2, alarm.ordinal.into());
    put_number(out, 3, alarm.firing.into());
    put_signed(out, 4, alarm.severity);
    put_bytes(out, 5, alarm.update_key.as_bytes());
}

fn alarm_from(bytes: &[u8], names: &Reading<'_>) -> Result<Alarm, Unreadable> {
    let (mut rule, mut ordinal, mut firing, mut severity, mut update_key) = (0, 0, false, 0, "");
    for field in Fields::of(bytes) {
        let (tag, field) = field?;
        match tag {
            1 => rule = field.u32()?,
            2 => ordinal = field.u32()?,
            3 => firing = field.number()? != 0,
            4 => severity = field.signed()?,
            5 => update_key = field.text()?,
            _ => {}
        }
    }
    Ok(Alarm { rule: name(names, rule)?, ordinal, firing, severity, update_key: update_key.to_owned() })
}

fn put_series(out: &mut Vec<u8>, series: &DailySeries, names: &Names) {
    let days = &series.days;
    put_signed(out, 1, series.floor_day.into());
    put_number(out, 2, series.facts_before);
    // Days of one feed follow each other: it is looked up once.
    let mut known: Option<(&Arc<str>, u32)> = None;
    let feeds = days.iter().map(|daily| {
        let number = match known {
            Some((feed, number)) if Arc::ptr_eq(feed, &daily.feed) => number,
            _ => names.number_or_add(&daily.feed),
        };
        known = Some((&daily.feed, number));
        u64::from(number)
    });
    put_packed(out, 3, feeds);
    let mut before = 0i32;
    let difference = |daily: &Daily| daily.day.wrapping_sub(std::mem::replace(&mut before, daily.day));
    // A `sint32`, as prost writes it.
    put_packed(out, 4, days.iter().map(difference).map(|day| zigzag(day.into())));
    put_packed(out, 5, days.iter().map(|daily| daily.facts));
    put_packed(out, 6, days.iter().map(|daily| zigzag(daily.sum)));
}

fn series_from(bytes: &[u8], names: &Reading<'_>) -> Result<DailySeries, Unreadable> {
    let mut series = DailySeries { floor_day: 0, facts_before: 0, days: Vec::new() };
    let (mut feeds, mut days, mut facts, mut sums) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for field in Fields::of(bytes) {
        let (tag, field) = field?;
        match tag {
            1 => series.floor_day = field.signed()? as i32,
            2 => series.facts_before = field.number()?,
            3 => field.append(&mut feeds, |number| number as u32)?,
            4 => field.append(&mut days, |number| unzigzag(number) as i32)?,
            5 => field.append(&mut facts, |number| number)?,
            6 => field.append(&mut sums, unzigzag)?,
            _ => {}
        }
    }
    let length = days.len();
    if [feeds.len(), facts.len(), sums.len()] != [length; 3] {
        return Err("a series' columns differ in length".into());
    }
    let mut day = 0i32;
    series.days.reserve_exact(length);
    for index in 0..length {
        day = day.wrapping_add(days[index]);
        let feed = name(names, feeds[index])?;
        series.days.push(Daily { feed, day, facts: facts[index], sum: sums[index] });
    }
    Ok(series)
}

fn put_silence(out: &mut Vec<u8>, silence: &Silence, names: &Names) {
    let put_due = |out: &mut Vec<u8>, tag, due: &Option<Due>| {
        let Some(due) = due else { return };
        put_nested(out, tag, |out| {
            put_number(out, 1, names.number_or_add(&due.feed).into());
            put_signed(out, 2, due.day.into());
        });
    };
    put_number(out, 1, names.number_or_add(&silence.kind).into());
    put_packed(out, 2, silence.last.iter().map(|(feed, _)| names.number_or_add(feed).into()));
    put_packed(out, 3, silence.last.iter().map(|(_, day)| zigzag((*day).into())));
    put_due(out, 4, &silence.waiting);
    put_due(out, 5, &silence.passed);
}

fn silence_from(bytes: &[u8], names: &Reading<'_>) -> Result<Silence, Unreadable> {
    let (mut kind, mut feeds, mut days) = (0, Vec::new(), Vec::new());
    let (mut waiting, mut passed) = (None, None);
    for field in Fields::of(bytes) {
        let (tag, field) = field?;
        match tag {
            1 => kind = field.u32()?,
            2 => field.append(&mut feeds, |number| number as u32)?,
            3 => field.append(&mut days, |number| unzigzag(number) as i32)?,
            4 => waiting = Some(due_from(field, names)?),
            5 => passed = Some(due_from(field, names)?),
            _ => {}
        }
    }
    if feeds.len() != days.len() {
        return Err("a silence's columns differ in length".into());
    }
    let last = feeds.into_iter().zip(days).map(|(feed, day)| Ok((name(names, feed)?, day)));
    Ok(Silence { kind: name(names, kind)?, last: last.collect::<Result<_, Unreadable>>()?, waiting, passed })
}

fn due_from(field: Field<'_>, names: &Reading<'_>) -> Result<Due, Unreadable> {
    let (mut feed, mut day) = (0, 0);
    for field in Fields::of(field.bytes()?) {
        let (tag, field) = field?;
        match tag {
            1 => feed = field.u32()?,
            2 => day = field.signed()? as i32,
            _ => {}
        }
    }
    Ok(Due { feed: name(names, feed)?, day })
}

pub(in crate::shard) fn place_from(bytes: &[u8], names: &Names) -> Result<PlaceState, Unreadable> {
    let names = names.reading();
    let mut state = PlaceState::default();
    let (mut origins, mut winners, mut ranks) = (Vec::new(), Vec::new(), Vec::new());
    for field in Fields::of(bytes) {
        let (tag, field) = field?;
        match tag {
            1 => state.row = row_from(field.bytes()?)?,
            2 => state.facts = field.number()?,
            3 => origins.push(origin_from(field.bytes()?, &names)?),
            4 => state.series.push(series_from(field.bytes()?, &names)?),
            5 => state.alarms.push(alarm_from(field.bytes()?, &names)?),
            6 => field.append(&mut winners, |number| number as u32)?,
            7 => field.append(&mut ranks, |number| number as u32)?,
            8 => state.silences.push(silence_from(field.bytes()?, &names)?),
            _ => {}
        }
    }
    state.winners = winners_from(&winners, &ranks, &origins, &state.row)?;
    Ok(state)
}

fn winners_from(
    numbers: &[u32],
    ranks: &[u32],
    origins: &[Arc<Origin>],
    row: &[Value],
) -> Result<Vec<Option<Winner>>, Unreadable> {
    if numbers.len() != ranks.len() {
        return Err("winners and their ranks differ in length".into());
    }
    let mut winners = Vec::with_capacity(numbers.len());
    for (column, (&number, &rank)) in numbers.iter().zip(ranks).enumerate() {
        let Some(origin) = number.checked_sub(1) else {
            winners.push(None);
            continue;
        };
        let origin = origins.get(origin as usize).ok_or("a winner's fact is not stored")?.clone();
        let value = row.get(column + BEFORE_MERGED).ok_or("a winner's column is not in the row")?.clone();
        winners.push(Some(Winner { value, rank, origin }));
    }
    Ok(winners)
}

/// The row alone; None where the place has no facts any more.
pub(in crate::shard) fn place_row_from(bytes: &[u8]) -> Result<Option<Vec<Value>>, Unreadable> {
    // It comes first: the rest is not read.
    match Fields::of(bytes).next().transpose()? {
        Some((1, row)) => row_from(row.bytes()?).map(Some),
        _ => Ok(None),
    }
}
