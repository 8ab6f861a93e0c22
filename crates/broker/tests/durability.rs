//! What survives: kill -9, a torn file, a full disk, a restart; and what is refused.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use yibiao_broker::{Broker, Config, Error};

/// The example binary in a process of its own; killed when dropped.
struct Process {
    child: Child,
    bootstrap: String,
}

impl Process {
    fn start(dir: &Path, listen: &str, more: &[&str]) -> Process {
        // Cargo builds examples before it runs tests, into the folder beside the tests' own.
        let tests = std::env::current_exe().unwrap();
        let serve = tests.parent().unwrap().parent().unwrap().join("examples/serve");
        let mut command = Command::new(serve);
        command.arg("--dir").arg(dir).args(["--listen", listen]).args(more).stdout(Stdio::piped());
        let mut child = command.spawn().expect("built by `cargo build -p yibiao-broker --example serve`");
        let mut bootstrap = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut bootstrap).unwrap();
        Process { child, bootstrap: bootstrap.trim().to_owned() }
    }

    fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.bootstrap.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config.set("reconnect.backoff.max.ms", "200");
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Critical);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

async fn make_topic(bootstrap: &str, name: &str) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap, &[]).create().unwrap();
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
}

/// The values that were acknowledged, and the errors of those that failed.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<(BTreeSet<u64>, Vec<String>)>>);

impl ClientContext for Acknowledged {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<u64>;
    fn delivery(&self, result: &DeliveryResult<'_>, value: Box<u64>) {
        let mut outcome = self.0.lock();
        match result {
            Ok(_) => {
                outcome.0.insert(*value);
            }
            Err((error, _)) => outcome.1.push(error.to_string()),
        }
    }
}

fn producer(bootstrap: &str, settings: &[(&str, &str)]) -> (BaseProducer<Acknowledged>, Acknowledged) {
    let acknowledged = Acknowledged::default();
    let config = client(bootstrap, settings);
    (BaseProducer::from_config_and_context(&config, acknowledged.clone()).unwrap(), acknowledged)
}

fn send(producer: &BaseProducer<Acknowledged>, topic: &str, value: u64, padding: usize) {
    let payload = format!("{value}:{}", "x".repeat(padding));
    let mut record =
        BaseRecord::<[u8], str, Box<u64>>::with_opaque_to(topic, Box::new(value)).payload(payload.as_str());
    while let Err((_, back)) = producer.send(record) {
        producer.poll(Duration::from_millis(5));
        record = back;
    }
    producer.poll(Duration::ZERO);
}

fn read(bootstrap: &str, topic: &str, count: usize) -> Vec<u64> {
    let settings = [("group.id", "reader"), ("auto.offset.reset", "earliest"), ("fetch.wait.max.ms", "100")];
    let consumer: BaseConsumer = client(bootstrap, &settings).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let (mut read, started) = (Vec::new(), Instant::now());
    while read.len() < count && started.elapsed() < Duration::from_secs(15) {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            let text = String::from_utf8_lossy(message.payload().unwrap()).into_owned();
            read.push(text.split(':').next().unwrap().parse().unwrap());
        }
    }
    read
}

#[tokio::test]
async fn kill_9_in_the_middle_of_writing_loses_and_repeats_no_acknowledged_record() {
    const RECORDS: u64 = 30_000;
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Process::start(folder.path(), "127.0.0.1:0", &[]);
    make_topic(&broker.bootstrap, "t").await;
    let settings = [("enable.idempotence", "true"), ("linger.ms", "1"), ("batch.num.messages", "100")];
    let (producer, acknowledged) = producer(&broker.bootstrap, &settings);
    for value in 0..RECORDS {
        send(&producer, "t", value, 50);
        if value % 10_000 == 5_000 {
            let address = broker.kill();
            broker = Process::start(folder.path(), &address, &[]);
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let outcome = acknowledged.0.lock().clone();
    assert_eq!((outcome.0.len() as u64, outcome.1), (RECORDS, vec![]));
    let address = broker.kill();
    let _broker = Process::start(folder.path(), &address, &[]);
    assert_eq!(read(&address, "t", RECORDS as usize), (0..RECORDS).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_group_and_its_members_go_on_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Process::start(folder.path(), "127.0.0.1:0", &[]);
    make_topic(&broker.bootstrap, "t").await;
    let settings = [
        ("group.id", "g"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("heartbeat.interval.ms", "100"),
        ("fetch.wait.max.ms", "100"),
    ];
    let consumer: BaseConsumer = client(&broker.bootstrap, &settings).create().unwrap();
    consumer.subscribe(&["t"]).unwrap();
    let (producer, _) = producer(&broker.bootstrap, &[]);
    send(&producer, "t", 0, 0);
    let next = |what: &str| {
        let started = Instant::now();
        loop {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                break message.offset();
            }
            producer.poll(Duration::ZERO);
            assert!(started.elapsed() < Duration::from_secs(15), "{what}: no record came");
        }
    };
    assert_eq!(next("before"), 0);
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();

    let address = broker.kill();
    let broker = Process::start(folder.path(), &address, &[]);
    send(&producer, "t", 1, 0);
    assert_eq!(next("after"), 1);
    let list = consumer.fetch_group_list(Some("g"), Duration::from_secs(5)).unwrap();
    assert_eq!((list.groups()[0].state(), list.groups()[0].members().len()), ("Stable", 1));
    let mut asked = TopicPartitionList::new();
    asked.add_partition("t", 0);
    let committed = consumer.committed_offsets(asked, Duration::from_secs(5)).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(1));
    drop(broker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_end_of_a_log_is_cut_off_and_writing_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(Config::new(folder.path())).await.unwrap();
    make_topic(&broker.bootstrap(), "t").await;
    let write = |bootstrap: String, value: u64| {
        let (producer, acknowledged) = producer(&bootstrap, &[]);
        send(&producer, "t", value, 10);
        producer.flush(Duration::from_secs(10)).unwrap();
        assert_eq!(acknowledged.0.lock().1, Vec::<String>::new());
    };
    for value in 0..3 {
        write(broker.bootstrap(), value);
    }
    broker.stop().await.unwrap();
    let log = folder.path().join("topics/t/0/00000000000000000000.log");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 5]).unwrap();

    let broker = Broker::start(Config::new(folder.path())).await.unwrap();
    write(broker.bootstrap(), 9);
    assert_eq!(read(&broker.bootstrap(), "t", 3), [0, 1, 9]);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_to_producers_and_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path());
    config.limits.disk_bytes = 100_000;
    let broker = Broker::start(config).await.unwrap();
    make_topic(&broker.bootstrap(), "t").await;
    let (producer, acknowledged) = producer(&broker.bootstrap(), &[("linger.ms", "0"), ("acks", "1")]);
    for value in 0..200 {
        send(&producer, "t", value, 1_000);
        producer.flush(Duration::from_secs(10)).unwrap();
    }
    let outcome = acknowledged.0.lock().clone();
    assert!((80..100).contains(&outcome.0.len()), "{} records in 100 kB", outcome.0.len());
    assert!(outcome.1.iter().all(|error| error.contains("PolicyViolation")), "{:?}", outcome.1.first());
    assert_eq!(read(&broker.bootstrap(), "t", outcome.0.len()).len(), outcome.0.len());
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_not_loopback_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for listen in ["0.0.0.0:0", "192.0.2.1:9092", "[::]:0"] {
        let mut config = Config::new(folder.path());
        config.listen = listen.parse().unwrap();
        assert!(matches!(Broker::start(config).await, Err(Error::NotLoopback(_))), "{listen}");
    }
}

#[tokio::test]
async fn a_second_broker_on_the_same_folder_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let first = Broker::start(Config::new(folder.path())).await.unwrap();
    assert!(matches!(Broker::start(Config::new(folder.path())).await, Err(Error::Locked(_))));
    first.stop().await.unwrap();
    let second = Broker::start(Config::new(folder.path())).await.unwrap();
    drop(second);
    Broker::start(Config::new(folder.path())).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_said_to_be_taken() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Broker::start(Config::new(one.path())).await.unwrap();
    let mut config = Config::new(other.path());
    config.listen = first.bootstrap().parse().unwrap();
    let error = Broker::start(config).await.err().unwrap().to_string();
    assert!(error.contains(&first.bootstrap()) && error.contains("choose a free port"), "{error}");
    first.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_spoken_ends_the_connection_and_leaves_the_broker_well() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(Config::new(folder.path())).await.unwrap();
    let talk = |bytes: &[u8]| {
        let mut socket = std::net::TcpStream::connect(broker.bootstrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        if let Err(error) = socket.read_to_end(&mut answer) {
            // What was sent and not read makes the system reset the connection.
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        answer
    };
    let frame = |body: &[u8]| [&(body.len() as i32).to_be_bytes()[..], body].concat();
    // A TLS greeting, another protocol, an unknown request, a version that is too new, a request cut short.
    assert_eq!(talk(&[0x16, 3, 1, 2, 0, 1, 0, 1]), b"");
    assert_eq!(talk(b"GET / HTTP/1.1\r\n\r\n"), b"");
    assert_eq!(talk(&frame(&[3, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff])), b"");
    assert_eq!(talk(&frame(&[0, 1, 0, 17, 0, 0, 0, 1, 0xff, 0xff])), b"");
    assert_eq!(talk(&frame(&[0, 3, 0, 9, 0, 0, 0, 1, 0, 9, b'c'])), b"");
    make_topic(&broker.bootstrap(), "t").await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn rubbish_in_well_framed_requests_does_not_harm_the_broker() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(Config::new(folder.path())).await.unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 32) as u8
    };
    for _ in 0..500 {
        // Header version 1 or 2 with an empty client id; then zeros, small numbers and large ones.
        let mut body = vec![0, random() % 61, 0, random() % 13, 0, 0, 0, 1, 0, 0];
        body.extend((0..random() % 60).map(|_| [0, 0, 0, 1, 2, 0x7f, 0xff][usize::from(random() % 7)]));
        let mut socket = std::net::TcpStream::connect(broker.bootstrap()).unwrap();
        socket.write_all(&(body.len() as i32).to_be_bytes()).unwrap();
        socket.write_all(&body).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let _ = socket.read(&mut [0; 64]);
    }
    make_topic(&broker.bootstrap(), "t").await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_limit_on_partitions_or_settings_is_told_with_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path());
    config.limits.partitions_max = 3;
    let broker = Broker::start(config).await.unwrap();
    let admin: AdminClient<DefaultClientContext> = client(&broker.bootstrap(), &[]).create().unwrap();
    let make = async |name: &str, partitions: i32, setting: (&str, &str)| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set(setting.0, setting.1);
        let made = admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0);
        made.map_err(|(_, code)| format!("{code:?}")).err()
    };
    let plain = ("cleanup.policy", "delete");
    assert_eq!(make("three", 3, plain).await, None);
    assert_eq!(make("more", 1, plain).await.as_deref(), Some("PolicyViolation"));
    assert_eq!(make("huge", 1, ("max.message.bytes", "999999999")).await.as_deref(), Some("PolicyViolation"));
    assert_eq!(make("odd", 1, ("retention.years", "7")).await.as_deref(), Some("InvalidConfig"));
    broker.stop().await.unwrap();
}
