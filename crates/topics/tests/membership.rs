//! Members of a group against a real broker: the embedded one, or the one that `YIBIAO_TEST_BOOTSTRAP` names.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use yibiao_topics::{Cleanup, Client, Group, Membership, TopicSpec};

#[allow(dead_code)] // other tests stop their broker
mod support;
use support::Broker;

/// A test that waits longer is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(600);

async fn group(client: &Client, hand_over: Duration) -> Group {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let topic = format!("test.group.{nanos}.{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let cleanup = Cleanup::Delete { retention: None };
    let spec =
        TopicSpec { name: topic.clone(), partitions: 4, replication: 1, cleanup, max_record_bytes: None };
    client.ensure(&[spec]).await.unwrap();
    Group { name: topic.clone(), topic, session: Duration::from_secs(6), hand_over }
}

/// Waits until what the member is given is as wanted.
async fn until(member: &mut Membership, wanted: impl Fn(&BTreeSet<u32>) -> bool) -> BTreeSet<u32> {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !wanted(&member.given()) {
            member.changed().await.unwrap();
        }
    });
    waited.await.unwrap_or_else(|_| panic!("stuck with {:?}", member.given()));
    member.given()
}

fn is_all(given: &BTreeSet<u32>) -> bool {
    *given == BTreeSet::from([0, 1, 2, 3])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_gets_what_the_first_has_let_go_and_not_sooner() {
    let broker = Broker::start().await;
    let client = broker.client();
    let group = group(&client, LONG).await;
    let mut first = client.join(&group).unwrap();
    let all = until(&mut first, is_all).await;
    first.hold(all.clone());

    let mut second = client.join(&group).unwrap();
    let stays = until(&mut first, |given| given.len() == 2).await;
    // While the first holds all, the second has none, however long it waits.
    let early = tokio::time::timeout(Duration::from_secs(2), second.changed()).await;
    assert!(early.is_err(), "given {:?}, and the first holds it", second.given());
    first.hold(stays.clone());
    let moved = until(&mut second, |given| given.len() == 2).await;
    second.hold(moved.clone());
    assert_eq!(first.given(), stays, "what stays is not touched");
    assert_eq!(moved, all.difference(&stays).copied().collect());

    // Who leaves need not be waited for.
    second.leave().await;
    until(&mut first, is_all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hands_over_for_too_long_is_passed_over() {
    let broker = Broker::start().await;
    let client = broker.client();
    let group = group(&client, Duration::from_secs(1)).await;
    let mut first = client.join(&group).unwrap();
    let all = until(&mut first, is_all).await;
    first.hold(all);
    let mut second = client.join(&group).unwrap();
    until(&mut second, |given| given.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_members_than_partitions_wait_for_one_that_leaves() {
    let broker = Broker::start().await;
    let client = broker.client();
    let group = group(&client, LONG).await;
    let mut members = Vec::new();
    for _ in 0..5 {
        members.push(client.join(&group).unwrap());
    }
    // Nobody holds anything, so all is answered at once.
    let total = |members: &[Membership]| members.iter().map(|member| member.given().len()).sum::<usize>();
    let idle = |members: &[Membership]| members.iter().filter(|member| member.given().is_empty()).count();
    let settled = tokio::time::timeout(PATIENCE, async {
        while (total(&members), idle(&members)) != (4, 1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    settled.await.unwrap();
    let busy = members.iter().position(|member| !member.given().is_empty()).unwrap();
    members.swap_remove(busy).leave().await;
    let taken = tokio::time::timeout(PATIENCE, async {
        while (total(&members), idle(&members)) != (4, 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    taken.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_refuses_says_why() {
    let broker = Broker::start().await;
    let client = broker.client();
    let mut group = group(&client, LONG).await;
    // Longer than any broker takes.
    group.session = Duration::from_secs(3000);
    let mut member = client.join(&group).unwrap();
    let refused = tokio::time::timeout(PATIENCE, member.changed()).await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("joining the group"), "{refused}");
}
