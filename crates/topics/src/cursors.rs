//! Where connectors resume: the last value of each feed's key on one compacted topic.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use yibiao_records::{FeedId, NextOffset, TopicPartition};

use crate::{
    Client, ClientConfig, Error, Outgoing, Producer,
    error::passes,
    health::{Health, Watch},
    layout::CURSORS,
};

/// The cursors of all feeds. A feed's cursor is bytes that only its connector understands.
pub struct Cursors {
    client: Client,
    producer: Producer,
    known: std::sync::Arc<Mutex<Known>>,
}

/// What was read of the topic so far, so that a later look reads only what is new.
#[derive(Default)]
struct Known {
    next: NextOffset,
    cursors: HashMap<Vec<u8>, Vec<u8>>,
}

impl Cursors {
    pub(crate) fn new(client: &Client, producer: Producer) -> Self {
        Self { client: client.clone(), producer, known: Default::default() }
    }

    /// The cursor that was saved last, by whichever process.
    pub async fn load(&self, feed: &FeedId) -> Result<Option<Vec<u8>>, Error> {
        let end = self.client.watermarks(&TopicPartition::new(CURSORS, 0)).await?.high;
        let (known, config) = (self.known.clone(), self.client.config().clone());
        let key = feed.as_str().as_bytes().to_vec();
        tokio::task::spawn_blocking(move || {
            let mut known = known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if known.next < end {
                read_until(&config, &mut known, end)?;
            }
            Ok(known.cursors.get(&key).cloned())
        })
        .await
        .map_err(|_| Error::Panicked { doing: "reading cursors".into() })?
    }

    /// Returns when the broker has acknowledged the cursor.
    pub async fn save(&self, feed: &FeedId, cursor: &[u8]) -> Result<(), Error> {
        self.write(feed, Some(cursor)).await
    }

    /// The feed starts from its beginning next time.
    pub async fn forget(&self, feed: &FeedId) -> Result<(), Error> {
        self.write(feed, None).await
    }

    async fn write(&self, feed: &FeedId, value: Option<&[u8]>) -> Result<(), Error> {
        let key = Some(feed.as_str().as_bytes());
        self.producer.send(Outgoing {
            topic: CURSORS,
            partition: Some(0),
            key,
            value,
            ..Default::default()
        })?;
        self.producer.flush().await
    }
}

/// Compaction leaves gaps, so the end of the partition, not the last offset, tells that all is read.
fn read_until(config: &ClientConfig, known: &mut Known, end: NextOffset) -> Result<(), Error> {
    let doing = || format!("reading {CURSORS}");
    let refused = |error: KafkaError| Error::Refused { doing: doing(), detail: error.to_string() };
    let mut settings = config.reader("cursors");
    // A cursor that compaction has removed meanwhile is superseded by a later one.
    settings.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer<Watch> =
        BaseConsumer::from_config_and_context(&settings, Watch(Health::new("cursors")))
            .map_err(Error::config)?;
    let mut assignment = TopicPartitionList::new();
    let start = match known.next {
        NextOffset::START => Offset::Beginning,
        next => Offset::Offset(next.get()),
    };
    assignment.add_partition_offset(CURSORS, 0, start).map_err(refused)?;
    consumer.assign(&assignment).map_err(refused)?;

    let deadline = Instant::now() + config.patience;
    while known.next < end && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let key = message.key().unwrap_or_default().to_vec();
                match message.payload() {
                    Some(cursor) => known.cursors.insert(key, cursor.to_vec()),
                    None => known.cursors.remove(&key),
                };
                known.next = NextOffset::after(message.offset());
            }
            Some(Err(KafkaError::PartitionEOF(_))) => known.next = known.next.max(end),
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(passes) => {}
            Some(Err(error)) => return Err(refused(error)),
            None => {}
        }
    }
    if known.next < end {
        return Err(Error::Away {
            doing: doing(),
            bootstrap: config.bootstrap.clone(),
            waited_s: config.patience.as_secs(),
            detail: "the end was not reached".into(),
        });
    }
    Ok(())
}
