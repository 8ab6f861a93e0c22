//! The content of a table during one batch.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use datafusion::{
    execution::TaskContext,
    physical_plan::{
        SendableRecordBatchStream, stream::RecordBatchStreamAdapter, streaming::PartitionStream,
    },
};

#[derive(Debug)]
pub struct Slot {
    pub schema: SchemaRef,
    /// The columns that some rule reads, in the order of the schema; the others stay null.
    pub columns: Mutex<BTreeSet<usize>>,
    batch: Mutex<RecordBatch>,
}

impl Slot {
    pub fn new(schema: SchemaRef) -> Self {
        let batch = Mutex::new(RecordBatch::new_empty(schema.clone()));
        Self { schema, columns: Mutex::default(), batch }
    }

    pub fn set(&self, batch: RecordBatch) {
        *locked(&self.batch) = batch;
    }
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = locked(&self.batch).clone();
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter([Ok(batch)])))
    }
}
