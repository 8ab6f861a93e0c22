//! One seed: everything that runs, and a scheduler that picks who takes the next step.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use yibiao_contracts::Door;
use yibiao_fusion::Rules;
use yibiao_normalise::{gazetteer::Edition, resolve::Places, state::State};
use yibiao_state::Store;

use crate::{
    connector::Connector,
    fuser::Fuser,
    normaliser::{Around, Did, Limits, Process, Switches},
    replayer::Replayer,
    setup::{Feed, Setup},
    source,
    step::{Event, Step, Weights},
    topics::{At, Message, Producer, Topics},
};

/// A seed that does not come to its end in so many steps is stuck.
const STEPS_MAX: usize = 20_000;
/// Until then there are faults, where the sources are not done before.
const TROUBLED_MAX: usize = 1_500;
const START_MS: i64 = 1_763_000_000_000;
const ZOMBIES_MAX: usize = 3;

/// What one thread gives to each of its seeds.
pub struct Tools<'a> {
    pub setup: &'a Setup,
    pub doors: &'a mut [Door],
    pub places: &'a mut Places,
    pub rules: &'a mut Rules,
    /// Empty.
    pub state: State,
    /// Empty ones, as many as there may be std partitions.
    pub stores: &'a [Store],
}

pub struct World<'a> {
    pub setup: &'a Setup,
    pub topics: Topics,
    pub connectors: Vec<Connector>,
    pub process: Process,
    pub fusers: Vec<Fuser>,
    pub switches: Switches,
    pub events: BTreeMap<Event, u64>,
    pub trace: Option<Vec<String>>,
    pub limits: Limits,
    pub steps: usize,
    zombies: Vec<Process>,
    /// What dead producers had on its way.
    ghosts: Vec<Producer>,
    replayer: Replayer,
    gazetteer: Option<Arc<Edition>>,
    weights: Weights,
    rng: ChaCha8Rng,
    now_ms: i64,
    places: &'a mut Places,
    rules: &'a mut Rules,
    processes: usize,
}

impl<'a> World<'a> {
    pub async fn new(seed: u64, tools: Tools<'a>, traces: bool) -> Result<Self> {
        let Tools { setup, doors, places, rules, state, stores } = tools;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let limits = Limits {
            std_partitions: rng.random_range(1..=stores.len() as u32),
            frame_facts_max: rng.random_range(1..=5),
            batch_records_max: rng.random_range(1..=12),
        };
        let weights = Weights::draw(&mut rng);
        let scripts = source::scripts(setup, doors, &mut rng);
        let provenance = |feed| source::provenance(setup, feed);
        let connectors =
            scripts.into_iter().enumerate().map(|(feed, script)| Connector::new(script, provenance(feed)));
        let topics = Topics::default();
        let mut fusers = Vec::new();
        for (number, store) in (0..limits.std_partitions).zip(stores) {
            let std_topics = setup.feeds.iter().map(|feed| feed.std_topic.clone());
            let fuser = Fuser::open(store, number, limits.std_partitions, &setup.tables, std_topics, rules);
            fusers.push(fuser.await?);
        }
        Ok(Self {
            process: Process::open(setup, &state, limits, &topics, 0)?,
            connectors: connectors.collect(),
            setup,
            topics,
            fusers,
            switches: Switches::new(),
            events: BTreeMap::new(),
            trace: traces.then(|| vec![format!("{limits:?} {weights:?}")]),
            limits,
            steps: 0,
            zombies: Vec::new(),
            ghosts: Vec::new(),
            replayer: Replayer::default(),
            gazetteer: None,
            weights,
            rng,
            now_ms: START_MS,
            places,
            rules,
            processes: 1,
        })
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
        if self.gazetteer.is_none() {
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
        Ok(())
    }

    /// Draws one of the steps that are possible now; None where there is none.
    fn pick(&mut self, troubled: bool) -> Option<Step> {
        let mut steps: Vec<(u32, Step)> = Vec::with_capacity(32);
        for (feed, connector) in self.connectors.iter().enumerate() {
            let w = &self.weights;
            steps.extend(connector.has_more().then_some((w.send, Step::Send(feed))));
            steps.extend(connector.can_save().then_some((6, Step::SaveCursor(feed))));
        }
        let producers = self.producers().filter(|producer| !producer.is_acknowledged()).count();
        steps.extend((producers > 0).then_some((self.weights.append, Step::Append)));
        let workers = |process: &Process| {
            let ready = |w: usize| process.workers[w].is_ready(&self.topics, self.gazetteer.as_ref());
            (0..process.workers.len()).filter(|&w| ready(w)).collect::<Vec<_>>()
        };
        steps.extend(workers(&self.process).into_iter().map(|w| (self.weights.work, Step::Work(w))));
        for (z, zombie) in self.zombies.iter().enumerate() {
            let moving = workers(zombie).into_iter().filter(|&w| !zombie.workers[w].is_idle());
            steps.extend(moving.map(|w| (self.weights.wake, Step::Wake(z, w))));
        }
        let ready = self.fusers.iter().enumerate().filter(|(_, fuser)| fuser.is_ready(&self.topics));
        steps.extend(ready.map(|(f, _)| (self.weights.fuse, Step::Fuse(f))));
        steps.extend(self.replayer.can_save().then_some((4, Step::SaveReplay)));
        if troubled {
            self.add_faults(&mut steps);
        }
        let total: u32 = steps.iter().map(|(weight, _)| weight).sum();
        let mut drawn = (total > 0).then(|| self.rng.random_range(0..total))?;
        steps.into_iter().find_map(|(weight, step)| match drawn.checked_sub(weight) {
            Some(rest) => {
                drawn = rest;
                None
            }
            None => Some(step),
        })
    }

    fn add_faults(&self, steps: &mut Vec<(u32, Step)>) {
        let w = &self.weights;
        steps.push((w.publish, Step::Publish));
        for (feed, connector) in self.connectors.iter().enumerate() {
            steps.extend(connector.is_at_work().then_some((w.kill_connector, Step::KillConnector(feed))));
            steps.extend(self.replayer.is_idle().then_some((w.replay, Step::Replay(feed))));
        }
        steps.extend((!self.replayer.is_idle()).then_some((w.kill_replay, Step::KillReplay)));
        steps.push((w.kill, Step::Kill));
        let is_at_a_batch = self.process.workers.iter().any(|worker| !worker.is_idle());
        steps.extend((is_at_a_batch && self.zombies.len() < ZOMBIES_MAX).then_some((w.pause, Step::Pause)));
        steps.push((w.repeat, Step::Repeat));
        for fuser in 0..self.fusers.len() {
            steps.push((w.kill_fuser, Step::KillFuser(fuser)));
            steps.push((w.rewind, Step::Rewind(fuser)));
            steps.push((2, Step::Follow(fuser)));
            steps.push((1, Step::Trim(fuser)));
        }
    }

    fn producers(&self) -> impl Iterator<Item = &Producer> {
        let zombies = self.zombies.iter().flat_map(|zombie| &zombie.workers);
        self.connectors
            .iter()
            .map(|connector| &connector.producer)
            .chain([&self.replayer.producer])
            .chain(self.process.workers.iter().chain(zombies).map(|worker| &worker.producer))
            .chain(&self.ghosts)
    }

    fn producers_mut(&mut self) -> impl Iterator<Item = &mut Producer> {
        let zombies = self.zombies.iter_mut().flat_map(|zombie| &mut zombie.workers);
        self.connectors
            .iter_mut()
            .map(|connector| &mut connector.producer)
            .chain([&mut self.replayer.producer])
            .chain(self.process.workers.iter_mut().chain(zombies).map(|worker| &mut worker.producer))
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

    async fn take(&mut self, step: Step) -> Result<()> {
        self.steps += 1;
        ensure!(self.steps < STEPS_MAX, "no end after {STEPS_MAX} steps");
        self.now_ms += self.rng.random_range(1..=2_000);
        match step {
            Step::Send(feed) => self.send(feed),
            Step::SaveCursor(feed) => {
                self.connectors[feed].save();
                self.note(|| format!("connector {feed} saves its cursor"));
            }
            Step::KillConnector(feed) => self.kill_connector(feed),
            Step::Append => self.append(),
            Step::Publish => self.publish(),
            Step::Work(worker) => self.work(worker)?,
            Step::Wake(zombie, worker) => self.wake(zombie, worker)?,
            Step::Kill => self.kill()?,
            Step::Pause => self.pause()?,
            Step::Replay(feed) => {
                let sent = self.replayer.send(self.setup, feed, &self.topics, self.now_ms);
                self.note(|| format!("replay of feed {feed}: {sent} quarantined records"));
            }
            Step::SaveReplay => {
                self.replayer.save();
                self.note(|| "the replay saves its cursor".into());
            }
            Step::KillReplay => {
                let (lost, ghost) = self.replayer.die(&mut self.rng);
                self.ghosts.push(ghost);
                self.count(Event::ReplayKilled, 1);
                self.count(Event::MessageLost, lost as u64);
                self.note(|| format!("the replay dies, {lost} of its messages are lost"));
            }
            Step::Repeat => self.repeat(),
            Step::Fuse(fuser) => self.fuse(fuser).await?,
            Step::KillFuser(fuser) => {
                self.fusers[fuser].die(self.rules).await?;
                self.count(Event::FusionKilled, 1);
                self.note(|| format!("fusion {fuser} dies and is opened again"));
            }
            Step::Rewind(fuser) => {
                let set = self.fusers[fuser].rewind(&mut self.rng);
                self.count(Event::ReaderSetBack, 1);
                self.note(|| format!("fusion {fuser}: its reader is set back: {set:?}"));
            }
            Step::Follow(fuser) => {
                let changes = self.fusers[fuser].follow()?;
                self.note(|| format!("fusion {fuser}: {changes} changes are carried away"));
            }
            Step::Trim(fuser) => {
                let trims = self.fusers[fuser].trim()?;
                self.note(|| format!("fusion {fuser}: its change log is trimmed: {trims}"));
            }
        }
        self.ghosts.retain(|ghost| !ghost.is_acknowledged());
        Ok(())
    }

    fn send(&mut self, feed: usize) {
        let (of, now_ms): (&Feed, _) = (&self.setup.feeds[feed], self.now_ms);
        let Some(record) = self.connectors[feed].send(of, now_ms) else { return };
        let words = self.trace.is_some().then(|| {
            let value = record.value.as_deref().map(String::from_utf8_lossy);
            format!("connector {feed} sends #{} of {:?}: {value:?}", record.said.number, record.said.key)
        });
        self.note(|| words.unwrap_or_default());
    }

    fn kill_connector(&mut self, feed: usize) {
        let (lost, mut left) = self.connectors[feed].die(&mut self.rng);
        while let Some((at, message)) = left.next(&mut self.rng) {
            self.topics.append(&at, message);
        }
        self.count(Event::ConnectorKilled, 1);
        self.count(Event::MessageLost, lost as u64);
        self.note(|| format!("connector {feed} dies, {lost} of its messages are lost"));
    }

    /// Some producer's next message comes to its topic.
    fn append(&mut self) {
        let full = self.producers().filter(|producer| !producer.is_acknowledged()).count();
        let nth = self.rng.random_range(0..full.max(1));
        let mut rng = self.rng.clone();
        let next = self
            .producers_mut()
            .filter(|producer| !producer.is_acknowledged())
            .nth(nth)
            .and_then(|producer| producer.next(&mut rng));
        self.rng = rng;
        if let Some((at, message)) = next {
            self.appended(&at, message);
        }
    }

    fn appended(&mut self, at: &At, message: Rc<Message>) {
        let offset = self.topics.append(at, message);
        self.note(|| format!("{}[{}] has {offset}", at.0, at.1));
    }

    /// A message of a std topic is there once more.
    fn repeat(&mut self) {
        let all = self.topics.named("std.");
        if all.is_empty() {
            return;
        }
        let at = &all[self.rng.random_range(0..all.len())];
        let nth = self.rng.random_range(0..self.topics.of(at).len());
        let message = self.topics.of(at)[nth].clone();
        self.count(Event::MessageRepeated, 1);
        self.note(|| format!("{}[{}] repeats {nth}", at.0, at.1));
        self.appended(at, message);
    }

    /// A gazetteer is put in force: the first, then the other one.
    fn publish(&mut self) {
        let editions = &self.setup.editions;
        let is_first = self.gazetteer.as_ref().is_some_and(|current| Arc::ptr_eq(current, &editions[0]));
        let next = usize::from(is_first);
        self.gazetteer = Some(editions[next].clone());
        self.count(Event::GazetteerPublished, 1);
        self.note(|| format!("gazetteer {next} is in force"));
    }

    fn work(&mut self, worker: usize) -> Result<()> {
        let did = self.process.workers[worker].step(&mut Around {
            setup: self.setup,
            state: &self.process.state,
            topics: &self.topics,
            current: self.gazetteer.as_ref(),
            switches: &mut self.switches,
            places: self.places,
            limits: self.limits,
            now_ms: self.now_ms,
            fenced: false,
            rng: &mut self.rng,
        })?;
        if let Did::Polled { taken, held, .. } = did {
            self.count(Event::EditionTaken, taken);
            self.count(Event::EditionHeld, held);
        }
        let number = self.process.number;
        self.note(|| format!("process {number} worker {worker} {}", words(&did)));
        Ok(())
    }

    fn wake(&mut self, zombie: usize, worker: usize) -> Result<()> {
        let process = &mut self.zombies[zombie];
        let did = process.workers[worker].step(&mut Around {
            setup: self.setup,
            state: &process.state,
            topics: &self.topics,
            current: None,
            switches: &mut self.switches,
            places: self.places,
            limits: self.limits,
            now_ms: self.now_ms,
            fenced: true,
            rng: &mut self.rng,
        })?;
        let number = process.number;
        if matches!(did, Did::Refused) {
            self.count(Event::ZombieRefused, 1);
        }
        self.note(|| format!("zombie {number} worker {worker} {}", words(&did)));
        // One that has ended all that it was at.
        self.zombies.retain(|zombie| zombie.workers.iter().any(|worker| !worker.is_idle()));
        Ok(())
    }

    fn successor(&mut self) -> Result<Process> {
        let number = self.processes;
        self.processes += 1;
        Process::open(self.setup, &self.process.state, self.limits, &self.topics, number)
    }

    fn kill(&mut self) -> Result<()> {
        let next = self.successor()?;
        let dead = std::mem::replace(&mut self.process, next);
        let mut lost = 0;
        for mut worker in dead.workers {
            lost += worker.producer.cut(&mut self.rng);
            self.ghosts.push(worker.producer);
        }
        self.count(Event::NormaliserKilled, 1);
        self.count(Event::MessageLost, lost as u64);
        let number = dead.number;
        self.note(|| format!("process {number} dies, {lost} of its messages are lost; the next one starts"));
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        let next = self.successor()?;
        let paused = std::mem::replace(&mut self.process, next);
        self.count(Event::NormaliserPaused, 1);
        let number = paused.number;
        self.note(|| format!("process {number} is paused, the next one takes over"));
        self.zombies.push(paused);
        Ok(())
    }

    async fn fuse(&mut self, fuser: usize) -> Result<()> {
        let most = self.weights.fuse_messages_max;
        let applying = self.fusers[fuser].apply(&self.topics, self.rules, most, &mut self.rng);
        let (read, applied) = applying.await?;
        self.count(Event::FrameSkipped, applied.frames_skipped);
        self.count(Event::FactSkipped, applied.facts_skipped);
        let unknown = applied.facts_unknown;
        ensure!(unknown == 0, "fusion {fuser} was told to retract {unknown} facts that it does not have");
        self.count(Event::WarningChanged, applied.raised + applied.updated + applied.cleared);
        self.note(|| {
            let read: Vec<String> = read.iter().map(|(topic, offset)| format!("{topic} {offset}")).collect();
            format!(
                "fusion {fuser} applies {}: {} facts, {} skipped",
                read.join(", "),
                applied.facts,
                applied.facts_skipped
            )
        });
        Ok(())
    }
}

fn words(did: &Did) -> String {
    match did {
        Did::Polled { records, taken, held } => {
            format!("polls {records} records; {taken} shards take another gazetteer, {held} may not yet")
        }
        Did::Judged(records) => format!("judges (feed, partition, offset) {records:?}"),
        Did::Sent => "has sent everything".into(),
        Did::Acknowledged => "hears that everything is acknowledged".into(),
        Did::Committed(at) => format!("commits (feed, partition, next) {at:?}"),
        Did::Refused => "is refused its commit".into(),
    }
}
