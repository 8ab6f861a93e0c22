//! Answers by the hash of what was asked: departments send the same address day after day.

use super::Query;
use hashbrown::HashTable;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

/// Keeps what was found out about at most so many questions, in two generations: when the younger is full, the older is
/// dropped, and what was asked for meanwhile stays.
#[derive(Debug)]
pub struct Memo<V> {
    half: usize,
    young: HashTable<(u128, V)>,
    old: HashTable<(u128, V)>,
}

impl<V> Default for Memo<V> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<V> Memo<V> {
    /// 0: nothing is kept.
    pub fn new(answers_max: usize) -> Self {
        Self { half: answers_max / 2, young: HashTable::new(), old: HashTable::new() }
    }

    /// The key of a question asked of the gazetteer, or whatever else decides the answer, that `salt` stands for. 128
    /// bits: that two questions of one process's life meet in one is not to be feared.
    pub fn key(query: &Query<'_>, salt: u64) -> u128 {
        let part = |text: Option<&str>, seed| xxh3_64_with_seed(text.unwrap_or_default().as_bytes(), seed);
        xxh3_128_with_seed(query.text.as_bytes(), part(query.city, part(query.name, salt)))
    }

    pub fn get(&mut self, key: u128) -> Option<&V> {
        if self.young.find(key as u64, |entry| entry.0 == key).is_none() {
            let entry = self.old.find_entry(key as u64, |entry| entry.0 == key).ok()?;
            let (_, value) = entry.remove().0;
            self.put(key, value);
        }
        self.young.find(key as u64, |entry| entry.0 == key).map(|entry| &entry.1)
    }

    pub fn put(&mut self, key: u128, value: V) {
        if self.half == 0 {
            return;
        }
        if self.young.len() >= self.half {
            std::mem::swap(&mut self.young, &mut self.old);
            // The room of the older generation is used again.
            self.young.clear();
        }
        self.young.insert_unique(key as u64, (key, value), |entry| entry.0 as u64);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_never_holds_more_than_it_may() {
        let mut memo = Memo::new(10);
        for key in 0..100u128 {
            memo.put(key, key);
            assert!(memo.young.len() + memo.old.len() <= 10);
            assert_eq!(memo.get(key), Some(&key));
        }
        assert_eq!(memo.get(0), None);
        let mut none = Memo::new(0);
        none.put(1, ());
        assert_eq!(none.get(1), None);
    }

    #[test]
    fn what_is_asked_for_again_and_again_stays() {
        let mut memo = Memo::new(10);
        memo.put(7, "often");
        for key in 100..200u128 {
            memo.put(key, "once");
            assert_eq!(memo.get(7), Some(&"often"));
        }
    }

    #[test]
    fn every_part_of_a_question_counts() {
        let key = |text, city, name, salt| Memo::<()>::key(&Query { text, city, name }, salt);
        let one = key("青禾新村", Some("南京市"), None, 1);
        assert_eq!(one, key("青禾新村", Some("南京市"), None, 1));
        for other in [
            key("青禾新村", None, Some("南京市"), 1),
            key("青禾新村", Some("南京市"), None, 2),
            key("青禾二村", Some("南京市"), None, 1),
        ] {
            assert_ne!(one, other);
        }
    }
}
