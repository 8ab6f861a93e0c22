//! What an operator sets about a cluster.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Error, Group, duration};

/// How records are compressed on the way and on the broker's disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    None,
    /// Little work, about a third of the size: the default.
    #[default]
    Lz4,
    /// More work, about a quarter of the size: for slow networks and disks.
    Zstd,
}

/// One Kafka-compatible cluster and how to talk to it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap: String,
    /// librdkafka's own properties (security and the like). What the program's promises rest on is refused.
    pub properties: BTreeMap<String, String>,
    /// How long a reader waits to ask again after its queue was full. librdkafka's own default of 1 s costs four
    /// fifths of the throughput.
    #[serde(with = "duration")]
    pub fetch_queue_backoff: Duration,
    /// The broker answers a fetch when it has this much, or after `fetch_wait`.
    pub fetch_min_bytes: u32,
    #[serde(with = "duration")]
    pub fetch_wait: Duration,
    /// How long a producer waits for more records before it sends a batch.
    #[serde(with = "duration")]
    pub linger: Duration,
    pub compression: Compression,
    /// Limits of a producer's and of a reader's queue.
    pub queue_records: u32,
    pub queue_bytes: u32,
    /// The longest record, key and headers included; topics are created with the same limit.
    pub max_record_bytes: u32,
    /// How long one request may take, and how long `send` waits for room in the queue.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// How long questions about topics are repeated while the broker is away.
    #[serde(with = "duration")]
    pub patience: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap: "127.0.0.1:9092".into(),
            properties: BTreeMap::new(),
            fetch_queue_backoff: Duration::from_millis(10),
            fetch_min_bytes: 1,
            fetch_wait: Duration::from_millis(500),
            linger: Duration::from_millis(5),
            compression: Compression::default(),
            queue_records: 100_000,
            queue_bytes: 16 << 20,
            max_record_bytes: 8 << 20,
            request_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(30),
        }
    }
}

/// Properties may hold secrets, so only their names are shown.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

/// What exactly-once, ordering and the absence of silent loss rest on.
const RESERVED: [&str; 19] = [
    "bootstrap.servers",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "enable.idempotence",
    "acks",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "request.required.acks",
    "retries",
    "message.send.max.retries",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "partitioner",
    "transactional.id",
];

impl ClientConfig {
    /// A cluster at `bootstrap`, all else by default.
    pub fn at(bootstrap: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into(), ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(name) = self.properties.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(Error::ReservedProperty { name: name.clone() });
        }
        if self.bootstrap.trim().is_empty() {
            return Err(Error::Config { detail: "bootstrap is empty".into() });
        }
        if self.queue_records == 0 || self.queue_bytes < 1 << 20 || self.max_record_bytes < 1 << 16 {
            return Err(Error::Config {
                detail: "queue_records must be at least 1, queue_bytes 1 MiB and max_record_bytes 64 KiB"
                    .into(),
            });
        }
        Ok(())
    }

    fn base(&self, client_id: &str) -> rdkafka::ClientConfig {
        let mut config = rdkafka::ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", client_id)
            .set("message.max.bytes", self.max_record_bytes.to_string())
            .set("socket.timeout.ms", self.request_timeout.as_millis().to_string())
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            // Every client hears within this time that the broker is back (see health.rs).
            .set("statistics.interval.ms", "1000")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Warning);
        config
    }

    fn with_properties(&self, mut config: rdkafka::ClientConfig) -> rdkafka::ClientConfig {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    pub(crate) fn admin(&self) -> rdkafka::ClientConfig {
        self.with_properties(self.base("yibiao-admin"))
    }

    pub(crate) fn producer(&self) -> rdkafka::ClientConfig {
        let mut config = self.base("yibiao-producer");
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // With more, the first batch to a partition is lost where its leader refuses it for not being ready and takes the
            // second: brokers take any sequence from a producer that they do not know yet, and librdkafka believes the
            // first to be there once a later one is acknowledged.
            .set("max.in.flight.requests.per.connection", "1")
            // Never given up: what was accepted by `send` waits for the broker for as long as the process lives.
            .set("message.timeout.ms", "0")
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("partitioner", "murmur2_random")
            .set("queue.buffering.max.messages", self.queue_records.to_string())
            .set("queue.buffering.max.kbytes", (self.queue_bytes >> 10).to_string())
            .set(
                "compression.type",
                match self.compression {
                    Compression::None => "none",
                    Compression::Lz4 => "lz4",
                    Compression::Zstd => "zstd",
                },
            );
        self.with_properties(config)
    }

    pub(crate) fn reader(&self, name: &str) -> rdkafka::ClientConfig {
        let mut config = self.base(&format!("yibiao-{name}"));
        config
            // Committed offsets only display lag, so the group is never joined, only named.
            .set("group.id", format!("yibiao.{name}"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", self.fetch_queue_backoff.as_millis().to_string())
            .set("fetch.min.bytes", self.fetch_min_bytes.max(1).to_string())
            .set("fetch.wait.max.ms", self.fetch_wait.as_millis().to_string())
            .set("fetch.message.max.bytes", self.max_record_bytes.max(1 << 20).to_string())
            .set("fetch.max.bytes", self.max_record_bytes.max(32 << 20).to_string())
            .set("receive.message.max.bytes", (self.max_record_bytes.max(32 << 20) + (1 << 20)).to_string())
            .set("queued.min.messages", self.queue_records.to_string())
            .set("queued.max.messages.kbytes", (self.queue_bytes >> 10).to_string());
        self.with_properties(config)
    }

    /// Of a member that reads nothing.
    pub(crate) fn member(&self, group: &Group) -> rdkafka::ClientConfig {
        let session_ms = group.session.as_millis();
        // Within it a member must answer; it is polled all the time, so nothing else needs it.
        let rebalance_ms = session_ms + group.hand_over.as_millis() + 10_000;
        let mut config = self.base(&format!("yibiao-{}", group.name));
        config
            .set("group.id", &group.name)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 5).max(100).to_string())
            .set("max.poll.interval.ms", rebalance_ms.to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest");
        self.with_properties(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_property_that_would_lose_records_is_refused_by_name() {
        let mut config = ClientConfig::at("127.0.0.1:1");
        config.properties.insert("enable.idempotence".into(), "false".into());
        assert!(config.check().unwrap_err().to_string().contains("enable.idempotence"));
    }

    #[test]
    fn durations_are_written_in_words_and_unknown_fields_are_denied() {
        let config: ClientConfig =
            serde_json::from_str(r#"{"bootstrap":"k:9092","fetch_queue_backoff":"25ms"}"#).unwrap();
        assert_eq!(config.fetch_queue_backoff, Duration::from_millis(25));
        assert!(serde_json::from_str::<ClientConfig>(r#"{"bootstrapp":"k"}"#).is_err());
        assert!(serde_json::from_str::<ClientConfig>(r#"{"linger":"soon"}"#).is_err());
    }

    #[test]
    fn secrets_do_not_appear_in_debug_output() {
        let mut config = ClientConfig::default();
        config.properties.insert("sasl.password".into(), "geheim".into());
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
