//! What leads from words to compounds: the lexicon of names, and one sorted index of hashes.

use super::compound::Compound;
use super::order::Order;
use super::via;
use crate::key::{About, KeyHash, may_be_meant, may_be_mistyped};
use crate::lexicon::LexiconBytes;
use std::collections::BTreeMap;

pub(crate) fn number_hash(road: &[char], number: &str) -> u64 {
    number.chars().fold(KeyHash::new(About::Number).chars(road).part(), KeyHash::char).finish()
}

pub(crate) fn road_hash(road: &[char]) -> u64 {
    KeyHash::new(About::Road).chars(road).finish()
}

/// The lexicon, where the meanings of each name begin, the meanings, and how many names there are.
pub(super) fn lexicon(compounds: &[Compound], order: &Order) -> (LexiconBytes, Vec<u8>, Vec<u8>, u64) {
    let mut names: BTreeMap<&[char], Vec<(u32, u32)>> = BTreeMap::new();
    for (i, c) in compounds.iter().enumerate() {
        for (key, how) in &c.names {
            names.entry(key).or_default().push((order.at[i], *how));
        }
    }
    let count = names.len() as u64;
    for c in compounds {
        for (road, _, _) in c.streets.iter().filter(|s| s.0.len() >= 2) {
            let meanings = names.entry(road).or_default();
            if !meanings.contains(&(u32::MAX, via::ROAD)) {
                meanings.push((u32::MAX, via::ROAD));
            }
        }
    }
    let keys: Vec<Vec<char>> = names.keys().map(|k| k.to_vec()).collect();
    let (mut starts, mut meanings) = (Vec::new(), Vec::new());
    for list in names.values_mut() {
        list.sort_unstable();
        starts.extend_from_slice(&((meanings.len() / super::MEANING_BYTES) as u32).to_le_bytes());
        for (compound, how) in list {
            meanings.extend_from_slice(&compound.to_le_bytes());
            meanings.extend_from_slice(&how.to_le_bytes());
        }
    }
    starts.extend_from_slice(&((meanings.len() / super::MEANING_BYTES) as u32).to_le_bytes());
    (LexiconBytes::new(&keys), starts, meanings, count)
}

/// The starts of the index by the upper bits of the hash, and the index; `aliases` are (hash, position).
pub(super) fn index(
    compounds: &[Compound],
    aliases: impl Iterator<Item = (u64, u32)>,
    order: &Order,
) -> (Vec<u8>, Vec<u8>) {
    let mut all: Vec<(u64, u32, u32)> = Vec::new();
    for (i, c) in compounds.iter().enumerate() {
        let at = order.at[i];
        for (road, number, how) in &c.streets {
            all.push((road_hash(road), at, *how));
            if number.is_empty() {
                continue;
            }
            all.push((number_hash(road, number.as_str()), at, *how));
            for blank in blanks(road, 3) {
                let hash = KeyHash::new(About::BlankedRoad).blanked(road, blank).part();
                all.push((number.as_str().chars().fold(hash, KeyHash::char).finish(), at, *how));
            }
        }
        all.extend(c.texts.iter().chain(&c.pieces).map(|&hash| (hash, at, via::STANDARD)));
        for (key, how) in &c.names {
            for blank in (0..key.len()).filter(|&i| key.len() >= 3 && may_be_meant(key[i])) {
                all.push((KeyHash::new(About::BlankedName).blanked(key, blank).finish(), at, *how));
            }
            for lost in blanks(key, 4) {
                all.push((KeyHash::new(About::ShortenedName).without(key, lost).finish(), at, *how));
            }
        }
    }
    all.extend(aliases.map(|(hash, at)| (hash, at, via::ALIAS)));
    all.sort_unstable();
    all.dedup();
    let buckets = (all.len() / IN_BUCKET).next_power_of_two();
    let mut starts = Vec::with_capacity((buckets + 1) * 4);
    let mut at = 0usize;
    for bucket in 0..=buckets {
        while all.get(at).is_some_and(|entry| bucket_of(entry.0, buckets) < bucket) {
            at += 1;
        }
        starts.extend_from_slice(&(at as u32).to_le_bytes());
    }
    let entries = all.iter().flat_map(|(hash, at, how)| {
        hash.to_le_bytes().into_iter().chain(at.to_le_bytes()).chain(how.to_le_bytes())
    });
    (starts, entries.collect())
}

/// Entries that one start leads to, on average: they lie in two cache lines.
const IN_BUCKET: usize = 8;

/// The bucket of a hash among `buckets`, a power of two: its upper bits, so that buckets lie in the order of the hashes.
pub(super) fn bucket_of(hash: u64, buckets: usize) -> usize {
    ((u128::from(hash) * buckets as u128) >> 64) as usize
}

/// The positions of `key` that a slip may have changed; none in names shorter than `shortest`.
pub(crate) fn blanks(key: &[char], shortest: usize) -> impl Iterator<Item = usize> + '_ {
    (0..key.len()).filter(move |&i| key.len() >= shortest && may_be_mistyped(key[i]))
}
