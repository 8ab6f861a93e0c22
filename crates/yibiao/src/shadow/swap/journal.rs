//! What a swap notes before its first change: `<data>/swap.json`. When all is done it is called `<data>/swapped.json`, and stays: it
//! says where the history of the present tables begins in the std topics.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use yibiao_records::{FactKinds, NextOffset, TopicPartition};
use yibiao_topics::Client;

use crate::{in_use, shadow::Name};

const DONE: &str = "swapped.json";

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    pub name: Name,
    pub begun_at: DateTime<Utc>,
    /// The ends of the real std topics: what lies before them is of the former history.
    pub std_ends: BTreeMap<String, BTreeMap<i32, NextOffset>>,
}

impl Journal {
    /// None where no swap was begun.
    pub fn read(data: &Path) -> Result<Option<Self>> {
        Self::read_at(&in_use::journal(data))
    }

    /// Of the last swap that was done.
    pub fn last(data: &Path) -> Result<Option<Self>> {
        Self::read_at(&data.join(DONE))
    }

    fn read_at(at: &Path) -> Result<Option<Self>> {
        let bytes = match fs::read(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("reading {}", at.display()))?,
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} was written by another version: go on with that one", at.display()))
    }

    pub fn write(&self, data: &Path) -> Result<()> {
        let (at, next) = (in_use::journal(data), data.join("swap.json.next"));
        let json = serde_json::to_vec_pretty(self)?;
        fs::write(&next, json)
            .and_then(|()| File::open(&next)?.sync_all())
            .and_then(|()| fs::rename(&next, &at))
            .with_context(|| format!("writing {}", at.display()))?;
        sync(data)
    }

    /// The swap is done: other commands may start.
    pub fn end(&self, data: &Path) -> Result<()> {
        let at = in_use::journal(data);
        fs::rename(&at, data.join(DONE)).with_context(|| format!("moving {}", at.display()))?;
        sync(data)
    }

    /// Whether std topics hold something of before for this shard.
    pub fn has_history(&self, shard: u32) -> bool {
        let of_shard = |of: &BTreeMap<i32, NextOffset>| of.get(&(shard as i32)).copied().unwrap_or_default();
        self.std_ends.values().any(|of| of_shard(of) > NextOffset::START)
    }

    pub fn ends(&self) -> Vec<(TopicPartition, NextOffset)> {
        let of = |(topic, partitions): (&String, &BTreeMap<i32, NextOffset>)| {
            let of = |(partition, end): (&i32, &NextOffset)| {
                (TopicPartition::new(topic.as_str(), *partition), *end)
            };
            partitions.iter().map(of).collect::<Vec<_>>()
        };
        self.std_ends.iter().flat_map(of).collect()
    }
}

/// Where the tables lie that the shadow's took the place of.
pub fn former(data: &Path, name: &Name) -> PathBuf {
    data.join("former").join(name.as_str())
}

/// Names in a folder are on the disk.
pub fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("synchronising {}", folder.display()))
}

/// The ends of all std topics.
pub async fn std_ends(
    client: &Client,
    kinds: &FactKinds,
    partitions: u32,
) -> Result<BTreeMap<String, BTreeMap<i32, NextOffset>>> {
    let mut ends = BTreeMap::new();
    for kind in kinds.iter() {
        let topic = kind.std_topic();
        let mut of = BTreeMap::new();
        for partition in 0..partitions as i32 {
            let marks = client.watermarks(&TopicPartition::new(topic.as_str(), partition)).await?;
            of.insert(partition, marks.high);
        }
        ends.insert(topic, of);
    }
    Ok(ends)
}
