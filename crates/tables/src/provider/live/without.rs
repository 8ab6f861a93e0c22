//! Rows of a base table, without those that are superseded.
//!
//! A file holds one bucket in the order of its places, and each bucket's superseded places are sorted: they are looked for in
//! the rows of a batch in growing steps, so that a scan pays for what has changed, not for every row. Rows that are not so
//! (two files in a batch) are looked at one by one.
//!
//! How many rows the base has is known without reading them, and also how many of them are superseded: `count(*)` reads none.

use std::{
    fmt::{Formatter, Result as FmtResult},
    sync::Arc,
};

use arrow::{
    array::{
        Array, AsArray, BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch, RecordBatchOptions,
    },
    compute::filter_record_batch,
    datatypes::{Int64Type, SchemaRef},
};
use datafusion::{
    common::{Result, Statistics, stats::Precision, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
        PlanProperties, StatisticsArgs, stream::RecordBatchStreamAdapter,
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
    properties: Arc<PlanProperties>,
}

/// Columns of the input.
#[derive(Debug)]
pub struct Columns {
    pub place: usize,
    pub own: Option<usize>,
    /// What comes out.
    pub wanted: Vec<usize>,
}

/// What is left out.
#[derive(Debug)]
struct Without {
    columns: Columns,
    schema: SchemaRef,
    layout: Layout,
    /// By shard; None for shards of other processes.
    shown: Vec<Option<Arc<Shown>>>,
    /// The input is the whole base, so that it is known how many rows are left out.
    is_all: bool,
}

impl WithoutExec {
    /// `is_all`: the input has all rows of the base.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        columns: Columns,
        layout: &Layout,
        shown: &[Arc<Shown>],
        is_all: bool,
    ) -> Result<Self> {
        let of = |shard| shown.iter().find(|shown| shown.superseded.shard == shard).cloned();
        let shown = (0..layout.shards).map(of).collect();
        let schema = Arc::new(input.schema().project(&columns.wanted)?);
        let rows = Without { columns, schema, layout: layout.clone(), shown, is_all };
        Ok(Self::over(input, Arc::new(rows)))
    }

    fn over(input: Arc<dyn ExecutionPlan>, rows: Arc<Without>) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(rows.schema.clone()),
            Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, rows, properties: Arc::new(properties) }
    }
}

impl Without {
    fn keep(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let wanted = self.columns.wanted.iter().map(|column| batch.column(*column).clone()).collect();
        let wanted = RecordBatch::try_new_with_options(self.schema.clone(), wanted, &options)?;
        if batch.num_rows() == 0 {
            return Ok(wanted);
        }
        let column = batch.column(self.columns.place);
        let places = column.as_primitive_opt::<Int64Type>().ok_or_else(|| {
            DataFusionError::Internal(format!("places are numbers, not {}", column.data_type()))
        })?;
        let own = |row: usize| self.columns.own.map(|column| text(batch, column, row));
        let mut mask: Option<BooleanBufferBuilder> = None;
        let mut leave_out = |row: usize| mask.get_or_insert_with(|| all(places.len())).set_bit(row, false);
        match self.bucket(places) {
            Some((shard, bucket)) => {
                if let Some((shown, list)) = self.list(shard, bucket) {
                    each_common(places.values(), list, |row| {
                        if shown.superseded.has(places.value(row), own(row).as_deref()) {
                            leave_out(row);
                        }
                    });
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
            Some(mut mask) => Ok(filter_record_batch(&wanted, &BooleanArray::new(mask.finish(), None))?),
            None => Ok(wanted),
        }
    }

    /// How many rows of the base are left out.
    fn superseded(&self) -> usize {
        self.shown.iter().flatten().map(|shown| shown.superseded.in_base).sum()
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

fn all(rows: usize) -> BooleanBufferBuilder {
    let mut mask = BooleanBufferBuilder::new(rows);
    mask.append_n(rows, true);
    mask
}

/// Calls `take` with each row whose value is in `list`; both ascend, values may recur.
fn each_common(values: &[i64], list: &[i64], mut take: impl FnMut(usize)) {
    let Some(first) = values.first() else { return };
    let mut row = 0;
    for wanted in &list[list.partition_point(|value| value < first)..] {
        row += first_not_below(&values[row..], *wanted);
        while row < values.len() && values[row] == *wanted {
            take(row);
            row += 1;
        }
        if row == values.len() {
            return;
        }
    }
}

/// In steps that double, then by halving: where the next one is near, few values are looked at.
fn first_not_below(values: &[i64], wanted: i64) -> usize {
    let mut step = 1;
    while step <= values.len() && values[step - 1] < wanted {
        step *= 2;
    }
    let (from, to) = (step / 2, values.len().min(step));
    from + values[from..to].partition_point(|value| *value < wanted)
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
        &self.properties
    }

    /// It does, but its columns are others than the input's: a sort must not be moved below it.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
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
            Some(input) if children.is_empty() => Ok(Arc::new(Self::over(input, self.rows.clone()))),
            _ => Err(DataFusionError::Internal("it has one input".into())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (rows, schema) = (self.rows.clone(), self.rows.schema.clone());
        let kept = self.input.execute(partition, context)?.map(move |batch| rows.keep(&batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, kept)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// A few rows fewer than the input has, and how many where all of it comes.
    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let input = &inputs[0];
        let mut left = Statistics::clone(input).project(Some(&self.rows.columns.wanted)).to_inexact();
        if let (true, None, Precision::Exact(rows)) = (self.rows.is_all, args.partition(), input.num_rows)
            && let Some(rows) = rows.checked_sub(self.rows.superseded())
        {
            left.num_rows = Precision::Exact(rows);
        }
        Ok(Arc::new(left))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_of_the_list_are_found_however_far_apart(
            mut values in prop::collection::vec(0i64..60, 0..80),
            mut list in prop::collection::vec(0i64..60, 0..30),
        ) {
            values.sort_unstable();
            list.sort_unstable();
            list.dedup();
            let mut found = Vec::new();
            each_common(&values, &list, |row| found.push(row));
            let wanted: Vec<_> = (0..values.len()).filter(|row| list.contains(&values[*row])).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
