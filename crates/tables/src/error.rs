//! What can go wrong with fused state and its projection.

use std::path::PathBuf;

use yibiao_records::{Fault, SchemaError};

use crate::{checkpoint::Subject, objects::Advice};

/// One problem of a specification, with where it stands and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub path: PathBuf,
    /// From 1; 0 where no line can be named.
    pub line: usize,
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.what),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {path} failed: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the tables are not well described: {}", problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
    Spec { problems: Vec<Problem> },
    #[error(transparent)]
    State(#[from] yibiao_state::Error),
    #[error(
        "shard {shard}: the stored {what} cannot be read ({detail}): restore the folder, or replay into a new one"
    )]
    Corrupt { shard: u32, what: &'static str, detail: String },
    #[error(
        "the state of shard {shard} was made with {found}, now configured is {expected}: keep the old setting, or replay into a new folder"
    )]
    Layout { shard: u32, found: String, expected: String },
    #[error("table {table} is not known here; known are {known}")]
    UnknownTable { table: String, known: String },
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("shard {shard} has a writer already: stop the other stage that writes it")]
    Written { shard: u32 },
    #[error("shard {shard} cannot be written after a batch that failed: restart the stage")]
    Poisoned { shard: u32 },

    // Of the lake.
    #[error("{doing} the Delta table {table} failed: {source}{}", Advice::of(&**source))]
    Delta { doing: &'static str, table: String, source: Box<deltalake::DeltaTableError> },
    #[error("{doing} the table {table} failed: {source}")]
    Arrow { doing: &'static str, table: String, source: arrow::error::ArrowError },
    #[error("{doing} failed: {source}")]
    Query { doing: String, source: Box<datafusion::error::DataFusionError> },
    #[error("the location '{location}' is neither a folder nor s3://bucket/prefix: {detail}")]
    Location { location: String, detail: String },
    #[error(
        "the Delta table {table} has column {column} as {found}, the declaration says {wanted}: give the column a new name, or project into a new lake folder"
    )]
    Incompatible { table: String, column: String, found: String, wanted: String },
    #[error(
        "the Delta table {table} was written by somebody else at the same time: only one projector may write to a lake, stop the other one ({source})"
    )]
    OtherWriter { table: String, source: Box<deltalake::DeltaTableError> },
    #[error(
        "the lake has the changes of shard {shard} through {lake}, but the shard has trimmed its change log through {trimmed}: restore the lake's folder, or replay the shard from its topics"
    )]
    LakeBehind { shard: u32, lake: u64, trimmed: u64 },
    #[error(
        "the lake has changes of shard {shard} through {lake}, but the shard knows only {state}: use the state folder that the lake was made from, or an empty lake"
    )]
    LakeAhead { shard: u32, lake: u64, state: u64 },
    #[error(
        "{of} belongs to somebody else now (this process had it in epoch {epoch}): nothing more is written; start again to take it back, or let the other one go on"
    )]
    Revoked { of: Subject, epoch: u64 },
    #[error(
        "shard {shard} has an owner, and this process knows no place for checkpoints: set fusion.checkpoints to the one that was used"
    )]
    Owned { shard: u32 },

    // Of checkpoints.
    #[error("{doing} {path} in the object store failed: {source}{}", Advice::of(&**source))]
    Object { doing: &'static str, path: String, source: Box<object_store::Error> },
    #[error("the object store at {location} cannot be used: {what}")]
    Store { location: String, what: String },
    #[error(
        "{path} in the checkpoints' store cannot be used: {what}; where an older checkpoint is there, delete this one, and the older one is taken"
    )]
    Checkpoint { path: String, what: String },
    #[error(
        "the tail of {of} cannot be made again: {what}; restore the lake and the shard's checkpoints together, or replay into a new folder and lake"
    )]
    Tail { of: Subject, what: String },
    #[error(
        "the state of {of} was written in epoch {state}, the checkpoints' store knows only {store}: is the configured place for checkpoints another one than before?"
    )]
    OtherCheckpoints { of: Subject, state: u64, store: u64 },
    #[error("writing {path} failed; is the disk full? {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("a background task of the tables ended unexpectedly: {0}")]
    Task(String),
    #[error("stopped at the failpoint: {0}")]
    Failpoint(&'static str),
}

impl Error {
    /// Whose fault it is, and whether trying again can help.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Read { .. }
            | Error::Spec { .. }
            | Error::Layout { .. }
            | Error::UnknownTable { .. }
            | Error::Location { .. }
            | Error::Incompatible { .. }
            | Error::OtherWriter { .. }
            | Error::LakeBehind { .. }
            | Error::LakeAhead { .. }
            | Error::Revoked { .. }
            | Error::Owned { .. }
            | Error::Store { .. }
            | Error::Checkpoint { .. }
            | Error::Tail { .. }
            | Error::OtherCheckpoints { .. }
            | Error::Write { .. } => Fault::OPERATOR,
            Error::Delta { .. } | Error::Object { .. } => Fault::OUTSIDE,
            Error::Query { .. } => Fault::BAD_INPUT,
            Error::Arrow { .. } | Error::Task(_) | Error::Failpoint(_) => Fault::OURS,
            Error::State(error) => error.fault(),
            Error::Corrupt { .. } | Error::Schema(_) | Error::Written { .. } | Error::Poisoned { .. } => {
                Fault::OURS
            }
        }
    }
}
