//! The records of a sample file, as a connector would bring them.

use std::path::{Path, PathBuf};

use calamine::{Data, Reader, open_workbook_auto};
use serde_json::{Map, Value};

use crate::{
    Contract, Error,
    contract::{Dialect, Form, Sheet},
};

/// A sample is small: more is a mistake.
const MAX_SAMPLE_BYTES: u64 = 64 << 20;

/// One record and, of a CSV file, its header row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRecord {
    pub value: Vec<u8>,
    pub columns: Option<Vec<u8>>,
}

/// `<feed>.sample.*` in the contract's folder.
pub(super) fn beside(folder: &Path, contract: &Contract) -> Result<PathBuf, Error> {
    let extension = match contract.ingest.form {
        Form::Csv(_) => "csv",
        Form::Json => "jsonl",
        Form::Xlsx(_) => "xlsx",
        Form::Protobuf(_) => "binpb",
    };
    let path = folder.join(format!("{}.sample.{extension}", contract.feed.feed()));
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Sample {
        path,
        detail: "it is not there; lay a few invented records beside the contract".into(),
    })
}

/// Reads a whole sample: CSV with a header row, JSON lines, a workbook, or protobuf messages each after its
/// length as a varint.
pub fn read_records(contract: &Contract, path: &Path) -> Result<Vec<SampleRecord>, Error> {
    let failed = |detail: String| Error::Sample { path: path.into(), detail };
    let read_error = |source| Error::Read { path: path.into(), source };
    if std::fs::metadata(path).map_err(read_error)?.len() > MAX_SAMPLE_BYTES {
        return Err(failed("it is larger than 64 MiB; take fewer records".into()));
    }
    if let Form::Xlsx(sheet) = &contract.ingest.form {
        return workbook(path, sheet).map_err(failed);
    }
    let bytes = std::fs::read(path).map_err(read_error)?;
    let without_columns = |value: &[u8]| SampleRecord { value: value.to_vec(), columns: None };
    match contract.ingest.form {
        Form::Csv(dialect) => Ok(csv(&bytes, dialect)),
        Form::Protobuf(_) => Ok(delimited(&bytes)
            .ok_or_else(|| failed("its last message is cut off".into()))?
            .into_iter()
            .map(without_columns)
            .collect()),
        _ => Ok(bytes
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .map(without_columns)
            .collect()),
    }
}

/// Lines, except that a quoted cell may hold line ends; a quote that never closes ends with its line.
fn csv(bytes: &[u8], dialect: Dialect) -> Vec<SampleRecord> {
    let mut rows = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let line_end =
            bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |offset| at + offset);
        let end = row_end(bytes, at, dialect).unwrap_or(line_end);
        let row = &bytes[at..end];
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        if !row.is_empty() {
            rows.push(row.to_vec());
        }
        at = end + 1;
    }
    let mut rows = rows.into_iter();
    let Some(columns) = rows.next() else { return Vec::new() };
    rows.map(|value| SampleRecord { value, columns: Some(columns.clone()) }).collect()
}

/// None where a quote does not close.
fn row_end(bytes: &[u8], from: usize, dialect: Dialect) -> Option<usize> {
    let (mut quoted, mut cell_start) = (false, true);
    for (offset, &byte) in bytes[from..].iter().enumerate() {
        if Some(byte) == dialect.quote && (quoted || cell_start) {
            quoted = !quoted;
            // A doubled quote opens again at once.
            cell_start = true;
            continue;
        }
        if byte == b'\n' && !quoted {
            return Some(from + offset);
        }
        cell_start = byte == dialect.delimiter && !quoted;
    }
    (!quoted).then_some(bytes.len())
}

fn delimited(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let length = prost::decode_length_delimiter(&mut bytes).ok()?;
        let (message, rest) = bytes.split_at_checked(length)?;
        messages.push(message);
        bytes = rest;
    }
    Some(messages)
}

fn workbook(path: &Path, sheet: &Sheet) -> Result<Vec<SampleRecord>, String> {
    let mut workbook =
        open_workbook_auto(path).map_err(|error| format!("the workbook cannot be opened: {error}"))?;
    let range = workbook.worksheet_range(&sheet.name).map_err(|error| {
        format!(
            "sheet '{}' cannot be read ({error}); the workbook has {}",
            sheet.name,
            workbook.sheet_names().join(", ")
        )
    })?;
    let first = range.start().map_or(0, |(row, _)| row);
    let mut rows = range.rows().skip((sheet.header_row - 1).saturating_sub(first) as usize);
    let header: Vec<String> = rows.next().unwrap_or_default().iter().map(|cell| cell.to_string()).collect();
    let records = rows.filter(|row| row.iter().any(|cell| !matches!(cell, Data::Empty))).map(|row| {
        let cells = header.iter().zip(row).filter(|(name, _)| !name.trim().is_empty());
        let object: Map<String, Value> = cells.map(|(name, cell)| (name.clone(), rendered(cell))).collect();
        SampleRecord { value: Value::Object(object).to_string().into_bytes(), columns: None }
    });
    Ok(records.collect())
}

fn rendered(cell: &Data) -> Value {
    match cell {
        Data::Empty | Data::Error(_) => Value::Null,
        Data::Int(value) => (*value).into(),
        Data::Float(value) => (*value).into(),
        Data::Bool(value) => (*value).into(),
        Data::DateTime(serial) => serial.as_f64().into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_line_ends_stay_within_their_record_and_an_open_quote_ends_with_its_line() {
        let dialect = Dialect { delimiter: b',', quote: Some(b'"') };
        let rows = csv(b"h,i\r\n1,\"a\nb\"\n2,\"c\"\"d\"\r\n\n3,5\" pipe\n4,\"open\n", dialect);
        let values: Vec<&[u8]> = rows.iter().map(|row| row.value.as_slice()).collect();
        assert_eq!(values, [&b"1,\"a\nb\""[..], b"2,\"c\"\"d\"", b"3,5\" pipe", b"4,\"open"]);
        assert!(rows.iter().all(|row| row.columns.as_deref() == Some(b"h,i")));
    }
}
