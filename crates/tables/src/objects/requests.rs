//! Requests to object stores, counted as they are sent: also those that are sent again.
//!
//! They have a thread of their own: deltalake waits for some of them in threads of the program, and connections that were served by
//! such a thread would stand still meanwhile.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, SpawnedReqwestConnector,
    },
};
use tokio::runtime::{Builder, Handle, Runtime};

static SENT: AtomicU64 = AtomicU64::new(0);

/// Requests that this process has sent to object stores so far.
pub fn sent() -> u64 {
    SENT.load(Ordering::Relaxed)
}

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// Made once, and kept until the process ends.
fn runtime() -> object_store::Result<Handle> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if runtime.is_none() {
        let builder =
            Builder::new_multi_thread().worker_threads(1).thread_name("objects").enable_all().build();
        let failed = |source| object_store::Error::Generic { store: "S3", source: Box::new(source) };
        *runtime = Some(builder.map_err(failed)?);
    }
    Ok(runtime.as_ref().expect("it was just made").handle().clone())
}

#[derive(Debug)]
pub(super) struct Counting;

impl HttpConnector for Counting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = SpawnedReqwestConnector::new(runtime()?).connect(options)?;
        Ok(HttpClient::new(Counted { inner }))
    }
}

#[derive(Debug)]
struct Counted {
    inner: HttpClient,
}

#[async_trait]
impl HttpService for Counted {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let method = request.method().as_str().to_ascii_lowercase();
        let began = Instant::now();
        SENT.fetch_add(1, Ordering::Relaxed);
        let answer = self.inner.execute(request).await;
        // `none`: no connection, or no answer in time.
        let code =
            answer.as_ref().map_or_else(|_| "none".to_owned(), |answer| answer.status().as_u16().to_string());
        metrics::counter!("yibiao_object_requests_total", "method" => method.clone(), "code" => code)
            .increment(1);
        metrics::counter!("yibiao_object_request_milliseconds_total", "method" => method)
            .increment(began.elapsed().as_millis() as u64);
        metrics::gauge!("yibiao_object_store_away").set(f64::from(answer.is_err()));
        answer
    }
}
