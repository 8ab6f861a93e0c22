//! A small city with its departments, a broker, and the program run on them as processes.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::runtime::Runtime;
use yibiao_records::{CrashPoint, crash::CRASH_AT};
use yibiao_synth::{ElectricityApi, Plan, hazard_messages, serve_electricity, write_city};
use yibiao_topics::{Cleanup, Client, ClientConfig, Outgoing, TopicSpec};

use crate::{running::Running, store::Store};

const PROGRAM: &str = env!("CARGO_BIN_EXE_yibiao");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// What goes wrong, which batches a restored shard made again, and which were loaded.
const LOG: &str = "warn,yibiao_fusion::replay=info,yibiao_fusion::load=info,yibiao_tables::checkpoint=info";
const TOKEN: &str = "end-to-end";
pub(super) const HAZARDS: &str = "grid.hazards.v1";
const BUCKET: &str = "fusion";
/// A run that takes longer is stuck.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Which broker the stages meet on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kafka {
    Embedded,
    Apache,
}

pub struct World {
    pub(super) runtime: Runtime,
    dir: tempfile::TempDir,
    pub(super) bootstrap: String,
    broker: Option<Child>,
    electricity: Option<ElectricityApi>,
    /// Where checkpoints and lake lie, if not in folders.
    store: Option<Store>,
}

/// One city for all tests: it is only read.
pub(super) fn city() -> &'static Path {
    static CITY: OnceLock<tempfile::TempDir> = OnceLock::new();
    CITY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan { dwellings: 400, days: 16, ..Plan::default() };
        write_city(&plan, &dir.path().join("city"), |_| {}).unwrap();
        dir
    })
    .path()
}

impl World {
    pub fn new(kafka: Kafka) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let city = city().join("city");
        let (bootstrap, broker) = match kafka {
            Kafka::Embedded => embedded(dir.path()),
            Kafka::Apache => (apache(dir.path()), None),
        };
        let runtime = Runtime::new().unwrap();
        let electricity = runtime.block_on(async {
            send_hazards(&bootstrap, &city).await;
            serve_electricity(&city, TOKEN, ([127, 0, 0, 1], 0).into()).await.unwrap()
        });
        std::fs::write(
            dir.path().join("yibiao.toml"),
            config(dir.path(), &city, &bootstrap, &electricity.url()),
        )
        .unwrap();
        Self { runtime, dir, bootstrap, broker, electricity: Some(electricity), store: None }
    }

    /// Its lake and checkpoints are in an object store. Before [`World::with_checkpoints`]; None where there is no such store.
    pub fn in_object_store(kafka: Kafka) -> Option<Self> {
        let store = Store::start(BUCKET)?;
        let mut world = Self::new(kafka);
        world.store = Some(store);
        let path = world.path("yibiao.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("lake = {:?}\n{text}", world.lake())).unwrap();
        Some(world)
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// The folder or URL.
    pub fn lake(&self) -> String {
        match &self.store {
            Some(_) => format!("s3://{BUCKET}/city/lake"),
            None => self.path("data/lake").to_str().unwrap().to_owned(),
        }
    }

    /// Before the first run: the fusion shards may move, and have checkpoints in quick succession.
    pub fn with_checkpoints(&self) {
        let path = self.path("yibiao.toml");
        let mut text = std::fs::read_to_string(&path).unwrap();
        let checkpoints = match &self.store {
            Some(_) => format!("s3://{BUCKET}/city/checkpoints"),
            None => self.path("checkpoints").to_str().unwrap().to_owned(),
        };
        text.push_str(&format!("[fusion]\ncheckpoints = {checkpoints:?}\ncheckpoint_every = \"700ms\"\n"));
        text.push_str("[project]\ninterval = \"200ms\"\n");
        std::fs::write(path, text).unwrap();
    }

    /// Before the first run: the normaliser may move, and has checkpoints in quick succession.
    pub fn with_moving_normaliser(&self) {
        let path = self.path("yibiao.toml");
        let mut text = std::fs::read_to_string(&path).unwrap();
        let checkpoints = match &self.store {
            Some(_) => format!("s3://{BUCKET}/city/checkpoints"),
            None => self.path("checkpoints").to_str().unwrap().to_owned(),
        };
        text.push_str(&format!("[normalise]\ncheckpoints = {checkpoints:?}\ncheckpoint_every = \"700ms\"\n"));
        text.push_str("gazetteer_settled = \"2s\"\n");
        std::fs::write(path, text).unwrap();
    }

    /// The disk with the normaliser's state and the gazetteers is gone. False where there was none yet.
    pub fn lose_the_normaliser(&self) -> bool {
        let gone = |name: &str| std::fs::remove_dir_all(self.path(name)).is_ok();
        gone("data/state/normalise") & gone("data/gazetteer")
    }

    /// How often the normaliser came back from a checkpoint, so far.
    pub fn normalisers_restored(&self) -> usize {
        let log = std::fs::read_to_string(self.path("run.log")).unwrap();
        log.lines().filter(|line| line.contains("restored") && line.contains("the normaliser")).count()
    }

    /// The configuration of another process beside this one: a folder of its own, the same lake, and shards that follow a group.
    pub fn config_of_follower(&self, name: &str) -> PathBuf {
        let text = std::fs::read_to_string(self.path("yibiao.toml")).unwrap();
        let (data, lake, own) = (self.path("data"), self.lake(), self.path(name));
        let text = text.replacen(&format!("data = {data:?}"), &format!("data = {own:?}"), 1);
        let text = if self.store.is_some() { text } else { format!("lake = {lake:?}\n{text}") };
        let follows = "follow = true\nsession = \"6s\"\n";
        let text = text.replacen("[fusion]\n", &format!("[fusion]\n{follows}"), 1);
        let text = text.replacen("[normalise]\n", &format!("[normalise]\n{follows}"), 1);
        let path = self.path(&format!("{name}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Before the first run: no checkpoint can be made, as long as the store takes no files. Owners and tails it takes.
    pub fn refuse_checkpoints(&self) {
        for shard in 0..4 {
            let folder = self.path(&format!("checkpoints/shard-{shard}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("files"), b"").unwrap();
        }
    }

    pub fn lose_checkpoints(&self) {
        std::fs::remove_dir_all(self.path("checkpoints")).unwrap();
    }

    pub fn accept_checkpoints(&self) {
        for shard in 0..4 {
            std::fs::remove_file(self.path(&format!("checkpoints/shard-{shard}/files"))).unwrap();
        }
    }

    /// Runs until the process dies at this point, the second time that it comes by.
    pub fn run_to_death_at(&self, point: CrashPoint) {
        self.run_to_death_at_the(2, point);
    }

    /// As [`World::run_to_death_at`], the `nth` time.
    pub fn run_to_death_at_the(&self, nth: u32, point: CrashPoint) {
        let read = || std::fs::read_to_string(self.path("run.log")).unwrap_or_default();
        let before = read().len();
        let mut child = self.start_run_with(&[(CRASH_AT, format!("{}:{nth}", point.as_str()))]);
        let status = wait(&mut child, PATIENCE);
        let log = read().split_off(before);
        let _ = child.kill();
        assert!(status.is_some_and(|status| !status.success()), "it did not die:\n{log}");
        assert!(log.contains(&format!("dying at {}", point.as_str())), "it died of something else:\n{log}");
    }

    /// The disk with the fusion shards' states is gone. False where there was none yet.
    pub fn lose_the_shards(&self) -> bool {
        std::fs::remove_dir_all(self.path("data/state/fusion")).is_ok()
    }

    /// State and tables are gone, and shards are loaded at once whatever little they find.
    pub fn lose_shards_and_lake(&self) {
        assert!(self.lose_the_shards());
        std::fs::remove_dir_all(self.path("data/lake")).unwrap();
        let path = self.path("yibiao.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let min = "[fusion]\nload_frames_min = 1\n";
        let text = match (text.contains(min), text.contains("[fusion]\n")) {
            (true, _) => text,
            (false, true) => text.replacen("[fusion]\n", min, 1),
            (false, false) => text + min,
        };
        std::fs::write(path, text).unwrap();
    }

    /// How often a shard was loaded at once, so far.
    pub fn loads_done(&self) -> usize {
        let log = std::fs::read_to_string(self.path("run.log")).unwrap();
        log.lines().filter(|line| line.contains("the first load is done")).count()
    }

    /// How often a shard made a tail's batches again, so far.
    pub fn tails_made_again(&self) -> usize {
        let log = std::fs::read_to_string(self.path("run.log")).unwrap();
        log.lines().filter(|line| line.contains("the tail's batches are made")).count()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(ROOT).args(args).env("YIBIAO_LOG", LOG).stdin(Stdio::null());
        command.envs(self.store.iter().flat_map(Store::variables));
        command
    }

    fn start_run(&self) -> Child {
        self.start_run_with(&[])
    }

    fn start_run_with(&self, environment: &[(&str, String)]) -> Child {
        let config = self.path("yibiao.toml");
        let args = ["run", "--once", "--metrics", "127.0.0.1:0", "--config", config.to_str().unwrap()];
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("run.log")).unwrap();
        let environment = environment.iter().map(|(name, value)| (name, value));
        self.command(&args).envs(environment).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Runs until it is dropped, and follows its sources.
    pub fn run_on(&self) -> Running {
        let config = self.path("yibiao.toml");
        let log = self.path("running.log");
        let mut command = Command::new(PROGRAM);
        command.current_dir(ROOT).args([
            "run",
            "--metrics",
            "127.0.0.1:0",
            "--log",
            "warn,yibiao_serve=info",
        ]);
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        Running::start(command.stderr(std::fs::File::create(&log).unwrap()), log)
    }

    pub fn run_to_end(&self) {
        let mut child = self.start_run();
        let status = wait(&mut child, PATIENCE);
        let log = std::fs::read_to_string(self.path("run.log")).unwrap_or_default();
        match status {
            Some(status) => assert!(status.success(), "the run failed:\n{log}"),
            None => {
                let _ = child.kill();
                panic!("the run did not end within {PATIENCE:?}:\n{log}");
            }
        }
    }

    /// True where it was still at work.
    pub fn run_and_kill_after(&self, time: Duration) -> bool {
        let mut child = self.start_run();
        match wait(&mut child, time) {
            Some(status) => {
                let log = std::fs::read_to_string(self.path("run.log")).unwrap_or_default();
                assert!(status.success(), "the run failed by itself:\n{log}");
                false
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                true
            }
        }
    }

    /// Rows of a query over the lake.
    pub fn sql(&self, query: &str) -> Value {
        self.sql_in(&self.lake(), query)
    }

    pub fn sql_at(&self, folder: &str, query: &str) -> Value {
        self.sql_in(self.path("data").join(folder).to_str().unwrap(), query)
    }

    fn sql_in(&self, lake: &str, query: &str) -> Value {
        let args = ["sql", "--lake", lake, "--format", "json", query];
        let output = self.command(&args).output().unwrap();
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn accounting_balances(&self) -> bool {
        let config = self.path("yibiao.toml");
        let output =
            self.command(&["accounting", "--json", "--config", config.to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let feeds: Value = serde_json::from_slice(&output.stdout).unwrap();
        let feeds = feeds.as_object().unwrap();
        assert_eq!(feeds.len(), 9);
        feeds.values().all(|feed| {
            let count = |name: &str| feed["counts"][name].as_u64().unwrap();
            count("received") > 0
                && count("received") == count("accepted") + count("quarantined") + count("unchanged")
        })
    }

    pub fn rules_verify(&self) {
        let config = self.path("yibiao.toml");
        let output =
            self.command(&["rules", "verify", "--config", config.to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// deltalake and polars read the same rows as we do.
    pub fn read_with_python(&self) {
        let Some(python) = std::env::var_os("YIBIAO_PYTHON") else {
            eprintln!(
                "SKIPPED: set YIBIAO_PYTHON (scripts/test does) to an interpreter with deltalake and polars"
            );
            return;
        };
        let script = "import sys, deltalake, polars as pl\n\
             rows = pl.read_delta(deltalake.DeltaTable(sys.argv[1]))\n\
             print(rows.height, rows['place_id'].n_unique(), rows['registered_count'].sum())";
        let table = format!("{}/places", self.lake());
        let mut command = Command::new(python);
        command.args(["-c", script]).arg(&table).envs(self.store.iter().flat_map(Store::variables));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ours = self.sql(
            "select count(*) as n, count(distinct place_id) as d, sum(registered_count) as s from places",
        );
        let ours = &ours.as_array().unwrap()[0];
        let expected = format!("{} {} {}", ours["n"], ours["d"], ours["s"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(electricity) = self.electricity.take() {
            self.runtime.block_on(electricity.stop());
        }
        match &mut self.broker {
            Some(broker) => {
                let _ = broker.kill();
                let _ = broker.wait();
            }
            None => {
                let dir = self.dir.path().join("kafka");
                let _ = Command::new("deploy/kafka/kafka.sh")
                    .current_dir(ROOT)
                    .args(["stop", "--dir"])
                    .arg(dir)
                    .status();
            }
        }
    }
}

fn embedded(dir: &Path) -> (String, Option<Child>) {
    let mut broker = Command::new(PROGRAM)
        .args(["broker", "--listen", "127.0.0.1:0", "--log", "error", "--dir"])
        .arg(dir.join("broker"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(broker.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (line.trim().to_owned(), Some(broker))
}

/// A broker of its own: topics have fixed names.
fn apache(dir: &Path) -> String {
    let output = Command::new("deploy/kafka/kafka.sh")
        .current_dir(ROOT)
        .args(["start", "--brokers", "1", "--dir"])
        .arg(dir.join("kafka"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "Apache Kafka did not start");
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap().trim().to_owned()
}

async fn send_hazards(bootstrap: &str, city: &Path) {
    let client = Client::new(&ClientConfig::at(bootstrap)).unwrap();
    let cleanup = Cleanup::Delete { retention: None };
    let topic =
        TopicSpec { name: HAZARDS.into(), partitions: 1, replication: 1, cleanup, max_record_bytes: None };
    client.ensure(&[topic]).await.unwrap();
    let producer = client.producer().unwrap();
    for message in hazard_messages(city).unwrap() {
        let (key, value) = message.unwrap();
        let (key, value) = (Some(key.as_bytes()), Some(value.as_slice()));
        let record =
            Outgoing { topic: HAZARDS, partition: None, key, value, headers: &[], timestamp_ms: None };
        producer.send(record).unwrap();
    }
    producer.flush().await.unwrap();
}

fn config(dir: &Path, city: &Path, bootstrap: &str, electricity: &str) -> String {
    let mut text = format!(
        "data = {:?}\nstages = [\"connect\", \"normalise\", \"fusion\", \"deliver\"]\n[kafka]\nbootstrap = {bootstrap:?}\n",
        dir.join("data")
    );
    for feed in [
        "police/standard-addresses",
        "police/housing-registrations",
        "civil-affairs/place-names",
        "civil-affairs/organisations",
        "justice/mediation-cases",
        "utilities/water-readings",
        "utilities/gas-readings",
    ] {
        let path = city.join("sources").join(feed);
        text.push_str(&format!("[sources.{feed:?}]\ntype = \"file\"\npath = {path:?}\n"));
    }
    text.push_str(&format!(
        "[sources.\"utilities/electricity-readings\"]\ntype = \"http\"\nurl = {electricity:?}\ntoken = {TOKEN:?}\n\
         [sources.\"grid/hazard-reports\"]\ntype = \"kafka\"\nbootstrap = {bootstrap:?}\ntopic = {HAZARDS:?}\n"
    ));
    text
}

/// None where it runs longer than `time`.
fn wait(child: &mut Child, time: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
