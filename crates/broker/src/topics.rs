//! Topics: what there is (Metadata), and making, growing, altering and deleting them.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as Increment;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use crate::error::{Refusal, code};
use crate::journal::{Change, TopicEntry};
use crate::settings;
use crate::state::{NODE_ID, Shared};

const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;
/// Where a setting comes from, in DescribeConfigs.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub(crate) fn host(shared: &Shared) -> StrBytes {
    text(shared.address.ip().to_string())
}

/// Metadata. A topic that does not exist is made only if the client names it and allows it, as producers of
/// most clients do; consumers of librdkafka do not, unless allow.auto.create.topics is set.
pub(crate) fn metadata(shared: &Shared, request: MetadataRequest, version: i16) -> MetadataResponse {
    let all = || shared.topics().into_iter().map(|(name, _)| TopicName(text(name))).collect::<Vec<_>>();
    let wanted = match request.topics {
        None => all(),
        // Version 0 asks for all topics with an empty list.
        Some(topics) if topics.is_empty() && version == 0 => all(),
        Some(topics) => topics.into_iter().filter_map(|topic| topic.name).collect(),
    };
    let topics = wanted.into_iter().map(|name| {
        if shared.topic(&name).is_none() && request.allow_auto_topic_creation {
            let made =
                shared.create_topic(&name, TopicEntry { partitions: 1, ..TopicEntry::default() }, false);
            match made {
                Ok(()) => tracing::warn!(
                    topic = &**name,
                    "made a topic, with one partition, because a client named it"
                ),
                Err(refusal) => {
                    tracing::warn!(topic = &**name, error = %refusal.error, "could not make a topic")
                }
            }
        }
        let topic = shared.topic(&name);
        let count = topic.as_ref().map_or(0, |topic| topic.partitions.len() as i32);
        let partitions = (0..count).map(|partition| {
            MetadataResponsePartition::default()
                .with_partition_index(partition)
                .with_leader_id(NODE_ID.into())
                .with_leader_epoch(if version >= 7 { 0 } else { -1 })
                .with_replica_nodes(vec![NODE_ID.into()])
                .with_isr_nodes(vec![NODE_ID.into()])
        });
        let error = if topic.is_some() { 0 } else { ResponseError::UnknownTopicOrPartition.code() };
        MetadataResponseTopic::default()
            .with_error_code(error)
            .with_partitions(partitions.collect())
            .with_name(Some(name))
    });
    let topics = topics.collect();
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE_ID.into())
        .with_host(host(shared))
        .with_port(i32::from(shared.address.port()));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(cluster_id(shared)))
        .with_controller_id(NODE_ID.into())
        .with_topics(topics)
}

fn cluster_id(shared: &Shared) -> StrBytes {
    text(shared.journal.lock().ledger().cluster_id.clone())
}

pub(crate) fn describe_cluster(shared: &Shared) -> DescribeClusterResponse {
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE_ID.into())
        .with_host(host(shared))
        .with_port(i32::from(shared.address.port()));
    DescribeClusterResponse::default()
        .with_cluster_id(cluster_id(shared))
        .with_controller_id(NODE_ID.into())
        .with_brokers(vec![broker])
}

pub(crate) fn create_topics(
    shared: &Shared,
    request: CreateTopicsRequest,
    version: i16,
) -> CreateTopicsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let name = topic.name.clone();
        let answer = CreatableTopicResult::default().with_configs(None);
        let answer = match create_topic(shared, topic, request.validate_only) {
            Ok(partitions) if version >= 5 => {
                answer.with_num_partitions(partitions).with_replication_factor(1)
            }
            Ok(_) => answer,
            Err(refusal) => answer.with_error_code(refusal.code()).with_error_message(refusal.text()),
        };
        answer.with_name(name)
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

fn create_topic(shared: &Shared, topic: CreatableTopic, dry: bool) -> Result<i32, Refusal> {
    let assigned = topic.assignments.len() as i32;
    if topic.assignments.iter().any(|a| a.broker_ids != [BrokerId(NODE_ID)]) {
        let text = format!("the only broker is {NODE_ID}");
        return Err(Refusal::new(ResponseError::InvalidReplicaAssignment, text));
    }
    if assigned == 0 && ![-1, 1].contains(&topic.replication_factor) {
        let text = "the embedded broker is a single one: replication.factor must be 1 (or -1)";
        return Err(Refusal::new(ResponseError::InvalidReplicationFactor, text));
    }
    let partitions = match topic.num_partitions {
        -1 => assigned.max(1),
        given => given,
    };
    let given = topic.configs.into_iter();
    let settings = given.filter_map(|c| Some((c.name.to_string(), c.value?.to_string()))).collect();
    let entry = TopicEntry { partitions, settings, starts: BTreeMap::new() };
    shared.create_topic(&topic.name, entry, dry).map(|()| partitions)
}

pub(crate) fn delete_topics(shared: &Shared, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let responses = request.topic_names.into_iter().map(|name| {
        let answer = DeletableTopicResult::default();
        match shared.delete_topic(&name) {
            Ok(()) => answer,
            Err(refusal) => answer.with_error_code(refusal.code()),
        }
        .with_name(Some(name))
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

pub(crate) fn create_partitions(
    shared: &Shared,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let results = request.topics.into_iter().map(|topic| {
        let answer = CreatePartitionsTopicResult::default();
        match shared.grow_topic(&topic.name, topic.count, request.validate_only) {
            Ok(()) => answer,
            Err(refusal) => answer.with_error_code(refusal.code()).with_error_message(refusal.text()),
        }
        .with_name(topic.name)
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

pub(crate) fn delete_records(shared: &Shared, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let start = delete_before(shared, &topic.name, wanted.partition_index, wanted.offset);
            DeleteRecordsPartitionResult::default()
                .with_partition_index(wanted.partition_index)
                .with_error_code(code(&start))
                .with_low_watermark(start.unwrap_or(-1))
        });
        DeleteRecordsTopicResult::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn delete_before(shared: &Shared, topic: &str, partition: i32, offset: i64) -> Result<i64, ResponseError> {
    let log = shared.log(topic, partition)?;
    let mut log = log.lock();
    let offset = if offset == -1 { log.end() } else { offset };
    if offset < 0 || offset > log.end() {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let start = offset.max(log.start);
    let change = Change::Start(topic.to_owned(), partition, start);
    let deleted = shared.journal.lock().write(vec![change]).and_then(|()| log.delete_before(start));
    deleted.map_err(|error| Refusal::from(error).error)?;
    Ok(log.start)
}

pub(crate) fn describe_configs(shared: &Shared, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let name = resource.resource_name.to_string();
        let described = match resource.resource_type {
            TOPIC_RESOURCE => topic_configs(shared, &name),
            BROKER_RESOURCE => Ok(broker_configs(shared)),
            _ => Err(unknown_resource()),
        };
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        match described {
            Ok(mut configs) => {
                if let Some(keys) = resource.configuration_keys.filter(|keys| !keys.is_empty()) {
                    configs.retain(|config| keys.contains(&config.name));
                }
                answer.with_configs(configs)
            }
            Err(refusal) => answer.with_error_code(refusal.code()).with_error_message(refusal.text()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn topic_configs(shared: &Shared, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let journal = shared.journal.lock();
    let entry = journal.ledger().topics.get(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let configs = settings::show(&entry.settings, &shared.limits).map(|shown| {
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(shown.name))
            .with_value(Some(text(shown.value)))
            .with_config_source(if shown.is_default { SOURCE_DEFAULT } else { SOURCE_TOPIC })
            .with_config_type(shown.kind as i8)
    });
    Ok(configs.collect())
}

/// The limits, under the names that Kafka gives to the like.
fn broker_configs(shared: &Shared) -> Vec<DescribeConfigsResourceResult> {
    let limits = &shared.limits;
    let configs = [
        ("log.segment.bytes", limits.segment_bytes),
        ("message.max.bytes", u64::from(limits.message_bytes_max)),
        ("socket.request.max.bytes", limits.request_bytes_max as u64),
        ("fetch.max.bytes", limits.response_bytes_max as u64),
        ("max.connections", limits.connections_max as u64),
        ("default.replication.factor", 1),
        ("num.partitions", 1),
    ];
    let config = |(name, value): (&'static str, u64)| {
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(text(value.to_string())))
            .with_read_only(true)
            .with_config_source(SOURCE_STATIC)
            .with_config_type(settings::Kind::Long as i8)
    };
    configs.into_iter().map(config).collect()
}

fn unknown_resource() -> Refusal {
    Refusal::new(
        ResponseError::InvalidRequest,
        "the embedded broker has settings of topics only, and no others to alter",
    )
}

pub(crate) fn alter_configs(shared: &Shared, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let given = resource.configs.iter();
        let given = given.filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string()))).collect();
        let altered = alter(
            shared,
            resource.resource_type,
            &resource.resource_name,
            request.validate_only,
            |settings| {
                *settings = given;
                Ok(())
            },
        );
        let answer = Altered::default();
        match altered {
            Ok(()) => answer,
            Err(refusal) => answer.with_error_code(refusal.code()).with_error_message(refusal.text()),
        }
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

pub(crate) fn incremental_alter_configs(
    shared: &Shared,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let configs = resource.configs;
        let altered = alter(
            shared,
            resource.resource_type,
            &resource.resource_name,
            request.validate_only,
            |settings| {
                for config in configs {
                    let value = config.value.unwrap_or_default().to_string();
                    increment(settings, config.name.to_string(), config.config_operation, value)?;
                }
                Ok(())
            },
        );
        let answer = Increment::default();
        match altered {
            Ok(()) => answer,
            Err(refusal) => answer.with_error_code(refusal.code()).with_error_message(refusal.text()),
        }
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

/// Sets, deletes, appends to or subtracts from one setting.
fn increment(
    settings: &mut BTreeMap<String, String>,
    name: String,
    operation: i8,
    value: String,
) -> Result<(), Refusal> {
    let listed = |settings: &BTreeMap<String, String>| -> Vec<String> {
        let list = settings.get(&name).map_or("", String::as_str).split(',');
        list.filter(|item| !item.is_empty() && *item != value).map(str::to_owned).collect()
    };
    match operation {
        0 => settings.insert(name, value),
        1 => settings.remove(&name),
        2 => {
            let mut list = listed(settings);
            list.push(value.clone());
            settings.insert(name, list.join(","))
        }
        3 => settings.insert(name.clone(), listed(settings).join(",")),
        other => {
            let text = format!("unknown operation {other} on a setting");
            return Err(Refusal::new(ResponseError::InvalidRequest, text));
        }
    };
    Ok(())
}

fn alter(
    shared: &Shared,
    resource_type: i8,
    name: &str,
    dry: bool,
    alter: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if resource_type != TOPIC_RESOURCE {
        return Err(unknown_resource());
    }
    shared.alter_topic(name, dry, alter)
}
