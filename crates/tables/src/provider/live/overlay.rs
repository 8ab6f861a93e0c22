//! One shard's changes that a table of the lake does not have.

mod base;

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::concat_batches,
};
use yibiao_records::Value;

use crate::{
    Error,
    lake::{ChangeRef, ChangeView, LakeTable, Layout, Role, RowsBuilder, projector::push_log_row},
    spec::WARNINGS,
};

use base::Base;

/// With more batches of rows than this they are put together.
const SEGMENTS_MAX: usize = 32;

/// Rows turned to Arrow at once: few enough that what they are made in is used again.
const PART_ROWS: usize = 16_384;

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

/// A row of a base table: its place and, where a place may have several rows, which of them.
pub type Key = (i64, Option<Box<str>>);

/// Ascending.
pub type Keys = Arc<[Key]>;

/// What is to be shown of one shard over a version of the lake.
#[derive(Debug, Default)]
pub struct Shown {
    pub rows: Vec<ShownRows>,
    pub superseded: Superseded,
}

impl Shown {
    pub fn count(&self) -> usize {
        self.rows.iter().map(ShownRows::count).sum()
    }

    pub fn is_nothing(&self) -> bool {
        self.rows.is_empty() && self.superseded.keys.is_empty()
    }
}

/// Some rows: which of them count is looked at by who reads them, as few of their columns are read.
#[derive(Debug)]
pub struct ShownRows {
    pub rows: RecordBatch,
    /// None: all.
    pub counting: Option<BooleanArray>,
}

impl ShownRows {
    fn count(&self) -> usize {
        self.counting.as_ref().map_or(self.rows.num_rows(), BooleanArray::true_count)
    }
}

/// Which rows of the base do not count any more.
#[derive(Debug, Default)]
pub struct Superseded {
    /// By bucket.
    pub keys: HashMap<i64, Keys>,
    /// How many rows of the base they are: some of them are new, and not in the base.
    pub in_base: usize,
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
    Log(Log),
}

/// Rows of a change log.
#[derive(Debug, Default)]
struct Log {
    parts: Vec<LogPart>,
    /// Of the rows that are being made.
    sequences: Vec<u64>,
}

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
            Role::Changes => Rows::Log(Log::default()),
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
        let mut first = last + 1;
        view.each_change(self.had, &mut |change| {
            first = change.sequence;
            Ok(ControlFlow::Break(()))
        })?;
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
        let after = self.through.max(self.had);
        let mut made = RowsBuilder::new(&self.table.schema);
        view.each_change(after, &mut |change| {
            self.through = change.sequence;
            if change.table == self.table.fused {
                self.shown = None;
                self.take(change, &mut made)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.through = self.through.max(last);
        self.end_part(&mut made)
    }

    fn take(&mut self, change: &ChangeRef<'_>, made: &mut RowsBuilder) -> Result<(), Error> {
        match &mut self.rows {
            Rows::Base(base) => base.take(change, &self.table, &self.layout, made)?,
            Rows::Log(log) => {
                log.sequences.push(change.sequence);
                push_log_row(made, &self.table, self.shard, change)?;
            }
        }
        if made.rows() >= PART_ROWS { self.end_part(made) } else { Ok(()) }
    }

    /// What was read becomes a batch of its own.
    fn end_part(&mut self, made: &mut RowsBuilder) -> Result<(), Error> {
        match &mut self.rows {
            Rows::Base(base) => base.end_part(made, &self.table),
            Rows::Log(log) => log.end_part(made, &self.table),
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
            Rows::Log(log) => log.forget(position),
        };
        if forgot {
            self.shown = None;
        }
        Ok(())
    }

    pub fn shown(&mut self) -> Arc<Shown> {
        let rows = &mut self.rows;
        let shown = self.shown.get_or_insert_with(|| {
            Arc::new(match rows {
                Rows::Base(base) => base.shown(),
                Rows::Log(log) => log.shown(),
            })
        });
        shown.clone()
    }
}

impl Log {
    fn shown(&self) -> Shown {
        let rows = |part: &LogPart| ShownRows { rows: part.rows.clone(), counting: None };
        Shown { rows: self.parts.iter().map(rows).collect(), superseded: Superseded::default() }
    }

    fn end_part(&mut self, made: &mut RowsBuilder, table: &LakeTable) -> Result<(), Error> {
        if made.rows() == 0 {
            return Ok(());
        }
        self.parts.push(LogPart { sequences: std::mem::take(&mut self.sequences), rows: made.finish()? });
        if self.parts.len() > SEGMENTS_MAX {
            let rows = concat(table, self.parts.iter().map(|part| &part.rows))?;
            let sequences = self.parts.iter().flat_map(|part| part.sequences.iter().copied()).collect();
            self.parts = vec![LogPart { sequences, rows }];
        }
        Ok(())
    }

    fn forget(&mut self, position: u64) -> bool {
        let mut forgot = false;
        self.parts.retain_mut(|part| {
            let had = part.sequences.partition_point(|sequence| *sequence <= position);
            forgot |= had > 0;
            part.rows = part.rows.slice(had, part.sequences.len() - had);
            part.sequences.drain(..had);
            !part.sequences.is_empty()
        });
        forgot
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
