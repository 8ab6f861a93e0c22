//! What stands at the connector: gives a record its key, and takes out what is personal before anything is stored.
//!
//! | the feed | the record | what is stored |
//! |---|---|---|
//! | any | nothing personal in it | its bytes, untouched |
//! | drops fields | can be read | CSV: their cells blank; JSON: without their members; protobuf: without their bytes |
//! | drops fields, or has such a column | cannot be read | a note: why, length and hash |
//! | pseudonymises fields | can be read | their values replaced |
//! | any | has an undeclared column with a personal-looking name | CSV: its cell blank; JSON: its value null |
//!
//! An undeclared column's name stays, so that the decoder quarantines the record by it.

mod edit;
mod note;
mod suspect;

use std::borrow::Cow;

use prost_reflect::MessageDescriptor;

pub(crate) use note::note_reason;

use edit::{edited, rebuild};
use note::{note, note_hash};
use suspect::Suspects;

use crate::{
    contract::{Contract, Dialect, Field, Form, Ingest},
    key,
    pseudonym::{PseudonymKeys, pseudonym},
    row::{
        Cell, Names, csv, encoding,
        header::{self, Layouts},
        json, protobuf,
    },
    text::fold_name,
};

/// A record as it may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted<'a> {
    /// The primary key's parts joined by U+001F, or `?` and a hash of the bytes where it has none.
    pub key: Vec<u8>,
    pub value: Cow<'a, [u8]>,
    /// As given.
    pub columns: Option<Cow<'a, [u8]>>,
    /// The value is a note in place of the record.
    pub withheld: bool,
}

/// Admits the records of one feed. Keeps its buffers, so one door serves one thread.
#[derive(Debug)]
pub struct Door {
    fields: Vec<Field>,
    key: Vec<usize>,
    treatments: Vec<Treatment>,
    /// Some field is dropped or pseudonymised.
    guards: bool,
    dropped: Vec<bool>,
    names: Names,
    ingest: Ingest,
    message: Option<MessageDescriptor>,
    layouts: Layouts,
    spans: Vec<csv::Span>,
    buffer: String,
    suspects: Suspects,
}

#[derive(Debug, Clone)]
enum Treatment {
    Keep,
    Drop,
    Pseudonym(Vec<u8>),
}

/// What the door found in a record.
struct Passed {
    key: Option<String>,
    /// None: untouched.
    value: Option<Vec<u8>>,
}

impl Door {
    pub(crate) fn new(contract: &Contract, keys: Option<&PseudonymKeys>) -> Self {
        let treatment = |field: &Field| {
            let pseudonymised = contract.privacy.pseudonymise.iter().find(|entry| entry.field == field.name);
            match pseudonymised.map(|entry| keys.and_then(|keys| keys.get(&entry.purpose))) {
                Some(Some(key)) => Treatment::Pseudonym(key.to_vec()),
                Some(None) => Treatment::Drop,
                None if contract.privacy.drop.contains(&field.name) => Treatment::Drop,
                None => Treatment::Keep,
            }
        };
        let treatments: Vec<Treatment> = contract.fields.iter().map(treatment).collect();
        Self {
            key: contract.key_fields(),
            guards: treatments.iter().any(|treatment| !matches!(treatment, Treatment::Keep)),
            dropped: treatments.iter().map(|treatment| matches!(treatment, Treatment::Drop)).collect(),
            treatments,
            names: Names::of(&contract.fields),
            fields: contract.fields.clone(),
            ingest: contract.ingest.clone(),
            message: contract.message.clone(),
            layouts: Layouts::default(),
            spans: Vec::new(),
            buffer: String::new(),
            suspects: Suspects::default(),
        }
    }

    /// `columns` is the untouched header row of a CSV file; other forms have none. Passing twice is passing once.
    pub fn admit<'a>(&mut self, value: &'a [u8], columns: Option<&'a [u8]>) -> Admitted<'a> {
        if let Some(hash) = note_hash(value) {
            let key = format!("?{hash}").into_bytes();
            return Admitted {
                key,
                value: Cow::Borrowed(value),
                columns: columns.map(Cow::Borrowed),
                withheld: true,
            };
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let passed = match &self.ingest.form {
            _ if value.len() > self.ingest.max_record_bytes => Err("too_large"),
            Form::Csv(dialect) => self.csv(value, columns, *dialect, &mut buffer),
            Form::Json | Form::Xlsx(_) => self.json(value, &mut buffer),
            Form::Protobuf(_) => self.protobuf(value),
        };
        self.buffer = buffer;
        let (passed, withheld) = match passed {
            Ok(passed) => (passed, false),
            Err(why) if self.guards || self.may_hold_personal(value, columns) => {
                (Passed { key: None, value: Some(note(why, value)) }, true)
            }
            Err(_) => (Passed { key: None, value: None }, false),
        };
        // Of bytes that the door changed, the hash must not lead back to what was taken out.
        let key = passed.key.unwrap_or_else(|| match (&passed.value, withheld) {
            (Some(changed), false) => key::unreadable(changed),
            _ => key::unreadable(value),
        });
        Admitted {
            key: key.into_bytes(),
            value: passed.value.map_or(Cow::Borrowed(value), Cow::Owned),
            columns: columns.map(Cow::Borrowed),
            withheld,
        }
    }

    /// Of a record that cannot be read, in a feed that drops nothing: whether an undeclared column looks personal.
    fn may_hold_personal(&mut self, value: &[u8], columns: Option<&[u8]>) -> bool {
        match (&self.ingest.form, columns) {
            (Form::Csv(dialect), Some(columns)) => {
                let layout = self.layouts.get(columns, &self.names, *dialect, self.ingest.encoding);
                layout.is_ok_and(|layout| !layout.suspicious.is_empty())
            }
            (Form::Json | Form::Xlsx(_), _) => self.suspects.any_in(value),
            _ => false,
        }
    }

    /// Errors say why the record cannot be read.
    fn csv(
        &mut self,
        value: &[u8],
        columns: Option<&[u8]>,
        dialect: Dialect,
        buffer: &mut String,
    ) -> Result<Passed, &'static str> {
        let layout = self
            .layouts
            .get(columns.ok_or("no_columns")?, &self.names, dialect, self.ingest.encoding)
            .map_err(|_| "bad_columns")?;
        csv::split(value, dialect, &mut self.spans).map_err(|_| "malformed")?;
        let surplus = self.spans.get(layout.fields.len()..).unwrap_or_default();
        if self.spans.len() < layout.fields.len() || surplus.iter().any(|span| !span.content.is_empty()) {
            return Err("malformed");
        }
        if self.guards {
            // A file that lacks a column and has an unknown one may have renamed the personal one.
            let renamed = self
                .dropped
                .iter()
                .zip(&layout.columns)
                .any(|(dropped, column)| *dropped && column.is_none());
            if renamed && !layout.unknown.is_empty()
                || header::missing(&layout, &self.fields, &self.dropped).is_some()
            {
                return Err("bad_columns");
            }
            encoding::decode(value, self.ingest.encoding, buffer).map_err(|_| "undecodable")?;
        }
        let key = self.key.iter().map(|&index| {
            let column = layout.columns[index]?;
            let span = &self.spans[column];
            let mut text = String::new();
            let content = &value[span.content.clone()];
            let text = encoding::decode(content, self.ingest.encoding, &mut text).ok()?;
            let text = if span.doubled { text.replace("\"\"", "\"") } else { text.to_owned() };
            Some((index, Cell::Text(Cow::Owned(text))))
        });
        let key = key
            .collect::<Option<Vec<_>>>()
            .and_then(|cells| key::of_cells(&self.fields, cells.into_iter(), &self.ingest));
        let mut edits: Vec<(std::ops::Range<usize>, Vec<u8>)> = Vec::new();
        for (position, field) in layout.fields.iter().enumerate() {
            let span = &self.spans[position];
            let treatment = match field {
                Some(field) => &self.treatments[*field],
                None if layout.suspicious.contains(&position) => &Treatment::Drop,
                None => &Treatment::Keep,
            };
            match treatment {
                Treatment::Drop if !span.whole.is_empty() => edits.push((span.whole.clone(), Vec::new())),
                Treatment::Pseudonym(key) if !span.content.is_empty() => {
                    let mut text = String::new();
                    let text =
                        encoding::decode(&value[span.content.clone()], self.ingest.encoding, &mut text)
                            .map_err(|_| "undecodable")?;
                    if !text.trim().is_empty() {
                        edits.push((span.whole.clone(), pseudonym(key, text).into_bytes()));
                    }
                }
                _ => {}
            }
        }
        Ok(Passed { key, value: edited(value, &edits) })
    }

    fn json(&mut self, value: &[u8], buffer: &mut String) -> Result<Passed, &'static str> {
        let text = encoding::decode(value, self.ingest.encoding, buffer).map_err(|_| "undecodable")?;
        let mut members = Vec::with_capacity(self.fields.len());
        json::members(text, &mut members).map_err(|_| "malformed")?;
        let mut cells: Vec<Option<Cell<'_>>> = vec![None; self.key.len()];
        let mut doubled_key = false;
        // Per member: None to keep it, an empty text to drop it, or its new value.
        let mut changes: Vec<Option<String>> = Vec::with_capacity(members.len());
        let mut next = 0;
        let mut suspects = std::mem::take(&mut self.suspects);
        for member in &members {
            let index = self.names.find(&member.name, next);
            next = index.map_or(next, |index| index + 1);
            if let Some(part) = index.and_then(|index| self.key.iter().position(|key| *key == index)) {
                doubled_key |= cells[part].is_some();
                cells[part] = json::cell(member.raw);
            }
            changes.push(self.json_change(index, member, &mut suspects));
        }
        self.suspects = suspects;
        let key = cells
            .into_iter()
            .zip(&self.key)
            .map(|(cell, index)| Some((*index, cell?)))
            .collect::<Option<Vec<_>>>();
        let key = key
            .filter(|_| !doubled_key)
            .and_then(|cells| key::of_cells(&self.fields, cells.into_iter(), &self.ingest));
        if changes.iter().all(Option::is_none) {
            return Ok(Passed { key, value: None });
        }
        let changed = rebuild(text, &members, &changes);
        Ok(Passed { key, value: Some(encoding::encode(&changed, self.ingest.encoding)) })
    }

    fn json_change(
        &self,
        index: Option<usize>,
        member: &json::Member<'_>,
        suspects: &mut Suspects,
    ) -> Option<String> {
        let Some(index) = index else {
            if member.raw == "null" {
                return None;
            }
            let dropped = |name: &str| {
                let name = fold_name(name);
                self.fields
                    .iter()
                    .zip(&self.dropped)
                    .any(|(field, dropped)| *dropped && fold_name(&field.name) == name)
            };
            let personal = suspects.is_personal(&member.name) || json::holds_personal(member.raw, &dropped);
            return personal.then(|| "null".to_owned());
        };
        match &self.treatments[index] {
            Treatment::Keep => None,
            Treatment::Drop => Some(String::new()),
            Treatment::Pseudonym(key) => match json::cell(member.raw) {
                Some(Cell::Null) => None,
                Some(Cell::Text(text) | Cell::Number(text)) => {
                    let pseudonym = format!("\"{}\"", pseudonym(key, &text));
                    (pseudonym != member.raw).then_some(pseudonym)
                }
                // An object or list may hold more than the identifier.
                _ => Some(String::new()),
            },
        }
    }

    fn protobuf(&self, value: &[u8]) -> Result<Passed, &'static str> {
        let descriptor = self.message.as_ref().expect("invariant: a protobuf contract has its message");
        let message = protobuf::message(value, descriptor).map_err(|_| "malformed")?;
        let cells = self.key.iter().map(|&index| (index, protobuf::cell(&message, &self.fields[index].name)));
        let key = key::of_cells(&self.fields, cells, &self.ingest);
        if !self.guards {
            return Ok(Passed { key, value: None });
        }
        // A pseudonym has no place in every wire type; the contract's check keeps it out of protobuf feeds.
        let taken = |index: &usize| !matches!(self.treatments[*index], Treatment::Keep);
        let numbers: Vec<u32> = (0..self.fields.len())
            .filter(taken)
            .filter_map(|index| descriptor.get_field_by_name(&self.fields[index].name))
            .map(|field| field.number())
            .collect();
        let ranges = protobuf::ranges_of(value, &numbers).ok_or("malformed")?;
        let edits: Vec<_> = ranges.into_iter().map(|range| (range, Vec::new())).collect();
        Ok(Passed { key, value: edited(value, &edits) })
    }
}
