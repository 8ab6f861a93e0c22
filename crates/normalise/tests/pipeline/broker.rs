//! The stage as it runs: topics, threads, gazetteers, restarts, replays.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio_util::sync::CancellationToken;
use yibiao_address::StandardAddress;
use yibiao_broker::Broker;
use yibiao_normalise::{Editions, Error, GazetteerBuilder, GazetteerFolder, Normaliser, replay};
use yibiao_records::{Fact, NextOffset, RawPosition, Reason, Statement, TopicPartition};
use yibiao_topics::{ClientConfig, Layout, Outgoing};

use crate::{
    site::{Site, WAIT, external_ids},
    support::{DISPUTES, ELECTRICITY, POLICE, city, contract, dispute, place, publish, reading},
};

const A: &str = "南京市鼓楼区上海路12号青禾新村1幢1单元101室";

#[tokio::test(flavor = "multi_thread")]
async fn readings_wait_for_a_gazetteer_then_flow_and_a_restart_goes_on_where_it_was() {
    let site = Site::start().await;
    let readings: Vec<String> =
        (1..=20).map(|meter| reading(&format!("E{meter}"), A, "2025-11-03", "3.5")).collect();
    site.produce(ELECTRICITY, &readings, None).await;
    site.produce_city(&city()).await;
    let running = site.run();
    running.received(POLICE, city().len() as u64).await;
    assert!(running.accounting.feeds()[&ELECTRICITY.parse().unwrap()].waits_for_gazetteer);
    let places = site.facts("place").await;
    assert_eq!(places.len(), city().len());

    let config = site.config();
    let mut builder = GazetteerBuilder::new(&running.editions, &site.kinds, &site.client, &config).unwrap();
    let first = builder.build().await.unwrap();
    assert_eq!((first.facts_read, first.standard_addresses), (places.len() as u64, places.len() as u64));
    assert!(first.is_new && !builder.build().await.unwrap().is_new, "the same facts give the same gazetteer");
    running.received(ELECTRICITY, 20).await;
    assert_eq!(running.outcomes(ELECTRICITY), [20, 20, 0, 0]);
    for (_, fact) in site.facts("electricity").await {
        assert_eq!((fact.place, fact.match_reason.as_str()), (place("QH-1-1-101"), "exact"));
        assert_eq!(fact.division_code, "320106000000");
    }

    // A room more, as an increment: a new gazetteer is taken at a batch boundary.
    let room = city().into_iter().find(|row| row.place == place("QH-1-1-201").get() as u64).unwrap();
    let room = StandardAddress { place: place("QH-1-1-301").get() as u64, room: "301室".into(), ..room };
    site.produce_city(&[room]).await;
    running.received(POLICE, city().len() as u64 + 1).await;
    let second = builder.build().await.unwrap();
    assert_eq!((second.is_new, second.is_overlay, second.facts_read), (true, true, 1));
    assert!(
        second.version.starts_with(&format!("{}+", first.version)),
        "one room is laid over what there is"
    );
    let again = builder.build().await.unwrap();
    assert_eq!((again.is_new, &again.version), (false, &second.version));
    site.produce(ELECTRICITY, &[reading("E99", "青禾新村1幢1单元301室", "2025-11-03", "1")], None).await;
    running.received(ELECTRICITY, 21).await;
    let facts = site.facts("electricity").await;
    assert!(facts.iter().any(|(_, fact)| fact.place == place("QH-1-1-301") && !fact.provisional));

    let before = running.stop().await.feeds();
    let running = site.run();
    let counts = |feeds: &BTreeMap<_, yibiao_normalise::FeedAccount>| {
        feeds
            .iter()
            .map(|(feed, account): (&yibiao_records::FeedId, _)| (feed.clone(), account.counts.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&running.accounting.feeds()), counts(&before));
    site.produce(ELECTRICITY, &readings, None).await;
    running.received(ELECTRICITY, 41).await;
    assert_eq!(running.outcomes(ELECTRICITY), [41, 21, 0, 20]);
    let accounting = running.stop().await;
    let account = &accounting.feeds()[&ELECTRICITY.parse().unwrap()];
    let used = account.partitions.iter().filter(|partition| partition.next > NextOffset::START);
    assert!(
        used.clone().all(|partition| partition.gazetteer_version.as_deref() == Some(second.version.as_str()))
    );
    let read: i64 = used.map(|partition| partition.next.get()).sum();
    assert_eq!(read as u64, account.counts.received, "every offset has one outcome");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_takes_no_fact_of_raw_records_that_were_gathered_over_other_topics() {
    let site = Site::start().await;
    let running = site.run();
    site.produce_city(&city()).await;
    running.received(POLICE, city().len() as u64).await;
    let folder = GazetteerFolder::new(site.dir.path().join("other")).unwrap();
    let editions = Editions::open(folder).unwrap();
    let mut builder = GazetteerBuilder::new(&editions, &site.kinds, &site.client, &site.config()).unwrap();
    let raw = site.contracts[POLICE].feed.raw_topic();
    let mut gathered = Vec::new();
    for partition in 0..site.client.partitions(&raw).await.unwrap() as i32 {
        let of = TopicPartition::new(raw.as_str(), partition);
        gathered.push((of.clone(), site.client.watermarks(&of).await.unwrap().high));
    }
    builder.read_on_from(&gathered).unwrap();
    assert!(matches!(builder.build().await, Err(Error::NoStandardAddresses { .. })));
    let room = city().into_iter().find(|row| row.place == place("QH-1-1-201").get() as u64).unwrap();
    let room = StandardAddress { place: place("QH-1-1-301").get() as u64, room: "301室".into(), ..room };
    site.produce_city(&[room]).await;
    running.received(POLICE, city().len() as u64 + 1).await;
    assert_eq!(builder.build().await.unwrap().standard_addresses, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gazetteer_knows_former_names_and_when_places_were_withdrawn() {
    const NAMES: &str = "civil-affairs/place-names";
    let site = Site::of([POLICE, NAMES, ELECTRICITY]).await;
    let running = site.run();
    site.produce_city(&city()).await;
    let renamed = "DM-1,住宅区,青禾新村,红旗新村,鼓楼区,,更名,1998-05-01,2025-10-20".to_owned();
    let columns = "地名代码,类别,标准名称,曾用名,所在区县,所在街道,状态,启用日期,变更日期";
    site.produce(NAMES, &[renamed], Some(columns)).await;
    running.received(POLICE, city().len() as u64).await;
    running.received(NAMES, 1).await;
    let mut builder =
        GazetteerBuilder::new(&running.editions, &site.kinds, &site.client, &site.config()).unwrap();
    let report = builder.build().await.unwrap();
    assert_eq!((report.name_changes, report.built.name_changes_unused, report.built.withdrawn), (1, 0, 1));
    let other = "DM-2,住宅区,望月苑,望江苑,鼓楼区,,更名,1998-05-01,2025-10-20".to_owned();
    site.produce(NAMES, &[other], Some(columns)).await;
    running.received(NAMES, 2).await;
    let report = builder.build().await.unwrap();
    assert!(!report.is_overlay, "a new name may change any place");
    assert_eq!((report.is_new, report.name_changes), (true, 2));

    // Withdrawn on 2025-11-01 at 8 in the morning.
    let gone = "南京市鼓楼区上海路12号青禾新村2幢1单元102室";
    let records = [
        reading("E1", "鼓楼区红旗新村1幢1单元101室", "2025-11-03", "1"),
        reading("E2", gone, "2025-11-01", "1"),
        reading("E3", gone, "2025-11-02", "1"),
    ];
    site.produce(ELECTRICITY, &records, None).await;
    running.received(ELECTRICITY, 3).await;
    assert_eq!(running.outcomes(ELECTRICITY), [3, 2, 1, 0]);
    let accounts = running.stop().await.feeds();
    assert_eq!(accounts[&ELECTRICITY.parse().unwrap()].counts.reasons["place_withdrawn"], 1);
    let facts = site.facts("electricity").await;
    let of =
        |meter: &str| facts.iter().find(|(_, fact)| fact.source_key.starts_with(meter)).unwrap().1.clone();
    assert_eq!((of("E1").place, of("E1").match_reason.as_str()), (place("QH-1-1-101"), "renamed"));
    assert_eq!(of("E2").place, place("QH-2-1-102"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_acknowledgement_and_commit_sends_the_same_facts_once_more() {
    let site = Site::start().await;
    site.produce_city(&city()).await;
    let deaths = Arc::new(AtomicU32::new(0));
    let count = deaths.clone();
    let dies = site.open().before_commit(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        false
    }));
    let accounting = dies.accounting();
    let error = dies.run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::StoppedByTest), "{error}");
    assert!(deaths.load(Ordering::Relaxed) >= 1);
    assert_eq!(accounting.total().received, 0, "nothing was committed");
    let lost = site.facts("place").await.len();
    assert!(lost > 0, "but something was sent");

    let running = site.run();
    running.received(POLICE, city().len() as u64).await;
    running.stop().await;
    let mut by_position: BTreeMap<(i32, RawPosition), Fact> = BTreeMap::new();
    let sent = site.facts("place").await;
    assert_eq!(sent.len(), lost + city().len());
    for (partition, fact) in sent {
        match by_position.get(&(partition, fact.raw)) {
            Some(first) => assert_eq!(first, &fact, "a repetition says the same"),
            None => {
                by_position.insert((partition, fact.raw), fact);
            }
        }
    }
    assert_eq!(by_position.len(), city().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_ends_under_the_old_gazetteer_what_it_may_have_sent_under_it() {
    let site = Site::start().await;
    let folder = site.dir.path().join("gazetteer");
    let old = publish(&folder, &city());
    let unknown_room = |meter: &str| reading(meter, "青禾新村1幢1单元301室", "2025-11-03", "1");
    site.produce(ELECTRICITY, &[unknown_room("E1")], None).await;
    let error =
        site.open().before_commit(Arc::new(|| false)).run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::StoppedByTest), "{error}");

    let room = city().into_iter().find(|row| row.place == place("QH-1-1-201").get() as u64).unwrap();
    let known = place("QH-1-1-301");
    let room = StandardAddress { place: known.get() as u64, room: "301室".into(), ..room };
    let new = publish(&folder, &[city(), vec![room]].concat());
    assert_ne!(old, new);
    let running = site.run();
    running.received(ELECTRICITY, 1).await;
    site.produce(ELECTRICITY, &[unknown_room("E3"), unknown_room("E4")], None).await;
    // E1 is asked again, as it has another place now.
    running.received(ELECTRICITY, 4).await;
    running.stop().await;
    let facts = site.facts("electricity").await;
    let places = |meter: &str| {
        let of = facts.iter().map(|(_, fact)| fact).filter(|fact| fact.source_key.starts_with(meter));
        of.map(|fact| (fact.raw, (fact.statement, fact.place == known))).collect::<BTreeMap<_, _>>()
    };
    for meter in ["E3", "E4"] {
        assert!(places(meter).values().all(|(_, is_known)| *is_known), "{meter}");
    }
    let e1: Vec<_> = places("E1").into_values().collect();
    let (assert, retract) = (Statement::Assert, Statement::Retract);
    assert_eq!(e1, [(assert, false), (retract, false), (assert, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantined_records_are_replayed_once_by_their_reason() {
    let site = Site::start().await;
    let half: Vec<_> = city().into_iter().filter(|row| row.county != "秦淮区").collect();
    site.produce_city(&city()).await;
    let running = site.run();
    running.received(POLICE, city().len() as u64).await;
    let mut builder =
        GazetteerBuilder::new(&running.editions, &site.kinds, &site.client, &site.config()).unwrap();
    builder.build().await.unwrap();
    let namesake = "南京市云杉花园1幢1单元101室";
    let mut records: Vec<String> = (0..10).map(|case| dispute(&format!("C{case}"), namesake)).collect();
    records.push(dispute("C10", ""));
    records.push(dispute("C11", A));
    site.produce(DISPUTES, &records, None).await;
    running.received(DISPUTES, 12).await;
    assert_eq!(running.outcomes(DISPUTES), [12, 1, 11, 0]);
    for message in site.read("quarantine.justice.mediation-cases").await {
        let rejection = message.rejection().unwrap().unwrap();
        assert_eq!(rejection.topic, "raw.justice.mediation-cases");
        assert!(
            records.iter().any(|record| record.as_bytes() == message.value().unwrap()),
            "the bytes as they came"
        );
        assert_eq!(message.provenance().unwrap().unwrap().feed, DISPUTES);
    }

    // The namesake in 秦淮区 was a mistake: it is withdrawn by tombstones, which leaves one 云杉花园.
    let ids = external_ids();
    let producer = site.client.producer().unwrap();
    for row in city().iter().filter(|row| row.county == "秦淮区") {
        let (topic, key) = ("raw.police.standard-addresses", ids[&row.place].as_bytes());
        producer.send(Outgoing { topic, key: Some(key), ..Outgoing::default() }).unwrap();
    }
    producer.flush().await.unwrap();
    let withdrawn = (city().len() - half.len()) as u64;
    running.received(POLICE, city().len() as u64 + withdrawn).await;
    let retracted =
        site.facts("place").await.into_iter().filter(|(_, fact)| fact.statement == Statement::Retract);
    assert_eq!(retracted.count() as u64, withdrawn);
    assert_eq!(builder.build().await.unwrap().standard_addresses, half.len() as u64);

    // They are asked again by themselves; who replays them all the same changes nothing.
    running.received(DISPUTES, 22).await;
    assert_eq!(running.outcomes(DISPUTES), [22, 11, 11, 0]);
    let feed = DISPUTES.parse().unwrap();
    let first = replay(&site.client, &feed, &[Reason::AddressAmbiguous]).await.unwrap();
    assert_eq!((first.sent_total(), first.read, first.skipped), (10, 11, 0));
    running.received(DISPUTES, 32).await;
    assert_eq!(running.outcomes(DISPUTES), [32, 11, 11, 10]);
    assert_eq!(replay(&site.client, &feed, &[Reason::AddressAmbiguous]).await.unwrap().sent_total(), 0);
    let all = replay(&site.client, &feed, &[]).await.unwrap();
    assert_eq!(all.sent, BTreeMap::from([("empty_address".to_owned(), 1)]));
    running.received(DISPUTES, 33).await;
    assert_eq!(running.outcomes(DISPUTES), [33, 11, 12, 10]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_long_to_be_sent_with_its_rejection_goes_to_quarantine_by_its_beginning() {
    let site = Site::start().await;
    let running = site.run();
    let limit = ClientConfig::default().max_record_bytes as usize;
    // As near to the limit as the broker takes it, and nothing that compresses.
    let mut noise = 1u32;
    let value: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    })
    .take(limit - 200)
    .collect();
    let producer = site.client.producer().unwrap();
    let topic = "raw.police.standard-addresses";
    let record = Outgoing { topic, key: Some(b"long"), value: Some(&value), ..Outgoing::default() };
    producer.send(record).unwrap();
    producer.flush().await.unwrap();
    running.received(POLICE, 1).await;
    assert_eq!(running.outcomes(POLICE), [1, 0, 1, 0]);
    let messages = site.read("quarantine.police.standard-addresses").await;
    let rejection = messages[0].rejection().unwrap().unwrap();
    assert_eq!(
        (rejection.reason.as_str(), rejection.topic.as_str(), rejection.offset),
        ("too_large", topic, 0)
    );
    assert_eq!(messages[0].value().unwrap(), &value[..64 << 10]);
    // Its bytes are not all there: it is not replayed.
    let replayed = replay(&site.client, &POLICE.parse().unwrap(), &[]).await.unwrap();
    assert_eq!((replayed.sent_total(), replayed.skipped), (0, 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_away_and_comes_back_loses_nothing() {
    let mut site = Site::start().await;
    let running = site.run();
    let (first, second) = (&city()[..10], &city()[10..]);
    site.produce_city(first).await;
    running.received(POLICE, 10).await;
    let broker = site.broker.take().unwrap();
    let listen = broker.bootstrap().parse().unwrap();
    broker.stop().await.unwrap();
    let config =
        yibiao_broker::Config { listen, ..yibiao_broker::Config::new(site.dir.path().join("broker")) };
    site.broker = Some(Broker::start(config).await.unwrap());
    site.produce_city(second).await;
    running.received(POLICE, city().len() as u64).await;
    assert_eq!(running.outcomes(POLICE)[1..], [city().len() as u64, 0, 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_std_topic_with_another_number_of_partitions_is_refused() {
    let site = Site::start().await;
    let narrow = Layout { std_partitions: 2, ..Layout::default() }.std("water");
    site.client.ensure(&[narrow]).await.unwrap();
    let kinds = site.kinds.clone();
    let contracts = vec![site.contracts[POLICE].clone(), contract("utilities/water-readings", &kinds)];
    let layout = Layout::default();
    let water = &contracts[1].feed;
    site.client.ensure(&[layout.raw(water), layout.quarantine(water)]).await.unwrap();
    let (state, gazetteer) = (site.dir.path().join("state"), site.dir.path().join("gazetteer"));
    let normaliser =
        Normaliser::open(site.config(), contracts, kinds, site.client.clone(), &state, &gazetteer).unwrap();
    let error = normaliser.run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Partitions { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_death_another_contract_waits_until_what_was_sent_by_the_former_is_committed() {
    let mut site = Site::start().await;
    site.produce_city(&city()).await;
    let stop = CancellationToken::new();
    let ended = site.open().before_commit(Arc::new(|| false)).run(stop).await;
    assert!(matches!(ended, Err(Error::StoppedByTest)), "{ended:?}");

    let running = site.run();
    running.received(POLICE, city().len() as u64).await;
    running.stop().await;
    let former = site.contracts[POLICE].clone();
    let mut changed = (*former).clone();
    changed.version = "2.0.0".into();
    site.contracts.insert(POLICE, Arc::new(changed));
    // After an order to stop, another contract is taken as it is.
    site.run().stop().await;

    site.produce_city(&city()).await;
    let ended = site.open().before_commit(Arc::new(|| false)).run(CancellationToken::new()).await;
    assert!(matches!(ended, Err(Error::StoppedByTest)), "{ended:?}");
    site.contracts.insert(POLICE, former);
    let refused = site.open().run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, Error::ContractChanged { .. }), "{refused}");
    assert!(refused.to_string().contains("2.0.0"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_order_right_after_a_death_leaves_owed_what_was_owed() {
    let mut site = Site::start().await;
    site.produce_city(&city()).await;
    let ended = site.open().before_commit(Arc::new(|| false)).run(CancellationToken::new()).await;
    assert!(matches!(ended, Err(Error::StoppedByTest)), "{ended:?}");
    // Stopped before it has read anything of what was sent.
    let stop = CancellationToken::new();
    stop.cancel();
    site.open().run(stop).await.unwrap();

    let former = site.contracts[POLICE].clone();
    let mut changed = (*former).clone();
    changed.version = "2.0.0".into();
    let changed = Arc::new(changed);
    site.contracts.insert(POLICE, changed.clone());
    let opened = site.open().run(CancellationToken::new());
    let refused = tokio::time::timeout(WAIT, opened).await.expect("it is refused").unwrap_err();
    assert!(matches!(refused, Error::ContractChanged { .. }), "{refused}");
    site.contracts.insert(POLICE, former);
    let running = site.run();
    running.received(POLICE, city().len() as u64).await;
    running.stop().await;
    site.contracts.insert(POLICE, changed);
    site.run().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_stop_in_the_midst_of_a_batch_leaves_the_stage_at_rest() {
    let mut site = Site::start().await;
    site.produce_city(&city()).await;
    let stop = CancellationToken::new();
    let ordered = stop.clone();
    let hook = Arc::new(move || {
        ordered.cancel();
        true
    });
    site.open().before_commit(hook).run(stop).await.unwrap();
    let mut changed = (*site.contracts[POLICE]).clone();
    changed.version = "2.0.0".into();
    site.contracts.insert(POLICE, Arc::new(changed));
    site.produce_city(&city()).await;
    let running = site.run();
    running.received(POLICE, 2 * city().len() as u64).await;
    running.stop().await;
}
