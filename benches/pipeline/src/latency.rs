//! From a record's arrival in the raw topic to its warning in the state, under load.
//!
//! Beside the load goes a probe every 50 ms: the hazard report that completes a `gas_hazard_cluster` at a dwelling of
//! its own. The time runs from just before it is sent until the shard's change log shows the warning.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use prost::Message as _;
use yibiao::{
    config::{Config, Stage},
    pipeline::Pipeline,
};
use yibiao_connectors::Mode;
use yibiao_records::{FeedId, Value, proto::Provenance};
use yibiao_synth::HazardReport;
use yibiao_tables::{Shard, spec::PLACES};
use yibiao_topics::{Message, Outgoing, Producer};

const FEED: &str = "grid/hazard-reports";
/// Reports of one kind at one place that make the rule fire.
const REPORTS: usize = 3;
/// A probe is completed this often.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Reports are sent in bursts this often, as many as the rate asks for.
const BURST_EVERY: Duration = Duration::from_millis(10);
/// How long warnings are waited for after the last report.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is sent beside the probes.
pub enum Load {
    /// Raw records of the utilities' feeds: what the pipeline mostly gets.
    Readings(Vec<Message>),
    /// Each touches a place of its own that two rules look at: the dearest kind of record.
    HazardReports,
}

impl Load {
    pub fn name(&self) -> &'static str {
        match self {
            Load::Readings(_) => "meter readings",
            Load::HazardReports => "hazard reports",
        }
    }
}

pub struct Latency {
    /// How long the load was sent.
    pub seconds: f64,
    pub warnings: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// When each probe was sent, by place, until its warning is seen.
type Sent = Arc<Mutex<HashMap<i64, Instant>>>;

/// Sends the load for `length`, or as long as it lasts. Every `round` (from 0) has dwellings of its own for its probes:
/// a warning is raised at each only once.
pub async fn measure(
    config: Config,
    load: Load,
    rate: u64,
    length: Duration,
    round: usize,
) -> Result<Latency> {
    let mut pipeline = Pipeline::open(config, &[Stage::Normalise, Stage::Fusion], Mode::Follow).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    pipeline.start().await?;
    let mut dwellings = dwellings(&pipeline.shards)?;
    let sent: Sent = Arc::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watchers: Vec<_> = pipeline
        .shards
        .iter()
        .cloned()
        .map(|shard| tokio::spawn(watch(shard, sent.clone(), seen.clone())))
        .collect();
    let producer = pipeline.client.producer()?;
    let probes = (length.as_millis() / PROBE_EVERY.as_millis()) as usize;
    if dwellings.len() < probes * (round + 2) {
        bail!("{} dwellings are too few for {probes} probes: give more --dwellings", dwellings.len());
    }
    dwellings.rotate_left(probes * round);
    let sender = {
        let sent = sent.clone();
        let send = move || Sender { producer, load, rate, length, sent }.send(&dwellings, probes);
        tokio::task::spawn_blocking(send)
    };
    let wait = async {
        let seconds = sender.await??;
        let deadline = Instant::now() + PATIENCE;
        while !sent.lock().expect("not poisoned").is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(stop);
        anyhow::Ok(seconds)
    };
    let (waited, ran) = tokio::join!(
        wait,
        pipeline.wait_until(async {
            let _ = stopped.await;
            Ok(())
        })
    );
    let seconds = waited?;
    ran?;
    watchers.iter().for_each(|watcher| watcher.abort());
    let mut times: Vec<f64> = seen.lock().expect("not poisoned").clone();
    if times.is_empty() {
        bail!("no warning was raised by the probes");
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Latency { seconds, warnings: times.len(), p50_ms: at(0.5), p99_ms: at(0.99) })
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

struct Sender {
    producer: Producer,
    load: Load,
    rate: u64,
    length: Duration,
    sent: Sent,
}

impl Sender {
    /// Returns for how many seconds the load was sent.
    fn send(&self, dwellings: &[(i64, String)], probes: usize) -> Result<f64> {
        let (probed, loaded) = dwellings.split_at(probes);
        // Of each measurement its own, so that none is a repetition of an earlier one.
        let run = now_ms();
        // All but the last report of every probe, ahead of the clock.
        for (id, address) in probed {
            for n in 1..REPORTS {
                self.report(&format!("probe-{run}-{id}-{n}"), "燃气隐患", address)?;
            }
        }
        let began = Instant::now();
        let (mut load, mut probe) = (0u64, 0usize);
        while began.elapsed() < self.length {
            let due = (began.elapsed().as_secs_f64() * self.rate as f64) as u64;
            while load < due {
                match &self.load {
                    Load::Readings(readings) => {
                        let Some(reading) = readings.get(load as usize) else {
                            return Ok(began.elapsed().as_secs_f64());
                        };
                        self.pass_on(reading)?;
                    }
                    Load::HazardReports => {
                        let (_, address) = &loaded[load as usize % loaded.len()];
                        self.report(&format!("load-{run}-{load}"), "楼道堆物", address)?;
                    }
                }
                load += 1;
            }
            while probe < probed.len() && PROBE_EVERY * (probe as u32) < began.elapsed() {
                let (id, address) = &probed[probe];
                self.sent.lock().expect("not poisoned").insert(*id, Instant::now());
                self.report(&format!("probe-{run}-{id}-{REPORTS}"), "燃气隐患", address)?;
                probe += 1;
            }
            std::thread::sleep(BURST_EVERY);
        }
        Ok(began.elapsed().as_secs_f64())
    }

    fn pass_on(&self, reading: &Message) -> Result<()> {
        let names = reading.headers().map(|(name, value)| Ok((std::str::from_utf8(name)?, value)));
        let headers = names.collect::<Result<Vec<_>>>()?;
        self.producer.send(Outgoing {
            topic: &reading.topic,
            partition: None,
            key: reading.key(),
            value: reading.value(),
            headers: &headers,
            timestamp_ms: None,
        })?;
        Ok(())
    }

    fn report(&self, key: &str, category: &str, place: &str) -> Result<()> {
        let feed: FeedId = FEED.parse()?;
        let provenance = Provenance {
            feed: FEED.into(),
            source: "bench".into(),
            fetched_at_ms: now_ms(),
            ..Default::default()
        };
        let report = HazardReport {
            report_id: key.to_owned(),
            category: category.to_owned(),
            place_text: place.to_owned(),
            observed_at: now_ms(),
            severity: 4,
            note: String::new(),
        };
        self.producer.send(Outgoing {
            topic: &feed.raw_topic(),
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(&report.encode_to_vec()),
            headers: &[("provenance", &provenance.encode_to_vec())],
            timestamp_ms: None,
        })?;
        Ok(())
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64)
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
