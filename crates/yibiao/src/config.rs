//! The configuration file: which stages run here, where their data lies, and how they reach the outside.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use yibiao_connectors::SourceConfig;
use yibiao_records::FeedId;

use crate::in_use;

/// The stages that a process can run. A shard's fusion, its projection to the lake and its live rows belong to
/// one process at a time, because a state store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Bring the sources' records into raw topics.
    Connect,
    /// Raw records to facts.
    Normalise,
    /// Facts to fused rows, warnings and Delta tables.
    Fusion,
    /// Hand each centre what it may have.
    Deliver,
    /// SQL on the PostgreSQL wire, the status page.
    Serve,
}

impl Stage {
    pub const ALL: [Stage; 5] =
        [Stage::Connect, Stage::Normalise, Stage::Fusion, Stage::Deliver, Stage::Serve];
}

/// `yibiao.toml`. Paths are relative to the working folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// State, gazetteer, lake and deliveries lie below this folder.
    pub data: PathBuf,
    /// Where the lake lies, if not below `data`: a folder or `s3://bucket/prefix`, one place for all processes, where shards move
    /// between machines.
    pub lake: Option<PathBuf>,
    /// Feeds, fact kinds, tables, rules and deliveries.
    #[serde(default = "pipelines")]
    pub pipelines: PathBuf,
    #[serde(default = "all_stages")]
    pub stages: Vec<Stage>,
    pub kafka: yibiao_topics::ClientConfig,
    /// How topics are made that are not there yet. `std_partitions` is also the number of fusion shards: it
    /// cannot be changed later without a replay.
    #[serde(default)]
    pub topics: yibiao_topics::Layout,
    /// Where each feed's records come from, by feed id.
    #[serde(default)]
    pub sources: BTreeMap<FeedId, SourceConfig>,
    #[serde(default)]
    pub normalise: yibiao_normalise::Config,
    #[serde(default)]
    pub fusion: yibiao_fusion::Config,
    #[serde(default)]
    pub project: yibiao_tables::lake::Config,
    #[serde(default)]
    pub serve: Serve,
}

/// Ports. Loopback unless told otherwise: put a proxy with authentication before anything wider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// PostgreSQL wire.
    pub sql: SocketAddr,
    /// Prometheus.
    pub metrics: SocketAddr,
    /// Status page and JSON.
    pub status: SocketAddr,
    /// What all SQL queries of this process may take together, MiB. Sorts, joins and groups that need more go on in files.
    pub sql_memory_mib: usize,
    /// Those files, below the data folder, MiB.
    pub sql_spill_mib: u64,
}

impl Default for Serve {
    fn default() -> Self {
        let port = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            sql: port(5433),
            metrics: port(9464),
            status: port(8080),
            sql_memory_mib: 512,
            sql_spill_mib: 8192,
        }
    }
}

fn pipelines() -> PathBuf {
    "pipelines".into()
}

fn all_stages() -> Vec<Stage> {
    Stage::ALL.to_vec()
}

impl Config {
    /// Refuses a data folder in which a swap of tables was cut short.
    pub fn read(path: &Path) -> Result<Self> {
        let config = Self::parse(path)?;
        in_use::refuse_half_done(&config.data)?;
        Ok(config)
    }

    /// As [`Config::read`], for the command that goes on with a swap.
    pub fn parse(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the configuration {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("the configuration {} is not valid", path.display()))
    }

    /// Which shards this process is to have must be one thing, and possible.
    pub fn check_shards(&self) -> Result<()> {
        let (fusion, partitions) = (&self.fusion, self.topics.std_partitions);
        if let Some(number) = fusion.shards.iter().find(|number| **number >= partitions) {
            bail!(
                "fusion.shards names shard {number}, but topics.std_partitions is {partitions}: shards count from 0"
            );
        }
        if !fusion.shards.is_empty() && fusion.follow {
            bail!(
                "fusion.shards names this process's shards, and fusion.follow lets a group give them: leave one out"
            );
        }
        if !fusion.shards.is_empty() && fusion.checkpoints.is_none() {
            bail!(
                "fusion.shards gives this process some of the shards: that needs fusion.checkpoints, by which they move"
            );
        }
        if fusion.follow && fusion.checkpoints.is_none() {
            bail!("fusion.follow lets shards come and go: that needs fusion.checkpoints, by which they move");
        }
        Ok(())
    }

    /// Whether the normaliser stays here or moves must be possible.
    pub fn check_normaliser(&self) -> Result<()> {
        if self.normalise.follow && self.normalise.checkpoints.is_none() {
            bail!(
                "normalise.follow lets the normaliser come and go: that needs normalise.checkpoints, by which it moves"
            );
        }
        Ok(())
    }

    /// For those who have all shards for themselves, beside the processes that take the real ones from each other.
    pub fn with_own_shards(mut self) -> Self {
        self.normalise.checkpoints = None;
        self.normalise.follow = false;
        self.fusion.checkpoints = None;
        self.fusion.shards.clear();
        self.fusion.follow = false;
        self
    }

    pub fn layout(&self) -> Layout {
        let mut layout = Layout::new(&self.data);
        if let Some(lake) = &self.lake {
            layout.lake.clone_from(lake);
        }
        layout
    }
}

/// Where things lie below the data folder.
#[derive(Debug, Clone)]
pub struct Layout {
    pub normalise: PathBuf,
    pub fusion: PathBuf,
    pub gazetteer: PathBuf,
    pub lake: PathBuf,
    pub deliveries: PathBuf,
    pub audit: PathBuf,
    pub broker: PathBuf,
    /// Files of SQL queries that need more memory than they may have.
    pub spill: PathBuf,
}

impl Layout {
    pub fn new(data: &Path) -> Self {
        Self {
            normalise: data.join("state/normalise"),
            fusion: data.join("state/fusion"),
            gazetteer: data.join("gazetteer"),
            lake: data.join("lake"),
            deliveries: data.join("deliveries"),
            audit: data.join("audit"),
            broker: data.join("broker"),
            spill: data.join("spill"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(fusion: &str) -> Config {
        let text = format!("data = \"data\"\n[kafka]\n[topics]\nstd_partitions = 4\n[fusion]\n{fusion}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_shadow_takes_no_shard_from_the_real_processes() {
        for moving in ["follow = true", "shards = [1]"] {
            let shadow = config(&format!("checkpoints = \"checkpoints\"\n{moving}")).with_own_shards();
            assert_eq!(shadow.fusion, config("").fusion);
        }
    }

    #[test]
    fn which_shards_a_process_has_is_said_once_and_needs_a_place_for_checkpoints() {
        let problem =
            |text: &str| config(text).check_shards().err().map(|error| error.to_string()).unwrap_or_default();
        let checkpoints = "checkpoints = \"checkpoints\"\n";
        assert_eq!(problem(""), "");
        assert_eq!(problem(&format!("{checkpoints}follow = true")), "");
        assert_eq!(problem(&format!("{checkpoints}shards = [0, 3]")), "");
        assert!(problem("follow = true").contains("that needs fusion.checkpoints"));
        assert!(problem("shards = [0]").contains("that needs fusion.checkpoints"));
        assert!(problem(&format!("{checkpoints}follow = true\nshards = [0]")).contains("leave one out"));
        assert!(problem(&format!("{checkpoints}shards = [4]")).contains("count from 0"));
    }
}
