//! Wires the stages that a configuration names, and knows when everything that was sent has arrived.
//!
//! ```text
//!  connectors of places ─► normalise ─► gazetteer ┐ (the keeper builds it again when standard addresses change)
//!  all other connectors ─► normalise ◄────────────┘ ─► fusion ─► projection ─► delivery
//! ```

mod custody;
mod drain;
mod faults;
mod follow;
mod gazetteer_keeper;
mod generation;
mod group;
mod normalising;
mod shadow;
mod shards;

use std::{collections::BTreeSet, future::Future, sync::Arc};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use yibiao_connectors::{Mode, Progress as ConnectorProgress};
use yibiao_contracts::Contract;
use yibiao_delivery::Delivery;
use yibiao_normalise::Accounting;
use yibiao_records::FeedId;
use yibiao_tables::{Lake, Live, Shard, checkpoint::Checkpointer, lake};
use yibiao_topics::{Client, TopicSpec};

use crate::{
    config::{Config, Layout, Stage},
    in_use::InUse,
    installation::Installation,
    status::Status,
};

/// The fact kinds of which the gazetteer is made: their feeds need no gazetteer, and all others wait for it.
pub(crate) const GAZETTEER_KINDS: [&str; 2] = ["place", "place_name"];

/// Stages that run in this process.
pub struct Pipeline {
    pub config: Config,
    pub layout: Layout,
    pub installation: Installation,
    pub client: Client,
    /// Feeds whose raw topics are read.
    feeds: BTreeSet<FeedId>,
    builds_gazetteer: bool,
    stages: BTreeSet<Stage>,
    mode: Mode,
    shutdown: CancellationToken,
    /// Connectors, apart from the stages: they end by themselves in [`Mode::Once`].
    connecting: JoinSet<Result<FeedId>>,
    running: JoinSet<Result<&'static str>>,
    pub accounting: Option<Accounting>,
    /// Where they do not follow a group.
    pub shards: Vec<Shard>,
    /// The shards that a group gives to this process, for live tables.
    live: Option<Live>,
    fused: Option<yibiao_fusion::Progress>,
    pub lake: Lake,
    status: Status,
    keeper: Option<gazetteer_keeper::Keeper>,
    delivery: Option<Delivery>,
    checkpointer: Option<Arc<tokio::sync::Mutex<Checkpointer>>>,
    /// Where the normaliser moves, and no group gives it.
    custody: Option<Arc<custody::Custody>>,
    /// None for a shadow, which has a folder of its own.
    in_use: Option<InUse>,
}

impl Pipeline {
    /// Makes the topics and opens the stages' state; nothing runs yet.
    pub async fn open(config: Config, stages: &[Stage], mode: Mode) -> Result<Self> {
        let in_use = InUse::with_others(&config.data)?;
        let installation = Installation::load(&config.pipelines)?;
        if let Some(unknown) = config.sources.keys().find(|feed| installation.contracts.get(feed).is_none()) {
            bail!(
                "the configuration has a source for {unknown}, which has no contract in {}",
                config.pipelines.display()
            );
        }
        let (layout, client) = (config.layout(), Client::new(&config.kafka)?);
        let feeds = installation.contracts.iter().map(|contract| contract.feed.clone()).collect();
        let mut pipeline = Self::over(config, layout, installation, client, feeds, stages, mode)?;
        pipeline.in_use = Some(in_use);
        pipeline.client.ensure(&pipeline.topics()).await.context("making the topics")?;
        Ok(pipeline)
    }

    fn over(
        config: Config,
        layout: Layout,
        installation: Installation,
        client: Client,
        feeds: BTreeSet<FeedId>,
        stages: &[Stage],
        mode: Mode,
    ) -> Result<Self> {
        let lake = Lake::open(
            layout.lake.to_str().context("the data folder's path is not UTF-8")?,
            lake::Layout::new(&installation.tables, config.topics.std_partitions),
        )?;
        Ok(Self {
            layout,
            installation,
            client,
            lake,
            feeds,
            builds_gazetteer: true,
            stages: stages.iter().copied().collect(),
            mode,
            shutdown: CancellationToken::new(),
            connecting: JoinSet::new(),
            running: JoinSet::new(),
            accounting: None,
            shards: Vec::new(),
            live: None,
            fused: None,
            status: Status::default(),
            keeper: None,
            delivery: None,
            checkpointer: None,
            custody: None,
            in_use: None,
            config,
        })
    }

    fn topics(&self) -> Vec<TopicSpec> {
        let of = &self.config.topics;
        let feeds = self.installation.contracts.iter().map(|contract| &contract.feed);
        feeds
            .flat_map(|feed| [of.raw(feed), of.quarantine(feed)])
            .chain(self.installation.kinds.iter().map(|kind| of.std(&kind.name)))
            .chain([of.cursors()])
            .chain(self.config.fusion.follow.then(|| of.shards()))
            .chain(self.config.normalise.follow.then(|| of.normaliser()))
            .collect()
    }

    /// What the stages are doing, readable from other tasks.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    fn runs(&self, stage: Stage) -> bool {
        self.stages.contains(&stage)
    }

    /// Starts every stage but the connectors.
    pub async fn start(&mut self) -> Result<()> {
        if self.runs(Stage::Normalise) {
            self.start_normalise().await?;
        }
        if self.runs(Stage::Fusion) {
            self.start_fusion().await?;
        }
        if self.runs(Stage::Deliver) {
            self.start_delivery()?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: &'static str, work: impl Future<Output = Result<()>> + Send + 'static) {
        tracing::info!(stage = name, "stage started");
        let up = metrics::gauge!("yibiao_stage_up", "stage" => name);
        up.set(1.0);
        self.running.spawn(async move {
            let ended = work.await;
            up.set(0.0);
            ended.with_context(|| format!("the stage {name} failed"))?;
            Ok(name)
        });
    }

    async fn start_fusion(&mut self) -> Result<()> {
        self.config.check_shards()?;
        let fusing = self.fusing();
        if self.follows_group() {
            return self.start_following(fusing);
        }
        let shards = fusing.open(&self.own_shards()).await?;
        for stage in ["fusion", "project"] {
            // Loading is work of theirs, and may take long.
            metrics::gauge!("yibiao_stage_up", "stage" => stage).set(1.0);
        }
        self.shards = fusing.load(shards, &self.shutdown).await?;
        let (fusion, projector) = fusing.begin(&self.shards).await?;
        self.fused = Some(fusion.progress());
        let shutdown = self.shutdown.clone();
        self.spawn("fusion", async move { Ok(fusion.run(shutdown).await?) });
        let shutdown = self.shutdown.clone();
        self.spawn("project", async move {
            projector.run(shutdown).await?;
            Ok(())
        });
        if let Some(checkpointer) = self.checkpointer(&fusing) {
            let shutdown = self.shutdown.clone();
            self.spawn("checkpoint", async move { Ok(Checkpointer::run(checkpointer, shutdown).await?) });
        }
        Ok(())
    }

    fn start_delivery(&mut self) -> Result<()> {
        let out = self.layout.deliveries.to_str().context("the data folder's path is not UTF-8")?;
        let config = yibiao_delivery::Config { topics: self.config.topics.clone(), ..Default::default() };
        let mut delivery = Delivery::open(
            &self.installation.deliveries,
            self.lake.clone(),
            Some(self.client.clone()),
            out,
            &self.layout.audit,
            config,
        )?;
        let mut stages = self.status.stages();
        // Where others have shards too, what they project is as new.
        let has_all = self.shards.len() == self.config.topics.std_partitions as usize;
        if let Some(projected) = stages.projected.as_ref().filter(|_| has_all) {
            delivery = delivery.with_wake(projected.clone());
        }
        stages.delivered = Some(delivery.progress());
        drop(stages);
        self.delivery = Some(delivery);
        Ok(())
    }

    /// Feeds that the gazetteer is made of.
    fn gazetteer_feeds(&self) -> BTreeSet<FeedId> {
        let of_places = |contract: &&Arc<Contract>| {
            self.feeds.contains(&contract.feed) && GAZETTEER_KINDS.contains(&contract.fact.kind.as_str())
        };
        self.installation.contracts.iter().filter(of_places).map(|contract| contract.feed.clone()).collect()
    }

    /// Starts the connectors of the feeds that `wanted` names.
    pub fn connect(&mut self, wanted: impl Fn(&FeedId) -> bool) -> Result<()> {
        for (feed, source) in &self.config.sources {
            if !wanted(feed) {
                continue;
            }
            let contract = self.installation.contracts.get(feed).expect("sources were checked").clone();
            let (source, client, mode) = (source.clone(), self.client.clone(), self.mode);
            let (shutdown, progress) = (self.shutdown.clone(), ConnectorProgress::new());
            self.status.stages().connectors.insert(feed.clone(), progress.clone());
            let feed = feed.clone();
            self.connecting.spawn(async move {
                yibiao_connectors::run(&contract, &source, &client, mode, shutdown, &progress)
                    .await
                    .with_context(|| format!("the connector of {feed} failed"))?;
                Ok(feed)
            });
        }
        Ok(())
    }
}
