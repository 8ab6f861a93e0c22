//! The nine feeds of this repository.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use yibiao_contracts::{load_dir, load_fact_kinds, try_sample};

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines")
}

#[test]
fn the_nine_contracts_have_no_problems() {
    let kinds = load_fact_kinds(&pipelines().join("facts")).unwrap();
    match load_dir(&pipelines().join("feeds"), &kinds) {
        Ok(contracts) => assert_eq!(contracts.len(), 9),
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn each_feeds_sample_has_its_expected_outcomes() {
    let kinds = load_fact_kinds(&pipelines().join("facts")).unwrap();
    let contracts = load_dir(&pipelines().join("feeds"), &kinds).unwrap();
    let mut failed = String::new();
    for contract in contracts.iter() {
        let report = try_sample(contract, &kinds).unwrap();
        assert!(report.expected.is_some() && report.records.len() >= 5, "{}", contract.feed);
        if !report.is_as_expected() {
            failed += &format!("{report}\n");
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}
