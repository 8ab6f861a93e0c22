//! `yibiao why`: from a fused cell back to the source record.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use yibiao_records::PlaceId;
use yibiao_tables::Shard;

use crate::{config::Config, installation::Installation};

/// Lead a fused cell back to the source record that it came from.
#[derive(Debug, clap::Args)]
pub struct Why {
    /// places or warnings
    table: String,

    /// The place's id.
    key: PlaceId,

    /// The column.
    column: String,

    #[command(flatten)]
    at: StateArgs,
}

/// Where the fused state lies. The fusion stage must not run meanwhile: a state store belongs to one process.
#[derive(Debug, Clone, clap::Args)]
pub struct StateArgs {
    #[arg(long, conflicts_with = "data")]
    config: Option<PathBuf>,

    /// The data folder, where there is no configuration file (such as the demo's).
    #[arg(long)]
    data: Option<PathBuf>,

    #[arg(long, default_value = "pipelines")]
    pipelines: PathBuf,
}

impl StateArgs {
    /// The installation and its shards.
    pub fn open(&self) -> Result<(Installation, Vec<Shard>)> {
        let (pipelines, layout) = match (&self.config, &self.data) {
            (Some(config), _) => {
                let config = Config::read(config)?;
                (config.pipelines.clone(), config.layout())
            }
            (None, Some(data)) => (self.pipelines.clone(), crate::config::Layout::new(data)),
            (None, None) => bail!("say where the state lies: --config yibiao.toml, or --data data/demo"),
        };
        let installation = Installation::load(&pipelines)?;
        let mut shards = Vec::new();
        loop {
            let number = shards.len() as u32;
            let dir = layout.fusion.join(format!("shard-{number}"));
            if !dir.exists() {
                break;
            }
            shards.push(Shard::open(&dir, number, &installation.tables, &yibiao_state::Options::default())?);
        }
        if shards.is_empty() {
            bail!("{} holds no shards: has the fusion stage run on this machine?", layout.fusion.display());
        }
        Ok((installation, shards))
    }
}

impl Why {
    pub fn run(self) -> Result<()> {
        let (_, shards) = self.at.open()?;
        let shard = &shards[self.key.shard(shards.len() as u32) as usize];
        let why = yibiao_fusion::why(&shard.view(), &self.table, self.key, &self.column)?;
        writeln!(std::io::stdout(), "{} = {}\n{}", self.column, why.value, why.how)?;
        for fact in why.facts {
            writeln!(std::io::stdout(), "  {fact}")?;
        }
        Ok(())
    }
}
