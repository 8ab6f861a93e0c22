//! Real compounds of Jiangsu as standard addresses, and the same kind as another source writes them as queries.
//!
//! The rows carry no licence and are not in this repository: they are read from the folder that
//! `YIBIAO_SHARED_DATA` names, or from ../../../shared/data beside the repository. Without it the test says so
//! and passes. It prints accuracy by match reason and fails below the floors.
//! `YIBIAO_SHOW_MISSES=20` prints so many of each kind of miss.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use yibiao_address::{
    Divisions, Gazetteer, GazetteerBuilder, Level, Query, Resolver, Scratch, StandardAddress,
};

/// What must not be fallen below: the gold place first among the candidates (abstentions included), answered, and the
/// share of answers that are right. Plain bigram overlap, which never abstains, puts it first for 0.819 and 0.403.
struct Floor {
    first: f64,
    linked: f64,
    precision: f64,
}

const FLOOR_WITH_NAME: Floor = Floor { first: 0.97, linked: 0.97, precision: 0.985 };
const FLOOR_ADDRESS_ONLY: Floor = Floor { first: 0.403, linked: 0.25, precision: 0.94 };

fn folder() -> PathBuf {
    match std::env::var_os("YIBIAO_SHARED_DATA") {
        Some(folder) => folder.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    }
}

fn rows(text: &str) -> Vec<BTreeMap<&str, &str>> {
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split('\t').collect();
    lines.map(|l| head.iter().copied().zip(l.split('\t')).collect()).collect()
}

/// The digits of the id, plus one: places are numbered from 1.
fn id(text: &str) -> Option<u64> {
    text.strip_prefix("JS").and_then(|n| n.parse::<u64>().ok()).map(|n| n + 1)
}

#[test]
fn real_queries_meet_their_compounds_far_above_the_floor() {
    let addresses = folder().join("addresses");
    let (Ok(places), Ok(queries)) = (
        std::fs::read_to_string(addresses.join("resolve_places.tsv")),
        std::fs::read_to_string(addresses.join("resolve_queries.tsv")),
    ) else {
        eprintln!("SKIPPED: no real addresses in {}; set YIBIAO_SHARED_DATA", addresses.display());
        return;
    };
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("real.gazetteer");
    let start = Instant::now();
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    for row in rows(&places) {
        let at = row["lng"].parse().ok().zip(row["lat"].parse().ok());
        let standard = StandardAddress {
            place: id(row["place_id"]).unwrap(),
            level: Level::Compound,
            city: row["city"].to_owned(),
            address: row["address"].to_owned(),
            name: Some(row["name"].to_owned()),
            lng_lat: at,
            ..StandardAddress::default()
        };
        builder.add(standard).unwrap();
    }
    let report = builder.finish(&path).unwrap();
    println!("built in {:?}: {report:?}", start.elapsed());
    let start = Instant::now();
    let gazetteer = Arc::new(Gazetteer::open(&path).unwrap());
    println!("opened in {:?}", start.elapsed());
    let resolver = Resolver::new(gazetteer.clone());

    let queries = rows(&queries);
    for (with_name, floor) in [(true, FLOOR_WITH_NAME), (false, FLOOR_ADDRESS_ONLY)] {
        let got = score(&resolver, &queries, with_name);
        let all = [
            ("first of the candidates", got.first, floor.first),
            ("linked", got.linked, floor.linked),
            ("precision", got.precision, floor.precision),
        ];
        for (measure, got, floor) in all {
            assert!(got >= floor, "{measure}, name given {with_name}: {got:.4} is below the floor {floor}");
        }
    }
}

#[derive(Default)]
struct Tally {
    asked: usize,
    right: usize,
    wrong: usize,
}

fn score(resolver: &Resolver, queries: &[BTreeMap<&str, &str>], with_name: bool) -> Floor {
    let show: usize = std::env::var("YIBIAO_SHOW_MISSES").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut scratch = Scratch::default();
    let mut by_reason: BTreeMap<&str, Tally> = BTreeMap::new();
    let (mut linked, mut linked_right, mut first_right, mut answered, mut none, mut none_right) =
        (0, 0, 0, 0, 0, 0);
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    let start = Instant::now();
    for row in queries {
        let query =
            Query { text: row["address"], city: Some(row["city"]), name: with_name.then(|| row["name"]) };
        let answer = resolver.resolve(&query, &mut scratch);
        let gold = id(row["gold"]);
        let tally = by_reason.entry(answer.reason.as_str()).or_default();
        tally.asked += 1;
        answered += usize::from(answer.place.is_some());
        let first = answer.place.or(answer.candidates.first().map(|c| c.place_id));
        first_right += usize::from(gold.is_some() && first == gold);
        match gold {
            Some(_) => linked += 1,
            None => none += 1,
        }
        if answer.place == gold {
            tally.right += 1;
            linked_right += usize::from(gold.is_some());
            none_right += usize::from(gold.is_none());
            continue;
        }
        tally.wrong += usize::from(answer.place.is_some());
        let kind =
            format!("{} wanted {}", answer.reason.as_str(), if gold.is_some() { "a place" } else { "none" });
        let count = shown.entry(kind.clone()).or_default();
        *count += 1;
        if *count <= show {
            println!("--- {kind}, gold {gold:?}: {} | {}", row["name"], row["address"]);
            println!("{}", resolver.explain(&query, yibiao_address::Language::English));
            if let Some(gold) = gold {
                println!("gold: {:?}", resolver.gazetteer().place(gold));
            }
        }
    }
    let elapsed = start.elapsed();
    let share = |a: usize, b: usize| a as f64 / b.max(1) as f64;
    println!(
        "{}: linked {:.4} (n={linked}), first of the candidates {:.4}, precision {:.4} (n={answered}), none {:.4} (n={none}), {:.1} us a query",
        if with_name { "name and address" } else { "address only" },
        share(linked_right, linked),
        share(first_right, linked),
        share(linked_right, answered),
        share(none_right, none),
        elapsed.as_secs_f64() * 1e6 / queries.len() as f64,
    );
    for (reason, t) in by_reason {
        println!("  {reason:16} asked {:5}  right {:5}  wrong {:4}", t.asked, t.right, t.wrong);
    }
    println!("  misses: {shown:?}");
    Floor {
        first: share(first_right, linked),
        linked: share(linked_right, linked),
        precision: share(linked_right, answered),
    }
}
