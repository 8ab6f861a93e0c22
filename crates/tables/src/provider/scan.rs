//! Reading a part of a table as Arrow batches, for those who do not speak SQL.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    execution::SessionStateBuilder,
    prelude::{SessionConfig, SessionContext, col, lit},
};
use futures::{StreamExt, stream::BoxStream};

use super::provider;
use crate::{
    Error,
    lake::{Lake, Selection, layout::BUCKET},
};

impl Lake {
    /// The rows of `what` of `table` at `version` or later, in no particular order.
    pub async fn scan(
        &self,
        table: &str,
        what: &Selection,
    ) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
        let Some(delta) = self.latest(table).await? else { return Ok(futures::stream::empty().boxed()) };
        let failed = {
            let doing = format!("reading the table {table}");
            move |source| Error::Query { doing: doing.clone(), source: Box::new(source) }
        };
        let mut config = SessionConfig::new();
        config.options_mut().execution.parquet.schema_force_view_types = false;
        let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
        let context = SessionContext::new_with_state(state.clone());
        let state = Arc::new(state);
        let frame = match what {
            Selection::Nothing => return Ok(futures::stream::empty().boxed()),
            Selection::Everything => {
                context.read_table(provider(&delta, &state).await.map_err(failed.clone())?)
            }
            Selection::Files(files) => {
                let builder = delta.table_provider().with_session(state.clone());
                context.read_table(builder.with_file_paths(files.clone()).await.map_err(failed.clone())?)
            }
            Selection::Buckets(buckets) => context
                .read_table(provider(&delta, &state).await.map_err(failed.clone())?)
                .and_then(|frame| {
                    frame.filter(col(BUCKET).in_list(buckets.iter().map(|b| lit(*b)).collect(), false))
                }),
        };
        let frame = frame.map_err(failed.clone())?;
        let stream = frame.execute_stream().await.map_err(failed.clone())?;
        Ok(stream.map(move |batch| batch.map_err(failed.clone())).boxed())
    }
}
