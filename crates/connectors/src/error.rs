//! What can go wrong on the way from a source to its raw topic.

use std::path::PathBuf;

use yibiao_records::Fault;

/// An error of a connector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Topics(#[from] yibiao_topics::Error),
    #[error("{doing} {}: {source}; check the path and its permissions", path.display())]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the source of {feed} is {connector}, but its contract describes {form}; correct one of them")]
    Form { feed: String, connector: &'static str, form: &'static str },
    #[error(
        "the contract of {feed} names no cursor columns; add `cursor: {{updated: …, key: …}}` to yibiao.ingest"
    )]
    NoCursorColumns { feed: String },
    #[error(
        "the contract of {feed} says full_dump, and its source is no folder of files: only a file tells where a dump ends; remove full_dump"
    )]
    NoDump { feed: String },
    #[error("{what} is away: {detail}")]
    Away { what: String, detail: String, retry_after: Option<std::time::Duration> },
    #[error("{what} refuses: {detail}; {mend}")]
    Refused { what: String, detail: String, mend: &'static str },
    #[error("{what} was away for {waited_s} s, given up ({detail}); start again when it is back")]
    GivenUp { what: String, detail: String, waited_s: u64 },
    #[error("a task ended by a panic while {doing}")]
    Panicked { doing: String },
    /// Never leaves the crate: ends a connector that was asked to stop.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// Whose fault it is, and whether to try again.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Topics(error) => error.fault(),
            Error::File { .. } | Error::Away { .. } => Fault::OUTSIDE,
            Error::GivenUp { .. } => Fault::OUTSIDE,
            Error::Form { .. }
            | Error::NoDump { .. }
            | Error::NoCursorColumns { .. }
            | Error::Refused { .. } => Fault::OPERATOR,
            Error::Panicked { .. } | Error::Stopped => Fault::OURS,
        }
    }

    pub(crate) fn away(what: impl Into<String>, detail: impl ToString) -> Self {
        Error::Away { what: what.into(), detail: detail.to_string(), retry_after: None }
    }
}
