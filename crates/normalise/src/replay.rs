//! Quarantined records once more, after their cause was repaired.
//!
//! A record goes back to its raw partition as it came, with its provenance and with the raw offset at which it first
//! came (header `origin`): if its source said something later that was not refused, be it a new version, the known one
//! once more, or that the record is withdrawn, the older one changes nothing. It counts as received again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;
use yibiao_records::{FeedId, NextOffset, Reason, TopicPartition};
use yibiao_topics::{Client, Outgoing, message::header};

use crate::{Error, decode::ORIGIN, quarantine::Begin};

const BATCH_RECORDS: usize = 1_000;
const WAIT: Duration = Duration::from_millis(500);

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Records in quarantine that were looked at.
    pub read: u64,
    /// Records sent to the raw topic once more, by the code of their reason.
    pub sent: BTreeMap<String, u64>,
    /// Records that cannot be replayed: their rejection is not readable, or their bytes are not all there.
    pub skipped: u64,
}

impl Replayed {
    pub fn sent_total(&self) -> u64 {
        self.sent.values().sum()
    }
}

/// How far each reason's records were replayed, by partition. Kept with the connectors' cursors.
type Done = BTreeMap<String, BTreeMap<i32, NextOffset>>;

/// Sends the feed's quarantined records with one of `reasons` (all, if empty) to its raw topic, up to the end that
/// the quarantine has now. A second call sends only what was quarantined since. The cursors' topic must be there.
///
/// A crash after the sending and before the cursor's saving sends once more what was sent: it is received again and
/// found unchanged, or quarantined again.
pub async fn replay(client: &Client, feed: &FeedId, reasons: &[Reason]) -> Result<Replayed, Error> {
    let wanted: BTreeSet<&str> =
        if reasons.is_empty() { Reason::ALL } else { reasons }.iter().map(|reason| reason.code()).collect();
    let cursors = client.cursors()?;
    let cursor: FeedId = cursor_name(feed);
    let mut done: Done = match cursors.load(&cursor).await? {
        Some(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Error::Cursor { what: cursor.to_string(), detail: error.to_string() })?,
        None => Done::new(),
    };

    let begin = Begin::load(&cursors, feed).await?;
    let quarantine = feed.quarantine_topic();
    let (mut start, mut ends) = (Vec::new(), BTreeMap::new());
    for partition in 0..client.partitions(&quarantine).await? as i32 {
        let tp = TopicPartition::new(quarantine.as_str(), partition);
        let marks = client.watermarks(&tp).await?;
        let first = wanted.iter().map(|reason| position(&done, reason, partition)).min().unwrap_or_default();
        let first = first.max(begin.of(partition));
        // What retention has taken away cannot be replayed.
        let next = if first < marks.low { NextOffset::START } else { first };
        if first < marks.high && marks.low < marks.high {
            start.push((tp, next));
            ends.insert(partition, marks.high);
        }
    }
    let mut replayed = Replayed::default();
    if ends.is_empty() {
        return Ok(replayed);
    }

    let producer = client.producer()?;
    let mut reader = client.reader("replay", start)?;
    let raw_topic = feed.raw_topic();
    let mut left: BTreeSet<i32> = ends.keys().copied().collect();
    while !left.is_empty() {
        producer.ready().await?;
        let batch = reader.next_batch(BATCH_RECORDS, WAIT).await?;
        for message in &batch.messages {
            if message.next_offset() > ends[&message.partition] {
                continue;
            }
            replayed.read += 1;
            let Ok(Some(rejection)) = message.rejection() else {
                replayed.skipped += 1;
                continue;
            };
            let reason = rejection.reason.as_str();
            if !wanted.contains(reason) || message.next_offset() <= position(&done, reason, message.partition)
            {
                continue;
            }
            // The provenance is left out where the bytes were too long to go into quarantine whole.
            let (Some(provenance), Ok(partition)) =
                (message.header(header::PROVENANCE), u32::try_from(rejection.partition))
            else {
                replayed.skipped += 1;
                continue;
            };
            let origin = match message.header(ORIGIN) {
                Some(origin) => origin.to_vec(),
                None => rejection.offset.to_string().into_bytes(),
            };
            producer.send(Outgoing {
                topic: &raw_topic,
                partition: Some(partition),
                key: message.key(),
                value: message.value(),
                headers: &[(header::PROVENANCE, provenance), (ORIGIN, &origin)],
                timestamp_ms: None,
            })?;
            *replayed.sent.entry(reason.to_owned()).or_default() += 1;
        }
        for (tp, next) in reader.positions() {
            if ends.get(&tp.partition).is_some_and(|end| next >= end) {
                left.remove(&tp.partition);
            }
        }
    }
    producer.flush().await?;
    for reason in wanted {
        let partitions = done.entry(reason.to_owned()).or_default();
        for (partition, end) in &ends {
            let next = partitions.entry(*partition).or_default();
            *next = (*next).max(*end);
        }
    }
    let bytes = serde_json::to_vec(&done).expect("invariant: positions are JSON");
    cursors.save(&cursor, &bytes).await?;
    tracing::info!(%feed, read = replayed.read, sent = replayed.sent_total(), skipped = replayed.skipped, "quarantine replayed");
    Ok(replayed)
}

fn position(done: &Done, reason: &str, partition: i32) -> NextOffset {
    done.get(reason).and_then(|partitions| partitions.get(&partition)).copied().unwrap_or_default()
}

/// The cursor's name among those of feeds, which no feed has.
fn cursor_name(feed: &FeedId) -> FeedId {
    let name = format!("replay-{}/{}", feed.department(), feed.feed());
    name.parse().expect("invariant: a feed id with a longer department is a feed id")
}
