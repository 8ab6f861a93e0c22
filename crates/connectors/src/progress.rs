//! How far a connector is, readable from another task.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// What a connector is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Starting,
    /// File, table, page or topic.
    Reading(String),
    /// At the end of the source, waiting for more.
    Waiting,
    /// The source is away.
    Away(String),
    Done,
    Failed(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Starting => f.write_str("starting"),
            State::Reading(what) => write!(f, "reading {what}"),
            State::Waiting => f.write_str("waiting for more"),
            State::Away(why) => write!(f, "away: {why}"),
            State::Done => f.write_str("done"),
            State::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// Shared between a connector and whoever shows it. Cloning shares.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    records: AtomicU64,
    bytes: AtomicU64,
    read: AtomicU64,
    total: AtomicU64,
    state: Mutex<State>,
}

/// A connector's progress at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Records sent to the raw topic since the connector was started.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// How far the source has been read, in bytes, with what was read before this start.
    pub read_bytes: u64,
    /// The source's size in bytes; None if unknown.
    pub total_bytes: Option<u64>,
    pub state: State,
}

impl Progress {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn snapshot(&self) -> Snapshot {
        let total = self.0.total.load(Ordering::Relaxed);
        Snapshot {
            records: self.0.records.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            read_bytes: self.0.read.load(Ordering::Relaxed),
            total_bytes: (total > 0).then_some(total),
            state: self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone(),
        }
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.0.records.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read_so_far(&self, bytes: u64, total: u64) {
        self.0.read.store(bytes, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// True where this changes anything.
    pub(crate) fn set(&self, state: State) -> bool {
        let mut now = self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let changed = *now != state;
        *now = state;
        changed
    }
}
