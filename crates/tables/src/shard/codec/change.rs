//! An entry of the change log as stored bytes:
//!
//! ```text
//!  1 table      uint32, a name    4 recorded_at_ms  sint64
//!  2 operation  uint32            5 row             a `Row`; absent where the change is one of a fact
//!  3 place      int64             6 fact            { 1 its key, 2 retracted: bool, 3 the fact as it is stored }
//! ```
//! What was said of a fact stands there as it is stored: its row is made when the change is read.

use yibiao_records::{Change, Operation, PlaceId};

use super::{
    ChangeBytes, Unreadable, name,
    wire::{put_bytes, put_int, put_nested, put_number, put_signed},
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

/// A change with its whole row; `width` tells how many columns a table has.
pub(in crate::shard) fn change_from(
    sequence: u64,
    bytes: &[u8],
    names: &Names,
    width: impl Fn(&str) -> Option<usize>,
) -> Result<Change, Unreadable> {
    let (read, names) = (ChangeBytes::read(bytes)?, names.reading());
    let (table, mut row) = (name(&names, read.table)?, Vec::new());
    let width = || width(&table).ok_or_else(|| format!("the table {table} is not known"));
    read.each(names.all(), width, &mut |cell| row.push(cell.into()))?;
    Ok(Change {
        sequence,
        table: table.to_string(),
        operation: read.operation,
        place: read.place,
        recorded_at_ms: read.recorded_at_ms,
        row,
    })
}
