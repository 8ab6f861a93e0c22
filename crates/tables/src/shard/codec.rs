//! Keys and values of a shard's store.
//!
//! ```text
//! facts      place(8) kind(4) fact id(16)          -> a fact
//! places     bucket(2) place(8)                    -> a place (row first, so that readers stop there)
//! warnings   bucket(2) place(8) rule(4) ordinal(4) -> Row
//! outbox     sequence of its last(8)               -> changes
//! marks      std topic(4) raw topic(4) partition(4)-> offset(8) index(4)
//! positions  std topic(4) partition(4)             -> next offset(8)
//! names      number(4)                             -> the name
//! meta       text                                  -> text or number
//! ```
//! All numbers are big-endian, so that keys sort as their parts do.

mod change;
mod fact;
mod group;
mod place;
mod said;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use yibiao_records::{FactId, PlaceId, Value, cells};

use super::names::Reading;

pub(super) use change::{ChangeHead, change_from, put_change, put_fact_change};
pub(super) use fact::{fact_from, put_fact};
pub(super) use group::{GROUP_BYTES, changes_of, put_in_group};
pub(super) use place::{place_from, place_row_from, put_place};
pub(super) use said::{ChangeBytes, place_row_bytes};

/// Why a stored value cannot be read.
pub(super) type Unreadable = String;

pub(super) fn fact_key(place: PlaceId, kind: u32, id: &FactId) -> [u8; 28] {
    let mut key = [0; 28];
    key[..8].copy_from_slice(&place.get().to_be_bytes());
    key[8..12].copy_from_slice(&kind.to_be_bytes());
    key[12..].copy_from_slice(id.as_bytes());
    key
}

/// Place, kind and id in a fact's key.
fn fact_key_parts(key: &[u8]) -> Result<(PlaceId, u32, FactId), Unreadable> {
    let place = key.get(..8).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
    let place = place.and_then(PlaceId::new).ok_or("a fact's key has no place")?;
    let kind = key.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let id = key.get(12..).and_then(|bytes| bytes.try_into().ok()).map(FactId::from_bytes);
    Ok((place, kind.ok_or("a fact's key has no kind")?, id.ok_or("a fact's key has no id")?))
}

pub(super) fn fact_prefix(place: PlaceId, kind: Option<u32>) -> Vec<u8> {
    let mut key = Vec::with_capacity(12);
    key.extend_from_slice(&place.get().to_be_bytes());
    key.extend(kind.into_iter().flat_map(u32::to_be_bytes));
    key
}

pub(super) fn bucket_key(bucket: u32) -> [u8; 2] {
    (bucket as u16).to_be_bytes()
}

pub(super) fn place_key(bucket: u32, place: PlaceId) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&bucket_key(bucket));
    key[2..].copy_from_slice(&place.get().to_be_bytes());
    key
}

/// The place in a key of `places` or `warnings`.
pub(super) fn place_of(key: &[u8]) -> Result<PlaceId, Unreadable> {
    let bytes = key.get(2..10).and_then(|bytes| bytes.try_into().ok()).ok_or("a key is too short")?;
    PlaceId::new(i64::from_be_bytes(bytes)).ok_or_else(|| "a key's place is not positive".into())
}

pub(super) fn warning_key(bucket: u32, place: PlaceId, rule: u32, ordinal: u32) -> [u8; 18] {
    let mut key = [0; 18];
    key[..10].copy_from_slice(&place_key(bucket, place));
    key[10..14].copy_from_slice(&rule.to_be_bytes());
    key[14..].copy_from_slice(&ordinal.to_be_bytes());
    key
}

/// Appends the bytes of a row.
pub(super) fn put_row(out: &mut Vec<u8>, row: &[Value]) {
    cells::append(row, out);
}

pub(super) fn row_from(bytes: &[u8]) -> Result<Vec<Value>, Unreadable> {
    cells::decode(bytes).map_err(text)
}

fn text(error: impl std::fmt::Display) -> Unreadable {
    error.to_string()
}

fn name(names: &Reading<'_>, number: u32) -> Result<Arc<str>, Unreadable> {
    names.name(number).cloned().ok_or_else(|| not_stored(number))
}

pub(super) fn not_stored(name: u32) -> Unreadable {
    format!("the name number {name} is not stored")
}

pub(super) fn be_u64(bytes: &[u8]) -> Result<u64, Unreadable> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| "a number has not eight bytes")?))
}
