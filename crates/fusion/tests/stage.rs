//! The whole stage on a real (embedded) broker.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use polars::prelude::*;
use support::*;
use tokio_util::sync::CancellationToken;
use yibiao_fusion::{Config, FirstLoad, Fusion, Progress, Rules, verify};
use yibiao_records::{Fact, FactKinds, FrameBuilder, FrameHeader, PlaceId, RawPosition, Value};
use yibiao_tables::{Lake, Projector, Shard, Tables};
use yibiao_topics::{Client, ClientConfig, Layout, Outgoing, Producer, message::header};

const SHARDS: u32 = 2;

struct Bench {
    tables: Tables,
    kinds: FactKinds,
    client: Client,
    producer: Producer,
    next_raw: i64,
    _broker: yibiao_broker::Broker,
}

impl Bench {
    async fn start(dir: &std::path::Path) -> Self {
        let broker =
            yibiao_broker::Broker::start(yibiao_broker::Config::new(dir.join("broker"))).await.unwrap();
        let config = ClientConfig { bootstrap: broker.bootstrap().to_string(), ..ClientConfig::default() };
        let client = Client::new(&config).unwrap();
        let (tables, kinds) = (tables(), kinds());
        let layout = Layout { std_partitions: SHARDS, ..Layout::default() };
        let topics: Vec<_> = kinds.iter().map(|kind| layout.std(&kind.name)).collect();
        client.ensure(&topics).await.unwrap();
        let producer = client.producer().unwrap();
        Self { tables, kinds, client, producer, next_raw: 0, _broker: broker }
    }

    /// Sends the facts as a normaliser does: frames by kind and shard.
    async fn send(&mut self, facts: Vec<(String, Fact)>) {
        for kind in self.kinds.iter().cloned().collect::<Vec<_>>() {
            for shard in 0..SHARDS {
                let feed = feed_of(&kind.name);
                let frame_header =
                    FrameHeader { feed: feed.to_string(), raw_topic: feed.raw_topic(), ..Default::default() };
                let mut builder = FrameBuilder::new(kind.clone(), frame_header);
                for (_, fact) in
                    facts.iter().filter(|(k, f)| *k == kind.name && f.place.shard(SHARDS) == shard)
                {
                    builder
                        .push(Fact { raw: RawPosition { offset: self.next_raw, index: 0 }, ..fact.clone() });
                    self.next_raw += 1;
                }
                let Some(frame) = builder.finish().unwrap() else { continue };
                let (frame_header, value) = frame.encode().unwrap();
                let outgoing = Outgoing {
                    topic: &kind.std_topic(),
                    partition: Some(shard),
                    key: None,
                    value: Some(&value),
                    headers: &[(header::FRAME, &frame_header)],
                    timestamp_ms: None,
                };
                self.producer.send(outgoing).unwrap();
            }
        }
        self.producer.flush().await.unwrap();
    }

    fn shards(&self, dir: &std::path::Path) -> Vec<Shard> {
        let open = |number| {
            Shard::open(&dir.join(format!("shard-{number}")), number, &self.tables, &options()).unwrap()
        };
        (0..SHARDS).map(open).collect()
    }

    async fn run(&self, shards: Vec<Shard>) -> (Progress, CancellationToken, tokio::task::JoinHandle<()>) {
        let rules = pipelines().join("rules");
        // Few timers a batch, so that they also go on when no message comes.
        let config = Config { threads: 2, batch_timers_max: 1, ..Config::default() };
        let fusion =
            Fusion::open(config, shards, &self.kinds, &rules, self.client.clone(), SHARDS).await.unwrap();
        let (progress, shutdown) = (fusion.progress(), CancellationToken::new());
        let running = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { fusion.run(shutdown).await.unwrap() }
        });
        (progress, shutdown, running)
    }
}

fn population(days: std::ops::Range<i32>) -> Vec<(String, Fact)> {
    let mut facts = Vec::new();
    for number in 0..40i64 {
        let place = place(&format!("home {number}"));
        if days.start == 0 {
            facts.push(registration(place, 1 + number % 3, number % 2 == 0, number % 4));
        }
        for day in days.clone() {
            let people = 1 + number % 11;
            facts.push(reading("water", place, day, 30 + 110 * people));
            facts.push(reading("electricity", place, day, 1_950 + 1_520 * people));
            facts.push(reading("gas", place, day, 60 + 110 * people));
        }
    }
    facts
}

/// The same sums by another engine: Polars over all facts that the shards hold.
fn polars_water(shards: &[Shard]) -> Vec<(i64, i64, i64)> {
    let (mut places, mut days, mut amounts) = (Vec::new(), Vec::new(), Vec::new());
    for shard in shards {
        for stored in shard.view().all_facts() {
            let stored = stored.unwrap();
            let amount = match (&*stored.kind, stored.fact.payload.first()) {
                ("water", Some(Value::Decimal(amount))) => Some(*amount),
                ("electricity" | "gas", _) => None,
                _ => continue,
            };
            places.push(stored.fact.place.get());
            days.push((stored.fact.valid_from_ms + 8 * 3_600_000) / DAY_MS);
            amounts.push(amount);
        }
    }
    let frame = df!("place" => places, "day" => days, "amount" => amounts).unwrap().lazy();
    let last = frame.clone().group_by([col("place")]).agg([col("day").max().alias("last")]);
    let sums = frame
        .join(last, [col("place")], [col("place")], JoinArgs::new(JoinType::Inner))
        .filter(col("day").gt(col("last") - lit(30)).and(col("amount").is_not_null()))
        .group_by([col("place")])
        .agg([col("amount").sum().alias("sum"), col("day").n_unique().cast(DataType::Int64).alias("days")])
        .sort(["place"], SortMultipleOptions::default())
        .collect()
        .unwrap();
    let column =
        |name: &str| sums.column(name).unwrap().i64().unwrap().into_no_null_iter().collect::<Vec<_>>();
    let (places, sums, days) = (column("place"), column("sum"), column("days"));
    places.into_iter().zip(sums).zip(days).map(|((place, sum), days)| (place, sum, days)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_on_a_broker_become_rows_and_warnings_through_a_restart_and_polars_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path()).await;
    bench.send(population(0..20)).await;

    let shards = bench.shards(dir.path());
    let (progress, shutdown, running) = bench.run(shards).await;
    progress.drained(&bench.client).await.unwrap();
    let first = progress.total();
    assert_eq!(first.holding.places, 40);
    assert_eq!(first.applied.facts, 40 + 40 * 60);
    assert!(first.holding.firing > 0);
    shutdown.cancel();
    running.await.unwrap();

    // What arrives while the stage is away is read when it is back, and what was applied is not read again.
    bench.send(population(20..35)).await;
    let shards = bench.shards(dir.path());
    let (progress, shutdown, running) = bench.run(shards.clone()).await;
    progress.drained(&bench.client).await.unwrap();
    assert_eq!(progress.behind(&bench.client).await.unwrap(), 0);
    let second = progress.total();
    assert_eq!((second.applied.facts, second.applied.facts_skipped), (40 * 45, 0));
    assert_eq!(second.holding.facts, 40 + 40 * 105);

    // From a record's arrival to its warning.
    let quiet = place("quiet until now");
    let shard = shards.iter().find(|shard| shard.number() == quiet.shard(SHARDS)).unwrap();
    let mut changed = shard.changed();
    let mut facts = vec![registration(quiet, 2, true, 0)];
    for day in 0..20 {
        for (kind, amount) in [("water", 1_300), ("electricity", 18_000), ("gas", 1_300)] {
            facts.push(reading(kind, quiet, day, amount));
        }
    }
    let sent = Instant::now();
    bench.send(facts).await;
    while warning(shard, quiet, "state") == Value::Null {
        tokio::time::timeout(Duration::from_secs(20), changed.changed()).await.unwrap().unwrap();
    }
    let latency = sent.elapsed();
    assert!(latency < Duration::from_secs(5), "{latency:?} from arrival to warning");
    shutdown.cancel();
    running.await.unwrap();

    let expected = polars_water(&shards);
    assert_eq!(expected.len(), 41);
    for (place, sum, days) in expected {
        let place = PlaceId::new(place).unwrap();
        let shard = &shards[place.shard(SHARDS) as usize];
        assert_eq!(cell(shard, place, "water_m3_30d"), Value::Decimal(sum));
        assert_eq!(cell(shard, place, "water_days_30d"), Value::Int(days));
    }
    let mut rules = Rules::load(&pipelines().join("rules"), &bench.tables).await.unwrap();
    for shard in &shards {
        assert_eq!(verify(&shard.view(), &mut rules).await.unwrap().differences, []);
    }
}

/// Of all parts of a shard that a load could forget.
fn content(shard: &Shard) -> (Vec<Vec<Value>>, Vec<Vec<Value>>, u64) {
    let view = shard.view();
    let rows = |table: &str| view.rows(table).map(Result::unwrap).collect();
    (rows("places"), rows("warnings"), view.timers_count().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_shard_with_a_backlog_is_loaded_at_once_and_goes_on_in_batches() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut bench = Bench::start(dir.path()).await;
    bench.send(population(0..20)).await;
    // What a process left that died while it loaded.
    let left = dir.path().join("shard-1.loading/store");
    std::fs::create_dir_all(&left).unwrap();
    let layout = yibiao_tables::lake::Layout::new(&bench.tables, SHARDS);
    let lake = Lake::open(dir.path().join("lake").to_str().unwrap(), layout).unwrap();
    let first = |frames| FirstLoad {
        config: Config { load_frames_min: frames, load_memory_mib: 1, ..Config::default() },
        tables: bench.tables.clone(),
        kinds: std::sync::Arc::new(bench.kinds.clone()),
        rules: pipelines().join("rules"),
        client: bench.client.clone(),
        lake: lake.clone(),
        std_partitions: SHARDS,
        options: options(),
    };
    let is_empty = |shard: &Shard| shard.view().positions().unwrap().is_empty();

    let shutdown = CancellationToken::new();
    // A frame of each of four kinds is there.
    let shards = first(5).run(bench.shards(dir.path()), &shutdown).await.unwrap();
    assert!(shards.iter().all(is_empty) && !left.exists());
    let checkpoints = |first: FirstLoad| FirstLoad {
        config: Config { checkpoints: Some("somewhere".into()), ..first.config.clone() },
        ..first
    };
    let shards = checkpoints(first(4)).run(shards, &shutdown).await.unwrap();
    assert!(shards.iter().all(is_empty), "shards that move are not loaded");
    let stopped = CancellationToken::new();
    stopped.cancel();
    let shards = first(4).run(shards, &stopped).await.unwrap();
    assert!(shards.iter().all(is_empty), "a load that is stopped leaves the shard as it was");
    let shards = first(4).run(shards, &shutdown).await.unwrap();
    assert_eq!(shards.iter().map(Shard::number).collect::<Vec<_>>(), [0, 1]);
    assert!(!shards.iter().any(is_empty));
    assert!(!dir.path().join("shard-1.loading").exists());

    let in_batches = bench.shards(other.path());
    for shards in [shards.clone(), in_batches.clone()] {
        let (progress, shutdown, running) = bench.run(shards).await;
        progress.drained(&bench.client).await.unwrap();
        shutdown.cancel();
        running.await.unwrap();
    }
    for (loaded, in_batches) in shards.iter().zip(&in_batches) {
        assert!(!content(loaded).1.is_empty(), "something is warned of");
        assert_eq!(content(loaded).0.len(), content(in_batches).0.len());
        assert_eq!(content(loaded).2, content(in_batches).2);
    }
    Projector::new(lake.clone(), shards.clone(), Default::default()).project_once().await.unwrap();
    // Another state, such as one that was lost, must not go on in the midst of this lake.
    let third = tempfile::tempdir().unwrap();
    let refused = first(4).run(bench.shards(third.path()), &shutdown).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("the lake has changes"), "{refused}");

    bench.send(population(20..25)).await;
    let (progress, shutdown, running) = bench.run(shards.clone()).await;
    progress.drained(&bench.client).await.unwrap();
    let total = progress.total();
    assert_eq!((total.applied.facts, total.applied.facts_skipped), (40 * 15, 0));
    assert_eq!(total.holding.facts, 40 + 40 * 75);
    shutdown.cancel();
    running.await.unwrap();
    let mut rules = Rules::load(&pipelines().join("rules"), &bench.tables).await.unwrap();
    for shard in &shards {
        assert_eq!(verify(&shard.view(), &mut rules).await.unwrap().differences, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_meters_are_warned_of_one_by_one_although_no_message_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path()).await;
    let home = |number: i64| place(&format!("home {number}"));
    bench.send(population(0..2)).await;
    let shards = bench.shards(dir.path());
    let (progress, shutdown, running) = bench.run(shards.clone()).await;
    progress.drained(&bench.client).await.unwrap();
    assert_eq!(progress.total().holding.firing, 0);
    let of = |kind: &'static str| (12..40).map(move |number| reading(kind, home(number), 40, 100));
    bench.send(of("water").chain(of("electricity")).collect()).await;
    progress.drained(&bench.client).await.unwrap();
    let total = progress.total();
    assert!(!total.is_due && total.applied.timers >= 12, "{total:?}");
    shutdown.cancel();
    running.await.unwrap();
    let warned = |number: i64| {
        let shard = &shards[home(number).shard(SHARDS) as usize];
        warning(shard, home(number), "rule") == Value::Text("silent_meters".into())
    };
    let all: Vec<i64> = (0..40).filter(|number| warned(*number)).collect();
    assert_eq!(all, (0..12).collect::<Vec<_>>());
}
