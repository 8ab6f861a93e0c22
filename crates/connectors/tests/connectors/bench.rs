//! A broker with the topics of one feed, and its contract.

use std::{
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use yibiao_broker::{Broker, Config};
use yibiao_connectors::{Error, Mode, Pace, Progress, SourceConfig, Summary, run};
use yibiao_contracts::{Contract, load_fact_kinds, load_file};
use yibiao_topics::{Client, ClientConfig, Layout, Message, NextOffset, TopicPartition};

pub const WAIT: Duration = Duration::from_secs(20);

pub struct Bench {
    pub folder: TempDir,
    pub contract: Arc<Contract>,
    pub client: Client,
    /// None where `YIBIAO_TEST_BOOTSTRAP` names an Apache Kafka.
    broker: Option<Broker>,
}

pub fn quick() -> Pace {
    Pace {
        poll: Duration::from_millis(30),
        back_off: Duration::from_millis(50),
        back_off_max: Duration::from_millis(200),
        ..Pace::default()
    }
}

impl Bench {
    pub async fn start(feed: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (broker, bootstrap) = match std::env::var("YIBIAO_TEST_BOOTSTRAP") {
            Ok(bootstrap) => (None, bootstrap),
            Err(_) => {
                let broker = Broker::start(Config::new(folder.path().join("broker"))).await.unwrap();
                let bootstrap = broker.bootstrap();
                (Some(broker), bootstrap)
            }
        };
        let pipelines = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipelines"));
        let kinds = load_fact_kinds(&pipelines.join("facts")).unwrap();
        let mut contract = load_file(&pipelines.join(format!("feeds/{feed}.odcs.yaml")), &kinds).unwrap();
        // A feed of this test's own, also where all tests share an Apache Kafka.
        let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        contract.feed = format!("{feed}-{nanos}").parse().unwrap();
        let client = Client::new(&ClientConfig::at(bootstrap)).unwrap();
        let bench = Self { folder, contract: Arc::new(contract), client, broker };
        let layout = Layout::default();
        bench.client.ensure(&[layout.raw(&bench.contract.feed), layout.cursors()]).await.unwrap();
        bench
    }

    pub fn bootstrap(&self) -> String {
        self.client.config().bootstrap.clone()
    }

    pub fn can_stop_broker(&self) -> bool {
        self.broker.is_some()
    }

    pub async fn stop_broker(&mut self) {
        self.broker.take().unwrap().stop().await.unwrap();
    }

    pub async fn start_broker_again(&mut self) {
        let listen = self.bootstrap().parse().unwrap();
        let config = Config { listen, ..Config::new(self.folder.path().join("broker")) };
        self.broker = Some(Broker::start(config).await.unwrap());
    }

    /// A file in the source's folder.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.source()).unwrap();
        std::fs::write(self.source().join(name), bytes).unwrap();
    }

    pub fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub fn files(&self) -> SourceConfig {
        let SourceConfig::File(mut source) = SourceConfig::file(self.source()) else { unreachable!() };
        source.pace = quick();
        SourceConfig::File(source)
    }

    pub async fn once(&self, source: &SourceConfig) -> Result<Summary, Error> {
        let shutdown = CancellationToken::new();
        run(&self.contract, source, &self.client, Mode::Once, shutdown, &Progress::new()).await
    }

    pub fn start_connector(&self, source: &SourceConfig, mode: Mode) -> Running {
        let (contract, source, client) = (self.contract.clone(), source.clone(), self.client.clone());
        let (progress, shutdown) = (Progress::new(), CancellationToken::new());
        let (shown, stop) = (progress.clone(), shutdown.clone());
        let task = tokio::spawn(async move { run(&contract, &source, &client, mode, stop, &shown).await });
        Running { task, progress, shutdown }
    }

    /// All records of the raw topic, in the order of their partitions.
    pub async fn raw(&self) -> Vec<Message> {
        let topic = self.contract.feed.raw_topic();
        let (mut start, mut missing) = (Vec::new(), 0);
        for partition in 0..self.client.partitions(&topic).await.unwrap() {
            let tp = TopicPartition::new(topic.as_str(), partition as i32);
            let marks = self.client.watermarks(&tp).await.unwrap();
            missing += (marks.high.get() - marks.low.get()) as usize;
            start.push((tp, NextOffset::START));
        }
        let mut reader = self.client.reader("test", start).unwrap();
        let mut messages = Vec::new();
        let deadline = Instant::now() + WAIT;
        while messages.len() < missing {
            assert!(Instant::now() < deadline, "{} of {missing} records came", messages.len());
            messages.extend(reader.next_batch(10_000, Duration::from_millis(200)).await.unwrap().messages);
        }
        messages.sort_by_key(|message| (message.partition, message.offset));
        messages
    }

    /// The records' values as text, in their order.
    pub async fn raw_texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self
            .raw()
            .await
            .iter()
            .map(|m| String::from_utf8(m.value().unwrap().to_vec()).unwrap())
            .collect();
        texts.sort();
        texts
    }
}

pub struct Running {
    pub task: JoinHandle<Result<Summary, Error>>,
    pub progress: Progress,
    pub shutdown: CancellationToken,
}

impl Running {
    pub async fn stop(self) -> Summary {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap()
    }

    /// As `kill -9` would: nothing is flushed or saved any more.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Looks until it is so. Tests see progress from outside only.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + WAIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn until_sent(running: &Running, records: u64) {
    until(&format!("{records} records are sent"), || async {
        assert!(!running.task.is_finished() || running.progress.snapshot().records >= records);
        running.progress.snapshot().records >= records
    })
    .await;
}
