//! fjall as `crates/state` opens it, but for what `--fjall` changes.

use std::{
    fs,
    path::Path,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fjall::{
    CompressionType, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable,
    compaction::Leveled,
    config::{
        BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
        HashRatioPolicy, PinningPolicy,
    },
};

use crate::store::{KEYSPACES, Limits, Pair, Store, View, Write};

/// As in `crates/state`.
const FLUSHED_WITHIN: Duration = Duration::from_secs(10);
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// What differs from `crates/state`; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct Tuning {
    block_kib: Option<u32>,
    hash_ratio: Option<f32>,
    filter_bits: Option<f32>,
    l0_tables: Option<u8>,
    table_mib: Option<u64>,
    level_ratio: Option<f32>,
    separation_bytes: Option<u32>,
    workers: Option<usize>,
    memtable_mib: Option<u64>,
    journal_mib: Option<u64>,
    lz4_from: Option<usize>,
    filters_whole: bool,
    plain_journal: bool,
    hits: bool,
}

impl FromStr for Tuning {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut tuning = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let number = || value.parse::<f32>().with_context(|| format!("{part}: not a number"));
            match name {
                "block_kib" => tuning.block_kib = Some(number()? as u32),
                "hash_ratio" => tuning.hash_ratio = Some(number()?),
                "filter_bits" => tuning.filter_bits = Some(number()?),
                "l0_tables" => tuning.l0_tables = Some(number()? as u8),
                "table_mib" => tuning.table_mib = Some(number()? as u64),
                "level_ratio" => tuning.level_ratio = Some(number()?),
                "separation_bytes" => tuning.separation_bytes = Some(number()? as u32),
                "workers" => tuning.workers = Some(number()? as usize),
                "memtable_mib" => tuning.memtable_mib = Some(number()? as u64),
                "journal_mib" => tuning.journal_mib = Some(number()? as u64),
                "lz4_from" => tuning.lz4_from = Some(number()? as usize),
                "filters_whole" => tuning.filters_whole = true,
                "plain_journal" => tuning.plain_journal = true,
                "hits" => tuning.hits = true,
                _ => bail!("fjall has no setting {name} here"),
            }
        }
        Ok(tuning)
    }
}

impl Tuning {
    fn keyspace(&self, limits: &Limits) -> KeyspaceCreateOptions {
        let memtable = self.memtable_mib.map_or(limits.memtable_bytes(), |mib| mib << 20);
        let mut options = KeyspaceCreateOptions::default().max_memtable_size(memtable);
        if let Some(kib) = self.block_kib {
            options = options.data_block_size_policy(BlockSizePolicy::all(kib << 10));
        }
        if let Some(ratio) = self.hash_ratio {
            options = options.data_block_hash_ratio_policy(HashRatioPolicy::all(ratio));
        }
        if let Some(bits) = self.filter_bits {
            let bloom = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(bits));
            options = options.filter_policy(FilterPolicy::all(bloom));
        }
        if let Some(from) = self.lz4_from {
            let mut levels = vec![CompressionType::None; from];
            levels.push(CompressionType::Lz4);
            options = options.data_block_compression_policy(CompressionPolicy::new(levels));
        }
        if self.filters_whole {
            options = options
                .filter_block_partitioning_policy(PinningPolicy::all(false))
                .index_block_partitioning_policy(PinningPolicy::all(false))
                .filter_block_pinning_policy(PinningPolicy::all(true))
                .index_block_pinning_policy(PinningPolicy::all(true));
        }
        if let Some(bytes) = self.separation_bytes {
            let separation = KvSeparationOptions::default().separation_threshold(bytes);
            options = options.with_kv_separation(Some(separation));
        }
        options.expect_point_read_hits(self.hits).compaction_strategy(Arc::new(self.leveled()))
    }

    fn leveled(&self) -> Leveled {
        let mut leveled = Leveled::default();
        if let Some(tables) = self.l0_tables {
            leveled = leveled.with_l0_threshold(tables);
        }
        if let Some(mib) = self.table_mib {
            leveled = leveled.with_table_target_size(mib << 20);
        }
        if let Some(ratio) = self.level_ratio {
            leveled = leveled.with_level_ratio_policy(vec![ratio]);
        }
        leveled
    }
}

pub struct Fjall {
    database: fjall::Database,
    keyspaces: Vec<fjall::Keyspace>,
    limits: Limits,
    tuning: Tuning,
}

impl Fjall {
    pub fn open(path: &Path, limits: &Limits, tuning: &Tuning) -> Result<Self> {
        let mut builder = fjall::Database::builder(path)
            .cache_size(limits.cache_bytes)
            .worker_threads(tuning.workers.unwrap_or(1));
        if let Some(mib) = tuning.journal_mib {
            builder = builder.max_journaling_size(mib << 20);
        }
        if tuning.plain_journal {
            builder = builder.journal_compression(CompressionType::None);
        }
        let database = builder.open()?;
        let keyspaces = KEYSPACES
            .iter()
            .map(|name| database.keyspace(name, || tuning.keyspace(limits)))
            .collect::<Result<_, _>>()?;
        Ok(Self { database, keyspaces, limits: *limits, tuning: tuning.clone() })
    }

    fn wait_for_flushes(&self) {
        let until = Instant::now() + FLUSHED_WITHIN;
        while self.database.write_buffer_size() > self.limits.memtables_bytes_max() && Instant::now() < until
        {
            std::thread::sleep(FLUSH_LOOK);
        }
    }
}

/// The other way to a checkpoint: of a store that is closed. Tables are never changed once they are there, so they are
/// linked; all else (journals, versions) is small, and copied.
pub fn link_closed(from: &Path, to: &Path) -> Result<()> {
    let are_tables = from.file_name().is_some_and(|name| name == "tables" || name == "blobs");
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link_closed(&path, &to)?;
        } else if are_tables {
            fs::hard_link(path, to)?;
        } else {
            fs::copy(path, to)?;
        }
    }
    Ok(())
}

fn tell(pairs: fjall::Iter, pair: Pair) -> Result<()> {
    for found in pairs {
        let (key, value) = found.into_inner()?;
        if !pair(&key, &value) {
            break;
        }
    }
    Ok(())
}

impl View for Fjall {
    fn get(&self, keyspace: usize, key: &[u8], value: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.keyspaces[keyspace].get(key)?.inspect(|found| value(found)).is_some())
    }

    fn prefix(&self, keyspace: usize, prefix: &[u8], pair: Pair) -> Result<()> {
        tell(self.keyspaces[keyspace].prefix(prefix), pair)
    }
}

struct Snapshot<'a> {
    store: &'a Fjall,
    snapshot: fjall::Snapshot,
}

impl View for Snapshot<'_> {
    fn get(&self, keyspace: usize, key: &[u8], value: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.snapshot.get(&self.store.keyspaces[keyspace], key)?;
        Ok(found.inspect(|found| value(found)).is_some())
    }

    fn prefix(&self, keyspace: usize, prefix: &[u8], pair: Pair) -> Result<()> {
        tell(self.snapshot.prefix(&self.store.keyspaces[keyspace], prefix), pair)
    }
}

impl Store for Fjall {
    /// fjall has no read of several keys: one after the other, in their order, as the stages do.
    fn get_sorted(
        &self,
        keyspace: usize,
        keys: &[Vec<u8>],
        value: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        for (index, key) in keys.iter().enumerate() {
            value(index, self.keyspaces[keyspace].get(key)?.as_deref());
        }
        Ok(())
    }

    fn commit(&self, writes: Vec<Write>) -> Result<()> {
        let mut batch = self.database.batch();
        for write in writes {
            let keyspace = &self.keyspaces[write.keyspace];
            match write.value {
                Some(value) => batch.insert(keyspace, write.key, value),
                None => batch.remove(keyspace, write.key),
            }
        }
        batch.durability(Some(PersistMode::Buffer)).commit()?;
        self.wait_for_flushes();
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        Box::new(Snapshot { store: self, snapshot: self.database.snapshot() })
    }

    fn ingest(
        &self,
        keyspace: usize,
        pairs: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>,
    ) -> Result<()> {
        let mut ingestion = self.keyspaces[keyspace].start_ingestion()?;
        for pair in pairs {
            let (key, value) = pair?;
            ingestion.write(key, value)?;
        }
        Ok(ingestion.finish()?)
    }

    /// fjall has no checkpoint. Its files cannot be linked beside it: which of them belong together is known only inside.
    /// So a snapshot is read in key order into another store, past its journal and memtables.
    fn checkpoint(&self, to: &Path) -> Result<()> {
        let copy = Self::open(to, &self.limits, &self.tuning)?;
        let snapshot = self.database.snapshot();
        for (from, keyspace) in self.keyspaces.iter().enumerate() {
            let pairs = snapshot.iter(keyspace).map(|pair| {
                let (key, value) = pair.into_inner()?;
                Ok((key.to_vec(), value.to_vec()))
            });
            let mut pairs = pairs.peekable();
            if pairs.peek().is_some() {
                copy.ingest(from, &mut pairs)?;
            }
        }
        copy.persist()
    }

    fn persist(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}
