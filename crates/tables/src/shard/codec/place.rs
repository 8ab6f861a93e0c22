//! What is kept of one place beside its facts, as stored bytes.
//!
//! Most of a row comes of one or two records, so what is known of a winning fact is stored once, and a winner names it
//! by its number. A winner's value is not stored again: it stands in the row.

use std::sync::Arc;

use prost::Message;
use yibiao_records::{FactId, RawPosition, Value, cells};

use super::{Unreadable, name, text};
use crate::shard::{
    names::Names,
    state::{Alarm, Daily, DailySeries, Due, Origin, PlaceState, Silence, Winner},
};

/// The row's columns before the merged ones: the place's id.
const BEFORE_MERGED: usize = 1;

#[derive(Clone, PartialEq, Message)]
struct PlaceMessage {
    /// A `Row`.
    #[prost(bytes = "vec", optional, tag = "1")]
    row: Option<Vec<u8>>,
    #[prost(uint64, tag = "2")]
    facts: u64,
    #[prost(message, repeated, tag = "3")]
    origins: Vec<OriginMessage>,
    #[prost(message, repeated, tag = "4")]
    series: Vec<SeriesMessage>,
    #[prost(message, repeated, tag = "5")]
    alarms: Vec<AlarmMessage>,
    /// By merged column: 0 where no fact won, else one more than the number of its origin.
    #[prost(uint32, repeated, tag = "6")]
    winners: Vec<u32>,
    /// By merged column.
    #[prost(uint32, repeated, tag = "7")]
    ranks: Vec<u32>,
    #[prost(message, repeated, tag = "8")]
    silences: Vec<SilenceMessage>,
}

/// What readers of rows need of a [`PlaceMessage`]; the rest is skipped, not decoded.
#[derive(Clone, PartialEq, Message)]
struct PlaceRowMessage {
    #[prost(bytes = "vec", optional, tag = "1")]
    row: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct OriginMessage {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    fact: Vec<u8>,
    #[prost(sint64, tag = "3")]
    valid_from_ms: i64,
    #[prost(sint64, tag = "4")]
    recorded_at_ms: i64,
    #[prost(uint32, tag = "5")]
    feed: u32,
    #[prost(string, tag = "6")]
    source_key: String,
    #[prost(uint32, tag = "7")]
    raw_topic: u32,
    #[prost(int32, tag = "8")]
    raw_partition: i32,
    #[prost(int64, tag = "9")]
    raw_offset: i64,
    #[prost(int32, tag = "10")]
    raw_index: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesMessage {
    #[prost(sint32, tag = "1")]
    floor_day: i32,
    #[prost(uint64, tag = "2")]
    facts_before: u64,
    /// Four columns of equal length: packed varints, days as differences.
    #[prost(uint32, repeated, tag = "3")]
    feeds: Vec<u32>,
    #[prost(sint32, repeated, tag = "4")]
    days: Vec<i32>,
    #[prost(uint64, repeated, tag = "5")]
    facts: Vec<u64>,
    #[prost(sint64, repeated, tag = "6")]
    sums: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct AlarmMessage {
    #[prost(uint32, tag = "1")]
    rule: u32,
    #[prost(uint32, tag = "2")]
    ordinal: u32,
    #[prost(bool, tag = "3")]
    firing: bool,
    #[prost(sint64, tag = "4")]
    severity: i64,
    #[prost(string, tag = "5")]
    update_key: String,
}

#[derive(Clone, PartialEq, Message)]
struct SilenceMessage {
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// Two columns of equal length.
    #[prost(uint32, repeated, tag = "2")]
    feeds: Vec<u32>,
    #[prost(sint32, repeated, tag = "3")]
    days: Vec<i32>,
    #[prost(message, optional, tag = "4")]
    waiting: Option<DueMessage>,
    #[prost(message, optional, tag = "5")]
    passed: Option<DueMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct DueMessage {
    #[prost(uint32, tag = "1")]
    feed: u32,
    #[prost(sint32, tag = "2")]
    day: i32,
}

pub(in crate::shard) fn place_bytes(state: &PlaceState, names: &Names) -> Vec<u8> {
    let (origins, winners) = origins_of(&state.winners);
    PlaceMessage {
        row: (!state.row.is_empty()).then(|| cells::encode(&state.row)),
        facts: state.facts,
        origins: origins.into_iter().map(|origin| origin_message(origin, names)).collect(),
        series: state.series.iter().map(|series| series_message(series, names)).collect(),
        alarms: state.alarms.iter().map(|alarm| alarm_message(alarm, names)).collect(),
        silences: state.silences.iter().map(|silence| silence_message(silence, names)).collect(),
        winners,
        ranks: state.winners.iter().map(|winner| winner.as_ref().map_or(0, |winner| winner.rank)).collect(),
    }
    .encode_to_vec()
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

fn origin_message(origin: &Origin, names: &Names) -> OriginMessage {
    OriginMessage {
        kind: names.number_or_add(&origin.kind),
        fact: origin.fact.as_bytes().to_vec(),
        valid_from_ms: origin.valid_from_ms,
        recorded_at_ms: origin.recorded_at_ms,
        feed: names.number_or_add(&origin.feed),
        source_key: origin.source_key.clone(),
        raw_topic: names.number_or_add(&origin.raw_topic),
        raw_partition: origin.raw_partition,
        raw_offset: origin.raw.offset,
        raw_index: origin.raw.index,
    }
}

fn origin_from(message: OriginMessage, names: &Names) -> Result<Arc<Origin>, Unreadable> {
    Ok(Arc::new(Origin {
        kind: name(names, message.kind)?,
        fact: FactId::from_bytes(message.fact.as_slice().try_into().map_err(text)?),
        valid_from_ms: message.valid_from_ms,
        recorded_at_ms: message.recorded_at_ms,
        feed: name(names, message.feed)?,
        source_key: message.source_key,
        raw_topic: name(names, message.raw_topic)?,
        raw_partition: message.raw_partition,
        raw: RawPosition { offset: message.raw_offset, index: message.raw_index },
    }))
}

fn alarm_message(alarm: &Alarm, names: &Names) -> AlarmMessage {
    AlarmMessage {
        rule: names.number_or_add(&alarm.rule),
        ordinal: alarm.ordinal,
        firing: alarm.firing,
        severity: alarm.severity,
        update_key: alarm.update_key.clone(),
    }
}

fn series_message(series: &DailySeries, names: &Names) -> SeriesMessage {
    let mut before = 0i32;
    SeriesMessage {
        floor_day: series.floor_day,
        facts_before: series.facts_before,
        feeds: series.days.iter().map(|daily| names.number_or_add(&daily.feed)).collect(),
        days: series
            .days
            .iter()
            .map(|daily| daily.day.wrapping_sub(std::mem::replace(&mut before, daily.day)))
            .collect(),
        facts: series.days.iter().map(|daily| daily.facts).collect(),
        sums: series.days.iter().map(|daily| daily.sum).collect(),
    }
}

fn series_from(message: SeriesMessage, names: &Names) -> Result<DailySeries, Unreadable> {
    let length = message.days.len();
    if [message.feeds.len(), message.facts.len(), message.sums.len()] != [length; 3] {
        return Err("a series' columns differ in length".into());
    }
    let mut day = 0i32;
    let mut days = Vec::with_capacity(length);
    for index in 0..length {
        day = day.wrapping_add(message.days[index]);
        let feed = name(names, message.feeds[index])?;
        days.push(Daily { feed, day, facts: message.facts[index], sum: message.sums[index] });
    }
    Ok(DailySeries { floor_day: message.floor_day, facts_before: message.facts_before, days })
}

fn silence_message(silence: &Silence, names: &Names) -> SilenceMessage {
    let due = |due: &Due| DueMessage { feed: names.number_or_add(&due.feed), day: due.day };
    SilenceMessage {
        kind: names.number_or_add(&silence.kind),
        feeds: silence.last.iter().map(|(feed, _)| names.number_or_add(feed)).collect(),
        days: silence.last.iter().map(|(_, day)| *day).collect(),
        waiting: silence.waiting.as_ref().map(due),
        passed: silence.passed.as_ref().map(due),
    }
}

fn silence_from(message: SilenceMessage, names: &Names) -> Result<Silence, Unreadable> {
    if message.feeds.len() != message.days.len() {
        return Err("a silence's columns differ in length".into());
    }
    let due = |due: DueMessage| Ok::<_, Unreadable>(Due { feed: name(names, due.feed)?, day: due.day });
    let last = message.feeds.into_iter().zip(message.days);
    Ok(Silence {
        kind: name(names, message.kind)?,
        last: last.map(|(feed, day)| Ok((name(names, feed)?, day))).collect::<Result<_, Unreadable>>()?,
        waiting: message.waiting.map(due).transpose()?,
        passed: message.passed.map(due).transpose()?,
    })
}

pub(in crate::shard) fn place_from(bytes: &[u8], names: &Names) -> Result<PlaceState, Unreadable> {
    let message = PlaceMessage::decode(bytes).map_err(text)?;
    let row = message.row.map(|row| cells::decode(&row)).transpose().map_err(text)?.unwrap_or_default();
    let origins: Vec<Arc<Origin>> =
        message.origins.into_iter().map(|origin| origin_from(origin, names)).collect::<Result<_, _>>()?;
    let alarms = message.alarms.into_iter().map(|alarm| {
        Ok(Alarm {
            rule: name(names, alarm.rule)?,
            ordinal: alarm.ordinal,
            firing: alarm.firing,
            severity: alarm.severity,
            update_key: alarm.update_key,
        })
    });
    let series = message.series.into_iter().map(|series| series_from(series, names));
    Ok(PlaceState {
        winners: winners_from(&message.winners, &message.ranks, &origins, &row)?,
        row,
        facts: message.facts,
        series: series.collect::<Result<_, _>>()?,
        alarms: alarms.collect::<Result<_, Unreadable>>()?,
        silences: message
            .silences
            .into_iter()
            .map(|silence| silence_from(silence, names))
            .collect::<Result<_, _>>()?,
    })
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
    let message = PlaceRowMessage::decode(bytes).map_err(text)?;
    message.row.map(|row| cells::decode(&row)).transpose().map_err(text)
}
