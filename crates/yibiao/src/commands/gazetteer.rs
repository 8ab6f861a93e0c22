//! `yibiao gazetteer`: build or describe it.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use yibiao_address::Gazetteer as Built;
use yibiao_connectors::Mode;
use yibiao_normalise::{GazetteerFolder, Normaliser};

use crate::{config::Config, pipeline::Pipeline};

/// Build or describe the gazetteer.
#[derive(Debug, clap::Subcommand)]
pub enum Gazetteer {
    /// Build from the standard addresses and names that were normalised so far, and put the result in force. The
    /// stage `normalise` does this by itself; this is for when it does not run.
    Build {
        #[arg(long, default_value = "yibiao.toml")]
        config: PathBuf,
    },
    /// What the gazetteer in force is made of.
    Show {
        /// The folder of gazetteers.
        #[arg(long, default_value = "data/gazetteer")]
        dir: PathBuf,
    },
}

impl Gazetteer {
    pub async fn run(self) -> Result<()> {
        match self {
            Gazetteer::Build { config } => {
                let pipeline = Pipeline::open(Config::read(&config)?, &[], Mode::Once).await?;
                let normaliser = Normaliser::open(
                    pipeline.config.normalise.clone(),
                    Vec::new(),
                    pipeline.installation.kinds.clone(),
                    pipeline.client.clone(),
                    &pipeline.layout.normalise,
                    &pipeline.layout.gazetteer,
                )?;
                let mut builder = yibiao_normalise::GazetteerBuilder::new(
                    &normaliser.editions(),
                    &pipeline.installation.kinds,
                    &pipeline.client,
                    &pipeline.config.normalise,
                )?;
                writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&builder.build().await?)?)?;
                Ok(())
            }
            Gazetteer::Show { dir } => {
                crate::in_use::refuse_half_done(dir.parent().unwrap_or(&dir))?;
                let folder = GazetteerFolder::new(&dir)?;
                let version = folder.current()?.with_context(|| {
                    format!(
                        "{} holds no gazetteer yet: run the pipeline, or `yibiao gazetteer build`",
                        dir.display()
                    )
                })?;
                writeln!(std::io::stdout(), "version {version}")?;
                if let Some(base) = GazetteerFolder::base_of(&version) {
                    let report = Built::open(&folder.path_of(base))?.report().clone();
                    writeln!(
                        std::io::stdout(),
                        "base {}\noverlay, with what it carries over:",
                        serde_json::to_string_pretty(&report)?
                    )?;
                }
                let gazetteer = Built::open(&folder.path_of(&version))?;
                writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(gazetteer.report())?)?;
                Ok(())
            }
        }
    }
}
