//! What can go wrong with a delivery, and whose fault it is.

use std::path::PathBuf;

use chrono::NaiveDate;
use yibiao_records::Fault;

use crate::Problem;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading the deliveries in {path} failed: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the deliveries have {} problem(s):\n{}", problems.len(), problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Grants { problems: Vec<Problem> },
    #[error(
        "the grant of centre {centre} ended on {until}: nothing is delivered; renew `until` in {file} if its purposes are granted again"
    )]
    Expired { centre: String, until: NaiveDate, file: String },
    #[error("the audit log {path} cannot be written, so nothing is delivered: {source}")]
    AuditUnwritable { path: PathBuf, source: std::io::Error },
    #[error(
        "the audit log {path} is not what was written (line {line}: {detail}), so nothing is delivered: find out who changed it, keep it, and begin a new one"
    )]
    AuditBroken { path: PathBuf, line: usize, detail: String },
    #[error("the audit log {path} is in use by another process: one delivery may run")]
    AuditInUse { path: PathBuf },
    #[error("the table {table} lacks the column {column}, so it cannot be divided by area")]
    NoArea { table: String, column: &'static str },
    #[error("the batch of {table} cannot be filtered: {source}")]
    Arrow { table: String, source: arrow::error::ArrowError },
    #[error("the topic {topic} of centre {centre} took no warnings for {seconds} s: tried again later")]
    TopicAway { centre: String, topic: String, seconds: u64 },
    #[error("delivering to {out} failed: {detail}")]
    Out { out: String, detail: String },
    #[error(transparent)]
    Tables(#[from] yibiao_tables::Error),
    #[error(transparent)]
    Topics(#[from] yibiao_topics::Error),
}

impl Error {
    /// Whose fault it is, and whether trying again can help.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Read { .. }
            | Error::Grants { .. }
            | Error::Expired { .. }
            | Error::AuditUnwritable { .. }
            | Error::AuditBroken { .. }
            | Error::AuditInUse { .. }
            | Error::Out { .. }
            | Error::NoArea { .. } => Fault::OPERATOR,
            Error::Arrow { .. } => Fault::OURS,
            Error::TopicAway { .. } => Fault::OUTSIDE,
            Error::Tables(error) => error.fault(),
            Error::Topics(error) => error.fault(),
        }
    }
}
