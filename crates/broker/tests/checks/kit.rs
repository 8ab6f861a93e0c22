//! What the checks share: clients of a target broker, and ways to write, read and compare.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

/// What a check found out, or what was wrong.
pub type Outcome<T = String> = Result<T, String>;

pub const SOON: Duration = Duration::from_secs(10);
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A broker under test.
#[derive(Clone)]
pub struct Target {
    pub bootstrap: String,
}

/// Puts what was being done in front of an error.
pub fn on<E: Debug>(doing: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{doing}: {error:?}")
}

pub fn expect<T: PartialEq + Debug>(what: &str, got: T, expected: T) -> Outcome<()> {
    if got == expected { Ok(()) } else { Err(format!("{what}: got {got:?}, expected {expected:?}")) }
}

/// A name that no other check uses, nor an earlier run against the same broker.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() % 1_000_000_000;
    format!("{prefix}-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn wait_for(what: &str, most: Duration, mut there: impl FnMut() -> Outcome<bool>) -> Outcome<Duration> {
    let started = Instant::now();
    while !there()? {
        if started.elapsed() > most {
            return Err(format!("{what}: not within {most:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(started.elapsed())
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: Timestamp,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Read {
    pub fn of(message: &BorrowedMessage<'_>) -> Read {
        let headers = message.headers().map(|headers| {
            headers.iter().map(|h| (h.key.to_string(), h.value.map(<[u8]>::to_vec))).collect()
        });
        Read {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp(),
            headers: headers.unwrap_or_default(),
        }
    }

    pub fn text(&self) -> String {
        self.value.as_ref().map_or("<null>".into(), |v| String::from_utf8_lossy(v).into_owned())
    }
}

pub fn texts(records: &[Read]) -> Vec<String> {
    records.iter().map(Read::text).collect()
}

impl Target {
    pub fn config(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.set_log_level(RDKafkaLogLevel::Critical);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config
    }

    pub fn admin(&self) -> Outcome<AdminClient<DefaultClientContext>> {
        self.config(&[]).create().map_err(on("making an admin client"))
    }

    /// Makes a topic with a unique name and waits until it can be seen.
    pub fn topic(&self, prefix: &str, partitions: i32, settings: &[(&str, &str)]) -> Outcome<String> {
        let name = unique(prefix);
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let made =
            block_on(self.admin()?.create_topics(&[topic], &patient())).map_err(on("create topics"))?;
        made[0].as_ref().map_err(|(_, code)| format!("making the topic: {code:?}"))?;
        let client = self.consumer(&[])?;
        wait_for("the topic in the metadata", SOON, || {
            let metadata = client.fetch_metadata(Some(&name), SOON).map_err(on("metadata"))?;
            let seen = |t: &rdkafka::metadata::MetadataTopic| t.partitions().len() == partitions as usize;
            Ok(metadata.topics().iter().any(|t| t.name() == name && t.error().is_none() && seen(t)))
        })?;
        Ok(name)
    }

    pub fn producer(&self, settings: &[(&str, &str)]) -> Outcome<Producer> {
        Producer::new(self, settings)
    }

    /// A transactional producer that is ready to begin.
    pub fn transactional(&self, id: &str) -> Outcome<Producer> {
        let producer = self.producer(&[("transactional.id", id), ("transaction.timeout.ms", "30000")])?;
        producer.inner.init_transactions(PATIENCE).map_err(on("init transactions"))?;
        Ok(producer)
    }

    pub fn consumer(&self, settings: &[(&str, &str)]) -> Outcome<BaseConsumer> {
        let mut config = self.config(&[
            ("group.id", "checks"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "500"),
            ("fetch.wait.max.ms", "200"),
            ("fetch.queue.backoff.ms", "10"),
            ("topic.metadata.refresh.interval.ms", "5000"),
        ]);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.create().map_err(on("making a consumer"))
    }

    /// A consumer that was given one partition from an offset on.
    pub fn reader_at(&self, topic: &str, offset: Offset, settings: &[(&str, &str)]) -> Outcome<BaseConsumer> {
        let consumer = self.consumer(settings)?;
        consumer.assign(&positions(topic, &[(0, offset)])).map_err(on("assign"))?;
        Ok(consumer)
    }

    /// Reads all partitions from the beginning until there are `count` records.
    pub fn read(&self, topic: &str, partitions: i32, count: usize, isolation: &str) -> Outcome<Vec<Read>> {
        let records = self.read_until(topic, partitions, count, isolation, SOON)?;
        expect("records read", records.len(), count)?;
        Ok(records)
    }

    /// Reads all partitions from the beginning up to their ends as they are seen with this isolation.
    pub fn read_to_end(&self, topic: &str, partitions: i32, isolation: &str) -> Outcome<Vec<Read>> {
        let consumer = self.consumer(&[("isolation.level", isolation), ("enable.partition.eof", "true")])?;
        let all: Vec<(i32, Offset)> = (0..partitions).map(|p| (p, Offset::Beginning)).collect();
        consumer.assign(&positions(topic, &all)).map_err(on("assign"))?;
        let (mut records, mut ended) = (Vec::new(), std::collections::BTreeSet::new());
        let started = Instant::now();
        while ended.len() < partitions as usize {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(Read::of(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ended.insert(partition);
                }
                Some(Err(error)) => return Err(format!("reading: {error:?}")),
                None if started.elapsed() > PATIENCE => return Err("never came to the end".into()),
                None => {}
            }
        }
        Ok(records)
    }

    fn read_until(
        &self,
        topic: &str,
        partitions: i32,
        count: usize,
        isolation: &str,
        quiet: Duration,
    ) -> Outcome<Vec<Read>> {
        let consumer = self.consumer(&[
            ("isolation.level", isolation),
            ("fetch.message.max.bytes", "10000000"),
            ("fetch.max.bytes", "60000000"),
            ("receive.message.max.bytes", "100000000"),
        ])?;
        let all: Vec<(i32, Offset)> = (0..partitions).map(|p| (p, Offset::Beginning)).collect();
        consumer.assign(&positions(topic, &all)).map_err(on("assign"))?;
        let (mut records, mut heard) = (Vec::new(), Instant::now());
        while records.len() < count && heard.elapsed() < quiet {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    records.push(Read::of(&message));
                    heard = Instant::now();
                }
                Some(Err(error)) => return Err(format!("after {} records: {error:?}", records.len())),
                None => {}
            }
        }
        Ok(records)
    }
}

pub fn positions(topic: &str, positions: &[(i32, Offset)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in positions {
        list.add_partition_offset(topic, *partition, *offset).unwrap();
    }
    list
}

pub fn patient() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(SOON)).request_timeout(Some(SOON))
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Reads what comes until there are `count` records or the time is up.
pub fn drain(consumer: &BaseConsumer, most: Duration, count: usize, into: &mut Vec<Read>) -> Outcome<()> {
    let started = Instant::now();
    while started.elapsed() < most && into.len() < count {
        match consumer.poll(Duration::from_millis(20)) {
            Some(Ok(message)) => into.push(Read::of(&message)),
            Some(Err(error)) => return Err(format!("poll: {error:?}")),
            None => {}
        }
    }
    Ok(())
}

/// Deliveries of a producer.
#[derive(Default)]
pub struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

#[derive(Clone, Default)]
pub struct Counting(Arc<Deliveries>);

impl ClientContext for Counting {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.0.delivered.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => {
                *self.0.last_error.lock() = Some(format!("{error:?}"));
                self.0.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

pub struct Producer {
    pub inner: BaseProducer<Counting>,
    counting: Counting,
}

impl Producer {
    fn new(target: &Target, settings: &[(&str, &str)]) -> Outcome<Producer> {
        let mut config = target.config(&[
            ("linger.ms", "5"),
            ("message.timeout.ms", "20000"),
            ("message.max.bytes", "10000000"),
        ]);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let counting = Counting::default();
        let inner = BaseProducer::from_config_and_context(&config, counting.clone());
        Ok(Producer { inner: inner.map_err(on("making a producer"))?, counting })
    }

    pub fn send(&self, record: BaseRecord<'_, [u8], [u8]>) -> Outcome<()> {
        let mut record = record;
        loop {
            match self.inner.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.inner.poll(Duration::from_millis(20));
                    record = back;
                }
                Err((error, _)) => return Err(format!("send: {error:?}")),
            }
        }
        self.inner.poll(Duration::ZERO);
        Ok(())
    }

    /// Sends a value without a key.
    pub fn value(&self, topic: &str, partition: i32, value: &str) -> Outcome<()> {
        self.send(BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value.as_bytes()))
    }

    pub fn keyed(&self, topic: &str, partition: i32, key: &str, value: Option<&str>) -> Outcome<()> {
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(key.as_bytes());
        self.send(match value {
            Some(value) => record.payload(value.as_bytes()),
            None => record,
        })
    }

    pub fn at(&self, topic: &str, value: &str, timestamp: i64, headers: Option<OwnedHeaders>) -> Outcome<()> {
        let record =
            BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(value.as_bytes()).timestamp(timestamp);
        self.send(match headers {
            Some(headers) => record.headers(headers),
            None => record,
        })
    }

    /// Waits until all is delivered, and says how much; an error if anything failed.
    pub fn flush(&self) -> Outcome<u64> {
        self.inner.flush(Duration::from_secs(40)).map_err(on("flush"))?;
        let deliveries = &self.counting.0;
        let (delivered, failed) =
            (deliveries.delivered.load(Ordering::Relaxed), deliveries.failed.load(Ordering::Relaxed));
        match failed {
            0 => Ok(delivered),
            _ => Err(format!(
                "{failed} of {} deliveries failed: {:?}",
                delivered + failed,
                deliveries.last_error.lock()
            )),
        }
    }

    pub fn begin(&self) -> Outcome<()> {
        self.inner.begin_transaction().map_err(on("begin"))
    }

    pub fn commit(&self) -> Outcome<()> {
        self.inner.commit_transaction(PATIENCE).map_err(on("commit"))
    }

    pub fn abort(&self) -> Outcome<()> {
        self.inner.flush(SOON).map_err(on("flush before the abort"))?;
        self.inner.abort_transaction(PATIENCE).map_err(on("abort"))
    }
}
