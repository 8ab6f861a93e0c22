//! A few dwellings of 青禾新村, three departments that speak of them, a broker, and the program run on them as processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use yibiao_topics::{Client, ClientConfig, Message, NextOffset, Outgoing, TopicPartition};

const PROGRAM: &str = env!("CARGO_BIN_EXE_yibiao");
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const FEEDS: [&str; 3] = ["police/standard-addresses", "utilities/water-readings", "justice/mediation-cases"];
const STANDARD_ADDRESSES: &str = "地址编码,标准地址,行政区划代码,省,市,区县,街道,社区,道路,门牌号,小区名称,楼栋,单元,\
     户室,地址级别,状态,别名,更新时间";
const RULE: &str = include_str!("many_disputes.sql");
/// A run that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct World {
    dir: tempfile::TempDir,
    bootstrap: String,
    broker: Child,
    runtime: tokio::runtime::Runtime,
    files: std::cell::Cell<u32>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

/// 1, 2, … are rooms of 青禾新村, each in a unit of its own.
pub fn address(dwelling: u32) -> String {
    format!("南京市鼓楼区云栖路12号青禾新村{dwelling}幢1单元101室")
}

/// A water reading: meter, dwelling, day of November, amount.
pub fn reading(meter: u32, dwelling: u32, day: u32, amount: &str) -> String {
    format!("W{meter:04},{},2025-11-{day:02},{amount},正常\n", address(dwelling))
}

/// A mediated dispute: number, dwelling, day of November.
pub fn case(number: u32, dwelling: u32, day: u32) -> String {
    format!(
        "{{\"case_no\":\"M{number:04}\",\"category\":\"邻里纠纷\",\"accepted_at\":\"2025-11-{day:02}T09:00:00\",\
         \"closed_at\":null,\"address\":\"{}\",\"outcome\":null}}\n",
        address(dwelling)
    )
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pipelines = dir.path().join("pipelines");
        for part in ["facts", "tables"] {
            copy(&Path::new(PROJECT).join("pipelines").join(part), &pipelines.join(part));
        }
        for part in ["rules", "deliveries"] {
            fs::create_dir(pipelines.join(part)).unwrap();
        }
        fs::write(pipelines.join("rules/many_disputes.sql"), RULE).unwrap();
        for feed in FEEDS {
            let name = format!("{feed}.odcs.yaml");
            let text = fs::read_to_string(Path::new(PROJECT).join("pipelines/feeds").join(&name)).unwrap();
            let contract = pipelines.join("feeds").join(name);
            fs::create_dir_all(contract.parent().unwrap()).unwrap();
            fs::write(contract, text.replace("encoding: gbk", "encoding: utf-8")).unwrap();
        }
        let mut broker = Command::new(PROGRAM)
            .args(["broker", "--listen", "127.0.0.1:0", "--log", "error", "--dir"])
            .arg(dir.path().join("broker"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut bootstrap = String::new();
        BufReader::new(broker.stdout.take().unwrap()).read_line(&mut bootstrap).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bootstrap = bootstrap.trim().to_owned();
        let world = Self { dir, bootstrap, broker, runtime, files: std::cell::Cell::new(0) };
        world.configure();
        world
    }

    fn configure(&self) {
        let mut config = format!(
            "data = {:?}\npipelines = {:?}\nstages = [\"connect\", \"normalise\", \"fusion\"]\n[kafka]\nbootstrap = {:?}\n\
             [topics]\nstd_partitions = 2\n[normalise]\nbatch_records_max = 20\n[project]\ninterval = \"100ms\"\n\
             base_interval = \"300ms\"\n",
            self.path("data"),
            self.path("pipelines"),
            self.bootstrap,
        );
        for feed in FEEDS {
            let folder = self.path("sources").join(feed);
            fs::create_dir_all(&folder).unwrap();
            config.push_str(&format!(
                "[sources.{feed:?}]\ntype = \"file\"\npath = {folder:?}\nsettle = \"50ms\"\npace = {{ poll = \"100ms\" }}\n"
            ));
        }
        fs::write(self.path("yibiao.toml"), config).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that appears whole, after those before it.
    fn place(&self, feed: &str, ending: &str, text: &str) {
        self.files.set(self.files.get() + 1);
        let aside = self.path("aside");
        fs::write(&aside, text).unwrap();
        let name = format!("{:04}.{ending}", self.files.get());
        fs::rename(aside, self.path("sources").join(feed).join(name)).unwrap();
    }

    pub fn register(&self, dwellings: impl IntoIterator<Item = u32>) {
        let row = |n: u32| {
            format!(
                "{n:016},江苏省{},320106,江苏省,南京市,鼓楼区,,,云栖路,12号,青禾新村,{n}幢,1单元,101室,户室,在用,,\
                 2025-08-01 08:00:00\n",
                address(n)
            )
        };
        let rows: String = dwellings.into_iter().map(row).collect();
        self.place(FEEDS[0], "csv", &format!("{STANDARD_ADDRESSES}\n{rows}"));
    }

    pub fn read_water(&self, readings: &[String]) {
        self.place(
            FEEDS[1],
            "csv",
            &format!("户号,用水地址,抄表日期,用水量（吨）,水表状态\n{}", readings.concat()),
        );
    }

    pub fn mediate(&self, cases: &[String]) {
        self.place(FEEDS[2], "jsonl", &cases.concat());
    }

    /// From now on the shards may move to another process.
    pub fn move_shards(&self) {
        let mut config = fs::read_to_string(self.path("yibiao.toml")).unwrap();
        config.push_str(&format!("[fusion]\ncheckpoints = {:?}\n", self.path("checkpoints")));
        fs::write(self.path("yibiao.toml"), config).unwrap();
    }

    /// Who ever took a shard.
    pub fn owners(&self) -> Vec<PathBuf> {
        let is_owner = |file: &PathBuf| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("owner-"))
        };
        walk(&self.path("checkpoints")).into_iter().filter(is_owner).collect()
    }

    /// From now on the stages also deliver, to a centre that may have everything of 南京.
    pub fn deliver_to_nanjing(&self) {
        let grant = "id: nanjing\ntitle: 南京\narea: \"3201\"\npurposes: [房屋安全监管]\nuntil: 2099-12-31\ntables:\n  - name: places\n  \
                     - name: warnings\n  - name: fact_water\nform:\n  delta: {folder: nanjing}\n  warnings_topic: true\n";
        fs::write(self.path("pipelines/deliveries/nanjing.yaml"), grant).unwrap();
        let config = fs::read_to_string(self.path("yibiao.toml")).unwrap();
        let config = config.replace("\"fusion\"]", "\"fusion\", \"deliver\"]");
        fs::write(self.path("yibiao.toml"), config).unwrap();
    }

    /// The topic of warnings of that centre: id and state of each message, in their order.
    pub fn told(&self) -> Vec<(String, String)> {
        let messages = self.messages(|topic| topic == "centre.nanjing.warnings");
        let told = messages.iter().map(|message| {
            let json: Value = serde_json::from_slice(message.value().unwrap()).unwrap();
            let cell = |name: &str| json[name].as_str().unwrap().to_owned();
            (cell("warning_id"), cell("state"))
        });
        told.collect()
    }

    /// A copy of the configuration's folder of pipelines.
    pub fn copy_of_pipelines(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        copy(&self.path("pipelines"), &folder);
        folder
    }

    /// The configuration's pipelines are as those from now on.
    pub fn use_pipelines(&self, folder: &Path) {
        fs::remove_dir_all(self.path("pipelines")).unwrap();
        copy(folder, &self.path("pipelines"));
    }

    /// Another folder of pipelines, in which a text of one file is another.
    pub fn other_pipelines(&self, name: &str, file: &str, text: &str, replaced: &str) -> PathBuf {
        let folder = self.copy_of_pipelines(name);
        let file = folder.join(file);
        let before = fs::read_to_string(&file).unwrap();
        assert!(before.contains(text), "{} has no {text}", file.display());
        fs::write(file, before.replace(text, replaced)).unwrap();
        folder
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args).arg("--config").arg(self.path("yibiao.toml")).stdin(Stdio::null());
        command
    }

    fn output(&self, command: &mut Command) -> Output {
        let (out, log) = (self.path("out"), self.path("log"));
        let files = [&out, &log].map(|file| fs::File::create(file).unwrap());
        let [stdout, stderr] = files;
        let mut child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{command:?} did not end within {PATIENCE:?}:\n{}", fs::read_to_string(log).unwrap());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Output { status, stdout: fs::read(out).unwrap(), stderr: fs::read(log).unwrap() }
    }

    /// What it says, where it succeeds.
    pub fn yibiao(&self, args: &[&str]) -> String {
        let output = self.output(&mut self.command(args));
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Why it fails.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.output(&mut self.command(args));
        assert!(!output.status.success(), "{args:?} was not refused");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The real stages, to the end of their sources.
    pub fn run(&self) {
        self.yibiao(&["run", "--once", "--metrics", "127.0.0.1:0", "--log", "warn"]);
    }

    /// The real stages, until it is dropped.
    pub fn run_on(&self) -> Stages {
        let log = fs::File::create(self.path("running.log")).unwrap();
        let mut command = self.command(&["run", "--metrics", "127.0.0.1:0", "--log", "warn"]);
        Stages(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    pub fn shadow(&self, args: &[&str]) -> String {
        self.yibiao(&[&["shadow", "run"], args].concat())
    }

    /// A run that dies where it comes by a point for the nth time.
    pub fn shadow_dies(&self, point: &str, args: &[&str]) {
        self.dies(point, &[&["shadow", "run"], args].concat());
    }

    /// A command that dies where it comes by a point for the nth time.
    pub fn dies(&self, point: &str, args: &[&str]) {
        let mut command = self.command(args);
        let output = self.output(command.env("YIBIAO_CRASH_AT", point));
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("dying at"), "it did not come by {point}: {log}");
    }

    pub fn compare(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.yibiao(&[&["shadow", "compare", "--json"], args].concat())).unwrap()
    }

    /// Rows of a query over a lake below the data folder.
    pub fn sql(&self, lake: &str, query: &str) -> Value {
        let output = Command::new(PROGRAM)
            .args(["sql", "--format", "json", "--log", "error", query, "--lake"])
            .arg(self.path("data").join(lake))
            .arg("--pipelines")
            .arg(self.path("pipelines"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The end of every partition of every topic.
    pub fn ends(&self) -> BTreeMap<String, i64> {
        self.runtime.block_on(async {
            let client = Client::new(&ClientConfig::at(&self.bootstrap)).unwrap();
            let mut ends = BTreeMap::new();
            for (topic, partitions) in client.topics().await.unwrap() {
                for partition in 0..partitions {
                    let of = TopicPartition::new(topic.as_str(), partition as i32);
                    ends.insert(of.to_string(), client.watermarks(&of).await.unwrap().high.get());
                }
            }
            ends
        })
    }

    /// Every message of the real std topics, in the order of their partitions.
    pub fn frames(&self) -> Vec<Message> {
        self.messages(|topic| topic.starts_with("std."))
    }

    /// Every message of some topics.
    pub fn messages(&self, of: impl Fn(&str) -> bool) -> Vec<Message> {
        self.runtime.block_on(async {
            let client = Client::new(&ClientConfig::at(&self.bootstrap)).unwrap();
            let mut messages = Vec::new();
            for (topic, partitions) in
                client.topics().await.unwrap().into_iter().filter(|(topic, _)| of(topic))
            {
                for partition in 0..partitions {
                    let tp = TopicPartition::new(topic.as_str(), partition as i32);
                    let end = client.watermarks(&tp).await.unwrap().high;
                    let mut at = NextOffset::START;
                    let mut reader = client.reader("test", vec![(tp, at)]).unwrap();
                    while at < end {
                        let batch = reader.next_batch(100, Duration::from_millis(100)).await.unwrap();
                        at = batch.messages.last().map_or(at, Message::next_offset);
                        messages.extend(batch.messages);
                    }
                }
            }
            messages
        })
    }

    /// Sends messages once more, as they were.
    pub fn send(&self, messages: &[Message]) {
        self.runtime.block_on(async {
            let client = Client::new(&ClientConfig::at(&self.bootstrap)).unwrap();
            let producer = client.producer().unwrap();
            for message in messages {
                let headers =
                    message.headers().map(|(name, value)| (std::str::from_utf8(name).unwrap(), value));
                let headers: Vec<_> = headers.collect();
                let (key, value) = (message.key(), message.value());
                let partition = u32::try_from(message.partition).ok();
                let outgoing = Outgoing {
                    topic: &message.topic,
                    partition,
                    key,
                    value,
                    headers: &headers,
                    timestamp_ms: None,
                };
                producer.send(outgoing).unwrap();
            }
            producer.flush().await.unwrap();
        });
    }

    pub fn wait_until(&self, done: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < until, "it did not happen within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn topics_of_shadows(&self) -> usize {
        self.ends().keys().filter(|name| name.starts_with("shadow.")).count()
    }

    /// Every file of the data folder but those of shadows, with its content.
    pub fn data(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let shadows = self.path("data/shadow");
        let files = walk(&self.path("data")).into_iter().filter(|file| !file.starts_with(&shadows));
        files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    }

    pub fn gazetteer(&self) -> String {
        fs::read_to_string(self.path("data/gazetteer/CURRENT")).unwrap()
    }

    /// What the shadow's facts say, by fact id; no statement may be there twice.
    pub fn assert_no_fact_twice(&self, name: &str) {
        self.assert_no_fact_twice_in(&format!("shadow/{name}/lake"));
    }

    pub fn assert_no_fact_twice_in(&self, lake: &str) {
        for table in ["fact_place", "fact_water", "fact_dispute"] {
            let query = format!("select fact_id, raw_partition, raw_offset, raw_index from {table}");
            let rows = self.sql(lake, &query);
            let rows: Vec<String> = rows.as_array().unwrap().iter().map(Value::to_string).collect();
            let distinct: BTreeSet<&String> = rows.iter().collect();
            assert_eq!(distinct.len(), rows.len(), "{lake}: {table} holds a statement twice");
        }
    }
}

/// The stages of another process.
pub struct Stages(Child);

impl Stages {
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// As an operator stops them: every stage ends its batch.
    pub fn stop(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path() {
            folder if folder.is_dir() => copy(&folder, &to),
            file => drop(fs::copy(&file, &to).unwrap()),
        }
    }
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        match entry.unwrap().path() {
            folder if folder.is_dir() => files.extend(walk(&folder)),
            file => files.push(file),
        }
    }
    files
}
