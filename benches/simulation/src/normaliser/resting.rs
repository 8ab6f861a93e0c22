//! What a process notes in its state when it starts and when it stops, where the normaliser moves (`crates/normalise/src/run.rs`).

use anyhow::{Result, ensure};
use yibiao_records::NextOffset;

use super::{Owned, Process};
use crate::{setup::Setup, topics::Topics};

impl Process {
    /// Before the state is copied: what may be sent from now on is not at rest, and shards without a gazetteer take this one,
    /// as the stage does it (`run.rs`).
    pub fn begin(&mut self, setup: &Setup, edition: Option<usize>) -> Result<()> {
        let mut commit = self.state.begin();
        for Owned { shard, .. } in self.workers.iter_mut().flat_map(|worker| &mut worker.shards) {
            if let (Some(version), Some(keeping)) = (&shard.record.gazetteer_version, &self.keeping) {
                ensure!(
                    keeping.has(setup, version),
                    "{:?} was resolved by a gazetteer that is not here",
                    shard.id
                );
            }
            let takes = edition.is_some_and(|edition| shard.take_first_edition(&setup.editions[edition]));
            if shard.rest(false) || takes {
                commit.shard(&shard.id, &shard.record);
            }
        }
        Ok(commit.commit()?)
    }

    /// It stops in order.
    pub fn rest(&mut self) -> Result<()> {
        let mut commit = self.state.begin();
        for Owned { shard, .. } in self.workers.iter_mut().flat_map(|worker| &mut worker.shards) {
            if shard.rest(true) {
                commit.shard(&shard.id, &shard.record);
            }
        }
        Ok(commit.commit()?)
    }

    /// Whether something may have been sent by another contract that is not committed.
    pub fn is_owed_by_another_contract(&self, topics: &Topics) -> bool {
        let mut shards = self.workers.iter().flat_map(|worker| &worker.shards);
        shards.any(|Owned { shard, raw, .. }| {
            let end = NextOffset::new(topics.end(raw)).unwrap_or_default();
            shard.is_owed_by_another_contract(end)
        })
    }
}
