//! Facts, and frames of facts in Arrow.
//!
//! A frame holds facts of one kind that came from one raw partition and belong to one shard, in the order of
//! their raw offsets. What they share is in the [`FrameHeader`] (a Kafka header); the Arrow columns hold the
//! rest. So a consumer decides by the header alone whether it has applied a frame.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float32Array, Int32Array, Int64Array,
        RecordBatch, StringArray,
    },
    datatypes::{DataType, Field, Float32Type, Int32Type, Int64Type, Schema, SchemaRef},
    error::ArrowError,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use prost::Message;

use crate::{
    FactId, FactKind, PlaceId, Value,
    proto::FrameHeader,
    schema::{self, SchemaError, arrow_field},
};

/// A frame that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame's Arrow data cannot be read or written: {0}")]
    Arrow(#[from] ArrowError),
    #[error("a frame's header cannot be read: {0}")]
    Header(#[from] prost::DecodeError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("a frame of {kind} lacks the column {column}, or has it in another type")]
    Column { kind: String, column: &'static str },
    #[error("a frame is of kind {found}, expected {expected}")]
    Kind { found: String, expected: String },
}

/// What a fact says of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// It holds, in place of what the same fact id said before.
    Assert,
    /// It holds no longer at this place.
    Retract,
}

/// The raw record that a fact came from, within the frame's raw partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawPosition {
    pub offset: i64,
    /// Which of the record's facts, from 0.
    pub index: i32,
}

/// What one source record says about one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub statement: Statement,
    pub id: FactId,
    pub place: PlaceId,
    /// compound, building, unit, dwelling, or name
    pub level: String,
    /// The standard addresses do not have this place.
    pub provisional: bool,
    /// 12 digits, today's code.
    pub division_code: String,
    /// Event time, ms since the epoch, UTC; inclusive.
    pub valid_from_ms: i64,
    /// Exclusive; None while it holds.
    pub valid_to_ms: Option<i64>,
    /// When the normaliser recorded it.
    pub recorded_at_ms: i64,
    pub source_key: String,
    pub raw: RawPosition,
    /// How the address was matched, a code of the address crate.
    pub match_reason: String,
    /// 0 to 1.
    pub confidence: f32,
    /// In the order of the kind's columns; all null where the statement is a retraction.
    pub payload: Vec<Value>,
}

/// Facts of one kind from one raw partition for one shard.
#[derive(Debug, Clone)]
pub struct Frame {
    pub header: FrameHeader,
    pub batch: RecordBatch,
}

const RETRACT: &str = "retract";
const FACT_ID: &str = "fact_id";
const PLACE_ID: &str = "place_id";
const LEVEL: &str = "level";
const PROVISIONAL: &str = "provisional";
const DIVISION_CODE: &str = "division_code";
const VALID_FROM: &str = "valid_from_ms";
const VALID_TO: &str = "valid_to_ms";
const RECORDED_AT: &str = "recorded_at_ms";
const SOURCE_KEY: &str = "source_key";
const RAW_OFFSET: &str = "raw_offset";
const RAW_INDEX: &str = "raw_index";
const MATCH_REASON: &str = "match_reason";
const CONFIDENCE: &str = "confidence";

/// The number of columns before the payload. Payload columns are prefixed `p_`, so that a kind may have a
/// column called `level` or `division_code` of its own.
const FIXED: usize = 14;

fn frame_schema(kind: &FactKind) -> SchemaRef {
    let mut fields = vec![
        Field::new(RETRACT, DataType::Boolean, false),
        Field::new(FACT_ID, DataType::FixedSizeBinary(16), false),
        Field::new(PLACE_ID, DataType::Int64, false),
        Field::new(LEVEL, DataType::Utf8, false),
        Field::new(PROVISIONAL, DataType::Boolean, false),
        Field::new(DIVISION_CODE, DataType::Utf8, false),
        Field::new(VALID_FROM, DataType::Int64, false),
        Field::new(VALID_TO, DataType::Int64, true),
        Field::new(RECORDED_AT, DataType::Int64, false),
        Field::new(SOURCE_KEY, DataType::Utf8, false),
        Field::new(RAW_OFFSET, DataType::Int64, false),
        Field::new(RAW_INDEX, DataType::Int32, false),
        Field::new(MATCH_REASON, DataType::Utf8, false),
        Field::new(CONFIDENCE, DataType::Float32, false),
    ];
    debug_assert_eq!(fields.len(), FIXED);
    fields.extend(kind.columns.iter().map(|column| {
        let field = arrow_field(column);
        let name = format!("p_{}", field.name());
        field.with_name(name)
    }));
    Arc::new(Schema::new(fields))
}

/// Collects facts of one kind from one raw partition for one shard.
#[derive(Debug)]
pub struct FrameBuilder {
    kind: Arc<FactKind>,
    header: FrameHeader,
    facts: Vec<Fact>,
}

impl FrameBuilder {
    /// `header` gives feed, raw topic and partition, and the versions; kind, offsets and count are filled in.
    pub fn new(kind: Arc<FactKind>, mut header: FrameHeader) -> Self {
        header.kind = kind.name.clone();
        Self { kind, header, facts: Vec::new() }
    }

    /// Facts come in the order of their raw positions.
    pub fn push(&mut self, fact: Fact) {
        if let Some(last) = self.facts.last() {
            debug_assert!(last.raw < fact.raw, "facts are pushed in raw order, each once");
        }
        self.facts.push(fact);
    }

    pub fn len(&self) -> usize {
        self.facts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The frame, or None when no fact was pushed. The builder is empty afterwards and can be used again.
    pub fn finish(&mut self) -> Result<Option<Frame>, FrameError> {
        let facts = std::mem::take(&mut self.facts);
        let (Some(first), Some(last)) = (facts.first(), facts.last()) else { return Ok(None) };
        let mut header = self.header.clone();
        header.first_offset = first.raw.offset;
        header.last_offset = last.raw.offset;
        header.facts = facts.len() as u32;

        let text = |of: fn(&Fact) -> &str| -> ArrayRef {
            Arc::new(facts.iter().map(|fact| Some(of(fact))).collect::<StringArray>())
        };
        let int =
            |of: fn(&Fact) -> i64| -> ArrayRef { Arc::new(facts.iter().map(of).collect::<Int64Array>()) };
        let flag = |of: fn(&Fact) -> bool| -> ArrayRef {
            Arc::new(facts.iter().map(|fact| Some(of(fact))).collect::<BooleanArray>())
        };
        let mut columns: Vec<ArrayRef> = vec![
            flag(|fact| fact.statement == Statement::Retract),
            Arc::new(FixedSizeBinaryArray::try_from_iter(facts.iter().map(|fact| fact.id.as_bytes()))?),
            int(|fact| fact.place.get()),
            text(|fact| &fact.level),
            flag(|fact| fact.provisional),
            text(|fact| &fact.division_code),
            int(|fact| fact.valid_from_ms),
            Arc::new(facts.iter().map(|fact| fact.valid_to_ms).collect::<Int64Array>()),
            int(|fact| fact.recorded_at_ms),
            text(|fact| &fact.source_key),
            int(|fact| fact.raw.offset),
            Arc::new(facts.iter().map(|fact| fact.raw.index).collect::<Int32Array>()),
            text(|fact| &fact.match_reason),
            Arc::new(facts.iter().map(|fact| fact.confidence).collect::<Float32Array>()),
        ];
        for (index, column) in self.kind.columns.iter().enumerate() {
            let null = &Value::Null;
            let values = facts.iter().map(|fact| fact.payload.get(index).unwrap_or(null));
            columns.push(schema::array(column, values)?);
        }
        let batch = RecordBatch::try_new(frame_schema(&self.kind), columns)?;
        Ok(Some(Frame { header, batch }))
    }
}

impl Frame {
    /// The Kafka header `frame` and the message's value (one Arrow IPC stream of one batch).
    pub fn encode(&self) -> Result<(Vec<u8>, Vec<u8>), FrameError> {
        let mut writer = StreamWriter::try_new(Vec::new(), &self.batch.schema())?;
        writer.write(&self.batch)?;
        let value = writer.into_inner()?;
        Ok((self.header.encode_to_vec(), value))
    }

    /// Reads only the header.
    pub fn decode_header(header: &[u8]) -> Result<FrameHeader, FrameError> {
        Ok(FrameHeader::decode(header)?)
    }

    pub fn decode(header: FrameHeader, value: &[u8], kind: &FactKind) -> Result<Self, FrameError> {
        if header.kind != kind.name {
            return Err(FrameError::Kind { found: header.kind, expected: kind.name.clone() });
        }
        let mut reader = StreamReader::try_new(value, None)?;
        let batch =
            reader.next().ok_or_else(|| ArrowError::IpcError("the stream holds no batch".into()))??;
        Ok(Self { header, batch })
    }

    /// The facts, in raw order. Payload columns are found by name: one that the frame lacks (it was
    /// written before the kind had it) is null.
    pub fn facts(&self, kind: &FactKind) -> Result<Vec<Fact>, FrameError> {
        let rows = self.batch.num_rows();
        let column = |name: &'static str, data_type: DataType| {
            self.batch
                .column_by_name(name)
                .filter(|array| array.data_type() == &data_type)
                .ok_or(FrameError::Column { kind: kind.name.clone(), column: name })
        };
        let retract = column(RETRACT, DataType::Boolean)?.as_boolean();
        let id = column(FACT_ID, DataType::FixedSizeBinary(16))?.as_fixed_size_binary();
        let place = column(PLACE_ID, DataType::Int64)?.as_primitive::<Int64Type>();
        let level = column(LEVEL, DataType::Utf8)?.as_string::<i32>();
        let provisional = column(PROVISIONAL, DataType::Boolean)?.as_boolean();
        let division = column(DIVISION_CODE, DataType::Utf8)?.as_string::<i32>();
        let valid_from = column(VALID_FROM, DataType::Int64)?.as_primitive::<Int64Type>();
        let valid_to = column(VALID_TO, DataType::Int64)?.as_primitive::<Int64Type>();
        let recorded_at = column(RECORDED_AT, DataType::Int64)?.as_primitive::<Int64Type>();
        let source_key = column(SOURCE_KEY, DataType::Utf8)?.as_string::<i32>();
        let offset = column(RAW_OFFSET, DataType::Int64)?.as_primitive::<Int64Type>();
        let index = column(RAW_INDEX, DataType::Int32)?.as_primitive::<Int32Type>();
        let reason = column(MATCH_REASON, DataType::Utf8)?.as_string::<i32>();
        let confidence = column(CONFIDENCE, DataType::Float32)?.as_primitive::<Float32Type>();
        let payload: Vec<Option<&ArrayRef>> = kind
            .columns
            .iter()
            .map(|column| self.batch.column_by_name(&format!("p_{}", column.name)))
            .collect();

        (0..rows)
            .map(|row| {
                let cells = kind.columns.iter().zip(&payload).map(|(column, array)| match array {
                    Some(array) => schema::value_at(column, array.as_ref(), row),
                    None => Ok(Value::Null),
                });
                Ok(Fact {
                    statement: if retract.value(row) { Statement::Retract } else { Statement::Assert },
                    id: FactId::from_bytes(id.value(row).try_into().expect("the column's width was checked")),
                    place: PlaceId::new(place.value(row))
                        .ok_or(FrameError::Column { kind: kind.name.clone(), column: PLACE_ID })?,
                    level: level.value(row).to_owned(),
                    provisional: provisional.value(row),
                    division_code: division.value(row).to_owned(),
                    valid_from_ms: valid_from.value(row),
                    valid_to_ms: valid_to.is_valid(row).then(|| valid_to.value(row)),
                    recorded_at_ms: recorded_at.value(row),
                    source_key: source_key.value(row).to_owned(),
                    raw: RawPosition { offset: offset.value(row), index: index.value(row) },
                    match_reason: reason.value(row).to_owned(),
                    confidence: confidence.value(row),
                    payload: cells.collect::<Result<_, _>>()?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Column, ColumnType, FeedId};

    fn kind() -> Arc<FactKind> {
        Arc::new(FactKind {
            name: "place".into(),
            title: "地点".into(),
            description: String::new(),
            columns: vec![
                Column::new("level", ColumnType::Text, "级别"),
                Column::new("amount", ColumnType::Decimal, "量"),
                Column::new("day", ColumnType::Date, "日"),
            ],
        })
    }

    fn fact(n: i64, payload: Vec<Value>) -> Fact {
        let feed: FeedId = "police/standard-addresses".parse().unwrap();
        Fact {
            statement: if payload.is_empty() { Statement::Retract } else { Statement::Assert },
            id: FactId::derive(&feed, &n.to_string(), 0),
            place: PlaceId::derive("x", &n.to_string()),
            level: "dwelling".into(),
            provisional: n % 2 == 0,
            division_code: "320106003001".into(),
            valid_from_ms: n,
            valid_to_ms: (n % 3 == 0).then_some(n + 1),
            recorded_at_ms: 7,
            source_key: format!("户{n}"),
            raw: RawPosition { offset: n, index: 0 },
            match_reason: "exact".into(),
            confidence: 0.5,
            payload,
        }
    }

    #[test]
    fn facts_come_back_from_a_frame_as_they_went_in() {
        let kind = kind();
        let mut builder = FrameBuilder::new(kind.clone(), FrameHeader::default());
        let facts: Vec<Fact> = (0..10)
            .map(|n| match n % 4 {
                0 => fact(n, vec![]),
                _ => fact(n, vec![Value::Text("户室".into()), Value::Decimal(n), Value::Null]),
            })
            .collect();
        facts.iter().cloned().for_each(|fact| builder.push(fact));
        let frame = builder.finish().unwrap().unwrap();
        assert!(builder.finish().unwrap().is_none());
        let (header, value) = frame.encode().unwrap();
        let header = Frame::decode_header(&header).unwrap();
        assert_eq!((header.first_offset, header.last_offset, header.facts), (0, 9, 10));
        let back = Frame::decode(header, &value, &kind).unwrap().facts(&kind).unwrap();
        for (mut before, after) in facts.into_iter().zip(back) {
            before.payload.resize(3, Value::Null);
            assert_eq!(before, after);
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_column() {
        let mut builder = FrameBuilder::new(kind(), FrameHeader::default());
        builder.push(fact(1, vec![Value::Int(3), Value::Null, Value::Null]));
        let error = builder.finish().unwrap_err().to_string();
        assert!(error.contains("column level is Text"), "{error}");
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        assert!(
            Frame::decode(FrameHeader { kind: "place".into(), ..Default::default() }, b"garbage", &kind())
                .is_err()
        );
        assert!(Frame::decode(FrameHeader::default(), b"", &kind()).is_err());
    }
}
