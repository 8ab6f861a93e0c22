//! A row of cells as stored bytes: the protobuf message `Row`, written without copying its texts first.

use prost::{
    DecodeError, Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};

use crate::{
    Value,
    proto::{Cell, Row},
};

const CELLS: u32 = 1;
const BOOL: u32 = 1;
const INT: u32 = 2;
const DECIMAL: u32 = 3;
const TEXT: u32 = 4;
const DATE: u32 = 5;
const TIMESTAMP: u32 = 6;

/// The bytes of a `Row` message with these cells.
pub fn encode(row: &[Value]) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.iter().map(|value| cell_length(value) + 2).sum());
    for value in row {
        encode_key(CELLS, WireType::LengthDelimited, &mut out);
        encode_varint(cell_length(value) as u64, &mut out);
        encode_cell(value, &mut out);
    }
    out
}

/// The cells of a `Row` message.
pub fn decode(bytes: &[u8]) -> Result<Vec<Value>, DecodeError> {
    Ok(Row::decode(bytes)?.cells.into_iter().map(value_of).collect())
}

fn cell_length(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 2,
        Value::Int(v) | Value::Decimal(v) | Value::Timestamp(v) => 1 + encoded_len_varint(zigzag(*v)),
        Value::Date(v) => 1 + encoded_len_varint(zigzag(i64::from(*v))),
        Value::Text(v) => 1 + encoded_len_varint(v.len() as u64) + v.len(),
    }
}

fn encode_cell(value: &Value, out: &mut Vec<u8>) {
    let mut number = |field: u32, number: u64| {
        encode_key(field, WireType::Varint, out);
        encode_varint(number, out);
    };
    match value {
        Value::Null => {}
        Value::Bool(v) => number(BOOL, u64::from(*v)),
        Value::Int(v) => number(INT, zigzag(*v)),
        Value::Decimal(v) => number(DECIMAL, zigzag(*v)),
        Value::Date(v) => number(DATE, zigzag(i64::from(*v))),
        Value::Timestamp(v) => number(TIMESTAMP, zigzag(*v)),
        Value::Text(v) => {
            encode_key(TEXT, WireType::LengthDelimited, out);
            encode_varint(v.len() as u64, out);
            out.extend_from_slice(v.as_bytes());
        }
    }
}

/// Signed numbers of small size become unsigned ones of small size, as protobuf's `sint64` has them.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn value_of(cell: Cell) -> Value {
    use crate::proto::cell::Value as Cell;
    match cell.value {
        None => Value::Null,
        Some(Cell::Bool(v)) => Value::Bool(v),
        Some(Cell::Int(v)) => Value::Int(v),
        Some(Cell::Decimal(v)) => Value::Decimal(v),
        Some(Cell::Text(v)) => Value::Text(v),
        Some(Cell::Date(v)) => Value::Date(v),
        Some(Cell::Timestamp(v)) => Value::Timestamp(v),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<i64>().prop_map(Value::Decimal),
            "\\PC{0,200}".prop_map(Value::Text),
            any::<i32>().prop_map(Value::Date),
            any::<i64>().prop_map(Value::Timestamp),
        ]
    }

    proptest! {
        #[test]
        fn a_row_comes_back_as_it_was_stored(row in prop::collection::vec(value(), 0..60)) {
            let bytes = encode(&row);
            prop_assert_eq!(decode(&bytes).unwrap(), row);
            // The same bytes that any protobuf library writes for the message.
            prop_assert_eq!(Row::decode(&bytes[..]).unwrap().encode_to_vec(), bytes);
        }
    }
}
