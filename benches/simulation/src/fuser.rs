//! A fusion shard: the real applier over the real state, reading its std topics in any order; and who follows its
//! change log, as the projection does.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Result, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use yibiao_fusion::{Applied, Applier, Incoming, Rules};
use yibiao_records::{Change, NextOffset, TopicPartition};
use yibiao_state::Store;
use yibiao_tables::Tables;

use crate::{
    custody::{self, Custody},
    normaliser::Limits,
    topics::{About, At, Topics},
};

pub struct Fuser {
    pub number: u32,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    /// Where it moves.
    pub custody: Option<Custody>,
    pub applier: Applier,
    /// By std topic: what is read next.
    readers: BTreeMap<Arc<str>, i64>,
    /// The change log as it was carried away.
    pub followed: Vec<Change>,
    pub(crate) trimmed: u64,
}

impl Fuser {
    pub async fn open(
        store: &Store,
        number: u32,
        limits: Limits,
        tables: &Tables,
        std_topics: impl Iterator<Item = Arc<str>>,
        rules: &mut Rules,
        mut custody: Option<Custody>,
    ) -> Result<Self> {
        let topics = Topics::default();
        let opening = custody::open(store, number, limits, tables, &topics, rules, custody.as_mut());
        let (applier, _) = opening.await?;
        let readers = std_topics.map(|topic| (topic, 0)).collect();
        let store = store.clone();
        let followed = Vec::new();
        let mut fuser = Self { number, store, limits, custody, applier, readers, followed, trimmed: 0 };
        fuser.read_from_state();
        Ok(fuser)
    }

    pub(crate) fn read_from_state(&mut self) {
        for (topic, next) in &mut self.readers {
            let at = TopicPartition::new(topic.clone(), self.number as i32);
            *next = self.applier.position(&at).map_or(0, NextOffset::get);
        }
    }

    /// Dies, and is opened again from what it committed.
    pub async fn die(&mut self, topics: &Topics, rules: &mut Rules, rng: &mut ChaCha8Rng) -> Result<()> {
        self.lose_announced(rng);
        let tables = self.applier.shard().tables().clone();
        let (number, custody) = (self.number, self.custody.as_mut());
        let opening = custody::open(&self.store, number, self.limits, &tables, topics, rules, custody);
        let (applier, made) = opening.await?;
        ensure!(made == 0, "{made} batches are made again by the process that has them");
        self.applier = applier;
        self.read_from_state();
        Ok(())
    }

    pub fn topics(&self) -> Vec<Arc<str>> {
        self.readers.keys().cloned().collect()
    }

    fn at(&self, topic: &Arc<str>) -> At {
        (topic.clone(), self.number as i32)
    }

    /// Whether messages wait, or timers are due, which do not wait for one.
    pub fn is_ready(&self, topics: &Topics) -> bool {
        self.applier.is_due() || self.has_waiting(topics)
    }

    pub fn has_waiting(&self, topics: &Topics) -> bool {
        self.readers.iter().any(|(topic, next)| *next < topics.end(&self.at(topic)))
    }

    /// Sets the reader of some topic back.
    pub fn rewind(&mut self, rng: &mut ChaCha8Rng) -> Option<(Arc<str>, i64)> {
        let nth = rng.random_range(0..self.readers.len());
        let (topic, next) = self.readers.iter_mut().nth(nth)?;
        *next = (*next - rng.random_range(1..=4)).max(0);
        Some((topic.clone(), *next))
    }

    /// Reads some messages, of any of its topics, and applies them in one batch; none, where timers are due.
    pub async fn apply(
        &mut self,
        topics: &Topics,
        rules: &mut Rules,
        most: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<(Vec<(Arc<str>, i64)>, Applied)> {
        let mut read = Vec::new();
        let least = usize::from(!self.applier.is_due());
        for _ in 0..rng.random_range(least..=most) {
            let waiting: Vec<Arc<str>> = self
                .readers
                .iter()
                .filter(|(topic, next)| **next < topics.end(&self.at(topic)))
                .map(|(topic, _)| topic.clone())
                .collect();
            if waiting.is_empty() {
                break;
            }
            let topic = waiting[rng.random_range(0..waiting.len())].clone();
            let Some(next) = self.readers.get_mut(&topic) else { break };
            read.push((topic, *next));
            *next += 1;
        }
        let incoming = incoming(topics, self.number, &read);
        let applied = self.applier.apply(rules, &incoming).await?;
        Ok((read, applied))
    }

    /// Carries away what is new in the change log. How many changes.
    pub fn follow(&mut self) -> Result<usize> {
        let after = self.followed.last().map_or(0, |change| change.sequence);
        let before = self.followed.len();
        for change in self.applier.shard().view().outbox(after) {
            self.followed.push(change?);
        }
        Ok(self.followed.len() - before)
    }

    /// Has the shard forget what was carried away.
    pub fn trim(&mut self) -> Result<bool> {
        let through = self.followed.last().map_or(0, |change| change.sequence);
        if through == self.trimmed {
            return Ok(false);
        }
        self.trimmed = through;
        self.applier.shard().trim_outbox(through)?;
        Ok(true)
    }
}

/// Messages of this shard's partition of std topics.
pub fn incoming<'a>(topics: &'a Topics, shard: u32, read: &'a [(Arc<str>, i64)]) -> Vec<Incoming<'a>> {
    let one = |(topic, offset): &'a (Arc<str>, i64)| {
        let message = &topics.of(&(topic.clone(), shard as i32))[*offset as usize];
        let header = match &message.about {
            About::Frame { header } => Some(header.as_slice()),
            _ => None,
        };
        Incoming {
            topic,
            partition: shard as i32,
            offset: *offset,
            timestamp_ms: message.timestamp_ms,
            header,
            value: message.value.as_deref(),
        }
    };
    read.iter().map(one).collect()
}
