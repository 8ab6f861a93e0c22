//! Rows of a base table, without those that are superseded.
//!
//! A file holds one bucket in the order of its places, and each bucket's superseded places are sorted: they are looked for in
//! the rows of a batch by halving, so that a scan pays for what has changed, not for every row. Rows that are not so (two
//! files in a batch) are looked at one by one.

use std::{
    fmt::{Formatter, Result as FmtResult},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch},
    compute::filter_record_batch,
    datatypes::Int64Type,
};
use datafusion::{
    common::{Result, Statistics, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_plan::{
        ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;
use yibiao_records::PlaceId;

use super::Shown;
use crate::lake::Layout;

/// See the module.
#[derive(Debug, Clone)]
pub struct WithoutExec {
    input: Arc<dyn ExecutionPlan>,
    rows: Arc<Without>,
}

/// What is left out.
#[derive(Debug)]
struct Without {
    /// Columns of the input.
    place: usize,
    own: Option<usize>,
    layout: Layout,
    /// By shard; None for shards of other processes.
    shown: Vec<Option<Arc<Shown>>>,
}

impl WithoutExec {
    /// `place` and `own` are columns of the input.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        place: usize,
        own: Option<usize>,
        layout: &Layout,
        shown: &[Arc<Shown>],
    ) -> Self {
        let of = |shard| shown.iter().find(|shown| shown.superseded.shard == shard).cloned();
        let shown = (0..layout.shards).map(of).collect();
        Self { input, rows: Arc::new(Without { place, own, layout: layout.clone(), shown }) }
    }
}

impl Without {
    fn keep(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if batch.num_rows() == 0 {
            return Ok(batch);
        }
        let column = batch.column(self.place);
        let places = column.as_primitive_opt::<Int64Type>().ok_or_else(|| {
            DataFusionError::Internal(format!("places are numbers, not {}", column.data_type()))
        })?;
        let own = |row: usize| self.own.map(|column| text(&batch, column, row));
        let mut mask: Option<Vec<bool>> = None;
        let mut leave_out = |row: usize| mask.get_or_insert_with(|| vec![true; places.len()])[row] = false;
        match self.bucket(places) {
            Some(bucket) => {
                let (shown, list) = match self.list(bucket.0, bucket.1) {
                    Some(found) => found,
                    None => return Ok(batch),
                };
                let values = places.values();
                let from = list.partition_point(|place| *place < values[0]);
                let mut row = 0;
                for place in &list[from..] {
                    row += values[row..].partition_point(|value| value < place);
                    if row == values.len() {
                        break;
                    }
                    while row < values.len() && values[row] == *place {
                        if shown.superseded.has(*place, own(row).as_deref()) {
                            leave_out(row);
                        }
                        row += 1;
                    }
                    if row == values.len() {
                        break;
                    }
                }
            }
            None => {
                for (row, place) in places.iter().enumerate() {
                    let Some(place) = place.and_then(PlaceId::new) else { continue };
                    let (shard, bucket) = (place.shard(self.layout.shards), self.layout.bucket_of(place));
                    let Some((shown, list)) = self.list(shard, bucket) else { continue };
                    let is_there = list.binary_search(&place.get()).is_ok();
                    if is_there && shown.superseded.has(place.get(), own(row).as_deref()) {
                        leave_out(row);
                    }
                }
            }
        }
        match mask {
            Some(mask) => Ok(filter_record_batch(&batch, &BooleanArray::from(mask))?),
            None => Ok(batch),
        }
    }

    /// Shard and bucket of the rows, where they are of one, in the order of their places.
    fn bucket(&self, places: &Int64Array) -> Option<(u32, i64)> {
        let values = places.values();
        let (first, last) = (PlaceId::new(*values.first()?)?, PlaceId::new(*values.last()?)?);
        let of = |place: PlaceId| (place.shard(self.layout.shards), self.layout.bucket_of(place));
        let is_one = of(first) == of(last) && places.null_count() == 0 && values.is_sorted();
        is_one.then(|| of(first))
    }

    fn list(&self, shard: u32, bucket: i64) -> Option<(&Shown, &[i64])> {
        let shown = self.shown.get(shard as usize)?.as_deref()?;
        Some((shown, shown.superseded.places.get(&bucket)?))
    }
}

fn text(batch: &RecordBatch, column: usize, row: usize) -> String {
    let column = batch.column(column);
    match column.as_string_opt::<i32>() {
        Some(texts) => texts.value(row).to_owned(),
        None => arrow::util::display::array_value_to_string(column, row).unwrap_or_default(),
    }
}

impl DisplayAs for WithoutExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> FmtResult {
        let shown = self.rows.shown.iter().flatten();
        let places: usize = shown.flat_map(|shown| shown.superseded.places.values()).map(Vec::len).sum();
        write!(f, "WithoutExec: places={places}")
    }
}

impl ExecutionPlan for WithoutExec {
    fn name(&self) -> &str {
        "WithoutExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) if children.is_empty() => Ok(Arc::new(Self { input, rows: self.rows.clone() })),
            _ => Err(DataFusionError::Internal("it has one input".into())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (rows, schema) = (self.rows.clone(), self.input.schema());
        let kept = self.input.execute(partition, context)?.map(move |batch| rows.keep(batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, kept)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// A few rows fewer than the input has.
    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::clone(&inputs[0]).to_inexact()))
    }
}
