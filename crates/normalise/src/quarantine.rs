//! What is in a feed's quarantine now: the topic from its beginning on, or from where other tables took the place of those that
//! the earlier refusals belong to.
//!
//! ```text
//!  quarantine.<department>.<feed>   … former refusals … | refusals of the present tables …
//!                                                       ▲ begin, kept with the connectors' cursors
//! ```

use std::{collections::BTreeMap, time::Duration};

use yibiao_records::{FeedId, NextOffset, TopicPartition};
use yibiao_topics::{Client, Cursors, Outgoing};

use crate::Error;

const BATCH_RECORDS: usize = 1_000;
const WAIT: Duration = Duration::from_millis(500);

/// From where a feed's quarantine counts, by partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begin(BTreeMap<i32, NextOffset>);

impl Begin {
    pub async fn load(cursors: &Cursors, feed: &FeedId) -> Result<Self, Error> {
        let cursor = cursor_name(feed);
        let bytes = match cursors.load(&cursor).await {
            // Nothing ever ran on this cluster.
            Err(yibiao_topics::Error::UnknownTopic { .. }) => None,
            bytes => bytes?,
        };
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Error::Cursor { what: cursor.to_string(), detail: error.to_string() })
    }

    /// The first offset that counts; it may have left the topic.
    pub fn of(&self, partition: i32) -> NextOffset {
        self.0.get(&partition).copied().unwrap_or_default()
    }
}

/// Lets the feed's quarantine begin anew with the refusals that `from` has in its own topic of this name, which are copied. How
/// many there were. After a death it is repeated whole: what was copied before then lies before the beginning.
pub async fn replace(client: &Client, cursors: &Cursors, feed: &FeedId, from: &Client) -> Result<u64, Error> {
    let topic = feed.quarantine_topic();
    let mut begin = BTreeMap::new();
    for partition in 0..client.partitions(&topic).await? as i32 {
        let tp = TopicPartition::new(topic.as_str(), partition);
        begin.insert(partition, client.watermarks(&tp).await?.high);
    }
    let copied = copy(client, &topic, from).await?;
    let bytes = serde_json::to_vec(&begin).expect("invariant: positions are JSON");
    cursors.save(&cursor_name(feed), &bytes).await?;
    Ok(copied)
}

async fn copy(client: &Client, topic: &str, from: &Client) -> Result<u64, Error> {
    let Some(partitions) = from.topics().await?.get(topic).copied() else { return Ok(0) };
    let (mut start, mut ends) = (Vec::new(), BTreeMap::new());
    for partition in 0..partitions as i32 {
        let tp = TopicPartition::new(topic, partition);
        let marks = from.watermarks(&tp).await?;
        if marks.low < marks.high {
            ends.insert(partition, marks.high);
            start.push((tp, marks.low));
        }
    }
    let mut copied = 0;
    if ends.is_empty() {
        return Ok(copied);
    }
    let producer = client.producer()?;
    let mut reader = from.reader("swap-quarantine", start)?;
    while !ends.is_empty() {
        producer.ready().await?;
        for message in &reader.next_batch(BATCH_RECORDS, WAIT).await?.messages {
            let named = |(name, value)| Some((std::str::from_utf8(name).ok()?, value));
            let headers: Vec<(&str, &[u8])> = message.headers().filter_map(named).collect();
            producer.send(Outgoing {
                topic,
                partition: None,
                key: message.key(),
                value: message.value(),
                headers: &headers,
                timestamp_ms: Some(message.timestamp_ms),
            })?;
            copied += 1;
        }
        for (tp, next) in reader.positions() {
            if ends.get(&tp.partition).is_some_and(|end| next >= end) {
                ends.remove(&tp.partition);
            }
        }
    }
    producer.flush().await?;
    Ok(copied)
}

/// The cursor's name among those of feeds, which no feed has.
fn cursor_name(feed: &FeedId) -> FeedId {
    let name = format!("quarantine-{}/{}", feed.department(), feed.feed());
    name.parse().expect("invariant: a feed id with a longer department is a feed id")
}
