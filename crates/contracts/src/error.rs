//! The crate's error.

use std::path::PathBuf;

use yibiao_records::Fault;

/// What can go wrong while contracts are used. Bad records are not errors but a [`crate::Reject`], and bad
/// contracts are a list of [`crate::Problems`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "making the decoder of {feed}: fact kind '{kind}' is not among the kinds given; load pipelines/facts first"
    )]
    UnknownKind { feed: String, kind: String },
    #[error(
        "making the decoder of {feed}: its contract was checked against another '{kind}' ({detail}); load the contracts again"
    )]
    KindChanged { feed: String, kind: String, detail: String },
    #[error("reading {path}: {source}; check that the file is there and readable")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("reading the fact kind {path}: {detail}")]
    FactKind { path: PathBuf, detail: String },
    #[error("trying the sample {path}: {detail}")]
    Sample { path: PathBuf, detail: String },
    #[error(
        "making the door of {feed}: no key is configured for the purpose '{purpose}', by which its contract pseudonymises; add it to the pseudonym keys"
    )]
    PseudonymKey { feed: String, purpose: String },
}

impl Error {
    pub fn fault(&self) -> Fault {
        match self {
            Error::KindChanged { .. } => Fault::OURS,
            _ => Fault::OPERATOR,
        }
    }
}
