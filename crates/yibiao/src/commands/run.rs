//! `yibiao run`: stages in a process of their own.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use yibiao_connectors::Mode;
use yibiao_serve::Metrics;

use crate::{
    config::{Config, Stage},
    pipeline::Pipeline,
    progress::Line,
    report,
};

/// Run stages against Apache Kafka, as a configuration says.
#[derive(Debug, clap::Args)]
pub struct Run {
    #[arg(long, default_value = "yibiao.toml")]
    config: PathBuf,

    /// Only these stages, rather than those of the configuration.
    #[arg(long, value_enum, value_delimiter = ',')]
    stages: Vec<Stage>,

    /// Read the sources to their end, bring everything to the tables and the centres, and stop. Needs all stages
    /// from connect to fusion in this process.
    #[arg(long)]
    once: bool,

    /// Where Prometheus finds this process, rather than where the configuration says: each process needs its own.
    #[arg(long)]
    metrics: Option<SocketAddr>,
}

impl Run {
    pub async fn run(self) -> Result<()> {
        let mut config = Config::read(&self.config)?;
        if let Some(listen) = self.metrics {
            config.serve.metrics = listen;
        }
        let figures = Metrics::install()?;
        let shutdown = CancellationToken::new();
        let _ends_with_the_command = shutdown.clone().drop_guard();
        let server =
            figures.serve(config.serve.metrics, shutdown).await.context("give another --metrics address")?;
        tracing::info!(address = %server.address, "metrics");
        let stages = if self.stages.is_empty() { config.stages.clone() } else { self.stages };
        if self.once {
            return once(config, &stages).await;
        }
        let mut pipeline = Pipeline::open(config, &stages, Mode::Follow).await?;
        pipeline.run_until(super::until_stopped()).await
    }
}

async fn once(config: Config, stages: &[Stage]) -> Result<()> {
    let mut pipeline = Pipeline::open(config, stages, Mode::Once).await?;
    let mut line = Line::default();
    let shown = pipeline.status();
    line.while_working(|| shown.line(), pipeline.run_to_end()).await?;
    if let Some(accounting) = &pipeline.accounting {
        println!("{}", report::accounting(&accounting.feeds()));
    }
    Ok(())
}
