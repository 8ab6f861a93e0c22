//! Another department's topic.

use std::collections::BTreeMap;

use prost::Message;
use yibiao_connectors::{KafkaSource, Mode, SourceConfig};
use yibiao_topics::{Cleanup, Outgoing, TopicSpec};

use crate::bench::{Bench, quick, until_sent};

#[derive(Clone, PartialEq, Message)]
struct HazardReport {
    #[prost(string, tag = "1")]
    report_id: String,
    #[prost(string, tag = "2")]
    category: String,
    #[prost(string, tag = "3")]
    place_text: String,
    #[prost(int64, tag = "4")]
    observed_at: i64,
    #[prost(int32, tag = "5")]
    severity: i32,
}

async fn department_topic(bench: &Bench) -> String {
    let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let name = format!("grid.hazards.{nanos}");
    let cleanup = Cleanup::Delete { retention: None };
    let spec =
        TopicSpec { name: name.clone(), partitions: 3, replication: 1, cleanup, max_record_bytes: None };
    bench.client.ensure(&[spec]).await.unwrap();
    name
}

async fn report(bench: &Bench, topic: &str, numbers: std::ops::Range<usize>) {
    let producer = bench.client.producer().unwrap();
    for n in numbers {
        let report = HazardReport {
            report_id: format!("H{n}"),
            category: "电气隐患".into(),
            place_text: format!("鼓楼区样例路{n}号"),
            observed_at: 1_762_128_000_000,
            severity: 3,
        };
        let (key, value) = (report.report_id.clone(), report.encode_to_vec());
        let record = Outgoing { topic, key: Some(key.as_bytes()), value: Some(&value), ..Default::default() };
        producer.send(record).unwrap();
    }
    let tombstone = Outgoing { topic, key: Some(b"H0"), ..Default::default() };
    producer.send(tombstone).unwrap();
    producer.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_departments_topic_arrive_once_with_key_and_position_and_reading_goes_on() {
    let bench = Bench::start("grid/hazard-reports").await;
    let topic = department_topic(&bench).await;
    report(&bench, &topic, 0..500).await;
    let source =
        SourceConfig::Kafka(KafkaSource { pace: quick(), ..KafkaSource::new(bench.bootstrap(), &topic) });
    let summary = bench.once(&source).await.unwrap();
    assert_eq!((summary.records, summary.dropped), (500, 1));

    let running = bench.start_connector(&source, Mode::Follow);
    report(&bench, &topic, 500..600).await;
    until_sent(&running, 100).await;
    assert_eq!(running.stop().await.records, 100);

    let mut seen = BTreeMap::new();
    for message in bench.raw().await {
        let report = HazardReport::decode(message.value().unwrap()).unwrap();
        assert_eq!(message.key().unwrap(), report.report_id.as_bytes());
        let provenance = message.provenance().unwrap().unwrap();
        assert!(provenance.source.starts_with(&topic) && provenance.position > 0);
        *seen.entry(report.report_id).or_insert(0) += 1;
    }
    assert!(seen.len() == 600 && seen.values().all(|count| *count == 1), "{} reports", seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_was_killed_sends_a_little_again_and_loses_nothing() {
    let bench = Bench::start("grid/hazard-reports").await;
    let topic = department_topic(&bench).await;
    report(&bench, &topic, 0..20_000).await;
    let source =
        SourceConfig::Kafka(KafkaSource { pace: quick(), ..KafkaSource::new(bench.bootstrap(), &topic) });
    let running = bench.start_connector(&source, Mode::Follow);
    until_sent(&running, 5000).await;
    running.kill().await;
    bench.once(&source).await.unwrap();
    let raw = bench.raw().await;
    let keys: std::collections::BTreeSet<_> = raw.iter().map(|message| message.key().unwrap()).collect();
    assert_eq!(keys.len(), 20_000);
}
