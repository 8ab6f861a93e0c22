//! The normaliser's process: the real shards over the real state, step by step as a worker takes them
//! (`crates/normalise/src/run/worker.rs`).
//!
//! ```text
//!  poll ─► take a newer gazetteer, commit that ─► judge, sending ─► all sent ─► acknowledged ─► commit
//!                                                   ▲ up to the end of a dump, then that                │
//!                                                   └───────────── rounds, as long as anything is left ─┘
//! ```
//!
//! Between any two steps it may die, or be paused. A paused one wakes up beside its successor and ends the batch that
//! it was at: its messages are sent, its commit is refused.

mod resting;
mod sending;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use anyhow::{Context, Result};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use yibiao_normalise::{
    Error,
    announce::Announcement,
    gazetteer::Edition,
    resolve::Places,
    same::Same,
    shard::{FrameLimits, Shard},
    state::{ShardId, ShardRecord, State},
};
use yibiao_records::NextOffset;

use crate::{
    keeping::Keeping,
    reviser::{self, Reviser},
    setup::{JUSTICE, POLICE, POWER, RAW_PARTITIONS, Setup},
    topics::{At, Message, Producer, Topics},
};
use sending::{Sending, raw, stands_alone};

/// Which feeds each worker has: those that define places, and those that resolve addresses.
const WORKERS: [&[usize]; 2] = [&[POLICE], &[POWER, JUSTICE]];
const ADDRESSES_KEPT: usize = 256;
/// Few, so that some are forgotten for others.
const RECORDS_KEPT: usize = 24;

pub struct Process {
    pub number: usize,
    pub workers: Vec<Worker>,
    pub reviser: Reviser,
    pub state: State,
    /// It runs with the stricter contract.
    pub strict: bool,
    /// Set where the normaliser moves.
    pub keeping: Option<Keeping>,
}

/// From where a process knows which gazetteer is in force.
#[derive(Clone, Copy)]
pub enum Gazetteers<'a> {
    /// This one is, from the next batch on.
    Current(Option<&'a Arc<Edition>>),
    /// The raw topics say, and the process has these.
    Announced(&'a BTreeSet<usize>),
}

pub struct Worker {
    shards: Vec<Owned>,
    pub producer: Producer,
    places: Places,
    same: Same,
    phase: Phase,
}

/// A shard with the place to which its reader came.
struct Owned {
    feed: usize,
    raw: At,
    shard: Shard,
    reader: i64,
    part: Vec<(i64, Rc<Message>)>,
    /// How many of the part were taken in the rounds before.
    taken: usize,
    /// How many are judged in this round; 0: the end of a dump, an announcement, or nothing is left.
    run: usize,
    /// Something of this round is to be committed.
    is_in_round: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Judging {
        shard: usize,
        record: usize,
    },
    /// Everything is sent.
    Sent,
    Acknowledged,
}

/// What a worker's step sees.
pub struct Around<'a> {
    pub setup: &'a Setup,
    pub state: &'a State,
    pub topics: &'a Topics,
    pub gazetteers: Gazetteers<'a>,
    pub switches: &'a mut Switches,
    pub limits: Limits,
    pub now_ms: i64,
    /// Another process owns the state by now.
    pub fenced: bool,
    pub rng: &'a mut ChaCha8Rng,
}

/// What a step did.
pub enum Did {
    /// How many records, and how many shards took another gazetteer, or may not yet.
    Polled {
        records: usize,
        taken: u64,
        held: u64,
    },
    /// Records: feed, raw partition and offset.
    Judged(Vec<(usize, i32, i64)>),
    /// An announcement, at feed, raw partition and offset; whether the shard took another gazetteer.
    Passed((usize, i32, i64), bool),
    /// An announcement of a gazetteer that the process does not have, at which it ends.
    Lacks((usize, i32, i64)),
    Sent,
    Acknowledged,
    /// Where the shards stand: feed, partition, next offset.
    Committed(Vec<(usize, i32, i64)>),
    Refused,
}

/// The limits that a seed draws.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub std_partitions: u32,
    pub frame_facts_max: usize,
    pub batch_records_max: usize,
    pub sweep_records_max: usize,
    pub timers_max: usize,
}

/// By feed and raw partition: from which offset on it resolved by which edition.
pub type Switches = BTreeMap<(usize, i32), Vec<(i64, usize)>>;

impl Process {
    /// As it starts: every shard where its last commit left it.
    pub fn open(
        setup: &Setup,
        state: &State,
        limits: Limits,
        topics: &Topics,
        number: usize,
        strict: bool,
    ) -> Result<Self> {
        let mut workers = Vec::new();
        for feeds in WORKERS {
            let mut shards = Vec::new();
            for &feed in feeds {
                for partition in 0..RAW_PARTITIONS[feed] {
                    let raw = (setup.feeds[feed].raw_topic.clone(), partition);
                    let mut owned = Owned::open(setup, state, limits, feed, raw, strict)?;
                    owned.hold(setup, topics)?;
                    shards.push(owned);
                }
            }
            let (producer, places) = (Producer::default(), Places::new(ADDRESSES_KEPT));
            let same = Same::new(RECORDS_KEPT);
            workers.push(Worker { shards, producer, places, same, phase: Phase::Idle });
        }
        let reviser = Reviser::open(setup, state)?;
        Ok(Self { number, workers, reviser, state: state.clone(), strict, keeping: None })
    }

    /// Whether nothing that was ever sent may still come that was not committed: then another contract may be taken.
    pub fn is_at_rest(&self) -> bool {
        let held = |owned: &Owned| owned.shard.record.next < owned.shard.held_until;
        self.workers.iter().all(|worker| worker.is_idle() && !worker.shards.iter().any(held))
    }

    /// Whether it is in the midst of something.
    pub fn is_at_work(&self) -> bool {
        !self.reviser.is_idle() || self.workers.iter().any(|worker| !worker.is_idle())
    }

    /// Which workers have something to do.
    pub fn ready(&self, topics: &Topics, current: Option<&Arc<Edition>>) -> Vec<usize> {
        let gazetteers = self.gazetteers(current);
        let may_work = |w: &usize| self.keeping.as_ref().is_none_or(|keeping| keeping.may_work(*w));
        let is_ready = |w: &usize| may_work(w) && self.workers[*w].is_ready(topics, gazetteers);
        (0..self.workers.len()).filter(is_ready).collect()
    }

    /// `current` is in force where the normaliser does not move.
    pub fn gazetteers<'a>(&'a self, current: Option<&'a Arc<Edition>>) -> Gazetteers<'a> {
        gazetteers(self.keeping.as_ref(), current)
    }

    /// Whether some record is to be asked again.
    pub fn can_revise(&self) -> bool {
        let may_work = self.keeping.as_ref().is_none_or(Keeping::is_founded);
        may_work && self.reviser.is_ready(in_force(&self.workers))
    }

    /// One step of what asks again.
    pub fn revise(
        &mut self,
        setup: &Setup,
        topics: &Topics,
        fenced: bool,
        now_ms: i64,
    ) -> Result<Option<reviser::Did>> {
        let Self { reviser, workers, state, .. } = self;
        reviser.step(setup, state, topics, in_force(workers), fenced, now_ms)
    }

    /// Where the shards stand: feed, raw partition, next offset.
    pub fn positions(&self) -> Vec<(usize, i32, i64)> {
        let shards = self.workers.iter().flat_map(|worker| &worker.shards);
        shards.map(|owned| (owned.feed, owned.raw.1, owned.shard.record.next.get())).collect()
    }
}

pub fn gazetteers<'a>(keeping: Option<&'a Keeping>, current: Option<&'a Arc<Edition>>) -> Gazetteers<'a> {
    keeping.map_or(Gazetteers::Current(current), |keeping| Gazetteers::Announced(keeping.gazetteers()))
}

/// What a shard of a feed's raw partition has committed of its gazetteer.
fn in_force<'a>(workers: &'a [Worker]) -> impl Fn(usize, i32) -> Option<&'a ShardRecord> {
    move |feed, partition| {
        let mut shards = workers.iter().flat_map(|worker| &worker.shards);
        shards.find(|owned| owned.feed == feed && owned.raw.1 == partition).map(|owned| &owned.shard.record)
    }
}

impl Owned {
    fn open(
        setup: &Setup,
        state: &State,
        limits: Limits,
        feed: usize,
        raw: At,
        strict: bool,
    ) -> Result<Self> {
        let of = &setup.feeds[feed];
        let record = state.shard(&ShardId { feed: of.contract.feed.clone(), partition: raw.1 })?;
        let reader = record.next.get();
        let frames = FrameLimits { std_partitions: limits.std_partitions, facts_max: limits.frame_facts_max };
        let contract = of.contract_of(strict);
        let mut shard = Shard::new(contract, of.source.clone(), &setup.kinds, raw.1, record, frames)?;
        shard.limit_sweep(limits.sweep_records_max);
        Ok(Self { feed, raw, shard, reader, part: Vec::new(), taken: 0, run: 0, is_in_round: false })
    }

    /// Whether this gazetteer is another one than its own, and it is not held.
    fn may_take(&self, gazetteer: Option<&Arc<Edition>>) -> bool {
        let Some(current) = gazetteer else { return false };
        let own = self.shard.edition.as_ref();
        let is_held = own.is_some() && self.shard.record.next < self.shard.held_until;
        !is_held && own.is_none_or(|own| !Arc::ptr_eq(own, current))
    }

    /// Goes on under the gazetteer of the last commit, up to the end that there is now.
    fn hold(&mut self, setup: &Setup, topics: &Topics) -> Result<()> {
        let end = NextOffset::new(topics.end(&self.raw)).unwrap_or_default();
        self.shard.begin_before(end);
        let version = self.shard.record.gazetteer_version.as_deref();
        if let Some(version) = version.filter(|_| self.shard.source.needs_gazetteer()) {
            let edition = setup.editions.iter().find(|edition| edition.version() == version);
            self.shard.edition = Some(edition.context("the edition of the last commit")?.clone());
            self.shard.held_until = end;
        }
        Ok(())
    }
}

impl Worker {
    /// Whether there is something to do.
    fn is_ready(&self, topics: &Topics, gazetteers: Gazetteers<'_>) -> bool {
        match self.phase {
            Phase::Idle => self.shards.iter().any(|owned| {
                let needs = owned.shard.source.needs_gazetteer();
                let waiting = owned.reader < topics.end(&owned.raw);
                match gazetteers {
                    Gazetteers::Announced(_) => waiting,
                    Gazetteers::Current(current) => {
                        waiting && (current.is_some() || !needs) || needs && owned.may_take(current)
                    }
                }
            }),
            Phase::Judging { .. } | Phase::Acknowledged => true,
            Phase::Sent => self.producer.is_acknowledged(),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// One step on.
    pub fn step(&mut self, around: &mut Around<'_>) -> Result<Did> {
        match self.phase {
            Phase::Idle => {
                let records = self.poll(around);
                let (taken, held) = self.take_editions(around)?;
                // What is known is read with the poll: a process that lost its state reads nothing.
                self.begin_round(around.state)?;
                Ok(Did::Polled { records, taken, held })
            }
            Phase::Judging { shard, record } => self.judge(around, shard, record),
            Phase::Sent => {
                self.phase = Phase::Acknowledged;
                Ok(Did::Acknowledged)
            }
            Phase::Acknowledged => {
                self.phase = Phase::Idle;
                if around.fenced { Ok(Did::Refused) } else { self.commit(around.state) }
            }
        }
    }

    /// Each shard's records up to the end of a dump or an announcement, or that.
    fn begin_round(&mut self, state: &State) -> Result<()> {
        for owned in self.shards.iter_mut().filter(|owned| owned.taken < owned.part.len()) {
            let rest = &owned.part[owned.taken..];
            owned.run = rest.iter().position(stands_alone).unwrap_or(rest.len());
            let records = rest[..owned.run].iter().map(|(offset, message)| raw(*offset, message));
            owned.shard.begin(state, &self.same, records)?;
        }
        self.phase = Phase::Judging { shard: 0, record: 0 };
        Ok(())
    }

    fn commit(&mut self, state: &State) -> Result<Did> {
        let mut commit = state.begin();
        let mut at = Vec::new();
        for owned in self.shards.iter_mut().filter(|owned| owned.is_in_round) {
            owned.shard.write(&mut commit, &mut self.same)?;
            owned.is_in_round = false;
            at.push((owned.feed, owned.raw.1, owned.shard.record.next.get()));
        }
        commit.commit()?;
        if self.shards.iter().any(|owned| owned.taken < owned.part.len()) {
            self.begin_round(state)?;
        }
        Ok(Did::Committed(at))
    }

    /// Reads on, some of what there is, of each partition.
    fn poll(&mut self, around: &mut Around<'_>) -> usize {
        let (topics, most) = (around.topics, around.limits.batch_records_max);
        let mut room = most;
        for owned in &mut self.shards {
            let waiting = (topics.end(&owned.raw) - owned.reader) as usize;
            let taken = around.rng.random_range(0..=waiting.min(room));
            let from = owned.reader as usize;
            let messages = &topics.of(&owned.raw)[from..from + taken];
            let offsets = owned.reader..;
            owned.part = offsets.zip(messages.iter().cloned()).collect();
            (owned.taken, owned.run) = (0, 0);
            owned.reader += taken as i64;
            room -= taken;
        }
        most - room
    }

    /// How many shards took another gazetteer, and how many may not yet.
    fn take_editions(&mut self, around: &mut Around<'_>) -> Result<(u64, u64)> {
        let Gazetteers::Current(Some(current)) = around.gazetteers else { return Ok((0, 0)) };
        let (mut commit, mut taken, mut held) = (None, 0, 0);
        for owned in &mut self.shards {
            if owned.shard.take_edition(current) {
                let edition = around.setup.editions.iter().position(|edition| Arc::ptr_eq(edition, current));
                let from = (owned.shard.record.next.get(), edition.context("an edition of the setup")?);
                around.switches.entry((owned.feed, owned.raw.1)).or_default().push(from);
                commit
                    .get_or_insert_with(|| around.state.begin())
                    .shard(&owned.shard.id, &owned.shard.record);
                taken += 1;
            } else if owned.shard.edition.as_ref().is_some_and(|edition| !Arc::ptr_eq(edition, current)) {
                held += 1;
            }
        }
        commit.map_or(Ok(()), |commit| commit.commit())?;
        Ok((taken, held))
    }

    /// Some records of one shard; behind its last, what is left in its frames.
    fn judge(&mut self, around: &mut Around<'_>, shard: usize, record: usize) -> Result<Did> {
        let Some(owned) = self.shards.get_mut(shard) else {
            self.phase = Phase::Sent;
            return Ok(Did::Sent);
        };
        let mut outlet = Sending {
            setup: around.setup,
            feed: owned.feed,
            producer: &mut self.producer,
            now_ms: around.now_ms,
        };
        let records = around.rng.random_range(1..=4);
        let mut judged = Vec::new();
        let run = &owned.part[owned.taken..owned.taken + owned.run];
        for (offset, message) in run.iter().skip(record).take(records) {
            owned.shard.take(&raw(*offset, message), around.state, &mut self.places, &mut outlet)?;
            judged.push((owned.feed, owned.raw.1, *offset));
        }
        let record = record + judged.len();
        if record < owned.run {
            self.phase = Phase::Judging { shard, record };
            return Ok(Did::Judged(judged));
        }
        self.phase = Phase::Judging { shard: shard + 1, record: 0 };
        let Some((offset, end)) = owned.part.get(owned.taken) else { return Ok(Did::Judged(judged)) };
        if owned.run == 0 && around.fenced {
            // What it would compare the dump with is in a state that it has no more.
            self.phase = Phase::Idle;
            return Ok(Did::Refused);
        }
        let mut did = None;
        if owned.run == 0 {
            let (record, at) = (raw(*offset, end), (owned.feed, owned.raw.1, *offset));
            let is_done = match record.announces() {
                Some(said) => {
                    match pass_announcement(around.setup, around.gazetteers, &mut owned.shard, *offset, said)?
                    {
                        Some(took) => did = Some(Did::Passed(at, took)),
                        None => return Ok(Did::Lacks(at)),
                    }
                    true
                }
                None => owned.shard.end_dump(&record, around.state, &mut outlet)?,
            };
            judged.push(at);
            owned.taken += usize::from(is_done);
        }
        owned.taken += std::mem::take(&mut owned.run);
        owned.is_in_round = true;
        owned.shard.finish(&mut outlet)?;
        Ok(did.unwrap_or(Did::Judged(judged)))
    }
}

/// Whether the shard took another gazetteer; None where the process does not have it.
fn pass_announcement(
    setup: &Setup,
    gazetteers: Gazetteers<'_>,
    shard: &mut Shard,
    offset: i64,
    said: Announcement<'_>,
) -> Result<Option<bool>> {
    let Gazetteers::Announced(here) = gazetteers else {
        return Ok(Some(shard.pass_announcement(offset, None)?));
    };
    let mut is_lacking = false;
    let mut edition = |version: &str| {
        let mut editions = here.iter().map(|&edition| &setup.editions[edition]);
        let found = editions.find(|edition| edition.version() == version).cloned();
        is_lacking = found.is_none();
        found.ok_or(Error::Interrupted)
    };
    match shard.pass_announcement(offset, Some((said, &mut edition))) {
        Err(_) if is_lacking => Ok(None),
        took => Ok(Some(took?)),
    }
}
