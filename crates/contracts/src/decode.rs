//! A raw record to what it says, by its contract. Stands at the normaliser.
//!
//! ```text
//!  bytes ── form ──► cells ── types, ranges ──► values ── maps ──► Decoded
//!             └─────────┴────────────┴─────────────┴─────────────► Reject
//! ```

mod plan;

use prost_reflect::MessageDescriptor;
use yibiao_records::{ColumnType, FactKinds, Reason, Value};

use plan::{Plan, Source};

use crate::{
    Error,
    contract::{Contract, Dialect, Field, Form, Ingest, Otherwise, Unknown},
    convert::{Typed, convert},
    door::note_reason,
    key,
    row::{
        Cell, Names, csv, encoding,
        header::{self, Layouts},
        json, protobuf,
    },
    text::fold,
};

/// What one record says.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The same text as the raw topic's key.
    pub source_key: String,
    /// Trimmed, otherwise as the source wrote it. Some whenever the contract requires it.
    pub address: Option<String>,
    pub place_name: Option<String>,
    /// The city that the record names, or else the contract's default city.
    pub city: Option<String>,
    /// The source's id of the place, folded.
    pub external_place_id: Option<String>,
    /// Event time, ms since the epoch, UTC; of a date its midnight in the contract's time zone.
    pub valid_from_ms: i64,
    pub valid_to_ms: Option<i64>,
    /// The record says that it holds no longer.
    pub withdrawn: bool,
    /// In the order of the fact kind's columns.
    pub payload: Vec<Value>,
}

/// Why a record is not accepted: for the quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub reason: Reason,
    /// The source's name of the field.
    pub field: Option<String>,
    pub detail: String,
}

impl Reject {
    pub fn new(reason: Reason, field: Option<String>, detail: String) -> Self {
        Self { reason, field, detail }
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(field) = &self.field {
            write!(f, " in '{field}'")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// Decodes the records of one feed. Keeps its buffers, so one decoder serves one thread.
#[derive(Debug)]
pub struct Decoder {
    fields: Vec<Field>,
    names: Names,
    ingest: Ingest,
    message: Option<MessageDescriptor>,
    plan: Plan,
    layouts: Layouts,
    spans: Vec<csv::Span>,
    buffer: String,
}

impl Decoder {
    pub(crate) fn new(contract: &Contract, kinds: &FactKinds) -> Result<Self, Error> {
        let (feed, kind_name) = (contract.feed.to_string(), contract.fact.kind.clone());
        let Some(kind) = kinds.get(&kind_name) else {
            return Err(Error::UnknownKind { feed, kind: kind_name });
        };
        let ours = contract.fact.columns.iter().map(|column| (&column.column, column.column_type));
        if !kind.columns.iter().map(|column| (&column.name, column.column_type)).eq(ours) {
            return Err(Error::KindChanged {
                feed,
                kind: kind_name,
                detail: "its columns are others".into(),
            });
        }
        Ok(Self {
            names: Names::of(&contract.fields),
            plan: Plan::of(contract),
            fields: contract.fields.clone(),
            ingest: contract.ingest.clone(),
            message: contract.message.clone(),
            layouts: Layouts::default(),
            spans: Vec::new(),
            buffer: String::new(),
        })
    }

    /// `columns` is the untouched header row of a CSV file; other forms have none.
    pub fn decode(&mut self, value: &[u8], columns: Option<&[u8]>) -> Result<Decoded, Reject> {
        if value.len() > self.ingest.max_record_bytes {
            return Err(Reject::new(
                Reason::TooLarge,
                None,
                format!(
                    "the record has {} bytes, at most {} are allowed",
                    value.len(),
                    self.ingest.max_record_bytes
                ),
            ));
        }
        if let Some(reject) = note_reason(value) {
            return Err(reject);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = match &self.ingest.form {
            Form::Csv(dialect) => self.decode_csv(value, columns, *dialect, &mut buffer),
            Form::Json | Form::Xlsx(_) => self.decode_json(value, &mut buffer),
            Form::Protobuf(_) => self.decode_protobuf(value),
        };
        self.buffer = buffer;
        result
    }

    fn decode_csv(
        &mut self,
        value: &[u8],
        columns: Option<&[u8]>,
        dialect: Dialect,
        buffer: &mut String,
    ) -> Result<Decoded, Reject> {
        let Some(header) = columns else {
            return Err(Reject::new(
                Reason::Malformed,
                None,
                "the record comes without its file's header row".into(),
            ));
        };
        let layout = self.layouts.get(header, &self.names, dialect, self.ingest.encoding)?;
        if let Some(field) = header::missing(&layout, &self.fields, &self.plan.dropped) {
            return Err(Reject::new(
                Reason::MissingColumn,
                Some(field.name.clone()),
                "the file's header row lacks this column".into(),
            ));
        }
        if self.ingest.unknown == Unknown::Reject
            && let Some((_, name)) = layout.unknown.first()
        {
            return Err(unknown_column(name));
        }
        let text = decoded_text(value, &self.ingest, buffer)?;
        csv::split(text.as_bytes(), dialect, &mut self.spans)
            .map_err(|error| Reject::new(Reason::Malformed, None, error.detail().into()))?;
        let expected = layout.fields.len();
        let surplus = self.spans.get(expected..).unwrap_or_default();
        if self.spans.len() < expected || surplus.iter().any(|span| !span.content.is_empty()) {
            return Err(Reject::new(
                Reason::Malformed,
                None,
                format!("it has {} cells, the header row {expected}", self.spans.len()),
            ));
        }
        let cells = layout.columns.iter().map(|column| match column {
            Some(column) => Cell::Text(self.spans[*column].text(text)),
            None => Cell::Missing,
        });
        self.finish(cells.collect())
    }

    fn decode_json(&self, value: &[u8], buffer: &mut String) -> Result<Decoded, Reject> {
        let text = decoded_text(value, &self.ingest, buffer)?;
        let mut members = Vec::with_capacity(self.fields.len());
        json::members(text, &mut members).map_err(|detail| Reject::new(Reason::Malformed, None, detail))?;
        let mut cells: Vec<Cell<'_>> = vec![Cell::Missing; self.fields.len()];
        let mut next = 0;
        for member in &members {
            let Some(index) = self.names.find(&member.name, next) else {
                match self.ingest.unknown {
                    Unknown::Reject => return Err(unknown_column(&member.name)),
                    Unknown::Ignore => continue,
                }
            };
            next = index + 1;
            if cells[index] != Cell::Missing {
                return Err(Reject::new(
                    Reason::Malformed,
                    Some(member.name.clone().into_owned()),
                    "the object has this member twice".into(),
                ));
            }
            cells[index] = json::cell(member.raw).ok_or_else(|| {
                Reject::new(
                    Reason::Malformed,
                    Some(member.name.clone().into_owned()),
                    "its text has a wrong escape".into(),
                )
            })?;
        }
        for (index, cell) in cells.iter().enumerate() {
            let field = &self.fields[index];
            if *cell == Cell::Missing && field.required && !field.optional_column && !self.plan.dropped[index]
            {
                return Err(Reject::new(
                    Reason::MissingColumn,
                    Some(field.name.clone()),
                    "the object lacks this member".into(),
                ));
            }
        }
        self.finish(cells)
    }

    fn decode_protobuf(&self, value: &[u8]) -> Result<Decoded, Reject> {
        let descriptor = self.message.as_ref().expect("invariant: a protobuf contract has its message");
        let message = protobuf::message(value, descriptor)?;
        self.finish(self.fields.iter().map(|field| protobuf::cell(&message, &field.name)).collect())
    }

    /// Cells in the order of the fields to what they say.
    fn finish(&self, cells: Vec<Cell<'_>>) -> Result<Decoded, Reject> {
        let plan = &self.plan;
        let zone = self.ingest.zone_minutes;
        let mut values: Vec<Typed<'_>> = Vec::with_capacity(cells.len());
        for (index, cell) in cells.into_iter().enumerate() {
            values.push(self.value(index, cell)?);
        }
        let text = |index: Option<usize>| index.and_then(|index| values[index].text()).map(str::to_owned);
        let mut source_key = String::with_capacity(32);
        for &index in &plan.key {
            key::push_part(&mut source_key, &values[index]);
        }
        let address: String = plan.address.iter().filter_map(|&index| values[index].text()).collect();
        if address.is_empty() && plan.address_required {
            let field = plan.address.first().map(|&index| self.fields[index].name.clone());
            return Err(Reject::new(Reason::EmptyAddress, field, "the address is empty".into()));
        }
        let Some(valid_from_ms) = plan.valid_from.iter().find_map(|&index| values[index].ms(zone)) else {
            let field = plan.valid_from.first().map(|&index| self.fields[index].name.clone());
            return Err(Reject::new(
                Reason::MissingValue,
                field,
                "the record does not say since when it holds".into(),
            ));
        };
        let valid_to_ms = plan.valid_to.and_then(|index| values[index].ms(zone));
        if valid_to_ms.is_some_and(|to| to < valid_from_ms) {
            let field = plan.valid_to.map(|index| self.fields[index].name.clone());
            return Err(Reject::new(Reason::BadDate, field, "it ends before it begins".into()));
        }
        let withdrawn = plan.withdrawn.as_ref().is_some_and(|(index, when)| {
            values[*index].text().is_some_and(|text| when.iter().any(|word| *word == fold(text)))
        });
        let mut payload = Vec::with_capacity(plan.columns.len());
        for (column_type, source) in &plan.columns {
            payload.push(self.cell_of(*column_type, source, &values)?);
        }
        Ok(Decoded {
            source_key,
            address: (!address.is_empty()).then_some(address),
            place_name: text(plan.place_name),
            city: text(plan.city).or_else(|| plan.default_city.clone()),
            external_place_id: plan
                .external_id
                .and_then(|index| values[index].text())
                .map(|id| fold(id).into_owned()),
            valid_from_ms,
            valid_to_ms,
            withdrawn,
            payload,
        })
    }

    fn value<'a>(&self, index: usize, cell: Cell<'a>) -> Result<Typed<'a>, Reject> {
        let (field, plan) = (&self.fields[index], &self.plan);
        if plan.dropped[index] {
            return Ok(Typed::Null);
        }
        let value = convert(field, cell, &self.ingest).map_err(|mut reject| {
            if plan.quiet[index] {
                reject.detail = "the value is not shown, it is personal".into();
            }
            reject
        })?;
        if value.is_null() && field.primary_key.is_some() {
            return Err(Reject::new(
                Reason::MissingKey,
                Some(field.name.clone()),
                "a part of the primary key is empty".into(),
            ));
        }
        // Where one field is the whole address, its lack has a reason of its own.
        if value.is_null() && field.required && plan.address != [index] {
            return Err(Reject::new(
                Reason::MissingValue,
                Some(field.name.clone()),
                "it is required and empty".into(),
            ));
        }
        Ok(value)
    }

    fn cell_of(
        &self,
        column_type: ColumnType,
        source: &Source,
        values: &[Typed<'_>],
    ) -> Result<Value, Reject> {
        Ok(match source {
            Source::Constant(value) => value.clone(),
            Source::Field(index) => values[*index].to_value(column_type, self.ingest.zone_minutes),
            Source::Mapped { field, map, otherwise } => match values[*field].text() {
                None => Value::Null,
                Some(text) => match (map.get(fold(text).as_ref()), otherwise) {
                    (Some(value), _) => value.clone(),
                    (None, Otherwise::Keep) => Value::Text(text.to_owned()),
                    (None, Otherwise::Null) => Value::Null,
                    (None, Otherwise::Reject) => {
                        let mut known: Vec<&str> = map.keys().map(String::as_str).collect();
                        known.sort_unstable();
                        return Err(Reject::new(
                            Reason::BadValue,
                            Some(self.fields[*field].name.clone()),
                            format!("'{}' is none of {}", crate::text::excerpt(text), known.join(", ")),
                        ));
                    }
                },
            },
        })
    }
}

fn decoded_text<'a>(value: &'a [u8], ingest: &Ingest, buffer: &'a mut String) -> Result<&'a str, Reject> {
    encoding::decode(value, ingest.encoding, buffer).map_err(|at| {
        Reject::new(Reason::Undecodable, None, format!("it is not {} at byte {at}", ingest.encoding.name()))
    })
}

fn unknown_column(name: &str) -> Reject {
    Reject::new(
        Reason::UnknownColumn,
        Some(crate::text::excerpt(name)),
        "the contract does not have this column".into(),
    )
}
