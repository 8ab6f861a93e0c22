//! What all stages of this process are doing, for the progress line and the status page.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use arrow::{array::AsArray, datatypes::Int64Type};
use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use datafusion::prelude::SessionContext;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use yibiao_connectors::{Progress as ConnectorProgress, State};
use yibiao_delivery::CentreReport;
use yibiao_normalise::{Accounting, Editions};
use yibiao_records::FeedId;
use yibiao_serve::status as page;
use yibiao_tables::lake;
use yibiao_topics::Client;

use crate::progress::grouped;

/// A handle on the stages. Cheap to clone; all clones show the same.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Stages>>);

#[derive(Default)]
pub struct Stages {
    pub connectors: BTreeMap<FeedId, ConnectorProgress>,
    pub accounting: Option<Accounting>,
    pub editions: Option<Editions>,
    pub fused: Option<yibiao_fusion::Progress>,
    pub projected: Option<watch::Receiver<lake::Progress>>,
    pub delivered: Option<watch::Receiver<Vec<CentreReport>>>,
}

impl Status {
    pub fn stages(&self) -> MutexGuard<'_, Stages> {
        lock(&self.0)
    }

    /// Frames that wait to be fused, by shard.
    pub async fn frames_waiting(&self, client: &Client) -> Result<BTreeMap<u32, u64>, yibiao_topics::Error> {
        let fused = self.stages().fused.clone();
        let mut waiting = BTreeMap::new();
        for (shard, progress) in fused.map(|fused| fused.shards()).unwrap_or_default() {
            let mut frames = 0;
            for (of, next) in progress.positions {
                frames += (client.watermarks(&of).await?.high.get() - next.get()).max(0) as u64;
            }
            waiting.insert(shard, frames);
        }
        Ok(waiting)
    }

    /// One line: how many records each stage has had, and what waits.
    pub fn line(&self) -> String {
        let stages = self.stages();
        let mut parts = Vec::new();
        if !stages.connectors.is_empty() {
            let snapshots: Vec<_> = stages.connectors.values().map(ConnectorProgress::snapshot).collect();
            let records = snapshots.iter().map(|snapshot| snapshot.records).sum();
            let done = snapshots.iter().filter(|snapshot| snapshot.state == State::Done).count();
            parts.push(format!("{}/{} sources read, {} records", done, snapshots.len(), grouped(records)));
        }
        if let Some(accounting) = &stages.accounting {
            let total = accounting.total();
            parts.push(format!(
                "normalised {} ({} quarantined, {} unchanged)",
                grouped(total.received),
                grouped(total.quarantined),
                grouped(total.unchanged)
            ));
        }
        if let Some(fused) = &stages.fused {
            let total = fused.total();
            parts.push(format!(
                "fused {} facts on {} places, {} warnings firing",
                grouped(total.applied.facts),
                grouped(total.holding.places.max(0) as u64),
                grouped(total.holding.firing.max(0) as u64)
            ));
        }
        if let Some(projected) = &stages.projected {
            parts.push(format!("{} changes to go to the lake", grouped(projected.borrow().lag())));
        }
        parts.join(" · ")
    }
}

/// The status page's content: what the stages say at once, and what has to be asked for now and then.
pub struct Watched {
    status: Status,
    client: Client,
    session: SessionContext,
    started_at: DateTime<Utc>,
    titles: BTreeMap<FeedId, String>,
    places: Vec<(String, String)>,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
struct Asked {
    /// Frames that wait, by shard.
    waiting: BTreeMap<u32, u64>,
    tables: Vec<page::Table>,
    trouble: Option<String>,
}

/// How often brokers and tables are asked.
const REFRESH: Duration = Duration::from_secs(5);
/// The tables whose rows are shown.
const SHOWN: [(&str, &str); 2] = [("places", "地点融合表"), ("warnings", "预警")];

impl Watched {
    /// `titles` are the feeds', `places` where to go on: title and value.
    pub fn new(
        status: Status,
        client: Client,
        session: SessionContext,
        titles: BTreeMap<FeedId, String>,
        places: Vec<(String, String)>,
    ) -> Self {
        Self { status, client, session, started_at: Utc::now(), titles, places, asked: Arc::default() }
    }

    /// Makes the page's content at each request.
    pub fn source(&self) -> page::Source {
        let (status, asked) = (self.status.clone(), self.asked.clone());
        let here = self.started_at.with_timezone(&FixedOffset::east_opt(8 * 3600).expect("a real offset"));
        let started_at = here.to_rfc3339_opts(SecondsFormat::Secs, true);
        let (titles, places) = (self.titles.clone(), self.places.clone());
        Arc::new(move || status.page(&started_at, &titles, &places, &lock(&asked)))
    }

    /// Keeps asking until `shutdown`.
    pub async fn refresh(&self, shutdown: CancellationToken) {
        loop {
            let asked = self.ask().await;
            *lock(&self.asked) = asked;
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
    }

    async fn ask(&self) -> Asked {
        let mut asked = Asked::default();
        match self.status.frames_waiting(&self.client).await {
            Ok(waiting) => asked.waiting = waiting,
            Err(error) => asked.trouble = Some(error.to_string()),
        }
        for (name, title) in SHOWN {
            match yibiao_serve::run_sql(&self.session, &format!("select count(*) from {name}")).await {
                Ok(answer) => asked.tables.push(page::Table {
                    name: name.to_owned(),
                    title: title.to_owned(),
                    rows: answer.batches.first().map_or(0, |batch| {
                        batch.column(0).as_primitive::<Int64Type>().iter().flatten().sum::<i64>() as u64
                    }),
                }),
                Err(error) => asked.trouble = Some(error.to_string()),
            }
        }
        asked
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Status {
    fn page(
        &self,
        started_at: &str,
        titles: &BTreeMap<FeedId, String>,
        places: &[(String, String)],
        asked: &Asked,
    ) -> page::Status {
        let stages = self.stages();
        let mut troubles: Vec<String> = asked.trouble.iter().cloned().collect();
        for (feed, progress) in &stages.connectors {
            if let State::Away(why) | State::Failed(why) = progress.snapshot().state {
                troubles.push(format!("{feed}: {why}"));
            }
        }
        let feeds = stages.accounting.as_ref().map(Accounting::feeds).unwrap_or_default();
        let feeds = feeds.into_iter().map(|(feed, account)| page::Feed {
            feed: feed.to_string(),
            title: titles.get(&feed).cloned().unwrap_or_default(),
            received: account.counts.received,
            accepted: account.counts.accepted,
            quarantined: account.counts.quarantined,
            unchanged: account.counts.unchanged,
            ..Default::default()
        });
        let projected = stages.projected.as_ref().map(|progress| progress.borrow().shards.clone());
        let shards = projected.into_iter().flatten().map(|shard| page::Shard {
            shard: shard.shard,
            waiting: asked.waiting.get(&shard.shard).copied().unwrap_or(0),
            last: shard.last,
            logged: shard.logged,
            based: shard.based,
        });
        let delivered = stages.delivered.as_ref().map(|reports| reports.borrow().clone()).unwrap_or_default();
        let centres = delivered.into_iter().map(|report| {
            let total = report.total();
            troubles.extend(report.trouble.iter().map(|trouble| format!("{}: {trouble}", report.centre)));
            page::Centre {
                centre: report.centre,
                title: report.title,
                area: report.area,
                read: total.read,
                delivered: total.delivered,
                filtered: total.filtered,
                repeated: total.repeated,
                warnings: total.sent,
                trouble: report.trouble,
            }
        });
        page::Status {
            title: "一标 · 一标多实融合".to_owned(),
            started_at: started_at.to_owned(),
            feeds: feeds.collect(),
            shards: shards.collect(),
            tables: asked.tables.clone(),
            centres: centres.collect(),
            places: places.to_vec(),
            troubles,
        }
    }
}
