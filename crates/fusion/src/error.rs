//! What can stop the fusion stage.

use yibiao_records::{Fault, FrameError, PlaceId};
use yibiao_tables::Problem;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tables(#[from] yibiao_tables::Error),
    #[error(transparent)]
    Topics(#[from] yibiao_topics::Error),
    #[error("the rules cannot be used: {}", problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
    Rules { problems: Vec<Problem> },
    #[error("rule {rule} failed on a batch: {source}")]
    Rule { rule: String, source: Box<datafusion::error::DataFusionError> },
    /// A frame is this system's own: one that cannot be read is never skipped, since its facts would be lost.
    #[error(
        "the frame at {topic}[{partition}] offset {offset} cannot be read: {source}; a newer normaliser may have written it: update this stage"
    )]
    Frame { topic: String, partition: i32, offset: i64, source: Box<FrameError> },
    #[error(
        "the frame at {topic}[{partition}] offset {offset} is of kind '{kind}', which pipelines/facts does not have: add it and restart"
    )]
    Kind { topic: String, partition: i32, offset: i64, kind: String },
    #[error(
        "the frame at {topic}[{partition}] offset {offset} holds place {place}, which belongs to shard {shard}: normaliser and fusion must have the same number of std partitions"
    )]
    Misplaced { topic: String, partition: i32, offset: i64, place: PlaceId, shard: u32 },
    #[error(
        "shard {shard} was made with {found} std partitions, now there are {expected}: keep the number, or replay into a new folder"
    )]
    Partitions { shard: u32, found: String, expected: u32 },
    #[error(
        "{topic}[{partition}] was read up to {next}, but begins at {low}: records were deleted unread; replay the raw topics into a new folder"
    )]
    Gap { topic: String, partition: i32, next: i64, low: i64 },
    #[error(
        "shard {shard} has {batches} batches to make again that were made with other tables or rules: start once with the pipelines of before, stop it in order, then change them"
    )]
    OtherRules { shard: u32, batches: usize },
    #[error(
        "batch {batch} of shard {shard} gives another change log than when it was made first: was that another version of the program or of the pipelines? Start with that version, stop it in order, then change"
    )]
    Diverged { shard: u32, batch: u64 },
    #[error(
        "{topic}[{partition}] ends at {high}, but shard {shard} has read it up to {next} before: is it another cluster, or were records lost?"
    )]
    Short { shard: u32, topic: String, partition: i32, next: i64, high: i64 },
    #[error("putting a first load from {path} in place failed; is the disk full? {source}")]
    Load { path: std::path::PathBuf, source: std::io::Error },
    #[error("no thread for the fusion stage: {0}")]
    Thread(std::io::Error),
    #[error("a thread of the fusion stage panicked: {0}")]
    Panic(String),
    #[error("{0}")]
    Ask(String),
}

impl Error {
    /// Whose fault it is, and whether trying again can help.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Tables(error) => error.fault(),
            Error::Topics(error) => error.fault(),
            Error::Rules { .. }
            | Error::Rule { .. }
            | Error::Kind { .. }
            | Error::Misplaced { .. }
            | Error::Partitions { .. }
            | Error::Gap { .. }
            | Error::OtherRules { .. }
            | Error::Diverged { .. }
            | Error::Short { .. }
            | Error::Load { .. }
            | Error::Thread(_)
            | Error::Ask(_) => Fault::OPERATOR,
            Error::Frame { .. } | Error::Panic(_) => Fault::OURS,
        }
    }
}

impl From<yibiao_records::SchemaError> for Error {
    fn from(error: yibiao_records::SchemaError) -> Self {
        Error::Tables(error.into())
    }
}
