//! Which requests are spoken, in which versions, and who answers each.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use crate::server::{Answer, Client, Hangup};
use crate::shape::Shape;
use crate::state::Shared;
use crate::{fetch, groups_api, offsets, produce, topics, transactions};

/// A request that is answered.
pub(crate) struct Spoken {
    pub(crate) key: ApiKey,
    /// Lowest and highest version.
    pub(crate) versions: (i16, i16),
    /// What it is made of, see [`crate::shape`].
    pub(crate) shape: Shape,
}

const fn spoken(key: ApiKey, min: i16, max: i16, flexible_from: i16, fields: &'static str) -> Spoken {
    Spoken { key, versions: (min, max), shape: Shape { flexible_from, fields } }
}

/// Every request that is answered. Topic ids (Produce 13, Fetch 13, Metadata 10), the newer consumer protocol
/// and transactions of version 2 are left out on purpose.
pub(crate) const SPOKEN: &[Spoken] = &[
    spoken(ApiKey::Produce, 3, 9, 9, "s h i [s [i b]]"),
    spoken(ApiKey::Fetch, 4, 12, 12, "i i i i c i7 i7 [s [i i9 l i12 l5 i]] [s (i)]7 s11"),
    spoken(ApiKey::ListOffsets, 1, 7, 6, "i c2 [s [i i4 l]]"),
    spoken(ApiKey::Metadata, 0, 9, 9, "[s] c4 c8 c8"),
    spoken(ApiKey::OffsetCommit, 2, 8, 8, "s i s s7 l:4 [s [i l i6 s]]"),
    spoken(ApiKey::OffsetFetch, 1, 8, 6, "s:7 [s (i)]:7 [s [s (i)]]8 c7"),
    spoken(ApiKey::FindCoordinator, 0, 4, 3, "s:3 c1 (s)4"),
    spoken(ApiKey::JoinGroup, 0, 9, 6, "s i i1 s s5 s [s b] s8"),
    spoken(ApiKey::Heartbeat, 0, 4, 4, "s i s s3"),
    spoken(ApiKey::LeaveGroup, 0, 5, 4, "s s:2 [s s s5]3"),
    spoken(ApiKey::SyncGroup, 0, 5, 4, "s i s s3 s5 s5 [s b]"),
    spoken(ApiKey::DescribeGroups, 0, 5, 5, "(s) c3"),
    spoken(ApiKey::ListGroups, 0, 4, 3, "(s)4"),
    spoken(ApiKey::SaslHandshake, 0, 1, 99, "s"),
    spoken(ApiKey::ApiVersions, 0, 3, 3, "s3 s3"),
    spoken(ApiKey::CreateTopics, 2, 6, 5, "[s i h [i (i)] [s s]] i c"),
    spoken(ApiKey::DeleteTopics, 1, 5, 4, "(s) i"),
    spoken(ApiKey::DeleteRecords, 0, 2, 2, "[s [i l]] i"),
    spoken(ApiKey::InitProducerId, 0, 4, 2, "s i l3 h3"),
    spoken(ApiKey::OffsetForLeaderEpoch, 2, 4, 4, "i3 [s [i i i]]"),
    spoken(ApiKey::AddPartitionsToTxn, 0, 3, 3, "s l h [s (i)]"),
    spoken(ApiKey::AddOffsetsToTxn, 0, 3, 3, "s l h s"),
    spoken(ApiKey::EndTxn, 0, 3, 3, "s l h c"),
    spoken(ApiKey::TxnOffsetCommit, 0, 3, 3, "s s l h i3 s3 s3 [s [i l i2 s]]"),
    spoken(ApiKey::DescribeConfigs, 1, 4, 4, "[c s (s)] c c3"),
    spoken(ApiKey::AlterConfigs, 0, 2, 2, "[c s [s s]] c"),
    spoken(ApiKey::IncrementalAlterConfigs, 0, 1, 1, "[c s [s c s]] c"),
    spoken(ApiKey::CreatePartitions, 0, 3, 2, "[s i [(i)]] i c"),
    spoken(ApiKey::DeleteGroups, 0, 2, 2, "(s)"),
    spoken(ApiKey::OffsetDelete, 0, 0, 99, "s [s [i]]"),
    spoken(ApiKey::DescribeCluster, 0, 1, 0, "c c1"),
];

/// Answers one request; `None` where the client expects no answer.
pub(crate) async fn answer<'a>(
    shared: &'a Shared,
    mut frame: Bytes,
    client: &mut Client,
) -> Result<Option<Answer<'a>>, Hangup> {
    let (number, version) =
        (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
    let key = ApiKey::try_from(number).ok();
    let named = key.and_then(|key| SPOKEN.iter().find(|spoken| spoken.key == key));
    let asked = named.filter(|spoken| (spoken.versions.0..=spoken.versions.1).contains(&version));
    let Some(Spoken { key, shape, .. }) = asked else {
        if key == Some(ApiKey::ApiVersions) {
            // The client asks in too new a version and falls back to version 0 by this answer.
            let correlation_id = frame.slice(4..8).get_i32();
            let error = ResponseError::UnsupportedVersion.code();
            return encode(&api_versions().with_error_code(error), 0, correlation_id).map(Some);
        }
        let name = key.map_or_else(|| format!("request {number}"), |key| format!("{key:?}"));
        return Err(Hangup(match named {
            Some(Spoken { versions: (min, max), .. }) => {
                format!("{name} version {version} is not spoken here, only {min} to {max}")
            }
            None => format!("{name} is not spoken by the embedded broker; use Apache Kafka for it"),
        }));
    };
    let malformed = |error| Hangup(format!("a malformed {key:?} request of version {version}: {error:#}"));
    let header = RequestHeader::decode(&mut frame, key.request_header_version(version)).map_err(malformed)?;
    let correlation_id = header.correlation_id;
    if !shape.fits(&frame, version) {
        return Err(Hangup(format!(
            "a malformed {key:?} request of version {version}: its lengths are wrong"
        )));
    }
    let id = header.client_id.as_deref().unwrap_or_default();
    if client.id != *id {
        client.id = id.to_string();
    }

    macro_rules! decoded {
        ($request:ty) => {
            <$request>::decode(&mut frame, version).map_err(malformed)?
        };
    }
    macro_rules! reply {
        ($response:expr) => {
            encode(&$response, version, correlation_id).map(Some)
        };
    }
    match key {
        ApiKey::Produce => {
            let request = decoded!(ProduceRequest);
            let acks = request.acks;
            let response = produce::produce(shared, request);
            match produce::failed(&response).filter(|_| acks == 0) {
                // A client that wants no answer can only be told by ending the connection.
                Some(error) => Err(Hangup(format!("a batch sent with acks=0 was refused: {error}"))),
                None if acks == 0 => Ok(None),
                None => reply!(response),
            }
        }
        ApiKey::Fetch => {
            let (response, memory) = fetch::fetch(shared, decoded!(FetchRequest)).await;
            let mut answer = encode(&response, version, correlation_id)?;
            answer._memory = memory;
            Ok(Some(answer))
        }
        ApiKey::ListOffsets => reply!(fetch::list_offsets(shared, decoded!(ListOffsetsRequest))),
        ApiKey::OffsetForLeaderEpoch => {
            reply!(fetch::offset_for_leader_epoch(shared, decoded!(OffsetForLeaderEpochRequest)))
        }
        ApiKey::Metadata => reply!(topics::metadata(shared, decoded!(MetadataRequest), version)),
        ApiKey::DescribeCluster => reply!(topics::describe_cluster(shared)),
        ApiKey::CreateTopics => reply!(topics::create_topics(shared, decoded!(CreateTopicsRequest), version)),
        ApiKey::DeleteTopics => reply!(topics::delete_topics(shared, decoded!(DeleteTopicsRequest))),
        ApiKey::CreatePartitions => {
            reply!(topics::create_partitions(shared, decoded!(CreatePartitionsRequest)))
        }
        ApiKey::DeleteRecords => reply!(topics::delete_records(shared, decoded!(DeleteRecordsRequest))),
        ApiKey::DescribeConfigs => reply!(topics::describe_configs(shared, decoded!(DescribeConfigsRequest))),
        ApiKey::AlterConfigs => reply!(topics::alter_configs(shared, decoded!(AlterConfigsRequest))),
        ApiKey::IncrementalAlterConfigs => {
            reply!(topics::incremental_alter_configs(shared, decoded!(IncrementalAlterConfigsRequest)))
        }
        ApiKey::FindCoordinator => {
            reply!(groups_api::find_coordinator(shared, decoded!(FindCoordinatorRequest), version))
        }
        ApiKey::JoinGroup => {
            let request = decoded!(JoinGroupRequest);
            reply!(groups_api::join(shared, request, version, client).await)
        }
        ApiKey::SyncGroup => reply!(groups_api::sync(shared, decoded!(SyncGroupRequest)).await),
        ApiKey::Heartbeat => reply!(groups_api::heartbeat(shared, decoded!(HeartbeatRequest))),
        ApiKey::LeaveGroup => reply!(groups_api::leave(shared, decoded!(LeaveGroupRequest), version)),
        ApiKey::DescribeGroups => reply!(groups_api::describe(shared, decoded!(DescribeGroupsRequest))),
        ApiKey::ListGroups => reply!(groups_api::list(shared, decoded!(ListGroupsRequest))),
        ApiKey::DeleteGroups => reply!(groups_api::delete(shared, decoded!(DeleteGroupsRequest))),
        ApiKey::OffsetCommit => reply!(offsets::commit(shared, decoded!(OffsetCommitRequest))),
        ApiKey::OffsetFetch => reply!(offsets::fetch(shared, decoded!(OffsetFetchRequest), version)),
        ApiKey::OffsetDelete => reply!(offsets::delete(shared, decoded!(OffsetDeleteRequest))),
        ApiKey::InitProducerId => {
            reply!(transactions::init(shared, decoded!(InitProducerIdRequest), version))
        }
        ApiKey::AddPartitionsToTxn => {
            reply!(transactions::add_partitions(shared, decoded!(AddPartitionsToTxnRequest), version))
        }
        ApiKey::AddOffsetsToTxn => {
            reply!(transactions::add_offsets(shared, decoded!(AddOffsetsToTxnRequest), version))
        }
        ApiKey::TxnOffsetCommit => {
            reply!(transactions::commit_offsets(shared, decoded!(TxnOffsetCommitRequest)))
        }
        ApiKey::EndTxn => reply!(transactions::end(shared, decoded!(EndTxnRequest), version)),
        ApiKey::SaslHandshake => {
            tracing::warn!(address = %client.address, "a client wants to authenticate; the embedded broker cannot");
            reply!(
                SaslHandshakeResponse::default()
                    .with_error_code(ResponseError::UnsupportedSaslMechanism.code())
            )
        }
        ApiKey::ApiVersions => reply!(api_versions()),
        other => Err(Hangup(format!("{other:?} has no answer"))),
    }
}

fn api_versions() -> ApiVersionsResponse {
    // SaslHandshake is answered, to say no, but not offered.
    let offered = SPOKEN.iter().filter(|spoken| spoken.key != ApiKey::SaslHandshake);
    let version = |spoken: &Spoken| {
        let (min, max) = spoken.versions;
        ApiVersion::default().with_api_key(spoken.key as i16).with_min_version(min).with_max_version(max)
    };
    ApiVersionsResponse::default().with_api_keys(offered.map(version).collect())
}

fn encode<'a, R: Encodable + HeaderVersion>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Answer<'a>, Hangup> {
    let unencodable =
        |error| Hangup(format!("an answer could not be encoded in version {version}: {error:#}"));
    let size = response.compute_size(version).map_err(unencodable)?;
    let mut bytes = BytesMut::with_capacity(size + 16);
    bytes.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut bytes, R::header_version(version)).map_err(unencodable)?;
    response.encode(&mut bytes, version).map_err(unencodable)?;
    let length = (bytes.len() - 4) as i32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(Answer { bytes: bytes.freeze(), _memory: None })
}
