//! Scans of live tables.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    compute::cast,
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
    live::{Columns, Live, Moment, Shown, WithoutExec, own_key},
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
            return self.rows(&[rows], projection);
        }
        let Moment { delta, shown } = live.now(&self.lake, &self.table).await.map_err(external)?;
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
            Role::Base => self.without(inner, &shown, session, projection, &filters, limit).await?,
        };
        let batches: Vec<RecordBatch> = shown.iter().flat_map(|shown| shown.batches.clone()).collect();
        if batches.is_empty() {
            return Ok(base);
        }
        UnionExec::try_new(vec![base, self.rows(&batches, projection)?])
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
        inner: Arc<dyn TableProvider>,
        shown: &[Arc<Shown>],
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = inner.schema();
        let wanted: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        let keys = [Some(pruning::PLACE_ID), own_key(&self.table.fused)];
        let mut needed = wanted.clone();
        for key in keys.iter().flatten() {
            let key = schema.index_of(key)?;
            if !needed.contains(&key) {
                needed.push(key);
            }
        }
        // Of the rows that a limit lets through, some may not count any more.
        let superseded =
            shown.iter().flat_map(|shown| shown.superseded.places.values()).map(Vec::len).sum::<usize>();
        let limit = limit.filter(|_| self.table.fused == crate::spec::PLACES).map(|limit| limit + superseded);
        let input = inner.scan(session, Some(&needed), filters, limit).await?;
        let input_schema = input.schema();
        let of = |name: &str| input_schema.index_of(name);
        let columns = Columns {
            place: of(pruning::PLACE_ID)?,
            own: keys[1].map(of).transpose()?,
            wanted: wanted.iter().map(|column| of(schema.field(*column).name())).collect::<Result<_, _>>()?,
        };
        let is_all = filters.is_empty() && limit.is_none();
        Ok(Arc::new(WithoutExec::new(input, columns, self.lake.layout(), shown, is_all)?))
    }

    /// Rows of the shards as a plan.
    fn rows(
        &self,
        batches: &[RecordBatch],
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.inner.schema();
        let batches = batches.iter().map(|batch| fit(batch, &schema)).collect::<Result<Vec<_>>>()?;
        Ok(MemorySourceConfig::try_new_exec(&[batches], schema, projection.cloned())?)
    }
}

/// The batch with the columns of the table as it lies there: one that was made with fewer lacks the newest.
fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
        match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            Some(column) => Ok(cast(column, field.data_type())?),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| DataFusionError::ArrowError(Box::new(error), None))
}
