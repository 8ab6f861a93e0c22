//! What can go wrong when the broker is started or stopped. What goes wrong in a request is answered in the
//! protocol's own error codes instead, see [`Refusal`].

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

/// Why the broker could not start or stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "refusing to listen on {0}: the embedded broker has no authentication and serves loopback only; \
         give an address such as 127.0.0.1:9092, or run Apache Kafka"
    )]
    NotLoopback(SocketAddr),
    #[error("listening on {listen}: {source}; choose a free port, or port 0 for any")]
    Listen { listen: SocketAddr, source: io::Error },
    #[error("the folder {0:?} is in use by another broker; stop that one or choose another folder")]
    Locked(PathBuf),
    #[error("{doing} {path:?}: {source}")]
    Storage { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "reading the journal {path:?}: {detail}; it was written by another version: move the folder away and start anew"
    )]
    Journal { path: PathBuf, detail: String },
    #[error("starting the broker's threads: {0}")]
    Threads(io::Error),
}

impl Error {
    /// Wraps an I/O error with what was being done to which path.
    pub(crate) fn storage(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Storage { doing, path, source }
    }
}

/// A request, or a part of one, that is refused: the protocol's error code and, where the protocol has room
/// for it, a sentence for the client.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) error: ResponseError,
    pub(crate) message: Option<String>,
}

impl Refusal {
    pub(crate) fn new(error: ResponseError, message: impl Into<String>) -> Refusal {
        Refusal { error, message: Some(message.into()) }
    }

    /// A limit of this broker that was reached: told to the client and warned of in the log.
    pub(crate) fn limit(message: String) -> Refusal {
        tracing::warn!(reason = %message, "embedded broker reached a limit");
        Refusal::new(ResponseError::PolicyViolation, message)
    }

    pub(crate) fn code(&self) -> i16 {
        self.error.code()
    }

    pub(crate) fn text(&self) -> Option<StrBytes> {
        self.message.clone().map(StrBytes::from_string)
    }
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Refusal {
        Refusal { error, message: None }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        tracing::error!(%error, "embedded broker could not use its files");
        Refusal::new(ResponseError::KafkaStorageError, format!("using the broker's files: {error}"))
    }
}

/// The error code of an outcome; 0 when it succeeded.
pub(crate) fn code<T>(outcome: &Result<T, ResponseError>) -> i16 {
    outcome.as_ref().err().map_or(0, ResponseError::code)
}
