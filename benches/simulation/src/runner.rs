//! Seed after seed, on one thread or several.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;
use yibiao_contracts::Door;
use yibiao_fusion::Rules;
use yibiao_normalise::state::State;
use yibiao_state::{Options, Store};
use yibiao_tables::Shard;

use crate::{
    compare,
    rule::Which,
    setup::Setup,
    step::Event,
    world::{Tools, World},
};

const STD_PARTITIONS_MAX: u32 = 3;
/// On which the normaliser may run, where it moves.
const MACHINES: u32 = 4;
/// After so many seeds the stores are made anew, so that their journals do not grow.
const SEEDS_A_STORE: u64 = 200;

/// What came of one seed.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// What differs, or which step failed.
    pub failure: Option<String>,
    pub steps: usize,
    /// Raw records that were normalised.
    pub records: u64,
    pub events: BTreeMap<Event, u64>,
    /// Every step, where it was asked for.
    pub trace: Vec<String>,
    /// The whole change log of every shard, where the trace was asked for.
    pub ended_as: String,
}

/// Runs seeds one after the other.
pub struct Runner {
    setup: Arc<Setup>,
    doors: Vec<Door>,
    no_rules: Rules,
    of_rows: Rules,
    of_silence: Rules,
    stores: Stores,
    seeds: u64,
    runtime: tokio::runtime::Runtime,
}

struct Stores {
    /// Only the first is cleared for each seed.
    states: Vec<State>,
    /// Twice as many as there are partitions.
    shards: Vec<Store>,
    dir: TempDir,
}

impl Stores {
    /// In memory, where the machine has a folder for that.
    fn new(setup: &Setup) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
        let options = Options { cache_bytes: 1 << 20, write_buffer_bytes: 8 << 20, ..Options::default() };
        let state = |nth: u32| State::open(&dir.path().join(format!("normalise-{nth}")), &options);
        let states = (0..MACHINES).map(state).collect::<Result<_, _>>()?;
        let shard = |nth: u32| -> Result<Store> {
            let number = nth % STD_PARTITIONS_MAX;
            let path = dir.path().join(format!("fusion-{nth}"));
            Ok(Shard::open(&path, number, &setup.tables, &options)?.store().clone())
        };
        let shards = (0..2 * STD_PARTITIONS_MAX).map(shard).collect::<Result<_>>()?;
        Ok(Self { states, shards, dir })
    }

    fn clear(&self) -> Result<()> {
        let mut all = self.shards.iter().chain([self.states[0].store()]);
        Ok(all.try_for_each(Store::clear)?)
    }
}

impl Runner {
    pub fn new(setup: Arc<Setup>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let rules = |which: Which| runtime.block_on(Rules::parse(which.files(), &setup.tables));
        let (no_rules, of_rows) = (rules(Which::None)?, rules(Which::Row)?);
        Ok(Self {
            doors: setup.feeds.iter().map(|feed| feed.contract.door()).collect(),
            no_rules,
            of_rows,
            of_silence: rules(Which::Silence)?,
            stores: Stores::new(&setup)?,
            seeds: 0,
            setup,
            runtime,
        })
    }

    /// # Errors
    /// The simulation itself could not run; what it finds is in the report.
    pub fn run(&mut self, seed: u64, traces: bool) -> Result<Report> {
        self.seeds += 1;
        if self.seeds.is_multiple_of(SEEDS_A_STORE) {
            self.stores = Stores::new(&self.setup)?;
        }
        self.stores.clear()?;
        let which = Which::of(seed);
        let (stores, spares) = self.stores.shards.split_at(STD_PARTITIONS_MAX as usize);
        let tools = Tools {
            setup: &self.setup,
            doors: &mut self.doors,
            rules: match which {
                Which::None => &mut self.no_rules,
                Which::Row => &mut self.of_rows,
                Which::Silence => &mut self.of_silence,
            },
            states: &self.stores.states,
            dir: self.stores.dir.path(),
            stores,
            spares,
        };
        self.runtime.block_on(async {
            let mut world = World::new(seed, tools, traces).await?;
            let outcome = world.run().await.and_then(|()| compare::all(&mut world, which));
            let records = world.process.state.shards()?.values().map(|record| record.counts.received).sum();
            let ended_as =
                traces.then(|| world.fusers.iter().map(|fuser| format!("{:?}", fuser.followed)).collect());
            Ok(Report {
                seed,
                failure: outcome.err().map(|error| format!("{error:#}")),
                steps: world.steps,
                records,
                events: world.events,
                trace: world.trace.unwrap_or_default(),
                ended_as: ended_as.unwrap_or_default(),
            })
        })
    }
}

/// Runs seeds `from` to `from + seeds` on `threads` threads, and hands over what comes of each, in any order.
pub fn run_many(
    setup: &Arc<Setup>,
    from: u64,
    seeds: u64,
    threads: usize,
    told: impl Fn(Report) + Sync,
) -> Result<()> {
    let next = AtomicU64::new(from);
    let broken: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let work = || -> Result<()> {
                    let mut runner = Runner::new(setup.clone())?;
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= from + seeds {
                            return Ok(());
                        }
                        told(runner.run(seed, false).with_context(|| format!("seed {seed}"))?);
                    }
                };
                if let Err(error) = work() {
                    broken.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
                }
            });
        }
    });
    broken.into_inner().map_err(|_| anyhow!("a thread panicked"))?.map_or(Ok(()), Err)
}
