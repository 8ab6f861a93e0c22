//! The 41 checks: what a broker must do for librdkafka's clients. They run against the embedded broker, and
//! against Apache Kafka too where `YIBIAO_KAFKA` gives its address; then both are shown side by side.
//! `YIBIAO_CHECKS=txn` runs only those with `txn` in their names.

#![allow(clippy::unwrap_used)]

#[path = "checks/groups.rs"]
mod groups;
#[path = "checks/kit.rs"]
mod kit;
#[path = "checks/offsets.rs"]
mod offsets;
#[path = "checks/records.rs"]
mod records;
#[path = "checks/topics.rs"]
mod topics;
#[path = "checks/transactions.rs"]
mod transactions;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kit::{Outcome, Target, block_on};
use parking_lot::Mutex;
use yibiao_broker::{Broker, Config};

type Check = fn(&Target) -> Outcome;

/// Name, check, and what is known to be otherwise in Apache Kafka with its default settings.
const CHECKS: &[(&str, Check, Option<&str>)] = &[
    ("txn.eos_pipeline", transactions::exactly_once, None),
    ("txn.timeout", transactions::timeout, None),
    ("log.compaction", offsets::compaction, None),
    (
        "log.retention",
        offsets::retention,
        Some("Kafka looks only every log.retention.check.interval.ms, by default 5 minutes"),
    ),
    ("group.static_expiry", groups::static_member, None),
    ("group.range", |t| groups::shared(t, "range"), None),
    ("group.roundrobin", |t| groups::shared(t, "roundrobin"), None),
    ("group.cooperative-sticky", |t| groups::shared(t, "cooperative-sticky"), None),
    ("group.list", groups::listed, None),
    ("metadata", topics::metadata, None),
    ("admin.create_topics", topics::create, None),
    ("admin.unknown_topic", topics::unknown, None),
    ("admin.delete_topics", topics::delete, None),
    ("admin.create_partitions", topics::more_partitions, None),
    ("admin.describe_configs", topics::describe, None),
    ("admin.alter_configs", topics::alter, None),
    ("admin.delete_records", topics::delete_records, None),
    (
        "auto_create",
        topics::auto_create,
        Some("fails where auto.create.topics.enable=false, as deploy/kafka sets it"),
    ),
    ("produce.acks", records::acks, None),
    ("produce.idempotent", records::idempotent, None),
    ("codec.gzip", |t| records::codec(t, "gzip"), None),
    ("codec.snappy", |t| records::codec(t, "snappy"), None),
    ("codec.lz4", |t| records::codec(t, "lz4"), None),
    ("codec.zstd", |t| records::codec(t, "zstd"), None),
    ("record.key_headers_ts", records::parts, None),
    ("record.tombstone", records::tombstone, None),
    ("record.log_append_time", records::append_time, None),
    ("record.big_message", records::large_records, None),
    ("record.big_batch", records::large_batches, None),
    ("many_partitions", records::many_partitions, None),
    ("offsets.watermarks", offsets::watermarks, None),
    ("offsets.for_times", offsets::for_times, None),
    ("offsets.seek", offsets::seek, None),
    ("offsets.out_of_range", offsets::out_of_range, None),
    ("fetch.long_poll", offsets::long_poll, None),
    ("txn.commit", transactions::commit, None),
    ("txn.abort", transactions::abort, None),
    ("txn.interleaved_lso", transactions::interleaved, None),
    ("txn.send_offsets", transactions::with_offsets, None),
    ("txn.fencing", transactions::fencing, None),
    ("txn.many", transactions::many, None),
];

/// Checks that run at the same time; most of their time is waiting.
const AT_ONCE: usize = 12;

/// Runs all checks of the filter and says how each ended and how long it took.
fn run(target: &Target, filter: &str) -> Vec<(Outcome, Duration)> {
    let next = AtomicUsize::new(0);
    let none = || (Err("not run".to_string()), Duration::ZERO);
    let outcomes: Vec<_> = CHECKS.iter().map(|_| Mutex::new(none())).collect();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((i, (name, check, _))) =
                    CHECKS.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed))
                {
                    if name.contains(filter) {
                        let started = Instant::now();
                        let outcome = std::panic::catch_unwind(|| check(target));
                        let outcome = outcome.unwrap_or_else(|_| Err("panicked".into()));
                        *outcomes[i].lock() = (outcome, started.elapsed());
                    }
                }
            });
        }
    });
    outcomes.into_iter().map(Mutex::into_inner).collect()
}

#[test]
fn all_checks_pass_against_the_embedded_broker_and_where_given_apache_kafka() {
    assert_eq!(CHECKS.len(), 41);
    let filter = std::env::var("YIBIAO_CHECKS").unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    let broker = block_on(Broker::start(Config::new(folder.path()))).unwrap();
    let ours = run(&Target { bootstrap: broker.bootstrap() }, &filter);
    block_on(broker.stop()).unwrap();
    let kafka = std::env::var("YIBIAO_KAFKA").ok().map(|bootstrap| run(&Target { bootstrap }, &filter));

    let mut failed = Vec::new();
    for (i, (name, _, otherwise)) in
        CHECKS.iter().enumerate().filter(|(_, (name, ..))| name.contains(&filter))
    {
        let show = |(outcome, took): &(Outcome, Duration)| {
            let (mark, text) = match outcome {
                Ok(text) => ("pass", text),
                Err(text) => ("FAIL", text),
            };
            format!("{mark} {:5.1} s  {text}", took.as_secs_f32())
        };
        println!("{name:26} embedded  {}", show(&ours[i]));
        if ours[i].0.is_err() {
            failed.push(format!("{name} (embedded)"));
        }
        if let Some(kafka) = &kafka {
            println!("{:26} kafka     {}", "", show(&kafka[i]));
            match otherwise {
                Some(otherwise) => println!("{:26} known: {otherwise}", ""),
                None if kafka[i].0.is_err() => failed.push(format!("{name} (kafka)")),
                None => {}
            }
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}
