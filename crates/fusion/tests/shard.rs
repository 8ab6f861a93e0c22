//! One shard: frames in, rows, warnings and change log out, whatever is repeated, lost or killed.
#![allow(clippy::unwrap_used)]

mod support;

use support::*;
use yibiao_fusion::{Applier, Incoming, Rules, verify, why};
use yibiao_records::{Change, Operation, PlaceId, Value};
use yibiao_tables::Shard;

/// A dwelling with a month of readings: cubic metres, kWh and cubic metres of gas a day, in thousandths.
struct Home {
    rooms: i64,
    is_rental: bool,
    registered: i64,
    water: i64,
    power: i64,
    gas: i64,
}

fn home(place: PlaceId, home: &Home, days: std::ops::Range<i32>) -> Vec<(String, yibiao_records::Fact)> {
    let mut facts = vec![registration(place, home.rooms, home.is_rental, home.registered)];
    for (kind, amount) in [("water", home.water), ("electricity", home.power), ("gas", home.gas)] {
        // A little up and down, as people live.
        facts.extend(
            days.clone().map(|day| reading(kind, place, day, amount + amount / 20 * i64::from(day % 3 - 1))),
        );
    }
    facts
}

/// Ten people in two rooms, one registered.
const CROWDED: Home =
    Home { rooms: 2, is_rental: true, registered: 1, water: 1_000, power: 16_500, gas: 1_100 };
/// Three people, all registered.
const FAMILY: Home = Home { rooms: 3, is_rental: false, registered: 3, water: 340, power: 6_500, gas: 420 };

fn state_of(shard: &Shard, place: PlaceId) -> String {
    warning(shard, place, "state").to_string()
}

fn changes(shard: &Shard) -> Vec<Change> {
    shard.view().outbox(0).collect::<Result<_, _>>().unwrap()
}

/// Everything that must be equal however the facts came.
fn rows(shard: &Shard, table: &str) -> Vec<Vec<Value>> {
    let view = shard.view();
    let updated_at = view.tables().schema(table).unwrap().column("updated_at").unwrap();
    let rows = view.rows(table).map(|row| {
        let mut row = row.unwrap();
        row[updated_at] = Value::Null;
        row
    });
    rows.collect()
}

async fn setup(dir: &std::path::Path) -> (Shard, Applier, Rules) {
    let tables = tables();
    let shard = open(dir, &tables);
    let mut rules = rules(&tables).await;
    let mut applier = Applier::new(&shard, 1).unwrap();
    applier.refresh(&mut rules).await.unwrap();
    (shard, applier, rules)
}

async fn assert_verified(shard: &Shard, rules: &mut Rules) {
    let verified = verify(&shard.view(), rules).await.unwrap();
    assert_eq!(verified.differences, []);
    assert!(verified.places > 0);
}

#[tokio::test]
async fn a_crowded_rental_is_raised_with_its_evidence_updated_and_cleared_and_its_look_alikes_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut applier, mut rules) = setup(dir.path()).await;
    let look_alikes = [
        ("family", FAMILY),
        ("big family", Home { registered: 8, rooms: 4, water: 780, power: 12_500, gas: 950, ..FAMILY }),
        ("salon", Home { registered: 2, is_rental: true, water: 1_150, power: 17_000, gas: 60, rooms: 2 }),
        ("leak", Home { is_rental: true, registered: 2, water: 2_300, power: 5_500, gas: 300, rooms: 2 }),
        ("heater", Home { is_rental: true, registered: 2, water: 300, power: 26_000, gas: 300, rooms: 2 }),
        ("guests", Home { registered: 2, water: 600, power: 9_800, gas: 800, ..FAMILY }),
        (
            "dormitory",
            Home { is_rental: true, registered: 10, rooms: 3, water: 1_000, power: 16_500, gas: 1_100 },
        ),
        ("empty", Home { is_rental: true, registered: 0, rooms: 2, water: 0, power: 250, gas: 0 }),
    ];
    let mut log = Log::default();
    log.push_all(home(place("crowded"), &CROWDED, 0..20));
    for (name, look_alike) in &look_alikes {
        log.push_all(home(place(name), look_alike, 0..20));
    }
    log.push(vec![hazard(place("family"), 1, 12, "飞线充电", 2)]);
    // One home a batch: water and power without the gas, which speaks against it, would raise the salon for a moment.
    apply(&mut applier, &mut rules, &log, 0, log.frames.len(), 4).await;
    for (name, _) in &look_alikes {
        assert_eq!(warning(&shard, place(name), "rule"), Value::Null, "{name}");
    }
    let crowded = place("crowded");
    assert_eq!(state_of(&shard, crowded), "raised");
    assert_eq!(warning(&shard, crowded, "severity"), Value::Int(2));
    let message = warning(&shard, crowded, "message").to_string();
    assert!(message.contains("登记1人") && message.contains("2间房"), "{message}");
    let evidence = warning(&shard, crowded, "evidence").to_string();
    let evidence: serde_json::Value = serde_json::from_str(&evidence).unwrap();
    assert_eq!(evidence["facts"]["water"].as_array().unwrap().len(), 3);
    assert_eq!(evidence["facts"]["registration"][0]["registered_count"], 1);
    assert!(
        evidence["facts"]["water"][0]["raw"].as_str().unwrap().starts_with("raw.utilities.water-readings/0/")
    );
    assert_eq!(evidence["thresholds"]["people_min"], 6);
    assert!(evidence["numbers"]["people"].as_i64().unwrap() >= 8);
    assert_verified(&shard, &mut rules).await;

    // A worker sees partitions: the same warning becomes graver.
    let from = log.frames.len();
    let id = warning(&shard, crowded, "warning_id");
    log.push(vec![hazard(crowded, 2, 20, "群租隔断", 4)]);
    let applied = apply(&mut applier, &mut rules, &log, from, from + 1, 1).await;
    assert_eq!((applied.raised, applied.updated, applied.cleared), (0, 1, 0));
    assert_eq!(state_of(&shard, crowded), "updated");
    assert_eq!(warning(&shard, crowded, "warning_id"), id);

    // A quiet weekend changes nothing; three weeks of two people clear it.
    let from = log.frames.len();
    let few = Home { water: 250, power: 4_500, gas: 300, ..CROWDED };
    log.push_all(home(crowded, &few, 20..22));
    apply(&mut applier, &mut rules, &log, from, log.frames.len(), 9).await;
    assert_eq!(state_of(&shard, crowded), "updated");
    let from = log.frames.len();
    log.push_all(home(crowded, &few, 22..42));
    let applied = apply(&mut applier, &mut rules, &log, from, log.frames.len(), 9).await;
    assert_eq!((applied.raised, applied.cleared), (0, 1));
    assert_eq!(state_of(&shard, crowded), "cleared");
    assert_eq!(warning(&shard, crowded, "cleared_at"), Value::Timestamp(at(41) - 12 * 3_600_000));
    assert_verified(&shard, &mut rules).await;

    // They come back: a new warning that names the earlier one.
    let from = log.frames.len();
    log.push_all(home(crowded, &CROWDED, 42..62));
    apply(&mut applier, &mut rules, &log, from, log.frames.len(), 9).await;
    assert_eq!(state_of(&shard, crowded), "raised");
    assert_eq!(warning(&shard, crowded, "previous"), id);
    assert_eq!(applier.holding().firing, 1);
    assert_verified(&shard, &mut rules).await;
}

#[tokio::test]
async fn reports_of_one_place_together_raise_a_rule_over_facts() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut applier, mut rules) = setup(dir.path()).await;
    let (clustered, spread) = (place("clustered"), place("spread"));
    let mut log = Log::default();
    for (number, day) in [(1, 0), (2, 30), (3, 60)] {
        log.push(vec![hazard(clustered, number, day, "燃气隐患", 4)]);
        log.push(vec![hazard(spread, number + 10, day * 10, "燃气隐患", 4)]);
    }
    apply(&mut applier, &mut rules, &log, 0, 6, 1).await;
    assert_eq!(warning(&shard, clustered, "rule"), Value::Text("gas_hazard_cluster".into()));
    assert_eq!(warning(&shard, spread, "rule"), Value::Null);
    assert_verified(&shard, &mut rules).await;
}

#[tokio::test]
async fn frames_that_come_again_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut applier, mut rules) = setup(dir.path()).await;
    let mut log = Log::default();
    log.push_all(home(place("a"), &CROWDED, 0..16));
    let once = log.frames.len();
    // A normaliser that died between sending and writing its position sends the same frames again, a zombie also.
    let again = log.frames.clone();
    log.frames.extend(again.iter().cloned());
    log.frames.extend(again);
    apply(&mut applier, &mut rules, &log, 0, once, 2).await;
    let (rows_before, changes_before) = (rows(&shard, "places"), changes(&shard));
    let applied = apply(&mut applier, &mut rules, &log, once, log.frames.len(), 3).await;
    assert_eq!((applied.facts, applied.changes), (0, 0));
    assert_eq!(applied.facts_skipped, 2 * 49);
    assert_eq!(rows(&shard, "places"), rows_before);
    assert_eq!(changes(&shard), changes_before);
    // A reader that was set back gives old messages again.
    let applied = applier.apply(&mut rules, &log.incoming(0, 4)).await.unwrap();
    assert_eq!((applied.frames, applied.frames_skipped), (0, 4));
}

#[tokio::test]
async fn a_kill_between_any_two_batches_ends_in_the_same_rows_and_warnings() {
    let mut log = Log::default();
    for name in ["a", "b", "c"] {
        log.push_all(home(place(name), &CROWDED, 0..18));
        log.push_all(home(place(name), &FAMILY, 18..40));
    }
    log.push(vec![fact("water", place("b"), &format!("water-{}-39", place("b")), 39, vec![])]);
    let dir = tempfile::tempdir().unwrap();
    let expected = {
        let (shard, mut applier, mut rules) = setup(dir.path()).await;
        apply(&mut applier, &mut rules, &log, 0, log.frames.len(), 4).await;
        (rows(&shard, "places"), rows(&shard, "warnings"), changes(&shard).len())
    };
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    while next < log.frames.len() {
        // Opened, one batch written, and dropped without a goodbye: what was read beyond it is read again.
        let (_, mut applier, mut rules) = setup(dir.path()).await;
        let to = (next + 4).min(log.frames.len());
        let batch = log.incoming(next, to);
        applier.apply(&mut rules, &batch).await.unwrap();
        for message in &batch {
            let at = yibiao_records::TopicPartition::new(message.topic.clone(), 0);
            assert!(applier.position(&at).unwrap().get() > message.offset);
        }
        next = to;
    }
    let (shard, _, mut rules) = setup(dir.path()).await;
    assert_eq!((rows(&shard, "places"), rows(&shard, "warnings"), changes(&shard).len()), expected);
    assert_verified(&shard, &mut rules).await;
}

#[tokio::test]
async fn the_change_log_is_dense_and_replaying_it_gives_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut applier, mut rules) = setup(dir.path()).await;
    let mut log = Log::default();
    log.push_all(home(place("a"), &CROWDED, 0..16));
    log.push_all(home(place("b"), &FAMILY, 0..16));
    // Everything about b is taken back.
    let gone = home(place("b"), &FAMILY, 0..16).into_iter();
    log.push_all(
        gone.map(|(kind, fact)| support::fact(&kind, fact.place, &fact.source_key, 0, vec![])).collect(),
    );
    log.push(vec![support::fact("water", place("c"), "never seen", 0, vec![])]);
    let applied = apply(&mut applier, &mut rules, &log, 0, log.frames.len(), 2).await;
    assert_eq!(applied.facts_unknown, 1);

    let changes = changes(&shard);
    let sequences: Vec<u64> = changes.iter().map(|change| change.sequence).collect();
    assert_eq!(sequences, (1..=changes.len() as u64).collect::<Vec<_>>());
    assert_eq!(shard.view().last_sequence(), changes.len() as u64);
    for table in ["places", "warnings"] {
        let mut replayed = std::collections::BTreeMap::new();
        for change in changes.iter().filter(|change| change.table == table) {
            let key = (change.place, if table == "places" { Value::Null } else { change.row[0].clone() });
            match change.operation {
                Operation::Delete => assert!(replayed.remove(&key).is_some()),
                operation => {
                    let before = replayed.insert(key, change.row.clone());
                    assert_eq!(before.is_some(), operation == Operation::Update);
                }
            }
        }
        let mut current: Vec<Vec<Value>> = shard.view().rows(table).collect::<Result<_, _>>().unwrap();
        let mut replayed: Vec<Vec<Value>> = replayed.into_values().collect();
        current.sort();
        replayed.sort();
        assert_eq!(current, replayed, "{table}");
        let by_bucket: usize = (0..4).map(|bucket| shard.view().bucket_rows(table, bucket).count()).sum();
        assert_eq!(by_bucket, current.len());
    }
    assert_eq!(applier.holding().places, 1);
    let deleted: Vec<&Change> =
        changes.iter().filter(|c| c.table == "fact_water" && c.operation == Operation::Delete).collect();
    assert_eq!(deleted.len(), 16);
    assert_ne!(deleted[0].row.last(), Some(&Value::Null), "a retraction says what it retracts");

    // What lies together with later changes stays with them; what is asked for is there in any case.
    let last = changes.len() as u64;
    let mut first_left = vec![1];
    for through in 0..last {
        shard.trim_outbox(through).unwrap();
        let first = |after| shard.view().outbox(after).next().unwrap().unwrap().sequence;
        assert_eq!(first(through), through + 1);
        assert!(first(0) <= through + 1);
        first_left.push(first(0));
    }
    first_left.dedup();
    assert!(first_left.len() > 2, "nothing was trimmed before the end: {first_left:?}");
    shard.trim_outbox(last).unwrap();
    assert_eq!(shard.view().outbox(0).count(), 0);
    assert_eq!(shard.view().last_sequence(), last);
}

#[tokio::test]
async fn a_changed_rule_judges_all_places_again_and_a_removed_one_takes_its_warnings_along() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_, mut applier, mut rules) = setup(dir.path()).await;
        let mut log = Log::default();
        log.push_all(home(place("a"), &CROWDED, 0..20));
        apply(&mut applier, &mut rules, &log, 0, log.frames.len(), 4).await;
        assert!(!applier.refresh(&mut rules).await.unwrap());
    }
    let tables = tables();
    let text = std::fs::read_to_string(pipelines().join("rules/crowded_rental.sql")).unwrap();
    let strict = text.replace("-- param people_min: 6", "-- param people_min: 50");
    for (files, expected) in
        [(vec![("r.sql", strict)], "cleared"), (vec![("r.sql", text)], "raised"), (vec![], "cleared")]
    {
        let shard = open(dir.path(), &tables);
        let mut rules = Rules::parse(files, &tables).await.unwrap();
        let mut applier = Applier::new(&shard, 1).unwrap();
        assert!(applier.refresh(&mut rules).await.unwrap());
        assert_eq!(state_of(&shard, place("a")), expected);
        assert_verified(&shard, &mut rules).await;
    }
}

#[tokio::test]
async fn a_changed_specification_merges_all_rows_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (_, mut applier, mut rules) = setup(dir.path()).await;
        let mut log = Log::default();
        log.push_all(home(place("a"), &FAMILY, 0..20));
        apply(&mut applier, &mut rules, &log, 0, log.frames.len(), 4).await;
    }
    let path = pipelines().join("tables/places.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let more =
        "  - {name: gas_most, type: decimal, title: 最高, merge: max, from: [{kind: gas, column: amount}]}\n";
    let tables = yibiao_tables::Tables::parse(&path, &(text + more), &kinds(), 4).unwrap();
    let shard = open(dir.path(), &tables);
    assert!(
        shard.view().row("places", place("a")).is_err(),
        "rows of another width are not shown as if they fitted"
    );
    let mut rules = rules(&tables).await;
    let mut applier = Applier::new(&shard, 1).unwrap();
    assert!(applier.refresh(&mut rules).await.unwrap());
    assert_eq!(cell(&shard, place("a"), "gas_most"), Value::Decimal(441));
    assert_verified(&shard, &mut rules).await;
}

#[tokio::test]
async fn every_cell_leads_back_to_its_source_records() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut applier, mut rules) = setup(dir.path()).await;
    let mut log = Log::default();
    log.push_all(home(place("a"), &FAMILY, 0..40));
    apply(&mut applier, &mut rules, &log, 0, log.frames.len(), 40).await;
    let view = shard.view();
    let found = why(&view, "places", place("a"), "registered_count").unwrap();
    assert_eq!((found.value, found.facts.len()), (Value::Int(3), 1));
    assert_eq!(found.facts[0]["raw"], "raw.police.housing-registrations/0/0");
    let found = why(&view, "places", place("a"), "water_m3_30d").unwrap();
    assert_eq!(found.facts.len(), 30);
    let sum: f64 = found.facts.iter().map(|fact| fact["amount"].as_f64().unwrap()).sum();
    assert_eq!(Value::Decimal((sum * 1000.0).round() as i64), found.value);
    let sources = cell(&shard, place("a"), "sources").to_string();
    assert!(sources.contains(r#""columns":["area_m2","rooms","is_rental","registered_count"],"feed":"police/housing-registrations""#), "{sources}");
    assert!(why(&view, "places", place("a"), "colour").unwrap_err().to_string().contains("it has place_id"));
}

#[tokio::test]
async fn frames_that_cannot_be_applied_stop_the_stage_and_say_where() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, mut applier, mut rules) = setup(dir.path()).await;
    let topic = std::sync::Arc::from("std.water");
    let bad = Incoming {
        topic: &topic,
        partition: 0,
        offset: 7,
        timestamp_ms: 0,
        header: Some(b"\xff"),
        value: None,
    };
    let error = applier.apply(&mut rules, &[bad]).await.unwrap_err().to_string();
    assert!(error.contains("std.water[0] offset 7 cannot be read"), "{error}");
    drop(applier);
    assert_eq!(shard.view().last_sequence(), 0);
    let error = Applier::new(&shard, 8).err().unwrap().to_string();
    assert!(error.contains("made with 1 std partitions, now there are 8"), "{error}");
    let _held = Applier::new(&shard, 1).unwrap();
    assert!(Applier::new(&shard, 1).err().unwrap().to_string().contains("has a writer already"));
}

#[tokio::test]
async fn rules_that_are_not_about_one_place_are_refused_with_the_line() {
    let tables = tables();
    let rule = |shape: &str, sql: &str| {
        format!(
            "-- rule: r\n-- title: t\n-- version: 1\n-- shape: {shape}\n-- message: \"{{address}}\"\n--\n{sql}"
        )
    };
    for (shape, sql, expected) in [
        ("row", "SELECT place_id, 1 AS severity\nFROM fact_water", "r.sql:8: it reads fact_water"),
        ("row", "SELECT place_id, count(*) AS severity\nFROM places GROUP BY place_id", "r.sql:8: it groups"),
        ("facts", "SELECT 1 AS place_id, 1 AS severity FROM places", "place_id is the place's own"),
        (
            "facts",
            "SELECT max(place_id) AS p, count(*) AS severity FROM fact_water\nGROUP BY raw_topic",
            "r.sql:8: it groups without place_id",
        ),
        (
            "facts",
            "SELECT a.place_id, 1 AS severity FROM places a\nJOIN fact_water b ON a.county = b.feed",
            "r.sql:8: it joins otherwise",
        ),
        ("facts", "SELECT place_id, 1 AS severity FROM places\nLIMIT 5", "limit is not possible"),
        (
            "facts",
            "SELECT place_id, rank() OVER (ORDER BY rooms) AS severity FROM places",
            "not partitioned by place_id",
        ),
        (
            "facts",
            "SELECT place_id, 1 AS severity FROM places WHERE place_id IN (SELECT place_id FROM fact_water)",
            "a subquery",
        ),
        (
            "row",
            "SELECT place_id, 1 AS severity FROM places\nWHERE last_event_on < now()",
            "r.sql:8: now() depends",
        ),
        ("row", "SELECT place_id, 1 AS severity FROM places WHERE rooms > $many", "$many is not given"),
        ("row", "SELECT place_id, county AS severity FROM places", "not a whole number"),
        ("row", "SELECT rooms, 1 AS severity FROM places", "no column place_id"),
        ("row", "SELECT place_id, 1 AS severity\nFROM plaices", "plaices"),
        ("row", "SELECT place_id, 1 AS severity\nFROM places WHERE rooms = = 3", "r.sql:8"),
        ("row", "DELETE FROM places", "exactly one SELECT"),
    ] {
        let error = Rules::parse(vec![("r.sql", rule(shape, sql))], &tables).await.err();
        let error = error.unwrap_or_else(|| panic!("accepted: {sql}")).to_string();
        assert!(error.contains(expected), "{expected}\n  is not in: {error}");
    }
}
