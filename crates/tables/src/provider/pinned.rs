//! A table as it is at one moment, for queries that must all see the same, with what it holds of each shard.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    catalog::TableProvider,
    execution::SessionStateBuilder,
    prelude::{SessionConfig, SessionContext},
};

use super::provider;
use crate::{
    Error,
    lake::{Lake, projector::application},
};

/// See the module.
pub struct Pinned {
    pub table: Arc<dyn TableProvider>,
    /// By shard: the change up to which the table shows its state.
    pub positions: BTreeMap<u32, u64>,
}

impl Lake {
    /// The table as it is now; None if nothing was written yet.
    pub async fn pinned(&self, name: &str) -> Result<Option<Pinned>, Error> {
        let Some(delta) = self.latest(name).await? else { return Ok(None) };
        let mut config = SessionConfig::new();
        config.options_mut().execution.parquet.schema_force_view_types = false;
        let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
        let state = Arc::new(SessionContext::new_with_state(state).state());
        let table = provider(&delta, &state).await.map_err(|source| Error::Query {
            doing: format!("reading the table {name}"),
            source: Box::new(source),
        })?;
        let failed = |source| Error::Delta {
            doing: "reading the positions of",
            table: name.to_owned(),
            source: Box::new(source),
        };
        let snapshot = delta.snapshot().map_err(failed)?;
        let mut positions = BTreeMap::new();
        for shard in 0..self.layout().shards {
            let application = application(shard);
            let position = snapshot.transaction_version(delta.log_store().as_ref(), &application).await;
            if let Some(position) =
                position.map_err(failed)?.and_then(|position| u64::try_from(position).ok())
            {
                positions.insert(shard, position);
            }
        }
        Ok(Some(Pinned { table, positions }))
    }
}
