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

mod place;

use std::sync::Arc;

use prost::Message;
use yibiao_records::{Change, Fact, FactId, Operation, PlaceId, RawPosition, Statement, Value, cells};

use super::{names::Names, state::StoredFact};

pub(super) use place::{place_bytes, place_from, place_row_from};

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
    cells::encode(row)
}

pub(super) fn row_from(bytes: &[u8]) -> Result<Vec<Value>, Unreadable> {
    cells::decode(bytes).map_err(text)
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
    /// A `Row`.
    #[prost(bytes = "vec", tag = "17")]
    payload: Vec<u8>,
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
        match_reason: names.number_or_add(&fact.match_reason),
        confidence: fact.confidence,
        contract_version: names.number_or_add(&stored.contract_version),
        gazetteer_version: names.number_or_add(&stored.gazetteer_version),
        payload: cells::encode(&fact.payload),
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
            payload: row_from(&message.payload)?,
        },
    })
}

fn name(names: &Names, number: u32) -> Result<Arc<str>, Unreadable> {
    names.name(number).ok_or_else(|| format!("the name number {number} is not stored"))
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
    /// A `Row`; empty where the change is one of a fact.
    #[prost(bytes = "vec", tag = "5")]
    row: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    fact: Option<SaidMessage>,
}

/// What was said of a fact: its row is made when the change is read.
#[derive(Clone, PartialEq, Message)]
struct SaidMessage {
    /// As [`fact_key`].
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bool, tag = "2")]
    retracted: bool,
    /// A [`FactMessage`].
    #[prost(bytes = "vec", tag = "3")]
    fact: Vec<u8>,
}

const OPERATIONS: [Operation; 3] = [Operation::Insert, Operation::Update, Operation::Delete];

/// What all changes of a batch are written with.
pub(super) struct ChangeHead {
    pub table: u32,
    pub operation: Operation,
    pub place: PlaceId,
    pub recorded_at_ms: i64,
}

impl ChangeHead {
    fn message(&self) -> ChangeMessage {
        let operation = OPERATIONS.iter().position(|other| *other == self.operation).unwrap_or_default();
        ChangeMessage {
            table: self.table,
            operation: operation as u32,
            place: self.place.get(),
            recorded_at_ms: self.recorded_at_ms,
            ..ChangeMessage::default()
        }
    }
}

pub(super) fn change_bytes(head: &ChangeHead, row: &[Value]) -> Vec<u8> {
    ChangeMessage { row: cells::encode(row), ..head.message() }.encode_to_vec()
}

pub(super) fn fact_change_bytes(head: &ChangeHead, said: &StoredFact, names: &Names) -> Vec<u8> {
    let said = SaidMessage {
        key: fact_key(said.fact.place, names.number_or_add(&said.kind), &said.fact.id),
        retracted: said.fact.statement == Statement::Retract,
        fact: fact_bytes(said, names),
    };
    ChangeMessage { fact: Some(said), ..head.message() }.encode_to_vec()
}

/// `width` tells how many columns a table has.
pub(super) fn change_from(
    sequence: u64,
    bytes: &[u8],
    names: &Names,
    width: impl Fn(&str) -> Option<usize>,
) -> Result<Change, Unreadable> {
    let message = ChangeMessage::decode(bytes).map_err(text)?;
    let table = name(names, message.table)?;
    let row = match message.fact {
        None => row_from(&message.row)?,
        Some(said) => {
            let mut stored = fact_from(&said.key, &said.fact, names)?;
            if said.retracted {
                stored.fact.statement = Statement::Retract;
            }
            stored.row(width(&table).ok_or_else(|| format!("the table {table} is not known"))?)
        }
    };
    Ok(Change {
        sequence,
        table: table.to_string(),
        operation: *OPERATIONS.get(message.operation as usize).ok_or("a change's operation is unknown")?,
        place: PlaceId::new(message.place).ok_or("a change has no place")?,
        recorded_at_ms: message.recorded_at_ms,
        row,
    })
}

pub(super) fn be_u64(bytes: &[u8]) -> Result<u64, Unreadable> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| "a number has not eight bytes")?))
}
