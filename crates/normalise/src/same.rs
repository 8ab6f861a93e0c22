//! A memory of what records said last, so that a repetition is told without reading the state.
//!
//! ```text
//!  line = 64 bytes, found by the fact id:  │ tag tag tag next │ print │ print │ print │
//!                                            part of the fact id  ▲ of fact id, shard and content: 128 bits
//! ```
//!
//! The state stays the truth. What is remembered was read from it or is in the batch that is committed now; a record has one
//! print at most, under its tag, which is replaced or taken away in every batch that says anything new of the record. That a
//! print is there by chance is as unlikely as two contents of one hash, which the state itself does not tell apart.

use crate::state::RecordKey;

const WAYS: usize = 3;
const LINE_BYTES: usize = 64;

/// One thread's memory of records. It belongs to the shards that it was filled by, and ends with them.
#[derive(Debug)]
pub struct Same {
    /// Tags in the lower three quarters of the first number, and in its highest byte which print is replaced next.
    lines: Vec<[u128; 1 + WAYS]>,
}

impl Same {
    /// Remembers about so many records, in 22 bytes each, which are taken from the system as they are used; 0: none.
    pub fn new(records_max: usize) -> Self {
        Self { lines: vec![[0; 1 + WAYS]; records_max.div_ceil(WAYS)] }
    }

    /// Whether the last that is known of this record has this content, and nothing is to be done where it comes again.
    pub fn is(&self, key: RecordKey, content: u128) -> bool {
        let Some(line) = self.lines.get(self.line(key)) else { return false };
        let (tag, print) = (tag(key), print(key, content));
        (0..WAYS).any(|way| tag_at(line[0], way) == tag && line[1 + way] == print)
    }

    /// The last that is known of this record has this content.
    pub fn remember(&mut self, key: RecordKey, content: u128) {
        let (at, tag) = (self.line(key), tag(key));
        let Some(line) = self.lines.get_mut(at) else { return };
        let own = (0..WAYS).find(|way| tag_at(line[0], *way) == tag);
        let way = own.unwrap_or((line[0] >> 120) as usize % WAYS);
        line[0] &= !(u128::from(u32::MAX) << (32 * way));
        line[0] |= u128::from(tag) << (32 * way);
        if own.is_none() {
            line[0] &= !(0xff << 120);
            line[0] |= (((way + 1) % WAYS) as u128) << 120;
        }
        line[1 + way] = print(key, content);
    }

    /// What the record says is to be read from the state.
    pub fn forget(&mut self, key: RecordKey) {
        let (at, tag) = (self.line(key), tag(key));
        let Some(line) = self.lines.get_mut(at) else { return };
        for way in 0..WAYS {
            if tag_at(line[0], way) == tag {
                line[1 + way] = 0;
            }
        }
    }

    /// Bytes when it is full.
    pub fn bytes_max(&self) -> usize {
        self.lines.len() * LINE_BYTES
    }

    fn line(&self, key: RecordKey) -> usize {
        ((u128::from(key.fact_bits() as u64) * self.lines.len() as u128) >> 64) as usize
    }
}

fn tag_at(tags: u128, way: usize) -> u32 {
    (tags >> (32 * way)) as u32
}

/// Other bits of the fact id than those that find the line.
fn tag(key: RecordKey) -> u32 {
    (key.fact_bits() >> 64) as u32
}

/// Never 0, which is nothing. All of it are hashes: their sum without carry is one too.
fn print(key: RecordKey, content: u128) -> u128 {
    (key.fact_bits() ^ key.shard_bits() ^ content).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use proptest::prelude::*;
    use yibiao_records::FactId;

    use super::*;
    use crate::state::{ShardId, ShardPrefix};

    fn key(partition: i32, record: u8) -> RecordKey {
        let feed: yibiao_records::FeedId = "utilities/water-readings".parse().unwrap();
        let fact = FactId::derive(&feed, &record.to_string(), 0);
        RecordKey::new(ShardPrefix::new(&ShardId { feed, partition }), fact)
    }

    #[test]
    fn a_line_fills_a_line_of_the_processors_cache() {
        assert_eq!(size_of::<[u128; 1 + WAYS]>(), LINE_BYTES);
        assert_eq!(Same::new(0).bytes_max(), 0);
        assert_eq!(Same::new(3_000_000).bytes_max(), 64_000_000);
    }

    #[test]
    fn a_record_of_another_partition_is_another_one() {
        let mut same = Same::new(300);
        same.remember(key(0, 1), 7);
        assert!(same.is(key(0, 1), 7) && !same.is(key(1, 1), 7) && !same.is(key(0, 1), 8));
    }

    proptest! {
        /// It may forget, but never tells what was not said last.
        #[test]
        fn only_the_last_content_of_a_record_is_told(
            records_max in prop::sample::select(vec![0usize, 1, 3, 9, 300]),
            steps in prop::collection::vec((0u8..24, 0u128..3, prop::bool::weighted(0.2)), 0..200),
        ) {
            let mut same = Same::new(records_max);
            let mut last: HashMap<u8, u128> = HashMap::new();
            for (record, content, forgotten) in steps {
                for known in 0..24 {
                    for content in 0..3 {
                        let is = same.is(key(0, known), content);
                        prop_assert!(!is || last.get(&known) == Some(&content));
                    }
                }
                if forgotten {
                    same.forget(key(0, record));
                    last.remove(&record);
                } else {
                    same.remember(key(0, record), content);
                    prop_assert_eq!(same.is(key(0, record), content), records_max > 0);
                    last.insert(record, content);
                }
            }
        }
    }
}
