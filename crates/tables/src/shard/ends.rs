//! Where the batches of a shard ended, kept until the checkpoints' store has it: with the same ends the same input gives the
//! same change log again, sequence by sequence.
//!
//! Only shards that have an owner keep them: others do not move.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;
use yibiao_records::{NextOffset, TopicPartition};

use super::{META_KEYSPACE, Shard, TRIM_MAX, View, Writer, codec};
use crate::Error;

pub(super) const BATCH: &str = "batch";
const END: &str = "end/";

/// The end of one batch that changed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct BatchEnd {
    /// From 1, dense.
    pub batch: u64,
    /// The change log's last sequence after it.
    pub sequence: u64,
    /// Of the changes, as they are stored.
    pub digest: u64,
    /// Where the partitions that it read from are read on. Empty where it read nothing: it looked at timers, or tables or
    /// rules had changed.
    pub positions: Vec<(TopicPartition, NextOffset)>,
    /// How many places it would have looked at because their timer was due. None where tables or rules had changed.
    pub timers_max: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    batch: u64,
    sequence: u64,
    digest: String,
    next: Vec<(String, i32, i64)>,
    timers_max: Option<u64>,
}

impl From<BatchEnd> for Written {
    fn from(end: BatchEnd) -> Self {
        let next =
            end.positions.into_iter().map(|(of, next)| (of.topic.to_string(), of.partition, next.get()));
        let digest = format!("{:016x}", end.digest);
        Self {
            batch: end.batch,
            sequence: end.sequence,
            digest,
            next: next.collect(),
            timers_max: end.timers_max,
        }
    }
}

impl TryFrom<Written> for BatchEnd {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let position = |(topic, partition, next): (String, i32, i64)| {
            let next = NextOffset::new(next).ok_or("an offset is negative")?;
            Ok((TopicPartition::new(topic.as_str(), partition), next))
        };
        Ok(Self {
            batch: written.batch,
            sequence: written.sequence,
            digest: u64::from_str_radix(&written.digest, 16).map_err(|e| e.to_string())?,
            positions: written.next.into_iter().map(position).collect::<Result<_, String>>()?,
            timers_max: written.timers_max,
        })
    }
}

pub(super) fn end_key(batch: u64) -> Vec<u8> {
    let mut key = END.as_bytes().to_vec();
    key.extend(batch.to_be_bytes());
    key
}

/// What a batch of an owned shard says of itself while it is written.
pub(super) struct Ending {
    digest: Box<Xxh3>,
    positions: Vec<(TopicPartition, NextOffset)>,
    timers_max: Option<u64>,
}

impl Ending {
    pub fn new() -> Self {
        Self { digest: Box::default(), positions: Vec::new(), timers_max: None }
    }

    pub fn change(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    pub fn position(&mut self, of: &TopicPartition, next: NextOffset) {
        self.positions.push((of.clone(), next));
    }

    pub fn timers_max(&mut self, timers_max: u64) {
        self.timers_max = Some(timers_max);
    }

    /// None where the batch was of no messages or timers and changed nothing: such a batch need not be made again.
    pub fn end(self, batch: u64, sequence: u64, changes: u64) -> Option<BatchEnd> {
        let is_something = changes > 0 || !self.positions.is_empty() || self.timers_max.is_some();
        is_something.then(|| BatchEnd {
            batch,
            sequence,
            digest: self.digest.digest(),
            positions: self.positions,
            timers_max: self.timers_max,
        })
    }
}

impl View {
    /// The last batch, as [`BatchEnd`] counts them; 0 where the shard never had an owner.
    pub fn last_batch(&self) -> Result<u64, Error> {
        match self.snapshot.get(META_KEYSPACE, BATCH)? {
            Some(bytes) => codec::be_u64(&bytes).map_err(|e| self.shard.corrupt("batch", e)),
            None => Ok(0),
        }
    }

    /// The ends of the batches after `after` that are still kept.
    pub fn ends(&self, after: u64) -> Result<Vec<BatchEnd>, Error> {
        let corrupt = |detail: String| self.shard.corrupt("batch end", detail);
        let pairs = self.snapshot.from(META_KEYSPACE, end_key(after + 1));
        let mut ends = Vec::new();
        for pair in pairs {
            let (key, value) = pair?;
            if !key.starts_with(END.as_bytes()) {
                break;
            }
            ends.push(serde_json::from_slice(&value).map_err(|e| corrupt(e.to_string()))?);
        }
        Ok(ends)
    }

    /// Where to go on reading.
    pub fn positions(&self) -> Result<Vec<(TopicPartition, NextOffset)>, Error> {
        let pairs = self.snapshot.prefix(super::POSITIONS_KEYSPACE, b"");
        pairs.map(|pair| pair.map_err(Error::from).and_then(|pair| self.shard.position_from(&pair))).collect()
    }
}

impl Shard {
    /// Forgets the ends up to and including batch `through`.
    pub(super) fn trim_ends(&self, through: u64) -> Result<(), Error> {
        loop {
            let mut batch = self.inner.store.batch();
            for pair in self.inner.store.prefix(META_KEYSPACE, END).take(TRIM_MAX) {
                let (key, _) = pair?;
                if key.as_ref() > end_key(through).as_slice() {
                    break;
                }
                batch.delete(META_KEYSPACE, key);
            }
            let deleted = batch.len();
            if deleted > 0 {
                batch.commit()?;
            }
            if deleted < TRIM_MAX {
                return Ok(());
            }
        }
    }

    pub(super) fn position_from(
        &self,
        (key, value): &(yibiao_state::Bytes, yibiao_state::Bytes),
    ) -> Result<(TopicPartition, NextOffset), Error> {
        let read = || {
            let topic = u32::from_be_bytes(key.get(..4)?.try_into().ok()?);
            let partition = i32::from_be_bytes(key.get(4..)?.try_into().ok()?);
            let next = NextOffset::new(i64::from_be_bytes(value.as_ref().try_into().ok()?))?;
            let topic: Arc<str> = self.inner.names.name(topic)?;
            Some((TopicPartition::new(topic, partition), next))
        };
        read().ok_or_else(|| self.corrupt("position", "wrong length".into()))
    }
}

impl Writer {
    /// The end of the last batch that this writer wrote, where the shard has an owner.
    pub fn last_end(&self) -> Option<&BatchEnd> {
        self.end.as_ref()
    }
}
