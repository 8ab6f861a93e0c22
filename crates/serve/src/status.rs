//! The operator's page: what came in, how far everything is, what left.
//!
//! `/` is a page, `/status` the same as JSON, `/healthz` says whether something is in trouble. What stands there is
//! made by a closure at each request, so this knows nothing of the stages.

mod page;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse},
    routing::get,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{Error, Metrics, Server, http};

/// Everything that the page shows.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Status {
    pub title: String,
    /// RFC 3339.
    pub started_at: String,
    pub feeds: Vec<Feed>,
    pub shards: Vec<Shard>,
    pub tables: Vec<Table>,
    pub centres: Vec<Centre>,
    /// Where to go on: the SQL port, the lake's folder, …: title and value.
    pub places: Vec<(String, String)>,
    /// What a person should look at; empty when all is well.
    pub troubles: Vec<String>,
}

/// One feed's accounting: received = accepted + quarantined + unchanged (+ what is under way).
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Feed {
    pub feed: String,
    pub title: String,
    pub received: u64,
    pub accepted: u64,
    pub quarantined: u64,
    pub unchanged: u64,
    /// Received and not decided yet.
    pub waiting: u64,
}

impl Feed {
    pub fn balances(&self) -> bool {
        self.received == self.accepted + self.quarantined + self.unchanged + self.waiting
    }
}

/// How far one shard is.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Shard {
    pub shard: u32,
    /// Facts that wait to be applied.
    pub waiting: u64,
    /// The last change made.
    pub last: u64,
    /// The last change in the lake's change logs.
    pub logged: u64,
    /// The last change that the base tables show.
    pub based: u64,
}

/// One table of the lake.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Table {
    pub name: String,
    pub title: String,
    pub rows: u64,
}

/// One centre's deliveries: read = delivered + filtered + repeated.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Centre {
    pub centre: String,
    pub title: String,
    pub area: String,
    pub read: u64,
    pub delivered: u64,
    pub filtered: u64,
    pub repeated: u64,
    pub warnings: u64,
    pub trouble: Option<String>,
}

/// Makes the status at each request.
pub type Source = Arc<dyn Fn() -> Status + Send + Sync>;

/// The routes `/`, `/status` and `/healthz`, and `/metrics` if there is a recorder.
pub fn routes(source: Source, metrics: Option<&Metrics>) -> Router {
    let routes = Router::new()
        .route("/", get(page))
        .route("/status", get(json))
        .route("/healthz", get(health))
        .with_state(source);
    match metrics {
        Some(metrics) => routes.merge(metrics.routes()),
        None => routes,
    }
}

/// Serves them until `shutdown`, on loopback only: the page has no authentication.
pub async fn status(
    listen: SocketAddr,
    source: Source,
    metrics: Option<&Metrics>,
    shutdown: CancellationToken,
) -> Result<Server, Error> {
    http::serve("the status page", listen, false, routes(source, metrics), shutdown).await
}

async fn page(State(source): State<Source>) -> Html<String> {
    Html(page::render(&source()))
}

async fn json(State(source): State<Source>) -> Json<Status> {
    Json(source())
}

async fn health(State(source): State<Source>) -> impl IntoResponse {
    let status = source();
    match status.troubles.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, status.troubles.join("\n") + "\n"),
    }
}
