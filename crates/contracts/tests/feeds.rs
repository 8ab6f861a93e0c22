//! The nine feeds of this repository.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use yibiao_contracts::{load_dir, load_fact_kinds};

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
