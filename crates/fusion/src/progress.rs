//! What the stage has done so far, for those who watch it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;
use yibiao_records::{NextOffset, TopicPartition};
use yibiao_topics::Client;

use crate::{
    Error,
    batch::{Applied, Applier, Holding},
};

/// One shard since the stage was opened, and what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardProgress {
    pub applied: Applied,
    pub holding: Holding,
    /// Timers are due that no batch has looked at yet.
    pub is_due: bool,
    /// What has been applied, durably, by std topic and partition.
    pub positions: BTreeMap<TopicPartition, NextOffset>,
}

/// A handle on the running stage. Cheap to clone; it outlives the stage.
#[derive(Clone)]
pub struct Progress {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Mutex<BTreeMap<u32, ShardProgress>>,
    batches: watch::Sender<u64>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("total", &self.total()).finish_non_exhaustive()
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::new(Inner { shards: Mutex::default(), batches: watch::Sender::new(0) }) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, ShardProgress>> {
        self.inner.shards.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn update(&self, applier: &Applier, assigned: &[TopicPartition], applied: &Applied) {
        let mut shards = self.lock();
        let shard = shards.entry(applier.shard().number()).or_default();
        shard.applied.add(applied);
        shard.holding = applier.holding();
        shard.is_due = applier.is_due();
        for of in assigned {
            shard.positions.insert(of.clone(), applier.position(of).unwrap_or(NextOffset::START));
        }
        drop(shards);
        self.inner.batches.send_modify(|batches| *batches += 1);
    }

    /// By shard.
    pub fn shards(&self) -> BTreeMap<u32, ShardProgress> {
        self.lock().clone()
    }

    /// All shards together.
    pub fn total(&self) -> ShardProgress {
        let mut total = ShardProgress::default();
        for shard in self.lock().values() {
            total.applied.add(&shard.applied);
            total.holding.add(&shard.holding);
            total.is_due |= shard.is_due;
            total.positions.extend(shard.positions.clone());
        }
        total
    }

    /// Changes with every batch.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.batches.subscribe()
    }

    /// How many frames are in the std topics that are not applied yet.
    pub async fn behind(&self, client: &Client) -> Result<u64, Error> {
        let mut behind = 0;
        for (of, next) in self.total().positions {
            let high = client.watermarks(&of).await?.high.get();
            behind += (high - next.get()).max(0) as u64;
        }
        Ok(behind)
    }

    /// Waits until everything that is in the std topics when it is called has been applied, and no timer is due.
    pub async fn drained(&self, client: &Client) -> Result<(), Error> {
        let mut changed = self.changed();
        let mut targets = BTreeMap::new();
        for of in self.total().positions.into_keys() {
            let high = client.watermarks(&of).await?.high;
            targets.insert(of, high);
        }
        loop {
            changed.borrow_and_update();
            let ShardProgress { positions, is_due, .. } = self.total();
            let reached = |(of, high): (&TopicPartition, &NextOffset)| {
                positions.get(of).is_some_and(|position| position >= high)
            };
            if !is_due && targets.iter().all(reached) {
                return Ok(());
            }
            if changed.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}

impl Applied {
    pub fn add(&mut self, other: &Applied) {
        self.frames += other.frames;
        self.frames_skipped += other.frames_skipped;
        self.facts += other.facts;
        self.facts_skipped += other.facts_skipped;
        self.facts_unknown += other.facts_unknown;
        self.timers += other.timers;
        self.changes += other.changes;
        self.raised += other.raised;
        self.updated += other.updated;
        self.cleared += other.cleared;
    }
}

impl Holding {
    pub fn add(&mut self, other: &Holding) {
        self.places += other.places;
        self.facts += other.facts;
        self.firing += other.firing;
    }
}
