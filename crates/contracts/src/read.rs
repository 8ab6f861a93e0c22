//! One ODCS file to a [`Contract`], with every problem of the file.
//!
//! ```text
//!  YAML ── syntax ── official schema ── fields ── ingest ── privacy ── place ── fact ── legal ──► Contract
//!             └────────────┴────────────┴─────────┴──────────┴─────────┴───────┴───────┴──► Problems
//! ```
//!
//! Our own settings are custom properties of the document whose names begin with `yibiao.`, one mapping each.

mod fact;
mod fields;
mod ingest;
mod legal;
mod place;
mod privacy;

use std::path::Path;

use chrono::NaiveDate;
use yibiao_records::{FactKinds, FeedId};

use crate::{
    contract::{Contract, Field, Form, Ingest, Privacy},
    odcs,
    problem::{Problems, Sink},
    yaml::{self, Kind, Node},
};

const NAMESPACE: &str = "yibiao.";
const OURS: [&str; 5] = ["yibiao.ingest", "yibiao.place", "yibiao.fact", "yibiao.privacy", "yibiao.legal"];

/// Reads the contract of `feed` (which follows from the file's path). None if there are problems.
pub(crate) fn contract(
    file: &Path,
    text: &str,
    feed: &FeedId,
    kinds: &FactKinds,
    today: NaiveDate,
    problems: &mut Problems,
) -> Option<Contract> {
    let before = problems.len();
    let mut sink = Sink::new(file, problems);
    let document = yaml::parse(text, &mut sink)?;
    odcs::check(&document, &mut sink);
    let contract = assemble(file, &document, feed, kinds, today, &mut sink);
    if problems.len() > before { None } else { contract }
}

fn assemble(
    file: &Path,
    document: &Node,
    feed: &FeedId,
    kinds: &FactKinds,
    today: NaiveDate,
    sink: &mut Sink<'_>,
) -> Option<Contract> {
    if !matches!(document.kind, Kind::Map(_)) {
        return None;
    }
    header(document, feed, sink);
    let ours = Ours::of(document, sink);
    let fields = fields::read(document, sink);
    let ingest = ours.needed(0, "say how records arrive: form, encoding, limits", sink);
    let (ingest, message) = ingest.and_then(|node| ingest::read(node, file, &fields, sink)).unzip();
    let fields = match &ingest {
        Some(ingest) => fields::fit(fields, ingest),
        None => fields,
    };
    if let Some(Some(message)) = &message {
        fields::check_message(
            &fields,
            message,
            document.line_at(["schema", "0", "properties"].into_iter()),
            sink,
        );
    }
    let privacy = privacy::read(ours.get(3), &fields, document, sink);
    pseudonyms_need_text(&privacy, ingest.as_ref(), document, sink);
    let place = ours.needed(1, "say which field is the address, or write `value: none`", sink);
    let place = place.and_then(|node| place::read(node, &fields, &privacy, sink));
    let fact = ours.needed(2, "say which fact kind the records become", sink);
    let fact = fact.and_then(|node| fact::read(node, &fields, &privacy, kinds, sink));
    let legal = ours.needed(4, "give basis, purposes and until", sink);
    let legal = legal.and_then(|node| legal::read(node, today, sink));
    Some(Contract {
        feed: feed.clone(),
        version: document.get("version")?.scalar()?,
        title: document.get("name").and_then(Node::scalar).unwrap_or_else(|| feed.to_string()),
        ingest: ingest?,
        place: place?,
        fact: fact?,
        privacy,
        legal: legal?,
        fields,
        file: file.to_path_buf(),
        message: message.flatten(),
    })
}

/// A pseudonym is put into the record's own text, which protobuf has not.
fn pseudonyms_need_text(privacy: &Privacy, ingest: Option<&Ingest>, document: &Node, sink: &mut Sink<'_>) {
    if ingest.is_some_and(|ingest| matches!(ingest.form, Form::Protobuf(_)))
        && !privacy.pseudonymise.is_empty()
    {
        let line = document.get("customProperties").map_or(document.line, |node| node.line);
        sink.report(
            line,
            "fields of a protobuf feed cannot be pseudonymised",
            "drop them, or have the feed sent as JSON",
        );
    }
}

/// What the standard leaves open and we do not.
fn header(document: &Node, feed: &FeedId, sink: &mut Sink<'_>) {
    if let Some(node) = document.get("apiVersion")
        && node.text() != Some(odcs::API_VERSION)
    {
        sink.report(
            node.line,
            format!("apiVersion is {}, this program reads {}", node.describe(), odcs::API_VERSION),
            format!("write apiVersion: {}", odcs::API_VERSION),
        );
    }
    if let Some(node) = document.get("id")
        && node.text() != Some(feed.as_str())
    {
        sink.report(
            node.line,
            format!("id is {}, the file's place says '{feed}'", node.describe()),
            format!("write id: {feed}, or move the file"),
        );
    }
    if let Some(node) = document.get("version")
        && !node.text().is_some_and(is_version)
    {
        sink.report(
            node.line,
            format!("version is {}, expected three numbers", node.describe()),
            "write such as version: 1.0.0",
        );
    }
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

/// The values of our custom properties, in the order of [`OURS`].
struct Ours<'n> {
    values: [Option<&'n Node>; 5],
    line: u32,
}

impl<'n> Ours<'n> {
    fn of(document: &'n Node, sink: &mut Sink<'_>) -> Self {
        let mut ours = Ours { values: [None; 5], line: document.line };
        let Some(list) = document.get("customProperties") else { return ours };
        ours.line = list.line;
        for (name, value, line) in custom_properties(list) {
            match OURS.iter().position(|known| *known == name) {
                Some(index) if ours.values[index].is_some() => {
                    sink.report(line, format!("{name} is given twice"), "join the two");
                }
                Some(index) => ours.values[index] = Some(value),
                None => sink.report(
                    line,
                    format!("there is no '{name}'"),
                    format!("use one of: {}", OURS.join(", ")),
                ),
            }
        }
        ours
    }

    fn get(&self, index: usize) -> Option<&'n Node> {
        self.values[index]
    }

    fn needed(&self, index: usize, remedy: &str, sink: &mut Sink<'_>) -> Option<&'n Node> {
        if self.values[index].is_none() {
            sink.report(self.line, format!("customProperties lacks {}", OURS[index]), remedy);
        }
        self.values[index]
    }
}

/// Name, value and line of each custom property that is ours; other tools' are left alone.
fn custom_properties(list: &Node) -> impl Iterator<Item = (&str, &Node, u32)> {
    list.list().iter().filter_map(|item| {
        let name = item.get("property")?.text()?;
        name.starts_with(NAMESPACE).then_some(())?;
        Some((name, item.get("value")?, item.line))
    })
}

/// The index of a field, or a problem that names those there are.
fn field_named(fields: &[Field], name: &str, line: u32, whose: &str, sink: &mut Sink<'_>) -> Option<usize> {
    let found = fields.iter().position(|field| field.name == name);
    if found.is_none() {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        sink.report(
            line,
            format!("{whose} names the field '{name}', which the schema does not have"),
            format!("use one of: {}", names.join(", ")),
        );
    }
    found
}
