//! An entry of the change log as stored bytes:
//!
//! ```text
//!  1 table      uint32, a name    4 recorded_at_ms  sint64
//!  2 operation  uint32            5 row             a `Row`; absent where the change is one of a fact
//!  3 place      int64             6 fact            { 1 its key, 2 retracted: bool, 3 the fact as it is stored }
//! ```
//! What was said of a fact stands there as it is stored: its row is made when the change is read.

use yibiao_records::{Change, Operation, PlaceId, Statement, Value};

use super::{
    Unreadable, fact_from, name, row_from,
    wire::{Fields, put_bytes, put_int, put_nested, put_number, put_signed},
};
use crate::shard::names::Names;

pub(super) const OPERATIONS: [Operation; 3] = [Operation::Insert, Operation::Update, Operation::Delete];

/// What all changes of a batch are written with.
pub(in crate::shard) struct ChangeHead {
    pub table: u32,
    pub operation: Operation,
    pub place: PlaceId,
    pub recorded_at_ms: i64,
}

impl ChangeHead {
    fn put(&self, out: &mut Vec<u8>) {
        let operation = OPERATIONS.iter().position(|other| *other == self.operation).unwrap_or_default();
        put_number(out, 1, self.table.into());
        put_number(out, 2, operation as u64);
        put_int(out, 3, self.place.get());
        put_signed(out, 4, self.recorded_at_ms);
    }
}

/// Appends the change of a row, whose bytes are those of a `Row`.
pub(in crate::shard) fn put_change(out: &mut Vec<u8>, head: &ChangeHead, row: &[u8]) {
    head.put(out);
    put_bytes(out, 5, row);
}

/// Appends what was said of a fact; `key` and `fact` are as they are stored.
pub(in crate::shard) fn put_fact_change(
    out: &mut Vec<u8>,
    head: &ChangeHead,
    key: &[u8],
    retracted: bool,
    fact: &[u8],
) {
    head.put(out);
    put_nested(out, 6, |out| {
        put_bytes(out, 1, key);
        put_number(out, 2, retracted.into());
        put_bytes(out, 3, fact);
    });
}

/// `width` tells how many columns a table has.
pub(in crate::shard) fn change_from(
    sequence: u64,
    bytes: &[u8],
    names: &Names,
    width: impl Fn(&str) -> Option<usize>,
) -> Result<Change, Unreadable> {
    let (mut table, mut operation, mut place, mut recorded_at_ms) = (0, 0, 0, 0);
    let (mut row, mut said): (&[u8], _) = (&[], None);
    for field in Fields::of(bytes) {
        let (tag, field) = field?;
        match tag {
            1 => table = field.u32()?,
            2 => operation = field.u32()?,
            3 => place = field.number()? as i64,
            4 => recorded_at_ms = field.signed()?,
            5 => row = field.bytes()?,
            6 => said = Some(field.bytes()?),
            _ => {}
        }
    }
    let table = name(&names.reading(), table)?;
    let row = match said {
        None => row_from(row)?,
        Some(said) => {
            let width = width(&table).ok_or_else(|| format!("the table {table} is not known"))?;
            fact_row(said, names, width)?
        }
    };
    Ok(Change {
        sequence,
        table: table.to_string(),
        operation: *OPERATIONS.get(operation as usize).ok_or("a change's operation is unknown")?,
        place: PlaceId::new(place).ok_or("a change has no place")?,
        recorded_at_ms,
        row,
    })
}

fn fact_row(said: &[u8], names: &Names, width: usize) -> Result<Vec<Value>, Unreadable> {
    let (mut key, mut retracted, mut fact): (&[u8], _, &[u8]) = (&[], false, &[]);
    for field in Fields::of(said) {
        let (tag, field) = field?;
        match tag {
            1 => key = field.bytes()?,
            2 => retracted = field.number()? != 0,
            3 => fact = field.bytes()?,
            _ => {}
        }
    }
    let mut stored = fact_from(key, fact, names)?;
    if retracted {
        stored.fact.statement = Statement::Retract;
    }
    Ok(stored.row(width))
}
