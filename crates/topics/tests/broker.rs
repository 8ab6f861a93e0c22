//! Producers, readers, topics and cursors against a real broker: the embedded one, or the one that
//! `YIBIAO_TEST_BOOTSTRAP` names (deploy/kafka/kafka.sh starts an Apache Kafka).
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime},
};

use yibiao_records::FeedId;
use yibiao_topics::{
    Cleanup, Client, ClientConfig, Error, Layout, Message, NextOffset, Outgoing, Range, Reader,
    TopicPartition, TopicSpec, View,
};

mod support;
use support::Broker;

const WAIT: Duration = Duration::from_secs(10);

fn spec(partitions: u32) -> TopicSpec {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    TopicSpec {
        name: format!("test.{nanos}.{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        partitions,
        replication: 1,
        cleanup: Cleanup::Delete { retention: Some(Duration::from_secs(3600)) },
        max_record_bytes: Some(8 << 20),
    }
}

async fn read(reader: &mut Reader, count: usize) -> Vec<Message> {
    let deadline = Instant::now() + WAIT;
    let mut messages = Vec::new();
    while messages.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records came", messages.len());
        let batch = reader.next_batch(10_000, Duration::from_millis(200)).await.unwrap();
        messages.extend(batch.messages);
    }
    messages
}

fn all(topic: &str, partitions: u32) -> Vec<(TopicPartition, NextOffset)> {
    (0..partitions).map(|p| (TopicPartition::new(topic, p as i32), NextOffset::START)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_back_in_the_order_of_their_key_with_headers_and_nulls() {
    let broker = Broker::start().await;
    let client = broker.client();
    let spec = spec(3);
    client.ensure(std::slice::from_ref(&spec)).await.unwrap();
    assert_eq!(client.partitions(&spec.name).await.unwrap(), 3);
    let producer = client.producer().unwrap();
    const RECORDS: usize = 30_000;
    for n in 0..RECORDS {
        producer.ready().await.unwrap();
        let key = format!("户{}", n % 97);
        let value = n.to_string();
        let send = Outgoing {
            topic: &spec.name,
            key: Some(key.as_bytes()),
            value: (n % 10 != 0).then_some(value.as_bytes()),
            headers: &[("provenance", b""), ("n", value.as_bytes())],
            timestamp_ms: Some(1_700_000_000_000 + n as i64),
            ..Default::default()
        };
        producer.send(send).unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(producer.in_flight(), 0);

    let mut reader = client.reader("test", all(&spec.name, 3)).unwrap();
    let messages = read(&mut reader, RECORDS).await;
    let mut last: HashMap<Vec<u8>, (i32, usize)> = HashMap::new();
    for message in &messages {
        let n: usize = std::str::from_utf8(message.header("n").unwrap()).unwrap().parse().unwrap();
        assert_eq!(message.value().is_none(), n.is_multiple_of(10));
        assert_eq!(message.timestamp_ms, 1_700_000_000_000 + n as i64);
        assert!(message.provenance().unwrap().is_some());
        let before = last.insert(message.key().unwrap().to_vec(), (message.partition, n));
        assert!(before.is_none_or(|(partition, before)| partition == message.partition && before < n));
    }
    assert!(reader.lag().await.unwrap().iter().all(|(_, lag)| *lag == 0));

    // A second reader goes on where the first half ended.
    let positions = reader.positions().to_vec();
    reader.commit_for_display(&positions);
    drop(reader);
    let mut resumed = client.reader("test", positions).unwrap();
    assert!(resumed.next_batch(10, Duration::from_millis(300)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_is_woken_by_a_record_within_milliseconds() {
    let broker = Broker::start().await;
    let client = broker.client();
    let spec = spec(1);
    client.ensure(std::slice::from_ref(&spec)).await.unwrap();
    let mut reader = client.reader("latency", all(&spec.name, 1)).unwrap();
    let producer = client.producer().unwrap();
    let mut waits = Vec::new();
    for n in 0..20 {
        let sent = Instant::now();
        producer.send(Outgoing { topic: &spec.name, value: Some(b"x"), ..Default::default() }).unwrap();
        assert_eq!(reader.next_batch(10, WAIT).await.unwrap().messages[0].offset, n);
        waits.push(sent.elapsed());
    }
    waits.sort();
    assert!(waits[10] < Duration::from_millis(100), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_never_longer_than_asked_and_a_paused_partition_rests() {
    let broker = Broker::start().await;
    let client = broker.client();
    let spec = spec(2);
    client.ensure(std::slice::from_ref(&spec)).await.unwrap();
    let producer = client.producer().unwrap();
    let send = |partition: u32, count: usize| {
        for _ in 0..count {
            let record = Outgoing {
                topic: &spec.name,
                partition: Some(partition),
                value: Some(b"v"),
                ..Default::default()
            };
            producer.send(record).unwrap();
        }
    };
    let mut reader = client.reader("paused", all(&spec.name, 2)).unwrap();
    reader.pause(&[TopicPartition::new(&*spec.name, 1)]);
    send(0, 500);
    send(1, 500);
    producer.flush().await.unwrap();
    let mut seen = 0;
    while seen < 500 {
        let batch = reader.next_batch(7, WAIT).await.unwrap();
        assert!((1..=7).contains(&batch.len()) && batch.messages.iter().all(|m| m.partition == 0));
        seen += batch.len();
    }
    reader.resume(&[TopicPartition::new(&*spec.name, 1)]);
    assert_eq!(read(&mut reader, 500).await.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_differs_is_told_with_every_difference() {
    let broker = Broker::start().await;
    let client = broker.client();
    let spec = spec(2);
    client.ensure(std::slice::from_ref(&spec)).await.unwrap();
    client.ensure(std::slice::from_ref(&spec)).await.unwrap();
    let wanted = TopicSpec { partitions: 4, cleanup: Cleanup::Compact, ..spec.clone() };
    let error = client.ensure(&[wanted]).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("partitions 2, expected 4") && text.contains("cleanup.policy delete"), "{text}");
    let longer = TopicSpec { cleanup: Cleanup::Delete { retention: None }, ..spec };
    client.ensure(std::slice::from_ref(&longer)).await.unwrap();
    let differences = client.differences(&[longer]).await.unwrap();
    assert_eq!(
        differences[0].to_string(),
        format!("{} has retention.ms 3600000, expected -1", differences[0].topic)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_written_is_told_apart() {
    let broker = Broker::start().await;
    let client = broker.client();
    let spec = spec(1);
    client.ensure(std::slice::from_ref(&spec)).await.unwrap();
    let gone = vec![(TopicPartition::new(&*spec.name, 0), NextOffset::after(41))];
    let error = client.reader("gone", gone).unwrap().next_batch(1, WAIT).await.unwrap_err();
    assert!(matches!(error, Error::PositionGone { .. }), "{error}");
    let error = client.partitions("no.such.topic").await.unwrap_err();
    assert!(matches!(error, Error::UnknownTopic { .. }), "{error}");

    let producer = client.producer().unwrap();
    let big = vec![b'x'; 9 << 20];
    let error =
        producer.send(Outgoing { topic: &spec.name, value: Some(&big), ..Default::default() }).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    let large = &big[..7 << 20];
    producer.send(Outgoing { topic: &spec.name, value: Some(large), ..Default::default() }).unwrap();
    producer.flush().await.unwrap();
    let mut reader = client.reader("large", all(&spec.name, 1)).unwrap();
    assert_eq!(read(&mut reader, 1).await[0].value().unwrap().len(), 7 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_are_found_by_another_process_and_can_be_forgotten() {
    let broker = Broker::start().await;
    let client = broker.client();
    client.ensure(&[Layout::default().cursors()]).await.unwrap();
    let [water, gas]: [FeedId; 2] = ["utilities/water", "utilities/gas"].map(|feed| feed.parse().unwrap());
    let cursors = client.cursors().unwrap();
    cursors.forget(&water).await.unwrap();
    assert_eq!(cursors.load(&water).await.unwrap(), None);
    for n in 0..50 {
        cursors.save(&water, n.to_string().as_bytes()).await.unwrap();
    }
    cursors.save(&gas, b"other").await.unwrap();
    let elsewhere = broker.client().cursors().unwrap();
    assert_eq!(elsewhere.load(&water).await.unwrap().unwrap(), b"49");
    cursors.save(&water, b"50").await.unwrap();
    assert_eq!(elsewhere.load(&water).await.unwrap().unwrap(), b"50");
    cursors.forget(&water).await.unwrap();
    assert_eq!(elsewhere.load(&water).await.unwrap(), None);
    assert_eq!(elsewhere.load(&gas).await.unwrap().unwrap(), b"other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_never_there_is_an_outside_fault_that_names_it() {
    let config = ClientConfig { patience: Duration::from_millis(300), ..ClientConfig::at("127.0.0.1:1") };
    let config = ClientConfig { request_timeout: Duration::from_millis(200), ..config };
    let error = Client::new(&config).unwrap().topics().await.unwrap_err();
    assert!(matches!(error, Error::Away { .. }) && error.to_string().contains("127.0.0.1:1"), "{error}");
    assert_eq!(error.fault(), yibiao_records::Fault::OUTSIDE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_and_comes_back_loses_and_repeats_nothing() {
    let Some(mut broker) = Broker::start_own().await else { return };
    let client = broker.client();
    let spec = spec(1);
    client.ensure(std::slice::from_ref(&spec)).await.unwrap();
    let producer = client.producer().unwrap();
    let mut reader = client.reader("outage", all(&spec.name, 1)).unwrap();
    let send = |from: usize| {
        for n in from..from + 1000 {
            let value = n.to_string();
            producer
                .send(Outgoing { topic: &spec.name, value: Some(value.as_bytes()), ..Default::default() })
                .unwrap();
        }
    };
    send(0);
    producer.flush().await.unwrap();
    let mut messages = read(&mut reader, 1000).await;
    broker.stop().await;
    send(1000);
    assert!(reader.next_batch(10, Duration::from_millis(1500)).await.unwrap().is_empty());
    assert!(tokio::time::timeout(Duration::from_millis(500), producer.flush()).await.is_err());
    assert!(producer.is_away() && reader.is_away());
    broker.start_again().await;
    tokio::time::timeout(WAIT, producer.flush()).await.unwrap().unwrap();
    messages.extend(read(&mut reader, 1000).await);
    let values: Vec<usize> =
        messages.iter().map(|m| std::str::from_utf8(m.value().unwrap()).unwrap().parse().unwrap()).collect();
    assert!(values.iter().copied().eq(0..2000), "{} records", values.len());
    assert!(!producer.is_away() && !reader.is_away());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures; run it with --release --nocapture"]
async fn a_million_records_are_written_and_read() {
    let broker = Broker::start().await;
    let client = broker.client();
    let spec = spec(2);
    client.ensure(std::slice::from_ref(&spec)).await.unwrap();
    let producer = client.producer().unwrap();
    const RECORDS: usize = 1_000_000;
    let value = [b'x'; 196];
    let began = Instant::now();
    for n in 0..RECORDS {
        if n % 256 == 0 {
            producer.ready().await.unwrap();
        }
        let key = n.to_le_bytes();
        let record =
            Outgoing { topic: &spec.name, key: Some(&key), value: Some(&value), ..Default::default() };
        producer.send(record).unwrap();
    }
    producer.flush().await.unwrap();
    let written = began.elapsed();
    let mut reader = client.reader("million", all(&spec.name, 2)).unwrap();
    let began = Instant::now();
    let (mut read, mut bytes, mut batches) = (0, 0, 0);
    while read < RECORDS {
        let batch = reader.next_batch(10_000, WAIT).await.unwrap();
        bytes += batch.messages.iter().map(|message| message.value().unwrap().len()).sum::<usize>();
        read += batch.len();
        batches += 1;
    }
    assert_eq!(bytes, RECORDS * value.len());
    let rate = |time: Duration| RECORDS as f64 / time.as_secs_f64();
    println!(
        "written {:.0} records/s, read {:.0} records/s in {batches} batches",
        rate(written),
        rate(began.elapsed())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_shows_a_range_of_its_sources_and_keeps_its_own_topics_apart() {
    let broker = Broker::start().await;
    let client = broker.client();
    let source = spec(1);
    client.ensure(std::slice::from_ref(&source)).await.unwrap();
    let producer = client.producer().unwrap();
    for n in 0..100i64 {
        let value = n.to_string();
        let record = Outgoing {
            topic: &source.name,
            value: Some(value.as_bytes()),
            timestamp_ms: Some(1_700_000_000_000 + n),
            ..Outgoing::default()
        };
        producer.send(record).unwrap();
    }
    producer.flush().await.unwrap();
    let of = TopicPartition::new(source.name.as_str(), 0);
    let from = client.offset_at(&of, 1_700_000_000_020).await.unwrap().unwrap();
    assert_eq!(from.get(), 20);
    assert_eq!(client.offset_at(&of, 1_700_000_000_100).await.unwrap(), None, "all are older");

    let prefix = format!("view.{}.", source.name);
    let range = Range { from, to: NextOffset::after(29) };
    let view = client.seeing(View::new(prefix.as_str(), [(of.clone(), range)])).unwrap();
    let marks = view.watermarks(&of).await.unwrap();
    assert_eq!((marks.low, marks.high), (range.from, range.to));
    let mut reader = view.reader("view", vec![(of.clone(), NextOffset::START)]).unwrap();
    let offsets: Vec<i64> = read(&mut reader, 10).await.iter().map(|message| message.offset).collect();
    assert_eq!(offsets, (20..30).collect::<Vec<_>>());
    assert!(
        reader.next_batch(10, Duration::from_millis(500)).await.unwrap().is_empty(),
        "nothing after the range"
    );
    let mut at_end = view.reader("view-at-end", vec![(of.clone(), range.to)]).unwrap();
    assert!(at_end.next_batch(10, Duration::from_millis(500)).await.unwrap().is_empty());

    let refused = view.producer().unwrap().send(Outgoing { topic: &source.name, ..Outgoing::default() });
    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
    assert!(view.delete(std::slice::from_ref(&source.name)).await.is_err());

    let own = TopicSpec { name: "std.water".into(), ..spec(2) };
    view.ensure(std::slice::from_ref(&own)).await.unwrap();
    let producer = view.producer().unwrap();
    producer
        .send(Outgoing { topic: "std.water", partition: Some(1), value: Some(b"x"), ..Outgoing::default() })
        .unwrap();
    producer.flush().await.unwrap();
    let mut reader = view.reader("view-own", all("std.water", 2)).unwrap();
    let message = &read(&mut reader, 1).await[0];
    assert_eq!(
        (&*message.topic, message.partition),
        ("std.water", 1),
        "under the name by which it was asked for"
    );
    assert_eq!(client.partitions(&format!("{prefix}std.water")).await.unwrap(), 2);
    let seen: Vec<String> = view.topics().await.unwrap().into_keys().collect();
    let mut expected = vec!["std.water".to_owned(), source.name.clone()];
    expected.sort();
    assert_eq!(seen, expected);
    view.delete(&["std.water".to_owned(), "std.never-made".to_owned()]).await.unwrap();
    assert!(!client.topics().await.unwrap().contains_key(&format!("{prefix}std.water")));
    assert_eq!(client.watermarks(&of).await.unwrap().high.get(), 100);
}
