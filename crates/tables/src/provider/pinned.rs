//! A table as it is at one moment, for queries that must all see the same, with what it holds of each shard.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    catalog::TableProvider,
    execution::SessionStateBuilder,
    prelude::{SessionConfig, SessionContext},
};

use super::{position, provider};
use crate::{Error, lake::Lake};

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
        let mut positions = BTreeMap::new();
        for shard in 0..self.layout().shards {
            if let Some(position) = position(&delta, name, shard).await? {
                positions.insert(shard, position);
            }
        }
        Ok(Some(Pinned { table, positions }))
    }
}
