//! Running to the end: everything that the sources hold has become rows, Delta tables and deliveries.

use std::{collections::BTreeMap, future::Future};

use anyhow::{Context, Result, anyhow, bail};
use yibiao_connectors::Mode;
use yibiao_normalise::{FeedAccount, GazetteerReport};
use yibiao_records::{FeedId, NextOffset, TopicPartition};

use super::Pipeline;
use crate::config::Stage;

/// The end of every partition of some topics at one moment.
type Ends = BTreeMap<TopicPartition, NextOffset>;

impl Pipeline {
    /// Brings the feeds of places to the gazetteer, then all others to fused tables and deliveries, and stops. What
    /// other processes do is waited for only as far as this process can see it: through the topics.
    pub async fn run_to_end(&mut self) -> Result<Option<GazetteerReport>> {
        debug_assert_eq!(self.mode, Mode::Once, "connectors that follow their sources have no end");
        self.start().await?;
        let of_places = self.gazetteer_feeds();
        let report = self.bring(|feed| of_places.contains(feed)).await?;
        let others = |feed: &FeedId| !of_places.contains(feed);
        self.bring(others).await?;
        if let Some(report) = &report {
            self.await_revised(others, &report.version).await?;
            self.await_normalised(others).await?;
        }
        self.await_fused().await?;
        self.stop().await?;
        if let Some(delivery) = &mut self.delivery {
            let reports = delivery.deliver_once().await;
            if let Some((centre, trouble)) =
                reports.into_iter().find_map(|r| r.trouble.map(|t| (r.centre, t)))
            {
                bail!("delivery to {centre} failed: {trouble}");
            }
        }
        Ok(report)
    }

    /// Reads these feeds' sources to their end, waits until they are normalised, and builds the gazetteer where
    /// there is none yet.
    async fn bring(&mut self, wanted: impl Fn(&FeedId) -> bool) -> Result<Option<GazetteerReport>> {
        if self.runs(Stage::Connect) {
            self.connect(&wanted)?;
            self.await_connectors().await?;
        }
        self.await_normalised(&wanted).await?;
        let feeds = self.gazetteer_feeds();
        match &mut self.keeper {
            Some(keeper) if feeds.iter().any(&wanted) => Ok(Some(keeper.build().await?)),
            _ => Ok(None),
        }
    }

    async fn await_connectors(&mut self) -> Result<()> {
        let mut connecting = std::mem::take(&mut self.connecting);
        self.unless_a_stage_fails(async {
            while let Some(ended) = connecting.join_next().await {
                let feed = ended.context("a connector panicked")??;
                tracing::info!(%feed, "source read to its end");
            }
            Ok(())
        })
        .await
    }

    /// Waits until every record that the raw topics hold now has its outcome.
    async fn await_normalised(&mut self, wanted: impl Fn(&FeedId) -> bool) -> Result<()> {
        let Some(accounting) = self.accounting.clone() else { return Ok(()) };
        let feeds: Vec<FeedId> = self.feeds.iter().filter(|feed| wanted(feed)).cloned().collect();
        let ends = self.ends(feeds.iter().map(FeedId::raw_topic)).await?;
        self.unless_a_stage_fails(async {
            accounting.wait_until(|accounts| feeds.iter().all(|feed| reached(feed, accounts, &ends))).await;
            Ok(())
        })
        .await
    }

    /// Waits until all that was known is asked again by this gazetteer, where it answers otherwise.
    async fn await_revised(&mut self, wanted: impl Fn(&FeedId) -> bool, version: &str) -> Result<()> {
        let Some(accounting) = self.accounting.clone() else { return Ok(()) };
        let is_revised = |account: &FeedAccount| {
            account.partitions.iter().all(|partition| partition.revised_by.as_deref() == Some(version))
        };
        self.unless_a_stage_fails(async {
            accounting
                .wait_until(|feeds| {
                    feeds.iter().filter(|(feed, _)| wanted(feed)).all(|(_, account)| is_revised(account))
                })
                .await;
            Ok(())
        })
        .await
    }

    /// Waits until every frame that the std topics hold now is fused.
    async fn await_fused(&mut self) -> Result<()> {
        let Some(fused) = self.fused.clone() else { return Ok(()) };
        let client = self.client.clone();
        self.unless_a_stage_fails(async { Ok(fused.drained(&client).await?) }).await
    }

    async fn ends(&self, topics: impl Iterator<Item = String>) -> Result<Ends> {
        let mut ends = Ends::new();
        for topic in topics {
            for partition in 0..self.client.partitions(&topic).await? {
                let tp = TopicPartition::new(topic.as_str(), partition as i32);
                let high = self.client.watermarks(&tp).await?.high;
                ends.insert(tp, high);
            }
        }
        Ok(ends)
    }

    /// Waits for `work`, or for the first stage that fails: nothing would arrive any more.
    pub(super) async fn unless_a_stage_fails(
        &mut self,
        work: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(ended) = self.running.join_next() => {
                    let name = ended.context("a stage panicked")??;
                    tracing::debug!(stage = name, "stage ended");
                }
            }
        }
    }

    /// Ends all stages in order: each finishes its batch, and the lake is brought level with the shards.
    pub async fn stop(&mut self) -> Result<()> {
        self.shutdown.cancel();
        let mut first = Ok(());
        while let Some(ended) = self.running.join_next().await {
            let ended =
                ended.map_err(|panic| anyhow!("a stage panicked: {panic}")).and_then(|ended| ended.map(drop));
            first = first.and(ended);
        }
        while let Some(ended) = self.connecting.join_next().await {
            let ended =
                ended.map_err(|panic| anyhow!("a connector panicked: {panic}")).and_then(|e| e.map(drop));
            first = first.and(ended);
        }
        for shard in &self.shards {
            shard.persist()?;
        }
        if first.is_ok() {
            self.last_checkpoint().await?;
            if let Some(custody) = &self.custody {
                custody.last().await?;
            }
        }
        first
    }
}

/// Whether a feed's account has come to the ends of its raw partitions.
fn reached(feed: &FeedId, accounts: &BTreeMap<FeedId, FeedAccount>, ends: &Ends) -> bool {
    let topic = feed.raw_topic();
    ends.iter().filter(|(tp, _)| *tp.topic == *topic).all(|(tp, end)| {
        let account = accounts.get(feed);
        let next = account
            .and_then(|account| {
                account.partitions.iter().find(|partition| partition.partition == tp.partition)
            })
            .map_or(NextOffset::START, |partition| partition.next);
        next >= *end
    })
}
