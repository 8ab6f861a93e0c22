//! What a shard asks of its storage engine: the operations of `crates/state`, with a checkpoint and a bulk load.

use std::path::Path;

use anyhow::Result;

/// The keyspaces of a fusion shard (`crates/tables/src/shard.rs`), in its order.
pub const KEYSPACES: [&str; 8] =
    ["facts", "places", "warnings", "outbox", "marks", "positions", "names", "meta"];
pub const FACTS: usize = 0;
pub const PLACES: usize = 1;
pub const OUTBOX: usize = 3;
pub const POSITIONS: usize = 5;
pub const META: usize = 7;

/// The same for both engines.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub cache_bytes: u64,
    /// As in `crates/state`: half of it is one memtable; all keyspaces together hold at most so much each.
    pub write_buffer_bytes: u64,
}

impl Limits {
    pub fn memtable_bytes(&self) -> u64 {
        (self.write_buffer_bytes / 2).clamp(4 << 20, 64 << 20)
    }

    pub fn memtables_bytes_max(&self) -> u64 {
        self.memtable_bytes() * 2 * KEYSPACES.len() as u64
    }
}

pub struct Write {
    pub keyspace: usize,
    pub key: Vec<u8>,
    /// None deletes.
    pub value: Option<Vec<u8>>,
}

impl Write {
    pub fn put(keyspace: usize, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { keyspace, key, value: Some(value) }
    }

    pub fn delete(keyspace: usize, key: Vec<u8>) -> Self {
        Self { keyspace, key, value: None }
    }
}

/// Told a pair; false ends the scan.
pub type Pair<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

pub trait View {
    /// Tells the value where there is one.
    fn get(&self, keyspace: usize, key: &[u8], value: &mut dyn FnMut(&[u8])) -> Result<bool>;

    fn prefix(&self, keyspace: usize, prefix: &[u8], pair: Pair) -> Result<()>;
}

pub trait Store: View + Send + Sync {
    /// Keys ascend. Tells for each key in turn what is there.
    fn get_sorted(
        &self,
        keyspace: usize,
        keys: &[Vec<u8>],
        value: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()>;

    /// All or nothing; when it returns, the batch survives the death of the process.
    fn commit(&self, writes: Vec<Write>) -> Result<()>;

    fn snapshot(&self) -> Box<dyn View + '_>;

    /// Pairs ascend, and lie beyond everything in the keyspace.
    fn ingest(
        &self,
        keyspace: usize,
        pairs: &mut dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>>,
    ) -> Result<()>;

    /// Makes the folder `to`, which opens as a store that holds what was committed before.
    fn checkpoint(&self, to: &Path) -> Result<()>;

    /// Everything is on disk when it returns.
    fn persist(&self) -> Result<()>;
}
