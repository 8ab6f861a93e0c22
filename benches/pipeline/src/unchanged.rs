//! Records that say nothing new: what was normalised already comes again, byte for byte.
//!
//! ```text
//!  raw topic: │ as it was │ copy 1  │ copy 2 … copy n │
//!                          ▲ a process starts: nothing is remembered
//!                                    ▲ from here on what was remembered of copy 1 counts
//! ```
//!
//! Only records that stand are copied: of each key the last one, and none that was refused.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use prost::Message as _;
use yibiao::{
    config::{Config, Stage},
    pipeline::Pipeline,
};
use yibiao_connectors::Mode;
use yibiao_normalise::Counts;
use yibiao_records::{FeedId, TopicPartition, proto::Provenance};
use yibiao_topics::{Client, Message, Outgoing};

use crate::cpu::{Cpu, Watch};

/// Of what came once more, a part.
pub struct Measured {
    pub records: u64,
    pub seconds: f64,
    pub cpu: Cpu,
}

/// How what comes again is told by its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// Simply once more.
    Repetitions,
    /// As full dumps, one after the other, each with its end.
    FullDumps,
}

/// Sends the feed's records again until there are `wanted`, at least twice. Measures the first copy and all others.
pub async fn measure(config: &Config, feed: &str, as_: As, wanted: u64) -> Result<[Measured; 2]> {
    let feed: FeedId = feed.parse()?;
    let client = Client::new(&config.kafka)?;
    let records = standing(&client, &feed).await?;
    if records.is_empty() {
        bail!("nothing stands of {feed}");
    }
    let copies = wanted.div_ceil(records.len() as u64).max(2);
    let partitions = client.partitions(&feed.raw_topic()).await?;
    let ends = if as_ == As::FullDumps { u64::from(partitions) } else { 0 };
    let copy = records.len() as u64 + ends;
    let producer = client.producer()?;
    let topic = feed.raw_topic();
    tokio::task::spawn_blocking(move || {
        let sender = Sender { producer, topic, records, partitions, as_ };
        (0..copies).try_for_each(|_| sender.send())?;
        tokio::runtime::Handle::current().block_on(sender.producer.flush())?;
        anyhow::Ok(())
    })
    .await??;

    let mut pipeline = Pipeline::open(config.clone(), &[Stage::Normalise], Mode::Follow).await?;
    pipeline.start().await?;
    let accounting = pipeline.accounting.clone().context("normalise runs here")?;
    let counts = || accounting.feeds().get(&feed).map(|account| account.counts.clone()).unwrap_or_default();
    let mut before = counts();
    let mut measured = Vec::new();
    let parts = async {
        let start = before.received;
        for until in [start + copy, start + copy * copies] {
            let (began, watch) = (Instant::now(), Watch::start());
            accounting
                .wait_until(|feeds| feeds.get(&feed).is_some_and(|of| of.counts.received >= until))
                .await;
            let (now, seconds, cpu) = (counts(), began.elapsed().as_secs_f64(), watch.stop());
            let part = now.since(&before);
            measured.push((Measured { records: part.received, seconds, cpu }, part));
            before = now;
        }
        Ok(())
    };
    pipeline.wait_until(parts).await?;
    let [(first, _), (later, counts)]: [(Measured, Counts); 2] =
        measured.try_into().ok().context("both parts were measured")?;
    // The end of the first dump, which withdraws what was not copied, may be among the later ones.
    if counts.asserted > 0 || counts.quarantined > 0 {
        bail!("not all that came again is unchanged: {counts:?}");
    }
    Ok([first, later])
}

/// The feed's records as they stand: of each key the last, unless one of this key was ever refused.
async fn standing(client: &Client, feed: &FeedId) -> Result<Vec<Message>> {
    let refused = all(client, &feed.quarantine_topic()).await?;
    let refused: HashSet<&[u8]> = refused.iter().filter_map(Message::key).collect();
    let records = all(client, &feed.raw_topic()).await?;
    let mut last: HashMap<&[u8], usize> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        if let Some(key) = record.key().filter(|key| record.value().is_some() && !refused.contains(key)) {
            last.insert(key, index);
        }
    }
    let mut last: Vec<usize> = last.into_values().collect();
    last.sort_unstable();
    Ok(last.into_iter().map(|index| records[index].clone()).collect())
}

/// Everything in a topic.
async fn all(client: &Client, topic: &str) -> Result<Vec<Message>> {
    let (mut start, mut wanted) = (Vec::new(), Vec::new());
    for partition in 0..client.partitions(topic).await? as i32 {
        let of = TopicPartition::new(topic, partition);
        let marks = client.watermarks(&of).await?;
        if marks.low < marks.high {
            wanted.push((of.clone(), marks.high));
            start.push((of, marks.low));
        }
    }
    let mut records = Vec::new();
    if start.is_empty() {
        return Ok(records);
    }
    let mut reader = client.reader("unchanged", start)?;
    while reader.positions().iter().any(|at| wanted.iter().any(|(of, end)| at.0 == *of && at.1 < *end)) {
        records.extend(reader.next_batch(10_000, Duration::from_secs(1)).await?.messages);
    }
    Ok(records)
}

struct Sender {
    producer: yibiao_topics::Producer,
    topic: String,
    records: Vec<Message>,
    partitions: u32,
    as_: As,
}

impl Sender {
    /// All records once more, to the partitions in which they lie.
    fn send(&self) -> Result<()> {
        // Later dumps have higher numbers: so does the clock.
        let dump = match self.as_ {
            As::Repetitions => None,
            As::FullDumps => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
                Some(now.as_micros() as u64)
            }
        };
        for record in &self.records {
            let mut provenance = record.provenance()?.unwrap_or_default();
            if let Some(dump) = dump {
                provenance.dump = dump;
            }
            self.pass_on(record.partition, record.key(), record.value(), &provenance, record.timestamp_ms)?;
        }
        let Some(dump) = dump else { return Ok(()) };
        let at_ms = self.records.last().map_or(0, |record| record.timestamp_ms);
        let end = Provenance { dump, ends_dump: true, ..Default::default() };
        (0..self.partitions as i32).try_for_each(|partition| self.pass_on(partition, None, None, &end, at_ms))
    }

    fn pass_on(
        &self,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        provenance: &Provenance,
        timestamp_ms: i64,
    ) -> Result<()> {
        self.producer.send(Outgoing {
            topic: &self.topic,
            partition: Some(partition as u32),
            key,
            value,
            headers: &[("provenance", &provenance.encode_to_vec())],
            timestamp_ms: Some(timestamp_ms),
        })?;
        Ok(())
    }
}
