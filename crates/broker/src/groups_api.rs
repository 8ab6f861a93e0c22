//! The requests about groups: they find the group, let its state machine ([`crate::groups`]) move, and keep
//! what its members agreed on.

use std::collections::btree_map::Entry;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use crate::error::code;
use crate::groups::{Group, Join, Joined, Reply, State};
use crate::journal::Change;
use crate::server::Client;
use crate::state::{NODE_ID, Shared};
use crate::topics::host;

/// Session timeouts that are taken, ms.
const SESSION_MS: std::ops::RangeInclusive<i32> = 100..=1_800_000;

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

fn owned(text: &Option<StrBytes>) -> Option<String> {
    text.as_ref().map(|t| t.to_string())
}

/// FindCoordinator: it is always this broker.
pub(crate) fn find_coordinator(
    shared: &Shared,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let port = i32::from(shared.address.port());
    if version < 4 {
        return FindCoordinatorResponse::default()
            .with_node_id(NODE_ID.into())
            .with_host(host(shared))
            .with_port(port);
    }
    let coordinator = |key| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(NODE_ID.into())
            .with_host(host(shared))
            .with_port(port)
    };
    let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}

/// JoinGroup: answered when all members have joined.
pub(crate) async fn join(
    shared: &Shared,
    request: JoinGroupRequest,
    version: i16,
    client: &Client,
) -> JoinGroupResponse {
    let member = request.member_id.clone();
    let joined = match ask_to_join(shared, request, version, client) {
        Ok(Reply::Now(joined)) => Ok(joined),
        // The channel closes when the member joins again over another connection.
        Ok(Reply::Later(later)) => later.await.map_err(|_| ResponseError::RebalanceInProgress),
        Err(error) => Err(error),
    };
    let joined = joined.unwrap_or_else(|error| {
        let member = member.to_string();
        Joined { error: Some(error), member, generation: -1, ..Joined::default() }
    });
    let members = joined.members.into_iter().map(|(id, instance, metadata)| {
        JoinGroupResponseMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(text))
            .with_metadata(metadata)
    });
    JoinGroupResponse::default()
        .with_error_code(joined.error.map_or(0, |error| error.code()))
        .with_generation_id(joined.generation)
        .with_protocol_type((version >= 7 && joined.error.is_none()).then(|| text(joined.protocol_type)))
        .with_protocol_name((version < 7 || joined.error.is_none()).then(|| text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member))
        .with_members(members.collect())
}

fn ask_to_join(
    shared: &Shared,
    request: JoinGroupRequest,
    version: i16,
    client: &Client,
) -> Result<Reply<Joined>, ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    if !SESSION_MS.contains(&request.session_timeout_ms) {
        return Err(ResponseError::InvalidSessionTimeout);
    }
    let session = Duration::from_millis(request.session_timeout_ms as u64);
    let rebalance = match request.rebalance_timeout_ms {
        ms if version >= 1 && ms >= 0 => Duration::from_millis(ms as u64),
        _ => session,
    };
    let join = Join {
        member: request.member_id.to_string(),
        instance: owned(&request.group_instance_id),
        client_id: client.id.clone(),
        session,
        rebalance,
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(|p| (p.name.to_string(), p.metadata)).collect(),
        takes_promise: version >= 4,
        can_skip: version >= 9,
    };
    let mut groups = shared.groups.lock();
    let count = groups.len();
    let group = match groups.entry(request.group_id.to_string()) {
        Entry::Occupied(group) => group.into_mut(),
        Entry::Vacant(_) if count >= shared.limits.groups_max => {
            tracing::warn!(groups_max = shared.limits.groups_max, "refused a group: there are too many");
            return Err(ResponseError::GroupMaxSizeReached);
        }
        Entry::Vacant(place) => place.insert(Group::default()),
    };
    let reply = group.join(join, shared.limits.group_members_max, Instant::now());
    shared.sooner.notify_one();
    Ok(reply)
}

/// SyncGroup: answered when the leader has brought the assignments.
pub(crate) async fn sync(shared: &Shared, request: SyncGroupRequest) -> SyncGroupResponse {
    let synced = match ask_to_sync(shared, request) {
        Ok(Reply::Now(synced)) => synced,
        Ok(Reply::Later(later)) => later.await.unwrap_or(Err(ResponseError::RebalanceInProgress)),
        Err(error) => Err(error),
    };
    let answer = SyncGroupResponse::default();
    match synced {
        Ok(synced) => answer
            .with_protocol_type(Some(text(synced.protocol_type)))
            .with_protocol_name(Some(text(synced.protocol)))
            .with_assignment(synced.assignment),
        Err(error) => answer.with_error_code(error.code()),
    }
}

type SyncReply = Reply<Result<crate::groups::Synced, ResponseError>>;

fn ask_to_sync(shared: &Shared, request: SyncGroupRequest) -> Result<SyncReply, ResponseError> {
    let mut groups = shared.groups.lock();
    let group = groups.get_mut(&*request.group_id.0).ok_or(ResponseError::UnknownMemberId)?;
    let instance = request.group_instance_id.as_deref();
    group.check(&request.member_id, instance, request.generation_id.max(0))?;
    let other = |given: &Option<StrBytes>, known: &str| given.as_ref().is_some_and(|given| **given != *known);
    if other(&request.protocol_type, &group.protocol_type) || other(&request.protocol_name, &group.protocol) {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    let assignments =
        request.assignments.into_iter().map(|a| (a.member_id.to_string(), a.assignment)).collect();
    let (reply, stable) = group.sync(&request.member_id, assignments, Instant::now());
    if stable {
        keep(shared, &request.group_id, group);
    }
    shared.sooner.notify_one();
    Ok(reply)
}

/// Writes down what a group agreed on.
pub(crate) fn keep(shared: &Shared, name: &str, group: &Group) {
    let change = Change::Membership(name.to_owned(), group.membership());
    if let Err(error) = shared.journal.lock().write(vec![change]) {
        tracing::error!(%error, group = name, "could not keep a group's members; a restart would rebalance it");
    }
}

pub(crate) fn heartbeat(shared: &Shared, request: HeartbeatRequest) -> HeartbeatResponse {
    let mut groups = shared.groups.lock();
    let group = groups.get_mut(&*request.group_id.0).ok_or(ResponseError::UnknownMemberId);
    let beaten = group.and_then(|group| {
        let instance = request.group_instance_id.as_deref();
        group.check(&request.member_id, instance, request.generation_id.max(0))?;
        group.heartbeat(&request.member_id, Instant::now())
    });
    HeartbeatResponse::default().with_error_code(code(&beaten))
}

pub(crate) fn leave(shared: &Shared, request: LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    let leaving = match version {
        0..=2 => vec![MemberIdentity::default().with_member_id(request.member_id)],
        _ => request.members,
    };
    let mut groups = shared.groups.lock();
    let mut group = groups.get_mut(&*request.group_id.0);
    let left = leaving.into_iter().map(|who| {
        let group = group.as_mut().ok_or(ResponseError::UnknownMemberId);
        let left =
            group.and_then(|g| g.leave(&who.member_id, who.group_instance_id.as_deref(), Instant::now()));
        MemberResponse::default()
            .with_member_id(who.member_id)
            .with_group_instance_id(who.group_instance_id)
            .with_error_code(code(&left))
    });
    let left: Vec<MemberResponse> = left.collect();
    if let Some(group) = group
        && group.state == State::Empty
    {
        keep(shared, &request.group_id, group);
    }
    shared.sooner.notify_one();
    match version {
        0..=2 => LeaveGroupResponse::default().with_error_code(left.first().map_or(0, |m| m.error_code)),
        _ => LeaveGroupResponse::default().with_members(left),
    }
}

pub(crate) fn describe(shared: &Shared, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let groups = shared.groups.lock();
    let described = request.groups.into_iter().map(|name| {
        let described = match groups.get(&*name.0) {
            None => DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead")),
            Some(group) => DescribedGroup::default()
                .with_group_state(StrBytes::from_static_str(group.state.name()))
                .with_protocol_type(text(&group.protocol_type))
                .with_protocol_data(text(&group.protocol))
                .with_members(group.members.iter().map(|(id, m)| described_member(group, id, m)).collect()),
        };
        described.with_group_id(name)
    });
    DescribeGroupsResponse::default().with_groups(described.collect())
}

fn described_member(group: &Group, id: &str, member: &crate::member::Member) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(id))
        .with_client_id(text(&member.client_id))
        .with_client_host(StrBytes::from_static_str("/127.0.0.1"))
        .with_member_metadata(member.metadata(&group.protocol).cloned().unwrap_or_default())
        .with_member_assignment(member.assignment.clone())
}

pub(crate) fn list(shared: &Shared, request: ListGroupsRequest) -> ListGroupsResponse {
    let groups = shared.groups.lock();
    let wanted = |group: &Group| {
        let filter = &request.states_filter;
        filter.is_empty() || filter.iter().any(|state| state.eq_ignore_ascii_case(group.state.name()))
    };
    let listed = groups.iter().filter(|(_, group)| wanted(group)).map(|(name, group)| {
        ListedGroup::default()
            .with_group_id(GroupId(text(name)))
            .with_protocol_type(text(&group.protocol_type))
            .with_group_state(StrBytes::from_static_str(group.state.name()))
    });
    ListGroupsResponse::default().with_groups(listed.collect())
}

pub(crate) fn delete(shared: &Shared, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|name| {
        let deleted = delete_group(shared, &name);
        DeletableGroupResult::default().with_error_code(code(&deleted)).with_group_id(name)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

fn delete_group(shared: &Shared, name: &str) -> Result<(), ResponseError> {
    let mut groups = shared.groups.lock();
    let group = groups.get(name).ok_or(ResponseError::GroupIdNotFound)?;
    if !group.members.is_empty() {
        return Err(ResponseError::NonEmptyGroup);
    }
    let change = Change::GroupDeleted(name.to_owned());
    shared.journal.lock().write(vec![change]).map_err(|error| crate::error::Refusal::from(error).error)?;
    groups.remove(name);
    Ok(())
}

/// Removes silent members of all groups, and groups of which nothing is left; says when to look again.
pub(crate) fn expire(shared: &Shared) -> Option<Instant> {
    let mut groups = shared.groups.lock();
    let mut abandoned = Vec::new();
    for (name, group) in groups.iter_mut() {
        if group.expire(Instant::now()) && group.state == State::Empty {
            keep(shared, name, group);
        }
        let offsets = || shared.journal.lock().ledger().offsets.contains_key(name);
        if group.is_abandoned() && !offsets() {
            abandoned.push(Change::GroupDeleted(name.clone()));
        }
    }
    for change in abandoned {
        if let Change::GroupDeleted(name) = &change {
            groups.remove(name);
        }
        if let Err(error) = shared.journal.lock().write(vec![change]) {
            tracing::error!(%error, "could not forget a group");
        }
    }
    groups.values().filter_map(Group::next_deadline).min()
}
