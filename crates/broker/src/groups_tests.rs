//! The state machine of a group, moved by hand.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot::Receiver;
use tokio::time::Instant;

use super::*;

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

fn join(member: &str, instance: Option<&str>, subscription: &'static str) -> Join {
    Join {
        member: member.to_owned(),
        instance: instance.map(str::to_owned),
        client_id: "client".to_owned(),
        session: SESSION,
        rebalance: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(subscription.as_bytes()))],
        takes_promise: true,
        can_skip: true,
    }
}

fn later(reply: Reply<Joined>) -> Receiver<Joined> {
    match reply {
        Reply::Later(later) => later,
        Reply::Now(joined) => panic!("answered at once: {joined:?}"),
    }
}

fn now(reply: Reply<Joined>) -> Joined {
    match reply {
        Reply::Now(joined) => joined,
        Reply::Later(_) => panic!("has to wait"),
    }
}

/// Gets an id and joins with it.
fn enter(group: &mut Group, at: Instant) -> (String, Receiver<Joined>) {
    let promised = now(group.join(join("", None, "t"), 10, at));
    assert_eq!(promised.error, Some(ResponseError::MemberIdRequired));
    let joined = group.join(join(&promised.member, None, "t"), 10, at);
    (promised.member, later(joined))
}

fn assign(group: &mut Group, leader: &str, to: &[(&str, &'static str)], at: Instant) {
    let assignments: BTreeMap<String, Bytes> =
        to.iter().map(|(id, a)| (id.to_string(), Bytes::from_static(a.as_bytes()))).collect();
    let (_, stable) = group.sync(leader, assignments, at);
    assert!(stable && group.state == State::Stable);
}

/// A stable group of two, its leader first.
fn two(at: Instant) -> (Group, String, String) {
    let mut group = Group::default();
    let (first, mut joined) = enter(&mut group, at);
    assert_eq!(joined.try_recv().unwrap().leader, first);
    assign(&mut group, &first, &[(&first, "all")], at);
    let (second, mut joined) = enter(&mut group, at);
    assert!(joined.try_recv().is_err(), "the first has yet to join again");
    assert_eq!(group.heartbeat(&first, at), Err(ResponseError::RebalanceInProgress));
    let mut again = later(group.join(join(&first, None, "t"), 10, at));
    let (leader, follower) = (again.try_recv().unwrap(), joined.try_recv().unwrap());
    assert_eq!((leader.generation, leader.members.len()), (2, 2));
    assert_eq!((follower.generation, follower.members.len(), &follower.leader), (2, 0, &first));
    assign(&mut group, &first, &[(&first, "half"), (&second, "other half")], at);
    (group, first, second)
}

#[test]
fn a_second_member_makes_the_first_join_again_and_both_are_assigned() {
    let at = Instant::now();
    let (mut group, _, second) = two(at);
    let (reply, _) = group.sync(&second, BTreeMap::new(), at);
    let Reply::Now(Ok(synced)) = reply else { panic!("has to wait") };
    assert_eq!(synced.assignment, "other half");
    assert_eq!(group.check(&second, None, 2), Ok(()));
    assert_eq!(group.check(&second, None, 1), Err(ResponseError::IllegalGeneration));
    assert_eq!(group.check("stranger", None, 2), Err(ResponseError::UnknownMemberId));
    assert_eq!(group.check("", None, -1), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_silent_member_is_removed_when_its_session_ends() {
    let at = Instant::now();
    let (mut group, first, second) = two(at);
    group.heartbeat(&first, at + SESSION / 2).unwrap();
    assert_eq!(group.next_deadline(), Some(at + SESSION));
    assert!(group.expire(at + SESSION));
    assert!(!group.members.contains_key(&second) && group.state == State::Joining);
    let mut again = later(group.join(join(&first, None, "t"), 10, at + SESSION));
    assert_eq!(again.try_recv().unwrap().members.len(), 1);
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_left_out() {
    let at = Instant::now();
    let (mut group, first, second) = two(at);
    let (third, mut joined) = enter(&mut group, at);
    let mut again = later(group.join(join(&second, None, "t"), 10, at));
    // The first lives, by its heartbeats, but does not join.
    for tenth in 1..12 {
        let _ = group.heartbeat(&first, at + REBALANCE * tenth / 12);
    }
    group.expire(at + REBALANCE);
    let joined = joined.try_recv().unwrap();
    assert_eq!(joined.leader, again.try_recv().unwrap().leader);
    assert_eq!(group.members.keys().cloned().collect::<Vec<_>>(), {
        let mut left = vec![second, third];
        left.sort();
        left
    });
}

#[test]
fn a_static_member_comes_back_to_its_place_and_its_old_self_is_fenced() {
    let at = Instant::now();
    let mut group = Group::default();
    let mut joined = later(group.join(join("", Some("one"), "t"), 10, at));
    let old = joined.try_recv().unwrap().member;
    assign(&mut group, &old, &[(&old, "all")], at);
    let back = now(group.join(join("", Some("one"), "t"), 10, at));
    assert!(back.error.is_none() && back.skip_assignment && back.generation == 1 && back.member != old);
    assert_eq!(group.check(&old, Some("one"), 1), Err(ResponseError::FencedInstanceId));
    assert_eq!(group.check(&back.member, Some("one"), 1), Ok(()));
    // With another subscription the group must agree anew.
    let changed = later(group.join(join("", Some("one"), "t, u"), 10, at)).try_recv().unwrap();
    assert_eq!(changed.generation, 2);
}

#[test]
fn a_follower_that_joins_again_unchanged_does_not_disturb_the_group() {
    let at = Instant::now();
    let (mut group, first, second) = two(at);
    assert_eq!(now(group.join(join(&second, None, "t"), 10, at)).generation, 2);
    // The leader does so to have the partitions shared anew, a changed subscription asks for it too.
    drop(later(group.join(join(&first, None, "t"), 10, at)));
    assert_eq!(group.state, State::Joining);
}

#[test]
fn the_last_to_leave_leaves_the_group_empty_and_offsets_to_anyone() {
    let at = Instant::now();
    let (mut group, first, second) = two(at);
    group.leave(&first, None, at).unwrap();
    assert_eq!(group.state, State::Joining);
    group.leave(&second, None, at).unwrap();
    assert_eq!(group.leave(&second, None, at), Err(ResponseError::UnknownMemberId));
    assert!(group.state == State::Empty && group.is_abandoned());
    assert_eq!(group.check("", None, -1), Ok(()));
}

#[test]
fn a_full_group_and_a_strange_protocol_are_refused() {
    let at = Instant::now();
    let (mut group, _, _) = two(at);
    let full = now(group.join(join("", None, "t"), 2, at));
    assert_eq!(full.error, Some(ResponseError::GroupMaxSizeReached));
    let mut strange = join("", None, "t");
    strange.protocols[0].0 = "other".to_owned();
    assert_eq!(now(group.join(strange, 10, at)).error, Some(ResponseError::InconsistentGroupProtocol));
}

#[test]
fn a_restored_group_is_the_group_that_was_kept() {
    let at = Instant::now();
    let (group, _, second) = two(at);
    let ledger = Ledger { memberships: [("g".to_owned(), group.membership())].into(), ..Ledger::default() };
    let restored = Group::restore(&ledger).remove("g").unwrap();
    assert_eq!(restored.membership(), group.membership());
    assert_eq!(restored.state, State::Stable);
    assert_eq!(restored.members[&second].assignment, "other half");
}
