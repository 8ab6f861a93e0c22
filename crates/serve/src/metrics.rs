//! Figures for Prometheus.

mod catalogue;

use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::{Error, Server, http};
pub use catalogue::{CATALOGUE, Described, Kind, STAGES};

/// How often histograms are drained, so that they do not grow while nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// The process's recorder. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs the recorder; from here on `metrics::counter!` and its kin count. Once a process.
    pub fn install() -> Result<Self, Error> {
        let handle = PrometheusBuilder::new().install_recorder().map_err(|_| Error::Recorder)?;
        catalogue::describe();
        Ok(Self { handle })
    }

    /// All figures in Prometheus's text form.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// `/metrics`, to be merged with others or served alone.
    pub fn routes(&self) -> Router {
        Router::new().route("/metrics", get(render)).with_state(self.clone())
    }

    /// Keeps the recorder small until `shutdown`.
    pub async fn upkeep(self, shutdown: CancellationToken) {
        let mut every = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => self.handle.run_upkeep(),
            }
        }
    }

    /// Serves `/metrics` on its own port until `shutdown`.
    pub async fn serve(&self, listen: SocketAddr, shutdown: CancellationToken) -> Result<Server, Error> {
        tokio::spawn(self.clone().upkeep(shutdown.clone()));
        http::serve("metrics", listen, true, self.routes(), shutdown).await
    }
}

async fn render(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}
