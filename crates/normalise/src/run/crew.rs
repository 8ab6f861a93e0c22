//! Threads and tasks of the stage, when they may start, and how they end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use yibiao_records::fault::Retry;

use super::{Shared, worker::Worker};
use crate::{
    Error,
    announce::{self, Announcer, Custodian},
    events,
    gazetteer::Edition,
    revise::{Revised, Reviser},
    shard::Shard,
    source::PlaceSource,
    state::State,
};

/// Under which the stage goes on, where the normaliser moves.
pub(super) struct Founded {
    epoch: u64,
    edition: Option<Arc<Edition>>,
}

/// Gives a gazetteer to the shards that have none, and has the state copied.
pub(super) async fn found(
    state: &State,
    custodian: &Arc<dyn Custodian>,
    edition: Option<Arc<Edition>>,
    shards: &mut [Shard],
) -> Result<Founded, Error> {
    let mut commit = state.begin();
    for shard in shards {
        if edition.as_ref().is_some_and(|edition| shard.take_first_edition(edition)) {
            commit.shard(&shard.id, &shard.record);
        }
    }
    commit.commit()?;
    Ok(Founded { epoch: custodian.found().await?, edition })
}

/// Starts workers and hears of their end.
pub(super) struct Crew {
    pub shared: Shared,
    pub stop: CancellationToken,
    pub ended: mpsc::UnboundedSender<Result<(), Error>>,
    pub started: Arc<AtomicUsize>,
}

impl Crew {
    /// What is to tell how a thread or task ended.
    pub fn end_of(&self, name: &str) -> Ended {
        Ended { name: name.to_owned(), sender: self.ended.clone(), told: false }
    }

    pub async fn start_with_gazetteer(
        self,
        mut shards: Vec<Shard>,
        founded: Option<Founded>,
    ) -> Result<(), Error> {
        if shards.is_empty() {
            return Ok(());
        }
        let mut editions = self.shared.editions.subscribe();
        if editions.borrow().is_none() {
            let folder = self.shared.editions.folder().path().display().to_string();
            tracing::info!(
                folder,
                "feeds with addresses wait for a gazetteer: build one of the standard addresses"
            );
        }
        tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            there = editions.wait_for(Option::is_some) => if there.is_err() { return Ok(()) },
        }
        if let Some(founded) = founded {
            self.announce(founded, &mut shards).await?;
        }
        for shard in &shards {
            self.shared.accounting.waits(&shard.id.feed, false);
        }
        self.shared.accounting.touch();
        self.start("resolves", shards)
    }

    /// Where the normaliser moves: tells the raw partitions which gazetteer is in force, now and whenever it is another.
    async fn announce(&self, mut founded: Founded, shards: &mut [Shard]) -> Result<(), Error> {
        let Shared { client, state, editions, custodian: Some(custodian), .. } = &self.shared else {
            return Ok(());
        };
        while founded.edition.is_none() {
            let current = editions.subscribe().borrow().clone();
            founded = match found(state, custodian, current, shards).await {
                Err(error) if error.fault().retry == Retry::Later => {
                    tracing::warn!(%error, retry_in = ?announce::PAUSE, "feeds with addresses cannot begin");
                    tokio::select! {
                        () = self.stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(announce::PAUSE) => continue,
                    }
                }
                founded => founded?,
            };
        }
        let Founded { epoch, edition: Some(edition) } = founded else { return Ok(()) };
        let announcer = Announcer {
            client: client.clone(),
            editions: editions.clone(),
            custodian: custodian.clone(),
            partitions: shards.iter().map(|shard| shard.raw.clone()).collect(),
        };
        announcer.announce(epoch, &edition).await?;
        let ended = self.end_of("announce");
        let (told, stop) = (edition.version().to_owned(), self.stop.clone());
        tokio::spawn(async move { ended.tell(announcer.run(told, stop).await) });
        Ok(())
    }

    /// Has records asked again by each gazetteer that their shard takes.
    pub fn start_reviser(&self, shards: &[Shard]) {
        let revised = |shard: &Shard| match &shard.source {
            PlaceSource::Resolves(feed) => {
                Some(Revised { id: shard.id.clone(), raw: shard.raw.clone(), feed: feed.clone() })
            }
            PlaceSource::Defines(_) | PlaceSource::Names(_) => None,
        };
        let reviser = Reviser {
            client: self.shared.client.clone(),
            state: self.shared.state.clone(),
            editions: self.shared.editions.clone(),
            accounting: self.shared.accounting.clone(),
            cache_addresses_max: self.shared.config.cache_addresses_max,
            shards: shards.iter().filter_map(revised).collect(),
        };
        let ended = self.end_of("revise");
        let stop = self.stop.clone();
        tokio::spawn(async move { ended.tell(reviser.run(stop).await) });
    }

    /// Divides the shards among threads: large feeds lie on several, as their partitions do.
    pub fn start(&self, what: &str, shards: Vec<Shard>) -> Result<(), Error> {
        let threads = self.shared.config.threads().clamp(1, shards.len().max(1));
        let mut shares: Vec<Vec<Shard>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, shard) in shards.into_iter().enumerate() {
            shares[index % threads].push(shard);
        }
        for share in shares.into_iter().filter(|share| !share.is_empty()) {
            let number = self.started.fetch_add(1, Ordering::Relaxed);
            let name = format!("normalise-{what}-{number}");
            let worker = Worker::new(name.clone(), share, self.shared.clone(), self.stop.clone());
            let ended = self.end_of(&name);
            let runtime = tokio::runtime::Handle::current();
            std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || ended.tell(worker.run(&runtime)))
                .map_err(|source| Error::Thread { name, source })?;
        }
        Ok(())
    }
}

/// Tells how a worker ended, also where it panicked.
pub(super) struct Ended {
    name: String,
    sender: mpsc::UnboundedSender<Result<(), Error>>,
    told: bool,
}

impl Ended {
    pub fn tell(mut self, outcome: Result<(), Error>) {
        if let Err(error) = &outcome {
            events::failed(&self.name, error);
        }
        self.told = true;
        // Nobody listens where the stage itself was dropped.
        let _ = self.sender.send(outcome);
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if !self.told {
            let _ = self.sender.send(Err(Error::Panicked { name: self.name.clone() }));
        }
    }
}
