//! Contracts with problems, and what is said about them: `tests/problems/<department>/<name>.odcs.yaml` beside
//! `<name>.txt`. Run with `UPDATE=1` to write the texts anew, then read the difference.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::path::Path;

use fixture::{kinds, today};
use yibiao_contracts::{load_dir_on, load_file_on};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems")
}

#[test]
fn every_problem_is_told_at_once_with_its_line_and_what_to_do() {
    let mut seen = 0;
    for department in std::fs::read_dir(folder()).unwrap() {
        for entry in std::fs::read_dir(department.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            let Some(stem) = path.to_str().unwrap().strip_suffix(".odcs.yaml") else { continue };
            seen += 1;
            let problems = load_file_on(&path, &kinds(), today()).unwrap_err();
            assert!(problems.iter().all(|problem| !problem.remedy.is_empty()));
            let shown = problems
                .to_string()
                .replace(path.to_str().unwrap(), path.file_name().unwrap().to_str().unwrap());
            let golden = format!("{stem}.txt");
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&golden, format!("{shown}\n")).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&golden).unwrap_or_default().trim_end(), shown, "{golden}");
        }
    }
    assert!(seen >= 3);
}

#[test]
fn problems_of_all_files_come_together() {
    let problems = load_dir_on(&folder(), &kinds(), today()).unwrap_err();
    let files: std::collections::BTreeSet<_> = problems.iter().map(|problem| &problem.file).collect();
    assert!(files.len() >= 3, "{files:?}");
    assert!(
        load_dir_on(Path::new("/nowhere"), &kinds(), today())
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}

#[test]
fn a_permission_that_has_ended_stops_the_feed() {
    let path = fixture::pipelines().join("feeds/utilities/water-readings.odcs.yaml");
    let late = chrono::NaiveDate::from_ymd_opt(2031, 1, 1).unwrap();
    let problems = load_file_on(&path, &kinds(), late).unwrap_err();
    assert!(problems.to_string().contains("the permission ended on 2030-12-31"), "{problems}");
}
