//! One statement, its answer, and three ways to show it.

use std::{io::Write, str::FromStr};

use arrow::{
    array::RecordBatch,
    csv,
    datatypes::SchemaRef,
    json::{ArrayWriter, WriterBuilder, writer::JsonArray},
    util::pretty::pretty_format_batches,
};
use datafusion::{
    error::DataFusionError,
    prelude::{SQLOptions, SessionContext},
};

use crate::Error;

/// The rows of one statement.
#[derive(Debug, Clone)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people, with lines around the cells.
    #[default]
    Table,
    /// With a header row.
    Csv,
    /// One array of objects; null cells are there.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Format::Table),
            "csv" => Ok(Format::Csv),
            "json" => Ok(Format::Json),
            other => Err(format!("'{other}' is not a format: use table, csv or json")),
        }
    }
}

/// Runs a statement that reads. What would change anything (DDL, DML, COPY, SET) is refused.
pub async fn run_sql(session: &SessionContext, sql: &str) -> Result<Answer, Error> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let failed = |error: DataFusionError| match error {
        // SQLOptions says no with a plan error.
        DataFusionError::Plan(detail) if detail.contains("not supported") => Error::ReadOnly(detail),
        error => Error::Sql(Box::new(error)),
    };
    let frame = session.sql_with_options(sql.trim().trim_end_matches(';'), options).await.map_err(failed)?;
    let schema = frame.schema().inner().clone();
    let batches = frame.collect().await.map_err(|error| Error::Sql(Box::new(error)))?;
    Ok(Answer { schema, batches })
}

/// Writes an answer.
pub fn write(answer: &Answer, format: Format, mut out: impl Write) -> Result<(), Error> {
    match format {
        Format::Table => {
            let mut batches = answer.batches.clone();
            if batches.is_empty() {
                batches.push(RecordBatch::new_empty(answer.schema.clone()));
            }
            writeln!(out, "{}", pretty_format_batches(&batches)?)?;
            writeln!(out, "({} rows)", answer.rows())?;
        }
        Format::Csv => {
            let mut writer = csv::WriterBuilder::new().with_header(true).build(&mut out);
            if answer.batches.is_empty() {
                writer.write(&RecordBatch::new_empty(answer.schema.clone()))?;
            }
            for batch in &answer.batches {
                writer.write(batch)?;
            }
        }
        Format::Json => {
            let mut writer: ArrayWriter<_> =
                WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut out);
            writer.write_batches(&answer.batches.iter().collect::<Vec<_>>())?;
            writer.finish()?;
            drop(writer);
            writeln!(out)?;
        }
    }
    Ok(())
}
