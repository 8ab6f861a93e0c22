//! How an absence of the broker is noticed and told: once when it goes, once when it is back.
//!
//! librdkafka reconnects by itself and for ever. It tells of `all brokers down` as an event; that one is up again
//! is read from its statistics, once a second, and from the first record that gets through.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};

/// What one client knows of its broker.
#[derive(Debug)]
pub(crate) struct Health {
    client: String,
    away: AtomicBool,
    since: std::sync::Mutex<Instant>,
}

impl Health {
    pub(crate) fn new(client: &str) -> Arc<Self> {
        Arc::new(Self {
            client: client.to_owned(),
            away: AtomicBool::new(false),
            since: std::sync::Mutex::new(Instant::now()),
        })
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn went_away(&self, detail: &str) {
        if !self.away.swap(true, Ordering::Relaxed) {
            *self.since.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Instant::now();
            tracing::warn!(client = self.client, detail, "the broker is away, trying again until it is back");
            metrics::counter!("yibiao_errors_total", "stage" => "topics", "code" => "outside_away")
                .increment(1);
            self.show(1.0);
        }
    }

    pub(crate) fn is_back(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            let since = *self.since.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            tracing::info!(
                client = self.client,
                away_ms = since.elapsed().as_millis() as u64,
                "the broker is back"
            );
            self.show(0.0);
        }
    }

    fn show(&self, away: f64) {
        metrics::gauge!("yibiao_broker_away", "client" => self.client.clone()).set(away);
    }

    /// An event that concerns no single record.
    pub(crate) fn event(&self, error: &KafkaError, detail: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.went_away(detail),
            // One connection of several, or an idle one that the broker closed: librdkafka opens it again.
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::OperationTimedOut) => {
                tracing::debug!(client = self.client, %error, detail, "connection lost");
            }
            Some(
                RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::SSL,
            ) => {
                tracing::error!(client = self.client, %error, detail, "the broker refuses this client, check its security properties");
                metrics::counter!("yibiao_errors_total", "stage" => "topics", "code" => "operator")
                    .increment(1);
            }
            _ => tracing::warn!(client = self.client, %error, detail, "kafka client event"),
        }
    }
}

impl Drop for Health {
    /// Nobody would say that the broker is back.
    fn drop(&mut self) {
        if self.is_away() {
            self.show(0.0);
        }
    }
}

/// The callbacks of one client.
pub(crate) struct Watch(pub(crate) Arc<Health>);

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = &self.0.client;
        match level {
            // These repeat with every attempt to connect; `went_away` has said it once.
            _ if matches!(facility, "FAIL" | "ERROR") => {
                tracing::debug!(client, facility, message, "librdkafka")
            }
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(client, facility, message, "librdkafka"),
            _ => tracing::debug!(client, facility, message, "librdkafka"),
        }
    }

    /// Only one word of the statistics is of use here, so they are not parsed.
    fn stats_raw(&self, statistics: &[u8]) {
        const UP: &[u8] = b"\"state\":\"UP\"";
        if self.0.is_away() && statistics.windows(UP.len()).any(|window| window == UP) {
            self.0.is_back();
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.event(&error, reason);
    }
}

impl ConsumerContext for Watch {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(client = self.0.client, %error, "the position for display was not committed");
        }
    }
}
