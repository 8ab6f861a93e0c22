//! Scans of a base table, without rows that are superseded.
//!
//! ```text
//!   a scan of files ──► for each file: the keys of its bucket ──► the rows that have them ──► all other rows are read
//! ```
//!
//! Where the keys lie is known, or is looked for while the scan is planned ([`Known`]). The scan then reads no column for it
//! and no row too many, and it is pruned and split as any scan of files. How many rows the base has is known without reading
//! them, and so is how many are superseded: `count(*)` reads none.

use std::{
    collections::HashMap,
    fmt::{Formatter, Result as FmtResult},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    catalog::{Session, memory::DataSourceExec},
    common::{
        Result, Statistics,
        stats::Precision,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    datasource::{
        listing::PartitionedFile,
        physical_plan::{
            FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
            parquet::ParquetRowSelection,
        },
    },
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext, object_store::ObjectStoreUrl},
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        StatisticsArgs, empty::EmptyExec, stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt};

use super::{
    Shown,
    found::{Known, Rows, Sought},
    overlay::{Key, Keys},
};
use crate::lake::layout::BUCKET;

/// The scan without the superseded rows, and how many rows of its files these are. `keys` are the columns of the table's
/// keys.
pub async fn leave_out(
    scan: Arc<dyn ExecutionPlan>,
    keys: SchemaRef,
    shown: &[Arc<Shown>],
    known: &Known,
    session: &dyn Session,
) -> Result<(Arc<dyn ExecutionPlan>, usize)> {
    let superseded: HashMap<i64, &Keys> =
        shown.iter().flat_map(|shown| &shown.superseded.keys).map(|(bucket, keys)| (*bucket, keys)).collect();
    let mut files = Vec::new();
    scan.apply(|node| {
        let Some((config, source)) = files_of(node)? else { return Ok(TreeNodeRecursion::Continue) };
        for file in config.file_groups.iter().flat_map(FileGroup::iter) {
            let bucket = bucket_of(file)?;
            let Some(wanted) = superseded.get(&bucket) else { continue };
            let file = File {
                path: file.object_meta.location.to_string(),
                bucket,
                store: config.object_store_url.clone(),
                factory: source.parquet_file_reader_factory().cloned(),
                file: PartitionedFile::from(file.object_meta.clone()),
            };
            files.push(file.rows_of(wanted, keys.clone(), known, session.task_ctx()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let at_once = session.config().target_partitions().max(1);
    let rows: HashMap<String, Rows> =
        futures::stream::iter(files).buffer_unordered(at_once).try_collect().await?;
    let left_out = rows.values().map(Rows::len).sum();
    Ok((without_rows(scan, &rows)?, left_out))
}

/// A file of the scan.
struct File {
    path: String,
    bucket: i64,
    store: ObjectStoreUrl,
    factory: Option<Arc<dyn ParquetFileReaderFactory>>,
    file: PartitionedFile,
}

impl File {
    /// Its path, and its rows that have one of the keys.
    async fn rows_of(
        self,
        keys: &Keys,
        columns: SchemaRef,
        known: &Known,
        context: Arc<TaskContext>,
    ) -> Result<(String, Rows)> {
        let (bucket, path) = (self.bucket, self.path.clone());
        let mut found = known.of(bucket, &path).unwrap_or_default();
        let unknown = found.unknown(keys);
        if !unknown.is_empty() {
            // On a thread of its own: planning has one.
            let sought = tokio::spawn(self.look_for(unknown, columns, context));
            let sought = sought.await.map_err(|error| DataFusionError::External(Box::new(error)))??;
            found = Arc::new(found.with(keys, &sought));
            known.remember(bucket, &path, found.clone());
        }
        Ok((path, found.rows_of(keys)))
    }

    async fn look_for(self, keys: Vec<Key>, columns: SchemaRef, context: Arc<TaskContext>) -> Result<Sought> {
        let mut source = ParquetSource::new(columns);
        if let Some(factory) = self.factory {
            source = source.with_parquet_file_reader_factory(factory);
        }
        let scan = FileScanConfigBuilder::new(self.store, Arc::new(source)).with_file(self.file).build();
        let mut batches = DataSourceExec::from_data_source(scan).execute(0, context)?;
        let mut sought = Sought::new(keys);
        while let Some(batch) = batches.try_next().await? {
            sought.look(&batch)?;
        }
        Ok(sought)
    }
}

/// The files that this node reads, where it reads some.
fn files_of(node: &Arc<dyn ExecutionPlan>) -> Result<Option<(&FileScanConfig, &ParquetSource)>> {
    if !node.children().is_empty() || node.downcast_ref::<EmptyExec>().is_some() {
        return Ok(None);
    }
    let files = node.downcast_ref::<DataSourceExec>();
    let files = files.and_then(|source| source.downcast_to_file_source::<ParquetSource>());
    let unknown = || DataFusionError::Internal(format!("{} reads rows that may be superseded", node.name()));
    files.map(Some).ok_or_else(unknown)
}

/// Files lie in folders of their buckets.
fn bucket_of(file: &PartitionedFile) -> Result<i64> {
    let of = |part: &str| part.strip_prefix(BUCKET)?.strip_prefix('=')?.parse().ok();
    let path = &file.object_meta.location;
    let found = path.parts().find_map(|part| of(part.as_ref()));
    found.ok_or_else(|| DataFusionError::Internal(format!("{path} is in no folder of a bucket")))
}

/// The scan without these rows, by file.
fn without_rows(
    scan: Arc<dyn ExecutionPlan>,
    rows: &HashMap<String, Rows>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let without = |file: &PartitionedFile| match rows.get(file.object_meta.location.as_ref()) {
        Some(rows) if rows.len() > 0 => file.clone().with_extension(ParquetRowSelection::new(rows.others())),
        _ => file.clone(),
    };
    let changed = scan.transform_up(|node| {
        let Some((config, _)) = files_of(&node)? else { return Ok(Transformed::no(node)) };
        let mut config = config.clone();
        for group in &mut config.file_groups {
            *group = group.iter().map(without).collect();
        }
        Ok(Transformed::yes(DataSourceExec::from_data_source(config) as Arc<dyn ExecutionPlan>))
    });
    changed.data()
}

/// What a scan without superseded rows gives, with the statistics that hold for it: those of the files count too many rows.
#[derive(Debug, Clone)]
pub struct WithoutExec {
    input: Arc<dyn ExecutionPlan>,
    rows: Arc<Without>,
    properties: Arc<PlanProperties>,
}

#[derive(Debug)]
struct Without {
    /// Columns of the input that come out.
    columns: Vec<usize>,
    schema: SchemaRef,
    left_out: usize,
    /// The input is the whole base.
    is_all: bool,
}

impl WithoutExec {
    /// `columns` of the input come out, which lacks `left_out` rows of its files; `is_all`: it has all other rows of the base.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        columns: Vec<usize>,
        left_out: usize,
        is_all: bool,
    ) -> Result<Self> {
        let schema = Arc::new(input.schema().project(&columns)?);
        Ok(Self::over(input, Arc::new(Without { columns, schema, left_out, is_all })))
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

impl DisplayAs for WithoutExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> FmtResult {
        write!(f, "WithoutExec: rows={}", self.rows.left_out)
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
        let batches = self.input.execute(partition, context)?;
        let batches = batches.map(move |batch| Ok(batch?.project(&rows.columns)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
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
        let mut left = Statistics::clone(input).project(Some(&self.rows.columns)).to_inexact();
        if let (true, None, Precision::Exact(rows)) = (self.rows.is_all, args.partition(), input.num_rows)
            && let Some(rows) = rows.checked_sub(self.rows.left_out)
        {
            left.num_rows = Precision::Exact(rows);
        }
        Ok(Arc::new(left))
    }
}
