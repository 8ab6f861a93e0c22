//! A fact as stored bytes:
//!
//! ```text
//!  1 level            string    7 feed           uint32, a name     13 match_reason       uint32, a name
//!  2 provisional      bool      8 source_key     string             14 confidence         float
//!  3 division_code    string    9 raw_topic      uint32, a name     15 contract_version   uint32, a name
//!  4 valid_from_ms    sint64   10 raw_partition  int32              16 gazetteer_version  uint32, a name
//!  5 valid_to_ms      sint64?  11 raw_offset     int64              17 payload            a `Row`
//!  6 recorded_at_ms   sint64   12 raw_index      int32
//! ```
//! Its place, kind and id are in its key.

use yibiao_records::{Fact, RawPosition, Statement, cells};

use super::{
    Unreadable, fact_key_parts, name, row_from,
    wire::{Fields, put_bytes, put_float, put_int, put_nested, put_number, put_signed, put_some_signed},
};
use crate::shard::{names::Names, state::StoredFact};

/// Appends the fact's bytes.
pub(in crate::shard) fn put_fact(out: &mut Vec<u8>, stored: &StoredFact, names: &Names) {
    let fact = &stored.fact;
    put_bytes(out, 1, fact.level.as_bytes());
    put_number(out, 2, u64::from(fact.provisional));
    put_bytes(out, 3, fact.division_code.as_bytes());
    put_signed(out, 4, fact.valid_from_ms);
    if let Some(to) = fact.valid_to_ms {
        put_some_signed(out, 5, to);
    }
    put_signed(out, 6, fact.recorded_at_ms);
    put_number(out, 7, names.number_or_add(&stored.feed).into());
    put_bytes(out, 8, fact.source_key.as_bytes());
    put_number(out, 9, names.number_or_add(&stored.raw_topic).into());
    put_int(out, 10, stored.raw_partition.into());
    put_int(out, 11, fact.raw.offset);
    put_int(out, 12, fact.raw.index.into());
    put_number(out, 13, names.number_or_add(&fact.match_reason).into());
    put_float(out, 14, fact.confidence);
    put_number(out, 15, names.number_or_add(&stored.contract_version).into());
    put_number(out, 16, names.number_or_add(&stored.gazetteer_version).into());
    if !fact.payload.is_empty() {
        put_nested(out, 17, |out| cells::append(&fact.payload, out));
    }
}

pub(in crate::shard) fn fact_from(key: &[u8], bytes: &[u8], names: &Names) -> Result<StoredFact, Unreadable> {
    let (place, kind, id) = fact_key_parts(key)?;
    let mut fact = Fact {
        statement: Statement::Assert,
        id,
        place,
        level: String::new(),
        provisional: false,
        division_code: String::new(),
        valid_from_ms: 0,
        valid_to_ms: None,
        recorded_at_ms: 0,
        source_key: String::new(),
        raw: RawPosition { offset: 0, index: 0 },
        match_reason: String::new(),
        confidence: 0.0,
        payload: Vec::new(),
    };
    let (mut feed, mut raw_topic, mut reason, mut contract, mut gazetteer) = (0, 0, 0, 0, 0);
    let mut raw_partition = 0;
    for field in Fields::of(bytes) {
        let (tag, field) = field?;
        match tag {
            1 => fact.level = field.text()?.to_owned(),
            2 => fact.provisional = field.number()? != 0,
            3 => fact.division_code = field.text()?.to_owned(),
            4 => fact.valid_from_ms = field.signed()?,
            5 => fact.valid_to_ms = Some(field.signed()?),
            6 => fact.recorded_at_ms = field.signed()?,
            7 => feed = field.u32()?,
            8 => fact.source_key = field.text()?.to_owned(),
            9 => raw_topic = field.u32()?,
            10 => raw_partition = field.u32()? as i32,
            11 => fact.raw.offset = field.number()? as i64,
            12 => fact.raw.index = field.u32()? as i32,
            13 => reason = field.u32()?,
            14 => fact.confidence = field.float()?,
            15 => contract = field.u32()?,
            16 => gazetteer = field.u32()?,
            17 => fact.payload = row_from(field.bytes()?)?,
            _ => {}
        }
    }
    let names = names.reading();
    fact.match_reason = name(&names, reason)?.to_string();
    Ok(StoredFact {
        kind: name(&names, kind)?,
        feed: name(&names, feed)?,
        raw_topic: name(&names, raw_topic)?,
        raw_partition,
        contract_version: name(&names, contract)?,
        gazetteer_version: name(&names, gazetteer)?,
        fact,
    })
}
