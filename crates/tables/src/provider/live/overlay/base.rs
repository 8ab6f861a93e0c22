//! One shard's rows that a base table of the lake does not have, or has otherwise.

use std::collections::BTreeMap;

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
};
use hashbrown::{HashMap, hash_map::Entry};
use yibiao_records::{Operation, cells::CellRef};

use super::{Key, Keys, SEGMENTS_MAX, Shown, ShownRows, Superseded, concat, failed, own_key};
use crate::{
    Error,
    lake::{ChangeRef, LakeTable, Layout, RowsBuilder, projector::end_base_row},
};

/// Rows of a base table.
#[derive(Debug, Default)]
pub(super) struct Base {
    newest: HashMap<Key, Newest>,
    /// The same keys, by bucket.
    keys: std::collections::HashMap<i64, BucketKeys>,
    /// How many of them the lake has a row of.
    in_base: usize,
    parts: BTreeMap<u32, Part>,
    /// The part that is being made, and which of its rows count.
    next: u32,
    counts: Vec<bool>,
}

/// Keys of one bucket.
#[derive(Debug, Default)]
struct BucketKeys {
    /// Ascending.
    sorted: Keys,
    /// Those that have come since.
    fresh: Vec<Key>,
}

impl BucketKeys {
    /// All of them, ascending: what was sorted is only merged with what has come.
    fn sorted(&mut self) -> Keys {
        if !self.fresh.is_empty() {
            self.fresh.sort_unstable();
            let mut all = Vec::with_capacity(self.sorted.len() + self.fresh.len());
            all.extend(self.sorted.iter().cloned());
            all.append(&mut self.fresh);
            // Of two ascending runs this makes one.
            all.sort();
            self.sorted = all.into();
        }
        self.sorted.clone()
    }

    /// Leaves out those that do not stay; false where none stays.
    fn retain(&mut self, stays: impl Fn(&Key) -> bool) -> bool {
        self.fresh.retain(&stays);
        self.sorted = self.sorted.iter().filter(|key| stays(key)).cloned().collect();
        !self.fresh.is_empty() || !self.sorted.is_empty()
    }
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
    /// None: all rows count.
    fn counting(&self) -> Option<BooleanArray> {
        self.counts.contains(&false).then(|| BooleanArray::new(self.counts.as_slice().into(), None))
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
        let (at, bucket) = (is_there.then_some((self.next, made.rows())), layout.bucket_of(change.place));
        if is_there {
            end_base_row(made, bucket)?;
            self.counts.push(true);
        }
        let newest = match self.newest.entry((change.place.get(), own)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.keys.entry(bucket).or_default().fresh.push(new.key().clone());
                // Of what was neither made nor deleted since, the lake has what is there.
                self.in_base += usize::from(change.operation != Operation::Insert);
                new.insert(Newest::default())
            }
        };
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
        let (mut had, mut is_news, mut in_base) = (Vec::new(), false, 0);
        self.newest.retain(|_, newest| {
            let stays = newest.sequence > position;
            let flips = newest.flips.len();
            newest.flips.retain(|sequence| *sequence > position);
            is_news |= !stays || flips > newest.flips.len();
            in_base += usize::from(stays && newest.is_in_base());
            had.extend(newest.at.filter(|_| !stays));
            stays
        });
        self.in_base = in_base;
        if is_news {
            self.keys.retain(|_, keys| keys.retain(|key| self.newest.contains_key(key)));
        }
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
            counting.push(match part.counting() {
                Some(counts) => filter_record_batch(&part.rows, &counts).map_err(failed(table))?,
                None => part.rows.clone(),
            });
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

    pub fn shown(&mut self) -> Shown {
        let keys = self.keys.iter_mut().map(|(bucket, keys)| (*bucket, keys.sorted()));
        let superseded = Superseded { keys: keys.collect(), in_base: self.in_base };
        let rows = |part: &Part| ShownRows { rows: part.rows.clone(), counting: part.counting() };
        Shown { rows: self.parts.values().map(rows).collect(), superseded }
    }
}
