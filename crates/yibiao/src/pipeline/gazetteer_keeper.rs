//! Builds the gazetteer when the feeds that it is made of have settled, and again when they change.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use yibiao_normalise::{Accounting, Config, GazetteerBuilder, GazetteerFacts, GazetteerReport, Normaliser};
use yibiao_records::{FactKinds, FeedId};
use yibiao_topics::Client;

/// One a process that normalises.
pub struct Keeper {
    builder: GazetteerBuilder,
    accounting: Accounting,
    settled: Duration,
    pause: Duration,
    feeds: BTreeSet<FeedId>,
}

impl Keeper {
    pub fn new(
        normaliser: &Normaliser,
        kinds: &Arc<FactKinds>,
        client: &Client,
        config: &Config,
        feeds: BTreeSet<FeedId>,
    ) -> Result<Self> {
        let builder = GazetteerBuilder::new(&normaliser.editions(), kinds, client, config)?;
        let (settled, pause) = (config.gazetteer_settled, config.gazetteer_pause);
        Ok(Self { builder, accounting: normaliser.accounting(), settled, pause, feeds })
    }

    pub fn facts(&self) -> GazetteerFacts {
        self.builder.facts()
    }

    /// Builds of what has been normalised so far.
    pub async fn build(&mut self) -> Result<GazetteerReport> {
        let built = self.builder.build().await;
        if let Err(error) = &built {
            let code = error.fault().code();
            metrics::counter!("yibiao_errors_total", "stage" => "gazetteer", "code" => code).increment(1);
        }
        Ok(built?)
    }

    fn accepted(&self) -> u64 {
        let feeds = self.accounting.feeds();
        feeds
            .iter()
            .filter(|(feed, _)| self.feeds.contains(feed))
            .map(|(_, account)| account.counts.accepted)
            .sum()
    }

    /// Builds until `shutdown`, whenever standard addresses or names have changed and settled, or have gone on changing
    /// for long. A build that fails is tried again: the gazetteer in force stays.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        let mut commits = self.accounting.commits();
        let mut built_of = 0;
        loop {
            while self.accepted() == built_of {
                tokio::select! {
                    changed = commits.changed() => if changed.is_err() { return Ok(()) },
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
            let pause = if built_of == 0 { self.settled } else { self.pause };
            let changed_at = Instant::now();
            loop {
                let seen = self.accepted();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
                if self.accepted() == seen || changed_at.elapsed() >= self.pause * 5 {
                    break;
                }
            }
            let building_of = self.accepted();
            match self.build().await {
                Ok(_) => built_of = building_of,
                Err(error) => tracing::warn!(error = format!("{error:#}"), "building the gazetteer failed"),
            }
        }
    }
}
