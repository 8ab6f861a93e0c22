//! Reading a shard's view, on threads that may block.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::array::RecordBatch;
use tokio::{sync::mpsc, task::JoinHandle};
use yibiao_records::{Change, Value};

use super::positions::Logs;
use crate::{
    Error,
    lake::{ChangeView, LakeTable, batch, layout},
};

/// Some changes of one shard, ready to be written.
pub struct Chunk {
    /// By change log table.
    pub batches: Vec<(String, RecordBatch)>,
    /// Fused table and bucket whose base is older than a change read here.
    pub dirty: BTreeSet<(String, u32)>,
    /// Of the changes read, whether or not they were needed.
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub changes: usize,
    pub recorded_at_ms: Option<i64>,
}

/// Reads at most `take` changes after `after`, and keeps what the tables do not have.
pub fn read_chunk<V: ChangeView>(
    view: &V,
    logs: &Logs,
    shard: u32,
    after: u64,
    take: usize,
) -> Result<Chunk, Error> {
    let mut rows: BTreeMap<&str, Vec<Vec<Value>>> = BTreeMap::new();
    let mut chunk = Chunk {
        batches: Vec::new(),
        dirty: BTreeSet::new(),
        first: None,
        last: None,
        changes: 0,
        recorded_at_ms: None,
    };
    for change in view.outbox(after).take(take) {
        let change = change?;
        chunk.first.get_or_insert(change.sequence);
        debug_assert_eq!(change.sequence, chunk.last.map_or(change.sequence, |last| last + 1), "dense");
        chunk.last = Some(change.sequence);
        chunk.changes += 1;
        chunk.recorded_at_ms = chunk.recorded_at_ms.max(Some(change.recorded_at_ms));
        let Some((fused, log)) = logs.by_table.get_key_value(&change.table) else {
            return Err(Error::UnknownTable {
                table: change.table,
                known: logs.by_table.keys().cloned().collect::<Vec<_>>().join(", "),
            });
        };
        if log.keyed && log.based.get(&shard).is_none_or(|based| change.sequence > *based) {
            let bucket = change.place.bucket(logs.buckets_per_shard);
            if !chunk.dirty.iter().any(|(table, dirty)| *dirty == bucket && table == fused) {
                chunk.dirty.insert((fused.clone(), bucket));
            }
        }
        if log.logged.get(&shard).is_none_or(|logged| change.sequence > *logged) {
            rows.entry(fused).or_default().push(log_row(&log.table, shard, change));
        }
    }
    for (fused, rows) in rows {
        let log = &logs.by_table[fused].table;
        chunk.batches.push((log.name.clone(), batch(&log.schema, &rows)?));
    }
    Ok(chunk)
}

/// A change as a row of its change log: what every change has, then the fused row.
pub(crate) fn log_row(log: &LakeTable, shard: u32, change: Change) -> Vec<Value> {
    let mut row = Vec::with_capacity(log.schema.columns.len());
    let before = log.schema.columns.len().saturating_sub(change.row.len()).min(4);
    for column in log.schema.columns.iter().take(before) {
        row.push(match column.name.as_str() {
            layout::SHARD => Value::Int(i64::from(shard)),
            layout::SEQUENCE => Value::Int(change.sequence as i64),
            layout::OPERATION => Value::Text(change.operation.as_str().to_owned()),
            layout::RECORDED_AT => Value::Timestamp(change.recorded_at_ms),
            _ => break,
        });
    }
    row.extend(change.row);
    row
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
        let width = base.schema.columns.len();
        let mut rows = Vec::new();
        let send = |rows: &mut Vec<Vec<Value>>| -> Result<bool, Error> {
            let batch = batch(&base.schema, rows)?;
            rows.clear();
            // Nobody listens any more when writing failed: the writer reports that.
            Ok(sender.blocking_send(batch).is_ok())
        };
        for row in view.bucket_rows(&base.fused, bucket) {
            let mut row = row?;
            row.resize(width - 1, Value::Null);
            row.push(Value::Int(number));
            rows.push(row);
            if rows.len() >= batch_rows && !send(&mut rows)? {
                return Ok(());
            }
        }
        if !rows.is_empty() {
            send(&mut rows)?;
        }
        Ok(())
    });
    (receiver, reader)
}
