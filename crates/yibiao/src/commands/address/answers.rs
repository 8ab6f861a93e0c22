//! What is said of each address: JSON lines, or a Parquet table with a column for each value.

use std::{
    io::{BufWriter, Stdout, Write},
    sync::Arc,
};

use anyhow::{Context, Result};
use arrow::{
    datatypes::{DataType, Field, Schema},
    json::ReaderBuilder,
};
use datafusion::parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::Serialize;
use yibiao_address::{Answer, AreaElement, Element, Parsed};

use super::{places::PlaceName, rows::Row};

/// How the answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Form {
    /// One JSON object a line.
    #[default]
    Jsonl,
    Parquet,
}

/// An answer: as JSON with all that it holds, and as the row of a table.
pub trait Said: Serialize {
    type Row<'a>: Serialize
    where
        Self: 'a;

    /// The table's columns: name, type.
    fn columns() -> Vec<(&'static str, DataType)>;

    fn row<'a>(&'a self, asked: &'a Row) -> Self::Row<'a>;
}

/// Standard output, in one of the forms.
pub enum Out {
    Jsonl(BufWriter<Stdout>),
    Parquet(Box<ArrowWriter<Stdout>>),
}

/// What JSON says beside the answer where a record could not be read.
#[derive(Serialize)]
struct WithError<'a, T> {
    #[serde(flatten)]
    said: &'a T,
    error: &'a str,
}

impl Out {
    pub fn new<S: Said>(form: Form) -> Result<Self> {
        Ok(match form {
            Form::Jsonl => Out::Jsonl(BufWriter::with_capacity(1 << 20, std::io::stdout())),
            Form::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let schema = Arc::new(schema::<S>());
                Out::Parquet(Box::new(ArrowWriter::try_new(std::io::stdout(), schema, Some(properties))?))
            }
        })
    }

    pub fn write<S: Said>(&mut self, asked: &[Row], answers: Vec<Result<(S, Option<String>)>>) -> Result<()> {
        let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
        match self {
            Out::Jsonl(out) => {
                for (_, line) in &answers {
                    writeln!(out, "{}", line.as_deref().unwrap_or_default())?;
                }
            }
            Out::Parquet(writer) => {
                let rows: Vec<_> =
                    asked.iter().zip(&answers).map(|(asked, (said, _))| said.row(asked)).collect();
                let mut decoder = ReaderBuilder::new(Arc::new(schema::<S>())).build_decoder()?;
                decoder.serialize(&rows)?;
                if let Some(batch) = decoder.flush()? {
                    writer.write(&batch)?;
                }
            }
        }
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        match self {
            Out::Jsonl(mut out) => out.flush()?,
            Out::Parquet(writer) => drop(writer.close()?),
        }
        Ok(())
    }
}

/// The answer's line, where the form has lines: made by the workers, since that costs as much as the answer.
pub fn line<S: Said>(form: Form, asked: &Row, said: &S) -> Result<Option<String>> {
    if form == Form::Parquet {
        return Ok(None);
    }
    let line = match &asked.unreadable {
        None => serde_json::to_string(said),
        Some(error) => serde_json::to_string(&WithError { said, error }),
    };
    line.map(Some).context("writing an answer as JSON")
}

fn schema<S: Said>() -> Schema {
    Schema::new(S::columns().into_iter().map(|(name, t)| Field::new(name, t, true)).collect::<Vec<_>>())
}

/// A parsed address as a row: of divisions name and code, of other elements the normalised value.
#[derive(Serialize)]
pub struct ParsedRow<'a> {
    address: &'a str,
    province: Option<&'a str>,
    province_code: Option<&'a str>,
    city: Option<&'a str>,
    city_code: Option<&'a str>,
    county: Option<&'a str>,
    county_code: Option<&'a str>,
    township: Option<&'a str>,
    township_code: Option<&'a str>,
    community: Option<&'a str>,
    community_code: Option<&'a str>,
    group: Option<&'a str>,
    road: Option<&'a str>,
    number: Option<&'a str>,
    compound: Option<&'a str>,
    building: Option<&'a str>,
    unit: Option<&'a str>,
    floor: Option<&'a str>,
    room: Option<&'a str>,
    residue: &'a str,
    error: Option<&'a str>,
}

impl Said for Parsed {
    type Row<'a> = ParsedRow<'a>;

    fn columns() -> Vec<(&'static str, DataType)> {
        [
            "address",
            "province",
            "province_code",
            "city",
            "city_code",
            "county",
            "county_code",
            "township",
            "township_code",
            "community",
            "community_code",
            "group",
            "road",
            "number",
            "compound",
            "building",
            "unit",
            "floor",
            "room",
            "residue",
            "error",
        ]
        .map(|name| (name, DataType::Utf8))
        .into()
    }

    fn row<'a>(&'a self, asked: &'a Row) -> ParsedRow<'a> {
        let name = |area: &'a Option<AreaElement>| area.as_ref().map(|area| area.name.as_str());
        let code = |area: &'a Option<AreaElement>| area.as_ref()?.code.as_deref();
        let value = |element: &'a Option<Element>| element.as_ref().map(|element| element.value.as_str());
        ParsedRow {
            address: &self.text,
            province: name(&self.province),
            province_code: code(&self.province),
            city: name(&self.city),
            city_code: code(&self.city),
            county: name(&self.county),
            county_code: code(&self.county),
            township: name(&self.township),
            township_code: code(&self.township),
            community: name(&self.community),
            community_code: code(&self.community),
            group: value(&self.group),
            road: value(&self.road),
            number: value(&self.number),
            compound: value(&self.compound),
            building: value(&self.building),
            unit: value(&self.unit),
            floor: value(&self.floor),
            room: value(&self.room),
            residue: &self.residue,
            error: asked.unreadable.as_deref(),
        }
    }
}

/// A resolved address as a row. Its runners-up are in the JSON form only.
#[derive(Serialize)]
pub struct AnswerRow<'a> {
    address: &'a str,
    place_id: Option<String>,
    level: &'a str,
    provisional: bool,
    reason: &'a str,
    confidence: f64,
    division_code: Option<String>,
    error: Option<&'a str>,
}

impl Said for Answer<PlaceName> {
    type Row<'a> = AnswerRow<'a>;

    fn columns() -> Vec<(&'static str, DataType)> {
        vec![
            ("address", DataType::Utf8),
            ("place_id", DataType::Utf8),
            ("level", DataType::Utf8),
            ("provisional", DataType::Boolean),
            ("reason", DataType::Utf8),
            ("confidence", DataType::Float64),
            ("division_code", DataType::Utf8),
            ("error", DataType::Utf8),
        ]
    }

    fn row<'a>(&'a self, asked: &'a Row) -> AnswerRow<'a> {
        AnswerRow {
            address: &asked.address,
            place_id: self.place.as_ref().map(PlaceName::to_string),
            level: self.level.as_str(),
            provisional: self.provisional,
            reason: self.reason.as_str(),
            confidence: f64::from(self.confidence),
            division_code: self.division_code.map(|code| format!("{code:012}")),
            error: asked.unreadable.as_deref(),
        }
    }
}
