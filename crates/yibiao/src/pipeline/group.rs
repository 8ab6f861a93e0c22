//! Shards that follow a consumer group: this process has those that the group gives to it, and says so when it has let go.
//!
//! ```text
//!              gone: end the generation (batch, projection), last checkpoint, let go ─► the group may give them to others
//!  the group ─┤
//!              new: take them (epoch, fence, checkpoint) while the others go on, then a generation of all
//! ```
//!
//! The group is only asked who should have what. That nobody writes a shard that is somebody else's rests on the epochs in
//! the lake (docs/adr/0010). So a shard that was taken from this process is no failure here: it lets go of it, and takes it
//! again only where the group still gives it to this process after a session, in which a process that was out has heard of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;
use yibiao_tables::{
    Live, Shard,
    checkpoint::{Checkpointer, Subject},
};
use yibiao_topics::{Group, Membership, layout::SHARDS};

use super::{
    Pipeline,
    faults::{passes, taken_by_others},
    generation::Generation,
    shards::Fusing,
};

/// After a fault that may pass.
const PAUSE: Duration = Duration::from_secs(5);

/// What this process has of the group's shards, and what works on them.
pub(super) struct Following {
    fusing: Fusing,
    membership: Membership,
    session: Duration,
    /// Its shards have all been brought to where they can go on; see [`Fusing::begin`].
    held: BTreeMap<u32, Shard>,
    generation: Option<Generation>,
    /// Shards that are left alone until then, although the group gives them to this process.
    left_until: BTreeMap<u32, Instant>,
    checkpointer: Arc<Mutex<Checkpointer>>,
    live: Live,
}

impl Pipeline {
    /// A run to the end of what was sent has all shards: it could not know when others are done.
    pub(super) fn follows_group(&self) -> bool {
        self.config.fusion.follow && self.mode == yibiao_connectors::Mode::Follow
    }

    pub(super) fn start_following(&mut self, fusing: Fusing) -> Result<()> {
        let config = &self.config.fusion;
        let (session, hand_over) = (config.session, config.hand_over);
        let group = Group { name: SHARDS.to_owned(), topic: SHARDS.to_owned(), session, hand_over };
        let live = Live::new(Vec::<Shard>::new());
        self.live = Some(live.clone());
        let following = Following {
            membership: self.client.join(&group)?,
            checkpointer: Arc::new(Mutex::new(fusing.checkpointer())),
            fusing,
            session,
            held: BTreeMap::new(),
            generation: None,
            left_until: BTreeMap::new(),
            live,
        };
        let shutdown = self.shutdown.clone();
        self.spawn("fusion", following.run(shutdown));
        Ok(())
    }
}

impl Following {
    async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        for stage in ["project", "checkpoint"] {
            metrics::gauge!("yibiao_stage_up", "stage" => stage).set(1.0);
        }
        let followed = self.follow(&shutdown).await;
        let ended = match followed {
            Ok(()) => self.close().await,
            Err(error) => {
                // As after a death: the next owner makes again what was not in a checkpoint.
                if let Some(generation) = self.generation.take() {
                    let _ = generation.end().await;
                }
                Err(error)
            }
        };
        for stage in ["project", "checkpoint"] {
            metrics::gauge!("yibiao_stage_up", "stage" => stage).set(0.0);
        }
        self.membership.leave().await;
        ended
    }

    async fn follow(&mut self, shutdown: &CancellationToken) -> Result<()> {
        loop {
            while !shutdown.is_cancelled() && self.adapt(shutdown).await? {}
            let again = self.left_until.values().min().copied();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                changed = self.membership.changed() => changed?,
                ended = ended(&mut self.generation) => {
                    self.generation = None;
                    if self.judge(ended)? {
                        tokio::select! {
                            () = shutdown.cancelled() => {}
                            () = tokio::time::sleep(PAUSE) => {}
                        }
                    }
                }
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            }
        }
    }

    /// One step towards what the group gives; false where nothing is to be done.
    async fn adapt(&mut self, shutdown: &CancellationToken) -> Result<bool> {
        let wanted = self.wanted();
        let held: BTreeSet<u32> = self.held.keys().copied().collect();
        let gone: BTreeSet<u32> = held.difference(&wanted).copied().collect();
        let new: BTreeSet<u32> = wanted.difference(&held).copied().collect();
        if !gone.is_empty() {
            self.end_generation().await?;
            self.let_go(&gone).await?;
        } else if !new.is_empty() {
            let taken = self.take(&new, shutdown).await?;
            if taken.is_empty() {
                return Ok(true);
            }
            self.end_generation().await?;
            self.held.extend(taken.into_iter().map(|shard| (shard.number(), shard)));
            self.begin().await?;
        } else if self.generation.is_none() {
            self.begin().await?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// What the group gives, but for what is left alone.
    fn wanted(&mut self) -> BTreeSet<u32> {
        let (given, now) = (self.membership.given(), Instant::now());
        self.left_until.retain(|number, until| given.contains(number) && *until > now);
        given.into_iter().filter(|number| !self.left_until.contains_key(number)).collect()
    }

    /// Takes these shards, or none of them where that cannot be now.
    async fn take(&mut self, numbers: &BTreeSet<u32>, shutdown: &CancellationToken) -> Result<Vec<Shard>> {
        self.membership.hold(self.held.keys().chain(numbers).copied().collect());
        match self.open_and_load(numbers, shutdown).await {
            Ok(Some(shards)) => {
                count("taken", shards.len());
                Ok(shards)
            }
            Ok(None) => {
                self.membership.hold(self.held.keys().copied().collect());
                Ok(Vec::new())
            }
            Err(error) if passes(&error) || taken_by_others(&error).is_some() => {
                tracing::warn!(error = format!("{error:#}"), shards = ?numbers, retry_in = ?PAUSE, "shards could not be taken");
                self.left_until.extend(numbers.iter().map(|number| (*number, Instant::now() + PAUSE)));
                self.membership.hold(self.held.keys().copied().collect());
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Those that are empty and have a backlog are loaded, which may take long: so not any further once the group has changed its
    /// mind, or this process is to stop. None then: they are let go, and taken anew where they are still to be taken.
    async fn open_and_load(
        &mut self,
        numbers: &BTreeSet<u32>,
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<Shard>>> {
        let shards = self.fusing.open(numbers).await?;
        let stop = shutdown.child_token();
        let loading = self.fusing.load(shards, &stop);
        tokio::pin!(loading);
        loop {
            tokio::select! {
                loaded = &mut loading => return Ok(Some(loaded?).filter(|_| !stop.is_cancelled())),
                changed = self.membership.changed() => {
                    changed?;
                    let given = self.membership.given();
                    if !self.held.keys().chain(numbers).all(|number| given.contains(number)) {
                        stop.cancel();
                    }
                }
            }
        }
    }

    /// Starts a generation of what is held; that may be nothing.
    async fn begin(&mut self) -> Result<()> {
        let shards: Vec<Shard> = self.held.values().cloned().collect();
        match self.fusing.begin(&shards).await {
            Ok((fusion, projector)) => {
                // Not before: until then a shard may be behind the lake.
                self.show().await;
                tracing::info!(shards = ?self.held.keys().collect::<Vec<_>>(), "fusion goes on with these shards");
                self.generation = Some(Generation::start(fusion, projector, self.checkpointer.clone()));
                Ok(())
            }
            Err(error) if passes(&error) => {
                // Some may be half made again: they are dropped, as by a death, and opened anew.
                tracing::warn!(error = format!("{error:#}"), retry_in = ?PAUSE, "shards could not go on");
                let again = Instant::now() + PAUSE;
                self.left_until.extend(self.held.keys().map(|number| (*number, again)));
                self.held.clear();
                drop(shards);
                self.show().await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn end_generation(&mut self) -> Result<()> {
        let Some(generation) = self.generation.take() else { return Ok(()) };
        let ended = generation.end().await;
        self.judge(ended).map(drop)
    }

    /// Whether a generation ended by a fault that may pass. A shard that somebody else has taken is dropped. All else ends the
    /// process.
    fn judge(&mut self, ended: Result<()>) -> Result<bool> {
        let Err(error) = ended else { return Ok(false) };
        if let Some(Subject::Shard(shard)) = taken_by_others(&error) {
            tracing::warn!(shard, "{error:#}: this process lets go of it");
            count("lost", usize::from(self.held.remove(&shard).is_some()));
            self.left_until.insert(shard, Instant::now() + self.session);
            return Ok(false);
        }
        match passes(&error) {
            true => {
                tracing::warn!(error = format!("{error:#}"), "fusion, projection or checkpoints ended");
                Ok(true)
            }
            false => Err(error),
        }
    }

    /// After the generation has ended: whoever has these shards next has nothing to make again.
    async fn let_go(&mut self, numbers: &BTreeSet<u32>) -> Result<()> {
        for number in numbers {
            let Some(shard) = self.held.remove(number) else { continue };
            shard.persist()?;
            let last = self.checkpointer.lock().await.of(&[shard]).await.map_err(anyhow::Error::from);
            match last {
                Ok(()) => {}
                Err(error) if passes(&error) || taken_by_others(&error).is_some() => {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        error,
                        shard = number,
                        "no last checkpoint: the next owner makes some batches again"
                    );
                }
                Err(error) => return Err(error),
            }
            tracing::info!(shard = number, "shard handed over");
            count("handed_over", 1);
        }
        self.show().await;
        Ok(())
    }

    /// Those who watch, and the group, see what is held now. Nothing else keeps a shard open then.
    async fn show(&mut self) {
        let shards: Vec<Shard> = self.held.values().cloned().collect();
        self.checkpointer.lock().await.own(shards.clone());
        self.live.show(shards);
        for number in 0..self.fusing.partitions() {
            let held = f64::from(u8::from(self.held.contains_key(&number)));
            metrics::gauge!("yibiao_shard_held", "stage" => "fusion", "shard" => number.to_string())
                .set(held);
        }
        self.membership.hold(self.held.keys().copied().collect());
    }

    async fn close(&mut self) -> Result<()> {
        self.end_generation().await?;
        let all = self.held.keys().copied().collect();
        self.let_go(&all).await
    }
}

/// When the generation has ended by itself; never where there is none.
async fn ended(generation: &mut Option<Generation>) -> Result<()> {
    match generation {
        Some(generation) => generation.ended().await,
        None => std::future::pending().await,
    }
}

fn count(outcome: &'static str, shards: usize) {
    metrics::counter!("yibiao_shards_moved_total", "stage" => "fusion", "outcome" => outcome)
        .increment(shards as u64);
}
