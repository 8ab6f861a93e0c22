//! What alarms need and no stage counts by itself: what waits, whether the accounts balance, how much disk is left.
//!
//! Counters and lags are written where things happen; these are states, looked at now and then.
//! deploy/alerts/yibiao.rules.yaml says what is watched.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use metrics::gauge;
use tokio_util::sync::CancellationToken;
use yibiao_normalise::{Accounting, Editions, FeedAccount};
use yibiao_records::FeedId;
use yibiao_topics::Client;

use crate::{config::Config, status::Status};

/// Not longer than Prometheus takes from one visit to the next.
const REFRESH: Duration = Duration::from_secs(10);

/// The gauges of one process.
pub struct Gauges {
    status: Status,
    client: Client,
    /// The folders that grow, with the name under which the first on each file system is shown.
    folders: Vec<(&'static str, PathBuf)>,
    /// Shards whose frames were shown: one that has gone elsewhere waits for nothing here.
    shards: Mutex<BTreeSet<u32>>,
    /// Feeds that were shown: once the normaliser has gone elsewhere, nothing of them waits here.
    feeds: Mutex<BTreeSet<FeedId>>,
}

impl Gauges {
    pub fn new(status: Status, client: Client, config: &Config) -> Self {
        let layout = config.layout();
        let folders = vec![
            ("data", config.data.clone()),
            ("state", layout.fusion),
            ("state", layout.normalise),
            ("gazetteer", layout.gazetteer),
            ("lake", layout.lake),
            ("deliveries", layout.deliveries),
            ("audit", layout.audit),
        ];
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64());
        gauge!("yibiao_started_at_seconds").set(now);
        for (stage, retention) in
            [("normalise", config.topics.raw_retention), ("fusion", config.topics.std_retention)]
        {
            gauge!("yibiao_retention_seconds", "stage" => stage).set(retention.as_secs_f64());
        }
        Self { status, client, folders, shards: Mutex::default(), feeds: Mutex::default() }
    }

    /// Looks and shows until `shutdown`.
    pub async fn refresh(&self, shutdown: CancellationToken) {
        loop {
            let (accounting, editions) = {
                let stages = self.status.stages();
                (stages.accounting.clone(), stages.editions.clone())
            };
            self.show_feeds(accounting.as_ref(), editions.as_ref());
            self.show_disks();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.show_frames() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
    }

    fn show_feeds(&self, accounting: Option<&Accounting>, editions: Option<&Editions>) {
        let accounts = accounting.map(Accounting::feeds).unwrap_or_default();
        accounts.iter().for_each(|(feed, account)| show_account(feed, account));
        editions.into_iter().for_each(show_gazetteer);
        let mut shown = self.feeds.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Of no partition: nothing waits.
        let gone = FeedAccount::default();
        for feed in shown.iter().filter(|feed| !accounts.contains_key(feed)) {
            show_account(feed, &gone);
        }
        if editions.is_none() && !shown.is_empty() {
            show_usable(true);
        }
        *shown = accounts.into_keys().collect();
    }

    async fn show_frames(&self) {
        match self.status.frames_waiting(&self.client).await {
            Ok(mut waiting) => {
                let mut shown = self.shards.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                for shard in shown.iter() {
                    waiting.entry(*shard).or_default();
                }
                *shown = waiting.keys().copied().collect();
                drop(shown);
                for (shard, frames) in waiting {
                    gauge!("yibiao_waiting_records", "stage" => "fusion", "shard" => shard.to_string())
                        .set(frames as f64);
                }
            }
            // `yibiao_broker_away` says it.
            Err(error) => tracing::debug!(%error, "the ends of the std topics are not known"),
        }
    }

    fn show_disks(&self) {
        let mut shown = BTreeSet::new();
        for (name, folder) in &self.folders {
            // A folder that a stage of another process has is not there.
            let Ok(about) = std::fs::metadata(folder) else { continue };
            if !shown.insert(about.dev()) {
                continue;
            }
            match rustix::fs::statvfs(folder) {
                Ok(disk) => {
                    let block = disk.f_frsize as f64;
                    gauge!("yibiao_disk_free_bytes", "folder" => *name).set(disk.f_bavail as f64 * block);
                    gauge!("yibiao_disk_size_bytes", "folder" => *name).set(disk.f_blocks as f64 * block);
                }
                Err(error) => {
                    tracing::debug!(%error, folder = %folder.display(), "the space that is left is not known");
                }
            }
        }
    }
}

fn show_account(feed: &FeedId, account: &FeedAccount) {
    let feed = || feed.to_string();
    let counts = &account.counts;
    let decided = counts.accepted + counts.quarantined + counts.unchanged;
    gauge!("yibiao_unbalanced_records", "stage" => "normalise", "feed" => feed())
        .set(counts.received.abs_diff(decided) as f64);
    gauge!("yibiao_waits_for_gazetteer", "stage" => "normalise", "feed" => feed())
        .set(f64::from(account.waits_for_gazetteer));
    if let Some(waiting) = account.lag() {
        gauge!("yibiao_waiting_records", "stage" => "normalise", "feed" => feed()).set(waiting as f64);
    }
}

/// What `CURRENT` names should be in force a moment later; where it cannot be opened it never is.
fn show_gazetteer(editions: &Editions) {
    let in_force = editions.subscribe().borrow().as_ref().map(|edition| edition.version().to_owned());
    let is_unusable = match editions.folder().current() {
        Ok(named) => named.is_some() && named != in_force,
        Err(_) => true,
    };
    show_usable(!is_unusable);
}

fn show_usable(is_usable: bool) {
    gauge!("yibiao_gazetteer_unusable", "stage" => "normalise").set(f64::from(!is_usable));
}
