//! Shadows as their users make them: the program as processes, on a broker, beside the real stages.
#![allow(clippy::unwrap_used)]

#[path = "shadow/swap.rs"]
mod swap;
#[path = "shadow/world.rs"]
mod world;

use std::time::Duration;

use serde_json::Value;
use world::{World, case, reading};

/// Ten dwellings with three days of readings each, one of which is broken, and some disputes.
fn first_records(world: &World) {
    world.register(1..=10);
    let mut readings: Vec<String> =
        (1..=10).flat_map(|n| (1..=3).map(move |day| reading(n, n, day, &format!("0.{n}{day}")))).collect();
    readings.push(reading(99, 4, 1, "没有"));
    world.read_water(&readings);
    world.mediate(&[
        case(1, 1, 3),
        case(2, 1, 4),
        case(3, 1, 5),
        case(4, 2, 3),
        case(5, 2, 4),
        case(6, 3, 5),
    ]);
}

/// Corrected, moved, new and broken ones.
fn later_records(world: &World) {
    let moved = [reading(5, 6, 1, "0.51"), reading(1, 1, 1, "9.5"), reading(7, 7, 4, "0.7")];
    world.read_water(&[&moved[..], &[reading(98, 1, 1, "坏")]].concat());
    world.mediate(&[case(7, 3, 6), case(1, 8, 3)]);
}

fn differences(comparison: &Value) -> u64 {
    comparison["differences"].as_u64().unwrap()
}

fn table<'a>(comparison: &'a Value, name: &str) -> &'a Value {
    comparison["tables"].as_array().unwrap().iter().find(|table| table["table"] == name).unwrap()
}

fn rows(comparison: &Value, name: &str) -> u64 {
    table(comparison, name)["compared"].as_u64().unwrap()
}

#[test]
fn unchanged_versions_give_the_same_tables_and_touch_nothing_real() {
    let world = World::new();
    first_records(&world);
    world.run();
    let (ends, data) = (world.ends(), world.data());
    let said = world.shadow(&["same"]);
    assert!(said.contains("holds for every feed"), "{said}");
    assert!(said.contains("utilities/water-readings"), "{said}");
    let comparison = world.compare(&["same", "--level"]);
    assert_eq!(differences(&comparison), 0, "{comparison:#}");
    assert_eq!(rows(&comparison, "fact_water"), 30);
    assert_eq!(rows(&comparison, "places"), 10);
    assert_eq!(comparison["warnings"]["many_disputes"]["compared"], 2);
    assert_eq!(comparison["quarantine"]["utilities/water-readings"]["same"], 1);
    assert_eq!(comparison["notes"].as_array().unwrap().len(), 0, "{comparison:#}");
    let now = world.ends();
    assert!(ends.iter().all(|(of, end)| now.get(of) == Some(end)), "a real topic was written to");
    assert!(
        now.len() > ends.len()
            && now.keys().all(|of| ends.contains_key(of) || of.starts_with("shadow.same."))
    );
    assert!(data == world.data(), "a real file is another than before");

    // The present goes on; the shadow ends where it ended.
    later_records(&world);
    world.run();
    let comparison = world.compare(&["same"]);
    assert_eq!(differences(&comparison), 0, "{comparison:#}");
    assert!(rows(&comparison, "places") < 10, "places of which more is known by now are left out");
    assert!(comparison["notes"][0].as_str().unwrap().contains("left out"), "{comparison:#}");

    world.shadow(&["same", "--extend"]);
    let comparison = world.compare(&["same", "--level"]);
    assert_eq!(differences(&comparison), 0, "{comparison:#}");
    assert_eq!((rows(&comparison, "fact_water"), rows(&comparison, "places")), (31, 10));
    world.assert_no_fact_twice("same");

    world.yibiao(&["shadow", "drop", "same"]);
    assert_eq!(world.topics_of_shadows(), 0);
    assert!(!world.path("data/shadow").exists());
    world.run();
    assert_eq!(world.sql("lake", "select count(*) as n from fact_water")[0]["n"], 34);
}

#[test]
fn while_the_real_stages_go_on_a_shadow_is_made_and_equals_them() {
    let world = World::new();
    first_records(&world);
    world.run();
    let mut stages = world.run_on();
    for round in 0..3 {
        let day = round + 5;
        let news: Vec<String> = (1..=10).map(|n| reading(n, n, day, &format!("0.{n}{day}"))).collect();
        world.read_water(&news);
        let name = format!("beside-{round}");
        world.shadow(&[&name]);
        world.read_water(&[reading(50 + round, 1 + round, 1, "0.5"), reading(1, 2 + round, 1, "0.6")]);
        let comparison = world.compare(&[&name]);
        assert_eq!(differences(&comparison), 0, "{comparison:#}");
        assert!(rows(&comparison, "fact_water") >= 20, "{comparison:#}");
    }
    assert!(stages.is_running(), "the real stages were disturbed");
    stages.stop();
    world.shadow(&["beside-2", "--extend"]);
    world.run();
    world.shadow(&["beside-2", "--extend"]);
    let comparison = world.compare(&["beside-2", "--level"]);
    assert_eq!(differences(&comparison), 0, "{comparison:#}");
    assert_eq!(comparison["notes"].as_array().unwrap().len(), 0, "{comparison:#}");
}

#[test]
fn a_stricter_contract_shows_what_it_would_refuse_and_what_that_changes() {
    let world = World::new();
    first_records(&world);
    world.run();
    let stricter = world.other_pipelines(
        "stricter",
        "feeds/utilities/water-readings.odcs.yaml",
        "maximum: 100000",
        "maximum: 0.9",
    );
    let said = world.shadow(&["stricter", "--pipelines", stricter.to_str().unwrap()]);
    assert!(said.contains("holds for every feed") && said.contains("out_of_range"), "{said}");
    let comparison = world.compare(&["stricter", "--level"]);
    // 0.91, 0.92 and 0.93 of dwelling 9; dwelling 10 has 0.101 and so on.
    let quarantine = &comparison["quarantine"]["utilities/water-readings"];
    assert_eq!(quarantine["only_shadow"]["out_of_range"]["records"], 3, "{comparison:#}");
    assert_eq!(quarantine["same"], 1);
    assert_eq!(quarantine["only_other"].as_object().unwrap().len(), 0);
    let water = table(&comparison, "fact_water");
    assert_eq!(
        (&water["only_other"], &water["only_shadow"], &water["differing"]),
        (&3.into(), &0.into(), &0.into())
    );
    assert!(water["examples"][0]["other"]["amount"].as_str().unwrap().starts_with("0.9"), "{water:#}");
    let places = table(&comparison, "places");
    assert_eq!(places["differing"], 1, "{places:#}");
    assert_eq!(places["columns"]["water_m3_30d"], 1);
    assert_eq!(places["examples"][0]["other"]["water_m3_30d"], "2.760");
    assert_eq!(places["examples"][0]["shadow"]["water_m3_30d"], Value::Null);
    assert_eq!(differences(&comparison), 7);
    let text = world.yibiao(&["shadow", "compare", "stricter", "--level"]);
    assert!(text.contains("water_m3_30d 2.760 -> null") && text.contains("7 differences"), "{text}");
}

#[test]
fn another_rule_shows_which_warnings_it_would_raise_and_clear() {
    let world = World::new();
    first_records(&world);
    world.run();
    for (name, least, raised, cleared) in [("wider", "1", 1, 0), ("narrower", "3", 0, 1)] {
        let rule = format!("disputes_min: {least}");
        let other = world.other_pipelines(name, "rules/many_disputes.sql", "disputes_min: 2", &rule);
        world.shadow(&[name, "--pipelines", other.to_str().unwrap()]);
        let comparison = world.compare(&[name, "--level"]);
        let warnings = &comparison["warnings"]["many_disputes"];
        assert_eq!((&warnings["only_shadow"], &warnings["only_other"]), (&raised.into(), &cleared.into()));
        assert_eq!(differences(&comparison), 1, "{comparison:#}");
    }
    // Two shadows of the same records are compared whole.
    let comparison = world.compare(&["wider", "--with", "narrower"]);
    assert_eq!(comparison["warnings"]["many_disputes"]["only_shadow"], 2, "{comparison:#}");
    assert_eq!(differences(&comparison), 2);
}

#[test]
fn another_gazetteer_shows_which_facts_would_lie_elsewhere() {
    let world = World::new();
    first_records(&world);
    world.run();
    let before = world.gazetteer();
    world.register(11..=12);
    world.read_water(&[reading(11, 11, 1, "0.4"), reading(12, 12, 1, "0.5")]);
    world.run();
    assert_ne!(before, world.gazetteer());
    world.shadow(&["before", "--gazetteer", &before]);
    let comparison = world.compare(&["before", "--level"]);
    assert_eq!(comparison["gazetteer"]["version"], before.as_str());
    let water = table(&comparison, "fact_water");
    let (refused, elsewhere) = (water["only_other"].as_u64().unwrap(), water["differing"].as_u64().unwrap());
    assert_eq!(refused + elsewhere, 2, "{comparison:#}");
    let own = world.shadow(&["own", "--gazetteer", "own"]);
    assert!(own.contains("of its own standard addresses"), "{own}");
    let comparison = world.compare(&["own", "--level"]);
    assert_eq!(differences(&comparison), 0, "{comparison:#}");
    let unknown = world.refused(&["shadow", "run", "unknown", "--gazetteer", "no-such"]);
    assert!(unknown.contains("no-such"), "{unknown}");
    assert!(!world.path("data/shadow/unknown").exists(), "what was refused leaves nothing");
}

#[test]
fn killed_between_any_two_writes_it_is_continued_without_a_loss_or_a_repetition() {
    let world = World::new();
    first_records(&world);
    later_records(&world);
    world.run();
    for (number, point) in [
        "normalise-sent:1",
        "normalise-acknowledged:2",
        "normalise-committed:1",
        "gazetteer-written:1",
        "gazetteer-in-force:1",
        "fusion-applied:2",
        "fusion-committed:1",
        "project-changes-committed:1",
        "project-buckets-written:1",
        "project-trimmed:1",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("killed-{number}");
        world.shadow_dies(point, &[&name, "--gazetteer", "own"]);
        let refused = world.refused(&["shadow", "compare", &name]);
        assert!(refused.contains("is not complete"), "{refused}");
        let said = world.shadow(&[&name]);
        assert!(said.contains("holds for every feed"), "{point}: {said}");
        let comparison = world.compare(&[&name, "--level"]);
        assert_eq!(differences(&comparison), 0, "{point}: {comparison:#}");
        world.assert_no_fact_twice(&name);
        world.yibiao(&["shadow", "drop", &name]);
    }
    assert_eq!(world.topics_of_shadows(), 0);
}

#[test]
fn a_time_range_or_some_feeds_are_compared_as_far_as_both_have_read_them() {
    let world = World::new();
    first_records(&world);
    world.run();
    std::thread::sleep(Duration::from_millis(20));
    let between = chrono::Utc::now().to_rfc3339();
    std::thread::sleep(Duration::from_millis(20));
    later_records(&world);
    world.run();

    world.shadow(&["early", "--to", &between]);
    let comparison = world.compare(&["early"]);
    assert_eq!(differences(&comparison), 0, "{comparison:#}");
    assert_eq!(rows(&comparison, "fact_water"), 30, "what was said later of the same facts does not count");
    assert_eq!(comparison["quarantine"]["utilities/water-readings"]["same"], 1);

    world.shadow(&["late", "--from", &between]);
    let comparison = world.compare(&["late", "--level"]);
    assert_eq!(differences(&comparison), 0, "{comparison:#}");
    assert_eq!(rows(&comparison, "fact_water"), 3);
    assert_eq!(table(&comparison, "fact_water")["outside"], 28);
    assert_eq!(rows(&comparison, "places"), 0, "every place has an address that was not read");

    let feed = ["--feed", "utilities/water-readings"];
    let said = world.shadow(&["water", feed[0], feed[1]]);
    assert!(!said.contains("justice/mediation-cases"), "{said}");
    let comparison = world.compare(&["water", "--level"]);
    assert_eq!(differences(&comparison), 0, "{comparison:#}");
    assert_eq!((rows(&comparison, "fact_water"), rows(&comparison, "places")), (31, 0));
    let unequal = world.refused(&["shadow", "compare", "water", "--with", "late"]);
    assert!(unequal.contains("have not read the same records"), "{unequal}");

    let stricter = world.other_pipelines(
        "stricter",
        "feeds/utilities/water-readings.odcs.yaml",
        "maximum: 100000",
        "maximum: 9",
    );
    world.shadow(&["water-stricter", feed[0], feed[1], "--pipelines", stricter.to_str().unwrap()]);
    let comparison = world.compare(&["water-stricter", "--with", "water"]);
    let water = table(&comparison, "fact_water");
    assert_eq!(
        water["differing"], 1,
        "the reading of 9.5 is refused, and what it corrected stays: {comparison:#}"
    );
    assert_eq!(table(&comparison, "places")["differing"], 1, "{comparison:#}");
}

#[test]
fn a_shadow_goes_on_only_with_what_it_was_begun_with() {
    let world = World::new();
    first_records(&world);
    world.run();
    let other =
        world.other_pipelines("other", "rules/many_disputes.sql", "disputes_min: 2", "disputes_min: 3");
    let other_path = other.to_str().unwrap();
    world.shadow_dies("normalise-committed:1", &["begun", "--pipelines", other_path]);
    let refused = world.refused(&["shadow", "run", "begun", "--feed", "utilities/water-readings"]);
    assert!(refused.contains("was begun with other feeds"), "{refused}");
    let rule = other.join("rules/many_disputes.sql");
    let text = std::fs::read_to_string(&rule).unwrap();
    std::fs::write(&rule, text.replace("disputes_min: 3", "disputes_min: 1")).unwrap();
    let refused = world.refused(&["shadow", "run", "begun"]);
    assert!(refused.contains("is another than when the shadow begun was begun"), "{refused}");
    std::fs::write(&rule, text).unwrap();
    world.shadow(&["begun", "--pipelines", other_path]);
    let list = world.yibiao(&["shadow", "list"]);
    assert!(list.contains("shadow begun: ") && list.contains(", complete"), "{list}");
    let none = world.refused(&["shadow", "compare", "nothing"]);
    assert!(none.contains("there is no shadow nothing"), "{none}");
}

#[test]
fn one_process_at_a_time_has_a_shadow() {
    let world = World::new();
    first_records(&world);
    world.run();
    world.shadow(&["held"]);
    let lock = std::fs::File::open(world.path("data/shadow/held/lock")).unwrap();
    lock.lock().unwrap();
    for args in [&["shadow", "run", "held"][..], &["shadow", "drop", "held"], &["shadow", "compare", "held"]]
    {
        let refused = world.refused(args);
        assert!(refused.contains("in use by another process"), "{refused}");
    }
    drop(lock);
    world.yibiao(&["shadow", "drop", "held"]);
}
