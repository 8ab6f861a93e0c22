//! `yibiao sql`: one query over the fused tables.

use std::path::PathBuf;

use anyhow::{Context, Result};
use yibiao_serve::{Format, run_sql, sql};
use yibiao_tables::{Lake, lake::Layout};

use crate::{config::Config, installation::Installation};

/// Query the fused tables: `places`, `warnings`, their change logs `places_changes` and `warnings_changes`, and
/// `fact_<kind>`; `select * from catalogue` describes them.
#[derive(Debug, clap::Args)]
pub struct Sql {
    /// One statement that reads.
    query: String,

    /// The lake's folder; that of the configuration where it is left out.
    #[arg(long)]
    lake: Option<PathBuf>,

    #[arg(long, default_value = "yibiao.toml")]
    config: PathBuf,

    /// Where the tables are declared.
    #[arg(long, default_value = "pipelines")]
    pipelines: PathBuf,

    /// table, csv or json
    #[arg(long, default_value = "table")]
    format: Format,
}

impl Sql {
    pub async fn run(self) -> Result<()> {
        let (lake, pipelines, shards) = match self.lake {
            Some(lake) => (lake, self.pipelines, yibiao_topics::Layout::default().std_partitions),
            None => {
                let config =
                    Config::read(&self.config).context("say where the tables are: --lake, or --config")?;
                (config.layout().lake, config.pipelines, config.topics.std_partitions)
            }
        };
        let installation = Installation::load(&pipelines)?;
        let location = lake.to_str().context("the lake's path is not UTF-8")?;
        let lake = Lake::open(location, Layout::new(&installation.tables, shards))?;
        let answer = run_sql(&lake.session([])?, &self.query).await?;
        sql::write(&answer, self.format, std::io::stdout().lock())?;
        Ok(())
    }
}
