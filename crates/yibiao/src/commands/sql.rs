//! `yibiao sql`: one query over the fused tables.

use std::path::PathBuf;

use anyhow::{Context, Result};
use yibiao_serve::{Format, run_sql, sql};
use yibiao_tables::{Lake, lake::Layout, objects::is_remote};

use crate::{config::Config, installation::Installation, resolve_address::resolve_address};

/// Query the fused tables: `places`, `warnings`, their change logs `places_changes` and `warnings_changes`, and
/// `fact_<kind>`; `select * from catalogue` describes them. `resolve_address(text)` gives the place that a text names.
#[derive(Debug, clap::Args)]
pub struct Sql {
    /// One statement that reads.
    query: String,

    /// The lake's folder or URL (`s3://bucket/prefix`); that of the configuration where it is left out.
    #[arg(long)]
    lake: Option<PathBuf>,

    /// The folder of gazetteers that `resolve_address` answers by; where it is left out, the one beside the lake, and for a URL
    /// that of the folder `data`.
    #[arg(long)]
    gazetteer: Option<PathBuf>,

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
        let (lake, gazetteer, pipelines, shards) = match self.lake {
            Some(lake) => {
                crate::in_use::refuse_half_done(lake.parent().unwrap_or(&lake))?;
                let gazetteer = match is_remote(&lake.to_string_lossy()) {
                    true => PathBuf::from("data/gazetteer"),
                    false => lake.join("../gazetteer"),
                };
                // A folder does not say over how many shards its places are spread: then no bucket follows from a place.
                (lake, gazetteer, self.pipelines, 0)
            }
            None => {
                let config =
                    Config::read(&self.config).context("say where the tables are: --lake, or --config")?;
                let layout = config.layout();
                (layout.lake, layout.gazetteer, config.pipelines, config.topics.std_partitions)
            }
        };
        let installation = Installation::load(&pipelines)?;
        let location = lake.to_str().context("the lake's path is not UTF-8")?;
        let lake = Lake::open(location, Layout::new(&installation.tables, shards))?;
        let functions = [resolve_address(self.gazetteer.unwrap_or(gazetteer))];
        let answer = run_sql(&lake.session(functions)?, &self.query).await?;
        sql::write(&answer, self.format, std::io::stdout().lock())?;
        Ok(())
    }
}
