//! What `pipelines/` declares: feeds, fact kinds, tables, rules and deliveries.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use yibiao_contracts::Contracts;
use yibiao_records::FactKinds;
use yibiao_tables::Tables;

/// Buckets of the base tables in each shard: with four shards, 64 files a table.
pub const BUCKETS_PER_SHARD: u32 = 16;

/// Everything that is declared, read and checked.
pub struct Installation {
    pub kinds: Arc<FactKinds>,
    pub contracts: Contracts,
    pub tables: Tables,
    pub rules: PathBuf,
    pub deliveries: PathBuf,
}

impl Installation {
    pub fn load(pipelines: &Path) -> Result<Self> {
        let kinds = kinds(pipelines)?;
        let contracts = yibiao_contracts::load_dir(&pipelines.join("feeds"), &kinds)
            .map_err(|problems| anyhow!("{} problems in the contracts:\n{problems}", problems.len()))?;
        let tables = Tables::load(&pipelines.join("tables"), &kinds, BUCKETS_PER_SHARD)?;
        Ok(Self {
            kinds: Arc::new(kinds),
            contracts,
            tables,
            rules: pipelines.join("rules"),
            deliveries: pipelines.join("deliveries"),
        })
    }
}

/// The fact kinds alone.
pub fn kinds(pipelines: &Path) -> Result<FactKinds> {
    yibiao_contracts::load_fact_kinds(&pipelines.join("facts")).with_context(|| {
        format!("is {} the folder of feeds, facts and tables? give it with --pipelines", pipelines.display())
    })
}
