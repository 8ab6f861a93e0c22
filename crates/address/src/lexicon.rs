//! A lexicon: names sorted by their characters, found by their first two. It lies in plain bytes, so that
//! one in a mapped file opens at once, and it scans a text in about a microsecond.
//!
//! Three columns: `starts` (u32, n+1) into `units` (u32 a character), and `buckets`, an open-addressed table
//! of (first character, second character, first name, last name + 1).

use xxhash_rust::xxh3::xxh3_64;

/// Little-endian u32 values in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Words<'a>(pub &'a [u8]);

impl Words<'_> {
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// The value at `i`; 0 beyond the end, so that a damaged file cannot make us panic.
    pub fn get(&self, i: usize) -> u32 {
        match self.0.get(i * 4..i * 4 + 4) {
            Some(b) => u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            None => 0,
        }
    }
}

/// The first of `low..high` that is not `before`, where all that are stand first.
pub(crate) fn partition(mut low: usize, mut high: usize, before: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

const BUCKET: usize = 4;

fn bucket_of(first: u32, second: u32) -> usize {
    xxh3_64(&(u64::from(first) << 32 | u64::from(second)).to_le_bytes()) as usize
}

/// A view of a lexicon in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lexicon<'a> {
    pub starts: Words<'a>,
    pub units: Words<'a>,
    pub buckets: Words<'a>,
}

/// The bytes of a lexicon: starts, units, buckets.
#[derive(Debug, Default)]
pub(crate) struct LexiconBytes {
    pub starts: Vec<u8>,
    pub units: Vec<u8>,
    pub buckets: Vec<u8>,
}

impl LexiconBytes {
    /// Lays out `names`, which must be sorted and distinct. Names of fewer than two characters are never found.
    pub fn new(names: &[impl AsRef<[char]>]) -> Self {
        debug_assert!(
            names.windows(2).all(|w| w[0].as_ref() < w[1].as_ref()),
            "invariant: sorted and distinct"
        );
        let mut out = Self::default();
        let mut at = 0u32;
        let mut pairs: Vec<[u32; 4]> = Vec::new();
        for (i, name) in names.iter().map(AsRef::as_ref).enumerate() {
            out.starts.extend_from_slice(&at.to_le_bytes());
            at += name.len() as u32;
            for &c in name {
                out.units.extend_from_slice(&(c as u32).to_le_bytes());
            }
            if let [first, second, ..] = *name {
                match pairs.last_mut() {
                    Some(p) if p[0] == first as u32 && p[1] == second as u32 => p[3] = i as u32 + 1,
                    _ => pairs.push([first as u32, second as u32, i as u32, i as u32 + 1]),
                }
            }
        }
        out.starts.extend_from_slice(&at.to_le_bytes());
        let capacity = (pairs.len() * 2).next_power_of_two().max(2);
        let mut table = vec![[0u32; BUCKET]; capacity];
        for pair in pairs {
            let mut slot = bucket_of(pair[0], pair[1]) & (capacity - 1);
            while table[slot][3] != 0 {
                slot = (slot + 1) & (capacity - 1);
            }
            table[slot] = pair;
        }
        out.buckets = table.iter().flatten().flat_map(|n| n.to_le_bytes()).collect();
        out
    }

    pub fn view(&self) -> Lexicon<'_> {
        Lexicon { starts: Words(&self.starts), units: Words(&self.units), buckets: Words(&self.buckets) }
    }
}

impl Lexicon<'_> {
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    fn length(&self, name: usize) -> usize {
        self.starts.get(name + 1).saturating_sub(self.starts.get(name)) as usize
    }

    fn unit(&self, name: usize, depth: usize) -> u32 {
        self.units.get(self.starts.get(name) as usize + depth)
    }

    fn range(&self, first: char, second: char) -> Option<(usize, usize)> {
        let capacity = self.buckets.len() / BUCKET;
        if capacity == 0 {
            return None;
        }
        let mut slot = bucket_of(first as u32, second as u32) & (capacity - 1);
        for _ in 0..capacity {
            let at = slot * BUCKET;
            let end = self.buckets.get(at + 3);
            if end == 0 {
                return None;
            }
            if self.buckets.get(at) == first as u32 && self.buckets.get(at + 1) == second as u32 {
                return Some((self.buckets.get(at + 2) as usize, (end as usize).min(self.len())));
            }
            slot = (slot + 1) & (capacity - 1);
        }
        None
    }

    /// Calls `found(name, length)` for every name that begins `text`, shortest first.
    pub fn prefixes(&self, text: &[char], mut found: impl FnMut(u32, usize)) {
        let [first, second, ..] = *text else { return };
        let Some((mut low, mut high)) = self.range(first, second) else { return };
        let mut depth = 2;
        while low < high {
            if self.length(low) == depth {
                found(low as u32, depth);
                low += 1;
            }
            let Some(&next) = text.get(depth) else { return };
            (low, high) = self.narrow(low, high, depth, next as u32);
            depth += 1;
        }
    }

    fn narrow(&self, low: usize, high: usize, depth: usize, unit: u32) -> (usize, usize) {
        let first = partition(low, high, |name| self.unit(name, depth) < unit);
        let last = partition(first, high, |name| self.unit(name, depth) <= unit);
        (first, last)
    }

    /// The name that is exactly `text`.
    pub fn exact(&self, text: &[char]) -> Option<u32> {
        let mut whole = None;
        self.prefixes(text, |name, length| {
            if length == text.len() {
                whole = Some(name);
            }
        });
        whole
    }

    #[cfg(test)]
    pub fn name(&self, name: u32) -> String {
        let name = name as usize;
        (0..self.length(name)).filter_map(|d| char::from_u32(self.unit(name, d))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_that_begins_the_text_is_found_shortest_first() {
        let mut names: Vec<Vec<char>> = ["国泰", "国泰新村", "国泰新村南苑", "国泰路", "上海路"]
            .iter()
            .map(|s| s.chars().collect())
            .collect();
        names.sort();
        let bytes = LexiconBytes::new(&names);
        let lexicon = bytes.view();
        let text: Vec<char> = "国泰新村25幢".chars().collect();
        let mut found = Vec::new();
        lexicon.prefixes(&text, |n, l| found.push((lexicon.name(n), l)));
        assert_eq!(found, [("国泰".to_owned(), 2), ("国泰新村".to_owned(), 4)]);
        assert_eq!(lexicon.exact(&text[..3]), None);
        assert_eq!(lexicon.name(lexicon.exact(&text[..4]).unwrap()), "国泰新村");
    }
}
