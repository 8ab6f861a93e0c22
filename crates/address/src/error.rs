//! What can go wrong: building and opening a gazetteer. Resolving never fails, it answers.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("writing the gazetteer {path}: {source}; check the folder and its free space")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("opening the gazetteer {path}: {source}; build it first, or correct the path")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("opening the gazetteer {path}: {problem}; build it again from the standard addresses")]
    Damaged { path: PathBuf, problem: String },
    #[error("adding the standard address {place}: {problem}")]
    Refused { place: u64, problem: &'static str },
    #[error("building the gazetteer: {problem}")]
    TooLarge { problem: &'static str },
}

/// Whose matter a fault is, for callers that keep their own taxonomy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The operator: a path, a disk, a file of another version.
    Operator,
    /// The rows that came in.
    Input,
}

impl Error {
    /// None of these goes away by trying again.
    pub fn blame(&self) -> Blame {
        match self {
            Error::Write { .. } | Error::Open { .. } | Error::Damaged { .. } => Blame::Operator,
            Error::Refused { .. } | Error::TooLarge { .. } => Blame::Input,
        }
    }
}
