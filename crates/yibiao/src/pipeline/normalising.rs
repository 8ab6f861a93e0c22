//! The normaliser of this process: its own, or the one that a group gives to one process at a time.
//!
//! ```text
//!             given: take it (epoch, newest checkpoint), normalise, build gazetteers, keep checkpoints
//!  the group ─┤
//!             gone: end in order (batch), last checkpoint, let go ─► the group gives it to another
//! ```
//!
//! The group's word is advice. A process that was paused and wakes up sends once more what its successor has sent, which
//! is taken once; at its next checkpoint it hears that the normaliser is somebody else's, and lets go of it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use yibiao_contracts::Contract;
use yibiao_normalise::Normaliser;
use yibiao_records::{FactKinds, FeedId};
use yibiao_topics::{Client, Group, Membership, layout::NORMALISER};

use super::{
    Pipeline,
    custody::{self, Custody},
    faults::{passes, taken_by_others},
    gazetteer_keeper::Keeper,
};
use crate::{
    config::{Config, Layout},
    status::Status,
};

/// After a fault that may pass.
const PAUSE: Duration = Duration::from_secs(5);
/// The normaliser's partition of the group's topic.
const IT: u32 = 0;

/// What it takes to normalise.
pub(super) struct Normalising {
    config: Config,
    layout: Layout,
    contracts: Vec<Arc<Contract>>,
    kinds: Arc<FactKinds>,
    client: Client,
    feeds: BTreeSet<FeedId>,
    /// Feeds that the gazetteer is made of; None where it is not built here.
    gazetteer_feeds: Option<BTreeSet<FeedId>>,
    status: Status,
}

/// Nothing of it runs yet.
pub(super) struct Opened {
    pub normaliser: Normaliser,
    pub keeper: Option<Keeper>,
    /// None where the normaliser stays with this process.
    pub custody: Option<Arc<Custody>>,
}

impl Normalising {
    /// Opens its state, or takes it where it moves.
    pub async fn open(&self) -> Result<Opened> {
        let taken = match &self.config.normalise.checkpoints {
            Some(location) => Some(
                custody::take(location, &self.config, &self.layout)
                    .await
                    .with_context(|| format!("taking the normaliser by the checkpoints in {location}"))?,
            ),
            None => None,
        };
        let normaliser = Normaliser::open(
            self.config.normalise.clone(),
            self.contracts.clone(),
            self.kinds.clone(),
            self.client.clone(),
            &self.layout.normalise,
            &self.layout.gazetteer,
        )?
        .only(&self.feeds);
        let config = &self.config.normalise;
        let keeper = self
            .gazetteer_feeds
            .as_ref()
            .map(|feeds| Keeper::new(&normaliser, &self.kinds, &self.client, config, feeds.clone()))
            .transpose()?;
        let mut opened = Opened { normaliser, keeper, custody: None };
        match taken {
            Some(taken) => {
                let facts = opened.keeper.as_ref().map(Keeper::facts);
                let (state, folder) =
                    (opened.normaliser.state(), opened.normaliser.editions().folder().clone());
                let custody = Custody::new(taken, state, folder, facts, &self.config)?;
                opened.normaliser = opened.normaliser.kept_by(custody.clone());
                opened.custody = Some(custody);
            }
            None => custody::refuse_owned(&opened.normaliser.state())?,
        }
        let mut stages = self.status.stages();
        stages.accounting = Some(opened.normaliser.accounting());
        stages.editions = Some(opened.normaliser.editions());
        drop(stages);
        Ok(opened)
    }
}

impl Pipeline {
    pub(super) async fn start_normalise(&mut self) -> Result<()> {
        self.config.check_normaliser()?;
        let normalising = Normalising {
            config: self.config.clone(),
            layout: self.layout.clone(),
            contracts: self.installation.contracts.iter().cloned().collect(),
            kinds: self.installation.kinds.clone(),
            client: self.client.clone(),
            feeds: self.feeds.clone(),
            gazetteer_feeds: self.builds_gazetteer.then(|| self.gazetteer_feeds()),
            status: self.status.clone(),
        };
        // A run to the end of what was sent has it: it could not know when another is done.
        if self.config.normalise.follow && self.mode == yibiao_connectors::Mode::Follow {
            return self.stand_by(normalising);
        }
        let Opened { normaliser, keeper, custody } = normalising.open().await?;
        self.accounting = Some(normaliser.accounting());
        self.keeper = keeper;
        let shutdown = self.shutdown.clone();
        self.spawn("normalise", async move { Ok(normaliser.run(shutdown).await?) });
        if let Some(custody) = custody {
            let (keeping, shutdown) = (custody.clone(), self.shutdown.clone());
            self.spawn("checkpoint", keeping.run(shutdown));
            self.custody = Some(custody);
        }
        Ok(())
    }

    fn stand_by(&mut self, normalising: Normalising) -> Result<()> {
        let config = &self.config.normalise;
        let (session, hand_over) = (config.session, config.hand_over);
        let group = Group { name: NORMALISER.to_owned(), topic: NORMALISER.to_owned(), session, hand_over };
        let standing = Standing {
            membership: self.client.join(&group)?,
            normalising,
            session,
            running: None,
            left_until: Instant::now(),
        };
        let shutdown = self.shutdown.clone();
        self.spawn("normalise", standing.run(shutdown));
        Ok(())
    }
}

/// One of the processes that may have the normaliser.
struct Standing {
    normalising: Normalising,
    membership: Membership,
    session: Duration,
    running: Option<Running>,
    /// Until then it is left alone, although the group gives it to this process.
    left_until: Instant,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
    custody: Arc<Custody>,
}

impl Standing {
    async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        let up = |up: f64| {
            for stage in ["gazetteer", "checkpoint"] {
                metrics::gauge!("yibiao_stage_up", "stage" => stage).set(up);
            }
        };
        up(1.0);
        let stood = self.stand(&shutdown).await;
        let ended = match self.running.take() {
            Some(running) if stood.is_ok() => self.let_go(running).await,
            Some(running) => running.end().await.map(drop),
            None => Ok(()),
        };
        up(0.0);
        self.membership.leave().await;
        stood.and(ended)
    }

    async fn stand(&mut self, shutdown: &CancellationToken) -> Result<()> {
        self.show();
        loop {
            let is_given = self.membership.given().contains(&IT);
            let is_left = self.left_until > Instant::now();
            match self.running.take() {
                Some(running) if !is_given => self.let_go(running).await?,
                None if is_given && !is_left => self.take(shutdown).await?,
                running => self.running = running,
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                changed = self.membership.changed() => changed?,
                ended = ended(&mut self.running) => {
                    self.running = None;
                    self.judge(ended)?;
                    self.show();
                }
                () = tokio::time::sleep_until(self.left_until), if is_given && self.running.is_none() => {}
            }
        }
    }

    async fn take(&mut self, shutdown: &CancellationToken) -> Result<()> {
        self.membership.hold(BTreeSet::from([IT]));
        let opened = tokio::select! {
            // A state that is half there is brought anew by whoever takes it next.
            () = shutdown.cancelled() => return Ok(()),
            opened = self.normalising.open() => opened,
        };
        match opened {
            Ok(opened) => {
                self.running = Running::start(opened);
                count("taken");
                tracing::info!("the normaliser is this process's");
            }
            Err(error) => self.judge(Err(error))?,
        }
        self.show();
        Ok(())
    }

    /// What somebody else has taken, and what may pass, is tried again later. All else ends the process.
    fn judge(&mut self, ended: Result<()>) -> Result<()> {
        let Err(error) = ended else { return Ok(()) };
        let pause = match (taken_by_others(&error).is_some(), passes(&error)) {
            (true, _) => {
                count("lost");
                // So that a process that was out has heard of it.
                self.session
            }
            (false, true) => PAUSE,
            (false, false) => return Err(error),
        };
        tracing::warn!(error = format!("{error:#}"), retry_in = ?pause, "this process lets go of the normaliser");
        self.left_until = Instant::now() + pause;
        Ok(())
    }

    /// Ends it in order: whoever has it next has nothing to judge again.
    async fn let_go(&mut self, running: Running) -> Result<()> {
        let custody = running.custody.clone();
        let ended = match running.end().await {
            Ok(()) => custody.last().await,
            failed => failed,
        };
        drop(custody);
        let is_handed_over = ended.is_ok();
        self.judge(ended)?;
        if is_handed_over {
            count("handed_over");
            tracing::info!("the normaliser was handed over");
        }
        self.show();
        Ok(())
    }

    /// Those who watch, and the group, see who has it. Nothing else keeps its state open then.
    fn show(&self) {
        let is_here = self.running.is_some();
        if !is_here {
            let mut stages = self.normalising.status.stages();
            (stages.accounting, stages.editions) = (None, None);
        }
        metrics::gauge!("yibiao_shard_held", "stage" => "normalise", "shard" => "normaliser")
            .set(f64::from(u8::from(is_here)));
        self.membership.hold(if is_here { BTreeSet::from([IT]) } else { BTreeSet::new() });
    }
}

impl Running {
    fn start(opened: Opened) -> Option<Self> {
        let Opened { normaliser, keeper, custody } = opened;
        let custody = custody?;
        let (stop, keeping) = (CancellationToken::new(), custody.clone());
        let task = tokio::spawn(normalise(normaliser, keeper, keeping, stop.clone()));
        Some(Self { stop, task, custody })
    }

    async fn end(mut self) -> Result<()> {
        self.stop.cancel();
        ended_task(&mut self.task).await
    }
}

async fn ended_task(task: &mut JoinHandle<Result<()>>) -> Result<()> {
    task.await.context("normalising, building or checkpoints panicked")?
}

/// When it has ended by itself; never where there is none.
async fn ended(running: &mut Option<Running>) -> Result<()> {
    match running {
        Some(running) => ended_task(&mut running.task).await,
        None => std::future::pending().await,
    }
}

/// Where one of the three ends, the others end too.
async fn normalise(
    normaliser: Normaliser,
    keeper: Option<Keeper>,
    custody: Arc<Custody>,
    stop: CancellationToken,
) -> Result<()> {
    let normalising = async {
        let ended = normaliser.run(stop.clone()).await;
        stop.cancel();
        ended
    };
    let building = async {
        match keeper {
            Some(keeper) => keeper.run(stop.clone()).await,
            None => Ok(()),
        }
    };
    let keeping = async {
        let ended = custody.run(stop.clone()).await;
        stop.cancel();
        ended
    };
    let (normalising, building, keeping) = tokio::join!(normalising, building, keeping);
    keeping?;
    building?;
    Ok(normalising?)
}

fn count(outcome: &'static str) {
    metrics::counter!("yibiao_shards_moved_total", "stage" => "normalise", "outcome" => outcome).increment(1);
}
