//! SQL over the lake, with DataFusion.
//!
//! Tables are looked up at every query, so a query sees what was committed before it began. A table that was
//! never written is there, and empty. `place_id = …` on a base table reads one bucket: places are spread over
//! buckets by a hash of their id, so the bucket follows from the condition.
//!
//! A process that has the shards shows them live ([`Live`]): base tables and change logs with what is still in the
//! shards alone, and `place_id = …` on a base table is read from the shard. Elsewhere what is in the lake shows.

mod catalogue;
mod limits;
mod live;
mod pinned;
mod pruning;
mod scan;
mod shown;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, Session, TableProvider},
    common::Result,
    datasource::{TableType, empty::EmptyTable},
    error::DataFusionError,
    execution::{SessionState, SessionStateBuilder},
    logical_expr::{Expr, ScalarUDF, TableProviderFilterPushDown},
    physical_plan::ExecutionPlan,
    prelude::{SessionConfig, SessionContext},
};
use deltalake::DeltaTable;

use crate::{
    Error,
    lake::{Lake, LakeTable, Layout, Role, delta_schema, projector::application},
};

pub(crate) use limits::Queries;
pub use limits::QueryLimits;
pub use live::Live;
pub use pinned::Pinned;

/// The catalog (a database, for a PostgreSQL client) and its schema.
pub const CATALOG: &str = "yibiao";
pub const SCHEMA: &str = "public";

impl Lake {
    /// A session with all tables of the lake, the table `catalogue` that describes them, and these functions.
    pub fn session(&self, functions: impl IntoIterator<Item = ScalarUDF>) -> Result<SessionContext, Error> {
        self.session_over(None, functions)
    }

    /// As [`Lake::session`], with what these shards hold beyond the lake.
    pub fn live_session(
        &self,
        live: Live,
        functions: impl IntoIterator<Item = ScalarUDF>,
    ) -> Result<SessionContext, Error> {
        self.tables().for_each(|table| live::show_changes(&table.name, 0));
        self.session_over(Some(live), functions)
    }

    fn session_over(
        &self,
        live: Option<Live>,
        functions: impl IntoIterator<Item = ScalarUDF>,
    ) -> Result<SessionContext, Error> {
        let mut config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA)
            .with_information_schema(true);
        let options = config.options_mut();
        // Plain strings everywhere: every client and every function knows them.
        options.execution.parquet.schema_force_view_types = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.parquet.pushdown_filters = true;
        let runtime = match &self.queries {
            Some(queries) => {
                config = queries.divide(config);
                queries.runtime.clone()
            }
            None => Arc::default(),
        };
        let context = SessionContext::new_with_config_rt(config.clone(), runtime.clone());
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .build();
        let schema = LakeSchema { lake: self.clone(), state: Arc::new(state), live };
        let catalog = MemoryCatalogProvider::new();
        let failed = |source: DataFusionError| Error::Query {
            doing: "registering the lake's tables".to_owned(),
            source: Box::new(source),
        };
        catalog.register_schema(SCHEMA, Arc::new(schema)).map_err(failed)?;
        context.register_catalog(CATALOG, Arc::new(catalog));
        for function in functions {
            context.register_udf(function);
        }
        Ok(context)
    }
}

/// All tables of one lake, as a schema.
struct LakeSchema {
    lake: Lake,
    /// For the scans' settings.
    state: Arc<SessionState>,
    live: Option<Live>,
}

impl std::fmt::Debug for LakeSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lake.fmt(f)
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        let names = self.lake.tables().map(|table| table.name.clone());
        names.chain([catalogue::NAME.to_owned()]).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name == catalogue::NAME {
            return Ok(Some(catalogue::table(&self.lake)?));
        }
        let Some(table) = self.lake.table(name) else { return Ok(None) };
        let delta = self.lake.latest(name).await.map_err(external)?;
        let (version, inner) = match &delta {
            Some(delta) => (delta.version(), provider(delta, &self.state).await?),
            None => (None, empty(table)),
        };
        Ok(Some(Arc::new(LakeProvider {
            lake: self.lake.clone(),
            table: table.clone(),
            state: self.state.clone(),
            live: self.live.clone(),
            version,
            inner,
        })))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == catalogue::NAME || self.lake.table(name).is_some()
    }
}

/// A table that was never written.
fn empty(table: &LakeTable) -> Arc<dyn TableProvider> {
    Arc::new(EmptyTable::new(delta_schema(&table.schema)))
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Delta's own provider at the version that `delta` is at.
pub(crate) async fn provider(
    delta: &DeltaTable,
    state: &Arc<SessionState>,
) -> Result<Arc<dyn TableProvider>> {
    delta.table_provider().with_session(state.clone()).await
}

/// How far this version of a table has a shard; None: no change of it.
async fn position(delta: &DeltaTable, table: &str, shard: u32) -> Result<Option<u64>, Error> {
    let failed = |source| Error::Delta {
        doing: "reading the positions of",
        table: table.to_owned(),
        source: Box::new(source),
    };
    let state = delta.snapshot().map_err(failed)?;
    let position = state.transaction_version(delta.log_store().as_ref(), application(shard)).await;
    Ok(position.map_err(failed)?.and_then(|position| u64::try_from(position).ok()))
}

/// One table of the lake.
struct LakeProvider {
    lake: Lake,
    table: LakeTable,
    state: Arc<SessionState>,
    live: Option<Live>,
    version: Option<u64>,
    inner: Arc<dyn TableProvider>,
}

impl std::fmt::Debug for LakeProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeProvider")
            .field("table", &self.table.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for LakeProvider {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let supported = self.inner.supports_filters_pushdown(filters)?;
        if self.live.is_none() {
            return Ok(supported);
        }
        // Rows of the shards do not come through the table's files.
        let inexact = |one| match one {
            TableProviderFilterPushDown::Exact => TableProviderFilterPushDown::Inexact,
            other => other,
        };
        Ok(supported.into_iter().map(inexact).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(live) = &self.live {
            return self.scan_live(live, session, projection, filters, limit).await;
        }
        let mut filters = filters.to_vec();
        filters.extend(pruning::bucket_filter(&self.table, self.lake.layout(), &filters));
        // A statement may have been prepared long ago: read the table as it is now. Columns are only ever
        // added at the end, so the projection still holds.
        let latest = self.lake.latest(&self.table.name).await.map_err(external)?;
        match latest {
            Some(delta) if delta.version() != self.version => {
                let inner = provider(&delta, &self.state).await?;
                inner.scan(session, projection, &filters, limit).await
            }
            _ => self.inner.scan(session, projection, &filters, limit).await,
        }
    }
}

/// Whether the bucket of a row follows from its place.
fn is_bucketed(table: &LakeTable, layout: &Layout) -> bool {
    table.role == Role::Base && layout.shards > 0
}
