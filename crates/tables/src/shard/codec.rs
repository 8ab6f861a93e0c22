//! Keys and values of a shard's store.
//!
//! ```text
//! facts      place(8) kind(4) fact id(16)          -> FactMessage
//! places     bucket(2) place(8)                    -> PlaceMessage (row first, so that readers stop there)
//! warnings   bucket(2) place(8) rule(4) ordinal(4) -> Row
//! outbox     sequence(8)                           -> ChangeMessage
//! marks      std topic(4) raw topic(4) partition(4)-> offset(8) index(4)
//! positions  std topic(4) partition(4)             -> next offset(8)
//! names      number(4)                             -> the name
//! meta       text                                  -> text or number
//! ```
//! All numbers are big-endian, so that keys sort as their parts do.

use std::sync::Arc;

use prost::Message;
use yibiao_records::{
    Change, Fact, FactId, Operation, PlaceId, RawPosition, Statement, Value,
    proto::{Cell, Row},
};

use super::{
    names::Names,
    state::{Alarm, Daily, DailySeries, PlaceState, StoredFact, Winner},
};

/// Why a stored value cannot be read.
pub(super) type Unreadable = String;

pub(super) fn fact_key(place: PlaceId, kind: u32, id: &FactId) -> Vec<u8> {
    let mut key = fact_prefix(place, Some(kind));
    key.extend_from_slice(id.as_bytes());
    key
}

pub(super) fn fact_prefix(place: PlaceId, kind: Option<u32>) -> Vec<u8> {
    let mut key = Vec::with_capacity(28);
    key.extend_from_slice(&place.get().to_be_bytes());
    key.extend(kind.into_iter().flat_map(u32::to_be_bytes));
    key
}

pub(super) fn bucket_key(bucket: u32) -> [u8; 2] {
    (bucket as u16).to_be_bytes()
}

pub(super) fn place_key(bucket: u32, place: PlaceId) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend_from_slice(&bucket_key(bucket));
    key.extend_from_slice(&place.get().to_be_bytes());
    key
}

/// The place in a key of `places` or `warnings`.
pub(super) fn place_of(key: &[u8]) -> Result<PlaceId, Unreadable> {
    let bytes = key.get(2..10).and_then(|bytes| bytes.try_into().ok()).ok_or("a key is too short")?;
    PlaceId::new(i64::from_be_bytes(bytes)).ok_or_else(|| "a key's place is not positive".into())
}

pub(super) fn warning_key(bucket: u32, place: PlaceId, rule: u32, ordinal: u32) -> Vec<u8> {
    let mut key = place_key(bucket, place);
    key.extend_from_slice(&rule.to_be_bytes());
    key.extend_from_slice(&ordinal.to_be_bytes());
    key
}

pub(super) fn row_bytes(row: &[Value]) -> Vec<u8> {
    cells(row).encode_to_vec()
}

pub(super) fn row_from(bytes: &[u8]) -> Result<Vec<Value>, Unreadable> {
    Ok(values(Row::decode(bytes).map_err(text)?))
}

fn cells(row: &[Value]) -> Row {
    Row { cells: row.iter().map(Value::to_cell).collect() }
}

fn values(row: Row) -> Vec<Value> {
    row.cells.into_iter().map(Value::from_cell).collect()
}

fn text(error: impl std::fmt::Display) -> Unreadable {
    error.to_string()
}

#[derive(Clone, PartialEq, Message)]
struct FactMessage {
    #[prost(string, tag = "1")]
    level: String,
    #[prost(bool, tag = "2")]
    provisional: bool,
    #[prost(string, tag = "3")]
    division_code: String,
    #[prost(sint64, tag = "4")]
    valid_from_ms: i64,
    #[prost(sint64, optional, tag = "5")]
    valid_to_ms: Option<i64>,
    #[prost(sint64, tag = "6")]
    recorded_at_ms: i64,
    #[prost(uint32, tag = "7")]
    feed: u32,
    #[prost(string, tag = "8")]
    source_key: String,
    #[prost(uint32, tag = "9")]
    raw_topic: u32,
    #[prost(int32, tag = "10")]
    raw_partition: i32,
    #[prost(int64, tag = "11")]
    raw_offset: i64,
    #[prost(int32, tag = "12")]
    raw_index: i32,
    #[prost(uint32, tag = "13")]
    match_reason: u32,
    #[prost(float, tag = "14")]
    confidence: f32,
    #[prost(uint32, tag = "15")]
    contract_version: u32,
    #[prost(uint32, tag = "16")]
    gazetteer_version: u32,
    #[prost(message, repeated, tag = "17")]
    payload: Vec<Cell>,
}

pub(super) fn fact_bytes(stored: &StoredFact, names: &Names) -> Vec<u8> {
    let fact = &stored.fact;
    FactMessage {
        level: fact.level.clone(),
        provisional: fact.provisional,
        division_code: fact.division_code.clone(),
        valid_from_ms: fact.valid_from_ms,
        valid_to_ms: fact.valid_to_ms,
        recorded_at_ms: fact.recorded_at_ms,
        feed: names.number_or_add(&stored.feed),
        source_key: fact.source_key.clone(),
        raw_topic: names.number_or_add(&stored.raw_topic),
        raw_partition: stored.raw_partition,
        raw_offset: fact.raw.offset,
        raw_index: fact.raw.index,
        match_reason: names.number_or_add(&Arc::from(fact.match_reason.as_str())),
        confidence: fact.confidence,
        contract_version: names.number_or_add(&stored.contract_version),
        gazetteer_version: names.number_or_add(&stored.gazetteer_version),
        payload: fact.payload.iter().map(Value::to_cell).collect(),
    }
    .encode_to_vec()
}

pub(super) fn fact_from(key: &[u8], bytes: &[u8], names: &Names) -> Result<StoredFact, Unreadable> {
    let message = FactMessage::decode(bytes).map_err(text)?;
    let [place, kind, id] =
        [&key[..8.min(key.len())], key.get(8..12).unwrap_or(&[]), key.get(12..).unwrap_or(&[])];
    let place = place
        .try_into()
        .ok()
        .map(i64::from_be_bytes)
        .and_then(PlaceId::new)
        .ok_or("a fact's key has no place")?;
    let kind = u32::from_be_bytes(kind.try_into().map_err(|_| "a fact's key has no kind")?);
    let id = FactId::from_bytes(id.try_into().map_err(|_| "a fact's key has no id")?);
    Ok(StoredFact {
        kind: name(names, kind)?,
        feed: name(names, message.feed)?,
        raw_topic: name(names, message.raw_topic)?,
        raw_partition: message.raw_partition,
        contract_version: name(names, message.contract_version)?,
        gazetteer_version: name(names, message.gazetteer_version)?,
        fact: Fact {
            statement: Statement::Assert,
            id,
            place,
            level: message.level,
            provisional: message.provisional,
            division_code: message.division_code,
            valid_from_ms: message.valid_from_ms,
            valid_to_ms: message.valid_to_ms,
            recorded_at_ms: message.recorded_at_ms,
            source_key: message.source_key,
            raw: RawPosition { offset: message.raw_offset, index: message.raw_index },
            match_reason: name(names, message.match_reason)?.to_string(),
            confidence: message.confidence,
            payload: message.payload.into_iter().map(Value::from_cell).collect(),
        },
    })
}

fn name(names: &Names, number: u32) -> Result<Arc<str>, Unreadable> {
    names.name(number).ok_or_else(|| format!("the name number {number} is not stored"))
}

#[derive(Clone, PartialEq, Message)]
struct PlaceMessage {
    #[prost(message, optional, tag = "1")]
    row: Option<Row>,
    #[prost(uint64, tag = "2")]
    facts: u64,
    #[prost(message, repeated, tag = "3")]
    winners: Vec<WinnerMessage>,
    #[prost(message, repeated, tag = "4")]
    series: Vec<SeriesMessage>,
    #[prost(message, repeated, tag = "5")]
    alarms: Vec<AlarmMessage>,
    /// How many entries `winners` had with the empty ones.
    #[prost(uint32, tag = "6")]
    width: u32,
}

/// What readers of rows need of a [`PlaceMessage`]; the rest is skipped, not decoded.
#[derive(Clone, PartialEq, Message)]
struct PlaceRowMessage {
    #[prost(message, optional, tag = "1")]
    row: Option<Row>,
}

#[derive(Clone, PartialEq, Message)]
struct WinnerMessage {
    #[prost(uint32, tag = "1")]
    column: u32,
    #[prost(message, optional, tag = "2")]
    value: Option<Cell>,
    #[prost(uint32, tag = "3")]
    rank: u32,
    #[prost(uint32, tag = "4")]
    kind: u32,
    #[prost(bytes = "vec", tag = "5")]
    fact: Vec<u8>,
    #[prost(sint64, tag = "6")]
    valid_from_ms: i64,
    #[prost(sint64, tag = "7")]
    recorded_at_ms: i64,
    #[prost(uint32, tag = "8")]
    feed: u32,
    #[prost(string, tag = "9")]
    source_key: String,
    #[prost(uint32, tag = "10")]
    raw_topic: u32,
    #[prost(int32, tag = "11")]
    raw_partition: i32,
    #[prost(int64, tag = "12")]
    raw_offset: i64,
    #[prost(int32, tag = "13")]
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

pub(super) fn place_bytes(state: &PlaceState, names: &Names) -> Vec<u8> {
    let winners = state.winners.iter().enumerate().filter_map(|(column, winner)| {
        let winner = winner.as_ref()?;
        Some(WinnerMessage {
            column: column as u32,
            value: Some(winner.value.to_cell()),
            rank: winner.rank,
            kind: names.number_or_add(&winner.kind),
            fact: winner.fact.as_bytes().to_vec(),
            valid_from_ms: winner.valid_from_ms,
            recorded_at_ms: winner.recorded_at_ms,
            feed: names.number_or_add(&winner.feed),
            source_key: winner.source_key.clone(),
            raw_topic: names.number_or_add(&winner.raw_topic),
            raw_partition: winner.raw_partition,
            raw_offset: winner.raw.offset,
            raw_index: winner.raw.index,
        })
    });
    PlaceMessage {
        row: (!state.row.is_empty()).then(|| cells(&state.row)),
        facts: state.facts,
        winners: winners.collect(),
        series: state.series.iter().map(|series| series_message(series, names)).collect(),
        alarms: state
            .alarms
            .iter()
            .map(|alarm| AlarmMessage {
                rule: names.number_or_add(&alarm.rule),
                ordinal: alarm.ordinal,
                firing: alarm.firing,
                severity: alarm.severity,
                update_key: alarm.update_key.clone(),
            })
            .collect(),
        width: state.winners.len() as u32,
    }
    .encode_to_vec()
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

pub(super) fn place_from(bytes: &[u8], names: &Names) -> Result<PlaceState, Unreadable> {
    let message = PlaceMessage::decode(bytes).map_err(text)?;
    let mut winners = vec![None; message.width as usize];
    for winner in message.winners {
        let place = winners.get_mut(winner.column as usize).ok_or("a winner's column is out of range")?;
        *place = Some(Winner {
            value: Value::from_cell(winner.value.unwrap_or_default()),
            rank: winner.rank,
            kind: name(names, winner.kind)?,
            fact: FactId::from_bytes(winner.fact.as_slice().try_into().map_err(text)?),
            valid_from_ms: winner.valid_from_ms,
            recorded_at_ms: winner.recorded_at_ms,
            feed: name(names, winner.feed)?,
            source_key: winner.source_key,
            raw_topic: name(names, winner.raw_topic)?,
            raw_partition: winner.raw_partition,
            raw: RawPosition { offset: winner.raw_offset, index: winner.raw_index },
        });
    }
    let alarms = message.alarms.into_iter().map(|alarm| {
        Ok(Alarm {
            rule: name(names, alarm.rule)?,
            ordinal: alarm.ordinal,
            firing: alarm.firing,
            severity: alarm.severity,
            update_key: alarm.update_key,
        })
    });
    Ok(PlaceState {
        row: message.row.map(values).unwrap_or_default(),
        facts: message.facts,
        winners,
        series: message
            .series
            .into_iter()
            .map(|series| series_from(series, names))
            .collect::<Result<_, _>>()?,
        alarms: alarms.collect::<Result<_, Unreadable>>()?,
    })
}

/// The row alone; None where the place has no facts any more.
pub(super) fn place_row_from(bytes: &[u8]) -> Result<Option<Vec<Value>>, Unreadable> {
    Ok(PlaceRowMessage::decode(bytes).map_err(text)?.row.map(values))
}

#[derive(Clone, PartialEq, Message)]
struct ChangeMessage {
    #[prost(uint32, tag = "1")]
    table: u32,
    #[prost(uint32, tag = "2")]
    operation: u32,
    #[prost(int64, tag = "3")]
    place: i64,
    #[prost(sint64, tag = "4")]
    recorded_at_ms: i64,
    #[prost(message, optional, tag = "5")]
    row: Option<Row>,
}

const OPERATIONS: [Operation; 3] = [Operation::Insert, Operation::Update, Operation::Delete];

pub(super) fn change_bytes(change: &Change, table: u32) -> Vec<u8> {
    let operation = OPERATIONS.iter().position(|other| *other == change.operation).unwrap_or_default() as u32;
    ChangeMessage {
        table,
        operation,
        place: change.place.get(),
        recorded_at_ms: change.recorded_at_ms,
        row: Some(cells(&change.row)),
    }
    .encode_to_vec()
}

pub(super) fn change_from(sequence: u64, bytes: &[u8], names: &Names) -> Result<Change, Unreadable> {
    let message = ChangeMessage::decode(bytes).map_err(text)?;
    Ok(Change {
        sequence,
        table: name(names, message.table)?.to_string(),
        operation: *OPERATIONS.get(message.operation as usize).ok_or("a change's operation is unknown")?,
        place: PlaceId::new(message.place).ok_or("a change has no place")?,
        recorded_at_ms: message.recorded_at_ms,
        row: values(message.row.unwrap_or_default()),
    })
}

pub(super) fn be_u64(bytes: &[u8]) -> Result<u64, Unreadable> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| "a number has not eight bytes")?))
}
