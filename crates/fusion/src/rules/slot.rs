//! The content of a table during one batch.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use datafusion::{
    catalog::streaming::StreamingTable,
    common::TableReference,
    error::DataFusionError,
    execution::TaskContext,
    physical_plan::{
        SendableRecordBatchStream, stream::RecordBatchStreamAdapter, streaming::PartitionStream,
    },
    prelude::SessionContext,
};
use yibiao_records::TableSchema;

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

    /// Makes the table known to the planner; whatever is put into the slot later is what it holds.
    pub fn register(context: &SessionContext, table: &TableSchema) -> Result<Arc<Self>, DataFusionError> {
        let slot = Arc::new(Self::new(table.arrow()));
        let provider = StreamingTable::try_new(slot.schema.clone(), vec![slot.clone()])?;
        context.register_table(TableReference::bare(table.name.clone()), Arc::new(provider))?;
        Ok(slot)
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
