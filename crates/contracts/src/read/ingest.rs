//! `yibiao.ingest`: how records arrive.

use std::{path::Path, time::Duration};

use prost_reflect::{DescriptorPool, MessageDescriptor};

use super::field_named;
use crate::{
    contract::{CursorFields, Dialect, Encoding, Field, Form, FullDump, Ingest, Schema, Sheet, Unknown},
    problem::Sink,
    yaml::{Kind, Node, Section},
};

const DEFAULT_MAX_RECORD: usize = 256 << 10;
const DEFAULT_MAX_FIELD: usize = 16 << 10;
const DEFAULT_GONE_MAX_PERCENT: u8 = 20;
/// Above this a topic would refuse the record.
const MOST_BYTES: usize = 16 << 20;

pub(super) fn read(
    node: &Node,
    file: &Path,
    fields: &[Field],
    sink: &mut Sink<'_>,
) -> Option<(Ingest, Option<MessageDescriptor>)> {
    let mut section = Section::open(node, "yibiao.ingest", sink)?;
    let encoding = encoding(&mut section, sink);
    let (form, message) = form(&mut section, encoding, file, sink).unzip();
    let unknown = match section.text("unknown", sink) {
        None | Some(("reject", _)) => Unknown::Reject,
        Some(("ignore", _)) => Unknown::Ignore,
        Some((other, line)) => {
            sink.report(line, format!("ingest.unknown is '{other}'"), "write reject or ignore");
            Unknown::Reject
        }
    };
    let max_record_bytes = bytes(&mut section, "max_record", DEFAULT_MAX_RECORD, sink);
    let max_field_bytes = bytes(&mut section, "max_field", DEFAULT_MAX_FIELD, sink);
    let nulls = section
        .texts("nulls", sink)
        .into_iter()
        .map(|(text, _)| crate::text::fold(text).into_owned())
        .collect();
    let zone_minutes = match section.text("timezone", sink) {
        None => 480,
        Some((name, line)) => zone(name).unwrap_or_else(|| {
            sink.report(
                line,
                format!("ingest.timezone '{name}' is not known"),
                "write Asia/Shanghai, UTC or an offset such as +08:00",
            );
            480
        }),
    };
    let cursor = cursor(&mut section, fields, sink);
    let lateness = match section.text("lateness", sink) {
        None => Duration::from_secs(7 * 86_400),
        Some((text, line)) => duration(text).unwrap_or_else(|| {
            sink.report(
                line,
                format!("ingest.lateness '{text}' is not a duration"),
                "write such as 30m, 12h or 7d",
            );
            Duration::ZERO
        }),
    };
    let full_dump = section.node("full_dump").and_then(|node| full_dump(node, sink));
    if let (Some(_), Some(Form::Protobuf(_))) = (&full_dump, &form) {
        sink.report(node.line, "full_dump is for files, and the form is protobuf", "remove ingest.full_dump");
    }
    section.finish(sink);
    let ingest = Ingest {
        form: form?,
        encoding,
        unknown,
        max_record_bytes,
        max_field_bytes,
        nulls,
        zone_minutes,
        cursor,
        lateness,
        full_dump,
    };
    Some((ingest, message.flatten()))
}

fn encoding(section: &mut Section<'_>, sink: &mut Sink<'_>) -> Encoding {
    let Some((name, line)) = section.text("encoding", sink) else { return Encoding::Utf8 };
    let found = Encoding::ALL.into_iter().find(|encoding| encoding.name() == name);
    found.unwrap_or_else(|| {
        sink.report(
            line,
            format!("the encoding '{name}' is not known"),
            "write utf-8, gbk or gb18030 (gb2312 is within gbk)",
        );
        Encoding::Utf8
    })
}

/// Exactly one of `csv`, `json`, `xlsx` and `protobuf`.
fn form(
    section: &mut Section<'_>,
    encoding: Encoding,
    file: &Path,
    sink: &mut Sink<'_>,
) -> Option<(Form, Option<MessageDescriptor>)> {
    let (name, line) = section.needed_text("form", "write csv, json, xlsx or protobuf", sink)?;
    let (csv, xlsx, protobuf) = (section.node("csv"), section.node("xlsx"), section.node("protobuf"));
    for (other, node) in [("csv", csv), ("xlsx", xlsx), ("protobuf", protobuf)] {
        if let Some(node) = node
            && name != other
        {
            sink.report(
                node.line,
                format!("ingest.{other} is given, but the form is {name}"),
                format!("remove it, or write form: {other}"),
            );
        }
    }
    if !matches!(name, "csv" | "json") && encoding != Encoding::Utf8 {
        sink.report(line, format!("{name} is always UTF-8"), "remove ingest.encoding");
    }
    match name {
        "csv" => Some((Form::Csv(dialect(csv, encoding, sink)), None)),
        "json" => Some((Form::Json, None)),
        "xlsx" => sheet(xlsx, line, sink).map(|sheet| (Form::Xlsx(sheet), None)),
        "protobuf" => self::protobuf(protobuf, line, file, sink)
            .map(|(schema, message)| (Form::Protobuf(schema), Some(message))),
        other => {
            sink.report(line, format!("there is no form '{other}'"), "write csv, json, xlsx or protobuf");
            None
        }
    }
}

fn dialect(node: Option<&Node>, encoding: Encoding, sink: &mut Sink<'_>) -> Dialect {
    let mut dialect = Dialect { delimiter: b',', quote: Some(b'"') };
    let Some(mut section) = node.and_then(|node| Section::open(node, "ingest.csv", sink)) else {
        return dialect;
    };
    if let Some((text, line)) = section.text("delimiter", sink) {
        match (text.as_bytes(), encoding) {
            (&[byte @ (b',' | b';' | b'\t')], _) | (&[byte @ b'|'], Encoding::Utf8) => {
                dialect.delimiter = byte
            }
            _ => sink.report(
                line,
                format!("the delimiter '{text}' cannot be used with {}", encoding.name()),
                "use ',', ';' or a tab (\"\\t\"); '|' only with utf-8, it is part of characters in gbk",
            ),
        }
    }
    if let Some((text, line)) = section.text("quote", sink) {
        match text {
            "\"" => {}
            "none" => dialect.quote = None,
            _ => sink.report(line, format!("the quote '{text}' is not known"), "write '\"' or none"),
        }
    }
    section.finish(sink);
    dialect
}

fn sheet(node: Option<&Node>, line: u32, sink: &mut Sink<'_>) -> Option<Sheet> {
    let Some(node) = node else {
        sink.report(line, "ingest.xlsx is missing", "give xlsx: { sheet: …, header_row: 1 }");
        return None;
    };
    let mut section = Section::open(node, "ingest.xlsx", sink)?;
    let name =
        section.needed_text("sheet", "name the workbook's sheet", sink).map(|(name, _)| name.to_owned());
    let header_row = match section.node("header_row").map(|node| (&node.kind, node.line)) {
        None => 1,
        Some((Kind::Int(row @ 1..=1000), _)) => *row as u32,
        Some((_, line)) => {
            sink.report(line, "ingest.xlsx.header_row is not a row", "write a number from 1 to 1000");
            1
        }
    };
    section.finish(sink);
    Some(Sheet { name: name?, header_row })
}

/// Compiles the .proto file, which is named relative to the contract.
fn protobuf(
    node: Option<&Node>,
    line: u32,
    contract: &Path,
    sink: &mut Sink<'_>,
) -> Option<(Schema, MessageDescriptor)> {
    let Some(node) = node else {
        sink.report(line, "ingest.protobuf is missing", "give protobuf: { file: …, message: … }");
        return None;
    };
    let mut section = Section::open(node, "ingest.protobuf", sink)?;
    let file = section.needed_text("file", "name the .proto file, relative to this contract", sink);
    let message = section.needed_text("message", "name the message with its package", sink);
    section.finish(sink);
    let ((file, file_line), (name, name_line)) = (file?, message?);
    let path = contract.parent().unwrap_or(Path::new(".")).join(file);
    let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
    let descriptors = match protox::compile([&path], [&folder]) {
        Ok(descriptors) => descriptors,
        Err(error) => {
            sink.report(
                file_line,
                format!("{file} cannot be compiled: {error}"),
                "check the path (relative to this contract) and the .proto file",
            );
            return None;
        }
    };
    let pool = match DescriptorPool::from_file_descriptor_set(descriptors) {
        Ok(pool) => pool,
        Err(error) => {
            sink.report(file_line, format!("{file} cannot be used: {error}"), "repair the .proto file");
            return None;
        }
    };
    let found = pool.get_message_by_name(name);
    if found.is_none() {
        let names: Vec<String> = pool.all_messages().map(|message| message.full_name().to_owned()).collect();
        sink.report(
            name_line,
            format!("{file} has no message '{name}'"),
            format!("use one of: {}", names.join(", ")),
        );
    }
    Some((Schema { file: path, message: name.to_owned() }, found?))
}

fn cursor(section: &mut Section<'_>, fields: &[Field], sink: &mut Sink<'_>) -> Option<CursorFields> {
    let mut section = Section::open(section.node("cursor")?, "ingest.cursor", sink)?;
    let mut named = |key, sink: &mut Sink<'_>| {
        let (name, line) = section.needed_text(key, "name a field of the schema", sink)?;
        field_named(fields, name, line, "ingest.cursor", sink).map(|_| name.to_owned())
    };
    let (updated, key) = (named("updated", sink), named("key", sink));
    section.finish(sink);
    Some(CursorFields { updated: updated?, key: key? })
}

fn full_dump(node: &Node, sink: &mut Sink<'_>) -> Option<FullDump> {
    let mut section = Section::open(node, "ingest.full_dump", sink)?;
    let gone_max_percent = match section.node("gone_max_percent").map(|node| (&node.kind, node.line)) {
        None => DEFAULT_GONE_MAX_PERCENT,
        Some((Kind::Int(percent @ 0..=100), _)) => *percent as u8,
        Some((_, line)) => {
            sink.report(
                line,
                "ingest.full_dump.gone_max_percent is no percentage",
                "write a number from 0 to 100",
            );
            DEFAULT_GONE_MAX_PERCENT
        }
    };
    let files = section.text("files", sink).map(|(pattern, _)| pattern.to_owned());
    section.finish(sink);
    Some(FullDump { files, gone_max_percent })
}

fn bytes(section: &mut Section<'_>, key: &'static str, default: usize, sink: &mut Sink<'_>) -> usize {
    let Some(node) = section.node(key) else { return default };
    let parsed = node.scalar().and_then(|text| size(&text)).filter(|size| (16..=MOST_BYTES).contains(size));
    parsed.unwrap_or_else(|| {
        sink.report(
            node.line,
            format!("ingest.{key} is {}", node.describe()),
            "write a size from 16 bytes to 16MiB, such as 64KiB",
        );
        default
    })
}

fn size(text: &str) -> Option<usize> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].trim().parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(unit)?))
}

fn zone(name: &str) -> Option<i32> {
    match name {
        "Asia/Shanghai" => return Some(480),
        "UTC" | "Etc/UTC" => return Some(0),
        _ => {}
    }
    let (sign, rest) = match name.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..=14).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (hours * 60 + minutes))
}
