//! A row of cells as stored bytes: the protobuf message `Row`, written without copying its texts first.

use prost::{
    DecodeError, Message,
    encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint},
};

use crate::{
    Value,
    proto::{Cell, Row},
};

/// A cell whose text is not copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CellRef<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Thousandths.
    Decimal(i64),
    Text(&'a str),
    /// Days since the epoch.
    Date(i32),
    /// Milliseconds since the epoch.
    Timestamp(i64),
}

impl<'a> From<&'a Value> for CellRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => CellRef::Null,
            Value::Bool(v) => CellRef::Bool(*v),
            Value::Int(v) => CellRef::Int(*v),
            Value::Decimal(v) => CellRef::Decimal(*v),
            Value::Text(v) => CellRef::Text(v),
            Value::Date(v) => CellRef::Date(*v),
            Value::Timestamp(v) => CellRef::Timestamp(*v),
        }
    }
}

impl From<CellRef<'_>> for Value {
    fn from(cell: CellRef<'_>) -> Self {
        match cell {
            CellRef::Null => Value::Null,
            CellRef::Bool(v) => Value::Bool(v),
            CellRef::Int(v) => Value::Int(v),
            CellRef::Decimal(v) => Value::Decimal(v),
            CellRef::Text(v) => Value::Text(v.to_owned()),
            CellRef::Date(v) => Value::Date(v),
            CellRef::Timestamp(v) => Value::Timestamp(v),
        }
    }
}

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
    append(row, &mut out);
    out
}

/// Appends the bytes of a `Row` message with these cells.
pub fn append(row: &[Value], out: &mut Vec<u8>) {
    for value in row {
        encode_key(CELLS, WireType::LengthDelimited, out);
        encode_varint(cell_length(value) as u64, out);
        encode_cell(value, out);
    }
}

/// The cells of a `Row` message.
pub fn decode(bytes: &[u8]) -> Result<Vec<Value>, DecodeError> {
    match as_encoded(bytes) {
        Some(row) => Ok(row),
        None => Ok(Row::decode(bytes)?.cells.into_iter().map(value_of).collect()),
    }
}

/// Calls `take` for each cell of a `Row` message, in order. After an error some of them were taken already.
pub fn each(bytes: &[u8], mut take: impl FnMut(CellRef<'_>)) -> Result<(), DecodeError> {
    let (mut left, mut taken) = (bytes, 0);
    while !left.is_empty() {
        match next_cell(&mut left).and_then(cell_as_encoded) {
            Some(cell) => take(cell),
            None => {
                // Not as `encode` writes it: what was taken is what any library reads of the bytes so far.
                let cells = Row::decode(bytes)?.cells.into_iter().skip(taken);
                cells.map(value_of).for_each(|value| take(CellRef::from(&value)));
                return Ok(());
            }
        }
        taken += 1;
    }
    Ok(())
}

/// The cells of a message as [`encode`] writes it: of one field after the other, and each of at most one value. None where
/// it is another, which may be a `Row` all the same.
fn as_encoded(bytes: &[u8]) -> Option<Vec<Value>> {
    let mut left = bytes;
    let cells = std::iter::from_fn(|| (!left.is_empty()).then(|| next_cell(&mut left))).count();
    let mut row = Vec::with_capacity(cells);
    let mut left = bytes;
    while !left.is_empty() {
        row.push(cell_as_encoded(next_cell(&mut left)?)?.into());
    }
    Some(row)
}

/// None ends the row: what is left is no such cell.
fn next_cell<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let is_cell = decode_key(left).ok() == Some((CELLS, WireType::LengthDelimited));
    let cell = if is_cell { prefixed(left) } else { None };
    if cell.is_none() {
        *left = &[];
    }
    cell
}

fn cell_as_encoded(mut cell: &[u8]) -> Option<CellRef<'_>> {
    if cell.is_empty() {
        return Some(CellRef::Null);
    }
    let key = decode_key(&mut cell).ok()?;
    if key == (TEXT, WireType::LengthDelimited) {
        let text = std::str::from_utf8(prefixed(&mut cell)?).ok()?;
        return cell.is_empty().then_some(CellRef::Text(text));
    }
    let (field, WireType::Varint) = key else { return None };
    let number = decode_varint(&mut cell).ok()?;
    if !cell.is_empty() {
        return None;
    }
    let signed = (number >> 1) as i64 ^ -((number & 1) as i64);
    Some(match field {
        BOOL => CellRef::Bool(number != 0),
        INT => CellRef::Int(signed),
        DECIMAL => CellRef::Decimal(signed),
        DATE => CellRef::Date(i32::try_from(signed).ok()?),
        TIMESTAMP => CellRef::Timestamp(signed),
        _ => return None,
    })
}

/// The bytes that follow their number.
fn prefixed<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
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

    fn taken(bytes: &[u8]) -> Result<Vec<Value>, DecodeError> {
        let mut row = Vec::new();
        each(bytes, |cell| row.push(cell.into()))?;
        Ok(row)
    }

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
            prop_assert_eq!(decode(&bytes).unwrap(), row.clone());
            prop_assert_eq!(taken(&bytes).unwrap(), row);
            // The same bytes that any protobuf library writes for the message.
            prop_assert_eq!(Row::decode(&bytes[..]).unwrap().encode_to_vec(), bytes);
        }

        #[test]
        fn damaged_bytes_are_read_as_any_protobuf_library_reads_them(
            row in prop::collection::vec(value(), 0..8),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<bool>(),
        ) {
            let mut bytes = encode(&row);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if cut {
                    bytes.truncate(at);
                }
            }
            let theirs: Option<Vec<Value>> =
                Row::decode(&bytes[..]).ok().map(|row| row.cells.into_iter().map(value_of).collect());
            prop_assert_eq!(decode(&bytes).ok(), theirs.clone());
            prop_assert_eq!(taken(&bytes).ok(), theirs);
        }
    }
}
