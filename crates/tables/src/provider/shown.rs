//! Scans of live tables.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{cast, filter_record_batch},
    datatypes::SchemaRef,
};
use datafusion::{
    catalog::{Session, TableProvider, memory::MemorySourceConfig},
    common::Result,
    error::DataFusionError,
    logical_expr::Expr,
    physical_plan::{ExecutionPlan, union::UnionExec},
};
use yibiao_records::PlaceId;

use super::{
    LakeProvider, empty, external, is_bucketed,
    live::{Known, Live, Moment, Shown, ShownRows, WithoutExec, leave_out, own_key},
    provider, pruning,
};
use crate::lake::Role;

/// With more places in a condition than this the files are read.
const POINTS_MAX: usize = 1_000;

impl LakeProvider {
    /// As `TableProvider::scan`, with what the shards hold.
    pub(super) async fn scan_live(
        &self,
        live: &Live,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(rows) = self.points(live, filters).await? {
            return self.rows(&[&ShownRows { rows, counting: None }], projection);
        }
        let Moment { delta, shown, known } = live.now(&self.lake, &self.table).await.map_err(external)?;
        let inner = match &delta {
            Some(delta) if delta.version() == self.version => self.inner.clone(),
            Some(delta) => provider(delta, &self.state).await?,
            None => empty(&self.table),
        };
        let mut filters = filters.to_vec();
        filters.extend(pruning::bucket_filter(&self.table, self.lake.layout(), &filters));
        if shown.iter().all(|shown| shown.is_nothing()) {
            return inner.scan(session, projection, &filters, limit).await;
        }
        let base = match self.table.role {
            Role::Changes => inner.scan(session, projection, &filters, limit).await?,
            Role::Base => {
                let what = Scan { inner, session, projection, filters: &filters, limit };
                self.without(&shown, &known, what).await?
            }
        };
        let rows: Vec<&ShownRows> = shown.iter().flat_map(|shown| &shown.rows).collect();
        if rows.is_empty() {
            return Ok(base);
        }
        UnionExec::try_new(vec![base, self.rows(&rows, projection)?])
    }

    /// The rows of the places that the conditions name, straight from their shards.
    async fn points(&self, live: &Live, filters: &[Expr]) -> Result<Option<RecordBatch>> {
        if !is_bucketed(&self.table, self.lake.layout()) {
            return Ok(None);
        }
        let Some(mut ids) = filters.iter().find_map(pruning::places) else { return Ok(None) };
        if ids.len() > POINTS_MAX {
            return Ok(None);
        }
        ids.sort_unstable();
        ids.dedup();
        let places = ids.into_iter().filter_map(PlaceId::new).collect();
        live.rows_of(&self.lake, &self.table, places).await.map_err(external)
    }

    /// The base's rows that still count.
    async fn without(
        &self,
        shown: &[Arc<Shown>],
        known: &Known,
        what: Scan<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = what.inner.schema();
        let mut keys = vec![schema.index_of(pruning::PLACE_ID)?];
        if let Some(own) = own_key(&self.table.fused) {
            keys.push(schema.index_of(own)?);
        }
        let wanted: Vec<usize> = match what.projection {
            Some(projection) => projection.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        // Without any column no file would be read, and rows be counted that do not count.
        let needed = if wanted.is_empty() { vec![keys[0]] } else { wanted.clone() };
        // Of the rows that a limit lets through, some may not count any more.
        let in_base = shown.iter().map(|shown| shown.superseded.in_base).sum::<usize>();
        let limit = what.limit.map(|limit| limit + in_base);
        let scan = what.inner.scan(what.session, Some(&needed), what.filters, limit).await?;
        let keys = Arc::new(schema.project(&keys)?);
        let (scan, left_out) = leave_out(scan, keys, shown, known, what.session).await?;
        let is_all = what.filters.is_empty() && limit.is_none();
        if is_all && left_out != in_base {
            // A row would be there twice, or not at all.
            let error = format!("{} of {in_base} changed rows are in {}", left_out, self.table.name);
            return Err(DataFusionError::Internal(error));
        }
        let scanned = scan.schema();
        let columns = wanted.iter().map(|column| scanned.index_of(schema.field(*column).name()));
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(Arc::new(WithoutExec::new(scan, columns, left_out, is_all)?))
    }

    /// Rows of the shards as a plan.
    fn rows(&self, rows: &[&ShownRows], projection: Option<&Vec<usize>>) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.inner.schema();
        let schema = match projection {
            Some(projection) => Arc::new(schema.project(projection)?),
            None => schema,
        };
        let batches = rows.iter().map(|rows| fit(rows, &schema)).collect::<Result<Vec<_>>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[batches], schema, None)?)
    }
}

/// What is to be read of the base.
struct Scan<'s> {
    inner: Arc<dyn TableProvider>,
    session: &'s dyn Session,
    projection: Option<&'s Vec<usize>>,
    filters: &'s [Expr],
    limit: Option<usize>,
}

/// These columns of the rows that count, as they lie in the table: a batch that was made with fewer lacks the newest.
fn fit(ShownRows { rows, counting }: &ShownRows, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
        match rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            Some(column) => Ok(cast(column, field.data_type())?),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    Ok(match counting {
        Some(counting) => filter_record_batch(&rows, counting)?,
        None => rows,
    })
}
