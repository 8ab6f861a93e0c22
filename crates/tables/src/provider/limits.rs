//! What all queries of one process may take together.

use std::{
    fs::{self, File},
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::execution::{
    disk_manager::{DiskManagerBuilder, DiskManagerMode},
    memory_pool::{FairSpillPool, TrackConsumersPool},
    runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
};

use crate::{Error, lake::Lake};

/// How many of a refused query's operators its error names, the largest first.
const NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");
/// Processes that spill below one folder at once, at most.
const PROCESSES_MAX: u32 = 1000;
const LOCK: &str = "lock";

/// Beyond `memory_bytes`, operators that can (sorts, joins, groups) go on in files below `spill_dir`; one that cannot, or that
/// would need more than `spill_bytes` there, is refused. What is read from files and what goes to the client is not counted.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    pub memory_bytes: usize,
    /// Each process has a folder in it, which it empties at its start of what a process that died has left.
    pub spill_dir: PathBuf,
    pub spill_bytes: u64,
}

/// Where queries run.
pub(crate) struct Queries {
    pub runtime: Arc<RuntimeEnv>,
    /// The folder is this process's as long as it is open.
    _lock: File,
}

impl QueryLimits {
    fn queries(&self) -> Result<Queries, Error> {
        let (folder, lock) = own_folder(&self.spill_dir).map_err(|error| Error::Location {
            location: self.spill_dir.display().to_string(),
            detail: format!("queries cannot spill there: {error}"),
        })?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![folder]))
            .with_max_temp_directory_size(self.spill_bytes);
        let memory = TrackConsumersPool::new(FairSpillPool::new(self.memory_bytes), NAMED);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(memory))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|source| Error::Query {
                doing: "setting up the limits of queries".to_owned(),
                source: Box::new(source),
            })?;
        Ok(Queries { runtime, _lock: lock })
    }
}

/// The first folder below `dir` that no living process has, emptied.
fn own_folder(dir: &Path) -> io::Result<(PathBuf, File)> {
    for number in 0..PROCESSES_MAX {
        let folder = dir.join(number.to_string());
        fs::create_dir_all(&folder)?;
        let lock = File::options().create(true).append(true).open(folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => continue,
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        for entry in fs::read_dir(&folder)? {
            let left = entry?.path();
            if left.is_dir() {
                fs::remove_dir_all(left)?;
            }
        }
        return Ok((folder, lock));
    }
    Err(io::Error::other(format!("{PROCESSES_MAX} processes do so already")))
}

impl Lake {
    /// All sessions of this lake, and of clones made from here on, share these limits; without them there are none.
    pub fn with_query_limits(mut self, limits: &QueryLimits) -> Result<Self, Error> {
        self.queries = Some(Arc::new(limits.queries()?));
        Ok(self)
    }
}
