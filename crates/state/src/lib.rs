//! The embedded, ordered key-value store in which each stage keeps its state and its position together.
//!
//! ```text
//!  Store ── keyspace "rows"       ┐
//!        ── keyspace "facts"      ├─ one Batch = one atomic, all-or-nothing write over all of them
//!        ── keyspace "positions"  ┘
//! ```
//!
//! This crate alone knows the storage engine (fjall, an LSM tree in Rust; docs/adr/0002-state-store.md). What a
//! commit promises is [`Durability`]. A store belongs to one process at a time.

mod checkpoint;
mod run;
mod sort;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use fjall::{
    CompressionType, KeyspaceCreateOptions, PersistMode, Readable,
    config::{CompressionPolicy, PinningPolicy},
};
use yibiao_records::Fault;

pub use run::Run;
pub use sort::{Sorted, Sorter};

/// A store that cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the state store {path} is in use by another process: stop that one, or give this one its own folder"
    )]
    InUse { path: PathBuf },
    #[error("opening the state store {path} failed: {source}")]
    Open { path: PathBuf, source: fjall::Error },
    #[error(
        "the state store {path} was written by a newer version or another program ({found}): use another folder"
    )]
    Format { path: PathBuf, found: String },
    #[error("reading the state store {path} failed: {source}")]
    Read { path: PathBuf, source: fjall::Error },
    #[error("writing the state store {path} failed; is the disk full? {source}")]
    Write { path: PathBuf, source: fjall::Error },
    #[error("a copy of the state store {path} in {to} failed; is the disk full? {source}")]
    Checkpoint { path: PathBuf, to: PathBuf, source: io::Error },
    #[error("a sorted run into the state store {path} is not in order: what it was made of is damaged")]
    Order { path: PathBuf },
    #[error("sorting in {path} failed; is the disk full? {source}")]
    Sort { path: PathBuf, source: io::Error },
}

impl Error {
    pub fn fault(&self) -> Fault {
        Fault::OPERATOR
    }
}

/// A disk that takes longer to take a memtable has a fault, which the next write tells.
const FLUSHED_WITHIN: Duration = Duration::from_secs(10);
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// What has happened to the data when `commit` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives the death of the process, not that of the machine. Enough for a stage that can repeat its
    /// input from the position in the same batch.
    #[default]
    Process,
    /// It survives a power cut: the journal is synchronised to disk.
    Machine,
}

/// Limits of one store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Block cache, bytes.
    pub cache_bytes: u64,
    /// Memtables of one keyspace, bytes: half is filled while the other half is flushed. A batch waits where all keyspaces
    /// together hold more than so much each, until what is full has been flushed.
    pub write_buffer_bytes: u64,
    pub durability: Durability,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, write_buffer_bytes: 64 << 20, durability: Durability::Process }
    }
}

/// A journal stays until every keyspace that wrote to it was flushed, and some hardly ever are. All of it is read at the next
/// start: with the engine's own 512 MiB that took four times as long (docs/adr/0002-state-store.md).
const JOURNALS_MAX_BYTES: u64 = 64 << 20;

/// Indexes and filters stay in memory, about 3 bytes a row: else blocks of half a megabyte of them go through the cache, and a
/// read of one place takes milliseconds now and then. Tables are compressed, all but those that were flushed just now: rows
/// and facts of neighbours are alike, and take a quarter of the disk and of the system's cache. The engine would begin a level
/// lower, and would not compress a [`Run`] at all. Stored with a keyspace when it is made.
fn keyspace_options(memtable_bytes: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes)
        .data_block_compression_policy(CompressionPolicy::new([CompressionType::None, CompressionType::Lz4]))
        .filter_block_partitioning_policy(PinningPolicy::all(false))
        .index_block_partitioning_policy(PinningPolicy::all(false))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::all(true))
}

/// Which keyspace: the index into the names given to [`Store::open`].
pub type Keyspace = usize;

/// Bytes of a stored key or value; cheap to clone, and it dereferences to `[u8]`.
pub type Bytes = fjall::Slice;

/// An open store. Cheap to clone; all clones share it.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    database: fjall::Database,
    keyspaces: Vec<fjall::Keyspace>,
    durability: Durability,
    memtables_max_bytes: u64,
    waited_ms: metrics::Counter,
    /// Shared by commits; whoever copies the store has it alone.
    commits: Arc<RwLock<()>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or makes the store in folder `path` with these keyspaces, in this order.
    pub fn open(path: impl AsRef<Path>, keyspaces: &[&str], options: &Options) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let opening = |source| match source {
            fjall::Error::Locked => Error::InUse { path: path.clone() },
            fjall::Error::InvalidVersion(version) => {
                Error::Format { path: path.clone(), found: format!("{version:?}") }
            }
            source => Error::Open { path: path.clone(), source },
        };
        clear_unfinished(&path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::InUse { path: path.clone() },
            _ => Error::Open { path: path.clone(), source: error.into() },
        })?;
        let database = fjall::Database::builder(&path)
            .cache_size(options.cache_bytes)
            // With more, the first hands each compaction back to the queue at once, and takes it again, as long as
            // another is at one (fjall 3.1): it spins, and cost a third of the processor's time.
            .worker_threads(1)
            .max_journaling_size(JOURNALS_MAX_BYTES)
            .open()
            .map_err(opening)?;
        let memtable = (options.write_buffer_bytes / 2).clamp(4 << 20, 64 << 20);
        let memtables_max_bytes = memtable * 2 * keyspaces.len() as u64;
        let keyspaces = keyspaces
            .iter()
            .map(|name| database.keyspace(name, || keyspace_options(memtable)))
            .collect::<Result<_, _>>()
            .map_err(opening)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let waited_ms = metrics::counter!("yibiao_state_wait_milliseconds_total", "store" => name);
        let durability = options.durability;
        let commits = Arc::default();
        Ok(Self { path, database, keyspaces, durability, memtables_max_bytes, waited_ms, commits })
    }

    /// The engine lets four full memtables wait in each keyspace, which is many times what was asked for. Memtables that are
    /// being filled take at most half of what they may, so that beyond it there is always one to be flushed.
    fn wait_for_flushes(&self) {
        if self.database.write_buffer_size() <= self.memtables_max_bytes {
            return;
        }
        let began = Instant::now();
        while self.database.write_buffer_size() > self.memtables_max_bytes && began.elapsed() < FLUSHED_WITHIN
        {
            std::thread::sleep(FLUSH_LOOK);
        }
        self.waited_ms.increment(began.elapsed().as_millis() as u64);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn get(&self, keyspace: Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.keyspaces[keyspace].get(key).map_err(|source| self.reading(source))
    }

    /// The pairs whose key begins with `prefix`, in key order.
    pub fn prefix(
        &self,
        keyspace: Keyspace,
        prefix: impl AsRef<[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), Error>> + '_ {
        self.keyspaces[keyspace].prefix(prefix).map(|pair| pair.into_inner().map_err(|e| self.reading(e)))
    }

    /// The pairs from key `from` (inclusive) on, in key order.
    pub fn from(
        &self,
        keyspace: Keyspace,
        from: impl AsRef<[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), Error>> + '_ {
        self.keyspaces[keyspace]
            .range(from.as_ref().to_vec()..)
            .map(|pair| pair.into_inner().map_err(|e| self.reading(e)))
    }

    /// The store as it is now: later commits do not show in it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { store: self.clone(), snapshot: self.database.snapshot() }
    }

    pub fn batch(&self) -> Batch {
        Batch { store: self.clone(), batch: self.database.batch() }
    }

    /// Bytes on disk, journal included.
    pub fn disk_bytes(&self) -> Result<u64, Error> {
        self.database.disk_space().map_err(|source| self.reading(source))
    }

    /// Synchronises everything to disk; for an orderly end.
    pub fn persist(&self) -> Result<(), Error> {
        self.database
            .persist(PersistMode::SyncAll)
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Empties every keyspace, one after the other. For simulations, which use one store for thousands of runs.
    #[doc(hidden)]
    pub fn clear(&self) -> Result<(), Error> {
        let clear = |keyspace: &fjall::Keyspace| keyspace.clear();
        self.keyspaces
            .iter()
            .try_for_each(clear)
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Everything that is in it. For simulations, which copy a state without its files.
    #[doc(hidden)]
    pub fn pairs(&self) -> impl Iterator<Item = Result<(Keyspace, Bytes, Bytes), Error>> + '_ {
        let of = |keyspace| {
            self.prefix(keyspace, b"").map(move |pair| pair.map(|(key, value)| (keyspace, key, value)))
        };
        (0..self.keyspaces.len()).flat_map(of)
    }

    fn reading(&self, source: fjall::Error) -> Error {
        Error::Read { path: self.path.clone(), source }
    }
}

/// Takes away what a process left that died while it made the store: a journal without a version, which fjall 3.1 neither
/// opens nor makes anew. There is nothing in it, because keyspaces come after the version.
fn clear_unfinished(path: &Path) -> io::Result<()> {
    let (version, keyspaces, lock) = (path.join("version"), path.join("keyspaces"), path.join("lock"));
    let is_made = fs::metadata(&version).is_ok_and(|version| version.len() > 0);
    let has_keyspaces = || fs::read_dir(&keyspaces).is_ok_and(|mut entries| entries.next().is_some());
    if is_made || has_keyspaces() || !lock.exists() {
        return Ok(());
    }
    // Whoever holds it is making the store now.
    let lock = fs::OpenOptions::new().read(true).write(true).open(lock)?;
    lock.try_lock().map_err(|error| match error {
        fs::TryLockError::Error(error) => error,
        fs::TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
    })?;
    for left in [path.join("0.jnl"), version] {
        match fs::remove_file(left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A consistent view of a [`Store`] at one moment.
pub struct Snapshot {
    store: Store,
    snapshot: fjall::Snapshot,
}

impl Snapshot {
    pub fn get(&self, keyspace: Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.snapshot.get(&self.store.keyspaces[keyspace], key).map_err(|source| self.store.reading(source))
    }

    pub fn prefix(
        &self,
        keyspace: Keyspace,
        prefix: impl AsRef<[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), Error>> + '_ {
        self.snapshot
            .prefix(&self.store.keyspaces[keyspace], prefix)
            .map(|pair| pair.into_inner().map_err(|e| self.store.reading(e)))
    }

    pub fn from(
        &self,
        keyspace: Keyspace,
        from: impl AsRef<[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), Error>> + '_ {
        self.snapshot
            .range(&self.store.keyspaces[keyspace], from.as_ref().to_vec()..)
            .map(|pair| pair.into_inner().map_err(|e| self.store.reading(e)))
    }
}

/// Writes that happen together or not at all. A key may be written once in a batch: the engine gives all writes
/// of a batch one sequence number, so which of two would stay is not defined.
pub struct Batch {
    store: Store,
    batch: fjall::OwnedWriteBatch,
}

impl Batch {
    pub fn put(&mut self, keyspace: Keyspace, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.batch.insert(&self.store.keyspaces[keyspace], key.into(), value.into());
    }

    pub fn delete(&mut self, keyspace: Keyspace, key: impl Into<Bytes>) {
        self.batch.remove(&self.store.keyspaces[keyspace], key.into());
    }

    pub fn len(&self) -> usize {
        self.batch.len()
    }

    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Writes everything, durable as the store's options say.
    pub fn commit(self) -> Result<(), Error> {
        let mode = match self.store.durability {
            Durability::Process => PersistMode::Buffer,
            Durability::Machine => PersistMode::SyncData,
        };
        let committing = self.store.commits.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.batch
            .durability(Some(mode))
            .commit()
            .map_err(|source| Error::Write { path: self.store.path.clone(), source })?;
        drop(committing);
        self.store.wait_for_flushes();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
