//! What can go wrong while records become facts, and whose fault it is. Bad records are no errors: they are
//! quarantined and counted.

use std::path::PathBuf;

use yibiao_records::Fault;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Topics(#[from] yibiao_topics::Error),
    #[error(transparent)]
    State(#[from] yibiao_state::Error),
    #[error(transparent)]
    Contract(#[from] yibiao_contracts::Error),
    #[error(transparent)]
    Gazetteer(#[from] yibiao_address::Error),
    #[error(transparent)]
    Frame(#[from] yibiao_records::FrameError),
    #[error(
        "the contract of {feed} makes facts of kind '{kind}', which is not among the fact kinds; add it to pipelines/facts"
    )]
    UnknownKind { feed: String, kind: String },
    #[error("the contract of {feed} does not say where its facts lie ({missing}); add it to its `place`")]
    NoPlace { feed: String, missing: &'static str },
    #[error(
        "the topic {topic} has {found} partitions, but {expected} were there when the state in {state} was begun: a place's facts would change their shard; restore the number, or begin with an empty state and replay"
    )]
    Partitions { topic: String, found: u32, expected: u32, state: PathBuf },
    #[error(
        "the state store {path} holds an entry for {what} that cannot be read: {detail}; restore the folder, or begin with an empty one and replay"
    )]
    Damaged { path: PathBuf, what: String, detail: String },
    #[error(
        "the feeds {feed} and {other} have the same place in the state, because their names have the same hash: give one of them another name"
    )]
    SamePrefix { feed: String, other: String },
    #[error(
        "the stage did not stop in order, and the contract of {feed} (or the program that reads by it) is another now: what was sent last was read by {before}; start once more with the former contract and program until nothing waits in partition {partition}, stop in order, and then change"
    )]
    ContractChanged { feed: String, before: String, partition: i32 },
    #[error("{doing} {path}: {source}; check the folder, its permissions and its free space")]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "the gazetteer needs the fact kind '{kind}' with a column '{column}'; compare pipelines/facts with this version"
    )]
    GazetteerColumn { kind: String, column: &'static str },
    #[error("making a gazetteer: {kind} has no facts yet; normalise the standard addresses first")]
    NoStandardAddresses { kind: String },
    #[error(
        "the accounts of {feed} do not balance: received {received}, accepted {accepted}, quarantined {quarantined}, unchanged {unchanged}; nothing was committed"
    )]
    Unbalanced { feed: String, received: u64, accepted: u64, quarantined: u64, unchanged: u64 },
    #[error("starting the thread {name}: {source}")]
    Thread { name: String, source: std::io::Error },
    #[error(
        "the thread {name} ended by a panic; its last batch was not committed and is repeated at the next start"
    )]
    Panicked { name: String },
    #[error(
        "ended before the broker had acknowledged the batch; it was not committed and is repeated at the next start"
    )]
    Interrupted,
    #[error("reading the cursor of {what}: {detail}; forget the cursor to begin anew")]
    Cursor { what: String, detail: String },
    #[error("{source}")]
    Custody { source: Box<dyn std::error::Error + Send + Sync>, fault: Fault },
    #[error(
        "the gazetteer {version}, by which {feed} was resolved last, cannot be read ({source}): remove the folders {state} and {gazetteer}, which come back from the newest checkpoint"
    )]
    GazetteerLost { version: String, feed: String, state: PathBuf, gazetteer: PathBuf, source: Box<Error> },
    #[error("stopped by a test before a commit")]
    StoppedByTest,
}

impl Error {
    /// Whose fault it is, and whether to try again.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Topics(error) => error.fault(),
            Error::State(error) => error.fault(),
            Error::Contract(error) => error.fault(),
            Error::Gazetteer(error) => match error.blame() {
                yibiao_address::Blame::Operator => Fault::OPERATOR,
                yibiao_address::Blame::Input => Fault::BAD_INPUT,
            },
            Error::UnknownKind { .. }
            | Error::NoPlace { .. }
            | Error::SamePrefix { .. }
            | Error::ContractChanged { .. }
            | Error::Partitions { .. }
            | Error::Damaged { .. }
            | Error::File { .. }
            | Error::GazetteerColumn { .. }
            | Error::NoStandardAddresses { .. }
            | Error::Cursor { .. }
            | Error::Thread { .. } => Fault::OPERATOR,
            Error::Custody { fault, .. } => *fault,
            Error::GazetteerLost { .. } => Fault::OPERATOR,
            Error::Interrupted => Fault::OUTSIDE,
            Error::Frame(_) | Error::Unbalanced { .. } | Error::Panicked { .. } | Error::StoppedByTest => {
                Fault::OURS
            }
        }
    }
}
