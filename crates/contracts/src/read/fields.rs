//! The schema's properties.

use prost_reflect::{Kind as ProtoKind, MessageDescriptor};
use yibiao_records::ColumnType;

use super::custom_properties;
use crate::{
    contract::{Field, Form, Ingest},
    date::{self, Forms},
    number,
    problem::Sink,
    text::fold_name,
    yaml::{Kind, Node},
};

const MAX_FIELDS: usize = 1000;

pub(super) fn read(document: &Node, sink: &mut Sink<'_>) -> Vec<Field> {
    let Some(schema) = document.get("schema") else {
        sink.report(
            document.line,
            "the schema is missing",
            "list the source's columns under schema[0].properties",
        );
        return Vec::new();
    };
    let objects = schema.list();
    if objects.len() != 1 {
        sink.report(
            schema.line,
            format!("the schema has {} objects, a feed has one kind of record", objects.len()),
            "make one file per feed",
        );
    }
    let Some(properties) = objects.first().and_then(|object| object.get("properties")) else {
        sink.report(schema.line, "schema[0].properties is missing", "list the source's columns there");
        return Vec::new();
    };
    let mut fields: Vec<Field> = Vec::new();
    for property in properties.list().iter().take(MAX_FIELDS) {
        let Some(field) = field(property, sink) else { continue };
        if fields.iter().any(|other| fold_name(&other.name) == fold_name(&field.name)) {
            sink.report(
                property.line,
                format!("the field '{}' is there twice", field.name),
                "names may not differ by case or width only",
            );
            continue;
        }
        fields.push(field);
    }
    if properties.list().len() > MAX_FIELDS {
        sink.report(properties.line, format!("more than {MAX_FIELDS} fields"), "split the feed");
    }
    check_key(&fields, properties.line, sink);
    fields
}

fn field(property: &Node, sink: &mut Sink<'_>) -> Option<Field> {
    let name = property.get("name")?.text()?.to_owned();
    let logical = property.get("logicalType").and_then(Node::text);
    let field_type = match logical {
        Some("string") => ColumnType::Text,
        Some("date") => ColumnType::Date,
        Some("timestamp") => ColumnType::Timestamp,
        Some("number") => ColumnType::Decimal,
        Some("integer") => ColumnType::Int,
        Some("boolean") => ColumnType::Bool,
        other => {
            sink.report(
                property.line,
                match other {
                    Some(other) => {
                        format!("field '{name}' is of logicalType {other}, which cannot be decoded")
                    }
                    None => format!("field '{name}' has no logicalType"),
                },
                "use string, date, timestamp, number, integer or boolean",
            );
            // As text, so that what names the field is checked all the same.
            ColumnType::Text
        }
    };
    let flag = |key| property.get(key).is_some_and(|node| matches!(node.kind, Kind::Bool(true)));
    let primary_key =
        flag("primaryKey").then(|| match property.get("primaryKeyPosition").map(|node| &node.kind) {
            Some(Kind::Int(position)) => u32::try_from(*position).unwrap_or(0),
            _ => 1,
        });
    let mut field = Field {
        title: property.get("businessName").and_then(Node::scalar).unwrap_or_else(|| name.clone()),
        name,
        field_type,
        required: flag("required"),
        primary_key,
        minimum: None,
        maximum: None,
        max_length: None,
        forms: Forms::CALENDAR,
        optional_column: false,
    };
    options(property, &mut field, sink);
    own(property, &mut field, sink);
    Some(field)
}

/// `logicalTypeOptions`: what is not enforced is refused, so that nobody relies on it.
fn options(property: &Node, field: &mut Field, sink: &mut Sink<'_>) {
    let Some(Node { kind: Kind::Map(entries), .. }) = property.get("logicalTypeOptions") else { return };
    for (key, node) in entries {
        let numeric = matches!(field.field_type, ColumnType::Int | ColumnType::Decimal);
        let bound = || node.scalar().and_then(|text| number::thousandths(&text).ok());
        match key.as_str() {
            "minimum" if numeric => field.minimum = bound(),
            "maximum" if numeric => field.maximum = bound(),
            "maxLength" if field.field_type == ColumnType::Text => {
                field.max_length = node.scalar().and_then(|text| text.parse().ok());
            }
            // Descriptions, of no effect.
            "format" | "defaultTimezone" | "timezone" => {}
            other => sink.report(
                node.line,
                format!("field '{}': logicalTypeOptions.{other} is not enforced", field.name),
                "remove it; minimum and maximum (numbers) and maxLength (text) are enforced",
            ),
        }
    }
    if let (Some(minimum), Some(maximum)) = (field.minimum, field.maximum)
        && minimum > maximum
    {
        sink.report(
            property.line,
            format!("field '{}': its minimum is above its maximum", field.name),
            "exchange the two",
        );
    }
}

/// `yibiao.forms` and `yibiao.optional_column`.
fn own(property: &Node, field: &mut Field, sink: &mut Sink<'_>) {
    let Some(list) = property.get("customProperties") else { return };
    for (name, value, line) in custom_properties(list) {
        match (name, &value.kind) {
            ("yibiao.optional_column", Kind::Bool(optional)) => field.optional_column = *optional,
            ("yibiao.forms", Kind::List(names)) => {
                let mut forms = Vec::new();
                for node in names {
                    match node.text().and_then(date::Form::from_name) {
                        Some(form) => forms.push(form),
                        None => sink.report(
                            node.line,
                            format!("field '{}': there is no date form {}", field.name, node.describe()),
                            format!("use some of: {}", Forms::all_names().join(", ")),
                        ),
                    }
                }
                field.forms = Forms::of(&forms);
                if !matches!(field.field_type, ColumnType::Date | ColumnType::Timestamp) {
                    sink.report(
                        line,
                        format!("field '{}' is no date or timestamp and has no forms", field.name),
                        "remove yibiao.forms",
                    );
                }
            }
            _ => sink.report(
                line,
                format!(
                    "field '{}': '{name}' is not a setting of a field, or {} is not for it",
                    field.name,
                    value.describe()
                ),
                "use yibiao.forms (a list of date forms) or yibiao.optional_column (true or false)",
            ),
        }
    }
}

fn check_key(fields: &[Field], line: u32, sink: &mut Sink<'_>) {
    let mut positions: Vec<u32> = fields.iter().filter_map(|field| field.primary_key).collect();
    positions.sort_unstable();
    if positions.is_empty() {
        sink.report(
            line,
            "no field is the primary key",
            "set primaryKey: true on the fields that name a source record",
        );
    } else if !positions.iter().copied().eq(1..=positions.len() as u32) {
        sink.report(
            line,
            format!("the primary key's positions are {positions:?}, expected 1 to {}", positions.len()),
            "give each field of the key its primaryKeyPosition",
        );
    }
    for field in fields.iter().filter(|field| field.primary_key.is_some() && field.optional_column) {
        sink.report(
            line,
            format!("field '{}' is of the primary key and may not be an optional column", field.name),
            "remove yibiao.optional_column",
        );
    }
}

/// Workbooks hold dates as serial numbers, JSON and protobuf as epochs: admitted there without being asked for.
pub(super) fn fit(mut fields: Vec<Field>, ingest: &Ingest) -> Vec<Field> {
    for field in fields.iter_mut().filter(|field| field.forms == Forms::CALENDAR) {
        field.forms = match ingest.form {
            Form::Xlsx(_) => field.forms.with(date::Form::Excel),
            Form::Json | Form::Protobuf(_) => field.forms.with(date::Form::EpochMillis),
            Form::Csv(_) => field.forms,
        };
    }
    fields
}

/// Fields of a protobuf feed are fields of its message, of a type that can be decoded.
pub(super) fn check_message(fields: &[Field], message: &MessageDescriptor, line: u32, sink: &mut Sink<'_>) {
    for field in fields {
        match message.get_field_by_name(&field.name) {
            None => sink.report(
                line,
                format!("the message {} has no field '{}'", message.full_name(), field.name),
                "name the fields as the .proto file does",
            ),
            Some(found)
                if found.is_list() || found.is_map() || matches!(found.kind(), ProtoKind::Message(_)) =>
            {
                sink.report(
                    line,
                    format!("field '{}' of {} is not a single value", field.name, message.full_name()),
                    "leave it out; only single values can be decoded",
                );
            }
            Some(_) => {}
        }
    }
    for found in message.fields() {
        if !fields.iter().any(|field| field.name == found.name()) {
            sink.report(
                line,
                format!(
                    "the message {} has the field '{}', which the schema lacks",
                    message.full_name(),
                    found.name()
                ),
                "declare it, so that its privacy is decided",
            );
        }
    }
}
