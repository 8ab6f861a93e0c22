//! The first load: a shard without any state takes what its std topics hold at once, before the stage begins.
//!
//! ```text
//!  std.<kind>[p], up to its end as it was ──► batch::Load ──► <shard>.loading/store ──synchronised──► renamed to <shard>
//! ```
//!
//! Until the rename the shard is as empty as it was. Whoever dies, is stopped or fails before it begins anew at the next start:
//! what was loaded half is deleted then. A shard that moves gets a checkpoint right after it, before anything of it goes to the
//! lake: no batch tells of a load, so nobody could make it again. docs/adr/0013 has the reasons.

mod backlog;
mod folder;

use std::{ops::ControlFlow, path::PathBuf, sync::Arc, time::Instant};

use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use yibiao_records::{CrashPoint, FactKinds};
use yibiao_state::Options;
use yibiao_tables::{Lake, Projector, Shard, Tables, checkpoint::found, shard::Deed};
use yibiao_topics::Client;

use crate::{Applied, Config, Error, Load, Rules, stage};
use backlog::Backlog;
use folder::Folder;

/// How often an operator hears how far it is.
const TOLD_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// What a load needs beside the shard.
#[derive(Clone)]
pub struct FirstLoad {
    pub config: Config,
    pub tables: Tables,
    pub kinds: Arc<FactKinds>,
    pub rules: PathBuf,
    pub client: Client,
    pub lake: Lake,
    pub std_partitions: u32,
    /// Of the shards' stores.
    pub options: Options,
}

impl FirstLoad {
    /// Loads those of the shards that are empty and have a backlog, several at a time. Gives all of them, in their order, open.
    /// When `shutdown` is cancelled, or nobody waits any more, those that are not loaded yet are given as they were.
    pub async fn run(&self, shards: Vec<Shard>, shutdown: &CancellationToken) -> Result<Vec<Shard>, Error> {
        let shutdown = shutdown.child_token();
        let _ends_with_this = shutdown.clone().drop_guard();
        let threads = self.config.threads_for(shards.len());
        let of = |shard: Shard| async {
            Folder::of(&shard).clear()?;
            let shard = match self.backlog(&shard).await? {
                Some(backlog) => self.on_a_thread(shard, backlog, shutdown.clone(), threads).await?,
                None => shard,
            };
            // Also where a death came between the load and its checkpoint.
            Ok(found(&self.lake, shard, &self.tables, &self.options).await?)
        };
        futures::stream::iter(shards).map(of).buffered(threads).try_collect().await
    }

    /// None where the shard is to begin with batches.
    async fn backlog(&self, shard: &Shard) -> Result<Option<Backlog>, Error> {
        let frames_min = self.config.load_frames_min;
        let view = shard.view();
        let has_content = view.last_sequence() > 0 || !view.positions()?.is_empty();
        // Batches that the lake may know of are made again one by one.
        let has_history = view.last_batch()? > 0 || shard.has_tail();
        if frames_min == 0 || has_content || has_history {
            return Ok(None);
        }
        let backlog = Backlog::of(&self.client, &self.kinds, shard.number()).await?;
        Ok((backlog.frames() >= frames_min).then_some(backlog))
    }

    /// Merging is work, not waiting.
    async fn on_a_thread(
        &self,
        shard: Shard,
        backlog: Backlog,
        shutdown: CancellationToken,
        threads: usize,
    ) -> Result<Shard, Error> {
        let (sender, end) = tokio::sync::oneshot::channel();
        let with = self.clone();
        std::thread::Builder::new()
            .name(format!("load-{}", shard.number()))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let load = |runtime: tokio::runtime::Runtime| {
                    runtime.block_on(with.load(shard, backlog, shutdown, threads))
                };
                // Whoever waited is gone only when nobody wants the shard any more.
                let _ = sender.send(runtime.map_err(Error::Thread).and_then(load));
            })
            .map_err(Error::Thread)?;
        end.await.unwrap_or_else(|_| Err(Error::Panic("see its message above".into())))
    }

    /// The shard, loaded; as it was where it is to stop.
    async fn load(
        &self,
        shard: Shard,
        backlog: Backlog,
        shutdown: CancellationToken,
        threads: usize,
    ) -> Result<Shard, Error> {
        let (number, folder) = (shard.number(), Folder::of(&shard));
        let began = Instant::now();
        // A lake that was made of another state would go on where its own change log ended, in the midst of this one.
        Projector::new(self.lake.clone(), vec![shard.clone()], Default::default()).project_once().await?;
        tracing::info!(shard = number, frames = backlog.frames(), "the first load begins");
        let deed = shard.deed();
        let loaded = self.fill(&folder, number, backlog, &shutdown, threads, deed.as_ref()).await;
        let applied = match loaded {
            Ok(Some(applied)) => applied,
            Ok(None) => {
                tracing::info!(
                    shard = number,
                    "the first load was stopped: it begins anew at the next start"
                );
                folder.clear()?;
                return Ok(shard);
            }
            Err(error) => {
                // Others need the disk.
                let _ = folder.clear();
                return Err(error);
            }
        };
        CrashPoint::LoadSynced.pass();
        // A store that is open must not be replaced under whoever has it.
        drop(shard);
        folder.replace()?;
        CrashPoint::LoadMoved.pass();
        folder.clear()?;
        let shard = Shard::open(folder.shard(), number, &self.tables, &self.options)?;
        deed.map_or(Ok(()), |deed| deed.hand_to(&shard))?;
        stage::measure(&applied, i64::MAX);
        let (facts, seconds) = (applied.facts, began.elapsed().as_secs_f64());
        tracing::info!(shard = number, facts, seconds, "the first load is done");
        Ok(shard)
    }

    /// Makes the loaded store beside the shard. None where it was stopped.
    async fn fill(
        &self,
        folder: &Folder,
        number: u32,
        backlog: Backlog,
        shutdown: &CancellationToken,
        threads: usize,
        deed: Option<&Deed>,
    ) -> Result<Option<Applied>, Error> {
        let mut rules = Rules::load(&self.rules, &self.tables).await?;
        let loading = Shard::open(&folder.store(), number, &self.tables, &self.options)?;
        let memory_max = ((self.config.load_memory_mib << 20) as usize / threads).max(1 << 20);
        let mut load =
            Load::begin(&loading, &mut rules, self.std_partitions, &folder.sorting(), memory_max).await?;
        if !backlog.read(&self.client, &self.config, &mut load, shutdown).await? {
            return Ok(None);
        }
        let (label, mut told) = (number.to_string(), Instant::now());
        let mut counted = 0;
        let places = |places: u64| {
            metrics::counter!("yibiao_loaded_places_total", "shard" => label.clone())
                .increment(places - std::mem::replace(&mut counted, places));
            if told.elapsed() >= TOLD_EVERY {
                tracing::info!(shard = number, places, "first load: places are merged");
                told = Instant::now();
            }
            if shutdown.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let applied = load.finish(&mut rules, places).await?;
        if let (Some(_), Some(deed)) = (&applied, deed) {
            deed.note_loaded(&loading)?;
        }
        Ok(applied)
    }
}
