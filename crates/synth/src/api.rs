//! The electricity company's service, on loopback: pages over the written log of readings.
//!
//! `GET /api/v1/readings?cursor=…&limit=…` with `Authorization: Bearer <token>` answers
//! `{"items":[…],"next":"<cursor>"|null}`. A cursor is a byte offset into the log, which only grows; `next` is null where
//! the log ends now. Without a cursor the log is read from its beginning. At most 5,000 items a page.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Error;

const MOST_ITEMS: u32 = 5_000;
const USUAL_ITEMS: u32 = 1_000;

/// A running service; dropping it stops it too.
pub struct ElectricityApi {
    address: SocketAddr,
    service: Arc<Service>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

struct Service {
    path: PathBuf,
    token: String,
    is_away: AtomicBool,
    pages: AtomicU64,
}

#[derive(Deserialize)]
struct PageRequest {
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Serves the readings of the city under `dir` to bearers of `token`.
///
/// # Errors
/// `File` if there is no such city, `Listen` if the address is taken.
pub async fn serve_electricity(dir: &Path, token: &str, listen: SocketAddr) -> Result<ElectricityApi, Error> {
    let path = dir.join("sources/utilities/electricity-readings/readings.jsonl");
    File::open(&path).map_err(Error::file("opening", &path))?;
    let service = Arc::new(Service {
        path,
        token: token.to_owned(),
        is_away: AtomicBool::new(false),
        pages: AtomicU64::new(0),
    });
    let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen, source })?;
    let address = listener.local_addr().map_err(|source| Error::Listen { listen, source })?;
    let router = Router::new().route("/api/v1/readings", get(readings)).with_state(Arc::clone(&service));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(async move {
            // Either told to stop or dropped.
            let _ = stopped.await;
        });
        if let Err(error) = served.await {
            tracing::warn!(%error, "the electricity service ended");
        }
    });
    Ok(ElectricityApi { address, service, stop: Some(stop), task })
}

impl ElectricityApi {
    /// `http://127.0.0.1:<port>/api/v1/readings`
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/readings", self.address)
    }

    /// Pages answered so far.
    pub fn pages(&self) -> u64 {
        self.service.pages.load(Ordering::Relaxed)
    }

    /// Plays a service that is away (503) or back.
    pub fn set_away(&self, is_away: bool) {
        self.service.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Stops listening and waits until the open answers are given.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the electricity service did not end well");
        }
    }
}

async fn readings(
    State(service): State<Arc<Service>>,
    Query(request): Query<PageRequest>,
    headers: HeaderMap,
) -> Response {
    if service.is_away.load(Ordering::Relaxed) {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "under maintenance, come back later");
    }
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if bearer != Some(service.token.as_str()) {
        return refuse(StatusCode::UNAUTHORIZED, "a valid bearer token is needed");
    }
    let limit = request.limit.unwrap_or(USUAL_ITEMS);
    if !(1..=MOST_ITEMS).contains(&limit) {
        return refuse(StatusCode::BAD_REQUEST, "limit must be 1 to 5000");
    }
    let Ok(offset) = request.cursor.as_deref().unwrap_or("0").parse::<u64>() else {
        return refuse(StatusCode::BAD_REQUEST, "this cursor is not one of ours");
    };
    let path = service.path.clone();
    let page = tokio::task::spawn_blocking(move || page(&path, offset, limit)).await;
    match page {
        Ok(Ok(Some(body))) => {
            service.pages.fetch_add(1, Ordering::Relaxed);
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Ok(Ok(None)) => refuse(StatusCode::BAD_REQUEST, "this cursor is not one of ours"),
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    let body = serde_json::json!({ "error": why }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The page at a byte offset, or `None` if no line begins there. A line without an end is still being written.
fn page(path: &Path, offset: u64, limit: u32) -> std::io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if offset > length {
        return Ok(None);
    }
    if offset > 0 {
        let mut before = [0u8; 1];
        file.seek(SeekFrom::Start(offset - 1))?;
        file.read_exact(&mut before)?;
        if before[0] != b'\n' {
            return Ok(None);
        }
    }
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut body = Vec::with_capacity(limit as usize * 180);
    body.extend_from_slice(b"{\"items\":[");
    let mut next = offset;
    for nth in 0..limit {
        let begun = body.len();
        if nth > 0 {
            body.push(b',');
        }
        let read = reader.read_until(b'\n', &mut body)?;
        if read == 0 || body.last() != Some(&b'\n') {
            body.truncate(begun);
            break;
        }
        body.pop();
        next += read as u64;
    }
    let more = next < length && next > offset;
    body.extend_from_slice(
        if more { format!("],\"next\":\"{next}\"}}") } else { "],\"next\":null}".to_owned() }.as_bytes(),
    );
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pages_lead_from_one_to_the_next_until_the_log_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\":").unwrap();
        let get =
            |offset, limit| page(&path, offset, limit).unwrap().map(|body| String::from_utf8(body).unwrap());
        assert_eq!(get(0, 2).unwrap(), r#"{"items":[{"a":1},{"a":2}],"next":"16"}"#);
        // The last line is not whole yet, so it is not served, and the cursor stays before it.
        assert_eq!(get(16, 2).unwrap(), r#"{"items":[{"a":3}],"next":"24"}"#);
        assert_eq!(get(24, 2).unwrap(), r#"{"items":[],"next":null}"#);
        assert_eq!(get(3, 2), None);
        assert_eq!(get(400, 2), None);
    }
}
