//! What the std topics held of a shard when its load began, and reading it.

use std::{collections::BTreeMap, time::Instant};

use tokio_util::sync::CancellationToken;
use yibiao_records::{FactKinds, NextOffset, TopicPartition};
use yibiao_topics::Client;

use super::TOLD_EVERY;
use crate::{Config, Error, Load, stage};

/// Partitions of one shard, from where they begin to where they ended.
pub(super) struct Backlog {
    shard: u32,
    partitions: BTreeMap<TopicPartition, (NextOffset, NextOffset)>,
}

impl Backlog {
    pub async fn of(client: &Client, kinds: &FactKinds, shard: u32) -> Result<Self, Error> {
        let mut partitions = BTreeMap::new();
        for kind in kinds.iter() {
            let of = TopicPartition::new(kind.std_topic(), shard as i32);
            let marks = client.watermarks(&of).await?;
            if marks.low < marks.high {
                partitions.insert(of, (marks.low, marks.high));
            }
        }
        Ok(Self { shard, partitions })
    }

    pub fn frames(&self) -> u64 {
        let frames = |(low, high): &(NextOffset, NextOffset)| (high.get() - low.get()).max(0) as u64;
        self.partitions.values().map(frames).sum()
    }

    /// Reads all of it; false where it was stopped.
    pub async fn read(
        &self,
        client: &Client,
        config: &Config,
        load: &mut Load,
        shutdown: &CancellationToken,
    ) -> Result<bool, Error> {
        let shard = self.shard;
        let mut start = Vec::new();
        for (of, (low, _)) in &self.partitions {
            if *low > NextOffset::START {
                let partition = of.partition;
                tracing::warn!(topic = %of.topic, partition, %low, "the topic's beginning is gone: reading what is left");
            }
            start.push((of.clone(), *low));
        }
        let left = metrics::gauge!("yibiao_load_left_frames", "shard" => shard.to_string());
        let mut reader = client.reader(&format!("fusion-load-{shard}"), start)?;
        let mut open = self.partitions.clone();
        let (all, mut told) = (self.frames(), Instant::now());
        while !open.is_empty() {
            let batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(false),
                batch = reader.next_batch(config.batch_records_max, config.batch_wait) => batch?,
            };
            // What has come since is the batches'.
            let ends = |of: &TopicPartition| self.partitions.get(of).map(|(_, high)| *high);
            let is_meant = |of: &TopicPartition, offset: i64| {
                ends(of).is_some_and(|high| NextOffset::after(offset) <= high)
            };
            let with_partition = batch.messages.iter().map(|message| (message.topic_partition(), message));
            let meant: Vec<_> = with_partition
                .filter(|(of, message)| is_meant(of, message.offset))
                .map(|(_, message)| stage::of(message))
                .collect();
            metrics::counter!("yibiao_received_records_total", "stage" => "fusion")
                .increment(meant.len() as u64);
            load.read(&meant)?;
            for (of, next) in batch.next_offsets() {
                if let Some((from, high)) = open.get_mut(&of) {
                    *from = next;
                    if next >= *high {
                        open.remove(&of);
                    }
                }
            }
            let missing =
                open.values().map(|(from, high)| (high.get() - from.get()).max(0) as u64).sum::<u64>();
            left.set(missing as f64);
            if told.elapsed() >= TOLD_EVERY {
                tracing::info!(shard, read = all - missing, of = all, "first load: frames are read");
                told = Instant::now();
            }
        }
        left.set(0.0);
        Ok(true)
    }
}
