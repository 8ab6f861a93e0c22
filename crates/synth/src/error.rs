//! What can go wrong while a city is written, served or scored.

use std::path::{Path, PathBuf};

use yibiao_records::Fault;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the plan cannot be followed: {0}")]
    Plan(String),
    #[error("the folder {0} already holds a city; choose another or remove it")]
    Occupied(PathBuf),
    #[error("{doing} {path}: {source}")]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("writing the workbook {path}: {source}")]
    Workbook { path: PathBuf, source: Box<rust_xlsxwriter::XlsxError> },
    #[error("the truth in {path}, line {line}, cannot be read: {what}; write the city again")]
    Truth { path: PathBuf, line: usize, what: String },
    #[error("the hazard file {path} is cut at byte {at}; write the city again")]
    Hazards { path: PathBuf, at: u64 },
    #[error("the electricity service cannot listen on {listen}: {source}; choose a free loopback address")]
    Listen { listen: std::net::SocketAddr, source: std::io::Error },
}

impl Error {
    /// Whose fault it is, and whether trying again can help.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Plan(_) | Error::Occupied(_) | Error::File { .. } | Error::Listen { .. } => {
                Fault::OPERATOR
            }
            Error::Workbook { .. } => Fault::OPERATOR,
            Error::Truth { .. } | Error::Hazards { .. } => Fault::BAD_INPUT,
        }
    }

    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { doing, path, source }
    }
}
