//! What another gazetteer answers otherwise is asked again.
//!
//! ```text
//!  a shard has taken a gazetteer ─► walk over what it knows ─► questions with another answer ─► their records' raw offsets
//!       raw[p] ◄── the same bytes once more, with `origin` and `revised` ◄── read there ◄──────────────┘
//! ```
//!
//! Places merge, are split, get other names, and buildings are registered at last: a record that stands moves to the place
//! that it is now said to lie at, and one that was refused because of its address is accepted. It comes to its shard like
//! any other record, so that its facts have a position of their own and nothing is lost or doubled by a crash: the
//! walk is repeated then, and what was sent twice is found unchanged. Where the new gazetteer has no answer, what stood
//! stays. Only what is affected is sent; bytes that have left the raw topic cannot be, and are counted.

pub mod walk;

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use yibiao_records::{NextOffset, TopicPartition};
use yibiao_topics::{Client, Outgoing, Reader, message::header};

use crate::{
    Accounting, Error,
    decode::{ORIGIN, REVISED},
    events,
    gazetteer::Editions,
    source::Resolves,
    state::{ShardId, ShardPrefix, State},
};
use walk::Walk;

/// How often shards are looked at that have not taken the gazetteer in force.
const LOOK: Duration = Duration::from_millis(200);
/// With more between two wanted records, the reader starts anew at the second.
const FAR: i64 = 50_000;
const BATCH_RECORDS: usize = 1_000;
const WAIT: Duration = Duration::from_millis(500);

/// One shard of a feed whose addresses are resolved.
pub(crate) struct Revised {
    pub id: ShardId,
    pub raw: TopicPartition,
    pub feed: Resolves,
}

/// What asks again, for all shards of a stage.
pub(crate) struct Reviser {
    pub client: Client,
    pub state: State,
    pub editions: Editions,
    pub accounting: Accounting,
    pub cache_addresses_max: usize,
    pub shards: Vec<Revised>,
}

impl Reviser {
    /// Runs until the stop.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            for shard in &self.shards {
                let Some((revision, version)) = self.accounting.to_be_revised(&shard.id) else { continue };
                if self.state.revised(&shard.id)?.as_ref() != Some(&revision) {
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        revised = self.revise(shard, &revision, &version) => revised?,
                    }
                }
                self.accounting.revised(&shard.id, revision);
            }
        }
    }

    async fn revise(&self, shard: &Revised, revision: &str, version: &str) -> Result<(), Error> {
        let edition = self.editions.edition(version)?;
        let mut walk = Walk::default();
        let (mut sent, mut expired) = (0, 0);
        loop {
            let task = {
                let (state, feed, edition) = (self.state.clone(), shard.feed.clone(), edition.clone());
                let (prefix, cache) = (ShardPrefix::new(&shard.id), self.cache_addresses_max);
                move || walk.go_on(&state, prefix, &feed, &edition, cache)
            };
            let walked = tokio::task::spawn_blocking(task).await;
            let offsets;
            (walk, offsets) = walked.map_err(|_| Error::Panicked { name: "asking again".into() })??;
            let passed = self.send_again(&shard.raw, &offsets).await?;
            sent += passed;
            expired += offsets.len() as u64 - passed;
            if walk.is_at_end() {
                break;
            }
        }
        if sent + expired > 0 {
            events::revised(&shard.id.feed, shard.id.partition, version, sent, expired);
        }
        let mut commit = self.state.begin();
        commit.revised(&shard.id, revision);
        commit.commit()
    }

    /// Sends the raw records at these offsets, which ascend, once more. How many there were.
    async fn send_again(&self, raw: &TopicPartition, offsets: &[i64]) -> Result<u64, Error> {
        let marks = self.client.watermarks(raw).await?;
        let is_there = |offset: &&i64| (marks.low.get()..marks.high.get()).contains(*offset);
        let offsets: Vec<i64> = offsets.iter().filter(is_there).copied().collect();
        let mut sent = 0;
        if offsets.is_empty() {
            return Ok(sent);
        }
        let producer = self.client.producer()?;
        for near in offsets.chunk_by(|a, b| b - a < FAR) {
            let start = NextOffset::new(near[0]).unwrap_or_default();
            let mut reader: Reader = self.client.reader("revise", vec![(raw.clone(), start)])?;
            let last = near[near.len() - 1];
            let mut at = start.get();
            while at <= last {
                producer.ready().await?;
                for message in reader.next_batch(BATCH_RECORDS, WAIT).await?.messages {
                    at = message.offset + 1;
                    let Some(provenance) = message.header(header::PROVENANCE) else { continue };
                    if near.binary_search(&message.offset).is_err() {
                        continue;
                    }
                    let origin = message.offset.to_string();
                    producer.send(Outgoing {
                        topic: &raw.topic,
                        partition: u32::try_from(raw.partition).ok(),
                        key: message.key(),
                        value: message.value(),
                        headers: &[
                            (header::PROVENANCE, provenance),
                            (ORIGIN, origin.as_bytes()),
                            (REVISED, b"1"),
                        ],
                        timestamp_ms: None,
                    })?;
                    sent += 1;
                }
            }
        }
        producer.flush().await?;
        Ok(sent)
    }
}
