//! What can go wrong with serving, and whose fault it is.

use std::net::SocketAddr;

use yibiao_records::Fault;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "listening on {listen} for {what} failed: {source}; choose another port, or end what listens there"
    )]
    Listen { what: &'static str, listen: SocketAddr, source: std::io::Error },
    #[error(
        "{what} has no authentication and so listens on loopback only, not on {listen}: put a proxy with authentication before it, or set `allow_remote = true`"
    )]
    NotLoopback { what: &'static str, listen: SocketAddr },
    #[error("a metrics recorder is installed already: install it once, at the start")]
    Recorder,
    #[error("this is a read-only service, and the statement would change something: {0}")]
    ReadOnly(String),
    #[error("the statement cannot be run: {0}")]
    Sql(Box<datafusion::error::DataFusionError>),
    #[error("the answer cannot be written: {0}")]
    Output(#[from] std::io::Error),
    #[error("the answer cannot be shown: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("setting up PostgreSQL's catalog failed: {0}")]
    Catalog(Box<datafusion::error::DataFusionError>),
    #[error(transparent)]
    Tables(#[from] yibiao_tables::Error),
}

impl Error {
    /// Whose fault it is, and whether trying again can help.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Listen { .. } | Error::NotLoopback { .. } | Error::Output(_) => Fault::OPERATOR,
            Error::Sql(_) | Error::ReadOnly(_) => Fault::BAD_INPUT,
            Error::Recorder | Error::Arrow(_) | Error::Catalog(_) => Fault::OURS,
            Error::Tables(error) => error.fault(),
        }
    }
}
