//! `yibiao.fact`: what a record becomes.

use std::collections::BTreeMap;

use yibiao_records::{Column, ColumnType, FactKinds, Value};

use super::field_named;
use crate::{
    contract::{ColumnMapping, ColumnSource, FactMapping, Field, Otherwise, Privacy, Withdrawn},
    number,
    problem::Sink,
    text::fold,
    yaml::{Kind, Node, Section},
};

pub(super) fn read(
    node: &Node,
    fields: &[Field],
    privacy: &Privacy,
    kinds: &FactKinds,
    sink: &mut Sink<'_>,
) -> Option<FactMapping> {
    let mut section = Section::open(node, "yibiao.fact", sink)?;
    let known: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).collect();
    let kind = section.needed_text("kind", &format!("use one of: {}", known.join(", ")), sink);
    let columns_node = section.node("columns");
    let absent = section.texts("absent", sink);
    let valid_from: Vec<String> = section
        .texts("valid_from", sink)
        .into_iter()
        .filter_map(|(name, line)| moment(fields, name, line, "valid_from", sink))
        .collect();
    if section.node("valid_from").is_none() {
        sink.report(
            section.line(),
            "yibiao.fact.valid_from is missing",
            "name the date or time from which the record holds",
        );
    }
    let valid_to =
        section.text("valid_to", sink).and_then(|(name, line)| moment(fields, name, line, "valid_to", sink));
    let withdrawn = section.node("withdrawn").and_then(|node| withdrawn(node, fields, sink));
    section.finish(sink);
    let (kind_name, kind_line) = kind?;
    let Some(kind) = kinds.get(kind_name) else {
        sink.report(
            kind_line,
            format!("there is no fact kind '{kind_name}'"),
            format!("use one of: {}, or add pipelines/facts/{kind_name}.yaml", known.join(", ")),
        );
        return None;
    };
    let mut mapper = Mapper { fields, privacy, sink };
    let mut columns = Vec::new();
    for column in &kind.columns {
        let given = columns_node.and_then(|node| node.get(&column.name));
        let is_absent = absent.iter().any(|(name, _)| *name == column.name);
        let source = match (given, is_absent) {
            (Some(node), false) => mapper.column(column, node).unwrap_or(ColumnSource::Absent),
            (None, true) => ColumnSource::Absent,
            (Some(node), true) => {
                mapper.sink.report(
                    node.line,
                    format!("column '{}' is mapped and listed as absent", column.name),
                    "keep one of the two",
                );
                ColumnSource::Absent
            }
            (None, false) => {
                mapper.sink.report(
                    columns_node.map_or(node.line, |node| node.line),
                    format!("column '{}' of the fact kind '{kind_name}' is not mapped", column.name),
                    "map it under yibiao.fact.columns, or list it under yibiao.fact.absent",
                );
                ColumnSource::Absent
            }
        };
        columns.push(ColumnMapping { column: column.name.clone(), column_type: column.column_type, source });
    }
    let names: Vec<&str> = kind.columns.iter().map(|column| column.name.as_str()).collect();
    let mapped = match columns_node.map(|node| &node.kind) {
        Some(Kind::Map(entries)) => entries.iter().map(|(name, node)| (name.as_str(), node.line)).collect(),
        _ => Vec::new(),
    };
    for (name, line) in mapped.into_iter().chain(absent.iter().copied()) {
        if kind.column(name).is_none() {
            sink.report(
                line,
                format!("the fact kind '{kind_name}' has no column '{name}'"),
                format!("use some of: {}", names.join(", ")),
            );
        }
    }
    Some(FactMapping { kind: kind_name.to_owned(), columns, valid_from, valid_to, withdrawn })
}

fn moment(fields: &[Field], name: &str, line: u32, what: &str, sink: &mut Sink<'_>) -> Option<String> {
    let index = field_named(fields, name, line, "yibiao.fact", sink)?;
    if !matches!(fields[index].field_type, ColumnType::Date | ColumnType::Timestamp) {
        sink.report(
            line,
            format!("yibiao.fact.{what} names '{name}', which is no date or timestamp"),
            "declare its logicalType",
        );
        return None;
    }
    Some(name.to_owned())
}

fn withdrawn(node: &Node, fields: &[Field], sink: &mut Sink<'_>) -> Option<Withdrawn> {
    let mut section = Section::open(node, "yibiao.fact.withdrawn", sink)?;
    let field = section.needed_text("field", "name the field that says so", sink);
    let when: Vec<String> =
        section.texts("when", sink).into_iter().map(|(text, _)| fold(text).into_owned()).collect();
    if when.is_empty() {
        sink.report(
            section.line(),
            "yibiao.fact.withdrawn.when is missing",
            "list the values that mean withdrawn",
        );
    }
    section.finish(sink);
    let (field, line) = field?;
    let index = field_named(fields, field, line, "yibiao.fact.withdrawn", sink)?;
    if fields[index].field_type != ColumnType::Text {
        sink.report(
            line,
            format!("yibiao.fact.withdrawn names '{field}', which is no text"),
            "declare it as logicalType: string",
        );
    }
    Some(Withdrawn { field: field.to_owned(), when })
}

struct Mapper<'a, 's, 'f> {
    fields: &'a [Field],
    privacy: &'a Privacy,
    sink: &'s mut Sink<'f>,
}

impl Mapper<'_, '_, '_> {
    /// `column: field`, `column: { field, map, otherwise }` or `column: { constant }`.
    fn column(&mut self, column: &Column, node: &Node) -> Option<ColumnSource> {
        if let Some(name) = node.text() {
            self.source(column, name, node.line, false)?;
            return Some(ColumnSource::Field {
                name: name.to_owned(),
                map: BTreeMap::new(),
                otherwise: Otherwise::Reject,
            });
        }
        let mut section = Section::open(node, format!("yibiao.fact.columns.{}", column.name), self.sink)?;
        if let Some(constant) = section.node("constant") {
            section.finish(self.sink);
            return self.constant(column, constant).map(ColumnSource::Constant);
        }
        let field = section.needed_text("field", "name a field, or give a constant", self.sink);
        let map = section.node("map").map(|node| self.map(column, node)).unwrap_or_default();
        let otherwise = match section.text("otherwise", self.sink) {
            None | Some(("reject", _)) => Otherwise::Reject,
            Some(("keep", _)) => Otherwise::Keep,
            Some(("null", _)) => Otherwise::Null,
            Some((other, line)) => {
                self.sink.report(line, format!("otherwise is '{other}'"), "write reject, keep or null");
                Otherwise::Reject
            }
        };
        section.finish(self.sink);
        let (name, line) = field?;
        self.source(column, name, line, !map.is_empty())?;
        if otherwise == Otherwise::Keep && column.column_type != ColumnType::Text {
            self.sink.report(
                line,
                format!("column '{}' is no text and cannot keep what is not in its map", column.name),
                "write otherwise: reject or null",
            );
        }
        Some(ColumnSource::Field { name: name.to_owned(), map, otherwise })
    }

    /// Whether the field's type fits and its privacy allows it.
    fn source(&mut self, column: &Column, name: &str, line: u32, mapped: bool) -> Option<usize> {
        use ColumnType::{Bool, Date, Decimal, Int, Text, Timestamp};
        let index = field_named(self.fields, name, line, "yibiao.fact", self.sink)?;
        let from = self.fields[index].field_type;
        let fits = match (mapped, from, column.column_type) {
            (true, Text, Text | Bool) => true,
            (true, ..) => false,
            (false, Int, Decimal) | (false, Date, Timestamp) | (false, Timestamp, Date) => true,
            (false, from, to) => from == to,
        };
        if !fits {
            self.sink.report(
                line,
                format!(
                    "field '{name}' is {from:?}{}, column '{}' is {:?}",
                    if mapped { " with a map" } else { "" },
                    column.name,
                    column.column_type
                ),
                "change the field's logicalType, or map another field",
            );
        }
        if self.privacy.drop.iter().any(|dropped| dropped == name) {
            self.sink.report(
                line,
                format!("column '{}' takes the field '{name}', which is dropped at the door", column.name),
                "map another field, or decide otherwise under yibiao.privacy",
            );
        }
        let labelled =
            self.privacy.pseudonymises(name) || self.privacy.restrict.iter().any(|field| field == name);
        if labelled && !column.personal {
            self.sink.report(
                line,
                format!(
                    "column '{}' takes the personal field '{name}' and is not labelled personal",
                    column.name
                ),
                "only a column with personal: true may, so that it is counted and never leaves",
            );
        }
        Some(index)
    }

    fn map(&mut self, column: &Column, node: &Node) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let Kind::Map(entries) = &node.kind else {
            self.sink.report(
                node.line,
                format!("the map of column '{}' is {}", column.name, node.describe()),
                "write `source value: code` lines",
            );
            return map;
        };
        for (from, to) in entries {
            match to.scalar() {
                Some(code)
                    if column.column_type == ColumnType::Bool
                        && !matches!(code.as_str(), "true" | "false") =>
                {
                    self.sink.report(
                        to.line,
                        format!("'{from}' becomes '{code}', but column '{}' is true or false", column.name),
                        "write true or false",
                    );
                }
                Some(code) => {
                    map.insert(fold(from).into_owned(), code);
                }
                None => {
                    self.sink.report(to.line, format!("'{from}' becomes {}", to.describe()), "write a code")
                }
            }
        }
        map
    }

    fn constant(&mut self, column: &Column, node: &Node) -> Option<Value> {
        let value = match (column.column_type, &node.kind, node.scalar()) {
            (ColumnType::Text, _, Some(text)) => Some(Value::Text(text)),
            (ColumnType::Int, Kind::Int(value), _) => Some(Value::Int(*value)),
            (ColumnType::Bool, Kind::Bool(value), _) => Some(Value::Bool(*value)),
            (ColumnType::Decimal, Kind::Int(_) | Kind::Float(_), Some(text)) => {
                number::thousandths(&text).ok().map(Value::Decimal)
            }
            _ => None,
        };
        if value.is_none() {
            self.sink.report(
                node.line,
                format!(
                    "the constant {} does not fit column '{}' ({:?})",
                    node.describe(),
                    column.name,
                    column.column_type
                ),
                "write a value of the column's type",
            );
        }
        value
    }
}
