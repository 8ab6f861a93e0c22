//! `yibiao check`: every problem of everything that is declared, at once.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use yibiao_delivery::Grant;
use yibiao_fusion::Rules;
use yibiao_tables::{Tables, lake};

use crate::{config::Config, installation};

/// Check contracts, tables, rules, deliveries and the configuration; lists every problem at once.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Also this configuration; its folder of pipelines is then checked.
    #[arg(long)]
    config: Option<PathBuf>,

    #[arg(long, default_value = "pipelines")]
    pipelines: PathBuf,
}

impl Check {
    pub async fn run(self) -> Result<()> {
        let mut problems: Vec<String> = Vec::new();
        let config = match self.config.as_deref().map(Config::read).transpose() {
            Ok(config) => config,
            Err(error) => {
                problems.push(format!("{error:#}"));
                None
            }
        };
        let moving = config.iter().flat_map(|config| [config.check_shards(), config.check_normaliser()]);
        problems.extend(moving.filter_map(Result::err).map(|error| error.to_string()));
        let pipelines = config.as_ref().map_or(self.pipelines, |config| config.pipelines.clone());
        let kinds = installation::kinds(&pipelines)?;
        let mut feeds = 0;
        match yibiao_contracts::load_dir(&pipelines.join("feeds"), &kinds) {
            Ok(contracts) => {
                feeds = contracts.len();
                let sources = config.iter().flat_map(|config| config.sources.keys());
                problems.extend(
                    sources.filter(|feed| contracts.get(feed).is_none()).map(|feed| {
                        format!("the configuration has a source for {feed}, which has no contract")
                    }),
                );
                let declared = config.iter().flat_map(|config| &config.sources);
                let both = declared.filter_map(|(feed, source)| Some((contracts.get(feed)?, source)));
                let refused =
                    both.filter_map(|(contract, source)| yibiao_connectors::check(contract, source).err());
                problems.extend(refused.map(|error| error.to_string()));
            }
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
        match Tables::load(&pipelines.join("tables"), &kinds, installation::BUCKETS_PER_SHARD) {
            Ok(tables) => {
                if let Err(error) = Rules::load(&pipelines.join("rules"), &tables).await {
                    problems.push(error.to_string());
                }
                let layout = lake::Layout::new(&tables, yibiao_topics::Layout::default().std_partitions);
                if let Err(error) = Grant::load_dir(&pipelines.join("deliveries"), &layout) {
                    problems.push(error.to_string());
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
        if problems.is_empty() {
            writeln!(std::io::stdout(), "{feeds} feeds, tables, rules and deliveries are in order")?;
            return Ok(());
        }
        for problem in &problems {
            writeln!(std::io::stdout(), "{problem}")?;
        }
        bail!("{} problems", problems.len())
    }
}
