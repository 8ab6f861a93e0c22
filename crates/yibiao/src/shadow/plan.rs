//! What a shadow is made of. Written before anything else of it, so that a run that was killed is continued with the same.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;
use yibiao_fusion::Rules;
use yibiao_normalise::shard::contract_hash;
use yibiao_records::{FeedId, TopicPartition};
use yibiao_topics::{Range, View};

use super::{Name, ranges::Moment};
use crate::installation::Installation;

/// By which gazetteer addresses are resolved: one to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gazetteer {
    /// One of the installation's.
    Version(String),
    /// Built of the standard addresses that the shadow itself has normalised, once all of them are.
    Own,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Empty: all that have a contract and a raw topic.
    pub feeds: Vec<FeedId>,
    pub from: Option<Moment>,
    pub to: Option<Moment>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub name: Name,
    pub begun_at: DateTime<Utc>,
    /// The folder of contracts, tables and rules, and a hash of what they mean.
    pub pipelines: PathBuf,
    pub pipelines_hash: String,
    /// None where no feed resolves addresses.
    pub gazetteer: Option<Gazetteer>,
    pub std_partitions: u32,
    pub asked: Asked,
    /// What is read: by feed and raw partition.
    pub feeds: BTreeMap<FeedId, BTreeMap<i32, Range>>,
    /// Everything was brought to the lake.
    pub is_complete: bool,
}

impl Plan {
    /// The part of the cluster that it reads, and the names of what it writes.
    pub fn view(&self) -> View {
        let of_feed = |(feed, partitions): (&FeedId, &BTreeMap<i32, Range>)| {
            let topic = feed.raw_topic();
            let of = |(partition, range): (&i32, &Range)| {
                (TopicPartition::new(topic.as_str(), *partition), *range)
            };
            partitions.iter().map(of).collect::<Vec<_>>()
        };
        View::new(self.name.topics(), self.feeds.iter().flat_map(of_feed))
    }

    /// Offsets that it reads.
    pub fn records(&self) -> u64 {
        self.feeds.values().flat_map(BTreeMap::values).map(Range::len).sum()
    }

    /// Refuses contracts, tables or rules that are not those it was begun with: half of it would be made by the others.
    pub fn check_pipelines(&self, found: &str) -> Result<()> {
        if self.pipelines_hash == found {
            return Ok(());
        }
        bail!(
            "what {} says, or the program, is another than when the shadow {} was begun: put back what it was, or \
             `yibiao shadow drop {}` and begin anew",
            self.pipelines.display(),
            self.name,
            self.name
        )
    }
}

/// A hash of everything in an installation that decides what becomes of a record.
pub async fn hash(installation: &Installation) -> Result<String> {
    let rules = Rules::load(&installation.rules, &installation.tables).await?;
    let mut hash = Xxh3::new();
    for contract in installation.contracts.iter() {
        hash.update(format!("{} {:032x}\n", contract.feed, contract_hash(contract)).as_bytes());
        hash.update(format!("{:?}\n", contract.ingest.full_dump).as_bytes());
    }
    for kind in installation.kinds.iter() {
        hash.update(format!("{} {:?}\n", kind.name, kind.columns).as_bytes());
    }
    hash.update(installation.tables.places().fingerprint.as_bytes());
    hash.update(rules.fingerprint().as_bytes());
    Ok(format!("{:016x}", hash.digest()))
}
