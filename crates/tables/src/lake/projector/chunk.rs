//! Reading a shard's view, on threads that may block.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use arrow::array::RecordBatch;
use tokio::{sync::mpsc, task::JoinHandle};
use yibiao_records::cells::CellRef;

use super::positions::{Log, Logs};
use crate::{
    Error,
    lake::{ChangeRef, ChangeView, LakeTable, RowsBuilder, layout},
};

/// Some changes of one shard, ready to be written.
pub struct Chunk {
    /// By change log table.
    pub batches: Vec<(String, RecordBatch)>,
    /// By fused table: buckets whose base is older than a change read here.
    pub dirty: BTreeMap<String, BTreeSet<u32>>,
    /// Of the changes read, whether or not they were needed.
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub changes: usize,
    pub recorded_at_ms: Option<i64>,
}

/// What a chunk has of one fused table.
struct Part<'l> {
    fused: &'l str,
    log: &'l Log,
    /// Changes beyond this are not in the change log.
    logged: u64,
    /// Changes beyond this are not in the base table.
    based: u64,
    dirty: BTreeSet<u32>,
    rows: Option<RowsBuilder>,
}

/// Reads at most `take` changes after `after`, and keeps what the tables do not have.
pub fn read_chunk<V: ChangeView>(
    view: &V,
    logs: &Logs,
    shard: u32,
    after: u64,
    take: usize,
) -> Result<Chunk, Error> {
    let mut parts: Vec<Part> =
        logs.by_table.iter().map(|(fused, log)| Part::new(fused, log, shard)).collect();
    let mut chunk = Chunk {
        batches: Vec::new(),
        dirty: BTreeMap::new(),
        first: None,
        last: None,
        changes: 0,
        recorded_at_ms: None,
    };
    view.each_change(after, &mut |change| {
        chunk.first.get_or_insert(change.sequence);
        debug_assert_eq!(change.sequence, chunk.last.map_or(change.sequence, |last| last + 1), "dense");
        chunk.last = Some(change.sequence);
        chunk.changes += 1;
        chunk.recorded_at_ms = chunk.recorded_at_ms.max(Some(change.recorded_at_ms));
        let Some(part) = parts.iter_mut().find(|part| part.fused == change.table) else {
            return Err(Error::UnknownTable {
                table: change.table.to_owned(),
                known: logs.by_table.keys().cloned().collect::<Vec<_>>().join(", "),
            });
        };
        part.take(change, shard, logs.buckets_per_shard)?;
        Ok(if chunk.changes < take { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    for part in parts {
        if let Some(mut rows) = part.rows {
            chunk.batches.push((part.log.table.name.clone(), rows.finish()?));
        }
        if !part.dirty.is_empty() {
            chunk.dirty.insert(part.fused.to_owned(), part.dirty);
        }
    }
    Ok(chunk)
}

impl<'l> Part<'l> {
    fn new(fused: &'l str, log: &'l Log, shard: u32) -> Self {
        let position = |of: &BTreeMap<u32, u64>| of.get(&shard).copied().unwrap_or(0);
        let (logged, based) = (position(&log.logged), position(&log.based));
        Self { fused, log, logged, based, dirty: BTreeSet::new(), rows: None }
    }

    fn take(&mut self, change: &ChangeRef<'_>, shard: u32, buckets_per_shard: u32) -> Result<(), Error> {
        if self.log.keyed && change.sequence > self.based {
            self.dirty.insert(change.place.bucket(buckets_per_shard));
        }
        if change.sequence <= self.logged {
            return Ok(());
        }
        let table = &self.log.table;
        push_log_row(self.rows.get_or_insert_with(|| RowsBuilder::new(&table.schema)), table, shard, change)
    }
}

/// A change as a row of its change log: what every change has, then the fused row.
pub(crate) fn push_log_row(
    rows: &mut RowsBuilder,
    log: &LakeTable,
    shard: u32,
    change: &ChangeRef<'_>,
) -> Result<(), Error> {
    for column in log.schema.columns.iter().take(log.before_row) {
        rows.push(match column.name.as_str() {
            layout::SHARD => CellRef::Int(i64::from(shard)),
            layout::SEQUENCE => CellRef::Int(change.sequence as i64),
            layout::OPERATION => CellRef::Text(change.operation.as_str()),
            _ => CellRef::Timestamp(change.recorded_at_ms),
        });
    }
    change.row.each(&mut |cell| rows.push(cell))?;
    rows.end_row()
}

/// Streams one bucket's rows, with the column `bucket` set to `number`.
pub fn read_bucket<V: ChangeView>(
    view: Arc<V>,
    base: &LakeTable,
    bucket: u32,
    number: i64,
    batch_rows: usize,
) -> (mpsc::Receiver<RecordBatch>, JoinHandle<Result<(), Error>>) {
    let (sender, receiver) = mpsc::channel(2);
    let base = base.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let mut rows = RowsBuilder::new(&base.schema);
        let send = |rows: &mut RowsBuilder| -> Result<bool, Error> {
            // Nobody listens any more when writing failed: the writer reports that.
            Ok(sender.blocking_send(rows.finish()?).is_ok())
        };
        view.each_bucket_row(&base.fused, bucket, &mut |row| {
            row.each(&mut |cell| rows.push(cell))?;
            end_base_row(&mut rows, number)?;
            let goes_on = rows.rows() < batch_rows || send(&mut rows)?;
            Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        if rows.rows() > 0 {
            send(&mut rows)?;
        }
        Ok(())
    });
    (receiver, reader)
}

/// Ends a row of a base table: its last column says in which bucket it lies.
pub(crate) fn end_base_row(rows: &mut RowsBuilder, bucket: i64) -> Result<(), Error> {
    rows.pad_to(rows.width() - 1);
    rows.push(CellRef::Int(bucket));
    rows.end_row()
}
