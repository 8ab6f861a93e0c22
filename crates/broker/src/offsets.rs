//! Committed offsets of groups.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use crate::error::{Refusal, code};
use crate::groups::{Group, State};
use crate::journal::{Change, Committed, Ledger};
use crate::state::Shared;

/// Bytes of a client's own note on an offset, as in Kafka.
const METADATA_BYTES_MAX: usize = 4096;

/// Checks one offset that a client wants to commit.
pub(crate) fn committable(
    shared: &Shared,
    topic: &str,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: &Option<StrBytes>,
) -> Result<Committed, ResponseError> {
    shared.log(topic, partition)?;
    if metadata.as_ref().is_some_and(|m| m.len() > METADATA_BYTES_MAX) {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(Committed { offset, leader_epoch, metadata: metadata.as_ref().map(|m| m.to_string()) })
}

pub(crate) fn commit(shared: &Shared, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut groups = shared.groups.lock();
    let allowed = may_commit(&mut groups, shared, &request);
    let mut taken: BTreeMap<String, BTreeMap<i32, Option<Committed>>> = BTreeMap::new();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let (index, metadata) = (p.partition_index, &p.committed_metadata);
            let committed = allowed.and_then(|()| {
                committable(
                    shared,
                    &topic.name,
                    index,
                    p.committed_offset,
                    p.committed_leader_epoch,
                    metadata,
                )
            });
            let answer = OffsetCommitResponsePartition::default().with_partition_index(index);
            let answer = answer.with_error_code(code(&committed));
            if let Ok(committed) = committed {
                taken.entry(topic.name.to_string()).or_default().insert(index, Some(committed));
            }
            answer
        });
        OffsetCommitResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
    });
    let mut topics: Vec<OffsetCommitResponseTopic> = topics.collect();
    if !taken.is_empty() {
        let written = shared.journal.lock().write(vec![Change::Offsets(request.group_id.to_string(), taken)]);
        if let Err(error) = written {
            let error = Refusal::from(error).code();
            topics.iter_mut().flat_map(|t| &mut t.partitions).for_each(|p| p.error_code = error);
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

fn may_commit(
    groups: &mut BTreeMap<String, Group>,
    shared: &Shared,
    request: &OffsetCommitRequest,
) -> Result<(), ResponseError> {
    let generation = request.generation_id_or_member_epoch;
    if request.group_id.is_empty() && generation >= 0 {
        return Err(ResponseError::InvalidGroupId);
    }
    let count = groups.len();
    let group = match groups.get_mut(&*request.group_id.0) {
        Some(group) => group,
        None if generation >= 0 => return Err(ResponseError::IllegalGeneration),
        None if count >= shared.limits.groups_max => {
            tracing::warn!(groups_max = shared.limits.groups_max, "refused a group: there are too many");
            return Err(ResponseError::GroupMaxSizeReached);
        }
        None => groups.entry(request.group_id.to_string()).or_default(),
    };
    group.check(&request.member_id, request.group_instance_id.as_deref(), generation)?;
    if group.state == State::Assigning {
        return Err(ResponseError::RebalanceInProgress);
    }
    if !request.member_id.is_empty() {
        // A commit is a sign of life.
        let _ = group.heartbeat(&request.member_id, tokio::time::Instant::now());
    }
    Ok(())
}

/// One partition's answer: the committed offset, or none, or that a transaction is about to change it.
type Found = (i32, Result<Option<Committed>, ResponseError>);

fn find(
    ledger: &Ledger,
    group: &str,
    wanted: Option<Vec<(String, Vec<i32>)>>,
    stable: bool,
) -> Vec<(String, Vec<Found>)> {
    let known = ledger.offsets.get(group);
    let wanted = wanted.unwrap_or_else(|| {
        let topics = known.into_iter().flatten();
        topics.map(|(name, partitions)| (name.clone(), partitions.keys().copied().collect())).collect()
    });
    let pending = |topic: &str, partition: i32| {
        let groups = ledger.transactions.values().filter_map(|t| t.offsets.get(group));
        groups.filter_map(|g| g.get(topic)).any(|p| p.contains_key(&partition))
    };
    let topics = wanted.into_iter().map(|(topic, partitions)| {
        let found = partitions.into_iter().map(|partition| {
            let found = if stable && pending(&topic, partition) {
                Err(ResponseError::UnstableOffsetCommit)
            } else {
                Ok(known.and_then(|k| k.get(&topic)?.get(&partition)).cloned())
            };
            (partition, found)
        });
        let found = found.collect();
        (topic, found)
    });
    topics.collect()
}

pub(crate) fn fetch(shared: &Shared, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let journal = shared.journal.lock();
    let stable = request.require_stable;
    let name = |topic: String| TopicName(StrBytes::from_string(topic));
    if version >= 8 {
        let groups = request.groups.into_iter().map(|group| {
            let wanted = group.topics.map(|topics| {
                topics.into_iter().map(|t| (t.name.to_string(), t.partition_indexes)).collect()
            });
            let topics =
                find(journal.ledger(), &group.group_id, wanted, stable).into_iter().map(|(topic, found)| {
                    let partitions = found.into_iter().map(|(partition, found)| {
                        let (error, offset, epoch, metadata) = spread(found);
                        OffsetFetchResponsePartitions::default()
                            .with_partition_index(partition)
                            .with_error_code(error)
                            .with_committed_offset(offset)
                            .with_committed_leader_epoch(epoch)
                            .with_metadata(metadata)
                    });
                    OffsetFetchResponseTopics::default()
                        .with_partitions(partitions.collect())
                        .with_name(name(topic))
                });
            OffsetFetchResponseGroup::default()
                .with_topics(topics.collect())
                .with_group_id(group.group_id.clone())
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let wanted = request
        .topics
        .map(|topics| topics.into_iter().map(|t| (t.name.to_string(), t.partition_indexes)).collect());
    let topics =
        find(journal.ledger(), &request.group_id, wanted, stable).into_iter().map(|(topic, found)| {
            let partitions = found.into_iter().map(|(partition, found)| {
                let (error, offset, epoch, metadata) = spread(found);
                OffsetFetchResponsePartition::default()
                    .with_partition_index(partition)
                    .with_error_code(error)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(epoch)
                    .with_metadata(metadata)
            });
            OffsetFetchResponseTopic::default().with_partitions(partitions.collect()).with_name(name(topic))
        });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn spread(found: Result<Option<Committed>, ResponseError>) -> (i16, i64, i32, Option<StrBytes>) {
    let empty = Some(StrBytes::new());
    match found {
        Ok(Some(c)) => (0, c.offset, c.leader_epoch, c.metadata.map(StrBytes::from_string).or(empty)),
        Ok(None) => (0, -1, -1, empty),
        Err(error) => (error.code(), -1, -1, empty),
    }
}

pub(crate) fn delete(shared: &Shared, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let groups = shared.groups.lock();
    let Some(group) = groups.get(&*request.group_id.0) else {
        return OffsetDeleteResponse::default().with_error_code(ResponseError::GroupIdNotFound.code());
    };
    // Which topics the members read is in their own encoding; while there are any, nothing is deleted.
    if !group.members.is_empty() {
        return OffsetDeleteResponse::default().with_error_code(ResponseError::NonEmptyGroup.code());
    }
    let mut gone: BTreeMap<String, BTreeMap<i32, Option<Committed>>> = BTreeMap::new();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            gone.entry(topic.name.to_string()).or_default().insert(p.partition_index, None);
            OffsetDeleteResponsePartition::default().with_partition_index(p.partition_index)
        });
        OffsetDeleteResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
    });
    let topics = topics.collect();
    let answer = OffsetDeleteResponse::default();
    match shared.journal.lock().write(vec![Change::Offsets(request.group_id.to_string(), gone)]) {
        Ok(()) => answer.with_topics(topics),
        Err(error) => answer.with_error_code(Refusal::from(error).code()),
    }
}
