//! A shadow's tables in the place of the present ones, and what goes on with them.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    first_records, later_records,
    world::{World, case, reading},
};

const CONTRACT: &str = "feeds/utilities/water-readings.odcs.yaml";
const RULE: &str = "rules/many_disputes.sql";

/// Readings of more than 0.9 are refused, and three disputes are many.
fn stricter(world: &World) -> PathBuf {
    let folder = world.other_pipelines("stricter", CONTRACT, "maximum: 100000", "maximum: 0.9");
    let rule = folder.join(RULE);
    let text = std::fs::read_to_string(&rule).unwrap();
    std::fs::write(rule, text.replace("disputes_min: 2", "disputes_min: 3")).unwrap();
    folder
}

/// New dwellings, and readings and disputes of them and of others, some of which the stricter contract refuses.
fn last_records(world: &World) {
    world.register(11..=12);
    let readings = [
        reading(11, 11, 1, "0.4"),
        reading(12, 12, 1, "0.95"),
        reading(9, 9, 4, "0.8"),
        reading(97, 1, 1, "坏"),
        reading(2, 3, 1, "0.5"),
    ];
    world.read_water(&readings);
    world.mediate(&[case(8, 2, 7), case(9, 2, 8), case(10, 11, 8)]);
}

/// What the tables say, but for when and in which batch it was recorded: that decides about warnings that do not fire any more.
fn tables(world: &World) -> Value {
    let rows = |query: &str| world.sql("lake", query);
    let facts = |kind: &str| {
        rows(&format!(
            "select * except (sequence, recorded_at) from fact_{kind} order by raw_partition, raw_offset, raw_index, statement"
        ))
    };
    let quarantine = world.yibiao(&["quarantine", "show", "utilities/water-readings", "--examples", "9"]);
    let mut refused: Vec<&str> = quarantine.lines().collect();
    refused.sort_unstable();
    let facts: Vec<Value> = ["place", "water", "dispute"].map(facts).into();
    serde_json::json!({
        "places": rows("select * except (updated_at) from places order by place_id"),
        "warnings": rows("select warning_id, rule, place_id, severity from warnings where state <> 'cleared' order by 1"),
        "facts": facts,
        "accounting": serde_json::from_str::<Value>(&world.yibiao(&["accounting", "--json"])).unwrap(),
        "quarantine": refused,
    })
}

/// An installation that was by these pipelines from the first record on.
fn from_the_start(pipelines: impl Fn(&World) -> PathBuf) -> Value {
    let world = World::new();
    world.use_pipelines(&pipelines(&world));
    for records in [first_records, later_records, last_records] {
        records(&world);
        world.run();
    }
    tables(&world)
}

/// The centre has what the tables say, once.
fn assert_delivered(world: &World) {
    for query in [
        "select * except (sources) from places order by place_id",
        "select shard, sequence, operation, place_id, water_m3_30d from places_changes order by 1, 2",
        "select shard, sequence, operation, warning_id, state from warnings_changes order by 1, 2",
        "select fact_id, raw_partition, raw_offset, raw_index, statement, amount from fact_water order by 1, 2, 3, 4",
    ] {
        let found = world.sql("deliveries/nanjing", query);
        assert_same_rows(&found, &world.sql("lake", query), query);
        assert!(!found.as_array().unwrap().is_empty() || query.contains("warnings"), "{query}");
    }
}

fn assert_same(found: &Value, expected: &Value, what: &str) {
    for (part, expected) in expected.as_object().unwrap() {
        assert_same_rows(&found[part], expected, &format!("{what}: {part}"));
    }
}

/// Says the first that differs, rather than all.
fn assert_same_rows(found: &Value, expected: &Value, what: &str) {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            for (found, expected) in found.iter().zip(expected) {
                assert_same_rows(found, expected, what);
            }
            assert_eq!(found.len(), expected.len(), "{what}");
        }
        (found, expected) => assert_eq!(found, expected, "{what}"),
    }
}

#[test]
fn what_is_swapped_in_goes_on_as_if_it_had_been_there_from_the_start() {
    let world = World::new();
    world.deliver_to_nanjing();
    first_records(&world);
    world.run();
    let other = stricter(&world);
    world.shadow(&["strict", "--pipelines", other.to_str().unwrap()]);
    later_records(&world);
    world.run();
    let frames = world.frames();
    let (before, told) = (tables(&world), world.told());
    assert_delivered(&world);

    let refused = world.refused(&["shadow", "swap", "strict"]);
    assert!(refused.contains("put the feeds, facts, tables and rules of"), "{refused}");
    world.use_pipelines(&other);
    let said = world.yibiao(&["shadow", "swap", "strict"]);
    assert!(said.contains("data/former/strict"), "{said}");
    assert_eq!(world.topics_of_shadows(), 0);
    assert!(!world.path("data/shadow").exists());
    assert_ne!(tables(&world)["places"], before["places"]);

    // The centre is told anew, and also that what it was told of three dwellings does not hold: none has three disputes now.
    world.run();
    assert_delivered(&world);
    let anew = &world.told()[told.len()..];
    let firing = |of: &[(String, String)]| {
        let last: BTreeMap<String, String> = of.iter().cloned().collect();
        last.into_iter().filter(|(_, state)| state != "cleared").map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!((firing(&told).len(), firing(&world.told()).len()), (3, 0), "{told:?} {anew:?}");
    assert!(anew.iter().all(|(id, _)| told.iter().any(|(told, _)| told == id)), "{anew:?}");
    world.run();
    assert_eq!(world.told().len(), told.len() + anew.len(), "told once");

    // Whatever the former normaliser has sent comes once more, and late.
    world.send(&frames);
    last_records(&world);
    world.run();
    assert_same(&tables(&world), &from_the_start(stricter), "after the swap");
    world.assert_no_fact_twice_in("lake");
    assert_delivered(&world);
    let standing = world.sql("lake", "select warning_id from warnings where state <> 'cleared' order by 1");
    let standing: Vec<&str> =
        standing.as_array().unwrap().iter().map(|row| row["warning_id"].as_str().unwrap()).collect();
    assert_eq!(firing(&world.told()), standing);

    // Nothing new: nothing changes.
    let after = tables(&world);
    world.run();
    assert_same(&tables(&world), &after, "once more");
    // A shadow of the present finds it equal, also what is in quarantine.
    world.shadow(&["again"]);
    let comparison = world.compare(&["again", "--level"]);
    assert_eq!(comparison["differences"], 0, "{comparison:#}");

    // What the std topics hold of before the swap is not taken for the history of a shard that has lost its state.
    std::fs::remove_dir_all(world.path("data/state/fusion/shard-1")).unwrap();
    std::fs::remove_dir_all(world.path("data/lake")).unwrap();
    let refused = world.refused(&["run", "--once", "--metrics", "127.0.0.1:0"]);
    assert!(refused.contains("shard 1 has no state") && refused.contains("the swap to strict"), "{refused}");
}

#[test]
fn killed_between_any_two_steps_it_is_gone_on_with_and_nothing_else_starts() {
    let world = World::new();
    first_records(&world);
    later_records(&world);
    world.run();
    let (loose, strict) = (world.copy_of_pipelines("loose"), stricter(&world));
    let mut seen: [Option<Value>; 2] = [Some(tables(&world)), None];
    for (number, point) in [
        "swap-journalled:1",
        "swap-handed-over:1",
        "swap-quarantined:1",
        "swap-quarantined:3",
        "swap-set-aside:1",
        "swap-moved:1",
        "swap-set-aside:2",
        "swap-moved:2",
        "swap-set-aside:3",
        "swap-moved:3",
        "swap-dropped:1",
    ]
    .into_iter()
    .enumerate()
    {
        let (name, which) = (format!("killed-{number}"), (number + 1) % 2);
        let pipelines = [&loose, &strict][which];
        let own = [&["--gazetteer", "own"][..], &[]][number % 3 / 2];
        world.shadow(&[&[&name, "--pipelines", pipelines.to_str().unwrap()], own].concat());
        world.use_pipelines(pipelines);
        world.dies(point, &["shadow", "swap", &name]);
        let others = [
            &["shadow", "swap", "another"][..],
            &["run", "--once", "--metrics", "127.0.0.1:0"],
            &["accounting"],
            &["shadow", "run", &name],
            &["shadow", "drop", &name],
            &["why", "places", "1", "rooms"],
            &["quarantine", "show", "utilities/water-readings"],
        ];
        for args in [others[number % others.len()], others[1]] {
            let refused = world.refused(args);
            assert!(refused.contains(&format!("yibiao shadow swap {name}`")), "{point}, {args:?}: {refused}");
        }
        world.yibiao(&["shadow", "swap", &name]);
        let found = tables(&world);
        let expected = seen[which].get_or_insert_with(|| found.clone());
        for part in ["places", "facts", "accounting", "quarantine"] {
            assert_same_rows(&found[part], &expected[part], &format!("{point}: {part}"));
        }
    }
    assert_ne!(seen[0], seen[1]);
    let last = from_the_start(stricter);
    last_records(&world);
    world.run();
    assert_same(&tables(&world), &last, "after eleven swaps");
    assert_eq!(world.topics_of_shadows(), 0);
}

#[test]
fn what_could_not_be_done_rightly_is_refused_and_changes_nothing() {
    let world = World::new();
    first_records(&world);
    world.run();
    world.shadow(&["whole"]);
    world.shadow(&["water", "--feed", "utilities/water-readings"]);
    world.shadow(&["late", "--from", "2025-01-01"]);
    let (ends, before) = (world.ends(), tables(&world));
    for (name, why) in
        [("none", "there is no shadow none"), ("water", "of some feeds"), ("late", "of a time only")]
    {
        let refused = world.refused(&["shadow", "swap", name]);
        assert!(refused.contains(why), "{refused}");
    }
    std::fs::create_dir_all(world.path("data/former/whole")).unwrap();
    let refused = world.refused(&["shadow", "swap", "whole"]);
    assert!(refused.contains("an earlier swap set aside"), "{refused}");
    std::fs::remove_dir_all(world.path("data/former")).unwrap();
    let (gazetteer, elsewhere) = (world.path("data/gazetteer"), world.path("elsewhere"));
    std::fs::rename(&gazetteer, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &gazetteer).unwrap();
    let refused = world.refused(&["shadow", "swap", "whole"]);
    assert!(refused.contains("data/gazetteer is a link"), "{refused}");
    std::fs::remove_file(&gazetteer).unwrap();
    std::fs::rename(&elsewhere, &gazetteer).unwrap();
    assert_same(&tables(&world), &before, "after what was refused");
    assert_eq!(world.ends(), ends);

    let mut stages = world.run_on();
    world.read_water(&[reading(60, 1, 1, "0.5")]);
    world.wait_until(|| world.ends() != ends);
    let refused = world.refused(&["shadow", "swap", "whole"]);
    assert!(refused.contains("stop every process"), "{refused}");
    assert!(stages.is_running());
    stages.stop();

    // A feed of which the shadow's pipelines have no contract.
    let fewer = world.copy_of_pipelines("fewer");
    std::fs::remove_file(fewer.join("feeds/justice/mediation-cases.odcs.yaml")).unwrap();
    world.shadow(&["fewer", "--pipelines", fewer.to_str().unwrap()]);
    let present = world.copy_of_pipelines("present");
    world.use_pipelines(&fewer);
    let refused = world.refused(&["shadow", "swap", "fewer"]);
    assert!(refused.contains("know records of justice/mediation-cases"), "{refused}");
    world.use_pipelines(&present);
    assert!(!world.path("data/swap.json").exists() && !world.path("data/former").exists());
    world.run();
    assert_eq!(world.sql("lake", "select count(*) as n from fact_water")[0]["n"], 31);
}

#[test]
fn shards_that_move_are_not_swapped_and_their_shadow_has_shards_of_its_own() {
    let world = World::new();
    world.move_shards();
    first_records(&world);
    world.run();
    let owners = world.owners();
    world.shadow(&["same"]);
    assert_eq!(world.owners(), owners, "the shadow has taken a real shard");
    let comparison = world.compare(&["same", "--level"]);
    assert_eq!(comparison["differences"], 0, "{comparison:#}");
    assert_eq!(world.sql("shadow/same/lake", "select count(*) as n from fact_water")[0]["n"], 30);
    let refused = world.refused(&["shadow", "swap", "same"]);
    assert!(refused.contains("fusion.checkpoints"), "{refused}");
}
