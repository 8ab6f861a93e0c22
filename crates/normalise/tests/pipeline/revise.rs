//! What another gazetteer answers otherwise.

use std::collections::BTreeMap;

use yibiao_address::{StandardAddress, Status};
use yibiao_normalise::{
    GazetteerBuilder,
    state::{RecordKey, ShardPrefix},
};
use yibiao_records::{FactId, PlaceId, Statement};

use crate::{
    site::{Running, Site, WAIT},
    support::{Bench, DISPUTES, ELECTRICITY, POLICE, Raw, city, place, publish, reading},
};

const A: &str = "南京市鼓楼区上海路12号青禾新村1幢1单元101室";

/// Where each fact stands, after checking that nothing was said twice.
async fn standing(site: &Site) -> BTreeMap<String, PlaceId> {
    let mut facts = site.facts("electricity").await;
    facts.sort_by_key(|(partition, fact)| (*partition, fact.raw));
    assert!(facts.windows(2).all(|two| (two[0].0, two[0].1.raw) != (two[1].0, two[1].1.raw)));
    let mut standing = BTreeMap::new();
    for (_, fact) in facts {
        match fact.statement {
            Statement::Assert => drop(standing.insert(fact.source_key, fact.place)),
            Statement::Retract => assert_eq!(standing.remove(&fact.source_key), Some(fact.place)),
        }
    }
    standing
}

async fn until(what: &str, running: &Running, is: impl Fn([u64; 4]) -> bool) {
    let feed = ELECTRICITY.parse().unwrap();
    let reached = running.accounting.wait_until(|feeds| {
        feeds.get(&feed).is_some_and(|account| {
            let counts = &account.counts;
            is([counts.received, counts.accepted, counts.quarantined, counts.unchanged])
        })
    });
    if tokio::time::timeout(WAIT, reached).await.is_err() {
        panic!("waited in vain until {what}: {:?}", running.outcomes(ELECTRICITY));
    }
}

/// The stage with a gazetteer of the whole city.
async fn with_gazetteer(site: &Site) -> (Running, GazetteerBuilder) {
    site.produce_city(&city()).await;
    let running = site.run();
    running.received(POLICE, city().len() as u64).await;
    let config = site.config();
    let mut builder = GazetteerBuilder::new(&running.editions, &site.kinds, &site.client, &config).unwrap();
    builder.build().await.unwrap();
    (running, builder)
}

fn row(of: &str) -> StandardAddress {
    city().into_iter().find(|row| row.place == place(of).get() as u64).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_building_that_is_registered_at_last_are_accepted_and_others_are_left_alone() {
    let site = Site::of([POLICE, ELECTRICITY, DISPUTES]).await;
    let (running, mut builder) = with_gazetteer(&site).await;
    let unknown = "南京市鼓楼区上海路12号青禾新村3幢1单元101室";
    let readings = [
        reading("E1", A, "2025-11-03", "3.5"),
        reading("E2", unknown, "2025-11-03", "2"),
        reading("E3", unknown, "2025-11-03", "4"),
        // Said otherwise since: what was refused is not to come true.
        reading("E4", unknown, "2025-11-03", "5"),
        reading("E4", A, "2025-11-03", "5"),
        reading("E5", "无此地址的地方", "2025-11-03", "5"),
    ];
    site.produce(ELECTRICITY, &readings, None).await;
    running.received(ELECTRICITY, 6).await;
    assert_eq!(running.outcomes(ELECTRICITY), [6, 2, 4, 0]);

    let building = |of: &str, like: &str| {
        let like = row(like);
        StandardAddress { place: place(of).get() as u64, building: "3幢".into(), ..like }
    };
    site.produce_city(&[
        building("QH-3", "QH-2"),
        building("QH-3-1", "QH-2-1"),
        building("QH-3-1-101", "QH-2-1-101"),
    ])
    .await;
    running.received(POLICE, city().len() as u64 + 3).await;
    let version = builder.build().await.unwrap().version;
    until("both are accepted", &running, |[_, accepted, ..]| accepted == 4).await;
    assert_eq!(running.outcomes(ELECTRICITY), [8, 4, 4, 0]);
    let stands = standing(&site).await;
    let (a, new) = (place("QH-1-1-101"), place("QH-3-1-101"));
    let at = |meter: &str| stands.get(&format!("{meter}\u{1f}2025-11-03")).copied();
    assert_eq!(["E1", "E2", "E3", "E4", "E5"].map(at), [Some(a), Some(new), Some(new), Some(a), None]);

    running.stop().await;
    let running = site.run();
    let revised = running.accounting.wait_until(|feeds| {
        let account = &feeds[&ELECTRICITY.parse().unwrap()];
        account.partitions.iter().all(|partition| partition.revised_by.as_ref() == Some(&version))
    });
    tokio::time::timeout(WAIT, revised).await.unwrap();
    assert_eq!(running.outcomes(ELECTRICITY), [8, 4, 4, 0], "nothing is asked a second time");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_move_to_the_place_that_took_over_their_address() {
    let site = Site::of([POLICE, ELECTRICITY, DISPUTES]).await;
    let (running, mut builder) = with_gazetteer(&site).await;
    let mut readings: Vec<String> =
        (1..=50).map(|meter| reading(&format!("E{meter}"), A, "2025-11-03", "3.5")).collect();
    readings.push(reading("E99", "青禾新村1幢1单元201室", "2025-11-03", "1"));
    site.produce(ELECTRICITY, &readings, None).await;
    running.received(ELECTRICITY, 51).await;

    // The same door under another number of the police.
    let old = row("QH-1-1-101");
    let new = StandardAddress { place: place("QH-1-1-102").get() as u64, ..old.clone() };
    site.produce_city(&[StandardAddress { status: Status::Withdrawn, ..old }, new]).await;
    running.received(POLICE, city().len() as u64 + 2).await;
    builder.build().await.unwrap();
    until("all have moved", &running, |[_, accepted, ..]| accepted == 101).await;
    assert_eq!(running.outcomes(ELECTRICITY), [101, 101, 0, 0]);
    let stands = standing(&site).await;
    let moved = stands.values().filter(|at| **at == place("QH-1-1-102")).count();
    assert_eq!((moved, stands.len()), (50, 51));
    running.stop().await;
}

#[test]
fn a_gazetteer_that_comes_back_is_another_change() {
    let mut bench = Bench::new(ELECTRICITY);
    let first = bench.editions.subscribe().borrow().clone().unwrap();
    publish(&bench.gazetteer_dir(), &city()[..8]);
    bench.editions.refresh().unwrap();
    let second = bench.editions.subscribe().borrow().clone().unwrap();
    bench.shard.edition = None;
    assert!(bench.shard.take_edition(&first) && !bench.shard.take_edition(&first));
    let revision = bench.shard.record.revision();
    assert!(bench.shard.take_edition(&second));
    assert_ne!(bench.shard.record.revision(), revision);
    // Nothing was judged by the second: what the first was asked for stands.
    assert!(bench.shard.take_edition(&first));
    assert_eq!(bench.shard.record.revision(), revision);
    assert!(bench.shard.take_edition(&second));
    bench.send(&[bench.json(&reading("E1", A, "2025-11-03", "3.5"))]);
    assert!(bench.shard.take_edition(&first));
    assert_ne!(bench.shard.record.revision(), revision);
}

/// The record of one meter's reading, that was said at A, then at a building nobody knows.
fn moved_to_where_nobody_knows() -> (Bench, [Raw; 2], RecordKey) {
    let mut bench = Bench::new(ELECTRICITY);
    let at = |address| bench.json(&reading("E1", address, "2025-11-03", "3.5"));
    let versions = [at(A), at("青禾新村3幢1单元101室")];
    let fact = FactId::derive(&bench.shard.id.feed, std::str::from_utf8(&versions[0].key).unwrap(), 0);
    let key = RecordKey::new(ShardPrefix::new(&bench.shard.id), fact);
    bench.send(&versions);
    assert_eq!(bench.outcomes(), [2, 1, 1, 0]);
    (bench, versions, key)
}

fn waits_since(bench: &Bench, key: RecordKey) -> Option<i64> {
    bench.state.waiting_at(key).unwrap().map(|waiting| waiting.origin)
}

#[test]
fn a_version_waits_on_when_an_earlier_one_is_asked_again() {
    let (mut bench, [first, second], key) = moved_to_where_nobody_knows();
    assert_eq!(waits_since(&bench, key), Some(1));
    // The first is found unchanged, and after that another is refused that came before the second.
    bench.send(&[Raw { origin: Some(0), revised: true, ..first.clone() }]);
    assert_eq!(waits_since(&bench, key), Some(1));
    bench.send(&[Raw { origin: Some(0), ..second.clone() }]);
    assert_eq!(waits_since(&bench, key), Some(1));
    // It is itself asked again, still without an answer.
    bench.send(&[Raw { origin: Some(1), revised: true, ..second.clone() }]);
    assert_eq!(waits_since(&bench, key), Some(1));
    // A third, and the second from quarantine.
    bench.send(&[second.clone(), Raw { origin: Some(1), ..second }]);
    assert_eq!(waits_since(&bench, key), Some(5));
}

#[test]
fn a_version_waits_no_longer_when_its_source_has_said_something_since() {
    let (mut bench, [first, _], key) = moved_to_where_nobody_knows();
    bench.send(std::slice::from_ref(&first));
    assert_eq!(waits_since(&bench, key), None);

    let (mut bench, [first, _], key) = moved_to_where_nobody_knows();
    bench.send(&[Raw::tombstone(&first)]);
    assert_eq!(waits_since(&bench, key), None);
}
