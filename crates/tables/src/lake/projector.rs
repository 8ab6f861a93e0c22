//! The projector: the single writer of all tables of a lake.
//!
//! One cycle, for all shards:
//!
//! 1. shards with news are synchronised to disk, so that a power cut does not leave the lake ahead of them; where shards
//!    move, the ends of their batches go to the checkpoints' store;
//! 2. changes that are not in the lake yet are appended, at most `changes_max` a commit, with the position
//!    `shard-<p>` in the same commit of each table;
//! 3. the buckets that they touched are rewritten from the same view, again with the position;
//! 4. the shards' outboxes are trimmed.
//!
//! A crash between any two of these repeats what was not committed: on start every retained change is compared
//! with each table's own position.

mod chunk;
mod positions;

pub(crate) use chunk::{end_base_row, push_log_row};
pub(crate) use positions::application;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::select_all;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use yibiao_records::CrashPoint;

use self::{
    chunk::{Chunk, read_bucket, read_chunk},
    positions::Positions,
};
use super::{ChangeSource, ChangeView, Commit, Lake};
use crate::Error;

/// How often and how much.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The least time between two cycles.
    #[serde(with = "crate::lake::projector::human")]
    pub interval: Duration,
    /// The least time between two rewrites of base tables; longer when a rewrite takes more than a fifth of it.
    #[serde(with = "crate::lake::projector::human")]
    pub base_interval: Duration,
    /// Changes in one commit at most.
    pub changes_max: usize,
    /// Rows turned to Arrow at once.
    pub batch_rows: usize,
    /// The least time between two rounds of compaction, vacuum and checkpoints.
    #[serde(with = "crate::lake::projector::human")]
    pub maintain_interval: Duration,
    /// Change logs with more files than this are compacted.
    pub files_max: usize,
    /// Files that no version younger than this names are deleted.
    #[serde(with = "crate::lake::projector::human")]
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            base_interval: Duration::from_secs(5),
            changes_max: 100_000,
            batch_rows: 8_192,
            maintain_interval: Duration::from_secs(600),
            files_max: 200,
            retention: Duration::from_secs(3600),
        }
    }
}

/// Durations as people write them: `2s`.
pub(crate) mod human {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(D::Error::custom)
    }
}

/// How far one shard is in the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardProgress {
    pub shard: u32,
    /// The last change that the shard has made.
    pub last: u64,
    /// The last change in the change logs.
    pub logged: u64,
    /// The base tables show the state at this change.
    pub based: u64,
}

/// How far the lake is, and what was written since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    pub shards: Vec<ShardProgress>,
    pub changes: u64,
    pub base_rows: u64,
    pub commits: u64,
}

impl Progress {
    /// Everything that the shards had at the last look is in the lake.
    pub fn is_level(&self) -> bool {
        self.shards.iter().all(|shard| shard.based == shard.last && shard.logged == shard.last)
    }

    /// Changes that are not in the change logs yet.
    pub fn lag(&self) -> u64 {
        self.shards.iter().map(|shard| shard.last.saturating_sub(shard.logged)).sum()
    }
}

/// Where a crash may strike, for the tests that make it strike there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Boundary {
    ChangesWritten,
    ChangesCommitted,
    BucketsWritten,
    BucketsCommitted,
    Trimmed,
}

impl Boundary {
    pub const ALL: [Boundary; 5] = [
        Boundary::ChangesWritten,
        Boundary::ChangesCommitted,
        Boundary::BucketsWritten,
        Boundary::BucketsCommitted,
        Boundary::Trimmed,
    ];

    fn crash_point(self) -> CrashPoint {
        match self {
            Boundary::ChangesWritten => CrashPoint::ProjectChangesWritten,
            Boundary::ChangesCommitted => CrashPoint::ProjectChangesCommitted,
            Boundary::BucketsWritten => CrashPoint::ProjectBucketsWritten,
            Boundary::BucketsCommitted => CrashPoint::ProjectBucketsCommitted,
            Boundary::Trimmed => CrashPoint::ProjectTrimmed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Boundary::ChangesWritten => "changes written",
            Boundary::ChangesCommitted => "changes committed",
            Boundary::BucketsWritten => "buckets written",
            Boundary::BucketsCommitted => "buckets committed",
            Boundary::Trimmed => "trimmed",
        }
    }
}

type Failpoint = Box<dyn FnMut(Boundary) -> bool + Send>;

/// See the module.
pub struct Projector<S: ChangeSource> {
    lake: Lake,
    shards: Vec<Arc<S>>,
    config: Config,
    /// None before the start and after an error: then the tables are asked.
    positions: Option<Positions>,
    progress: watch::Sender<Progress>,
    based_at: Option<(Instant, Duration)>,
    maintained_at: Instant,
    failpoint: Option<Failpoint>,
}

impl<S: ChangeSource> Projector<S> {
    pub fn new(lake: Lake, shards: Vec<S>, config: Config) -> Self {
        let shards = shards.into_iter().map(Arc::new).collect();
        Self {
            lake,
            shards,
            config,
            positions: None,
            progress: watch::Sender::new(Progress::default()),
            based_at: None,
            maintained_at: Instant::now(),
            failpoint: None,
        }
    }

    /// Stops with [`Error::Failpoint`] where `stop` says so; for tests.
    #[doc(hidden)]
    pub fn with_failpoint(mut self, stop: impl FnMut(Boundary) -> bool + Send + 'static) -> Self {
        self.failpoint = Some(Box::new(stop));
        self
    }

    /// Follows the projector from elsewhere.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Projects as changes arrive, until `shutdown`; then once more, so that the lake is level with the shards.
    /// Faults that may pass (a store that is away) are tried again with a growing pause; others end the run.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<Progress, Error> {
        let mut changed: Vec<_> = self.shards.iter().map(|shard| shard.changed()).collect();
        let mut pause = Duration::from_secs(1);
        // A lake that is away from the start on shows as late from then on.
        show_projected();
        while !shutdown.is_cancelled() {
            let wait = match self.cycle(false).await {
                Ok(()) => {
                    pause = Duration::from_secs(1);
                    self.config.interval
                }
                Err(error) if error.fault().retry == yibiao_records::fault::Retry::Later => {
                    tracing::warn!(%error, retry_in = ?pause, "projection failed");
                    pause = (pause * 2).min(Duration::from_secs(60));
                    pause
                }
                Err(error) => return Err(error),
            };
            if self.maintains()
                && self.maintained_at.elapsed() >= self.config.maintain_interval
                && let Err(error) = self.maintain().await
            {
                tracing::warn!(%error, "maintaining the lake failed");
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            if !changed.is_empty() && self.positions.as_ref().is_some_and(Positions::is_level) {
                let any = select_all(changed.iter_mut().map(|changed| Box::pin(changed.changed())));
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    _ = any => {}
                }
            }
        }
        self.project_once().await
    }

    /// Where shards move, one of the processes is enough: who has the first one.
    fn maintains(&self) -> bool {
        self.shards.iter().any(|shard| shard.epoch().is_none() || shard.number() == 0)
    }

    /// Brings the lake level with the shards as they are now.
    pub async fn project_once(&mut self) -> Result<Progress, Error> {
        self.cycle(true).await?;
        Ok(self.progress.borrow().clone())
    }

    async fn cycle(&mut self, all: bool) -> Result<(), Error> {
        let known = self.positions.is_some();
        self.show_lag();
        let mut outcome = self.try_cycle(all).await;
        if known && matches!(outcome, Err(Error::LakeBehind { .. })) {
            // Somebody else has projected and trimmed since: the tables know how far.
            outcome = self.try_cycle(all).await;
        }
        if let Err(error) = &outcome {
            metrics::counter!("yibiao_errors_total", "stage" => "project", "code" => error.fault().code())
                .increment(1);
            // What is in memory may be wrong now; the tables know.
            self.positions = None;
        }
        outcome
    }

    async fn try_cycle(&mut self, all: bool) -> Result<(), Error> {
        let mut positions = match self.positions.take() {
            Some(positions) => positions,
            None => Positions::read(&self.lake, &self.shards).await?,
        };
        let views: Vec<_> = self.shards.iter().map(|shard| Arc::new(shard.view())).collect();
        // After the views were taken, so that all they show is on disk before the lake shows it.
        persist(self.with_news(&positions, &views)).await?;
        for ((shard, view), position) in self.shards.iter().zip(&views).zip(&positions.shards) {
            if view.last_sequence() > position.logged {
                shard.announce(view).await?;
            }
        }
        self.append_changes(&mut positions, &views).await?;
        if all || self.base_is_due() {
            self.rewrite_buckets(&mut positions, &views).await?;
        }
        for (shard, position) in self.shards.iter().zip(&mut positions.shards) {
            if position.dirty.is_empty() {
                position.based = position.logged;
            }
            if let Some(through) = position.trimmable() {
                shard.trim_outbox(through)?;
                position.trimmed = through;
            }
        }
        self.boundary(Boundary::Trimmed)?;
        self.progress.send_modify(|progress| {
            progress.shards = positions.progress();
        });
        self.show_lag();
        show_projected();
        self.positions = Some(positions);
        Ok(())
    }

    /// Changes that the shards hold and the change logs do not, at this moment: also where the lake is away and the
    /// cycle is about to fail.
    fn show_lag(&self) {
        let progress = self.progress.borrow();
        let logged = |number: u32| {
            progress.shards.iter().find(|shard| shard.shard == number).map_or(0, |shard| shard.logged)
        };
        let lag: u64 = self
            .shards
            .iter()
            .map(|shard| shard.changed().borrow().saturating_sub(logged(shard.number())))
            .sum();
        metrics::gauge!("yibiao_projection_lag_changes", "stage" => "project").set(lag as f64);
    }

    /// Shards whose view shows changes that are in no change log.
    fn with_news(&self, positions: &Positions, views: &[Arc<S::View>]) -> Vec<Arc<S>> {
        let shards = self.shards.iter().zip(views).zip(&positions.shards);
        shards
            .filter(|((_, view), position)| view.last_sequence() > position.logged)
            .map(|((shard, _), _)| shard.clone())
            .collect()
    }

    async fn append_changes(
        &mut self,
        positions: &mut Positions,
        views: &[Arc<S::View>],
    ) -> Result<(), Error> {
        loop {
            let mut budget = self.config.changes_max.max(1);
            let mut advanced = vec![0; views.len()];
            for (index, view) in views.iter().enumerate() {
                let position = &mut positions.shards[index];
                position.last = view.last_sequence();
                position.check_not_ahead()?;
                let mut after = position.logged;
                while after < position.last && budget > 0 {
                    let take = budget.min(self.config.batch_rows.max(1));
                    let (view, logs, shard) = (view.clone(), positions.logs.clone(), position.shard);
                    let chunk = tokio::task::spawn_blocking(move || {
                        read_chunk(view.as_ref(), &logs, shard, after, take)
                    })
                    .await
                    .map_err(|error| Error::Task(error.to_string()))??;
                    let Chunk { batches, dirty, first, last, changes, recorded_at_ms } = chunk;
                    position.check_dense(after, first)?;
                    let Some(last) = last else {
                        // Everything was trimmed, and so it is in the lake.
                        position.logged = position.last;
                        break;
                    };
                    for (table, batch) in batches {
                        positions.tables.write(&table, &batch).await?;
                    }
                    for (table, buckets) in dirty {
                        position.dirty.entry(table).or_default().extend(buckets);
                    }
                    budget = budget.saturating_sub(changes);
                    after = last;
                    advanced[index] = last;
                    lag(recorded_at_ms);
                }
            }
            if advanced.iter().all(|last| *last == 0) {
                return Ok(());
            }
            self.boundary(Boundary::ChangesWritten)?;
            let reached: Vec<_> = (positions.shards.iter().zip(&advanced))
                .filter(|(_, last)| **last > 0)
                .map(|(position, last)| (position.shard, *last))
                .collect();
            let failpoint = &mut self.failpoint;
            let between = || pass(failpoint, Boundary::ChangesCommitted);
            let (commits, rows) = positions.tables.commit_appended(&reached, between).await?;
            for (position, last) in positions.shards.iter_mut().zip(&advanced) {
                position.logged = position.logged.max(*last);
            }
            metrics::counter!("yibiao_received_records_total", "stage" => "project").increment(rows);
            metrics::counter!("yibiao_sent_records_total", "stage" => "project").increment(rows);
            self.progress.send_modify(|progress| {
                progress.changes += rows;
                progress.commits += commits;
                progress.shards = positions.progress();
            });
        }
    }

    fn base_is_due(&self) -> bool {
        // Rewriting takes at most a fifth of the time, however large the tables grow.
        self.based_at.is_none_or(|(at, took)| at.elapsed() >= self.config.base_interval.max(took * 4))
    }

    async fn rewrite_buckets(
        &mut self,
        positions: &mut Positions,
        views: &[Arc<S::View>],
    ) -> Result<(), Error> {
        let started = Instant::now();
        let mut wrote = false;
        for fused in self.lake.layout().tables.clone().into_iter().filter(|fused| fused.keyed) {
            let Some(base) = fused.base() else { continue };
            let mut commit = Commit::default();
            let mut rows = 0;
            for (position, view) in positions.shards.iter().zip(views) {
                let Some(dirty) = position.dirty.get(&fused.schema.name) else { continue };
                for bucket in dirty {
                    let number = self.lake.layout().bucket(position.shard, *bucket);
                    let (mut batches, reader) =
                        read_bucket(view.clone(), &base, *bucket, number, self.config.batch_rows.max(1));
                    let writer = positions.tables.base(&base.name)?;
                    while let Some(batch) = batches.recv().await {
                        rows += batch.num_rows() as u64;
                        writer.write(&batch).await?;
                    }
                    reader.await.map_err(|error| Error::Task(error.to_string()))??;
                    commit.add.extend(writer.finish().await?);
                    commit.replace_buckets.insert(number);
                }
                commit.positions.push((positions::application(position.shard), position.last));
            }
            if commit.replace_buckets.is_empty() {
                continue;
            }
            wrote = true;
            self.boundary(Boundary::BucketsWritten)?;
            positions.tables.commit_base(&base.name, commit).await?;
            self.boundary(Boundary::BucketsCommitted)?;
            for position in &mut positions.shards {
                position.dirty.remove(&fused.schema.name);
            }
            metrics::counter!("yibiao_rewritten_rows_total", "stage" => "project", "table" => base.name.clone())
                .increment(rows);
            self.progress.send_modify(|progress| {
                progress.base_rows += rows;
                progress.commits += 1;
            });
        }
        if wrote {
            self.based_at = Some((Instant::now(), started.elapsed()));
        }
        Ok(())
    }

    /// Compacts change logs of many small files, deletes files that no recent version names, and writes
    /// checkpoints. [`Projector::run`] does it now and then.
    pub async fn maintain(&mut self) -> Result<(), Error> {
        self.maintained_at = Instant::now();
        let mut positions = match self.positions.take() {
            Some(positions) => positions,
            None => Positions::read(&self.lake, &self.shards).await?,
        };
        positions.tables.maintain(self.config.files_max, self.config.retention).await?;
        self.positions = Some(positions);
        Ok(())
    }

    fn boundary(&mut self, boundary: Boundary) -> Result<(), Error> {
        pass(&mut self.failpoint, boundary)
    }
}

async fn persist<S: ChangeSource>(shards: Vec<Arc<S>>) -> Result<(), Error> {
    if shards.is_empty() {
        return Ok(());
    }
    tokio::task::spawn_blocking(move || shards.iter().try_for_each(|shard| shard.persist()))
        .await
        .map_err(|error| Error::Task(error.to_string()))?
}

fn pass(failpoint: &mut Option<Failpoint>, boundary: Boundary) -> Result<(), Error> {
    boundary.crash_point().pass();
    match failpoint.as_mut().is_some_and(|stop| stop(boundary)) {
        true => Err(Error::Failpoint(boundary.name())),
        false => Ok(()),
    }
}

/// The lake is level with what the shards held a moment ago.
fn show_projected() {
    metrics::gauge!("yibiao_projected_at_seconds", "stage" => "project")
        .set(chrono::Utc::now().timestamp() as f64);
}

fn lag(recorded_at_ms: Option<i64>) {
    if let Some(at) = recorded_at_ms {
        let lag_ms = (chrono::Utc::now().timestamp_millis() - at).max(0);
        metrics::gauge!("yibiao_event_lag_seconds", "stage" => "project").set(lag_ms as f64 / 1000.0);
    }
}
