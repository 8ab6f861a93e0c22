//! RocksDB with the limits that fjall gets, and otherwise as its tuning guide advises for such rows on two cores.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BoundColumnFamily, Cache, DBCompressionType, DBWithThreadMode,
    IngestExternalFileOptions, IteratorMode, MultiThreaded, Options, ReadOptions, SstFileWriter, WriteBatch,
    WriteBufferManager, WriteOptions, checkpoint::Checkpoint,
};

use crate::store::{KEYSPACES, Limits, Pair, Store, View, Write};

type Database = DBWithThreadMode<MultiThreaded>;
type Snapshot<'a> = rocksdb::SnapshotWithThreadMode<'a, Database>;

const TABLE_BYTES: u64 = 64 << 20;
/// fjall keeps at most so much of its journal.
const WAL_BYTES_MAX: u64 = 512 << 20;

/// What differs from what is told above; by default nothing.
#[derive(Debug, Clone)]
pub struct Tuning {
    block_kib: usize,
    zstd_last: bool,
    /// Filters and indexes stay in memory, beside the cache.
    filters_whole: bool,
    hits: bool,
    jobs: i32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { block_kib: 4, zstd_last: false, filters_whole: false, hits: false, jobs: 2 }
    }
}

impl FromStr for Tuning {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut tuning = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=').unwrap_or((part, "")) {
                ("block_kib", value) => tuning.block_kib = value.parse().context("block_kib")?,
                ("jobs", value) => tuning.jobs = value.parse().context("jobs")?,
                ("zstd_last", _) => tuning.zstd_last = true,
                ("filters_whole", _) => tuning.filters_whole = true,
                ("hits", _) => tuning.hits = true,
                _ => bail!("RocksDB has no setting {part} here"),
            }
        }
        Ok(tuning)
    }
}

pub struct Rocks {
    database: Database,
    path: PathBuf,
    options: Options,
}

impl Rocks {
    pub fn open(path: &Path, limits: &Limits, tuning: &Tuning) -> Result<Self> {
        let options = options(limits, tuning);
        // Without options of their own column families would have the defaults.
        let families = KEYSPACES.map(|name| (name, options.clone()));
        let database = Database::open_cf_with_opts(&options, path, families)?;
        Ok(Self { database, path: path.to_owned(), options })
    }

    fn keyspace(&self, keyspace: usize) -> Result<std::sync::Arc<BoundColumnFamily<'_>>> {
        let name = KEYSPACES[keyspace];
        self.database.cf_handle(name).with_context(|| format!("the column family {name} is not there"))
    }

    fn tell(&self, keyspace: usize, mut options: ReadOptions, prefix: &[u8], pair: Pair) -> Result<()> {
        let family = self.keyspace(keyspace)?;
        options.set_iterate_range(rocksdb::PrefixRange(prefix));
        for found in self.database.iterator_cf_opt(&family, options, IteratorMode::Start) {
            let (key, value) = found?;
            if !pair(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}

/// Of the database and of each column family.
fn options(limits: &Limits, tuning: &Tuning) -> Options {
    let cache = Cache::new_lru_cache(limits.cache_bytes as usize);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_block_size(tuning.block_kib << 10);
    table.set_format_version(6);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    if !tuning.filters_whole {
        // As fjall does it: in parts, which share the cache with the data.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_pin_top_level_index_and_filter(true);
    }
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(limits.memtable_bytes() as usize);
    options.set_max_write_buffer_number(4);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(
        limits.memtables_bytes_max() as usize,
        true,
    ));
    options.set_max_background_jobs(tuning.jobs);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_max_bytes_for_level_base(4 * TABLE_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    if tuning.zstd_last {
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
    }
    options.set_optimize_filters_for_hits(tuning.hits);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_bytes_per_sync(1 << 20);
    options.set_wal_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options
}

impl View for Rocks {
    fn get(&self, keyspace: usize, key: &[u8], value: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.database.get_pinned_cf(&self.keyspace(keyspace)?, key)?;
        Ok(found.inspect(|found| value(found)).is_some())
    }

    fn prefix(&self, keyspace: usize, prefix: &[u8], pair: Pair) -> Result<()> {
        self.tell(keyspace, ReadOptions::default(), prefix, pair)
    }
}

struct Then<'a> {
    store: &'a Rocks,
    snapshot: Snapshot<'a>,
}

impl View for Then<'_> {
    fn get(&self, keyspace: usize, key: &[u8], value: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.snapshot.get_pinned_cf(&self.store.keyspace(keyspace)?, key)?;
        Ok(found.inspect(|found| value(found)).is_some())
    }

    fn prefix(&self, keyspace: usize, prefix: &[u8], pair: Pair) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        self.store.tell(keyspace, options, prefix, pair)
    }
}

impl Store for Rocks {
    fn get_sorted(
        &self,
        keyspace: usize,
        keys: &[Vec<u8>],
        value: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let family = self.keyspace(keyspace)?;
        let found = self.database.batched_multi_get_cf(&family, keys, true);
        for (index, found) in found.into_iter().enumerate() {
            value(index, found?.as_deref());
        }
        Ok(())
    }

    fn commit(&self, writes: Vec<Write>) -> Result<()> {
        let families: Vec<_> = (0..KEYSPACES.len()).map(|at| self.keyspace(at)).collect::<Result<_>>()?;
        let mut batch = WriteBatch::default();
        for write in writes {
            let family = &families[write.keyspace];
            match write.value {
                Some(value) => batch.put_cf(family, write.key, value),
                None => batch.delete_cf(family, write.key),
            }
        }
        // The log is written, and not synchronised: that survives the death of the process.
        Ok(self.database.write_opt(batch, &WriteOptions::default())?)
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        Box::new(Then { store: self, snapshot: self.database.snapshot() })
    }

    fn ingest(
        &self,
        keyspace: usize,
        pairs: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>,
    ) -> Result<()> {
        let folder = self.path.join("ingest");
        fs::create_dir_all(&folder)?;
        let mut files = Vec::new();
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            let file = folder.join(format!("{}.sst", files.len()));
            let mut writer = SstFileWriter::create(&self.options);
            writer.open(&file)?;
            files.push(file);
            while writer.file_size() < TABLE_BYTES
                && let Some(pair) = pairs.next()
            {
                let (key, value) = pair?;
                writer.put(key, value)?;
            }
            writer.finish()?;
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.database.ingest_external_file_cf_opts(&self.keyspace(keyspace)?, &options, files)?;
        Ok(fs::remove_dir_all(&folder)?)
    }

    fn checkpoint(&self, to: &Path) -> Result<()> {
        Ok(Checkpoint::new(&self.database)?.create_checkpoint(to)?)
    }

    fn persist(&self) -> Result<()> {
        Ok(self.database.flush_wal(true)?)
    }
}
