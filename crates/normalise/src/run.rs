//! Threads, batches and commits: the edge where the decisions of the other modules are carried out.
//!
//! ```text
//!  worker (an OS thread, its own reader and producer, a share of all shards)
//!    ┌► take a newer gazetteer? commit that first
//!    │  gather a batch ─► each shard judges its records, sends frames and refusals
//!    │  flush: everything acknowledged
//!    └─ commit {records, positions, accounts, versions} in one atomic write ─► show the accounts
//! ```
//!
//! Shards that define places and shards that resolve addresses have workers of their own, as the latter wait for a
//! gazetteer, which is made of what the former send.
//!
//! Where the normaliser moves ([`crate::announce`]), a copy of the state is made before anything is sent, and gazetteers come
//! into force by what the raw topics say.

mod crew;
mod worker;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use yibiao_contracts::Contract;
use yibiao_records::{FactKinds, FeedId, TopicPartition};
use yibiao_topics::Client;

use crate::{
    Config, Error,
    accounting::Accounting,
    announce::Custodian,
    events,
    gazetteer::{Editions, Folder},
    shard::{FrameLimits, Shard},
    source::{PLACE_KIND, PlaceSource},
    state::{ShardId, ShardPrefix, State},
};
use crew::{Crew, Founded, found};

/// How often the ends of raw partitions are asked for; only shown as lag.
const LAG_CHECK: Duration = Duration::from_secs(1);

/// Called after a batch was sent and acknowledged, before it is committed; false ends the worker there.
pub type BeforeCommit = Arc<dyn Fn() -> bool + Send + Sync>;

/// The stage: all raw topics of the given contracts to facts.
pub struct Normaliser {
    shared: Shared,
    contracts: Vec<Arc<Contract>>,
    sources: BTreeMap<FeedId, PlaceSource>,
}

/// What every worker needs.
#[derive(Clone)]
struct Shared {
    config: Arc<Config>,
    kinds: Arc<FactKinds>,
    client: Client,
    state: State,
    editions: Editions,
    accounting: Accounting,
    before_commit: Option<BeforeCommit>,
    /// Set where the normaliser moves.
    custodian: Option<Arc<dyn Custodian>>,
}

impl Normaliser {
    /// Opens the state and the gazetteer in force, and checks the contracts. Reads and sends nothing yet.
    ///
    /// # Errors
    /// A state in use or damaged; a contract whose kind is unknown or that does not say where its facts lie.
    pub fn open(
        config: Config,
        contracts: Vec<Arc<Contract>>,
        kinds: Arc<FactKinds>,
        client: Client,
        state_dir: &Path,
        gazetteer_dir: &Path,
    ) -> Result<Self, Error> {
        let authority = contracts.iter().find(|contract| contract.fact.kind == PLACE_KIND);
        let authority = authority.map(|contract| contract.feed.clone());
        let mut sources = BTreeMap::new();
        for contract in &contracts {
            let kind = kinds.get(&contract.fact.kind).ok_or_else(|| Error::UnknownKind {
                feed: contract.feed.to_string(),
                kind: contract.fact.kind.clone(),
            })?;
            contract.decoder(&kinds)?;
            sources.insert(contract.feed.clone(), PlaceSource::new(contract, kind, authority.as_ref())?);
        }
        let state = State::open(state_dir, &config.state())?;
        check_prefixes(contracts.iter().map(|contract| &contract.feed), state.shards()?.keys())?;
        let editions = Editions::open(Folder::new(gazetteer_dir)?)?;
        let accounting = Accounting::new(state.shards()?);
        let shared = Shared {
            config: Arc::new(config),
            kinds,
            client,
            state,
            editions,
            accounting,
            before_commit: None,
            custodian: None,
        };
        Ok(Self { shared, contracts, sources })
    }

    /// Reads only these feeds. The contracts of the others still say who defines places.
    pub fn only(mut self, feeds: &BTreeSet<FeedId>) -> Self {
        self.contracts.retain(|contract| feeds.contains(&contract.feed));
        self.sources.retain(|feed, _| feeds.contains(feed));
        self
    }

    /// What was received and what became of it; stays readable while the stage runs and after it.
    pub fn accounting(&self) -> Accounting {
        self.shared.accounting.clone()
    }

    /// The gazetteers: for a builder in this process, whose result is then noticed at once.
    pub fn editions(&self) -> Editions {
        self.shared.editions.clone()
    }

    /// What the stage knows; for who copies it.
    pub fn state(&self) -> State {
        self.shared.state.clone()
    }

    /// The normaliser moves: this one keeps its state where others find it.
    pub fn kept_by(mut self, custodian: Arc<dyn Custodian>) -> Self {
        self.shared.custodian = Some(custodian);
        self.shared.editions.spread().begin();
        self
    }

    /// For tests of what a crash leaves behind.
    #[doc(hidden)]
    pub fn before_commit(mut self, hook: BeforeCommit) -> Self {
        self.shared.before_commit = Some(hook);
        self
    }

    /// Runs until `shutdown`, which ends it after the current batch, or until an error. Raw, quarantine and std topics
    /// must be there.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        // An error of one worker ends the others after their batch, but not the caller's other stages.
        let stop = shutdown.child_token();
        // Whoever drops this future has the workers end too.
        let _ends_with_us = stop.clone().drop_guard();
        let (mut defining, mut resolving) = self.shards().await?;
        let founded = self.found(&mut defining, &mut resolving).await?;
        let Self { shared, contracts: _, sources } = self;
        for (feed, source) in &sources {
            shared.accounting.waits(feed, source.needs_gazetteer());
        }
        let (ended, mut ends) = mpsc::unbounded_channel();
        let crew = Crew { shared: shared.clone(), stop: stop.clone(), ended, started: Arc::default() };

        let partitions: Vec<(ShardId, TopicPartition)> =
            defining.iter().chain(&resolving).map(|shard| (shard.id.clone(), shard.raw.clone())).collect();
        let watching = [
            tokio::spawn(watch_folder(shared.clone(), stop.clone())),
            tokio::spawn(watch_lag(shared.clone(), partitions, stop.clone())),
        ];
        crew.start_reviser(&resolving);
        crew.start("defines", defining)?;
        let waiting = crew.end_of("starting workers");
        let waiting =
            tokio::spawn(async move { waiting.tell(crew.start_with_gazetteer(resolving, founded).await) });

        let mut outcome = Ok(());
        while let Some(end) = ends.recv().await {
            if let Err(error) = end {
                stop.cancel();
                if outcome.is_ok() {
                    outcome = Err(error);
                }
            }
        }
        stop.cancel();
        for task in watching.into_iter().chain([waiting]) {
            // They end at `stop` and return nothing.
            let _ = task.await;
        }
        shared.state.persist()?;
        outcome
    }

    /// All shards where their last commit left them: those that define places, and those that resolve addresses.
    async fn shards(&self) -> Result<(Vec<Shard>, Vec<Shard>), Error> {
        let Shared { config, kinds, client, state, editions, custodian, .. } = &self.shared;
        let topics = client.topics().await?;
        let partitions = |topic: String| {
            let found = topics.get(&topic).copied();
            found.ok_or_else(|| Error::Topics(yibiao_topics::Error::UnknownTopic { topic, partition: None }))
        };
        let (mut defining, mut resolving) = (Vec::new(), Vec::new());
        for contract in &self.contracts {
            let topic = format!("std.{}", contract.fact.kind);
            let std_partitions = partitions(topic.clone())?;
            state.check_std_partitions(&topic, std_partitions)?;
            partitions(contract.feed.quarantine_topic())?;
            for partition in 0..partitions(contract.feed.raw_topic())? as i32 {
                let id = ShardId { feed: contract.feed.clone(), partition };
                let limits = FrameLimits { std_partitions, facts_max: config.frame_facts_max };
                let source = self.sources[&contract.feed].clone();
                let record = state.shard(&id)?;
                let mut shard = Shard::new(contract, source, kinds, partition, record, limits)?;
                let end = client.watermarks(&shard.raw).await?.high;
                if shard.is_owed_by_another_contract(end) {
                    let feed = contract.feed.to_string();
                    let before = shard.record.contract_version.unwrap_or_default();
                    return Err(Error::ContractChanged { feed, before, partition });
                }
                shard.begin_before(end);
                if !shard.source.needs_gazetteer() {
                    defining.push(shard);
                    continue;
                }
                if let Some(version) = shard.record.gazetteer_version.clone() {
                    match editions.edition(&version) {
                        Ok(edition) => {
                            shard.held_until = end;
                            shard.edition = Some(edition);
                        }
                        Err(error) if custodian.is_some() => {
                            return Err(Error::GazetteerLost {
                                version,
                                feed: id.feed.to_string(),
                                state: state.path().to_path_buf(),
                                gazetteer: editions.folder().path().to_path_buf(),
                                source: Box::new(error),
                            });
                        }
                        Err(error) => {
                            tracing::warn!(%error, feed = %id.feed, partition, "the gazetteer of the last commit is gone, the newest is taken");
                        }
                    }
                }
                resolving.push(shard);
            }
        }
        Ok((defining, resolving))
    }

    /// Where the normaliser moves: puts the state where others find it, before anything is sent of what it says. Gives the
    /// epoch, and the gazetteer that is in force for feeds that had none, if there is one.
    async fn found(&self, defining: &mut [Shard], resolving: &mut [Shard]) -> Result<Option<Founded>, Error> {
        let Some(custodian) = &self.shared.custodian else { return Ok(None) };
        let mut commit = self.shared.state.begin();
        for shard in defining.iter_mut().chain(resolving.iter_mut()) {
            if shard.rest(false) {
                commit.shard(&shard.id, &shard.record);
            }
        }
        commit.commit()?;
        if resolving.is_empty() {
            self.shared.editions.spread().end();
        }
        let current = self.shared.editions.subscribe().borrow().clone();
        found(&self.shared.state, custodian, current, resolving).await.map(Some)
    }
}

/// Refuses two feeds whose records would lie together in the state: what a full dump lacks is told by going through
/// those of one feed.
fn check_prefixes<'a>(
    feeds: impl Iterator<Item = &'a FeedId>,
    known: impl Iterator<Item = &'a ShardId>,
) -> Result<(), Error> {
    let mut by_prefix: BTreeMap<ShardPrefix, &FeedId> = BTreeMap::new();
    for feed in feeds.chain(known.map(|id| &id.feed)) {
        let prefix = ShardPrefix::new(&ShardId { feed: feed.clone(), partition: 0 });
        match by_prefix.insert(prefix, feed) {
            Some(other) if other != feed => {
                return Err(Error::SamePrefix { feed: feed.to_string(), other: other.to_string() });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Notices what another process published. A builder in this process tells by itself.
async fn watch_folder(shared: Shared, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(shared.config.gazetteer_check.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let editions = shared.editions.clone();
        match tokio::task::spawn_blocking(move || editions.refresh()).await {
            Ok(Ok(_)) => told.clear(),
            Ok(Err(error)) if error.to_string() == told => {}
            Ok(Err(error)) => {
                told = error.to_string();
                events::gazetteer_unusable(&error);
            }
            Err(_) => return,
        }
    }
}

/// Asks for the ends of the raw partitions, so that the accounts can show what waits.
async fn watch_lag(shared: Shared, partitions: Vec<(ShardId, TopicPartition)>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LAG_CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for (id, tp) in &partitions {
            let marks = tokio::select! {
                () = stop.cancelled() => return,
                marks = shared.client.watermarks(tp) => marks,
            };
            match marks {
                Ok(marks) => shared.accounting.end_is(id, marks.high),
                Err(error) => {
                    tracing::debug!(%error, %tp, "the end of a partition is not known");
                    break;
                }
            }
        }
        shared.accounting.touch();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn feeds_whose_records_would_lie_together_are_refused() {
        let mut seen: HashMap<ShardPrefix, FeedId> = HashMap::new();
        let (a, b) = (0..)
            .find_map(|n| {
                let feed: FeedId = format!("utilities/f{n}").parse().expect("a feed id");
                let prefix = ShardPrefix::new(&ShardId { feed: feed.clone(), partition: 0 });
                seen.insert(prefix, feed.clone()).map(|other| (other, feed))
            })
            .expect("32 bits are not enough for ever");
        assert!(check_prefixes([&a, &a].into_iter(), std::iter::empty()).is_ok());
        let known = ShardId { feed: b, partition: 3 };
        let error = check_prefixes([&a].into_iter(), [&known].into_iter()).expect_err("they meet");
        assert!(error.to_string().contains(known.feed.as_str()), "{error}");
    }
}
