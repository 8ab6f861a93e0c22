//! Running until told to stop: connectors follow their sources, everything else follows the topics.

use std::future::Future;

use anyhow::{Context, Result};
use yibiao_tables::{Live, QueryLimits};

use super::Pipeline;
use crate::{config::Stage, gauges::Gauges, resolve_address::resolve_address, status};

impl Pipeline {
    /// Runs every stage of this process until `stop`, or until one fails; then ends them in order.
    pub async fn run_until(&mut self, stop: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::pin!(stop);
        // A first load may take long.
        tokio::select! {
            started = self.start() => started?,
            stopped = &mut stop => return stopped.and(self.stop().await),
        }
        if let Some(keeper) = self.keeper.take() {
            let shutdown = self.shutdown.clone();
            self.spawn("gazetteer", keeper.run(shutdown));
        }
        if let Some(delivery) = self.delivery.take() {
            let shutdown = self.shutdown.clone();
            self.spawn("deliver", async move {
                delivery.run(shutdown).await;
                Ok(())
            });
        }
        if self.runs(Stage::Serve) {
            self.start_serving().await?;
        }
        if self.runs(Stage::Connect) {
            metrics::gauge!("yibiao_stage_up", "stage" => "connectors").set(1.0);
            self.connect(|_| true)?;
        }
        let gauges = Gauges::new(self.status.clone(), self.client.clone(), &self.config);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move { gauges.refresh(shutdown).await });
        tracing::info!("running; interrupt to stop");
        let mut connecting = std::mem::take(&mut self.connecting);
        let waited = self
            .unless_a_stage_fails(async {
                loop {
                    tokio::select! {
                        stopped = &mut stop => return stopped,
                        Some(ended) = connecting.join_next() => match ended.context("a connector panicked")? {
                            Ok(feed) => tracing::info!(%feed, "connector ended"),
                            // One department's source does not stop the others: the status page shows it as failed.
                            Err(error) => tracing::error!(error = format!("{error:#}"), "connector failed"),
                        },
                    }
                }
            })
            .await;
        self.connecting = connecting;
        tracing::info!("stopping: every stage finishes its batch");
        waited.and(self.stop().await)
    }

    /// Lets the stages that were started run until `stop`, or until one fails; then ends them in order.
    pub async fn wait_until(&mut self, stop: impl Future<Output = Result<()>>) -> Result<()> {
        let waited = self.unless_a_stage_fails(stop).await;
        waited.and(self.stop().await)
    }

    /// Serves what is in the lake until `stop`; no other stage runs.
    pub async fn serve(&mut self, stop: impl Future<Output = Result<()>>) -> Result<()> {
        self.shutdown = Default::default();
        self.start_serving().await?;
        self.wait_until(stop).await
    }

    async fn start_serving(&mut self) -> Result<()> {
        let config = yibiao_serve::postgres::Config { listen: self.config.serve.sql, ..Default::default() };
        let functions = [resolve_address(&self.layout.gazetteer)];
        let here = || (!self.shards.is_empty()).then(|| Live::new(self.shards.clone()));
        let lake = self.lake.clone().with_query_limits(&QueryLimits {
            memory_bytes: self.config.serve.sql_memory_mib << 20,
            spill_dir: self.layout.spill.clone(),
            spill_bytes: self.config.serve.sql_spill_mib << 20,
        })?;
        let session = match self.live.clone().or_else(here) {
            Some(live) => lake.live_session(live, functions)?,
            // Without shards in this process: what is in the lake.
            None => lake.session(functions)?,
        };
        let sql = yibiao_serve::postgres::postgres(&config, session, self.shutdown.clone()).await?;
        let places = vec![
            ("SQL (PostgreSQL)".to_owned(), sql.address.to_string()),
            ("指标 (Prometheus)".to_owned(), format!("http://{}/metrics", self.config.serve.metrics)),
            ("数据湖 (Delta)".to_owned(), self.layout.lake.display().to_string()),
            ("交付目录 (Delta)".to_owned(), self.layout.deliveries.display().to_string()),
        ];
        let contracts = self.installation.contracts.iter();
        let titles = contracts.map(|contract| (contract.feed.clone(), contract.title.clone())).collect();
        let (stages, client) = (self.status.clone(), self.client.clone());
        let watched = status::Watched::new(stages, client, self.lake.session([])?, titles, places);
        let source = watched.source();
        let page =
            yibiao_serve::status::status(self.config.serve.status, source, None, self.shutdown.clone())
                .await?;
        let shutdown = self.shutdown.clone();
        self.spawn("serve", async move {
            watched.refresh(shutdown).await;
            sql.task.await.context("serving SQL panicked")?;
            page.task.await.context("serving the status page panicked")
        });
        Ok(())
    }
}
