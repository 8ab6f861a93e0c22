//! What asks again after another gazetteer, as `crates/normalise/src/revise.rs` does it, step by step.
//!
//! ```text
//!  a shard has taken a gazetteer ─► the real walk over the state ─► all sent ─► acknowledged ─► noted in the state
//! ```

use std::sync::Arc;

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use yibiao_normalise::{
    gazetteer::Edition,
    revise::walk::Walk,
    source::PlaceSource,
    state::{ShardId, ShardPrefix, ShardRecord, State},
};

use crate::{
    setup::{RAW_PARTITIONS, Setup},
    topics::{About, At, Message, Producer, Topics},
};

const ADDRESSES_KEPT: usize = 64;

/// One process's.
pub struct Reviser {
    shards: Vec<Revised>,
    pub producer: Producer,
    phase: Phase,
}

struct Revised {
    feed: usize,
    raw: At,
    id: ShardId,
    /// The change of gazetteer after which nothing was left to be asked.
    after: Option<String>,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Walked {
        shard: usize,
        revision: String,
        offsets: Vec<i64>,
    },
    Sent {
        shard: usize,
        revision: String,
    },
}

/// What a step did.
pub enum Did {
    /// Feed, raw partition and offsets.
    Walked(usize, i32, Vec<i64>),
    Sent(usize),
    Noted,
    Refused,
}

impl Reviser {
    pub fn open(setup: &Setup, state: &State) -> Result<Self> {
        let mut shards = Vec::new();
        for (feed, of) in setup.feeds.iter().enumerate() {
            for partition in 0..RAW_PARTITIONS[feed] {
                if !of.source.needs_gazetteer() {
                    continue;
                }
                let id = ShardId { feed: of.contract.feed.clone(), partition };
                let after = state.revised(&id)?;
                shards.push(Revised { feed, raw: (of.raw_topic.clone(), partition), id, after });
            }
        }
        Ok(Self { shards, producer: Producer::default(), phase: Phase::Idle })
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Whether there is something to do. `in_force` tells what a shard has committed.
    pub fn is_ready<'a>(&self, in_force: impl Fn(usize, i32) -> Option<&'a ShardRecord>) -> bool {
        match &self.phase {
            Phase::Idle => self.next(in_force).is_some(),
            Phase::Walked { .. } => true,
            Phase::Sent { .. } => self.producer.is_acknowledged(),
        }
    }

    /// The next shard, its change of gazetteer, and the gazetteer.
    fn next<'a>(
        &self,
        in_force: impl Fn(usize, i32) -> Option<&'a ShardRecord>,
    ) -> Option<(usize, String, &'a str)> {
        let mut shards = self.shards.iter().enumerate();
        shards.find_map(|(index, shard)| {
            let record = in_force(shard.feed, shard.raw.1)?;
            let revision = record.revision().filter(|revision| shard.after.as_ref() != Some(revision))?;
            Some((index, revision, record.gazetteer_version.as_deref()?))
        })
    }

    /// One step on. `fenced`: another process owns the state by now.
    pub fn step<'a>(
        &mut self,
        setup: &Setup,
        state: &State,
        topics: &Topics,
        in_force: impl Fn(usize, i32) -> Option<&'a ShardRecord>,
        fenced: bool,
        now_ms: i64,
    ) -> Result<Option<Did>> {
        match std::mem::take(&mut self.phase) {
            Phase::Idle => {
                let Some((shard, revision, version)) = self.next(in_force) else { return Ok(None) };
                let of = &self.shards[shard];
                let edition = setup.editions.iter().find(|edition| edition.version() == version);
                let offsets = walk(setup, state, of, edition.context("an edition of the setup")?)?;
                let did = Did::Walked(of.feed, of.raw.1, offsets.clone());
                self.phase = Phase::Walked { shard, revision, offsets };
                Ok(Some(did))
            }
            Phase::Walked { shard, revision, offsets } => {
                let of = &self.shards[shard];
                for offset in &offsets {
                    let first = topics.of(&of.raw).get(*offset as usize).context("a raw record")?;
                    let About::Raw { provenance, said, .. } = &first.about else { continue };
                    let about = About::Raw {
                        provenance: provenance.clone(),
                        origin: Some(*offset),
                        revised: true,
                        said: said.clone(),
                    };
                    let (key, value) = (first.key.clone(), first.value.clone());
                    self.producer.send(of.raw.clone(), Message { timestamp_ms: now_ms, key, value, about });
                }
                self.phase = Phase::Sent { shard, revision };
                Ok(Some(Did::Sent(offsets.len())))
            }
            Phase::Sent { .. } if fenced => Ok(Some(Did::Refused)),
            Phase::Sent { shard, revision } => {
                let mut commit = state.begin();
                commit.revised(&self.shards[shard].id, &revision);
                commit.commit()?;
                self.shards[shard].after = Some(revision);
                Ok(Some(Did::Noted))
            }
        }
    }

    /// Dies. What was on its way may still come.
    pub fn die(mut self, rng: &mut ChaCha8Rng) -> (usize, Producer) {
        (self.producer.cut(rng), self.producer)
    }
}

fn walk(setup: &Setup, state: &State, of: &Revised, edition: &Arc<Edition>) -> Result<Vec<i64>> {
    let PlaceSource::Resolves(resolves) = &setup.feeds[of.feed].source else { return Ok(Vec::new()) };
    let (mut walk, mut all) = (Walk::default(), Vec::new());
    while !walk.is_at_end() {
        let offsets;
        (walk, offsets) = walk.go_on(state, ShardPrefix::new(&of.id), resolves, edition, ADDRESSES_KEPT)?;
        all.extend(offsets);
    }
    Ok(all)
}
