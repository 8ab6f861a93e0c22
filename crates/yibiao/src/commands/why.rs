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

/// More than anybody has: where no configuration says how many there are.
const SHARDS_MAX: u32 = 1024;

pub struct Opened {
    pub installation: Installation,
    /// Those that lie on this machine.
    pub shards: Vec<Shard>,
    /// How many there are everywhere.
    pub partitions: u32,
}

impl StateArgs {
    /// The installation and its shards.
    pub fn open(&self) -> Result<Opened> {
        let (pipelines, layout, partitions) = match (&self.config, &self.data) {
            (Some(config), _) => {
                let config = Config::read(config)?;
                (config.pipelines.clone(), config.layout(), Some(config.topics.std_partitions))
            }
            (None, Some(data)) => {
                crate::in_use::refuse_half_done(data)?;
                (self.pipelines.clone(), crate::config::Layout::new(data), None)
            }
            (None, None) => bail!("say where the state lies: --config yibiao.toml, or --data data/demo"),
        };
        let installation = Installation::load(&pipelines)?;
        let mut shards = Vec::new();
        // Some may be with other processes.
        for number in 0..partitions.unwrap_or(SHARDS_MAX) {
            let dir = layout.fusion.join(format!("shard-{number}"));
            if dir.exists() {
                shards.push(Shard::open(
                    &dir,
                    number,
                    &installation.tables,
                    &yibiao_state::Options::default(),
                )?);
            }
        }
        if shards.is_empty() {
            bail!("{} holds no shards: has the fusion stage run on this machine?", layout.fusion.display());
        }
        let partitions = partitions.unwrap_or(shards.len() as u32);
        Ok(Opened { installation, shards, partitions })
    }
}

impl Why {
    pub fn run(self) -> Result<()> {
        let Opened { shards, partitions, .. } = self.at.open()?;
        let number = self.key.shard(partitions);
        let Some(shard) = shards.iter().find(|shard| shard.number() == number) else {
            bail!("the place is in shard {number}, which is not on this machine");
        };
        let why = yibiao_fusion::why(&shard.view(), &self.table, self.key, &self.column)?;
        writeln!(std::io::stdout(), "{} = {}\n{}", self.column, why.value, why.how)?;
        for fact in why.facts {
            writeln!(std::io::stdout(), "  {fact}")?;
        }
        Ok(())
    }
}
