//! Shards that move (docs/adr/0010): the real owners, tails and making of batches again, on an object store in memory.
//!
//! ```text
//!  apply ─► announce (still the owner? ends into the tail) ─► carry away, unless the lake is fenced
//!  checkpoint: all that is in the store, at one batch
//!  move: the next epoch, the tail closed, the checkpoint in another store, the tail's batches made again
//! ```
//!
//! Two things are made up here: a checkpoint is a copy of the pairs and not of the engine's files, and the lake with its
//! fence is a list that takes what the highest epoch brings. `crates/fusion/tests/moving.rs` has both as they are.

use anyhow::{Result, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use yibiao_fusion::{Applier, Rules, replay};
use yibiao_records::{Change, NextOffset};
use yibiao_state::{Bytes, Keyspace, Store};
use yibiao_tables::{Error, Shard, Tables, checkpoint::Checkpoints, lake::ChangeSource};

use crate::{
    fuser::{Fuser, incoming},
    normaliser::Limits,
    topics::Topics,
};

/// What a shard needs to move.
pub struct Custody {
    checkpoints: Checkpoints,
    /// The store of the machine that does not have the shard.
    spare: Store,
    /// The newest checkpoint of an owner that was not revoked.
    saved: Vec<(Keyspace, Bytes, Bytes)>,
    claims: u64,
    /// Changes that were announced, and are not in the lake yet.
    announced: Vec<Change>,
    /// Who had the shard before, and does not know yet.
    zombie: Option<Zombie>,
}

/// A process that was paused and lost its shard.
struct Zombie {
    applier: Applier,
    /// It was about to commit these, or had just seen that the shard is its own.
    is_committing: bool,
}

/// What became of a step of a zombie.
#[derive(Debug)]
pub enum Woken {
    Applied,
    /// Its commit, or its next announcement, was refused.
    Refused,
    /// It had looked whether the shard is its own before it was paused, and put ends into the tail.
    Late(usize),
}

impl Custody {
    pub fn new(spare: &Store) -> Result<Self> {
        Ok(Self {
            checkpoints: Checkpoints::open("memory:///")?,
            spare: spare.clone(),
            saved: Vec::new(),
            claims: 0,
            announced: Vec::new(),
            zombie: None,
        })
    }

    /// Takes the next epoch for the state in this store. What was announced may come to the lake before it is fenced.
    async fn take(&mut self, shard: &Shard) -> Result<()> {
        self.claims += 1;
        let claim = format!("claim {}", self.claims);
        let (owner, _) = self.checkpoints.take(shard.number(), &claim).await?;
        let tail = owner.take_over_tail(shard.view().last_batch()?).await?;
        Ok(shard.take_custody(owner, &claim, tail)?)
    }

    fn land(&mut self, lake: &mut Vec<Change>, rng: &mut ChaCha8Rng) {
        let landed = std::mem::take(&mut self.announced);
        if rng.random() {
            lake.extend(landed);
        }
    }
}

/// Opens a shard as a process does, and makes its tail's batches again. How many.
pub async fn open(
    store: &Store,
    number: u32,
    limits: Limits,
    tables: &Tables,
    topics: &Topics,
    rules: &mut Rules,
    custody: Option<&mut Custody>,
) -> Result<(Applier, usize)> {
    let shard = Shard::over(store.clone(), number, tables)?;
    if let Some(custody) = custody {
        custody.take(&shard).await?;
    }
    let mut applier = Applier::new(&shard, limits.std_partitions)?;
    let tail = shard.take_tail();
    if !tail.is_empty() {
        replay::check(&applier, rules, &tail)?;
    }
    for end in &tail {
        let mut read = Vec::new();
        // In another order than at first.
        for (of, next) in end.positions.iter().rev() {
            let from = applier.position(of).map_or(0, NextOffset::get);
            read.extend((from..next.get()).map(|offset| (of.topic.clone(), offset)));
        }
        replay::again(&mut applier, rules, end, &incoming(topics, number, &read)).await?;
    }
    applier.limit_timers(limits.timers_max);
    applier.refresh(rules).await?;
    Ok((applier, tail.len()))
}

impl Fuser {
    /// Carries away what is new in the change log: announces it first, and in another step brings it to the lake. How many
    /// changes came to the lake.
    pub async fn carry(&mut self) -> Result<usize> {
        let after = self.followed.last().map_or(0, |change| change.sequence);
        let Some(custody) = &mut self.custody else { return self.follow() };
        if !custody.announced.is_empty() {
            let landed = std::mem::take(&mut custody.announced);
            let count = landed.len();
            self.followed.extend(landed);
            return Ok(count);
        }
        let view = self.applier.shard().view();
        ChangeSource::announce(self.applier.shard(), &view).await?;
        custody.announced = view.outbox(after).collect::<Result<_, _>>()?;
        Ok(0)
    }

    /// Copies the state. How many pairs.
    pub fn checkpoint(&mut self) -> Result<usize> {
        let Some(custody) = &mut self.custody else { return Ok(0) };
        custody.saved = self.store.pairs().collect::<Result<_, _>>()?;
        Ok(custody.saved.len())
    }

    /// Another machine takes the shard, from the checkpoint; whoever has it is paused. How many batches were made again.
    pub async fn go_elsewhere(
        &mut self,
        topics: &Topics,
        rules: &mut Rules,
        rng: &mut ChaCha8Rng,
    ) -> Result<usize> {
        let Some(custody) = &mut self.custody else { return Ok(0) };
        let is_committing = !custody.announced.is_empty();
        custody.land(&mut self.followed, rng);
        custody.zombie = None;
        custody.spare.clear()?;
        let mut batch = custody.spare.batch();
        for (keyspace, key, value) in &custody.saved {
            batch.put(*keyspace, key.clone(), value.clone());
        }
        batch.commit()?;
        std::mem::swap(&mut custody.spare, &mut self.store);
        let tables = self.applier.shard().tables().clone();
        let opening =
            open(&self.store, self.number, self.limits, &tables, topics, rules, Some(&mut *custody));
        let (applier, made) = opening.await?;
        let applier = std::mem::replace(&mut self.applier, applier);
        custody.zombie = Some(Zombie { applier, is_committing });
        self.trimmed = 0;
        self.read_from_state();
        Ok(made)
    }

    pub fn has_zombie(&self) -> bool {
        self.custody.as_ref().is_some_and(|custody| custody.zombie.is_some())
    }

    /// A step of the process that had the shard before: it applies a message, or comes to where it is refused.
    pub async fn wake_zombie(
        &mut self,
        topics: &Topics,
        rules: &mut Rules,
        rng: &mut ChaCha8Rng,
    ) -> Result<Woken> {
        let taken = self.custody.as_mut().and_then(|custody| custody.zombie.take());
        let Some(mut zombie) = taken else { return Ok(Woken::Refused) };
        if rng.random() {
            let mut read = Vec::new();
            for topic in self.topics() {
                let at = (topic.clone(), self.number as i32);
                let of = yibiao_records::TopicPartition::new(topic.clone(), self.number as i32);
                let next = zombie.applier.position(&of).map_or(0, NextOffset::get);
                read.extend((next < topics.end(&at)).then_some((topic, next)));
            }
            zombie.applier.apply(rules, &incoming(topics, self.number, &read)).await?;
            if let Some(custody) = &mut self.custody {
                custody.zombie = Some(zombie);
            }
            return Ok(Woken::Applied);
        }
        let shard = zombie.applier.shard();
        let view = shard.view();
        if let Some(owner) = shard.owner().filter(|_| !zombie.is_committing && rng.random()) {
            let ends = view.ends(owner.tailed())?;
            owner.append_tail(&ends).await?;
            return Ok(Woken::Late(ends.len()));
        }
        let announced = ChangeSource::announce(shard, &view).await;
        let is_refused = matches!(announced, Err(Error::Revoked { .. }));
        ensure!(is_refused, "who lost shard {} may write it: {announced:?}", self.number);
        Ok(Woken::Refused)
    }

    /// Before it dies: what was announced may have come to the lake.
    pub(crate) fn lose_announced(&mut self, rng: &mut ChaCha8Rng) {
        if let Some(custody) = &mut self.custody {
            custody.land(&mut self.followed, rng);
        }
    }
}
