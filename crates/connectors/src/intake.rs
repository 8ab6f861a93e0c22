//! What every connector does with a record: through the contract's door, to the raw topic, with its provenance;
//! and where to resume, saved after the acknowledgement.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use prost::Message as _;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use yibiao_contracts::{Contract, Door};
use yibiao_records::{CrashPoint, FeedId, Provenance};
use yibiao_topics::{Client, Cursors, Outgoing, Producer, message::header};

use crate::{Error, Progress, State, Summary};

/// Records between two looks at the producer's queue.
const RUN: u64 = 256;
/// A cursor is saved so often while records are sent; after a crash, what came since the last one is sent again.
const SAVE_EVERY: Duration = Duration::from_millis(500);
/// What a record may need beside its value: key, header row, provenance.
const BESIDE: usize = 64 << 10;
/// How often a wait for our own broker looks whether it is away.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a stopping connector waits for the broker before it leaves the last records to be sent again.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// One record as it was found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    pub value: &'a [u8],
    /// The header row of a CSV file.
    pub columns: Option<&'a [u8]>,
    /// File, table, URL or topic; without secrets.
    pub source: &'a str,
    /// Row, item or offset, from 1.
    pub position: u64,
    /// The record was longer; `value` is its beginning, longer than the limit by at least a byte.
    pub truncated: bool,
}

/// Takes one feed's records in.
pub struct Intake {
    pub feed: FeedId,
    topic: String,
    door: Door,
    client: Client,
    producer: Producer,
    cursors: Arc<Cursors>,
    shutdown: CancellationToken,
    progress: Progress,
    identity: String,
    pub summary: Summary,
    record_bytes_max: usize,
    unacknowledged: u64,
    saved_at: Instant,
    saving: Option<AbortOnDropHandle<Result<(), Error>>>,
    /// Of the last record.
    provenance: Provenance,
    encoded: Vec<u8>,
    received: metrics::Counter,
    labels: [(&'static str, String); 2],
    away: bool,
}

/// A cursor on its topic, with what it belongs to.
#[derive(Serialize, serde::Deserialize)]
struct Saved<C> {
    source: String,
    at: C,
}

impl Intake {
    pub(crate) fn new(
        contract: &Contract,
        identity: String,
        client: &Client,
        shutdown: &CancellationToken,
        progress: &Progress,
    ) -> Result<Self, Error> {
        let producer = client.producer()?;
        let labels = [("stage", "connectors".to_owned()), ("feed", contract.feed.to_string())];
        let record_bytes_max =
            contract.ingest.max_record_bytes.min(producer.max_record_bytes().saturating_sub(BESIDE));
        Ok(Self {
            topic: contract.feed.raw_topic(),
            door: contract.door(),
            client: client.clone(),
            cursors: Arc::new(client.cursors_through(&producer)),
            producer,
            shutdown: shutdown.clone(),
            progress: progress.clone(),
            identity,
            summary: Summary::default(),
            record_bytes_max,
            unacknowledged: 0,
            saved_at: Instant::now(),
            saving: None,
            provenance: Provenance { feed: contract.feed.to_string(), ..Provenance::default() },
            encoded: Vec::new(),
            received: metrics::counter!("yibiao_received_records_total", &labels),
            labels,
            feed: contract.feed.clone(),
            away: false,
        })
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.producer.is_poisoned()
    }

    /// The same with another producer. What was not acknowledged is sent again from the last saved cursor.
    pub(crate) fn renewed(self, contract: &Contract, client: &Client) -> Result<Self, Error> {
        let fresh = Self::new(contract, self.identity, client, &self.shutdown, &self.progress)?;
        Ok(Self { summary: self.summary, away: self.away, ..fresh })
    }

    /// The longest record that passes whole, in bytes.
    pub fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    /// Sends one record. Waits while the queue is full.
    pub async fn admit(&mut self, found: Found<'_>) -> Result<(), Error> {
        if self.unacknowledged.is_multiple_of(RUN) {
            let ready = async { Ok(self.producer.ready().await?) };
            self.unless_stopped(showing_absence(&self.producer, &self.progress, ready)).await?;
        }
        // One byte over the limit tells the decoder that the record was too large.
        let over = found.value.len() > self.record_bytes_max;
        let value = if over { &found.value[..self.record_bytes_max + 1] } else { found.value };
        let truncated = found.truncated || over;
        self.received.increment(1);

        let admitted = self.door.admit(value, found.columns);
        let provenance = &mut self.provenance;
        // Source and header row are nearly always those of the last record.
        if provenance.source != found.source {
            found.source.clone_into(&mut provenance.source);
        }
        let columns = admitted.columns.as_deref().unwrap_or_default();
        if provenance.columns != columns {
            columns.clone_into(&mut provenance.columns);
        }
        provenance.position = found.position;
        provenance.fetched_at_ms = now_ms();
        provenance.truncated = truncated;
        provenance.withheld = admitted.withheld;
        self.encoded.clear();
        provenance.encode(&mut self.encoded).expect("invariant: a vector has room");
        self.producer.send(Outgoing {
            topic: &self.topic,
            key: Some(&admitted.key),
            value: Some(&admitted.value),
            headers: &[(header::PROVENANCE, &self.encoded)],
            timestamp_ms: Some(provenance.fetched_at_ms),
            ..Default::default()
        })?;
        self.unacknowledged += 1;
        self.summary.records += 1;
        self.summary.bytes += admitted.value.len() as u64;
        self.summary.truncated += u64::from(truncated);
        self.summary.withheld += u64::from(admitted.withheld);
        self.progress.add(admitted.value.len());
        Ok(())
    }

    /// The full dump that the next records belong to; 0 for none.
    pub(crate) fn within_dump(&mut self, dump: u64) {
        self.provenance.dump = dump;
    }

    /// Tells every partition that all records of the dump lie before this. They must have been acknowledged.
    pub(crate) async fn end_dump(&mut self, dump: u64, source: &str, records: u64) -> Result<(), Error> {
        let topic = self.topic.clone();
        let partitions = self.unless_stopped(async { Ok(self.client.partitions(&topic).await?) }).await?;
        let fetched_at_ms = now_ms();
        let end = Provenance {
            feed: self.feed.to_string(),
            source: source.to_owned(),
            position: records,
            fetched_at_ms,
            dump,
            ends_dump: true,
            ..Provenance::default()
        }
        .encode_to_vec();
        for partition in 0..partitions {
            self.producer.send(Outgoing {
                topic: &self.topic,
                partition: Some(partition),
                headers: &[(header::PROVENANCE, &end)],
                timestamp_ms: Some(fetched_at_ms),
                ..Default::default()
            })?;
        }
        Ok(())
    }

    /// What the source gave and is no record, or can never be read: counted by reason.
    pub fn dropped(&mut self, reason: &'static str, records: u64) {
        self.summary.dropped += records;
        metrics::counter!(
            "yibiao_dropped_records_total",
            "stage" => "connectors", "feed" => self.feed.to_string(), "reason" => reason
        )
        .increment(records);
    }

    /// How old the newest record was when it was read (ms since the epoch, by the source's own time).
    pub fn event_time(&self, event_ms: i64) {
        metrics::gauge!("yibiao_event_lag_seconds", &self.labels).set((now_ms() - event_ms) as f64 / 1000.0);
    }

    /// Saves where to resume, from time to time and without holding the records up: the cursor is written when what
    /// was sent before it is acknowledged.
    pub async fn save_if_due(&mut self, cursor: &impl Serialize) -> Result<(), Error> {
        if self.save_is_due() { self.save_soon(cursor).await } else { Ok(()) }
    }

    /// Whether [`Intake::save_if_due`] would do anything, for cursors that cost something to make.
    pub fn save_is_due(&self) -> bool {
        self.unacknowledged > 0 && self.saved_at.elapsed() >= SAVE_EVERY
    }

    async fn save_soon(&mut self, cursor: &impl Serialize) -> Result<(), Error> {
        self.wait_until_saved().await?;
        let saved = Saved { source: self.identity.clone(), at: cursor };
        let bytes = serde_json::to_vec(&saved).expect("invariant: cursors are plain data");
        let (producer, cursors, feed) = (self.producer.clone(), self.cursors.clone(), self.feed.clone());
        let (records, labels) = (std::mem::take(&mut self.unacknowledged), self.labels.clone());
        self.saved_at = Instant::now();
        self.saving = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            CrashPoint::ConnectSent.pass();
            producer.flush().await?;
            CrashPoint::ConnectAcknowledged.pass();
            cursors.save(&feed, &bytes).await?;
            CrashPoint::ConnectSaved.pass();
            metrics::counter!("yibiao_sent_records_total", &labels).increment(records);
            Ok(())
        })));
        Ok(())
    }

    async fn wait_until_saved(&mut self) -> Result<(), Error> {
        let Some(saving) = &mut self.saving else { return Ok(()) };
        let saved = async { saving.await.map_err(|_| Error::Panicked { doing: "saving a cursor".into() })? };
        let outcome = if self.shutdown.is_cancelled() {
            // The last cursor: the broker gets a moment, and what is not saved is sent again at the next start.
            tokio::time::timeout(STOP_WITHIN, saved).await.unwrap_or(Err(Error::Stopped))
        } else {
            tokio::select! {
                biased;
                outcome = showing_absence(&self.producer, &self.progress, saved) => outcome,
                () = self.shutdown.cancelled() => return Err(Error::Stopped),
            }
        };
        self.saving = None;
        outcome
    }

    /// Saves where to resume, and returns when everything is acknowledged, the cursor too.
    pub async fn save(&mut self, cursor: &impl Serialize) -> Result<(), Error> {
        self.save_soon(cursor).await?;
        self.wait_until_saved().await
    }

    /// Where to resume. A cursor of another source, or of an older form, is not used.
    pub async fn resume<C: DeserializeOwned>(&self) -> Result<Option<C>, Error> {
        let Some(bytes) = self.unless_stopped(async { Ok(self.cursors.load(&self.feed).await?) }).await?
        else {
            return Ok(None);
        };
        match serde_json::from_slice::<Saved<serde_json::Value>>(&bytes) {
            Ok(saved) if saved.source == self.identity => match serde_json::from_value(saved.at) {
                Ok(cursor) => return Ok(Some(cursor)),
                Err(error) => {
                    tracing::warn!(feed = %self.feed, %error, "the saved cursor cannot be read, starting from the beginning");
                }
            },
            Ok(saved) => {
                tracing::warn!(feed = %self.feed, before = saved.source, now = self.identity, "the source has changed, starting from its beginning");
            }
            Err(error) => {
                tracing::warn!(feed = %self.feed, %error, "the saved cursor cannot be read, starting from the beginning");
            }
        }
        Ok(None)
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Runs something that may take long; [`Error::Stopped`] as soon as the connector is asked to stop.
    pub async fn unless_stopped<T>(&self, act: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(Error::Stopped),
            done = act => done,
        }
    }

    /// The pause between two looks at a source that cannot wake us.
    pub async fn pause(&self, time: Duration) -> Result<(), Error> {
        self.unless_stopped(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }

    /// Says once that the source is away.
    pub fn source_away(&mut self, error: &Error) {
        if !self.away {
            self.away = true;
            tracing::warn!(feed = %self.feed, %error, "the source is away, trying again until it is back");
            metrics::gauge!("yibiao_source_away", "feed" => self.feed.to_string()).set(1.0);
        }
        metrics::counter!(
            "yibiao_errors_total",
            "stage" => "connectors", "feed" => self.feed.to_string(), "code" => error.fault().code()
        )
        .increment(1);
        self.progress.set(State::Away(error.to_string()));
    }

    /// Says once that the source is back.
    pub fn source_answers(&mut self) {
        if self.away {
            self.away = false;
            tracing::info!(feed = %self.feed, "the source is back");
            metrics::gauge!("yibiao_source_away", "feed" => self.feed.to_string()).set(0.0);
        }
    }

    pub fn is_away(&self) -> bool {
        self.away
    }
}

/// Waits for our own broker, and shows it where it is away: nothing moves then, whatever the source does.
async fn showing_absence<T>(producer: &Producer, progress: &Progress, act: impl Future<Output = T>) -> T {
    let mut act = std::pin::pin!(act);
    let mut before = None;
    loop {
        tokio::select! {
            biased;
            done = &mut act => {
                if let Some(before) = before {
                    progress.set(before);
                }
                return done;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {
                if producer.is_away() && before.is_none() {
                    before = Some(progress.snapshot().state);
                    progress.set(State::Away("the broker of the raw topics does not answer".into()));
                }
            }
        }
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64)
}
