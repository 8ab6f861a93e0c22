//! After a checkpoint was restored: the batches that followed it are made again, with the same ends.
//!
//! The lake may be ahead of a checkpoint, and the change log's sequence depends on where batches ended. So a shard that is
//! restored reads exactly what each of those batches read; then rows, warnings and change log are what they were, and the
//! projection goes on where the lake is. Nothing in a batch comes from a clock. That the changes are the same is checked
//! by their digest, batch by batch.

use std::collections::{BTreeMap, VecDeque};

use yibiao_records::{NextOffset, TopicPartition};
use yibiao_tables::shard::BatchEnd;
use yibiao_topics::{Client, Message, Reader};

use crate::{Applier, Config, Error, Incoming, Rules, stage::of};

/// Makes the batches of the shard's tail again. Nothing happens where there is none.
pub(crate) async fn replay(
    applier: &mut Applier,
    rules: &mut Rules,
    client: &Client,
    config: &Config,
) -> Result<(), Error> {
    let tail = applier.shard().take_tail();
    let (Some(first), Some(last)) = (tail.first(), tail.last()) else { return Ok(()) };
    let shard = applier.shard().number();
    tracing::info!(shard, from = first.batch, to = last.batch, "making the tail's batches again");
    check(applier, rules, &tail)?;
    let mut sources = BTreeMap::new();
    for end in tail {
        let mut messages = Vec::new();
        for (partition, next) in &end.positions {
            let source = match sources.entry(partition.clone()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Source::open(applier, client, partition.clone()).await?)
                }
            };
            messages.extend(source.up_to(*next, config).await?);
        }
        let messages: Vec<_> = messages.iter().map(of).collect();
        again(applier, rules, &end, &messages).await?;
    }
    tracing::info!(shard, "the tail's batches are made");
    Ok(())
}

/// A tail can only be made again by the tables and rules that it was made by.
pub fn check(applier: &Applier, rules: &Rules, tail: &[BatchEnd]) -> Result<(), Error> {
    let has_refreshed = tail.iter().any(|end| end.timers_max.is_none());
    match has_refreshed || !applier.is_fresh(rules)? {
        true => Err(Error::OtherRules { shard: applier.shard().number(), batches: tail.len() }),
        false => Ok(()),
    }
}

/// Makes one batch again, of the messages that it was made of.
pub async fn again(
    applier: &mut Applier,
    rules: &mut Rules,
    end: &BatchEnd,
    messages: &[Incoming<'_>],
) -> Result<(), Error> {
    // As many places as then, whatever is configured now.
    if let Some(timers_max) = end.timers_max {
        applier.limit_timers(usize::try_from(timers_max).unwrap_or(usize::MAX));
    }
    applier.apply(rules, messages).await?;
    match applier.last_end() == Some(end) {
        true => Ok(()),
        false => Err(Error::Diverged { shard: applier.shard().number(), batch: end.batch }),
    }
}

/// One partition, read step by step: what one topic is ahead of another waits in the broker.
struct Source {
    shard: u32,
    partition: TopicPartition,
    reader: Reader,
    high: NextOffset,
    waiting: VecDeque<Message>,
}

impl Source {
    async fn open(applier: &Applier, client: &Client, partition: TopicPartition) -> Result<Self, Error> {
        let shard = applier.shard().number();
        let marks = client.watermarks(&partition).await?;
        let next = applier.position(&partition);
        let name = format!("fusion-{shard}-again-{}", partition.topic);
        if let Some(next) = next.filter(|next| *next < marks.low) {
            let (topic, partition) = (partition.topic.to_string(), partition.partition);
            return Err(Error::Gap { topic, partition, next: next.get(), low: marks.low.get() });
        }
        let reader = client.reader(&name, vec![(partition.clone(), next.unwrap_or(marks.low))])?;
        Ok(Self { shard, partition, reader, high: marks.high, waiting: VecDeque::new() })
    }

    /// The messages that are left before `next`.
    async fn up_to(&mut self, next: NextOffset, config: &Config) -> Result<Vec<Message>, Error> {
        if next > self.high {
            return Err(Error::Short {
                shard: self.shard,
                topic: self.partition.topic.to_string(),
                partition: self.partition.partition,
                next: next.get(),
                high: self.high.get(),
            });
        }
        let mut messages = Vec::new();
        loop {
            while let Some(message) =
                self.waiting.pop_front_if(|message| NextOffset::after(message.offset) <= next)
            {
                messages.push(message);
            }
            let last = messages.last().map(|message: &Message| NextOffset::after(message.offset));
            // Where offsets are left out, the next message lies behind.
            if last == Some(next) || !self.waiting.is_empty() {
                return Ok(messages);
            }
            let batch = self.reader.next_batch(config.batch_records_max, config.batch_wait).await?;
            self.waiting.extend(batch.messages);
        }
    }
}
