//! One process's normaliser that moves (docs/adr/0015), step by step as the stage and its custody take them
//! (`crates/normalise/src/{run,announce}.rs`, `crates/yibiao/src/pipeline/custody.rs`).
//!
//! ```text
//!  start ─► gazetteers copied ─► state copied ─► uploaded ─► the next epoch ─► announced to each partition ─► acknowledged ─┐
//!            ▲                                    from here on places are defined   from here on addresses are resolved    │
//!            └──────────────────────────── another gazetteer is in force here ◄───────────────────────────────────────────┘
//! ```
//!
//! Between any two of them the process may die, or be paused. A paused one goes on beside its successor, on its own disk,
//! until it dies, or is refused at its next checkpoint, or reads of a gazetteer that it does not have.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use yibiao_normalise::announce::Announcement;
use yibiao_tables::{
    Error,
    checkpoint::{Owner, Uploads},
};

use crate::{
    machines::{Copied, First, Folder, Machine, Machines, Taken},
    setup::{JUSTICE, POWER, RAW_PARTITIONS, Setup},
    topics::{About, Message, Producer},
};

/// The worker of those that define places; it does not wait for a gazetteer.
const DEFINES: usize = 0;

pub struct Keeping {
    pub machine: Machine,
    owner: Owner,
    uploads: Uploads,
    pub producer: Producer,
    phase: Phase,
    /// Announced last.
    told: Option<usize>,
    is_founded: bool,
    resolves: bool,
    /// Of a paused process: after so many steps it dies.
    pub steps_left: usize,
}

enum Phase {
    /// The edition is announced once the copy counts.
    Begun(Option<usize>),
    GazetteersCopied(Option<usize>, Folder),
    StateCopied(Option<usize>, Copied),
    Uploaded(Option<usize>, First),
    Founded(usize),
    Announced,
    /// There is no gazetteer yet, or no newer one.
    Idle,
}

/// What a step did.
#[derive(Debug)]
pub enum Did {
    /// The shards that had none may take this edition, before all else.
    Begun(usize),
    Copied,
    Uploaded,
    Founded(u64),
    Announced(usize),
    Acknowledged,
    /// Somebody else has the normaliser.
    Revoked,
}

impl Keeping {
    pub fn new(machine: Machine, taken: Taken) -> Self {
        Self {
            phase: Phase::Begun(machine.folder.current),
            machine,
            owner: taken.owner,
            uploads: Uploads::default(),
            producer: Producer::default(),
            told: None,
            is_founded: false,
            resolves: false,
            steps_left: 0,
        }
    }

    pub fn gazetteers(&self) -> &BTreeSet<usize> {
        &self.machine.folder.has
    }

    pub fn has(&self, setup: &Setup, version: &str) -> bool {
        setup.edition(version).is_some_and(|edition| self.machine.folder.has.contains(&edition))
    }

    /// The edition in force here.
    pub fn current(&self) -> Option<usize> {
        self.machine.folder.current
    }

    /// A builder has made this one.
    pub fn publish(&mut self, edition: usize) {
        let Folder { has, current } = &mut self.machine.folder;
        has.insert(edition);
        *current = Some(edition);
    }

    /// Whether what it knows can be had again from a checkpoint that counts.
    pub fn is_founded(&self) -> bool {
        self.is_founded
    }

    pub fn may_work(&self, worker: usize) -> bool {
        if worker == DEFINES { self.is_founded } else { self.resolves }
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Its checkpoint counts, and what is announced under it is not sent.
    pub fn is_about_to_announce(&self) -> bool {
        matches!(self.phase, Phase::Founded(_))
    }

    /// Whether a checkpoint may be made beside what it does: one at a time.
    pub fn can_checkpoint(&self) -> bool {
        matches!(self.phase, Phase::Founded(_) | Phase::Announced | Phase::Idle)
    }

    pub fn is_ready(&self) -> bool {
        match self.phase {
            Phase::Announced => self.producer.is_acknowledged(),
            Phase::Idle => self.current() != self.told,
            _ => true,
        }
    }

    /// One step on; after [`Did::Begun`] the shards are to begin with that edition.
    pub async fn step(&mut self, setup: &Setup, machines: &mut Machines, now_ms: i64) -> Result<Did> {
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        let (phase, did) = match phase {
            Phase::Begun(edition) => match self.owner.check().await {
                Ok(()) => (Phase::GazetteersCopied(edition, self.machine.folder.clone()), Did::Copied),
                Err(error) => return revoked(error),
            },
            Phase::GazetteersCopied(edition, folder) => {
                let copied = Copied::of(setup, &self.machine.state, folder)?;
                (Phase::StateCopied(edition, copied), Did::Copied)
            }
            Phase::StateCopied(edition, copied) => {
                let resolves = copied.resolves.clone();
                match machines.upload(&mut self.uploads, &self.owner, copied).await {
                    Ok(()) => (Phase::Uploaded(edition, resolves), Did::Uploaded),
                    Err(error) => return revoked(error),
                }
            }
            Phase::Uploaded(edition, resolves) => {
                match machines.renew(&self.owner, &self.machine.state).await {
                    Ok(owner) => self.owner = owner,
                    Err(error) => return revoked(error.downcast()?),
                }
                self.is_founded = true;
                for (of, edition) in resolves {
                    machines.first.entry(of).or_insert(edition);
                }
                (edition.map_or(Phase::Idle, Phase::Founded), Did::Founded(self.owner.epoch()))
            }
            Phase::Founded(edition) => {
                self.announce(setup, edition, now_ms);
                (Phase::Announced, Did::Announced(edition))
            }
            Phase::Announced => {
                self.resolves = true;
                (Phase::Idle, Did::Acknowledged)
            }
            Phase::Idle => {
                let edition = self.current().context("a gazetteer")?;
                (Phase::Begun(Some(edition)), Did::Begun(edition))
            }
        };
        self.phase = phase;
        Ok(did)
    }

    /// A checkpoint that names no epoch.
    pub async fn checkpoint(&mut self, setup: &Setup, machines: &mut Machines) -> Result<Did> {
        let copied = Copied::of(setup, &self.machine.state, self.machine.folder.clone())?;
        match machines.upload(&mut self.uploads, &self.owner, copied).await {
            Ok(()) => Ok(Did::Uploaded),
            Err(error) => revoked(error),
        }
    }

    fn announce(&mut self, setup: &Setup, edition: usize, now_ms: i64) {
        let version = setup.editions[edition].version();
        let said = Announcement { epoch: self.owner.epoch(), version }.to_string();
        for feed in [POWER, JUSTICE] {
            for partition in 0..RAW_PARTITIONS[feed] {
                let about = About::Announced { header: said.clone().into_bytes() };
                let message = Message { timestamp_ms: now_ms, key: Vec::new(), value: None, about };
                self.producer.send((setup.feeds[feed].raw_topic.clone(), partition), message);
            }
        }
        self.told = Some(edition);
    }
}

fn revoked(error: Error) -> Result<Did> {
    match error {
        Error::Revoked { .. } => Ok(Did::Revoked),
        error => Err(error.into()),
    }
}
