//! A fusion shard: the real applier over the real state, reading its std topics in any order; and who follows its
//! change log, as the projection does.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use yibiao_fusion::{Applied, Applier, Incoming, Rules};
use yibiao_records::{Change, NextOffset, TopicPartition};
use yibiao_state::Store;
use yibiao_tables::{Shard, Tables};

use crate::topics::{About, At, Topics};

pub struct Fuser {
    pub number: u32,
    store: Store,
    std_partitions: u32,
    pub applier: Applier,
    /// By std topic: what is read next.
    readers: BTreeMap<Arc<str>, i64>,
    /// The change log as it was carried away.
    pub followed: Vec<Change>,
    trimmed: u64,
}

impl Fuser {
    pub async fn open(
        store: &Store,
        number: u32,
        std_partitions: u32,
        tables: &Tables,
        topics: impl Iterator<Item = Arc<str>>,
        rules: &mut Rules,
    ) -> Result<Self> {
        let shard = Shard::over(store.clone(), number, tables)?;
        let mut applier = Applier::new(&shard, std_partitions)?;
        applier.refresh(rules).await?;
        let readers = topics.map(|topic| (topic, 0)).collect();
        let mut fuser = Self {
            number,
            store: store.clone(),
            std_partitions,
            applier,
            readers,
            followed: Vec::new(),
            trimmed: 0,
        };
        fuser.read_from_state();
        Ok(fuser)
    }

    fn read_from_state(&mut self) {
        for (topic, next) in &mut self.readers {
            let at = TopicPartition::new(topic.clone(), self.number as i32);
            *next = self.applier.position(&at).map_or(0, NextOffset::get);
        }
    }

    /// Dies, and is opened again from what it committed.
    pub async fn die(&mut self, rules: &mut Rules) -> Result<()> {
        let shard = Shard::over(self.store.clone(), self.number, self.applier.shard().tables())?;
        self.applier = Applier::new(&shard, self.std_partitions)?;
        self.applier.refresh(rules).await?;
        self.read_from_state();
        Ok(())
    }

    fn at(&self, topic: &Arc<str>) -> At {
        (topic.clone(), self.number as i32)
    }

    pub fn is_ready(&self, topics: &Topics) -> bool {
        self.readers.iter().any(|(topic, next)| *next < topics.end(&self.at(topic)))
    }

    /// Sets the reader of some topic back.
    pub fn rewind(&mut self, rng: &mut ChaCha8Rng) -> Option<(Arc<str>, i64)> {
        let nth = rng.random_range(0..self.readers.len());
        let (topic, next) = self.readers.iter_mut().nth(nth)?;
        *next = (*next - rng.random_range(1..=4)).max(0);
        Some((topic.clone(), *next))
    }

    /// Reads some messages, of any of its topics, and applies them in one batch.
    pub async fn apply(
        &mut self,
        topics: &Topics,
        rules: &mut Rules,
        most: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<(Vec<(Arc<str>, i64)>, Applied)> {
        let mut read = Vec::new();
        for _ in 0..rng.random_range(1..=most) {
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
        let incoming: Vec<Incoming<'_>> = read
            .iter()
            .map(|(topic, offset)| {
                let message = &topics.of(&self.at(topic))[*offset as usize];
                let header = match &message.about {
                    About::Frame { header } => Some(header.as_slice()),
                    _ => None,
                };
                Incoming {
                    topic,
                    partition: self.number as i32,
                    offset: *offset,
                    timestamp_ms: message.timestamp_ms,
                    header,
                    value: message.value.as_deref(),
                }
            })
            .collect();
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
