//! The program as a process on a broker of its own, with this project's facts, tables and rules, and the contracts
//! beside this file.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use yibiao_records::FeedId;
use yibiao_topics::{Client, ClientConfig, TopicPartition};

const PROGRAM: &str = env!("CARGO_BIN_EXE_yibiao");
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const FEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_input/feeds");
/// A run that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Installation {
    dir: tempfile::TempDir,
    bootstrap: String,
    broker: Child,
}

impl Drop for Installation {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

impl Installation {
    /// `sources`: for each feed the text of its one file.
    pub fn new(sources: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pipelines = dir.path().join("pipelines");
        for part in ["facts", "tables", "rules"] {
            copy(&Path::new(PROJECT).join("pipelines").join(part), &pipelines.join(part));
        }
        copy(Path::new(FEEDS), &pipelines.join("feeds"));
        std::fs::create_dir(pipelines.join("deliveries")).unwrap();

        let mut broker = Command::new(PROGRAM)
            .args(["broker", "--listen", "127.0.0.1:0", "--log", "error", "--dir"])
            .arg(dir.path().join("broker"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut bootstrap = String::new();
        BufReader::new(broker.stdout.take().unwrap()).read_line(&mut bootstrap).unwrap();
        let installation = Self { dir, bootstrap: bootstrap.trim().to_owned(), broker };

        let mut config = format!(
            "data = {:?}\npipelines = {pipelines:?}\nstages = [\"connect\", \"normalise\", \"fusion\"]\n\
             [kafka]\nbootstrap = {:?}\n",
            installation.path("data"),
            installation.bootstrap,
        );
        for (feed, text) in sources {
            let file = installation.path("sources").join(format!("{feed}.csv"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            config.push_str(&format!("[sources.{feed:?}]\ntype = \"file\"\npath = {file:?}\n"));
        }
        std::fs::write(installation.path("yibiao.toml"), config).unwrap();
        installation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Gives what the run says at its end: the accounting.
    pub fn run_once(&self) -> String {
        let [said, log] = ["run.out", "run.log"].map(|name| self.path(name));
        let mut run = Command::new(PROGRAM)
            .args(["run", "--once", "--metrics", "127.0.0.1:0", "--log", "warn", "--config"])
            .arg(self.path("yibiao.toml"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&said).unwrap())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match run.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() >= until => break None,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let _ = run.kill();
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let status = status.unwrap_or_else(|| panic!("the run did not end within {PATIENCE:?}:\n{log}"));
        assert!(status.success(), "the run failed:\n{log}");
        std::fs::read_to_string(said).unwrap()
    }

    /// Rows of a query over the lake.
    pub fn sql(&self, query: &str) -> Vec<Value> {
        let output = Command::new(PROGRAM)
            .args(["sql", "--format", "json", "--log", "error", "--lake"])
            .arg(self.path("data/lake"))
            .arg("--pipelines")
            .arg(self.path("pipelines"))
            .arg(query)
            .output()
            .unwrap();
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The reason for each record of a feed that was not accepted, by its key.
    pub fn quarantined(&self, feed: &str) -> BTreeMap<String, String> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let client = Client::new(&ClientConfig::at(&self.bootstrap)).unwrap();
            let topic = feed.parse::<FeedId>().unwrap().quarantine_topic();
            let (mut start, mut ends) = (Vec::new(), BTreeMap::new());
            for partition in 0..client.partitions(&topic).await.unwrap() {
                let tp = TopicPartition::new(topic.as_str(), partition as i32);
                let marks = client.watermarks(&tp).await.unwrap();
                if marks.low < marks.high {
                    ends.insert(tp.clone(), marks.high);
                    start.push((tp, marks.low));
                }
            }
            let mut reasons = BTreeMap::new();
            let mut reader = client.reader("real-input", start).unwrap();
            while !ends.is_empty() {
                let batch = reader.next_batch(1000, Duration::from_secs(1)).await.unwrap();
                for message in &batch.messages {
                    let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
                    reasons.insert(key, message.rejection().unwrap().unwrap().reason);
                }
                for (tp, next) in batch.next_offsets() {
                    if ends.get(&tp).is_some_and(|end| *end <= next) {
                        ends.remove(&tp);
                    }
                }
            }
            reasons
        })
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path() {
            folder if folder.is_dir() => copy(&folder, &to),
            file => drop(std::fs::copy(&file, &to).unwrap()),
        }
    }
}
