//! Checks of where reading begins and how soon it sees a write; and of what the broker removes by itself.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;

use crate::kit::*;

fn numbered(target: &Target, prefix: &str, count: usize) -> Outcome<String> {
    let name = target.topic(prefix, 1, &[])?;
    let producer = target.producer(&[])?;
    for i in 0..count {
        producer.value(&name, 0, &i.to_string())?;
    }
    producer.flush()?;
    Ok(name)
}

fn next_offset(consumer: &BaseConsumer) -> Outcome<i64> {
    let mut read = Vec::new();
    drain(consumer, SOON, 1, &mut read)?;
    read.first().map(|record| record.offset).ok_or("nothing to read".into())
}

pub fn watermarks(target: &Target) -> Outcome {
    let name = target.topic("watermarks", 2, &[])?;
    let producer = target.producer(&[])?;
    for i in 0..777 {
        producer.value(&name, 1, &i.to_string())?;
    }
    producer.flush()?;
    let consumer = target.consumer(&[])?;
    for (partition, expected) in [(1, (0, 777)), (0, (0, 0))] {
        let marks = consumer.fetch_watermarks(&name, partition, SOON).map_err(on("watermarks"))?;
        expect("watermarks", marks, expected)?;
    }
    Ok("(0, 777) and (0, 0)".into())
}

pub fn for_times(target: &Target) -> Outcome {
    let name = target.topic("times", 2, &[])?;
    let producer = target.producer(&[])?;
    let begin = 1_700_000_000_000;
    for i in 0..100 {
        producer.at(&name, "x", begin + i * 1_000, None)?;
        if i % 10 == 9 {
            producer.flush()?;
        }
    }
    let consumer = target.consumer(&[])?;
    let offset = |partition: i32, time: i64| -> Outcome<Offset> {
        let asked = positions(&name, &[(partition, Offset::Offset(time))]);
        let found = consumer.offsets_for_times(asked, SOON).map_err(on("offsets for times"))?;
        Ok(found.elements()[0].offset())
    };
    expect("at a record's time", offset(0, begin + 50_000)?, Offset::Offset(50))?;
    expect("between two", offset(0, begin + 50_500)?, Offset::Offset(51))?;
    expect("before all", offset(0, 0)?, Offset::Offset(0))?;
    expect("after all", offset(0, begin + 1_000_000)?, Offset::End)?;
    expect("in an empty partition", offset(1, begin)?, Offset::End)?;
    Ok("at, between, before and after the records".into())
}

pub fn seek(target: &Target) -> Outcome {
    let name = numbered(target, "seek", 1_000)?;
    let consumer = target.reader_at(&name, Offset::Offset(500), &[])?;
    expect("assigned", next_offset(&consumer)?, 500)?;
    consumer.seek(&name, 0, Offset::Offset(10), SOON).map_err(on("seek"))?;
    expect("back", next_offset(&consumer)?, 10)?;
    consumer.seek(&name, 0, Offset::OffsetTail(3), SOON).map_err(on("seek to the tail"))?;
    expect("tail", next_offset(&consumer)?, 997)?;
    Ok("to an offset, back, to the tail".into())
}

pub fn out_of_range(target: &Target) -> Outcome {
    let name = numbered(target, "range", 10)?;
    let consumer = target.reader_at(&name, Offset::Offset(5_000), &[])?;
    expect("after the reset", next_offset(&consumer)?, 0)?;
    Ok("auto.offset.reset is applied".into())
}

pub fn long_poll(target: &Target) -> Outcome {
    let name = target.topic("long-poll", 1, &[])?;
    let consumer = target.reader_at(&name, Offset::Beginning, &[("fetch.wait.max.ms", "1000")])?;
    let producer = target.producer(&[("linger.ms", "0")])?;
    consumer.poll(Duration::from_millis(1_200));
    let mut took = Vec::new();
    for i in 0..40 {
        std::thread::sleep(Duration::from_millis(17));
        let sent = Instant::now();
        producer.value(&name, 0, &i.to_string())?;
        while consumer.poll(Duration::from_millis(5)).is_none() {
            producer.inner.poll(Duration::ZERO);
            if sent.elapsed() > SOON {
                return Err("a record never came".into());
            }
        }
        took.push(sent.elapsed().as_secs_f64() * 1_000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok(format!("write to read: p50 {:.1} ms, p95 {:.1} ms, most {:.1} ms", took[20], took[38], took[39]))
}

pub fn compaction(target: &Target) -> Outcome {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.bytes", "1048576"),
        ("max.compaction.lag.ms", "1000"),
        ("delete.retention.ms", "0"),
    ];
    let name = target.topic("compaction", 1, &settings)?;
    let producer = target.producer(&[])?;
    for i in 0..20_000 {
        producer.keyed(&name, 0, &format!("k{}", i % 10), Some(&format!("{i:0>200}")))?;
    }
    producer.flush()?;
    std::thread::sleep(Duration::from_millis(1_500));
    producer.keyed(&name, 0, "k0", Some("last"))?;
    producer.flush()?;
    let mut left = Vec::new();
    let took = wait_for("compaction", Duration::from_secs(40), || {
        left = target.read_to_end(&name, 1, "read_uncommitted")?;
        Ok(left.len() < 20_001)
    })?;
    let newest: std::collections::BTreeMap<_, _> = left.iter().map(|r| (r.key.clone(), r.text())).collect();
    expect("keys", newest.len(), 10)?;
    expect(
        "the newest of a key",
        newest.get(&Some(b"k9".to_vec())).cloned(),
        Some(format!("{:0>200}", 19_999)),
    )?;
    expect("the last record", newest.get(&Some(b"k0".to_vec())).cloned(), Some("last".into()))?;
    Ok(format!("20,001 records to {} after {:.0} s", left.len(), took.as_secs_f32()))
}

pub fn retention(target: &Target) -> Outcome {
    let settings = [("retention.ms", "2000"), ("segment.ms", "1000"), ("segment.bytes", "1048576")];
    let name = target.topic("retention", 1, &settings)?;
    let producer = target.producer(&[])?;
    for i in 0..5_000 {
        producer.value(&name, 0, &format!("{i:0>200}"))?;
    }
    producer.flush()?;
    let consumer = target.consumer(&[])?;
    let mut low = 0;
    let took = wait_for("retention", Duration::from_secs(25), || {
        low = consumer.fetch_watermarks(&name, 0, SOON).map_err(on("watermarks"))?.0;
        Ok(low > 0)
    })?;
    Ok(format!("the low watermark is {low} after {:.0} s", took.as_secs_f32()))
}
