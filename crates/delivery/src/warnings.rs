//! The topic `centre.<id>.warnings`: one JSON record for each change of a warning.
//!
//! The centre's Delta table says up to which offset of the topic everything is committed. What lies beyond was
//! sent by a process that died before its commit: it is read once at the start, and not sent again.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
    error::ArrowError,
    json::LineDelimitedWriter,
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value as Json;
use yibiao_records::Column;
use yibiao_tables::lake::layout;
use yibiao_topics::{Client, Layout, NextOffset, Outgoing, Producer, TopicPartition};

use crate::Error;

/// How long the broker may take before the centre waits for the next round.
const PATIENCE: Duration = Duration::from_secs(30);
const RUN: usize = 1_000;
/// The state of a warning that does not fire any more.
const CLEARED: &str = "cleared";

/// The header that names a record: `<shard>:<sequence>`, or `cleared:<warning id>` where the lake does not know a warning any
/// more that the centre was told of.
pub const CHANGE: &str = "change";

/// The header that says for which grant and lake it was sent: numbers of changes of another lake are others.
pub const FINGERPRINT: &str = "fingerprint";

/// One change of a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub shard: i64,
    pub sequence: i64,
    pub id: String,
    pub json: String,
    /// See [`Warning::cleared`].
    pub is_unknown: bool,
}

impl Warning {
    /// What the centre is told of a warning that it was told of last as `self`, and of which the lake knows nothing any more: its
    /// tables were replaced by those of another history. None where it was cleared before.
    pub fn cleared(&self, at: DateTime<Utc>, columns: &[Column]) -> Option<Warning> {
        let mut json: Json = serde_json::from_str(&self.json).ok()?;
        let told = json.as_object_mut()?;
        if told.get("state").and_then(Json::as_str) == Some(CLEARED) {
            return None;
        }
        let at = Json::from(at.to_rfc3339_opts(SecondsFormat::Secs, true));
        // As a clearing looks, in the columns that the centre receives.
        for (column, value) in [
            ("state", Json::from(CLEARED)),
            (layout::OPERATION, Json::from("update")),
            (layout::RECORDED_AT, at.clone()),
            ("updated_at", at.clone()),
            ("cleared_at", at),
        ] {
            if columns.iter().any(|granted| granted.name == column) {
                told.insert(column.to_owned(), value);
            }
        }
        Some(Warning { json: json.to_string(), is_unknown: true, ..self.clone() })
    }

    fn name(&self) -> String {
        match self.is_unknown {
            true => format!("{CLEARED}:{}", self.id),
            false => format!("{}:{}", self.shard, self.sequence),
        }
    }

    /// The rows of a batch, as JSON objects; the evidence as JSON, not as text.
    pub fn of(rows: &RecordBatch) -> Result<Vec<Warning>, ArrowError> {
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(rows)?;
        writer.finish()?;
        let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
        let missing = |name: &str| ArrowError::SchemaError(format!("the warnings lack the column {name}"));
        let numbers = |name: &str| {
            let column = rows.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
            column.ok_or_else(|| missing(name))
        };
        let (shards, sequences) = (numbers(layout::SHARD)?, numbers(layout::SEQUENCE)?);
        let ids = rows.column_by_name("warning_id").and_then(|column| column.as_string_opt::<i32>());
        let ids = ids.ok_or_else(|| missing("warning_id"))?;
        text.lines()
            .enumerate()
            .map(|(row, line)| {
                let mut json: Json =
                    serde_json::from_str(line).map_err(|error| ArrowError::JsonError(error.to_string()))?;
                if let Some(evidence) = json.get_mut("evidence")
                    && let Some(nested) = evidence.as_str().and_then(|text| serde_json::from_str(text).ok())
                {
                    *evidence = nested;
                }
                Ok(Warning {
                    shard: shards.value(row),
                    sequence: sequences.value(row),
                    id: ids.value(row).to_owned(),
                    json: json.to_string(),
                    is_unknown: false,
                })
            })
            .collect()
    }
}

/// One centre's topic.
pub struct Topic {
    centre: String,
    name: String,
    client: Client,
    producer: Producer,
    partitions: u32,
    /// See [`crate::ship::Shipment::fingerprint`].
    fingerprint: Option<u64>,
    /// Sent, and perhaps acknowledged, since the last commit.
    sent: HashSet<String>,
}

impl Topic {
    /// Makes the topic if it is not there, and reads what was sent after `committed` (partition to offset).
    pub async fn open(
        client: &Client,
        topics: &Layout,
        centre: &str,
        committed: &BTreeMap<u32, u64>,
        fingerprint: Option<u64>,
    ) -> Result<Self, Error> {
        let spec = topics.warnings(centre);
        let mut topic = Self {
            centre: centre.to_owned(),
            name: spec.name.clone(),
            client: client.clone(),
            producer: client.producer()?,
            partitions: spec.partitions,
            fingerprint,
            sent: HashSet::new(),
        };
        topic.within(client.ensure(&[spec])).await?;
        topic.within(topic.uncommitted(committed)).await.map(|sent| topic.sent = sent)?;
        Ok(topic)
    }

    /// How many partitions the topic of a centre has.
    pub fn partitions(topics: &Layout, centre: &str) -> u32 {
        topics.warnings(centre).partitions
    }

    /// The position in the centre's table that says through where a partition is committed.
    pub fn position(partition: u32) -> String {
        format!("topic-{partition}")
    }

    async fn uncommitted(&self, committed: &BTreeMap<u32, u64>) -> Result<HashSet<String>, Error> {
        let (mut start, mut ends) = (Vec::new(), BTreeMap::new());
        for partition in 0..self.partitions {
            let tp = TopicPartition::new(self.name.as_str(), partition as i32);
            let marks = self.client.watermarks(&tp).await?;
            let from = committed.get(&partition).and_then(|offset| NextOffset::new(*offset as i64));
            let from = from.unwrap_or(NextOffset::START).max(marks.low);
            if from < marks.high {
                ends.insert(tp.partition, marks.high);
                start.push((tp, from));
            }
        }
        let mut sent = HashSet::new();
        if start.is_empty() {
            return Ok(sent);
        }
        let mut reader = self.client.reader(&format!("deliver.{}", self.centre), start)?;
        while !ends.is_empty() {
            let batch = reader.next_batch(RUN, Duration::from_millis(200)).await?;
            let ours = self.fingerprint_text();
            for message in &batch.messages {
                if message.header(FINGERPRINT) != Some(ours.as_bytes()) {
                    continue;
                }
                let name = message.header(CHANGE).and_then(|name| std::str::from_utf8(name).ok());
                sent.extend(name.map(str::to_owned));
            }
            for (tp, next) in batch.next_offsets() {
                if ends.get(&tp.partition).is_some_and(|end| next >= *end) {
                    ends.remove(&tp.partition);
                }
            }
        }
        tracing::info!(
            topic = self.name,
            records = sent.len(),
            "found warnings that were sent and not committed"
        );
        Ok(sent)
    }

    /// Sends what was not sent yet, in the order of the changes, after what is unknown now, and waits until it is acknowledged.
    pub async fn send(&mut self, mut warnings: Vec<Warning>) -> Result<u64, Error> {
        warnings.sort_by_key(|warning| (!warning.is_unknown, warning.shard, warning.sequence));
        let mut count = 0;
        let fingerprint = self.fingerprint_text();
        for run in warnings.chunks(RUN) {
            self.within(self.producer.ready()).await?;
            for warning in run {
                let change = warning.name();
                if self.sent.contains(&change) {
                    continue;
                }
                self.producer.send(Outgoing {
                    topic: &self.name,
                    partition: None,
                    key: Some(warning.id.as_bytes()),
                    value: Some(warning.json.as_bytes()),
                    headers: &[(CHANGE, change.as_bytes()), (FINGERPRINT, fingerprint.as_bytes())],
                    timestamp_ms: None,
                })?;
                // Noted now: after a time-out it is still on its way, and must not be sent a second time.
                self.sent.insert(change);
                count += 1;
            }
        }
        self.within(self.producer.flush()).await?;
        Ok(count)
    }

    /// Through where everything will be committed, by the names of [`Topic::position`].
    pub async fn positions(&self) -> Result<Vec<(String, u64)>, Error> {
        let mut positions = Vec::new();
        for partition in 0..self.partitions {
            let tp = TopicPartition::new(self.name.as_str(), partition as i32);
            let marks = self.within(self.client.watermarks(&tp)).await?;
            positions.push((Self::position(partition), marks.high.get() as u64));
        }
        Ok(positions)
    }

    /// The centre's table now says that everything was sent.
    pub fn committed(&mut self) {
        self.sent.clear();
    }

    /// A topic whose producer refused a record must be opened again.
    pub fn is_broken(&self) -> bool {
        self.producer.is_poisoned()
    }

    /// Whether it was opened for this grant and lake.
    pub fn is_for(&self, fingerprint: Option<u64>) -> bool {
        self.fingerprint == fingerprint
    }

    fn fingerprint_text(&self) -> String {
        format!("{:016x}", self.fingerprint.unwrap_or_default())
    }

    async fn within<T, E: Into<Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Error> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(outcome) => outcome.map_err(Into::into),
            Err(_) => Err(Error::TopicAway {
                centre: self.centre.clone(),
                topic: self.name.clone(),
                seconds: PATIENCE.as_secs(),
            }),
        }
    }
}
