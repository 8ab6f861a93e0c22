//! One shard's changes that a table of the lake does not have.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::{concat_batches, filter_record_batch},
};
use yibiao_records::{Change, Operation, PlaceId, Value};

use crate::{
    Error,
    lake::{ChangeView, LakeTable, Layout, Role, batch, projector::log_row},
    spec::WARNINGS,
};

/// With more batches of rows than this they are put together.
const SEGMENTS_MAX: usize = 32;

/// The column that, beside the place, tells one row of a base table from another.
pub fn own_key(fused: &str) -> Option<&'static str> {
    (fused == WARNINGS).then_some("warning_id")
}

/// A row of a base table: the fused row, and the bucket.
pub fn base_row(mut row: Vec<Value>, table: &LakeTable, bucket: i64) -> Vec<Value> {
    row.resize(table.schema.columns.len() - 1, Value::Null);
    row.push(Value::Int(bucket));
    row
}

/// What is to be shown of one shard over a version of the lake.
#[derive(Debug, Default)]
pub struct Shown {
    pub batches: Vec<RecordBatch>,
    pub superseded: Superseded,
}

impl Shown {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    pub fn is_nothing(&self) -> bool {
        self.batches.is_empty() && self.superseded.places.is_empty()
    }
}

/// Which rows of the base do not count any more.
#[derive(Debug, Default)]
pub struct Superseded {
    pub shard: u32,
    /// By bucket, ascending.
    pub places: HashMap<i64, Vec<i64>>,
    /// Where a place may have several rows: which of them. None: all.
    pub own: Option<HashSet<(i64, Box<str>)>>,
}

impl Superseded {
    pub fn has(&self, place: i64, own: Option<&str>) -> bool {
        match (&self.own, own) {
            (Some(rows), Some(own)) => rows.contains(&(place, own.into())),
            _ => true,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Overlay {
    shard: u32,
    table: Arc<LakeTable>,
    layout: Arc<Layout>,
    /// All changes up to here were looked at.
    through: u64,
    /// Changes up to here are in the lake, as far as is known.
    had: u64,
    /// There are too many changes: the lake alone is shown.
    is_too_long: bool,
    rows: Rows,
    shown: Option<Arc<Shown>>,
}

#[derive(Debug)]
enum Rows {
    Base(Base),
    Log(Vec<LogPart>),
}

/// Rows of a change log.
#[derive(Debug)]
struct LogPart {
    /// Ascending, one a row.
    sequences: Vec<u64>,
    rows: RecordBatch,
}

impl Overlay {
    pub fn new(shard: u32, layout: &Layout, table: &LakeTable) -> Self {
        Self::over(shard, Arc::new(layout.clone()), Arc::new(table.clone()))
    }

    fn over(shard: u32, layout: Arc<Layout>, table: Arc<LakeTable>) -> Self {
        let rows = match table.role {
            Role::Base => Rows::Base(Base::default()),
            Role::Changes => Rows::Log(Vec::new()),
        };
        Self { shard, table, layout, through: 0, had: 0, is_too_long: false, rows, shown: None }
    }

    /// Of the same shard and table, with nothing in it.
    pub fn emptied(&self) -> Self {
        Self::over(self.shard, self.layout.clone(), self.table.clone())
    }

    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// Nothing was read or forgotten yet.
    pub fn is_new(&self) -> bool {
        self.through == 0 && self.had == 0
    }

    /// Reads on to the end of the shard's change log.
    pub fn catch_up<V: ChangeView>(&mut self, view: &V, changes_max: u64) -> Result<(), Error> {
        let last = view.last_sequence();
        let first = view.outbox(self.had).next().transpose()?.map_or(last + 1, |change| change.sequence);
        self.forget(first - 1)?;
        if last + 1 - first > changes_max {
            if !self.is_too_long {
                tracing::warn!(table = %self.table.name, shard = self.shard, changes = last + 1 - first, changes_max, "the lake is too far behind for live tables: what it has is shown");
            }
            *self = Self { is_too_long: true, had: self.had, ..self.emptied() };
            return Ok(());
        }
        if self.is_too_long {
            *self = Self { had: self.had, ..self.emptied() };
        }
        if self.through >= last {
            return Ok(());
        }
        let mut changes = Vec::new();
        for change in view.outbox(self.through.max(self.had)) {
            let change = change?;
            self.through = change.sequence;
            if change.table == self.table.fused {
                changes.push(change);
            }
        }
        self.through = self.through.max(last);
        if changes.is_empty() {
            return Ok(());
        }
        self.shown = None;
        match &mut self.rows {
            Rows::Base(base) => base.take(changes, &self.table, &self.layout),
            Rows::Log(parts) => {
                let sequences = changes.iter().map(|change| change.sequence).collect();
                let rows: Vec<_> =
                    changes.into_iter().map(|change| log_row(&self.table, self.shard, change)).collect();
                parts.push(LogPart { sequences, rows: batch(&self.table.schema, &rows)? });
                if parts.len() > SEGMENTS_MAX {
                    let all = parts.iter().map(|part| &part.rows);
                    let rows = concat(&self.table, all)?;
                    let sequences = parts.iter().flat_map(|part| part.sequences.iter().copied()).collect();
                    *parts = vec![LogPart { sequences, rows }];
                }
                Ok(())
            }
        }
    }

    /// The lake has the changes up to `position`.
    pub fn forget(&mut self, position: u64) -> Result<(), Error> {
        if position <= self.had {
            return Ok(());
        }
        self.had = position;
        let forgot = match &mut self.rows {
            Rows::Base(base) => base.forget(position),
            Rows::Log(parts) => {
                let mut forgot = false;
                parts.retain_mut(|part| {
                    let had = part.sequences.partition_point(|sequence| *sequence <= position);
                    forgot |= had > 0;
                    part.rows = part.rows.slice(had, part.sequences.len() - had);
                    part.sequences.drain(..had);
                    !part.sequences.is_empty()
                });
                forgot
            }
        };
        if forgot {
            self.shown = None;
        }
        Ok(())
    }

    pub fn shown(&mut self) -> Result<Arc<Shown>, Error> {
        if let Some(shown) = &self.shown {
            return Ok(shown.clone());
        }
        let shown = match &mut self.rows {
            Rows::Base(base) => base.shown(self.shard, &self.table, &self.layout)?,
            Rows::Log(parts) => Shown {
                batches: parts.iter().map(|part| part.rows.clone()).collect(),
                superseded: Superseded { shard: self.shard, ..Superseded::default() },
            },
        };
        Ok(self.shown.insert(Arc::new(shown)).clone())
    }
}

/// Rows of a base table.
#[derive(Debug, Default)]
struct Base {
    newest: HashMap<(i64, Option<Box<str>>), Newest>,
    parts: BTreeMap<u32, Part>,
    next: u32,
}

#[derive(Debug)]
struct Newest {
    sequence: u64,
    /// Part and row; None: it was deleted.
    at: Option<(u32, usize)>,
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
    fn take(&mut self, changes: Vec<Change>, table: &LakeTable, layout: &Layout) -> Result<(), Error> {
        let own = own_key(&table.fused).and_then(|name| table.schema.column(name));
        let part = self.next;
        self.next += 1;
        let (mut rows, mut counts) = (Vec::new(), Vec::new());
        for change in changes {
            let own = own.and_then(|column| change.row.get(column)?.as_text()).map(Box::from);
            let key = (change.place.get(), own);
            let at = (change.operation != Operation::Delete).then_some((part, rows.len()));
            if at.is_some() {
                rows.push(base_row(change.row, table, layout.bucket_of(change.place)));
                counts.push(true);
            }
            let before = self.newest.insert(key, Newest { sequence: change.sequence, at });
            match before.and_then(|before| before.at) {
                Some((of, row)) if of == part => counts[row] = false,
                Some((of, row)) => self.discount(of, row),
                None => {}
            }
        }
        if counts.contains(&true) {
            self.parts.insert(part, Part { rows: batch(&table.schema, &rows)?, counts });
        }
        if self.parts.len() > SEGMENTS_MAX { self.put_together(table) } else { Ok(()) }
    }

    fn discount(&mut self, part: u32, row: usize) {
        let Some(of) = self.parts.get_mut(&part) else { return };
        of.counts[row] = false;
        if !of.counts.contains(&true) {
            self.parts.remove(&part);
        }
    }

    fn forget(&mut self, position: u64) -> bool {
        let mut had = Vec::new();
        let before = self.newest.len();
        self.newest.retain(|_, newest| {
            let stays = newest.sequence > position;
            had.extend(newest.at.filter(|_| !stays));
            stays
        });
        for (part, row) in had {
            if let Some(part) = self.parts.get_mut(&part) {
                part.counts[row] = false;
            }
        }
        self.parts.retain(|_, part| part.counts.contains(&true));
        before != self.newest.len()
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

    fn shown(&self, shard: u32, table: &LakeTable, layout: &Layout) -> Result<Shown, Error> {
        let mut superseded = Superseded { shard, ..Superseded::default() };
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

fn concat<'a>(
    table: &LakeTable,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
) -> Result<RecordBatch, Error> {
    let schema = crate::lake::delta_schema(&table.schema);
    concat_batches(&schema, batches).map_err(failed(table))
}

fn failed(table: &LakeTable) -> impl Fn(arrow::error::ArrowError) -> Error {
    let table = table.name.clone();
    move |source| Error::Arrow { doing: "showing recent changes of", table: table.clone(), source }
}
