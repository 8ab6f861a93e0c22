//! Holds the arrows between crates, and who alone may know which library.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate to the project's crates that it may use. A crate that is missing here is a new decision: write an ADR.
const ARROWS: &[(&str, &[&str])] = &[
    ("records", &[]),
    ("state", &["records"]),
    ("address", &[]),
    ("contracts", &["records"]),
    ("topics", &["records"]),
    ("broker", &[]),
    ("connectors", &["contracts", "topics", "records"]),
    ("normalise", &["address", "contracts", "topics", "state", "records"]),
    ("tables", &["state", "records"]),
    ("fusion", &["tables", "topics", "state", "records"]),
    ("delivery", &["tables", "topics", "records"]),
    ("serve", &["tables", "contracts", "topics", "records"]),
    ("synth", &["records", "contracts"]),
];

/// Library to the only crates that may name it (the binary may, where it is listed).
const LIBRARIES: &[(&str, &[&str])] = &[
    ("rdkafka", &["topics"]),
    ("kafka-protocol", &["broker"]),
    ("fjall", &["state"]),
    ("datafusion", &["tables", "fusion", "serve", "yibiao"]),
    ("deltalake", &["tables", "delivery"]),
    ("object_store", &["tables"]),
    (
        "tokio",
        &[
            "topics",
            "broker",
            "connectors",
            "normalise",
            "tables",
            "fusion",
            "delivery",
            "serve",
            "synth",
            "yibiao",
        ],
    ),
    ("polars", &["yibiao"]),
    ("arrow", &["records", "contracts", "normalise", "tables", "fusion", "delivery", "serve", "yibiao"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .other_options(["--offline".to_owned(), "--locked".to_owned()])
        .no_deps()
        .exec()
        .unwrap();
    metadata
        .packages
        .iter()
        .filter(|package| package.name.starts_with("yibiao"))
        .filter(|package| !package.name.starts_with("yibiao-bench"))
        .map(|package| {
            let name = package.name.strip_prefix("yibiao-").unwrap_or(&package.name).to_owned();
            let uses = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == DependencyKind::Normal)
                .map(|dependency| dependency.name.clone())
                .collect();
            (name, uses)
        })
        .collect()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for (name, uses) in dependencies() {
        if name == "yibiao" {
            continue;
        }
        let allowed = arrows.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} has no arrows yet"));
        for used in uses.iter().filter_map(|used| used.strip_prefix("yibiao-")) {
            assert!(
                allowed.contains(&used),
                "{name} must not depend on {used}: stages meet at topics and tables"
            );
        }
    }
}

#[test]
fn each_library_is_known_only_where_it_belongs() {
    let all = dependencies();
    for (library, owners) in LIBRARIES {
        for (name, uses) in &all {
            assert!(
                !uses.contains(*library) || owners.contains(&name.as_str()),
                "{name} depends on {library}, which only {owners:?} may know"
            );
        }
    }
}

#[test]
fn every_crate_is_there() {
    let all = dependencies();
    for (name, _) in ARROWS {
        assert!(all.contains_key(*name), "crate {name} is in the table of arrows and not in the workspace");
    }
}
