//! Checks of what there is, and of making, altering and deleting it.

use std::collections::HashMap;

use rdkafka::admin::{
    AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaErrorCode;

use crate::kit::*;

pub fn metadata(target: &Target) -> Outcome {
    let metadata = target.consumer(&[])?.fetch_metadata(None, SOON).map_err(on("metadata"))?;
    expect("brokers", metadata.brokers().len(), 1)?;
    Ok(format!("1 broker, {} topics", metadata.topics().len()))
}

pub fn create(target: &Target) -> Outcome {
    let name = target.topic("create", 3, &[])?;
    let again = NewTopic::new(&name, 3, TopicReplication::Fixed(1));
    let made =
        block_on(target.admin()?.create_topics(&[again], &patient())).map_err(on("making it again"))?;
    match &made[0] {
        Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok("3 partitions; a second time is refused".into()),
        other => Err(format!("making it a second time gave {other:?}")),
    }
}

pub fn unknown(target: &Target) -> Outcome {
    let consumer = target.consumer(&[("allow.auto.create.topics", "false")])?;
    let name = unique("unknown");
    let metadata = consumer.fetch_metadata(Some(&name), SOON).map_err(on("metadata"))?;
    let error = metadata.topics().first().and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
    expect("error", error, Some(RDKafkaErrorCode::UnknownTopicOrPartition))?;
    Ok("an unknown topic is said to be unknown, and is not made".into())
}

pub fn delete(target: &Target) -> Outcome {
    let name = target.topic("delete", 1, &[])?;
    let gone = block_on(target.admin()?.delete_topics(&[&name], &patient())).map_err(on("delete"))?;
    gone[0].as_ref().map_err(|error| format!("delete: {error:?}"))?;
    let consumer = target.consumer(&[])?;
    let took = wait_for("its absence", SOON, || {
        let metadata = consumer.fetch_metadata(None, SOON).map_err(on("metadata"))?;
        Ok(!metadata.topics().iter().any(|topic| topic.name() == name))
    })?;
    Ok(format!("gone after {} ms", took.as_millis()))
}

pub fn more_partitions(target: &Target) -> Outcome {
    let name = target.topic("grow", 1, &[])?;
    let grown = block_on(target.admin()?.create_partitions(&[NewPartitions::new(&name, 4)], &patient()));
    grown.map_err(on("grow"))?[0].as_ref().map_err(|error| format!("grow: {error:?}"))?;
    let consumer = target.consumer(&[])?;
    wait_for("four partitions", SOON, || {
        let metadata = consumer.fetch_metadata(Some(&name), SOON).map_err(on("metadata"))?;
        Ok(metadata.topics()[0].partitions().len() == 4)
    })?;
    Ok("1 to 4".into())
}

pub fn describe(target: &Target) -> Outcome {
    let name = target.topic("describe", 1, &[("retention.ms", "3600000"), ("cleanup.policy", "compact")])?;
    let set = settings(target, &name)?;
    expect("cleanup.policy", set.get("cleanup.policy").cloned().flatten(), Some("compact".into()))?;
    expect("retention.ms", set.get("retention.ms").cloned().flatten(), Some("3600000".into()))?;
    Ok(format!("{} settings are not the default", set.len()))
}

fn settings(target: &Target, topic: &str) -> Outcome<HashMap<String, Option<String>>> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let described = block_on(target.admin()?.describe_configs(&asked, &patient())).map_err(on("describe"))?;
    let described = described.into_iter().next().unwrap().map_err(on("describe"))?;
    let set = described.entries.into_iter().filter(|entry| entry.source != ConfigSource::Default);
    Ok(set.map(|entry| (entry.name, entry.value)).collect())
}

pub fn alter(target: &Target) -> Outcome {
    let name = target.topic("alter", 1, &[])?;
    let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set("retention.ms", "7200000");
    let altered = block_on(target.admin()?.alter_configs(&[change], &patient())).map_err(on("alter"))?;
    altered[0].as_ref().map_err(|error| format!("alter: {error:?}"))?;
    wait_for("the new setting", SOON, || {
        Ok(settings(target, &name)?.get("retention.ms").cloned().flatten().as_deref() == Some("7200000"))
    })?;
    Ok("the new setting is shown".into())
}

pub fn delete_records(target: &Target) -> Outcome {
    let name = target.topic("delete-records", 1, &[])?;
    let producer = target.producer(&[])?;
    for i in 0..100 {
        producer.value(&name, 0, &i.to_string())?;
    }
    producer.flush()?;
    let before = positions(&name, &[(0, Offset::Offset(40))]);
    let deleted =
        block_on(target.admin()?.delete_records(&before, &AdminOptions::new().request_timeout(Some(SOON))));
    deleted.map_err(on("delete records"))?.elements()[0].error().map_err(on("delete records"))?;
    let marks = target.consumer(&[])?.fetch_watermarks(&name, 0, SOON).map_err(on("watermarks"))?;
    expect("watermarks", marks, (40, 100))?;
    let first = target.read(&name, 1, 60, "read_committed")?;
    expect("first record", first[0].offset, 40)?;
    Ok("the low watermark is 40, and reading begins there".into())
}

pub fn auto_create(target: &Target) -> Outcome {
    let name = unique("auto");
    let producer = target.producer(&[("message.timeout.ms", "6000")])?;
    producer.send(rdkafka::producer::BaseRecord::<[u8], [u8]>::to(&name).payload(b"x"))?;
    producer.flush()?;
    let records = target.read(&name, 1, 1, "read_uncommitted")?;
    Ok(format!("made when a producer named it; {} record in it", records.len()))
}
