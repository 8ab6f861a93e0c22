//! Checks of writing and reading back: acknowledgements, codecs, parts of a record, sizes.

use rdkafka::message::{Header, OwnedHeaders, Timestamp};
use rdkafka::producer::BaseRecord;

use crate::kit::*;

pub fn acks(target: &Target) -> Outcome {
    let name = target.topic("acks", 1, &[])?;
    for acks in ["0", "1", "all"] {
        let producer = target.producer(&[("acks", acks), ("enable.idempotence", "false")])?;
        for i in 0..100 {
            producer.value(&name, 0, &format!("{acks} {i}"))?;
        }
        producer.flush()?;
    }
    target.read(&name, 1, 300, "read_uncommitted")?;
    Ok("0, 1 and all".into())
}

pub fn idempotent(target: &Target) -> Outcome {
    let name = target.topic("idempotent", 1, &[])?;
    let producer = target.producer(&[("enable.idempotence", "true"), ("acks", "all")])?;
    for i in 0..20_000 {
        producer.value(&name, 0, &i.to_string())?;
    }
    expect("acknowledged", producer.flush()?, 20_000)?;
    for (i, record) in target.read(&name, 1, 20_000, "read_uncommitted")?.iter().enumerate() {
        expect("order", (record.text(), record.offset), (i.to_string(), i as i64))?;
    }
    Ok("20,000 in order".into())
}

pub fn codec(target: &Target, codec: &str) -> Outcome {
    let name = target.topic(codec, 1, &[])?;
    let producer = target.producer(&[("compression.type", codec), ("enable.idempotence", "true")])?;
    let filling = "地址".repeat(30);
    for i in 0..5_000 {
        producer.keyed(&name, 0, &format!("k{}", i % 10), Some(&format!("{i} {filling}")))?;
    }
    producer.flush()?;
    let records = target.read(&name, 1, 5_000, "read_committed")?;
    expect("last record", records[4_999].text(), format!("4999 {filling}"))?;
    Ok("5,000 records".into())
}

pub fn parts(target: &Target) -> Outcome {
    let name = target.topic("parts", 1, &[])?;
    let producer = target.producer(&[])?;
    let time = 1_600_000_000_123;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "none", value: None::<&str> })
        .insert(Header { key: "a", value: Some("2") });
    let to = || BaseRecord::<[u8], [u8]>::to(&name).partition(0);
    producer.send(to().key(b"key").payload(b"v").timestamp(time).headers(headers))?;
    producer.send(to().payload(b"").timestamp(time + 1))?;
    producer.send(to().key(b"").payload(b"x").timestamp(time + 2))?;
    producer.flush()?;
    let records = target.read(&name, 1, 3, "read_uncommitted")?;
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    expect("key", records[0].key.clone(), some(b"key"))?;
    expect("no key", records[1].key.clone(), None)?;
    expect("empty key", records[2].key.clone(), some(b""))?;
    expect("empty value", records[1].value.clone(), some(b""))?;
    expect("time", records[0].timestamp, Timestamp::CreateTime(time))?;
    expect("time of the third", records[2].timestamp, Timestamp::CreateTime(time + 2))?;
    let expected = vec![("a".into(), some(b"1")), ("none".into(), None), ("a".into(), some(b"2"))];
    expect("headers", records[0].headers.clone(), expected)?;
    Ok("keys, empty and missing; repeated and empty headers; times".into())
}

pub fn tombstone(target: &Target) -> Outcome {
    let name = target.topic("tombstone", 1, &[("cleanup.policy", "compact")])?;
    let producer = target.producer(&[])?;
    producer.keyed(&name, 0, "k", Some("v"))?;
    producer.keyed(&name, 0, "k", None)?;
    producer.flush()?;
    let records = target.read(&name, 1, 2, "read_uncommitted")?;
    expect("values", texts(&records), vec!["v".into(), "<null>".into()])?;
    Ok("a record without a value is kept as such".into())
}

pub fn append_time(target: &Target) -> Outcome {
    let name = target.topic("append-time", 1, &[("message.timestamp.type", "LogAppendTime")])?;
    let producer = target.producer(&[("compression.type", "lz4")])?;
    producer.at(&name, "v", 1_000, None)?;
    producer.flush()?;
    match target.read(&name, 1, 1, "read_uncommitted")?[0].timestamp {
        Timestamp::LogAppendTime(at) if at > 1_600_000_000_000 => Ok("the broker's own time".into()),
        other => Err(format!("time is {other:?}")),
    }
}

pub fn large_records(target: &Target) -> Outcome {
    let name = target.topic("large", 1, &[("max.message.bytes", "10000000")])?;
    let producer = target.producer(&[])?;
    let sizes = [100_000, 900_000, 4_000_000];
    for size in sizes {
        producer.value(&name, 0, &"x".repeat(size))?;
        producer.flush()?;
    }
    let records = target.read(&name, 1, 3, "read_uncommitted")?;
    expect("sizes", records.iter().map(|r| r.text().len()).collect(), sizes.to_vec())?;
    Ok("100 kB, 900 kB and 4 MB".into())
}

pub fn large_batches(target: &Target) -> Outcome {
    let name = target.topic("batches", 1, &[])?;
    let settings = [
        ("batch.size", "900000"),
        ("batch.num.messages", "10000"),
        ("linger.ms", "100"),
        ("enable.idempotence", "true"),
    ];
    let producer = target.producer(&settings)?;
    for i in 0..50_000 {
        producer.value(&name, 0, &format!("{i:0>80}"))?;
    }
    producer.flush()?;
    for (i, record) in target.read(&name, 1, 50_000, "read_uncommitted")?.iter().enumerate() {
        expect("offset", record.offset, i as i64)?;
    }
    Ok("50,000 records in batches of 900 kB".into())
}

pub fn many_partitions(target: &Target) -> Outcome {
    let name = target.topic("many", 64, &[])?;
    let producer = target.producer(&[])?;
    for partition in 0..64 {
        for i in 0..20 {
            producer.value(&name, partition, &i.to_string())?;
        }
    }
    producer.flush()?;
    target.read(&name, 64, 64 * 20, "read_uncommitted")?;
    Ok("64 partitions".into())
}
