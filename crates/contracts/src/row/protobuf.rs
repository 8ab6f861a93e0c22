//! One protobuf message to cells, strictly; and the cutting of fields out of its bytes.

use std::{borrow::Cow, ops::Range};

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage, Value};
use yibiao_records::Reason;

use super::Cell;
use crate::decode::Reject;

/// Reads a message. Fields that the schema does not know and values of other wire types are refused: they mean
/// that the sender follows another schema.
pub(crate) fn message(bytes: &[u8], descriptor: &MessageDescriptor) -> Result<DynamicMessage, Reject> {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).map_err(|error| {
        let text = error.to_string();
        let reason = match () {
            () if text.contains("UTF-8") => Reason::Undecodable,
            () if text.contains("wire type") => Reason::WrongSchema,
            () => Reason::Malformed,
        };
        Reject::new(reason, None, format!("it is no {}: {text}", descriptor.full_name()))
    })?;
    if let Some(unknown) = message.unknown_fields().next() {
        return Err(Reject::new(
            Reason::WrongSchema,
            None,
            format!(
                "it has the field number {}, which {} does not",
                unknown.number(),
                descriptor.full_name()
            ),
        ));
    }
    Ok(message)
}

/// One field's cell. What is not set, or set to the default of a field without presence, is missing.
pub(crate) fn cell(message: &DynamicMessage, name: &str) -> Cell<'static> {
    let Some(field) = message.descriptor().get_field_by_name(name) else { return Cell::Missing };
    if !message.has_field(&field) {
        return Cell::Missing;
    }
    match message.get_field(&field).into_owned() {
        Value::Bool(value) => Cell::Bool(value),
        Value::I32(value) => Cell::Int(value.into()),
        Value::I64(value) => Cell::Int(value),
        Value::U32(value) => Cell::Int(value.into()),
        Value::U64(value) => {
            i64::try_from(value).map_or_else(|_| Cell::Number(Cow::Owned(value.to_string())), Cell::Int)
        }
        Value::F32(value) => Cell::Number(Cow::Owned(value.to_string())),
        Value::F64(value) => Cell::Number(Cow::Owned(value.to_string())),
        Value::String(value) => Cell::Text(Cow::Owned(value)),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(of) => match of.get_value(number) {
                Some(value) => Cell::Text(Cow::Owned(value.name().to_owned())),
                None => Cell::Int(number.into()),
            },
            _ => Cell::Int(number.into()),
        },
        _ => Cell::Nested,
    }
}

/// The byte ranges of all fields with these numbers; None where the bytes are no message.
pub(crate) fn ranges_of(bytes: &[u8], numbers: &[u32]) -> Option<Vec<Range<usize>>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let tag = varint(bytes, &mut at)?;
        let number = u32::try_from(tag >> 3).ok()?;
        match tag & 7 {
            0 => {
                varint(bytes, &mut at)?;
            }
            1 => at += 8,
            2 => {
                let length = usize::try_from(varint(bytes, &mut at)?).ok()?;
                at = at.checked_add(length)?;
            }
            5 => at += 4,
            // Groups are deprecated, and could hide a field.
            _ => return None,
        }
        if at > bytes.len() || number == 0 {
            return None;
        }
        if numbers.contains(&number) {
            ranges.push(start..at);
        }
    }
    Some(ranges)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
