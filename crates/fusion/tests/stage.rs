//! The whole stage on a real (embedded) broker.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use polars::prelude::*;
use support::*;
use tokio_util::sync::CancellationToken;
use yibiao_fusion::{Config, FirstLoad, Fusion, Progress, Rules, verify};
use yibiao_records::{Fact, FactKinds, FrameBuilder, FrameHeader, PlaceId, RawPosition, Value};
use yibiao_tables::{
    Error, Lake, Projector, Shard, Tables,
    checkpoint::{Checkpointer, Checkpoints, Subject, acquire, found},
};
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
    async fn start(dir: &Path) -> Self {
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

    fn shards(&self, dir: &Path) -> Vec<Shard> {
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

/// For shards that are loaded at once.
impl Bench {
    fn lake(&self, dir: &Path) -> Lake {
        let layout = yibiao_tables::lake::Layout::new(&self.tables, SHARDS);
        Lake::open(dir.join("lake").to_str().unwrap(), layout).unwrap()
    }

    fn first_load(&self, lake: &Lake, frames: u64) -> FirstLoad {
        FirstLoad {
            config: Config { load_frames_min: frames, load_memory_mib: 1, ..Config::default() },
            tables: self.tables.clone(),
            kinds: Arc::new(self.kinds.clone()),
            rules: pipelines().join("rules"),
            client: self.client.clone(),
            lake: lake.clone(),
            std_partitions: SHARDS,
            options: options(),
        }
    }

    /// Shard 0, which moves, taken by the machine of this name.
    async fn taken(&self, dir: &Path, name: &str) -> Shard {
        let checkpoints = Checkpoints::open(dir.join("checkpoints").to_str().unwrap()).unwrap();
        let at = [(0, dir.join(name).join("shard-0"))];
        acquire(&checkpoints, &self.lake(dir), &at, &self.tables, &options()).await.unwrap().remove(0)
    }
}

async fn load(first: &FirstLoad, shard: Shard) -> Result<Shard, yibiao_fusion::Error> {
    Ok(first.run(vec![shard], &CancellationToken::new()).await?.remove(0))
}

async fn project(lake: &Lake, shard: &Shard) -> Result<(), Error> {
    Projector::new(lake.clone(), vec![shard.clone()], Default::default()).project_once().await.map(drop)
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
    fs::create_dir_all(&left).unwrap();
    let lake = bench.lake(dir.path());
    let first = |frames| bench.first_load(&lake, frames);
    let is_empty = |shard: &Shard| shard.view().positions().unwrap().is_empty();

    let shutdown = CancellationToken::new();
    // A frame of each of four kinds is there.
    let shards = first(5).run(bench.shards(dir.path()), &shutdown).await.unwrap();
    assert!(shards.iter().all(is_empty) && !left.exists());
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

/// What a power cut may leave of a folder that was not synchronised: files that are short, that are zeros, or not there.
fn tear(folder: &Path, torn: &mut usize) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tear(&path, torn);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        *torn += 1;
        match *torn % 3 {
            0 => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
            1 => fs::write(&path, vec![0; bytes.len()]).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_power_cut_left_of_a_load_is_loaded_at_once_anew() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut bench = Bench::start(dir.path()).await;
    bench.send(population(0..20)).await;
    let first = bench.first_load(&bench.lake(dir.path()), 4);
    let shutdown = CancellationToken::new();
    let whole = first.run(bench.shards(dir.path()), &shutdown).await.unwrap();
    let content_of = |shards: &[Shard]| shards.iter().map(content).collect::<Vec<_>>();
    let expected = content_of(&whole);
    assert!(expected.iter().all(|(places, ..)| !places.is_empty()));
    drop(whole);
    // Cut before the rename: of one shard while its files were written, of the other one when the empty shard was gone already.
    drop(bench.shards(other.path()));
    let mut torn = 0;
    for number in 0..SHARDS {
        let loading = other.path().join(format!("shard-{number}.loading"));
        fs::create_dir_all(loading.join("sorting")).unwrap();
        fs::write(loading.join("sorting/1"), b"half a pair").unwrap();
        copy(&dir.path().join(format!("shard-{number}")), &loading.join("store"));
        tear(&loading, &mut torn);
    }
    assert!(torn > 40, "{torn}");
    fs::remove_dir_all(other.path().join("shard-1")).unwrap();
    let again = first.run(bench.shards(other.path()), &shutdown).await.unwrap();
    assert_eq!(content_of(&again), expected);
    assert!(!other.path().join("shard-0.loading").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_moves_is_loaded_and_in_a_checkpoint_before_the_lake_has_any_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path()).await;
    bench.send(population(0..20)).await;
    let lake = bench.lake(dir.path());
    let first = bench.first_load(&lake, 4);
    // The checkpoints' store takes no files.
    let files = dir.path().join("checkpoints/shard-0/files");
    fs::create_dir_all(files.parent().unwrap()).unwrap();
    fs::write(&files, b"").unwrap();
    let shard = bench.taken(dir.path(), "a").await;
    assert!(shard.is_founded(), "an empty one can be had again");
    load(&first, shard).await.map(drop).unwrap_err();
    let shard = bench.taken(dir.path(), "a").await;
    assert!(!shard.is_founded() && !shard.view().positions().unwrap().is_empty());
    let early = project(&lake, &shard).await.unwrap_err();
    assert!(early.to_string().contains("in no checkpoint"), "{early}");

    fs::remove_file(&files).unwrap();
    let shard = load(&first, shard).await.unwrap();
    assert!(shard.is_founded());
    let loaded = content(&shard);
    assert!(!loaded.1.is_empty(), "something is warned of");
    project(&lake, &shard).await.unwrap();
    drop(shard);
    // The machine is gone before anything else was made.
    let shard = bench.taken(dir.path(), "b").await;
    assert!(shard.is_founded() && !shard.has_tail());
    let shard = load(&first, shard).await.unwrap();
    assert_eq!(content(&shard), loaded);
    project(&lake, &shard).await.unwrap();
    // It goes on in batches, and is made again from the same checkpoint and its tail.
    bench.send(population(20..25)).await;
    let (progress, shutdown, running) = bench.run(vec![shard.clone()]).await;
    progress.drained(&bench.client).await.unwrap();
    shutdown.cancel();
    running.await.unwrap();
    project(&lake, &shard).await.unwrap();
    let after = content(&shard);
    drop((shard, progress));
    let shard = bench.taken(dir.path(), "c").await;
    assert!(shard.has_tail());
    let (progress, shutdown, running) = bench.run(vec![shard.clone()]).await;
    progress.drained(&bench.client).await.unwrap();
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(content(&shard), after);
    project(&lake, &shard).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_the_shard_while_it_was_loaded_puts_neither_state_nor_checkpoint_in_anybodys_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path()).await;
    bench.send(population(0..20)).await;
    let lake = bench.lake(dir.path());
    let first = bench.first_load(&lake, 4);
    let (store, aside) = (dir.path().join("checkpoints"), dir.path().join("aside"));
    fs::create_dir_all(store.join("shard-0")).unwrap();
    fs::write(store.join("shard-0/files"), b"").unwrap();
    load(&first, bench.taken(dir.path(), "a").await).await.map(drop).unwrap_err();
    fs::remove_file(store.join("shard-0/files")).unwrap();
    let sleeper = bench.taken(dir.path(), "a").await;
    // It sleeps between its look for another owner and its checkpoint, which comes when it wakes up.
    copy(&store, &aside);
    Checkpointer::new(vec![sleeper.clone()], Duration::ZERO, 0).all().await.unwrap();
    fs::rename(&store, dir.path().join("late")).unwrap();
    fs::rename(&aside, &store).unwrap();

    bench.send(population(20..25)).await;
    let owner = load(&first, bench.taken(dir.path(), "b").await).await.unwrap();
    project(&lake, &owner).await.unwrap();
    let expected = content(&owner);
    assert_ne!(content(&sleeper).0, expected.0);

    copy(&dir.path().join("late/."), &store);
    assert!(project(&lake, &sleeper).await.is_err());
    let lost = found(&lake, sleeper, &bench.tables, &options()).await.map(drop).unwrap_err();
    assert!(matches!(lost, Error::Revoked { of: Subject::Shard(0), epoch: 2 }), "{lost}");
    project(&lake, &owner).await.unwrap();
    drop(owner);
    for name in ["c", "a"] {
        let next = load(&first, bench.taken(dir.path(), name).await).await.unwrap();
        assert_eq!(content(&next), expected, "{name}");
        project(&lake, &next).await.unwrap();
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
