//! `yibiao.privacy`: what becomes of what is about persons. Every field whose name looks personal needs a decision.

use std::collections::BTreeMap;

use yibiao_records::ColumnType;

use super::field_named;
use crate::{
    contract::{Field, Privacy, Pseudonymised},
    privacy::{Suspicion, suspicion},
    problem::Sink,
    yaml::{Node, Section},
};

impl Privacy {
    /// Whether a field's own value never gets past the door.
    pub fn removes(&self, field: &str) -> bool {
        self.drop.iter().any(|name| name == field) || self.pseudonymises(field)
    }

    pub fn pseudonymises(&self, field: &str) -> bool {
        self.pseudonymise.iter().any(|entry| entry.field == field)
    }

    fn decisions(&self, field: &str) -> usize {
        usize::from(self.drop.iter().any(|name| name == field))
            + usize::from(self.pseudonymises(field))
            + usize::from(self.restrict.iter().any(|name| name == field))
            + usize::from(self.not_personal.contains_key(field))
    }
}

pub(super) fn read(node: Option<&Node>, fields: &[Field], document: &Node, sink: &mut Sink<'_>) -> Privacy {
    let privacy = node.map(|node| decisions(node, fields, sink)).unwrap_or_default();
    let line = |index: usize| document.line_at(["schema", "0", "properties", &index.to_string()].into_iter());
    let lines: BTreeMap<&str, u32> = property_lines(document);
    for (index, field) in fields.iter().enumerate() {
        let line = lines.get(field.name.as_str()).copied().unwrap_or_else(|| line(index));
        let suspected = suspicion(&field.name).or_else(|| suspicion(&field.title));
        match (suspected, privacy.decisions(&field.name)) {
            (Some(Suspicion::Refused(word)), _) => sink.report(
                line,
                format!("field '{}' looks like '{word}', which may not be collected at all", field.name),
                "have the department leave it out of what it sends, then remove it here",
            ),
            (Some(Suspicion::Personal(word)), 0) => sink.report(
                line,
                format!(
                    "field '{}' looks personal ('{word}') and yibiao.privacy does not decide about it",
                    field.name
                ),
                "put it under drop, pseudonymise or restrict, or under not_personal with the reason",
            ),
            (_, 2..) => sink.report(
                line,
                format!("yibiao.privacy decides twice about '{}'", field.name),
                "keep one decision",
            ),
            _ => {}
        }
        if field.primary_key.is_some()
            && (privacy.removes(&field.name) || privacy.restrict.contains(&field.name))
        {
            sink.report(
                line,
                format!(
                    "field '{}' is of the primary key and personal: no table is keyed by a person",
                    field.name
                ),
                "choose another primary key",
            );
        }
        if privacy.removes(&field.name) && field.required {
            sink.report(
                line,
                format!("field '{}' is required, but never gets past the door", field.name),
                "remove required",
            );
        }
    }
    privacy
}

fn decisions(node: &Node, fields: &[Field], sink: &mut Sink<'_>) -> Privacy {
    let mut privacy = Privacy::default();
    let Some(mut section) = Section::open(node, "yibiao.privacy", sink) else { return privacy };
    let named = |list: Vec<(&str, u32)>, sink: &mut Sink<'_>| -> Vec<String> {
        list.into_iter()
            .filter(|(name, line)| field_named(fields, name, *line, "yibiao.privacy", sink).is_some())
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    privacy.drop = named(section.texts("drop", sink), sink);
    privacy.restrict = named(section.texts("restrict", sink), sink);
    for entry in section.node("pseudonymise").map_or(&[][..], Node::list) {
        let Some(mut entry_section) = Section::open(entry, "yibiao.privacy.pseudonymise", sink) else {
            continue;
        };
        let field = entry_section.needed_text("field", "name a field", sink);
        let purpose = entry_section.needed_text("purpose", "name the purpose whose key is used", sink);
        entry_section.finish(sink);
        if let (Some((field, line)), Some((purpose, _))) = (field, purpose)
            && let Some(index) = field_named(fields, field, line, "yibiao.privacy", sink)
        {
            if fields[index].field_type != ColumnType::Text {
                sink.report(
                    line,
                    format!("'{field}' is no text and cannot be pseudonymised"),
                    "declare it as logicalType: string",
                );
            }
            privacy.pseudonymise.push(Pseudonymised { field: field.into(), purpose: purpose.into() });
        }
    }
    for entry in section.node("not_personal").map_or(&[][..], Node::list) {
        let Some(mut entry_section) = Section::open(entry, "yibiao.privacy.not_personal", sink) else {
            continue;
        };
        let field = entry_section.needed_text("field", "name a field", sink);
        let reason = entry_section.needed_text("reason", "say why it is not about a person", sink);
        entry_section.finish(sink);
        if let (Some((field, line)), Some((reason, _))) = (field, reason)
            && field_named(fields, field, line, "yibiao.privacy", sink).is_some()
        {
            privacy.not_personal.insert(field.into(), reason.into());
        }
    }
    section.finish(sink);
    privacy
}

fn property_lines(document: &Node) -> BTreeMap<&str, u32> {
    let properties = document
        .get("schema")
        .and_then(|schema| schema.list().first())
        .and_then(|object| object.get("properties"));
    properties
        .map_or(&[][..], Node::list)
        .iter()
        .filter_map(|property| Some((property.get("name")?.text()?, property.line)))
        .collect()
}
