//! The fusion shards of this process: all of them, or those that it took from whoever had them before.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use tokio::sync::Mutex;
use yibiao_records::Retry;
use yibiao_tables::{
    Shard,
    checkpoint::{Checkpointer, Checkpoints, acquire},
};

use super::Pipeline;

/// Of each shard. A shard has eight keyspaces with a memtable each, so these bound a process's memory more than
/// anything else: four shards with the store's defaults needed 3 GB.
const SHARD_CACHE_BYTES: u64 = 32 << 20;
const SHARD_WRITE_BUFFER_BYTES: u64 = 16 << 20;

impl Pipeline {
    pub(super) async fn open_shards(&self) -> Result<Vec<Shard>> {
        let options = yibiao_state::Options {
            cache_bytes: SHARD_CACHE_BYTES,
            write_buffer_bytes: SHARD_WRITE_BUFFER_BYTES,
            ..Default::default()
        };
        let (tables, dirs) = (&self.installation.tables, self.shard_dirs()?);
        if let Some(location) = &self.config.fusion.checkpoints {
            let checkpoints = Checkpoints::open(location)?;
            let taken = acquire(&checkpoints, &self.lake, &dirs, tables, &options).await;
            return taken
                .with_context(|| format!("taking the fusion shards by the checkpoints in {location}"));
        }
        let mut shards = Vec::new();
        for (number, dir) in dirs {
            let shard = Shard::open(&dir, number, tables, &options)?;
            if shard.claims()?.epoch > 0 {
                return Err(yibiao_tables::Error::Owned { shard: number }.into());
            }
            shards.push(shard);
        }
        Ok(shards)
    }

    fn shard_dirs(&self) -> Result<Vec<(u32, PathBuf)>> {
        let (config, partitions) = (&self.config.fusion, self.config.topics.std_partitions);
        if let Some(number) = config.shards.iter().find(|number| **number >= partitions) {
            bail!(
                "fusion.shards names shard {number}, but topics.std_partitions is {partitions}: shards count from 0"
            );
        }
        if !config.shards.is_empty() && config.checkpoints.is_none() {
            bail!(
                "fusion.shards gives this process some of the shards: that needs fusion.checkpoints, by which they move"
            );
        }
        let mut numbers = match config.shards.is_empty() {
            true => (0..partitions).collect(),
            false => config.shards.clone(),
        };
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers
            .into_iter()
            .map(|number| (number, self.layout.fusion.join(format!("shard-{number}"))))
            .collect())
    }

    /// None where shards do not move.
    pub(super) fn checkpointer(&mut self) -> Option<Arc<Mutex<Checkpointer>>> {
        let config = &self.config.fusion;
        config.checkpoints.as_ref()?;
        let checkpointer =
            Checkpointer::new(self.shards.clone(), config.checkpoint_every, config.checkpoints_kept);
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
