//! What all queries of one process may take together.

use std::{
    fs::{self, File},
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::{
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    prelude::SessionConfig,
};

use crate::{Error, lake::Lake};

/// How many of a refused query's operators its error names, the largest first.
const NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");
/// Processes that spill below one folder at once, at most.
const PROCESSES_MAX: u32 = 1000;
const LOCK: &str = "lock";
/// A query has a partition for each so many bytes of the limit, and at most one a core. Sorts and merges hold some megabytes in each, which
/// they do not give back: with one a core, a machine with many cores could not sort at all.
const PARTITION_BYTES: usize = 64 << 20;
/// Files that one partition merges at once, of which each has batches in memory: more would leave nothing for others.
const MERGED_AT_ONCE: usize = 4;

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
    memory_bytes: usize,
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
            .with_max_temp_directory_size(self.spill_bytes)
            .with_max_spill_merge_fan_in(MERGED_AT_ONCE);
        let memory = TrackConsumersPool::new(FairSpillPool::new(self.memory_bytes), NAMED);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(memory))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|source| Error::Query {
                doing: "setting up the limits of queries".to_owned(),
                source: Box::new(source),
            })?;
        Ok(Queries { runtime, memory_bytes: self.memory_bytes, _lock: lock })
    }
}

impl Queries {
    /// Divides queries so that their parts fit into the limit.
    pub fn divide(&self, config: SessionConfig) -> SessionConfig {
        let fitting = (self.memory_bytes / PARTITION_BYTES).max(1);
        let partitions = config.target_partitions().min(fitting);
        config.with_target_partitions(partitions)
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
