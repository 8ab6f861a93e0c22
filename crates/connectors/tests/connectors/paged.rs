//! A paged JSON interface, served on loopback.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Query, State as Shared},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use yibiao_connectors::{HttpSource, Mode, SourceConfig, State};
use yibiao_records::Party;

use crate::bench::{Bench, quick, until, until_sent};

#[derive(Default)]
struct Api {
    items: Vec<String>,
    /// Answered first, in this order.
    failures: Vec<(u16, Option<&'static str>)>,
    asked: Vec<Option<String>>,
}

type Served = Arc<Mutex<Api>>;

async fn readings(
    Shared(api): Shared<Served>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut api = api.lock().unwrap();
    api.asked.push(query.get("cursor").cloned());
    if headers.get("authorization").is_none_or(|token| token != "Bearer geheim") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if !api.failures.is_empty() {
        let (status, retry_after) = api.failures.remove(0);
        let status = StatusCode::from_u16(status).unwrap();
        return match retry_after {
            Some(seconds) => (status, [("retry-after", seconds)]).into_response(),
            None => (status, "<html>not JSON</html>").into_response(),
        };
    }
    let from: usize = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let limit: usize = query["limit"].parse().unwrap();
    let to = (from + limit).min(api.items.len());
    let next = if to < api.items.len() { format!("\"{to}\"") } else { "null".into() };
    format!("{{\"items\": [{}], \"next\": {next}}}", api.items[from..to].join(" , ")).into_response()
}

async fn serve(listener: TcpListener, api: Served) {
    let router = Router::new().route("/api/v1/readings", get(readings)).with_state(api);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

fn item(n: usize) -> String {
    // Spaces and 1.50 tell whether the text arrives as it was.
    format!("{{ \"meter_no\":\"E{n:05}\",  \"reading_date\":\"2025-11-03\", \"kwh\": 1.50 }}")
}

async fn api(items: usize) -> (Served, String) {
    let api = Arc::new(Mutex::new(Api { items: (0..items).map(item).collect(), ..Api::default() }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/readings", listener.local_addr().unwrap());
    serve(listener, api.clone()).await;
    (api, url)
}

fn source(url: &str, token: &str) -> SourceConfig {
    SourceConfig::Http(HttpSource { page: 100, pace: quick(), ..HttpSource::new(url, token) })
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_followed_items_arrive_as_they_were_and_the_next_run_goes_on_at_the_last_page() {
    let bench = Bench::start("utilities/electricity-readings").await;
    let (api, url) = api(950).await;
    let source = source(&url, "geheim");
    assert_eq!(bench.once(&source).await.unwrap().records, 950);
    assert_eq!(bench.raw_texts().await, (0..950).map(item).collect::<Vec<_>>());
    (950..1020).for_each(|n| api.lock().unwrap().items.push(item(n)));
    // The last page held 50 items before; it is asked for again.
    assert_eq!(bench.once(&source).await.unwrap().records, 120);
    assert_eq!(api.lock().unwrap().asked.len(), 12);

    let running = bench.start_connector(&source, Mode::Follow);
    until_sent(&running, 20).await;
    until("it waits", || async { running.progress.snapshot().state == State::Waiting }).await;
    (1020..1025).for_each(|n| api.lock().unwrap().items.push(item(n)));
    until_sent(&running, 25).await;
    assert_eq!(running.stop().await.records, 25, "what was sent of the last page is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_server_are_waited_out_as_it_asks() {
    let bench = Bench::start("utilities/electricity-readings").await;
    let (api, url) = api(250).await;
    api.lock().unwrap().failures = vec![(503, None), (429, Some("1")), (200, None), (504, None)];
    let SourceConfig::Http(mut http) = source(&url, "geheim") else { unreachable!() };
    http.pace.back_off_max = Duration::from_secs(5);
    let began = Instant::now();
    assert_eq!(bench.once(&SourceConfig::Http(http)).await.unwrap().records, 250);
    assert!(began.elapsed() > Duration::from_secs(1), "retry-after was 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let bench = Bench::start("utilities/electricity-readings").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let source = source(&format!("http://{address}/api/v1/readings"), "geheim");
    let running = bench.start_connector(&source, Mode::Once);
    until("it is away", || async { matches!(running.progress.snapshot().state, State::Away(_)) }).await;
    let api = Arc::new(Mutex::new(Api { items: vec![item(1)], ..Api::default() }));
    serve(TcpListener::bind(address).await.unwrap(), api).await;
    assert_eq!(running.task.await.unwrap().unwrap().records, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_an_endless_page_are_an_operators_business() {
    let bench = Bench::start("utilities/electricity-readings").await;
    let (_, url) = api(1000).await;
    let error = bench.once(&source(&url, "wrong")).await.unwrap_err();
    assert_eq!(error.fault().party, Party::Operator);
    assert!(error.to_string().contains("401") && error.to_string().contains("token"), "{error}");

    let SourceConfig::Http(mut http) = source(&url, "geheim") else { unreachable!() };
    http.page_bytes_max = 1000;
    let error = bench.once(&SourceConfig::Http(http)).await.unwrap_err().to_string();
    assert!(error.contains("over 1000 bytes") && error.contains("page_bytes_max"), "{error}");
}
