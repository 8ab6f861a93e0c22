//! The official JSON schema of the Open Data Contract Standard, v3.1.0 (Apache-2.0, Bitol, an LF AI & Data project;
//! see schemas/odcs/NOTICE.md).

use std::sync::OnceLock;

use jsonschema::{Validator, error::ValidationErrorKind};

use crate::{problem::Sink, yaml::Node};

const SCHEMA: &str = include_str!("../../../schemas/odcs/odcs-json-schema-v3.1.0.json");

/// The version of the standard that contracts are written in.
pub const API_VERSION: &str = "v3.1.0";

fn validator() -> &'static Validator {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    VALIDATOR.get_or_init(|| {
        let schema = serde_json::from_str(SCHEMA).expect("invariant: the embedded schema is JSON");
        jsonschema::validator_for(&schema).expect("invariant: the embedded schema is a JSON schema")
    })
}

/// Reports everything that the standard does not allow.
pub(crate) fn check(document: &Node, sink: &mut Sink<'_>) {
    let json = document.to_json();
    for error in validator().iter_errors(&json) {
        let pointer = error.instance_path().as_str().to_owned();
        // A keyword that holds if any of several schemas does tells little in its own message.
        let what = match error.kind() {
            ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
                format!("{} is in none of the forms that the standard allows", error.instance())
            }
            _ => error.to_string(),
        };
        let line = document.line_at(pointer.split('/').skip(1));
        let place = if pointer.is_empty() { "the document".to_owned() } else { pointer };
        sink.report(
            line,
            format!("not valid ODCS {API_VERSION}: {place}: {}", crate::odcs::shorten(&what)),
            "see the standard's page on this element; put what is our own under customProperties",
        );
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(240) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
