//! Reading changes and rows without a copy of each: for the lake, which turns them into columns.

use std::sync::Arc;

use yibiao_records::cells::{self, CellRef};

use super::{OUTBOX_KEYSPACE, PLACES_KEYSPACE, View, WARNINGS_KEYSPACE, codec};
use crate::{
    Error,
    lake::changes::{Cells, ChangeRef, VisitChange, VisitRow},
    spec::{PLACES, WARNINGS},
};

impl View {
    /// As [`View::outbox`].
    pub(crate) fn each_change(&self, after: u64, visit: &mut VisitChange<'_>) -> Result<(), Error> {
        // What the snapshot names was named before it was taken.
        let names = self.names().all();
        for pair in self.snapshot.from(OUTBOX_KEYSPACE, (after + 1).to_be_bytes()) {
            let (key, value) = pair?;
            let corrupt = |e| self.shard.corrupt("outbox", e);
            let last = codec::be_u64(&key).map_err(corrupt)?;
            for change in codec::changes_of(last, &value, after).map_err(corrupt)? {
                let (sequence, bytes) = change.map_err(corrupt)?;
                let row =
                    RowOfChange::read(self, &names, bytes).map_err(|e| self.shard.corrupt("change", e))?;
                if visit(&row.change(sequence))?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// As [`View::bucket_rows`].
    pub(crate) fn each_bucket_row(
        &self,
        table: &str,
        bucket: u32,
        visit: &mut VisitRow<'_>,
    ) -> Result<(), Error> {
        let keyspace = match table {
            PLACES => PLACES_KEYSPACE,
            WARNINGS => WARNINGS_KEYSPACE,
            _ => return self.tables().schema(table).map(drop),
        };
        let width = self.tables().schema(table)?.columns.len();
        for pair in self.snapshot.prefix(keyspace, codec::bucket_key(bucket)) {
            let (_, value) = pair?;
            let row = match keyspace {
                PLACES_KEYSPACE => codec::place_row_bytes(&value),
                _ => Some(Some(&value[..])),
            };
            let flow = match row {
                Some(None) => continue,
                Some(Some(bytes)) => visit(&Row { view: self, table, width, bytes })?,
                None => match self.row_of(keyspace, &value)? {
                    Some(row) => visit(&self.fits(self.tables().schema(table).ok().map(Arc::as_ref), row)?)?,
                    None => continue,
                },
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A row as it is stored.
struct Row<'a> {
    view: &'a View,
    table: &'a str,
    width: usize,
    bytes: &'a [u8],
}

impl Cells for Row<'_> {
    fn each(&self, take: &mut dyn FnMut(CellRef<'_>)) -> Result<(), Error> {
        let mut found = 0;
        let read = cells::each(self.bytes, |cell| {
            found += 1;
            take(cell);
        });
        read.map_err(|error| self.view.shard.corrupt("row", error.to_string()))?;
        self.view.has_width(self.table, found, self.width)
    }
}

/// A change as it is stored.
struct RowOfChange<'a> {
    view: &'a View,
    names: &'a [Arc<str>],
    table: &'a str,
    bytes: codec::ChangeBytes<'a>,
}

impl<'a> RowOfChange<'a> {
    fn read(view: &'a View, names: &'a [Arc<str>], bytes: &'a [u8]) -> Result<Self, codec::Unreadable> {
        let bytes = codec::ChangeBytes::read(bytes)?;
        let number = bytes.table;
        let table = names.get(number as usize).ok_or_else(|| codec::not_stored(number))?;
        Ok(Self { view, names, table, bytes })
    }

    fn change(&self, sequence: u64) -> ChangeRef<'_> {
        ChangeRef {
            sequence,
            table: self.table,
            operation: self.bytes.operation,
            place: self.bytes.place,
            recorded_at_ms: self.bytes.recorded_at_ms,
            row: self,
        }
    }
}

impl Cells for RowOfChange<'_> {
    fn each(&self, take: &mut dyn FnMut(CellRef<'_>)) -> Result<(), Error> {
        let schema = self.view.tables().schema(self.table);
        let width = || Ok(schema.map_err(|error| error.to_string())?.columns.len());
        self.bytes.each(self.names, width, take).map_err(|detail| self.view.shard.corrupt("change", detail))
    }
}
