//! Under what a source record lies in the store.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use xxhash_rust::xxh3::xxh3_64;
use yibiao_records::FactId;

use super::ShardId;

/// A source record's key in the store: records of one shard lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKey([u8; 22]);

impl RecordKey {
    pub fn new(shard: ShardPrefix, fact: FactId) -> Self {
        let mut key = [0; 22];
        key[..6].copy_from_slice(&shard.0);
        key[6..].copy_from_slice(fact.as_bytes());
        Self(key)
    }

    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn fact(&self) -> FactId {
        let mut fact = [0; 16];
        fact.copy_from_slice(&self.0[6..]);
        FactId::from_bytes(fact)
    }

    /// The fact id as a number: a hash.
    pub(crate) fn fact_bits(&self) -> u128 {
        u128::from_le_bytes(*self.fact().as_bytes())
    }

    /// Other for every shard.
    pub(crate) fn shard_bits(&self) -> u128 {
        self.0[..6].iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte))
    }

    pub(super) fn bytes(&self) -> &[u8; 22] {
        &self.0
    }
}

impl Hash for RecordKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fact_bits() as u64);
    }
}

/// What is found by a record's key, which is a hash already.
pub type ByRecord<T> = std::collections::HashMap<RecordKey, T, BuildHasherDefault<AsItIs>>;

/// Takes a number that is a hash for its hash.
#[derive(Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The first bytes of the keys of one shard. That no two feeds share them is checked at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardPrefix([u8; 6]);

impl ShardPrefix {
    pub fn new(id: &ShardId) -> Self {
        let mut prefix = [0; 6];
        prefix[..4].copy_from_slice(&xxh3_64(id.feed.as_str().as_bytes()).to_be_bytes()[..4]);
        prefix[4..].copy_from_slice(&(id.partition as u16).to_be_bytes());
        Self(prefix)
    }

    pub(super) fn bytes(&self) -> &[u8; 6] {
        &self.0
    }
}
