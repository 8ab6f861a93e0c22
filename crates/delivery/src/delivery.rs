//! All centres, each at its own pace.

use std::{path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use yibiao_records::fault::Retry;
use yibiao_tables::{Lake, lake::Progress};
use yibiao_topics::{Client, Layout};

use crate::{Audit, CentreReport, Error, Grant, centre::Centre};

/// How often to look, and the topics' settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The least time between two rounds of one centre.
    #[serde(with = "yibiao_topics::duration")]
    pub interval: Duration,
    /// The least time between two rounds of compaction, vacuum and checkpoints of one centre's tables.
    #[serde(with = "yibiao_topics::duration")]
    pub maintain_interval: Duration,
    /// Change logs with more files than this are compacted.
    pub files_max: usize,
    /// Files that no version younger than this names are deleted: the longest that a centre may take to read
    /// one version.
    #[serde(with = "yibiao_topics::duration")]
    pub retention: Duration,
    pub topics: Layout,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            maintain_interval: Duration::from_secs(600),
            files_max: 200,
            retention: Duration::from_secs(3600),
            topics: Layout::default(),
        }
    }
}

/// The longest pause after trouble.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// See the crate.
pub struct Delivery {
    centres: Vec<Centre>,
    shared: Arc<Shared>,
    wake: Option<watch::Receiver<Progress>>,
}

struct Shared {
    lake: Lake,
    client: Option<Client>,
    config: Config,
    audit: Mutex<Audit>,
    clock: Clock,
    progress: watch::Sender<Vec<CentreReport>>,
}

impl Delivery {
    /// `grants` is the folder of the centres' files, `out` the folder or URL below which each centre has its
    /// own, `audit` the log. Without a client nothing goes to topics.
    pub fn open(
        grants: &Path,
        lake: Lake,
        client: Option<Client>,
        out: &str,
        audit: &Path,
        config: Config,
    ) -> Result<Self, Error> {
        let grants = Grant::load_dir(grants, lake.layout())?;
        let audit = Audit::open(audit)?;
        let centres: Vec<_> = grants.into_iter().map(|grant| Centre::new(grant, &lake, out)).collect();
        let reports = centres.iter().map(|centre| centre.report().clone()).collect();
        let shared = Shared {
            lake,
            client,
            config,
            audit: Mutex::new(audit),
            clock: Arc::new(Utc::now),
            progress: watch::Sender::new(reports),
        };
        Ok(Self { centres, shared: Arc::new(shared), wake: None })
    }

    /// Rounds begin when the projector has written, where it runs in this process; otherwise at every interval.
    pub fn with_wake(mut self, progress: watch::Receiver<Progress>) -> Self {
        self.wake = Some(progress);
        self
    }

    /// Another clock, for tests.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.clock = clock;
        }
        self
    }

    /// What each centre received, followed from elsewhere.
    pub fn progress(&self) -> watch::Receiver<Vec<CentreReport>> {
        self.shared.progress.subscribe()
    }

    /// One round for every centre; trouble stands in the centres' reports.
    pub async fn deliver_once(&mut self) -> Vec<CentreReport> {
        let shared = &self.shared;
        join_all(self.centres.iter_mut().map(|centre| async move {
            // The report says it.
            let _ = shared.round(centre).await;
        }))
        .await;
        self.centres.iter().map(|centre| centre.report().clone()).collect()
    }

    /// Delivers until `shutdown`, then once more. A centre that is away waits alone; one whose grant has
    /// ended receives nothing.
    pub async fn run(self, shutdown: CancellationToken) -> Vec<CentreReport> {
        let shared = &self.shared;
        let wake = &self.wake;
        let loops = self.centres.into_iter().map(|mut centre| {
            let shutdown = shutdown.clone();
            let mut wake = wake.clone();
            async move {
                let mut pause = shared.config.interval;
                while !shutdown.is_cancelled() {
                    let outcome = shared.round(&mut centre).await;
                    pause = match &outcome {
                        Ok(()) => shared.config.interval,
                        Err(error) if error.fault().retry == Retry::Never => PAUSE_MAX,
                        Err(_) => (pause * 2).min(PAUSE_MAX),
                    };
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    if let (Some(wake), Ok(())) = (&mut wake, &outcome) {
                        tokio::select! {
                            () = shutdown.cancelled() => break,
                            // The projector has ended: go on at every interval.
                            _ = wake.changed() => {}
                        }
                    }
                }
                let _ = shared.round(&mut centre).await;
                centre.report().clone()
            }
        });
        join_all(loops).await
    }
}

impl Shared {
    async fn round(&self, centre: &mut Centre) -> Result<(), Error> {
        let now = (self.clock)();
        let outcome =
            centre.deliver(&self.lake, self.client.as_ref(), &self.config.topics, &self.audit, now).await;
        centre.maintain_if_due(&self.config).await;
        let report = centre.report().clone();
        self.progress.send_if_modified(|reports| {
            match reports.iter_mut().find(|known| known.centre == report.centre) {
                Some(known) if *known == report => false,
                Some(known) => {
                    *known = report;
                    true
                }
                None => false,
            }
        });
        outcome
    }
}
