//! The fusion shards of this process, and what works on them: all of them, those that the configuration names, or those that
//! a group gives to it ([`super::group`]).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use yibiao_fusion::{FirstLoad, Fusion};
use yibiao_records::{FactKinds, Retry};
use yibiao_tables::{
    Lake, Projector, Shard, Tables,
    checkpoint::{Checkpointer, Checkpoints, acquire},
};
use yibiao_topics::Client;

use super::Pipeline;
use crate::{config::Config, shadow::swap, status::Status};

/// Of each shard. A shard has eight keyspaces with a memtable each, so these bound a process's memory more than
/// anything else: four shards with the store's defaults needed 3 GB.
const SHARD_CACHE_BYTES: u64 = 32 << 20;
const SHARD_WRITE_BUFFER_BYTES: u64 = 16 << 20;

fn options() -> yibiao_state::Options {
    yibiao_state::Options {
        cache_bytes: SHARD_CACHE_BYTES,
        write_buffer_bytes: SHARD_WRITE_BUFFER_BYTES,
        ..Default::default()
    }
}

/// What it takes to fuse, whichever shards.
pub(super) struct Fusing {
    config: Config,
    folder: PathBuf,
    tables: Tables,
    kinds: Arc<FactKinds>,
    rules: PathBuf,
    client: Client,
    lake: Lake,
    status: Status,
    /// The shards of a shadow are nobody's but its own.
    is_shadow: bool,
}

impl Fusing {
    pub fn partitions(&self) -> u32 {
        self.config.topics.std_partitions
    }

    fn dir(&self, number: u32) -> PathBuf {
        self.folder.join(format!("shard-{number}"))
    }

    /// Opens these shards, or takes them where they move.
    pub async fn open(&self, numbers: &BTreeSet<u32>) -> Result<Vec<Shard>> {
        let shards = self.open_or_take(numbers).await?;
        if !self.is_shadow {
            swap::states(&self.config.data, &shards)?;
        }
        Ok(shards)
    }

    /// Those that are empty and have a backlog are loaded at once, until `shutdown`.
    pub async fn load(&self, shards: Vec<Shard>, shutdown: &CancellationToken) -> Result<Vec<Shard>> {
        let first = FirstLoad {
            config: self.config.fusion.clone(),
            tables: self.tables.clone(),
            kinds: self.kinds.clone(),
            rules: self.rules.clone(),
            client: self.client.clone(),
            lake: self.lake.clone(),
            std_partitions: self.partitions(),
            options: options(),
        };
        Ok(first.run(shards, shutdown).await?)
    }

    async fn open_or_take(&self, numbers: &BTreeSet<u32>) -> Result<Vec<Shard>> {
        let options = options();
        let dirs: Vec<_> = numbers.iter().map(|number| (*number, self.dir(*number))).collect();
        if let Some(location) = &self.config.fusion.checkpoints {
            let checkpoints = Checkpoints::open(location)?;
            let taken = acquire(&checkpoints, &self.lake, &dirs, &self.tables, &options).await;
            return taken
                .with_context(|| format!("taking the fusion shards by the checkpoints in {location}"));
        }
        self.lake_is_usable().await?;
        let mut shards = Vec::new();
        for (number, dir) in dirs {
            let shard = Shard::open(&dir, number, &self.tables, &options)?;
            if shard.claims()?.epoch > 0 {
                return Err(yibiao_tables::Error::Owned { shard: number }.into());
            }
            shards.push(shard);
        }
        Ok(shards)
    }

    /// A lake that is away is waited for by the projection; one that can never be written to is told at once.
    async fn lake_is_usable(&self) -> Result<()> {
        match self.lake.prove().await {
            Err(error) if error.fault().retry == Retry::Later => {
                tracing::warn!(%error, "the lake cannot be reached yet");
                Ok(())
            }
            proven => Ok(proven?),
        }
    }

    /// What fuses and projects these shards, brought to where it can go on. An error leaves them half made again: they have to
    /// be opened anew.
    pub async fn begin(&self, shards: &[Shard]) -> Result<(Fusion, Projector<Shard>)> {
        let fusion = Fusion::open(
            self.config.fusion.clone(),
            shards.to_vec(),
            &self.kinds,
            &self.rules,
            self.client.clone(),
            self.partitions(),
        )
        .await?;
        let projector = Projector::new(self.lake.clone(), shards.to_vec(), self.config.project.clone());
        let mut stages = self.status.stages();
        stages.fused = Some(fusion.progress());
        stages.projected = Some(projector.progress());
        drop(stages);
        Ok((fusion, projector))
    }

    /// Of no shard yet.
    pub fn checkpointer(&self) -> Checkpointer {
        let config = &self.config.fusion;
        Checkpointer::new(Vec::new(), config.checkpoint_every, config.checkpoints_kept)
    }
}

impl Pipeline {
    pub(super) fn fusing(&self) -> Fusing {
        Fusing {
            config: self.config.clone(),
            folder: self.layout.fusion.clone(),
            tables: self.installation.tables.clone(),
            kinds: self.installation.kinds.clone(),
            rules: Path::to_path_buf(&self.installation.rules),
            client: self.client.clone(),
            lake: self.lake.clone(),
            status: self.status.clone(),
            is_shadow: self.in_use.is_none(),
        }
    }

    /// Those that the configuration gives to this process.
    pub(super) fn own_shards(&self) -> BTreeSet<u32> {
        match &*self.config.fusion.shards {
            [] => (0..self.config.topics.std_partitions).collect(),
            named => named.iter().copied().collect(),
        }
    }

    /// None where shards do not move.
    pub(super) fn checkpointer(&mut self, fusing: &Fusing) -> Option<Arc<Mutex<Checkpointer>>> {
        self.config.fusion.checkpoints.as_ref()?;
        let mut checkpointer = fusing.checkpointer();
        checkpointer.own(self.shards.clone());
        self.checkpointer = Some(Arc::new(Mutex::new(checkpointer)));
        self.checkpointer.clone()
    }

    /// After everything has ended in order: so whoever has the shards next has nothing to make again.
    pub(super) async fn last_checkpoint(&self) -> Result<()> {
        let Some(checkpointer) = &self.checkpointer else { return Ok(()) };
        match checkpointer.lock().await.all().await {
            Err(error) if error.fault().retry == Retry::Later => {
                tracing::warn!(%error, "no last checkpoint: the next start makes some batches again");
                Ok(())
            }
            done => Ok(done?),
        }
    }
}
