//! One shard's rows that a base table of the lake does not have, or has otherwise.

use std::collections::BTreeMap;

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
};
use hashbrown::HashMap;
use yibiao_records::{Operation, PlaceId, cells::CellRef};

use super::{SEGMENTS_MAX, Shown, Superseded, concat, failed, own_key};
use crate::{
    Error,
    lake::{ChangeRef, LakeTable, Layout, RowsBuilder, projector::end_base_row},
};

/// Rows of a base table.
#[derive(Debug, Default)]
pub(super) struct Base {
    newest: HashMap<(i64, Option<Box<str>>), Newest>,
    parts: BTreeMap<u32, Part>,
    /// The part that is being made, and which of its rows count.
    next: u32,
    counts: Vec<bool>,
}

#[derive(Debug, Default)]
struct Newest {
    sequence: u64,
    /// Part and row; None: it was deleted.
    at: Option<(u32, usize)>,
    /// The changes that the lake does not have and that made or deleted the row.
    flips: Vec<u64>,
}

impl Newest {
    /// Whether the lake has a row of this key: it is there now, or it is not, and each flip says the opposite.
    fn is_in_base(&self) -> bool {
        self.at.is_some() ^ (self.flips.len() % 2 == 1)
    }
}

#[derive(Debug)]
struct Part {
    rows: RecordBatch,
    counts: Vec<bool>,
}

impl Part {
    fn counting(&self) -> Result<RecordBatch, arrow::error::ArrowError> {
        match self.counts.iter().all(|counts| *counts) {
            true => Ok(self.rows.clone()),
            false => filter_record_batch(&self.rows, &BooleanArray::from(self.counts.clone())),
        }
    }
}

impl Base {
    /// The change, whose row is added to `made`; [`Base::end_part`] follows before the rows are shown.
    pub fn take(
        &mut self,
        change: &ChangeRef<'_>,
        table: &LakeTable,
        layout: &Layout,
        made: &mut RowsBuilder,
    ) -> Result<(), Error> {
        let column = own_key(&table.fused).and_then(|name| table.schema.column(name));
        let is_there = change.operation != Operation::Delete;
        let (mut own, mut index) = (None, 0);
        if is_there || column.is_some() {
            change.row.each(&mut |cell| {
                if let (CellRef::Text(text), true) = (cell, Some(index) == column) {
                    own = Some(Box::from(text));
                }
                if is_there {
                    made.push(cell);
                }
                index += 1;
            })?;
        }
        let at = is_there.then_some((self.next, made.rows()));
        if is_there {
            end_base_row(made, layout.bucket_of(change.place))?;
            self.counts.push(true);
        }
        let newest = self.newest.entry((change.place.get(), own)).or_default();
        newest.sequence = change.sequence;
        if change.operation != Operation::Update {
            newest.flips.push(change.sequence);
        }
        match std::mem::replace(&mut newest.at, at) {
            Some((of, row)) if of == self.next => self.counts[row] = false,
            Some((of, row)) => self.discount(of, row),
            None => {}
        }
        Ok(())
    }

    /// What was made becomes a part.
    pub fn end_part(&mut self, made: &mut RowsBuilder, table: &LakeTable) -> Result<(), Error> {
        if self.counts.is_empty() {
            return Ok(());
        }
        let (counts, rows) = (std::mem::take(&mut self.counts), made.finish()?);
        if counts.contains(&true) {
            self.parts.insert(self.next, Part { rows, counts });
        }
        self.next += 1;
        if self.parts.len() > SEGMENTS_MAX { self.put_together(table) } else { Ok(()) }
    }

    fn discount(&mut self, part: u32, row: usize) {
        let Some(of) = self.parts.get_mut(&part) else { return };
        of.counts[row] = false;
        if !of.counts.contains(&true) {
            self.parts.remove(&part);
        }
    }

    /// The lake has the changes up to `position`; true where that is news.
    pub fn forget(&mut self, position: u64) -> bool {
        let (mut had, mut is_news) = (Vec::new(), false);
        self.newest.retain(|_, newest| {
            let stays = newest.sequence > position;
            let flips = newest.flips.len();
            newest.flips.retain(|sequence| *sequence > position);
            is_news |= !stays || flips > newest.flips.len();
            had.extend(newest.at.filter(|_| !stays));
            stays
        });
        for (part, row) in had {
            if let Some(part) = self.parts.get_mut(&part) {
                part.counts[row] = false;
            }
        }
        self.parts.retain(|_, part| part.counts.contains(&true));
        is_news
    }

    fn put_together(&mut self, table: &LakeTable) -> Result<(), Error> {
        let (mut first, mut places) = (0, HashMap::new());
        let mut counting = Vec::new();
        for (number, part) in &self.parts {
            let mut row = first;
            let rows = part.counts.iter().map(|counts| {
                row += usize::from(*counts);
                row.wrapping_sub(1)
            });
            places.insert(*number, rows.collect::<Vec<_>>());
            first = row;
            counting.push(part.counting().map_err(failed(table))?);
        }
        let rows = concat(table, &counting)?;
        let number = self.next;
        self.next += 1;
        for newest in self.newest.values_mut() {
            newest.at = newest.at.map(|(part, row)| (number, places[&part][row]));
        }
        let counts = vec![true; rows.num_rows()];
        self.parts = BTreeMap::from([(number, Part { rows, counts })]);
        Ok(())
    }

    pub fn shown(&self, shard: u32, table: &LakeTable, layout: &Layout) -> Result<Shown, Error> {
        let in_base = self.newest.values().filter(|newest| newest.is_in_base()).count();
        let mut superseded = Superseded { shard, in_base, ..Superseded::default() };
        if own_key(&table.fused).is_some() {
            let keys = self.newest.keys();
            superseded.own = Some(keys.filter_map(|(place, own)| Some((*place, own.clone()?))).collect());
        }
        for place in self.newest.keys().filter_map(|(place, _)| PlaceId::new(*place)) {
            superseded.places.entry(layout.bucket_of(place)).or_default().push(place.get());
        }
        for places in superseded.places.values_mut() {
            places.sort_unstable();
            places.dedup();
        }
        let batches = self.parts.values().map(Part::counting).collect::<Result<_, _>>();
        Ok(Shown { batches: batches.map_err(failed(table))?, superseded })
    }
}
