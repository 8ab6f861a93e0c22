//! Checks of transactions.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::Offset;

use crate::kit::*;

fn starting_with(records: &[Read], start: char) -> usize {
    records.iter().filter(|record| record.text().starts_with(start)).count()
}

pub fn commit(target: &Target) -> Outcome {
    let topic = target.topic("commit", 2, &[])?;
    let producer = target.transactional(&unique("commit"))?;
    producer.begin()?;
    for i in 0..500 {
        producer.value(&topic, i % 2, &i.to_string())?;
    }
    producer.inner.flush(PATIENCE).map_err(on("flush"))?;
    expect("seen before the commit", target.read_to_end(&topic, 2, "read_committed")?.len(), 0)?;
    producer.commit()?;
    target.read(&topic, 2, 500, "read_committed")?;
    Ok("none before, 500 after".into())
}

pub fn abort(target: &Target) -> Outcome {
    let topic = target.topic("abort", 1, &[])?;
    let producer = target.transactional(&unique("abort"))?;
    for (letter, commit) in [('a', false), ('c', true)] {
        producer.begin()?;
        for i in 0..100 {
            producer.value(&topic, 0, &format!("{letter}{i}"))?;
        }
        if commit { producer.commit()? } else { producer.abort()? }
    }
    let seen = target.read_to_end(&topic, 1, "read_committed")?;
    expect("aborted and committed", (starting_with(&seen, 'a'), starting_with(&seen, 'c')), (0, 100))?;
    let all = target.read_to_end(&topic, 1, "read_uncommitted")?;
    expect("seen without isolation", all.len(), 200)?;
    Ok("0 of the aborted, 100 of the committed".into())
}

pub fn interleaved(target: &Target) -> Outcome {
    let topic = target.topic("interleaved", 1, &[])?;
    let a = target.transactional(&unique("a"))?;
    let b = target.transactional(&unique("b"))?;
    a.begin()?;
    b.begin()?;
    for i in 0..20 {
        for (producer, letter) in [(&a, 'a'), (&b, 'b')] {
            producer.value(&topic, 0, &format!("{letter}{i}"))?;
            producer.inner.flush(SOON).map_err(on("flush"))?;
        }
    }
    b.commit()?;
    expect("seen while one is open", target.read_to_end(&topic, 1, "read_committed")?.len(), 0)?;
    a.abort()?;
    let seen = target.read_to_end(&topic, 1, "read_committed")?;
    expect("aborted and committed", (starting_with(&seen, 'a'), starting_with(&seen, 'b')), (0, 20))?;
    Ok("an open transaction holds readers back".into())
}

pub fn with_offsets(target: &Target) -> Outcome {
    let (from, to) = (target.topic("from", 1, &[])?, target.topic("to", 1, &[])?);
    let group = unique("reader");
    let source = target.producer(&[])?;
    for i in 0..100 {
        source.value(&from, 0, &i.to_string())?;
    }
    source.flush()?;
    let consumer = target.consumer(&[("group.id", &group)])?;
    consumer.subscribe(&[&from]).map_err(on("subscribe"))?;
    let mut read = Vec::new();
    drain(&consumer, PATIENCE, 100, &mut read)?;
    expect("read", read.len(), 100)?;
    let producer = target.transactional(&unique("offsets"))?;
    let committed = |consumer: &BaseConsumer| -> Outcome<Offset> {
        let asked = positions(&from, &[(0, Offset::Invalid)]);
        let offsets = consumer.committed_offsets(asked, SOON).map_err(on("committed"))?;
        Ok(offsets.elements()[0].offset())
    };
    for (value, offset, commit) in [("x", 50, false), ("y", 100, true)] {
        producer.begin()?;
        producer.value(&to, 0, value)?;
        send_offsets(&producer, &consumer, positions(&from, &[(0, Offset::Offset(offset))]))?;
        if commit {
            producer.commit()?
        } else {
            producer.abort()?
        }
        let expected = if commit { Offset::Offset(100) } else { Offset::Invalid };
        expect("offset of the group", committed(&consumer)?, expected)?;
    }
    expect("written", texts(&target.read_to_end(&to, 1, "read_committed")?), vec!["y".into()])?;
    drop(consumer);
    source.value(&from, 0, "new")?;
    source.flush()?;
    let consumer = target.consumer(&[("group.id", &group)])?;
    consumer.subscribe(&[&from]).map_err(on("subscribe"))?;
    let mut read = Vec::new();
    drain(&consumer, PATIENCE, 1, &mut read)?;
    expect("the group goes on at", read.first().map(|record| record.offset), Some(100))?;
    Ok("aborted with the transaction, committed with it".into())
}

fn send_offsets(
    producer: &Producer,
    consumer: &BaseConsumer,
    offsets: rdkafka::TopicPartitionList,
) -> Outcome<()> {
    let group = consumer.group_metadata().ok_or("the consumer is in no group")?;
    producer.inner.send_offsets_to_transaction(&offsets, &group, PATIENCE).map_err(on("send offsets"))
}

pub fn fencing(target: &Target) -> Outcome {
    let (topic, id) = (target.topic("fencing", 1, &[])?, unique("fencing"));
    let old = target.transactional(&id)?;
    old.begin()?;
    old.value(&topic, 0, "of the old")?;
    old.inner.flush(SOON).map_err(on("flush"))?;
    let new = target.transactional(&id)?;
    new.begin()?;
    new.value(&topic, 0, "of the new")?;
    new.commit()?;
    let refused = old.inner.commit_transaction(SOON);
    let seen = texts(&target.read_to_end(&topic, 1, "read_committed")?);
    expect("seen", seen, vec!["of the new".into()])?;
    match refused {
        Err(error) => Ok(format!("the old producer is refused: {error}")),
        Ok(()) => Err("the old producer could still commit".into()),
    }
}

pub fn timeout(target: &Target) -> Outcome {
    let topic = target.topic("timeout", 1, &[])?;
    let settings = [
        ("transactional.id", &*unique("timeout")),
        ("transaction.timeout.ms", "5000"),
        ("message.timeout.ms", "4000"),
    ];
    let hanging = target.producer(&settings)?;
    hanging.inner.init_transactions(PATIENCE).map_err(on("init"))?;
    hanging.begin()?;
    hanging.value(&topic, 0, "hanging")?;
    hanging.inner.flush(SOON).map_err(on("flush"))?;
    let producer = target.producer(&[])?;
    producer.value(&topic, 0, "after")?;
    producer.flush()?;
    let mut seen = Vec::new();
    let took = wait_for("the abort of the hanging transaction", Duration::from_secs(60), || {
        seen = texts(&target.read_to_end(&topic, 1, "read_committed")?);
        Ok(!seen.is_empty())
    })?;
    expect("seen", seen, vec!["after".into()])?;
    Ok(format!("aborted by the broker after {:.0} s", took.as_secs_f32()))
}

pub fn many(target: &Target) -> Outcome {
    let topic = target.topic("many-transactions", 4, &[])?;
    let producer = target.transactional(&unique("many"))?;
    let started = Instant::now();
    for round in 0..100 {
        producer.begin()?;
        for i in 0..100 {
            producer.value(&topic, i % 4, &format!("{round}-{i}"))?;
        }
        if round % 10 == 9 { producer.abort()? } else { producer.commit()? }
    }
    let took = started.elapsed().as_secs_f64() * 10.0;
    expect("seen", target.read_to_end(&topic, 4, "read_committed")?.len(), 9_000)?;
    Ok(format!("100 of 100 records, {took:.1} ms each, 10 of them aborted"))
}

/// Reads, writes and commits both in transactions, dies three times in the middle, and still has each record
/// exactly once.
pub fn exactly_once(target: &Target) -> Outcome {
    const RECORDS: i32 = 20_000;
    let (from, to) = (target.topic("eos-from", 4, &[])?, target.topic("eos-to", 4, &[])?);
    let (group, id) = (unique("eos"), unique("eos"));
    let source = target.producer(&[("enable.idempotence", "true")])?;
    for i in 0..RECORDS {
        source.value(&from, i % 4, &i.to_string())?;
    }
    source.flush()?;
    let started = Instant::now();
    for run in 0..4 {
        copy(target, &from, &to, &group, &id, (run < 3).then_some(4))?;
    }
    let mut seen: HashMap<String, u32> = HashMap::new();
    for text in texts(&target.read_to_end(&to, 4, "read_committed")?) {
        *seen.entry(text).or_default() += 1;
    }
    let twice = seen.values().filter(|count| **count > 1).count();
    expect("distinct and repeated", (seen.len(), twice), (RECORDS as usize, 0))?;
    Ok(format!("20,000 records exactly once over 3 crashes ({:.1} s)", started.elapsed().as_secs_f32()))
}

/// Copies until nothing has come for a while, or dies in the transaction of the given number.
fn copy(target: &Target, from: &str, to: &str, group: &str, id: &str, dies_in: Option<u32>) -> Outcome<()> {
    let settings =
        [("group.id", group), ("isolation.level", "read_committed"), ("session.timeout.ms", "6000")];
    let consumer = target.consumer(&settings)?;
    consumer.subscribe(&[from]).map_err(on("subscribe"))?;
    let producer = target.transactional(id)?;
    let (mut transactions, mut heard) = (0, Instant::now());
    loop {
        let (mut ends, mut count) = (BTreeMap::new(), 0);
        producer.begin()?;
        let began = Instant::now();
        while count < 1_000 && began.elapsed() < Duration::from_millis(200) {
            let mut read = Vec::new();
            drain(&consumer, Duration::from_millis(20), 1, &mut read)?;
            for record in read {
                producer.value(to, record.partition, &record.text())?;
                ends.insert(record.partition, Offset::Offset(record.offset + 1));
                count += 1;
            }
        }
        if count == 0 {
            producer.abort()?;
            let quiet = if transactions > 0 { Duration::from_secs(2) } else { PATIENCE };
            if heard.elapsed() > quiet {
                return Ok(());
            }
            continue;
        }
        heard = Instant::now();
        let ends: Vec<(i32, Offset)> = ends.into_iter().collect();
        send_offsets(&producer, &consumer, positions(from, &ends))?;
        transactions += 1;
        if dies_in == Some(transactions) {
            return producer.inner.flush(SOON).map_err(on("flush"));
        }
        producer.commit()?;
    }
}
