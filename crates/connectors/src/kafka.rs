//! Another department's topic, record by record, into our raw topic.
//!
//! The cursor is each partition's next offset. Records that expired before they were read are counted as dropped;
//! a topic that was made anew is read from its beginning.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use yibiao_contracts::Contract;
use yibiao_topics::{Client, ClientConfig, NextOffset, Reader, TopicPartition};

use crate::{
    Error, KafkaSource, Mode, State,
    intake::{Found, Intake},
};

const BATCH: usize = 1000;
const WAIT: Duration = Duration::from_millis(500);
/// How often a topic is asked whether it has more partitions.
const LOOK_AROUND: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Serialize, Deserialize)]
struct KafkaCursor {
    next: BTreeMap<i32, NextOffset>,
}

/// Reads all partitions; in [`Mode::Once`] up to the ends that they have now.
pub async fn pull(
    intake: &mut Intake,
    contract: &Contract,
    source: &KafkaSource,
    mode: Mode,
) -> Result<(), Error> {
    let config = ClientConfig {
        properties: source.properties.clone(),
        patience: Duration::from_secs(5),
        ..ClientConfig::at(&source.bootstrap)
    };
    let client = Client::new(&config)?;
    let mut cursor: KafkaCursor = intake.resume().await?.unwrap_or_default();
    loop {
        let (start, ends) = starts(intake, &client, source, &mut cursor).await?;
        intake.source_answers();
        let partitions = start.len();
        let mut reader = client.reader(&format!("connector.{}", contract.feed.feed()), start)?;
        let looked = Instant::now();
        loop {
            let done = mode == Mode::Once
                && ends.iter().all(|(partition, end)| cursor.next.get(partition) >= Some(end));
            if done || intake.is_stopping() {
                return intake.save(&cursor).await;
            }
            step(intake, source, &mut reader, &mut cursor).await?;
            if mode == Mode::Follow && looked.elapsed() > LOOK_AROUND {
                let now = intake.unless_stopped(async { Ok(client.partitions(&source.topic).await?) }).await;
                match now {
                    Ok(now) if now as usize == partitions => {}
                    Err(Error::Stopped) => continue,
                    // More partitions, or an absence that the start of a new reader tells.
                    _ => break,
                }
            }
        }
    }
}

async fn step(
    intake: &mut Intake,
    source: &KafkaSource,
    reader: &mut Reader,
    cursor: &mut KafkaCursor,
) -> Result<(), Error> {
    let batch = intake.unless_stopped(async { Ok(reader.next_batch(BATCH, WAIT).await?) }).await;
    let batch = match batch {
        // The caller saves.
        Err(Error::Stopped) => return Ok(()),
        other => other?,
    };
    if reader.is_away() {
        if !intake.is_away() {
            intake.source_away(&Error::away(
                format!("topic {}", source.topic),
                format!("no broker at {}", source.bootstrap),
            ));
        }
    } else {
        intake.source_answers();
        let state = if batch.is_empty() { State::Waiting } else { State::Reading(source.topic.clone()) };
        intake.progress().set(state);
    }
    for message in &batch.messages {
        match message.value() {
            Some(value) => {
                let position = message.offset as u64 + 1;
                let name = format!("{}[{}]", source.topic, message.partition);
                intake
                    .admit(Found { value, columns: None, source: &name, position, truncated: false })
                    .await?;
            }
            // Says that a key's records may go; our facts end by their own fields.
            None => intake.dropped("tombstone", 1),
        }
        cursor.next.insert(message.partition, message.next_offset());
    }
    if let Some(last) = batch.messages.last().filter(|last| last.timestamp_ms >= 0) {
        intake.event_time(last.timestamp_ms);
    }
    intake.save_if_due(&*cursor).await
}

type Starts = Vec<(TopicPartition, NextOffset)>;

/// Where each partition goes on, and where it ends now.
async fn starts(
    intake: &mut Intake,
    client: &Client,
    source: &KafkaSource,
    cursor: &mut KafkaCursor,
) -> Result<(Starts, BTreeMap<i32, NextOffset>), Error> {
    let partitions = intake.unless_stopped(async { Ok(client.partitions(&source.topic).await?) }).await?;
    let mut start = Vec::new();
    let mut ends = BTreeMap::new();
    for partition in 0..partitions as i32 {
        let tp = TopicPartition::new(source.topic.as_str(), partition);
        let marks = intake.unless_stopped(async { Ok(client.watermarks(&tp).await?) }).await?;
        let next = match cursor.next.get(&partition) {
            None => marks.low,
            Some(next) if *next < marks.low => {
                let expired = (marks.low.get() - next.get()) as u64;
                tracing::error!(feed = %intake.feed, partition = %tp, expired, "records expired before they were read, ask the department to send them again");
                intake.dropped("expired", expired);
                marks.low
            }
            Some(next) if *next > marks.high => {
                tracing::warn!(feed = %intake.feed, partition = %tp, "the topic was made anew, reading it from its beginning");
                marks.low
            }
            Some(next) => *next,
        };
        cursor.next.insert(partition, next);
        ends.insert(partition, marks.high);
        start.push((tp, next));
    }
    Ok((start, ends))
}
