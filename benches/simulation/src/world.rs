//! One seed: everything that runs, and a scheduler that picks who takes the next step.

mod actions;
mod moving;
mod schedule;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use yibiao_contracts::Door;
use yibiao_fusion::Rules;
use yibiao_normalise::{gazetteer::Edition, state::State};
use yibiao_state::Store;

use crate::{
    connector::Connector,
    custody::Custody,
    fuser::Fuser,
    keeping::Keeping,
    machines::Machines,
    normaliser::{Limits, Process, Switches},
    replayer::Replayer,
    setup::Setup,
    source,
    step::{Event, Step, Weights},
    topics::{Producer, Topics},
};

/// Until then there are faults, where the sources are not done before.
const TROUBLED_MAX: usize = 1_500;
const START_MS: i64 = 1_763_000_000_000;

/// What one thread gives to each of its seeds.
pub struct Tools<'a> {
    pub setup: &'a Setup,
    pub doors: &'a mut [Door],
    pub rules: &'a mut Rules,
    /// The first is empty. The others are for where the normaliser moves to.
    pub states: &'a [State],
    /// For files on their way.
    pub dir: &'a Path,
    /// Empty ones, as many as there may be std partitions.
    pub stores: &'a [Store],
    /// As many more, for where shards move to.
    pub spares: &'a [Store],
}

pub struct World<'a> {
    pub setup: &'a Setup,
    pub topics: Topics,
    pub connectors: Vec<Connector>,
    pub process: Process,
    pub fusers: Vec<Fuser>,
    pub switches: Switches,
    /// From where on records were read by which contract: 1 is the stricter.
    pub contracts: Switches,
    /// Set where the normaliser moves.
    pub machines: Option<Machines>,
    pub events: BTreeMap<Event, u64>,
    pub trace: Option<Vec<String>>,
    pub limits: Limits,
    pub steps: usize,
    zombies: Vec<Process>,
    /// By feed and raw partition: as far as paused processes may have come.
    read_by_others: BTreeMap<(usize, i32), i64>,
    /// What dead producers had on its way.
    ghosts: Vec<Producer>,
    replayer: Replayer,
    gazetteer: Option<Arc<Edition>>,
    weights: Weights,
    rng: ChaCha8Rng,
    now_ms: i64,
    rules: &'a mut Rules,
    processes: usize,
}

impl<'a> World<'a> {
    pub async fn new(seed: u64, tools: Tools<'a>, traces: bool) -> Result<Self> {
        let Tools { setup, doors, rules, states, dir, stores, spares } = tools;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let limits = Limits {
            std_partitions: rng.random_range(1..=stores.len() as u32),
            frame_facts_max: rng.random_range(1..=5),
            batch_records_max: rng.random_range(1..=12),
            sweep_records_max: rng.random_range(1..=4),
            timers_max: rng.random_range(1..=3),
        };
        let weights = Weights::draw(&mut rng);
        let scripts = source::scripts(setup, doors, &mut rng);
        let topics = Topics::default();
        let mut fusers = Vec::new();
        for (number, (store, spare)) in (0..limits.std_partitions).zip(stores.iter().zip(spares)) {
            let std_topics = setup.feeds.iter().map(|feed| feed.std_topic.clone());
            let custody = weights.moves.then(|| Custody::new(spare)).transpose()?;
            let fuser = Fuser::open(store, number, limits, &setup.tables, std_topics, rules, custody);
            fusers.push(fuser.await?);
        }
        let mut world = Self {
            process: Process::open(setup, &states[0], limits, &topics, 0, false)?,
            connectors: scripts.into_iter().map(Connector::new).collect(),
            setup,
            topics,
            fusers,
            switches: Switches::new(),
            contracts: Switches::new(),
            machines: weights.wanders.then(|| Machines::new(states, dir)).transpose()?,
            events: BTreeMap::new(),
            trace: traces.then(|| vec![format!("{limits:?} {weights:?}")]),
            limits,
            steps: 0,
            zombies: Vec::new(),
            read_by_others: BTreeMap::new(),
            ghosts: Vec::new(),
            replayer: Replayer::default(),
            gazetteer: None,
            weights,
            rng,
            now_ms: START_MS,
            rules,
            processes: 1,
        };
        if let Some(machines) = &mut world.machines {
            let machine = machines.free.swap_remove(0);
            world.process = world.start_on(machine, false).await?;
        }
        Ok(world)
    }

    /// Runs with faults until everything was said and a while longer, then without until nothing is left to do.
    pub async fn run(&mut self) -> Result<()> {
        let troubled = self.rng.random_range(100..=500);
        while self.steps < troubled
            || self.steps < TROUBLED_MAX && self.connectors.iter().any(Connector::has_more)
        {
            let Some(step) = self.pick(true) else { break };
            self.take(step).await?;
        }
        self.note(|| "calm from here on".into());
        let current = self.process.keeping.as_ref().and_then(Keeping::current);
        if self.gazetteer.is_none() && current.is_none() {
            self.take(Step::Publish).await?;
        }
        if self.weights.replays_at_end && self.replayer.is_idle() {
            for feed in 0..self.setup.feeds.len() {
                self.take(Step::Replay(feed)).await?;
                while let Some(step) = self.pick(false) {
                    self.take(step).await?;
                }
            }
        }
        while let Some(step) = self.pick(false) {
            self.take(step).await?;
        }
        self.open_again().await
    }

    /// Everything dies and is opened once more: there must be nothing left to do.
    async fn open_again(&mut self) -> Result<()> {
        self.take(Step::Kill).await?;
        // One that moves has to found and to announce first, and may judge again.
        while let Some(step) = self.machines.is_some().then(|| self.pick(false)).flatten() {
            self.take(step).await?;
        }
        for fuser in 0..self.fusers.len() {
            self.take(Step::KillFuser(fuser)).await?;
        }
        // Clocks are looked at once after a start.
        for fuser in &mut self.fusers {
            let number = fuser.number;
            ensure!(!fuser.has_waiting(&self.topics), "opened once more, fusion {number} has more to read");
            let (_, applied) = fuser.apply(&self.topics, self.rules, 1, &mut self.rng).await?;
            let moves = (applied.frames, applied.timers, applied.changes) != (0, 0, 0);
            ensure!(!moves, "opened once more, fusion {number} does {applied:?}");
        }
        let left = self.pick(false);
        ensure!(left.is_none(), "opened once more, there is something left to do: {left:?}");
        Ok(())
    }

    fn producers(&self) -> impl Iterator<Item = &Producer> {
        let of_processes = self.zombies.iter().chain([&self.process]).flat_map(|process| {
            let workers = process.workers.iter().map(|worker| &worker.producer);
            let keeping = process.keeping.iter().map(|keeping| &keeping.producer);
            workers.chain([&process.reviser.producer]).chain(keeping)
        });
        self.connectors
            .iter()
            .map(|connector| &connector.producer)
            .chain([&self.replayer.producer])
            .chain(of_processes)
            .chain(&self.ghosts)
    }

    fn producers_mut(&mut self) -> impl Iterator<Item = &mut Producer> {
        let processes = self.zombies.iter_mut().chain([&mut self.process]);
        let of_processes = processes.flat_map(|process| {
            let workers = process.workers.iter_mut().map(|worker| &mut worker.producer);
            let keeping = process.keeping.iter_mut().map(|keeping| &mut keeping.producer);
            workers.chain([&mut process.reviser.producer]).chain(keeping)
        });
        self.connectors
            .iter_mut()
            .map(|connector| &mut connector.producer)
            .chain([&mut self.replayer.producer])
            .chain(of_processes)
            .chain(&mut self.ghosts)
    }

    pub fn note(&mut self, words: impl FnOnce() -> String) {
        let number = self.steps;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{number:5}  {}", words()));
        }
    }

    pub fn count(&mut self, event: Event, times: u64) {
        if times > 0 {
            *self.events.entry(event).or_default() += times;
        }
    }
}
