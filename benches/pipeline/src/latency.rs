//! From a record's arrival in the raw topic to its warning in the state, under load.
//!
//! Load and probes are one stream of hazard reports about the city's dwellings. Every probe is the report that
//! completes a `gas_hazard_cluster` at a dwelling of its own; the time runs from just before it is sent until the
//! shard's change log shows the warning.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use prost::Message;
use yibiao::{
    config::{Config, Stage},
    pipeline::Pipeline,
};
use yibiao_connectors::Mode;
use yibiao_records::{FeedId, Value, proto::Provenance};
use yibiao_synth::HazardReport;
use yibiao_tables::{Shard, spec::PLACES};
use yibiao_topics::{Outgoing, Producer};

const FEED: &str = "grid/hazard-reports";
/// Reports of one kind at one place that make the rule fire.
const REPORTS: usize = 3;
/// A probe is completed this often.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Reports are sent in bursts this often, as many as the rate asks for.
const BURST_EVERY: Duration = Duration::from_millis(10);
/// How long warnings are waited for after the last report.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Latency {
    pub warnings: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// When each probe was sent, by place, until its warning is seen.
type Sent = Arc<Mutex<HashMap<i64, Instant>>>;

pub async fn measure(config: Config, rate: u64, seconds: u64) -> Result<Latency> {
    let mut pipeline = Pipeline::open(config, &[Stage::Normalise, Stage::Fusion], Mode::Follow).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    pipeline.start().await?;
    let dwellings = dwellings(&pipeline.shards)?;
    let sent: Sent = Arc::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watchers: Vec<_> = pipeline
        .shards
        .iter()
        .cloned()
        .map(|shard| tokio::spawn(watch(shard, sent.clone(), seen.clone())))
        .collect();
    let producer = pipeline.client.producer()?;
    let probes = (Duration::from_secs(seconds).as_millis() / PROBE_EVERY.as_millis()) as usize;
    if dwellings.len() < probes * 2 {
        bail!("{} dwellings are too few for {probes} probes: give more --dwellings", dwellings.len());
    }
    let sender = {
        let sent = sent.clone();
        tokio::task::spawn_blocking(move || send(&producer, &dwellings, rate, seconds, probes, &sent))
    };
    let wait = async {
        sender.await??;
        let deadline = Instant::now() + PATIENCE;
        while !sent.lock().expect("not poisoned").is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(stop);
        anyhow::Ok(())
    };
    let (waited, ran) = tokio::join!(
        wait,
        pipeline.wait_until(async {
            let _ = stopped.await;
            Ok(())
        })
    );
    waited?;
    ran?;
    watchers.iter().for_each(|watcher| watcher.abort());
    let mut times: Vec<f64> = seen.lock().expect("not poisoned").clone();
    if times.is_empty() {
        bail!("no warning was raised by the probes");
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Latency { warnings: times.len(), p50_ms: at(0.5), p99_ms: at(0.99) })
}

/// Dwellings with a standard address: place id and address.
fn dwellings(shards: &[Shard]) -> Result<Vec<(i64, String)>> {
    let mut found = Vec::new();
    for shard in shards {
        let view = shard.view();
        let schema = view.tables().schema(PLACES)?.clone();
        let column = |name: &str| schema.column(name).with_context(|| format!("places has no {name}"));
        let (id, level, address, status) =
            (column("place_id")?, column("level")?, column("address")?, column("status")?);
        for row in view.rows(PLACES) {
            let row = row?;
            let is_dwelling =
                row[level].as_text() == Some("dwelling") && row[status].as_text() == Some("in_use");
            if let (true, Some(id), Some(address)) = (is_dwelling, row[id].as_i64(), row[address].as_text()) {
                found.push((id, address.to_owned()));
            }
        }
    }
    Ok(found)
}

fn send(
    producer: &Producer,
    dwellings: &[(i64, String)],
    rate: u64,
    seconds: u64,
    probes: usize,
    sent: &Sent,
) -> Result<()> {
    let feed: FeedId = FEED.parse()?;
    let topic = feed.raw_topic();
    let now_ms = || {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64)
    };
    let provenance = Provenance {
        feed: FEED.into(),
        source: "bench".into(),
        fetched_at_ms: now_ms(),
        ..Default::default()
    };
    let header = provenance.encode_to_vec();
    let report = |key: &str, category: &str, place: &str| -> Result<()> {
        let report = HazardReport {
            report_id: key.to_owned(),
            category: category.to_owned(),
            place_text: place.to_owned(),
            observed_at: now_ms(),
            severity: 4,
            note: String::new(),
        };
        producer.send(Outgoing {
            topic: &topic,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(&report.encode_to_vec()),
            headers: &[("provenance", &header)],
            timestamp_ms: None,
        })?;
        Ok(())
    };
    let (probed, loaded) = dwellings.split_at(probes);
    // All but the last report of every probe, ahead of the clock.
    for (id, address) in probed {
        for n in 1..REPORTS {
            report(&format!("probe-{id}-{n}"), "燃气隐患", address)?;
        }
    }
    let began = Instant::now();
    let (mut load, mut probe) = (0u64, 0usize);
    while began.elapsed() < Duration::from_secs(seconds) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while load < due {
            let (_, address) = &loaded[load as usize % loaded.len()];
            report(&format!("load-{load}"), "楼道堆物", address)?;
            load += 1;
        }
        while probe < probed.len() && PROBE_EVERY * (probe as u32) < began.elapsed() {
            let (id, address) = &probed[probe];
            sent.lock().expect("not poisoned").insert(*id, Instant::now());
            report(&format!("probe-{id}-{REPORTS}"), "燃气隐患", address)?;
            probe += 1;
        }
        std::thread::sleep(BURST_EVERY);
    }
    Ok(())
}

/// Notes each probe's warning as soon as the shard's change log has it.
async fn watch(shard: Shard, sent: Sent, seen: Arc<Mutex<Vec<f64>>>) -> Result<()> {
    let mut changed = shard.changed();
    let mut after = *changed.borrow_and_update();
    let schema = shard.tables().schema("warnings")?.clone();
    let state = schema.column("state").context("warnings has a state")?;
    while changed.changed().await.is_ok() {
        let last = *changed.borrow_and_update();
        let at = Instant::now();
        for change in shard.view().outbox(after) {
            let change = change?;
            let is_raised = change.table == "warnings" && change.row[state] == Value::Text("raised".into());
            if is_raised && let Some(sent_at) = sent.lock().expect("not poisoned").remove(&change.place.get())
            {
                seen.lock().expect("not poisoned").push((at - sent_at).as_secs_f64() * 1000.0);
            }
        }
        after = last;
    }
    Ok(())
}
