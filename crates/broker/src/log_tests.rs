//! Properties of a log: whatever is appended, deleted, rolled, torn and opened again, it holds what a plain
//! list of records would.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes};
use kafka_protocol::ResponseError;
use proptest::prelude::*;

use crate::Limits;
use crate::batch::{self, HEADER_BYTES, Header, PREFIX_BYTES};
use crate::log::{Appended, Disk, Log};
use crate::settings::Settings;

fn settings(given: &[(&str, &str)]) -> Arc<Settings> {
    let given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Arc::new(Settings::parse(&given, &Limits::default()).unwrap())
}

fn open_with(folder: &Path, settings: &Arc<Settings>, bytes_max: u64, start: i64) -> Log {
    let disk = Disk { bytes: AtomicU64::new(0), bytes_max, producers_max: 100 };
    Log::open(folder.join("0"), Arc::clone(settings), start, Arc::new(disk)).unwrap()
}

fn reopen(folder: &Path, start: i64) -> Log {
    open_with(folder, &settings(&[("segment.bytes", "2000")]), u64::MAX, start)
}

fn open(folder: &Path) -> Log {
    reopen(folder, 0)
}

/// A batch of records with these keys and values; all lengths are short.
pub(crate) fn batch(
    producer: (i64, i16, i32),
    records: &[(&str, Option<&str>)],
    transactional: bool,
) -> Bytes {
    let mut body = Vec::new();
    for (i, (key, value)) in records.iter().enumerate() {
        let mut record = vec![0, 0, (i * 2) as u8, (key.len() * 2) as u8];
        record.put_slice(key.as_bytes());
        match value {
            Some(value) => {
                record.put_u8((value.len() * 2) as u8);
                record.put_slice(value.as_bytes());
            }
            None => record.put_u8(1),
        }
        record.put_u8(0);
        assert!(record.len() < 64 && records.len() < 64);
        body.put_u8((record.len() * 2) as u8);
        body.put_slice(&record);
    }
    let mut b = Vec::new();
    b.put_i64(0);
    b.put_i32((HEADER_BYTES - PREFIX_BYTES + body.len()) as i32);
    b.put_i32(-1);
    b.put_i8(2);
    b.put_u32(0);
    b.put_i16(if transactional { 1 << 4 } else { 0 });
    b.put_i32(records.len() as i32 - 1);
    b.put_i64(1_000);
    b.put_i64(1_000);
    b.put_i64(producer.0);
    b.put_i16(producer.1);
    b.put_i32(producer.2);
    b.put_i32(records.len() as i32);
    b.put_slice(&body);
    let crc = crc32c::crc32c(&b[21..]);
    b[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(b)
}

/// All records from `from` on: offset and key.
fn read_all(log: &mut Log, mut from: i64, upper: i64) -> Vec<(i64, String)> {
    let mut read = Vec::new();
    while from < upper {
        let Some(span) = log.span(from).unwrap() else { break };
        // A small limit, so that reading has to go on many times.
        let bytes = span.read(from, upper, 150).unwrap();
        let mut rest = &bytes[..];
        while let Some(header) = Header::read(rest) {
            let whole = &rest[..header.bytes];
            assert!(batch::checksum_holds(whole));
            if !header.is_control() {
                for record in batch::records(whole).unwrap().iter().filter(|r| r.offset >= from) {
                    read.push((
                        record.offset,
                        String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap(),
                    ));
                }
            }
            from = header.next_offset();
            rest = &rest[header.bytes..];
        }
        if bytes.is_empty() {
            from = span.next_offset;
        }
    }
    read
}

#[derive(Debug, Clone)]
enum Step {
    Append { producer: u8, count: u8 },
    Repeat { producer: u8 },
    Transact { count: u8, commit: bool },
    Roll,
    DeleteBefore { share: u8 },
    Close,
    Reopen,
    LoseIndexes,
    Litter { bytes: Vec<u8> },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3u8, 1..20u8).prop_map(|(producer, count)| Step::Append { producer, count }),
        2 => (0..3u8).prop_map(|producer| Step::Repeat { producer }),
        3 => (1..5u8, any::<bool>()).prop_map(|(count, commit)| Step::Transact { count, commit }),
        1 => Just(Step::Roll),
        1 => (0..=100u8).prop_map(|share| Step::DeleteBefore { share }),
        1 => Just(Step::Close),
        2 => Just(Step::Reopen),
        1 => Just(Step::LoseIndexes),
        1 => proptest::collection::vec(any::<u8>(), 1..200).prop_map(|bytes| Step::Litter { bytes }),
    ]
}

/// What a log should hold.
#[derive(Default)]
struct Model {
    records: BTreeMap<i64, String>,
    /// The ends of batches, markers included.
    ends: Vec<i64>,
    start: i64,
    /// Each producer's last batch: its first sequence, its records, where it went.
    last: BTreeMap<u8, (i32, u8, i64)>,
}

fn last_file(folder: &Path) -> Option<std::path::PathBuf> {
    let files = std::fs::read_dir(folder.join("0")).ok()?.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "log")).max()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_was_appended_whatever_happens_to_it(
        steps in proptest::collection::vec(step(), 1..60),
        torn_bytes in 1..100u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        let mut model = Model::default();
        for (i, step) in steps.into_iter().enumerate() {
            let keys: Vec<String> = (0..20).map(|k| format!("{i}-{k}")).collect();
            let records = |count: u8| keys.iter().take(count.into()).map(|k| (&**k, Some("v"))).collect::<Vec<_>>();
            let end = log.end();
            match step {
                Step::Append { producer, count } => {
                    let sequence = model.last.get(&producer).map_or(0, |(first, n, _)| first + i32::from(*n));
                    let appended = log.append(&batch((producer.into(), 0, sequence), &records(count), false), 5);
                    prop_assert_eq!(appended.unwrap(), Appended { base_offset: end, append_time: -1 });
                    model.last.insert(producer, (sequence, count, end));
                    model.records.extend((end..).zip(keys.iter().take(count.into()).cloned()));
                    model.ends.push(log.end());
                }
                Step::Repeat { producer } => {
                    if let Some((sequence, count, at)) = model.last.get(&producer) {
                        let again = batch((producer.into(), 0, *sequence), &records(*count), false);
                        prop_assert_eq!(log.append(&again, 5).unwrap().base_offset, *at);
                    }
                }
                Step::Transact { count, commit } => {
                    log.append(&batch((99 + i as i64, 0, 0), &records(count), true), 5).unwrap();
                    prop_assert_eq!(log.stable_end(), end);
                    log.end_transaction(99 + i as i64, 0, commit, 5).unwrap();
                    prop_assert_eq!(log.stable_end(), log.end());
                    prop_assert_eq!(log.producers.aborted(end, end + 1).count(), usize::from(!commit));
                    model.records.extend((end..).zip(keys.iter().take(count.into()).cloned()));
                    model.ends.extend([log.end() - 1, log.end()]);
                }
                Step::Roll => log.roll().unwrap(),
                Step::DeleteBefore { share } => {
                    let to = model.start + (end - model.start) * i64::from(share) / 100;
                    log.delete_before(to).unwrap();
                    model.start = to;
                }
                Step::Close => {
                    log.close().unwrap();
                    drop(log);
                    log = reopen(folder.path(), model.start);
                }
                Step::Reopen => {
                    drop(log);
                    log = reopen(folder.path(), model.start);
                }
                Step::LoseIndexes => {
                    drop(log);
                    for entry in std::fs::read_dir(folder.path().join("0")).into_iter().flatten() {
                        let path = entry.unwrap().path();
                        if path.extension().is_some_and(|e| e == "index") {
                            std::fs::remove_file(path).unwrap();
                        }
                    }
                    log = reopen(folder.path(), model.start);
                }
                Step::Litter { bytes } => {
                    drop(log);
                    if let Some(path) = last_file(folder.path()) {
                        use std::io::Write;
                        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(&bytes).unwrap();
                    }
                    log = reopen(folder.path(), model.start);
                }
            }
            let upper = log.end();
            prop_assert_eq!(upper, model.ends.last().copied().unwrap_or(0).max(model.start));
            let expected: Vec<_> = model.records.range(model.start..).map(|(o, k)| (*o, k.clone())).collect();
            prop_assert_eq!(read_all(&mut log, model.start, upper), expected);
            let on_disk: u64 = log.segments.iter().map(|s| s.facts.bytes).sum();
            prop_assert_eq!(log.disk.bytes.load(Ordering::Relaxed), on_disk);
        }

        // In the end a power cut takes some of the last bytes: the batches that are whole stay.
        let bytes = log.active().facts.bytes;
        drop(log);
        if let Some(path) = last_file(folder.path()).filter(|_| bytes > 0) {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(bytes.saturating_sub(torn_bytes)).unwrap();
        }
        let mut log = reopen(folder.path(), model.start);
        let end = log.end();
        prop_assert!(bytes == 0 || end == model.start || model.ends.contains(&end));
        let expected: Vec<_> = model.records.range(model.start..end).map(|(o, k)| (*o, k.clone())).collect();
        prop_assert_eq!(read_all(&mut log, model.start, end), expected);
        let appended = log.append(&batch((-1, -1, -1), &[("after", Some("v"))], false), 5).unwrap();
        prop_assert_eq!(appended.base_offset, end);
        prop_assert_eq!(read_all(&mut log, end, end + 1), vec![(end, "after".to_owned())]);
    }
}

#[test]
fn a_full_disk_is_told_to_the_producer() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_with(folder.path(), &settings(&[]), 200, 0);
    let one = batch((-1, -1, -1), &[("k", Some("v"))], false);
    log.append(&one, 5).unwrap();
    log.append(&one, 5).unwrap();
    let refusal = log.append(&one, 5).unwrap_err();
    assert_eq!(refusal.error, ResponseError::PolicyViolation);
    assert!(refusal.message.unwrap().contains("disk limit of 200 bytes"));
}

#[test]
fn damaged_numbered_and_keyless_batches_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open_with(folder.path(), &settings(&[("cleanup.policy", "compact")]), u64::MAX, 0);
    let good = batch((-1, -1, -1), &[("k", Some("v"))], false);
    let mut damaged = good.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(log.append(&Bytes::from(damaged), 5).unwrap_err().error, ResponseError::CorruptMessage);
    let mut twice = good.to_vec();
    twice.extend_from_slice(&good);
    for bytes in [Bytes::from(twice), good.slice(..50), Bytes::new()] {
        assert_eq!(log.append(&bytes, 5).unwrap_err().error, ResponseError::InvalidRecord);
    }
    let marker = Bytes::from(batch::marker(1, 0, true, 5));
    assert_eq!(log.append(&marker, 5).unwrap_err().error, ResponseError::InvalidRecord);
}

#[test]
fn a_log_emptied_by_retention_goes_on_at_its_offset_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for _ in 0..3 {
        log.append(&batch((-1, -1, -1), &[("k", Some("v"))], false), 5).unwrap();
    }
    let settings = settings(&[("retention.ms", "1000")]);
    log.settings = Arc::clone(&settings);
    crate::tending::retain(&mut log, 10_000).unwrap();
    assert_eq!((log.start, log.end()), (3, 3));
    drop(log);
    let log = open(folder.path());
    assert_eq!((log.start, log.end()), (3, 3));
}

#[test]
fn compaction_keeps_the_newest_of_each_key_and_lets_tombstones_go_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let given = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "10"),
        ("segment.bytes", "2000"),
    ];
    let mut log = open_with(folder.path(), &settings(&given), u64::MAX, 0);
    for round in 0..20 {
        let value = format!("{round}");
        let records: Vec<_> = ["a", "b", "c"].iter().map(|k| (*k, Some(&*value))).collect();
        log.append(&batch((7, 0, round * 3), &records, false), 5).unwrap();
    }
    // What an aborted transaction wrote must not hide what was there before it.
    log.append(&batch((8, 0, 0), &[("a", Some("void"))], true), 5).unwrap();
    log.end_transaction(8, 0, false, 5).unwrap();
    log.append(&batch((9, 0, 0), &[("b", None), ("c", Some("last"))], false), 5).unwrap();
    log.roll().unwrap();
    let log = parking_lot::Mutex::new(log);
    let keys = |log: &mut Log| read_all(log, 0, log.end());
    crate::compaction::compact(&log, 1_000).unwrap();
    let expected = |b: bool| {
        let all = [(57, "a"), (62, "b"), (63, "c")];
        all.into_iter().filter(|(_, k)| b || *k != "b").map(|(o, k)| (o, k.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(keys(&mut log.lock()), expected(true));
    // Sequences are still known after a restart, though most of the producer's batches are gone.
    drop(log);
    let mut log = open_with(folder.path(), &settings(&given), u64::MAX, 0);
    let gap = batch((7, 0, 99), &[("z", Some("v"))], false);
    assert_eq!(log.append(&gap, 5).unwrap_err().error, ResponseError::OutOfOrderSequenceNumber);
    assert_eq!(log.producers.aborted(0, 100).count(), 1);
    // Once readers have had the time to see it, the key without a value goes.
    let log = parking_lot::Mutex::new(log);
    crate::compaction::compact(&log, 2_000).unwrap();
    assert_eq!(keys(&mut log.lock()), expected(false));
}
