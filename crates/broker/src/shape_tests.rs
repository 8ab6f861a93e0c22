//! The shapes against the codec's own encoding of requests, in every version that is spoken.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use crate::dispatch::SPOKEN;

fn text() -> StrBytes {
    StrBytes::from_static_str("text")
}

/// Encodes a request, adjusted to each version that is spoken, and has its shape tried.
fn try_all<R: Encodable>(key: ApiKey, request: impl Fn(i16) -> R) {
    let spoken = SPOKEN.iter().find(|spoken| spoken.key == key).unwrap();
    for version in spoken.versions.0..=spoken.versions.1 {
        let mut body = BytesMut::new();
        request(version).encode(&mut body, version).unwrap();
        assert_eq!(spoken.shape.rest(&body, version), Some(&[][..]), "{key:?} {version}: {body:?}");
        if !body.is_empty() {
            assert!(!spoken.shape.fits(&body[..body.len() - 1], version), "{key:?} {version}, cut short");
        }
    }
}

#[test]
fn the_shapes_are_those_of_the_codec() {
    use ApiKey as K;
    try_all(K::Produce, |_| {
        let data =
            produce_request::PartitionProduceData::default().with_records(Some(Bytes::from_static(b"xy")));
        let topic =
            produce_request::TopicProduceData::default().with_partition_data(vec![data.clone(), data]);
        ProduceRequest::default().with_topic_data(vec![topic.with_name(text().into())])
    });
    try_all(K::Fetch, |version| {
        let partitions = vec![fetch_request::FetchPartition::default(); 3];
        let topic =
            fetch_request::FetchTopic::default().with_topic(text().into()).with_partitions(partitions);
        let forgotten = fetch_request::ForgottenTopic::default().with_topic(text().into());
        let forgotten = vec![forgotten.with_partitions(vec![1, 2]); usize::from(version >= 7)];
        FetchRequest::default().with_topics(vec![topic]).with_forgotten_topics_data(forgotten)
    });
    try_all(K::ListOffsets, |_| {
        let partitions = vec![list_offsets_request::ListOffsetsPartition::default(); 2];
        let topic = list_offsets_request::ListOffsetsTopic::default().with_name(text().into());
        ListOffsetsRequest::default().with_topics(vec![topic.with_partitions(partitions)])
    });
    try_all(K::Metadata, |_| {
        let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(text().into()));
        MetadataRequest::default().with_topics(Some(vec![topic; 2])).with_allow_auto_topic_creation(true)
    });
    try_all(K::OffsetCommit, |_| {
        let partition = offset_commit_request::OffsetCommitRequestPartition::default();
        let topic = offset_commit_request::OffsetCommitRequestTopic::default().with_name(text().into());
        OffsetCommitRequest::default().with_topics(vec![topic.with_partitions(vec![partition])])
    });
    try_all(K::OffsetFetch, |version| {
        if version >= 8 {
            let topic =
                offset_fetch_request::OffsetFetchRequestTopics::default().with_partition_indexes(vec![1]);
            let group =
                offset_fetch_request::OffsetFetchRequestGroup::default().with_topics(Some(vec![topic]));
            return OffsetFetchRequest::default().with_groups(vec![group]);
        }
        let topic = offset_fetch_request::OffsetFetchRequestTopic::default().with_partition_indexes(vec![1]);
        OffsetFetchRequest::default().with_topics(Some(vec![topic]))
    });
    try_all(K::FindCoordinator, |version| match version {
        4 => FindCoordinatorRequest::default().with_coordinator_keys(vec![text(); 2]),
        _ => FindCoordinatorRequest::default().with_key(text()),
    });
    try_all(K::JoinGroup, |_| {
        let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(text());
        JoinGroupRequest::default().with_protocols(vec![protocol.with_metadata(Bytes::from_static(b"m")); 2])
    });
    try_all(K::Heartbeat, |_| HeartbeatRequest::default().with_member_id(text()));
    try_all(K::LeaveGroup, |version| match version {
        0..=2 => LeaveGroupRequest::default().with_member_id(text()),
        _ => {
            LeaveGroupRequest::default().with_members(vec![leave_group_request::MemberIdentity::default(); 2])
        }
    });
    try_all(K::SyncGroup, |_| {
        let assignment = sync_group_request::SyncGroupRequestAssignment::default().with_member_id(text());
        SyncGroupRequest::default().with_assignments(vec![assignment; 2])
    });
    try_all(K::DescribeGroups, |_| DescribeGroupsRequest::default().with_groups(vec![GroupId(text()); 2]));
    try_all(K::ListGroups, |version| {
        ListGroupsRequest::default().with_states_filter(vec![text(); usize::from(version >= 4)])
    });
    try_all(K::SaslHandshake, |_| SaslHandshakeRequest::default().with_mechanism(text()));
    try_all(K::ApiVersions, |version| match version {
        3 => ApiVersionsRequest::default().with_client_software_name(text()),
        _ => ApiVersionsRequest::default(),
    });
    try_all(K::CreateTopics, |_| {
        let assignment = create_topics_request::CreatableReplicaAssignment::default();
        let config = create_topics_request::CreatableTopicConfig::default().with_value(Some(text()));
        let topic = create_topics_request::CreatableTopic::default().with_configs(vec![config; 2]);
        let topic = topic.with_assignments(vec![assignment.with_broker_ids(vec![BrokerId(1); 2])]);
        CreateTopicsRequest::default().with_topics(vec![topic])
    });
    try_all(K::DeleteTopics, |_| DeleteTopicsRequest::default().with_topic_names(vec![text().into(); 2]));
    try_all(K::DeleteRecords, |_| {
        let partitions = vec![delete_records_request::DeleteRecordsPartition::default(); 2];
        let topic = delete_records_request::DeleteRecordsTopic::default().with_partitions(partitions);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    });
    try_all(K::InitProducerId, |_| InitProducerIdRequest::default());
    try_all(K::OffsetForLeaderEpoch, |_| {
        let partitions = vec![offset_for_leader_epoch_request::OffsetForLeaderPartition::default(); 2];
        let topic =
            offset_for_leader_epoch_request::OffsetForLeaderTopic::default().with_partitions(partitions);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    });
    try_all(K::AddPartitionsToTxn, |_| {
        let topic =
            add_partitions_to_txn_request::AddPartitionsToTxnTopic::default().with_partitions(vec![1, 2]);
        AddPartitionsToTxnRequest::default().with_v3_and_below_topics(vec![topic])
    });
    try_all(K::AddOffsetsToTxn, |_| AddOffsetsToTxnRequest::default().with_group_id(GroupId(text())));
    try_all(K::EndTxn, |_| EndTxnRequest::default());
    try_all(K::TxnOffsetCommit, |_| {
        let partitions = vec![txn_offset_commit_request::TxnOffsetCommitRequestPartition::default(); 2];
        let topic =
            txn_offset_commit_request::TxnOffsetCommitRequestTopic::default().with_partitions(partitions);
        TxnOffsetCommitRequest::default().with_topics(vec![topic])
    });
    try_all(K::DescribeConfigs, |_| {
        let resource = describe_configs_request::DescribeConfigsResource::default();
        let resource = resource.with_configuration_keys(Some(vec![text(); 2]));
        DescribeConfigsRequest::default().with_resources(vec![resource])
    });
    try_all(K::AlterConfigs, |_| {
        let config = alter_configs_request::AlterableConfig::default().with_value(Some(text()));
        let resource = alter_configs_request::AlterConfigsResource::default().with_configs(vec![config; 2]);
        AlterConfigsRequest::default().with_resources(vec![resource])
    });
    try_all(K::IncrementalAlterConfigs, |_| {
        let config = incremental_alter_configs_request::AlterableConfig::default().with_value(Some(text()));
        let resource = incremental_alter_configs_request::AlterConfigsResource::default();
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource.with_configs(vec![config; 2])])
    });
    try_all(K::CreatePartitions, |_| {
        let assignment = create_partitions_request::CreatePartitionsAssignment::default();
        let assignments = Some(vec![assignment.with_broker_ids(vec![BrokerId(1)]); 2]);
        let topic = create_partitions_request::CreatePartitionsTopic::default().with_assignments(assignments);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    });
    try_all(K::DeleteGroups, |_| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text()); 2]));
    try_all(K::OffsetDelete, |_| {
        let partitions = vec![offset_delete_request::OffsetDeleteRequestPartition::default(); 2];
        let topic = offset_delete_request::OffsetDeleteRequestTopic::default().with_partitions(partitions);
        OffsetDeleteRequest::default().with_topics(vec![topic])
    });
    try_all(K::DescribeCluster, |_| DescribeClusterRequest::default());
}

proptest! {
    #[test]
    fn rubbish_is_judged_without_harm(body in proptest::collection::vec(any::<u8>(), 0..200), at in 0..SPOKEN.len()) {
        let spoken = &SPOKEN[at];
        for version in spoken.versions.0..=spoken.versions.1 {
            spoken.shape.fits(&body, version);
        }
    }
}
