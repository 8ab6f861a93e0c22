//! Writing records: queue many, then wait until all of them are acknowledged.
//!
//! A producer is idempotent and never gives up on a record that [`Producer::send`] accepted: while the broker is
//! away, records wait in the queue, [`Producer::ready`] and [`Producer::flush`] wait with them, and a full queue
//! holds `send` back. A record that the broker refuses for good poisons the producer: everything after it fails,
//! so that nobody advances a position past a hole.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use tokio::sync::Notify;

use crate::{
    ClientConfig, Error, View,
    health::{Health, Watch},
};

/// A record to send. Without a partition it goes where murmur2 of its key says (as Java's clients do).
#[derive(Debug, Clone, Copy, Default)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: Option<u32>,
    pub key: Option<&'a [u8]>,
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Ms since the epoch, UTC; None is now.
    pub timestamp_ms: Option<i64>,
}

/// Sends records. Cloning is cheap, and clones share one queue. Dropping the last clone drops what was not
/// flushed.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<ThreadedProducer<Acknowledgements>>,
    shared: Arc<Shared>,
    view: Option<Arc<View>>,
}

struct Shared {
    flight: Mutex<Flight>,
    /// For `send`, which holds its thread while the queue is full.
    room: Condvar,
    /// For `flush` and `ready`.
    changed: Notify,
    health: Arc<Health>,
    records_max: usize,
    bytes_max: usize,
    send_timeout: Duration,
    max_record_bytes: usize,
}

/// What was sent and is not acknowledged, counted by generation: a flush closes the current generation and waits
/// until it and all before it are empty, whatever is sent meanwhile.
#[derive(Default)]
struct Flight {
    oldest: usize,
    generations: VecDeque<usize>,
    records: usize,
    bytes: usize,
    failure: Option<(String, String)>,
}

impl Flight {
    fn begin(&mut self, bytes: usize) -> usize {
        if self.generations.is_empty() {
            self.generations.push_back(0);
        }
        let last = self.generations.len() - 1;
        self.generations[last] += 1;
        self.records += 1;
        self.bytes += bytes;
        self.oldest + last
    }

    /// True where an older generation became empty.
    fn end(&mut self, generation: usize, bytes: usize) -> bool {
        self.generations[generation - self.oldest] -= 1;
        self.records -= 1;
        self.bytes -= bytes;
        let before = self.oldest;
        while self.generations.len() > 1 && self.generations[0] == 0 {
            self.generations.pop_front();
            self.oldest += 1;
        }
        self.oldest != before
    }

    /// The generation to wait for; None when nothing is in flight.
    fn close_generation(&mut self) -> Option<usize> {
        if self.records == 0 {
            return None;
        }
        self.generations.push_back(0);
        Some(self.oldest + self.generations.len() - 2)
    }

    fn check(&self) -> Result<(), Error> {
        match &self.failure {
            Some((topic, detail)) => Err(Error::Poisoned { topic: topic.clone(), detail: detail.clone() }),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn half_empty(&self, flight: &Flight) -> bool {
        flight.records <= self.records_max / 2 && flight.bytes <= self.bytes_max / 2
    }

    fn fail(&self, topic: &str, detail: String) {
        let mut flight = self.flight();
        if flight.failure.is_none() {
            tracing::error!(topic, detail, "a record was refused for good, the producer stops");
            metrics::counter!("yibiao_errors_total", "stage" => "topics", "code" => "operator").increment(1);
            flight.failure = Some((topic.to_owned(), detail));
        }
        drop(flight);
        self.room.notify_all();
        self.changed.notify_waiters();
    }
}

/// Receives acknowledgements on the producer's own thread.
struct Acknowledgements(Arc<Shared>);

impl ClientContext for Acknowledgements {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Watch(self.0.health.clone()).log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        Watch(self.0.health.clone()).stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.0.fail("any topic", reason.to_owned());
        } else {
            self.0.health.event(&error, reason);
        }
    }
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, generation: usize) {
        let size = |message: &BorrowedMessage<'_>| message.payload_len() + message.key_len();
        let bytes = match result {
            Ok(message) => {
                self.0.health.is_back();
                size(message)
            }
            Err((error, message)) => {
                self.0.fail(message.topic(), error.to_string());
                size(message)
            }
        };
        let mut flight = self.0.flight();
        let was_half_empty = self.0.half_empty(&flight);
        let emptied = flight.end(generation, bytes);
        let wakes = emptied || flight.records == 0 || (!was_half_empty && self.0.half_empty(&flight));
        drop(flight);
        self.0.room.notify_one();
        if wakes {
            self.0.changed.notify_waiters();
        }
    }
}

impl Producer {
    pub(crate) fn new(config: &ClientConfig, view: Option<Arc<View>>) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            flight: Mutex::default(),
            room: Condvar::new(),
            changed: Notify::new(),
            health: Health::new("producer"),
            records_max: config.queue_records as usize,
            bytes_max: config.queue_bytes as usize,
            send_timeout: config.request_timeout,
            max_record_bytes: config.max_record_bytes as usize,
        });
        let context = Acknowledgements(shared.clone());
        let inner =
            ThreadedProducer::from_config_and_context(&config.producer(), context).map_err(Error::config)?;
        Ok(Self { inner: Arc::new(inner), shared, view })
    }

    /// Queues a record. Where the queue is full it holds the calling thread until there is room, at most the
    /// configured `request_timeout`; async callers await [`Producer::ready`] before each run of records and so
    /// never come to that.
    pub fn send(&self, record: Outgoing<'_>) -> Result<(), Error> {
        let Some(view) = &self.view else { return self.send_on_cluster(record) };
        let topic = view.to_change(record.topic, "sending to")?;
        self.send_on_cluster(Outgoing { topic: &topic, ..record })
    }

    fn send_on_cluster(&self, record: Outgoing<'_>) -> Result<(), Error> {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let mut waiting_since = None;
        loop {
            let generation = {
                let mut flight = self.shared.flight();
                flight.check()?;
                flight.begin(bytes)
            };
            let Err((error, _)) = self.inner.send(to_base_record(&record, generation)) else { return Ok(()) };
            let mut flight = self.shared.flight();
            if flight.end(generation, bytes) || flight.records == 0 {
                self.shared.changed.notify_waiters();
            }
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {
                    let since = *waiting_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.shared.send_timeout {
                        return Err(Error::QueueFull {
                            topic: record.topic.to_owned(),
                            waited_s: self.shared.send_timeout.as_secs(),
                        });
                    }
                    // Each acknowledgement wakes this; the limit is for one that came between.
                    let woken = self.shared.room.wait_timeout(flight, Duration::from_millis(50));
                    drop(woken);
                }
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    return Err(Error::TooLarge { topic: record.topic.to_owned(), bytes });
                }
                Some(RDKafkaErrorCode::Fatal) => {
                    drop(flight);
                    self.shared.fail(record.topic, error.to_string());
                }
                Some(code) if crate::error::unknown_topic(code) => {
                    return Err(Error::UnknownTopic {
                        topic: record.topic.to_owned(),
                        partition: record.partition.map(|partition| partition as i32),
                    });
                }
                _ => {
                    return Err(Error::Refused {
                        doing: format!("sending to {}", record.topic),
                        detail: error.to_string(),
                    });
                }
            }
        }
    }

    /// Waits until at least half of the queue is free.
    pub async fn ready(&self) -> Result<(), Error> {
        self.wait_for(|shared, flight| shared.half_empty(flight)).await
    }

    /// Waits until every record that was sent so far is acknowledged by all in-sync replicas. Waits for as long
    /// as the broker is away. An error means that a record was refused for good.
    pub async fn flush(&self) -> Result<(), Error> {
        let closed = {
            let mut flight = self.shared.flight();
            flight.check()?;
            flight.close_generation()
        };
        match closed {
            Some(generation) => {
                self.wait_for(|_, flight| flight.oldest > generation || flight.records == 0).await
            }
            None => Ok(()),
        }
    }

    /// Records that were sent and are not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.shared.flight().records
    }

    /// True while no broker can be reached.
    pub fn is_away(&self) -> bool {
        self.shared.health.is_away()
    }

    /// True after a record was refused for good: this producer sends nothing more.
    pub fn is_poisoned(&self) -> bool {
        self.shared.flight().failure.is_some()
    }

    /// The longest record that can be sent, in bytes.
    pub fn max_record_bytes(&self) -> usize {
        self.shared.max_record_bytes
    }

    async fn wait_for(&self, condition: impl Fn(&Shared, &Flight) -> bool) -> Result<(), Error> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let flight = self.shared.flight();
                flight.check()?;
                if condition(&self.shared, &flight) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }
}

fn to_base_record<'a>(record: &Outgoing<'a>, generation: usize) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut base = BaseRecord::with_opaque_to(record.topic, generation);
    base.partition = record.partition.map(|partition| partition as i32);
    base.key = record.key;
    base.payload = record.value;
    base.timestamp = record.timestamp_ms;
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        base.headers = Some(record.headers.iter().fold(headers, |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(*value) })
        }));
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_waits_for_what_was_sent_before_it_and_for_nothing_after() {
        let mut flight = Flight::default();
        assert_eq!(flight.close_generation(), None);
        let first = flight.begin(1);
        let second = flight.begin(1);
        let closed = flight.close_generation().expect("two are in flight");
        let later = flight.begin(1);
        assert!(!flight.end(later, 1) && flight.oldest <= closed);
        assert!(!flight.end(second, 1) && flight.oldest <= closed);
        assert!(flight.end(first, 1) && flight.oldest > closed);
        assert_eq!((flight.records, flight.bytes), (0, 0));
    }
}
