//! All topics of the system, in one typed description.
//!
//! | topic | key | value | headers |
//! |---|---|---|---|
//! | `raw.<department>.<feed>` | the source's primary key | the record's untouched bytes | `provenance` |
//! | | none | none: which gazetteer is in force behind it, where the normaliser moves | `gazetteer` |
//! | `quarantine.<department>.<feed>` | as raw | as raw | `provenance`, `rejection` |
//! | `std.<kind>` | none: the partition is the place's shard | a frame of facts (Arrow IPC) | `frame` |
//! | `changes.<table>` | place id | a change of a fused row | |
//! | `centre.<id>.warnings` | warning id | a warning (JSON) | |
//! | `yibiao.cursors` | feed id | where its connector resumes | |
//! | `yibiao.shards` | | nothing: a group deals out its partitions, which stand for the fusion shards | |
//! | `yibiao.normaliser` | | nothing: a group gives its one partition, which stands for the normaliser, to one process | |

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use yibiao_records::FeedId;

use crate::duration;

/// The name of the compacted topic of connectors' cursors.
pub const CURSORS: &str = "yibiao.cursors";

/// The name of the topic whose partitions stand for the fusion shards.
pub const SHARDS: &str = "yibiao.shards";

/// The name of the topic whose one partition stands for the normaliser.
pub const NORMALISER: &str = "yibiao.normaliser";

/// When records leave a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// After this time; None keeps them for ever.
    Delete { retention: Option<Duration> },
    /// When a later record has the same key.
    Compact,
}

/// One topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: u32,
    pub replication: u16,
    pub cleanup: Cleanup,
    /// None leaves the cluster's own limit.
    pub max_record_bytes: Option<u32>,
}

impl TopicSpec {
    pub(crate) fn settings(&self) -> BTreeMap<&'static str, String> {
        let mut settings = BTreeMap::new();
        match self.cleanup {
            Cleanup::Delete { retention } => {
                settings.insert("cleanup.policy", "delete".to_owned());
                let retention_ms = retention.map_or("-1".to_owned(), |time| time.as_millis().to_string());
                settings.insert("retention.ms", retention_ms);
            }
            Cleanup::Compact => {
                settings.insert("cleanup.policy", "compact".to_owned());
            }
        }
        if let Some(bytes) = self.max_record_bytes {
            settings.insert("max.message.bytes", bytes.to_string());
        }
        settings
    }
}

/// How many partitions and replicas the system's topics have, and how long they keep records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    pub raw_partitions: u32,
    /// The number of shards: every std topic has as many partitions.
    pub std_partitions: u32,
    pub replication: u16,
    #[serde(with = "duration")]
    pub raw_retention: Duration,
    #[serde(with = "duration")]
    pub quarantine_retention: Duration,
    #[serde(with = "duration")]
    pub std_retention: Duration,
    #[serde(with = "duration")]
    pub warnings_retention: Duration,
    pub max_record_bytes: u32,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Layout {
    fn default() -> Self {
        Self {
            raw_partitions: 2,
            std_partitions: 4,
            replication: 1,
            raw_retention: DAY * 30,
            quarantine_retention: DAY * 180,
            std_retention: DAY * 30,
            warnings_retention: DAY * 365,
            max_record_bytes: 8 << 20,
        }
    }
}

impl Layout {
    fn spec(&self, name: String, partitions: u32, cleanup: Cleanup) -> TopicSpec {
        TopicSpec {
            name,
            partitions,
            replication: self.replication,
            cleanup,
            max_record_bytes: Some(self.max_record_bytes),
        }
    }

    pub fn raw(&self, feed: &FeedId) -> TopicSpec {
        let cleanup = Cleanup::Delete { retention: Some(self.raw_retention) };
        self.spec(feed.raw_topic(), self.raw_partitions, cleanup)
    }

    pub fn quarantine(&self, feed: &FeedId) -> TopicSpec {
        let cleanup = Cleanup::Delete { retention: Some(self.quarantine_retention) };
        self.spec(feed.quarantine_topic(), self.raw_partitions, cleanup)
    }

    pub fn std(&self, kind: &str) -> TopicSpec {
        let cleanup = Cleanup::Delete { retention: Some(self.std_retention) };
        self.spec(format!("std.{kind}"), self.std_partitions, cleanup)
    }

    pub fn changes(&self, table: &str) -> TopicSpec {
        let cleanup = Cleanup::Delete { retention: Some(self.std_retention) };
        self.spec(format!("changes.{table}"), self.std_partitions, cleanup)
    }

    pub fn warnings(&self, centre: &str) -> TopicSpec {
        let cleanup = Cleanup::Delete { retention: Some(self.warnings_retention) };
        self.spec(format!("centre.{centre}.warnings"), 1, cleanup)
    }

    pub fn cursors(&self) -> TopicSpec {
        self.spec(CURSORS.to_owned(), 1, Cleanup::Compact)
    }

    pub fn shards(&self) -> TopicSpec {
        let cleanup = Cleanup::Delete { retention: Some(self.std_retention) };
        self.spec(SHARDS.to_owned(), self.std_partitions, cleanup)
    }

    pub fn normaliser(&self) -> TopicSpec {
        let cleanup = Cleanup::Delete { retention: Some(self.std_retention) };
        self.spec(NORMALISER.to_owned(), 1, cleanup)
    }
}

/// The default layout's `raw.<department>.<feed>`.
pub fn raw(feed: &FeedId) -> TopicSpec {
    Layout::default().raw(feed)
}

/// The default layout's `quarantine.<department>.<feed>`.
pub fn quarantine(feed: &FeedId) -> TopicSpec {
    Layout::default().quarantine(feed)
}

/// The default layout's `std.<kind>`.
pub fn std(kind: &str) -> TopicSpec {
    Layout::default().std(kind)
}

/// The default layout's `centre.<id>.warnings`.
pub fn warnings(centre: &str) -> TopicSpec {
    Layout::default().warnings(centre)
}

/// The default layout's `yibiao.cursors`.
pub fn cursors() -> TopicSpec {
    Layout::default().cursors()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_follow_the_table_above() {
        let feed: FeedId = "utilities/water-readings".parse().unwrap();
        let layout = Layout::default();
        let names = [
            layout.raw(&feed),
            layout.quarantine(&feed),
            layout.std("water"),
            layout.changes("dwelling"),
            layout.warnings("nanjing"),
            layout.cursors(),
        ]
        .map(|spec| spec.name);
        assert_eq!(
            names,
            [
                "raw.utilities.water-readings",
                "quarantine.utilities.water-readings",
                "std.water",
                "changes.dwelling",
                "centre.nanjing.warnings",
                "yibiao.cursors"
            ]
        );
        assert_eq!(layout.cursors().settings()["cleanup.policy"], "compact");
    }
}
