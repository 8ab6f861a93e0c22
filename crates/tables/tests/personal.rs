//! What is personal in a fact is personal in the merged row.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use yibiao_records::{Column, ColumnType, FactKind, FactKinds};
use yibiao_tables::{Error, Tables};

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines")
}

/// The project's kinds; a registration also has the landlord's pseudonym.
fn kinds() -> FactKinds {
    let files = std::fs::read_dir(pipelines().join("facts")).unwrap();
    let mut kinds: Vec<FactKind> = files
        .map(|entry| {
            serde_saphyr::from_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap()
        })
        .collect();
    let registration = kinds.iter_mut().find(|kind| kind.name == "registration").unwrap();
    let mut landlord = Column::new("landlord", ColumnType::Text, "房东");
    landlord.personal = true;
    registration.columns.push(landlord);
    FactKinds::new(kinds)
}

/// The project's table with more lines, and the number of the first of them.
fn parse(change: impl Fn(String) -> String) -> (Result<Tables, Error>, usize) {
    let text = std::fs::read_to_string(pipelines().join("tables/places.yaml")).unwrap();
    let next = text.lines().count() + 1;
    (Tables::parse(Path::new("places.yaml"), &change(text), &kinds(), 4), next)
}

#[test]
fn a_column_made_of_a_personal_one_must_be_personal() {
    for (rest, accepted) in [
        ("type: text, merge: latest, from: [{kind: registration, column: landlord}]", false),
        ("type: text, personal: true, merge: latest, from: [{kind: registration, column: landlord}]", true),
        ("type: int, merge: {count: {}}, from: [{kind: registration, column: landlord}]", false),
        ("type: int, merge: {count: {}}, from: [{kind: registration, where: {landlord: a}}]", false),
        (
            "type: int, personal: true, merge: {count: {}}, from: [{kind: registration, where: {landlord: a}}]",
            true,
        ),
        ("type: int, merge: {count: {}}, from: [{kind: registration}]", true),
    ] {
        let (outcome, line) = parse(|text| format!("{text}  - {{name: owner, {rest}}}\n"));
        match outcome {
            Ok(tables) => {
                assert!(accepted, "accepted: {rest}");
                let column = tables.places().column("owner").unwrap();
                assert_eq!(column.column.personal, rest.contains("personal"));
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!accepted, "{rest}: {text}");
                for part in [
                    &format!("places.yaml:{line}: column owner:"),
                    "registration.landlord, which is personal",
                    "add 'personal: true'",
                ] {
                    assert!(text.contains(part), "{part} is not in: {text}");
                }
            }
        }
    }
}

#[test]
fn what_every_warning_shows_cannot_be_personal() {
    let (outcome, _) =
        parse(|text| text.replace("name: address, type: text", "name: address, type: text, personal: true"));
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("column address: cannot be personal"), "{text}");
}
