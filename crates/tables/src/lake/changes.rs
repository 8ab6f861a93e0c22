//! Changes and rows that are read where they lie, cell by cell.

use std::ops::ControlFlow;

use yibiao_records::{Change, Operation, PlaceId, Value, cells::CellRef};

use crate::Error;

/// A row whose cells are read when they are wanted.
pub trait Cells {
    /// Calls `take` for each cell, in the order of the table's columns.
    fn each(&self, take: &mut dyn FnMut(CellRef<'_>)) -> Result<(), Error>;
}

impl Cells for Vec<Value> {
    fn each(&self, take: &mut dyn FnMut(CellRef<'_>)) -> Result<(), Error> {
        self.iter().for_each(|value| take(value.into()));
        Ok(())
    }
}

/// A [`Change`] whose row was not read yet.
pub struct ChangeRef<'a> {
    pub sequence: u64,
    pub table: &'a str,
    pub operation: Operation,
    pub place: PlaceId,
    pub recorded_at_ms: i64,
    pub row: &'a dyn Cells,
}

impl<'a> From<&'a Change> for ChangeRef<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            sequence: change.sequence,
            table: &change.table,
            operation: change.operation,
            place: change.place,
            recorded_at_ms: change.recorded_at_ms,
            row: &change.row,
        }
    }
}

/// What is done with each change; a break ends the reading.
pub type VisitChange<'v> = dyn FnMut(&ChangeRef<'_>) -> Result<ControlFlow<()>, Error> + 'v;

/// What is done with each row; a break ends the reading.
pub type VisitRow<'v> = dyn FnMut(&dyn Cells) -> Result<ControlFlow<()>, Error> + 'v;
