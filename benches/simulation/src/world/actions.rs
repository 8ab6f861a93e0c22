//! What each step does.

use std::{rc::Rc, sync::Arc};

use anyhow::{Result, ensure};
use rand::Rng;

use super::World;
use crate::{
    custody::Woken,
    normaliser::{Around, Did, Process, gazetteers},
    reviser::{self, Reviser},
    step::{Event, Step},
    topics::{At, Message},
};

/// A seed that does not come to its end in so many steps is stuck.
const STEPS_MAX: usize = 20_000;

impl World<'_> {
    pub(super) async fn take(&mut self, step: Step) -> Result<()> {
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
            Step::Publish if self.machines.is_some() => self.publish_here(),
            Step::Publish => self.publish(),
            Step::Work(worker) => self.work(worker)?,
            Step::Revise => self.revise()?,
            Step::Wake(zombie, worker) => self.wake(zombie, worker)?,
            Step::WakeReviser(zombie) => self.wake_reviser(zombie)?,
            Step::Kill if self.machines.is_some() => self.kill_moving().await?,
            Step::Kill => self.kill()?,
            Step::Pause if self.machines.is_some() => self.pause_moving().await?,
            Step::Pause => self.pause()?,
            Step::Upgrade if self.machines.is_some() => self.upgrade_moving().await?,
            Step::Upgrade => self.upgrade()?,
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
                self.fusers[fuser].die(&self.topics, self.rules, &mut self.rng).await?;
                self.count(Event::FusionKilled, 1);
                self.note(|| format!("fusion {fuser} dies and is opened again"));
            }
            Step::Rewind(fuser) => {
                let set = self.fusers[fuser].rewind(&mut self.rng);
                self.count(Event::ReaderSetBack, 1);
                self.note(|| format!("fusion {fuser}: its reader is set back: {set:?}"));
            }
            Step::Follow(fuser) => {
                let changes = self.fusers[fuser].carry().await?;
                self.note(|| format!("fusion {fuser}: {changes} changes are carried away"));
            }
            Step::Checkpoint(fuser) => {
                let pairs = self.fusers[fuser].checkpoint()?;
                self.note(|| format!("fusion {fuser}: a checkpoint of {pairs} pairs"));
            }
            Step::Move(fuser) => {
                let moving = self.fusers[fuser].go_elsewhere(&self.topics, self.rules, &mut self.rng);
                let made = moving.await?;
                self.count(Event::ShardMoved, 1);
                self.count(Event::BatchMadeAgain, made as u64);
                self.note(|| format!("fusion {fuser} goes on elsewhere, {made} batches are made again"));
            }
            Step::WakeFuser(fuser) => {
                let waking = self.fusers[fuser].wake_zombie(&self.topics, self.rules, &mut self.rng);
                let woken = waking.await?;
                self.count(Event::OwnerRefused, u64::from(matches!(woken, Woken::Refused)));
                self.count(Event::TailLate, u64::from(matches!(woken, Woken::Late(_))));
                self.note(|| format!("fusion {fuser}, as it was before: {woken:?}"));
            }
            Step::Trim(fuser) => {
                let trims = self.fusers[fuser].trim()?;
                self.note(|| format!("fusion {fuser}: its change log is trimmed: {trims}"));
            }
            Step::Keep => self.keep().await?,
            Step::Save => self.save().await?,
            Step::WakeKeeping(zombie) => self.wake_keeping(zombie).await?,
        }
        self.ghosts.retain(|ghost| !ghost.is_acknowledged());
        Ok(())
    }

    fn send(&mut self, feed: usize) {
        let Some(record) = self.connectors[feed].send(self.setup, self.now_ms) else { return };
        let words = self.trace.is_some().then(|| {
            let value = record.value.as_deref().map(String::from_utf8_lossy);
            let (number, dump) = (record.said.number, record.said.dump);
            format!("connector {feed} sends #{number} of {:?}, dump {dump}: {value:?}", record.said.key)
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
        let process = &mut self.process;
        let did = process.workers[worker].step(&mut Around {
            setup: self.setup,
            state: &process.state,
            topics: &self.topics,
            gazetteers: gazetteers(process.keeping.as_ref(), self.gazetteer.as_ref()),
            switches: &mut self.switches,
            limits: self.limits,
            now_ms: self.now_ms,
            fenced: false,
            rng: &mut self.rng,
        })?;
        if let Did::Polled { taken, held, .. } = did {
            self.count(Event::EditionTaken, taken);
            self.count(Event::EditionHeld, held);
        }
        self.count(Event::AnnouncementObeyed, u64::from(matches!(did, Did::Passed(_, true))));
        let number = self.process.number;
        self.note(|| format!("process {number} worker {worker} {}", words(&did)));
        ensure!(!matches!(did, Did::Lacks(_)), "process {number} {}", words(&did));
        Ok(())
    }

    fn wake(&mut self, zombie: usize, worker: usize) -> Result<()> {
        let process = &mut self.zombies[zombie];
        let has_own_state = process.keeping.is_some();
        let did = process.workers[worker].step(&mut Around {
            setup: self.setup,
            state: &process.state,
            topics: &self.topics,
            gazetteers: gazetteers(process.keeping.as_ref(), None),
            switches: &mut self.switches,
            limits: self.limits,
            now_ms: self.now_ms,
            fenced: !has_own_state,
            rng: &mut self.rng,
        })?;
        let number = process.number;
        match did {
            Did::Refused => self.count(Event::ZombieRefused, 1),
            Did::Committed(_) => self.count(Event::ZombieCommitted, 1),
            Did::Lacks(_) => self.count(Event::ZombieLacking, 1),
            _ => {}
        }
        self.note(|| format!("zombie {number} worker {worker} {}", words(&did)));
        self.woke(zombie, matches!(did, Did::Lacks(_)))
    }

    /// A paused process has taken a step.
    fn woke(&mut self, zombie: usize, ends: bool) -> Result<()> {
        if self.machines.is_some() {
            return if ends { self.end(zombie) } else { self.tire(zombie) };
        }
        // One that has ended all that it was at.
        self.zombies.retain(Process::is_at_work);
        Ok(())
    }

    fn revise(&mut self) -> Result<()> {
        let did = self.process.revise(self.setup, &self.topics, false, self.now_ms)?;
        if let Some(reviser::Did::Sent(records)) = did {
            self.count(Event::RecordRevised, records as u64);
        }
        let number = self.process.number;
        self.note(|| format!("process {number} {}", did.as_ref().map_or_else(String::new, asked_again)));
        Ok(())
    }

    fn wake_reviser(&mut self, zombie: usize) -> Result<()> {
        let process = &mut self.zombies[zombie];
        let fenced = process.keeping.is_none();
        let did = process.revise(self.setup, &self.topics, fenced, self.now_ms)?;
        let number = process.number;
        self.note(|| format!("zombie {number} {}", did.as_ref().map_or_else(String::new, asked_again)));
        self.woke(zombie, false)
    }

    fn successor(&mut self) -> Result<Process> {
        let number = self.processes;
        self.processes += 1;
        Process::open(self.setup, &self.process.state, self.limits, &self.topics, number, self.process.strict)
    }

    fn kill(&mut self) -> Result<()> {
        let next = self.successor()?;
        let dead = std::mem::replace(&mut self.process, next);
        let mut lost = 0;
        for mut worker in dead.workers {
            lost += worker.producer.cut(&mut self.rng);
            self.ghosts.push(worker.producer);
        }
        lost += self.lose(dead.reviser);
        self.count(Event::NormaliserKilled, 1);
        self.count(Event::MessageLost, lost as u64);
        let number = dead.number;
        self.note(|| format!("process {number} dies, {lost} of its messages are lost; the next one starts"));
        Ok(())
    }

    /// How many of its messages never come.
    pub(super) fn lose(&mut self, reviser: Reviser) -> usize {
        let (lost, ghost) = reviser.die(&mut self.rng);
        self.ghosts.push(ghost);
        lost
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

    /// The next process has another contract.
    fn upgrade(&mut self) -> Result<()> {
        self.process.strict = !self.process.strict;
        let strict = self.process.strict;
        for (feed, partition, next) in self.process.positions() {
            self.contracts.entry((feed, partition)).or_default().push((next, usize::from(strict)));
        }
        let next = self.successor()?;
        let stopped = std::mem::replace(&mut self.process, next);
        self.lose(stopped.reviser);
        self.count(Event::ContractChanged, 1);
        self.note(|| format!("the process stops, the next one has the stricter contract: {strict}"));
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
        self.count(Event::TimerDue, applied.timers);
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

fn asked_again(did: &reviser::Did) -> String {
    match did {
        reviser::Did::Walked(feed, partition, offsets) => {
            format!("finds to be asked again of feed {feed}, partition {partition}: {offsets:?}")
        }
        reviser::Did::Sent(records) => format!("has sent {records} records again"),
        reviser::Did::Noted => "notes that nothing is left to be asked again".into(),
        reviser::Did::Refused => "may not note that nothing is left to be asked again".into(),
    }
}

fn words(did: &Did) -> String {
    match did {
        Did::Polled { records, taken, held } => {
            format!("polls {records} records; {taken} shards take another gazetteer, {held} may not yet")
        }
        Did::Judged(records) => format!("judges (feed, partition, offset) {records:?}"),
        Did::Passed(at, true) => format!("takes the gazetteer that is announced at {at:?}"),
        Did::Passed(at, false) => format!("passes an announcement at {at:?}"),
        Did::Lacks(at) => format!("does not have the gazetteer that is announced at {at:?}"),
        Did::Sent => "has sent everything".into(),
        Did::Acknowledged => "hears that everything is acknowledged".into(),
        Did::Committed(at) => format!("commits (feed, partition, next) {at:?}"),
        Did::Refused => "is refused its commit".into(),
    }
}
