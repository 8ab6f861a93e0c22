//! What happens to a normaliser that moves: it dies with or without its disk, goes on elsewhere, is paused and goes on beside
//! its successor.

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;

use super::World;
use crate::{
    keeping::{Did, Keeping},
    machines::Machine,
    normaliser::{Process, Worker},
    step::{Event, Step},
};

/// A paused process takes at most so many steps.
const ZOMBIE_STEPS_MAX: usize = 200;

impl World<'_> {
    /// Starts a process that takes the normaliser, with this contract if nothing is owed by the other.
    pub(super) async fn start_on(&mut self, mut machine: Machine, strict: bool) -> Result<Process> {
        let number = self.processes;
        self.processes += 1;
        let machines = self.machines.as_mut().context("machines")?;
        let dies = self.rng.random_range(0..8) == 0;
        if dies {
            machines.take(&mut machine, true).await?;
        }
        let taken = machines.take(&mut machine, false).await?.context("the normaliser")?;
        self.count(Event::StateRestored, u64::from(taken.is_restored));
        let (on, is_restored) = (machine.number, taken.is_restored);
        self.note(|| format!("process {number} starts on machine {on}; it died before: {dies}; from a checkpoint: {is_restored}"));
        let state = machine.state.clone();
        let open = |strict| Process::open(self.setup, &state, self.limits, &self.topics, number, strict);
        let mut process = open(strict)?;
        if process.is_owed_by_another_contract(&self.topics) {
            process = open(!strict)?;
            ensure!(!process.is_owed_by_another_contract(&self.topics), "neither contract may be taken");
        }
        let edition = machine.folder.current;
        process.keeping = Some(Keeping::new(machine, taken));
        process.begin(self.setup, edition)?;
        Ok(process)
    }

    /// It dies. Its disk may be lost, or its machine away for longer.
    pub(super) async fn kill_moving(&mut self) -> Result<()> {
        let machine = self.next_machine()?;
        let next = self.start_on(machine, self.process.strict).await?;
        let dead = std::mem::replace(&mut self.process, next);
        let number = dead.number;
        let lost = self.bury(dead);
        self.count(Event::NormaliserKilled, 1);
        self.note(|| format!("process {number} died, {lost} of its messages are lost"));
        Ok(())
    }

    /// Where the next process starts: here, with the disk or without, or elsewhere.
    fn next_machine(&mut self) -> Result<Machine> {
        let mut machine = self.process.keeping.as_ref().context("a machine")?.machine.clone();
        let (before, drawn) = (machine.number, self.rng.random_range(0..3));
        let machines = self.machines.as_mut().context("machines")?;
        if drawn == 1 {
            machine.lose()?;
        } else if drawn == 2 {
            machines.free.push(machine);
            machine = machines.free.swap_remove(self.rng.random_range(0..machines.free.len()));
        }
        self.count(Event::NormaliserMoved, u64::from(before != machine.number));
        Ok(machine)
    }

    /// Whether it is the only one, has read what all before it may have read, and is in the midst of nothing.
    fn can_change_contract(&self) -> bool {
        let has_read = |(feed, partition, next): (usize, i32, i64)| {
            self.read_by_others.get(&(feed, partition)).is_none_or(|end| next >= *end)
        };
        let Process { workers, keeping, .. } = &self.process;
        self.zombies.is_empty()
            && keeping.as_ref().is_some_and(Keeping::is_idle)
            && workers.iter().all(Worker::is_idle)
            && self.process.positions().into_iter().all(has_read)
    }

    /// It stops in order, and the next process has another contract.
    pub(super) async fn upgrade_moving(&mut self) -> Result<()> {
        self.process.rest()?;
        self.save().await?;
        let machine = self.next_machine()?;
        let strict = !self.process.strict;
        let next = self.start_on(machine, strict).await?;
        let is_taken = next.strict == strict;
        for (feed, partition, next) in next.positions().into_iter().filter(|_| is_taken) {
            self.contracts.entry((feed, partition)).or_default().push((next, usize::from(strict)));
        }
        let stopped = std::mem::replace(&mut self.process, next);
        self.lose(stopped.reviser);
        self.count(if is_taken { Event::ContractChanged } else { Event::ContractRefused }, 1);
        self.note(|| {
            format!(
                "the process stops, the next one has the stricter contract: {strict}; if it may: {is_taken}"
            )
        });
        Ok(())
    }

    /// How many messages are lost with it.
    fn bury(&mut self, dead: Process) -> usize {
        let Process { workers, reviser, keeping, .. } = dead;
        let mut lost = self.lose(reviser);
        let keeping = keeping.map(|keeping| keeping.producer);
        for mut producer in workers.into_iter().map(|worker| worker.producer).chain(keeping) {
            lost += producer.cut(&mut self.rng);
            self.ghosts.push(producer);
        }
        self.count(Event::MessageLost, lost as u64);
        lost
    }

    pub(super) async fn pause_moving(&mut self) -> Result<()> {
        let machines = self.machines.as_mut().context("machines")?;
        let nth = self.rng.random_range(0..machines.free.len());
        let machine = machines.free.swap_remove(nth);
        let next = self.start_on(machine, self.process.strict).await?;
        let mut paused = std::mem::replace(&mut self.process, next);
        let steps = self.rng.random_range(1..=ZOMBIE_STEPS_MAX);
        if let Some(keeping) = &mut paused.keeping {
            keeping.steps_left = steps;
        }
        self.count(Event::NormaliserPaused, 1);
        self.count(Event::NormaliserMoved, 1);
        let number = paused.number;
        self.note(|| format!("process {number} is paused, the next one takes over"));
        self.zombies.push(paused);
        Ok(())
    }

    /// A step towards a checkpoint that counts, or towards what is announced under it.
    pub(super) async fn keep(&mut self) -> Result<()> {
        let machines = self.machines.as_mut().context("machines")?;
        let keeping = self.process.keeping.as_mut().context("a normaliser that moves")?;
        let did = keeping.step(self.setup, machines, self.now_ms).await?;
        if let Did::Begun(edition) = did {
            self.process.begin(self.setup, Some(edition))?;
        }
        self.kept(&did)
    }

    /// A checkpoint from time to time.
    pub(super) async fn save(&mut self) -> Result<()> {
        let machines = self.machines.as_mut().context("machines")?;
        let keeping = self.process.keeping.as_mut().context("a normaliser that moves")?;
        let did = keeping.checkpoint(self.setup, machines).await?;
        self.kept(&did)
    }

    fn kept(&mut self, did: &Did) -> Result<()> {
        self.count(Event::NormaliserSaved, u64::from(matches!(did, Did::Uploaded)));
        let number = self.process.number;
        self.note(|| format!("process {number} keeps its state: {did:?}"));
        if matches!(did, Did::Revoked) {
            bail!("process {number} has the normaliser, and is refused");
        }
        Ok(())
    }

    /// The same of a paused process, which may also build a gazetteer, or make a checkpoint.
    pub(super) async fn wake_keeping(&mut self, zombie: usize) -> Result<()> {
        let machines = self.machines.as_mut().context("machines")?;
        let process = &mut self.zombies[zombie];
        let number = process.number;
        let keeping = process.keeping.as_mut().context("a normaliser that moves")?;
        let did = match keeping.is_ready() {
            true => keeping.step(self.setup, machines, self.now_ms).await?,
            false if self.rng.random() => {
                keeping.publish(self.rng.random_range(0..self.setup.editions.len()));
                self.note(|| format!("zombie {number} builds a gazetteer"));
                return self.tire(zombie);
            }
            false => keeping.checkpoint(self.setup, machines).await?,
        };
        if let Did::Begun(edition) = did {
            process.begin(self.setup, Some(edition))?;
        }
        self.count(Event::ZombieAnnounced, u64::from(matches!(did, Did::Announced(_))));
        self.note(|| format!("zombie {number} keeps its state: {did:?}"));
        if matches!(did, Did::Revoked) {
            self.count(Event::NormaliserRevoked, 1);
            return self.end(zombie);
        }
        self.tire(zombie)
    }

    /// It has taken a step.
    pub(super) fn tire(&mut self, zombie: usize) -> Result<()> {
        let Some(keeping) = &mut self.zombies[zombie].keeping else { return Ok(()) };
        keeping.steps_left = keeping.steps_left.saturating_sub(1);
        if keeping.steps_left == 0 { self.end(zombie) } else { Ok(()) }
    }

    /// A paused process ends; its machine can be used again.
    pub(super) fn end(&mut self, zombie: usize) -> Result<()> {
        let ended = self.zombies.swap_remove(zombie);
        let number = ended.number;
        if let (Some(keeping), Some(machines)) = (&ended.keeping, &mut self.machines) {
            machines.free.push(keeping.machine.clone());
        }
        let ends = ended.positions().into_iter().map(|(feed, partition, _)| {
            let raw = (self.setup.feeds[feed].raw_topic.clone(), partition);
            ((feed, partition), self.topics.end(&raw))
        });
        self.read_by_others = ends.collect();
        let lost = self.bury(ended);
        self.count(Event::ZombieEnded, 1);
        self.note(|| format!("zombie {number} ends, {lost} of its messages are lost"));
        Ok(())
    }

    pub(super) fn publish_here(&mut self) {
        let (Some(keeping), editions) = (&mut self.process.keeping, self.setup.editions.len()) else {
            return;
        };
        let next = match keeping.current() {
            Some(current) => (current + 1) % editions,
            None => self.rng.random_range(0..editions),
        };
        keeping.publish(next);
        self.count(Event::GazetteerPublished, 1);
        let number = self.process.number;
        self.note(|| format!("process {number} has built gazetteer {next}"));
    }

    /// What may happen next where the normaliser moves.
    pub(super) fn add_moving(&self, steps: &mut Vec<(u32, Step)>, troubled: bool) {
        let Some(keeping) = &self.process.keeping else { return };
        let w = &self.weights;
        steps.extend(keeping.is_ready().then_some((w.revise, Step::Keep)));
        for (z, zombie) in self.zombies.iter().enumerate() {
            let Some(keeping) = &zombie.keeping else { continue };
            // Else it would be refused before it has done much.
            let seldom = if keeping.is_about_to_announce() { w.wake } else { 1 };
            let wakes = keeping.is_ready() || troubled && keeping.is_idle();
            steps.extend(wakes.then_some((seldom, Step::WakeKeeping(z))));
        }
        if !troubled {
            return;
        }
        // Rather while something may be owed by the present one.
        let upgrade = if self.process.is_at_rest() { w.upgrade } else { 10 * w.upgrade };
        steps.extend(self.can_change_contract().then_some((upgrade, Step::Upgrade)));
        // Of which those that are paused know nothing.
        let is_new = if keeping.gazetteers().len() == 1 { 40 } else { 4 };
        steps.extend((!self.zombies.is_empty() && keeping.is_idle()).then_some((is_new, Step::Publish)));
        steps.extend(keeping.can_checkpoint().then_some((10, Step::Save)));
        let is_free = self.machines.as_ref().is_some_and(|machines| !machines.free.is_empty());
        let is_critical = keeping.is_about_to_announce() && is_free;
        steps.extend(is_critical.then_some((10 * w.pause, Step::Pause)));
    }
}
