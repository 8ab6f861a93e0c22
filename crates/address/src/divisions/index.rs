//! The names of provinces to townships, by their beginning. Texts are asked for them at several places each, and the
//! whole country is too large for the processor's nearer caches: so what belongs to one beginning lies together.
//!
//! ```text
//!  first two characters ─► filter ─► bucket ─► 西湖 │ 西湖区 │ 西湖街道 │ 西湖镇      one after the other, sorted
//!                         (no, in                each with its meanings: division, naming, level
//!                       nine of ten)
//! ```

use super::{DivisionId, Naming};
use crate::model::Level;

/// A division that a name may mean: its row, how it is named, its level, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning(u32);

const NAMINGS: [Naming; 5] =
    [Naming::Full, Naming::Short, Naming::Former, Naming::FormerShort, Naming::FormerVague];

impl Meaning {
    /// `id` is no community.
    pub fn new(id: DivisionId, naming: Naming, level: Level) -> Self {
        Self(id.row() << 6 | (naming as u32) << 3 | level as u32)
    }

    #[inline]
    pub fn id(self) -> DivisionId {
        DivisionId::of_row(self.0 >> 6)
    }

    pub fn parts(self) -> (DivisionId, Naming, Level) {
        (self.id(), self.naming(), self.level())
    }

    #[inline]
    pub fn row(self) -> u32 {
        self.0 >> 6
    }

    /// Ordered as naming and level are.
    #[inline]
    pub fn rank(self) -> u32 {
        self.0 & 0x3f
    }

    #[inline]
    pub fn naming(self) -> Naming {
        NAMINGS[(self.0 >> 3 & 7) as usize % NAMINGS.len()]
    }

    #[inline]
    pub fn level(self) -> Level {
        match self.0 & 7 {
            1 => Level::Province,
            2 => Level::City,
            3 => Level::County,
            _ => Level::Township,
        }
    }
}

/// A name of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameId(u32);

#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    /// Bit (upper bits of the hash of two characters) is set where a name begins with them.
    filter: Vec<u64>,
    /// Two characters (21 bits each) and where their names begin (22 bits); 0 is free.
    buckets: Vec<u64>,
    /// Per name: its third character (0 where there is none) and of how many words it consists, its length and how many
    /// meanings it has, its further characters, the meanings. Words of different kinds in one column, so that they lie
    /// together.
    names: Vec<Meaning>,
}

const CHARACTER_BITS: u32 = 21;
const OFFSET_BITS: u32 = 22;
const FILTER_BITS: u32 = 19;
/// Of the second word of a name: its length in characters.
const LENGTH_BITS: u32 = 8;
/// Words before a name's fourth character.
const HEAD: usize = 2;

/// Closes the names of one beginning: no character is as high as its third one.
const CLOSE: Meaning = Meaning((1 << CHARACTER_BITS) - 1);

fn pair(first: char, second: char) -> u64 {
    u64::from(first as u32) << CHARACTER_BITS | u64::from(second as u32)
}

fn hashed(pair: u64) -> u64 {
    pair.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl NameIndex {
    /// Lays out `names`, sorted, distinct and of at least two characters, each with its meanings.
    pub fn new<'n>(names: impl Iterator<Item = (&'n [char], &'n [Meaning])>) -> Self {
        let mut out = Self { filter: vec![0; 1 << (FILTER_BITS - 6)], names: vec![CLOSE], ..Self::default() };
        let mut pairs: Vec<u64> = Vec::new();
        for (name, meanings) in names {
            let [first, second, rest @ ..] = name else { continue };
            let pair = pair(*first, *second);
            if pairs.last().is_none_or(|last| last >> OFFSET_BITS != pair) {
                out.names.push(CLOSE);
                pairs.push(pair << OFFSET_BITS | out.names.len() as u64);
            }
            let (third, more) = rest.split_first().map_or((0, rest), |(&third, more)| (third as u32, more));
            let size = HEAD + more.len() + meanings.len();
            debug_assert!(size < 1 << (32 - CHARACTER_BITS), "invariant: sizes fit beside a character");
            out.names.push(Meaning((size as u32) << CHARACTER_BITS | third));
            out.names.push(Meaning((meanings.len() << LENGTH_BITS | name.len()) as u32));
            out.names.extend(more.iter().map(|&c| Meaning(c as u32)));
            out.names.extend_from_slice(meanings);
        }
        out.names.push(CLOSE);
        debug_assert!(out.names.len() < 1 << OFFSET_BITS, "invariant: offsets fit into a bucket");
        out.buckets = vec![0; (pairs.len() * 4 / 3 + 1).next_power_of_two()];
        for entry in pairs {
            let hash = hashed(entry >> OFFSET_BITS);
            let bit = hash >> (64 - FILTER_BITS);
            out.filter[(bit / 64) as usize] |= 1 << (bit % 64);
            let mut slot = out.slot(hash);
            while out.buckets[slot] != 0 {
                slot = (slot + 1) & (out.buckets.len() - 1);
            }
            out.buckets[slot] = entry;
        }
        out
    }

    fn slot(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.buckets.len() - 1)
    }

    /// Where the names begin that begin so.
    #[inline]
    fn beginning(&self, first: char, second: char) -> Option<usize> {
        let pair = pair(first, second);
        let hash = hashed(pair);
        let bit = hash >> (64 - FILTER_BITS);
        if self.filter.get((bit / 64) as usize)? >> (bit % 64) & 1 == 0 {
            return None;
        }
        let mut slot = self.slot(hash);
        loop {
            match self.buckets[slot] {
                0 => return None,
                entry if entry >> OFFSET_BITS == pair => {
                    return Some((entry & ((1 << OFFSET_BITS) - 1)) as usize);
                }
                _ => slot = (slot + 1) & (self.buckets.len() - 1),
            }
        }
    }

    /// Calls `found(name, length)` for every name that begins `text`, shortest first.
    #[inline]
    pub fn prefixes(&self, text: &[char], mut found: impl FnMut(NameId, usize)) {
        let [first, second, ref rest @ ..] = *text else { return };
        let Some(mut at) = self.beginning(first, second) else { return };
        let (mut third, mut size) = self.step(at);
        if third == 0 {
            found(NameId(at as u32), 2);
            at += size;
            (third, size) = self.step(at);
        }
        let Some(&wanted) = rest.first() else { return };
        while third < wanted as u32 {
            at += size;
            (third, size) = self.step(at);
        }
        while third == wanted as u32 {
            let (length, _) = self.head(at);
            let own = &self.names[at + HEAD..at + HEAD + length.saturating_sub(3)];
            let more = rest.get(1..length - 2);
            if more.is_some_and(|more| own.iter().zip(more).all(|(own, &c)| own.0 == c as u32)) {
                found(NameId(at as u32), length);
            }
            at += size;
            (third, size) = self.step(at);
        }
    }

    /// The third character of the name at `at`, and how many words lead to the next.
    #[inline]
    fn step(&self, at: usize) -> (u32, usize) {
        let word = self.names[at].0;
        (word & ((1 << CHARACTER_BITS) - 1), (word >> CHARACTER_BITS) as usize)
    }

    /// The length of the name at `at`, and how many meanings it has.
    #[inline]
    fn head(&self, at: usize) -> (usize, usize) {
        let head = self.names[at + 1].0 as usize;
        (head & ((1 << LENGTH_BITS) - 1), head >> LENGTH_BITS)
    }

    #[inline]
    pub fn meanings(&self, name: NameId) -> &[Meaning] {
        let at = name.0 as usize;
        let (length, count) = self.head(at);
        let first = at + HEAD + length.saturating_sub(3);
        &self.names[first..first + count]
    }

    /// What the name that is exactly `text` means; nothing where there is none.
    pub fn exact(&self, text: &[char]) -> &[Meaning] {
        let mut whole = None;
        self.prefixes(text, |name, length| {
            if length == text.len() {
                whole = Some(name);
            }
        });
        whole.map_or(&[], |name| self.meanings(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_begins_the_text_is_found_shortest_first_with_its_meanings() {
        let words = ["云栖", "云栖区", "云栖街道", "云湖镇", "松涛𠀀乡"];
        let mut names: Vec<Vec<char>> = words.iter().map(|s| s.chars().collect()).collect();
        names.sort();
        let meaning = |n: usize| Meaning::new(DivisionId::of_row(n as u32), NAMINGS[n], Level::Township);
        let meanings: Vec<Vec<Meaning>> = (0..names.len()).map(|n| vec![meaning(n); n + 1]).collect();
        let index = NameIndex::new(names.iter().map(Vec::as_slice).zip(meanings.iter().map(Vec::as_slice)));
        let read = |text: &str| {
            let text: Vec<char> = text.chars().collect();
            let mut found = Vec::new();
            index.prefixes(&text, |name, length| found.push((length, index.meanings(name).to_vec())));
            found
        };
        assert_eq!(read("云栖街道12号"), [(2, meanings[0].clone()), (4, meanings[2].clone())]);
        assert_eq!(read("松涛𠀀乡"), [(4, meanings[4].clone())]);
        assert!(read("云").is_empty() && read("松涛路").is_empty() && read("望月路").is_empty());
        for (name, meanings) in names.iter().zip(&meanings) {
            assert_eq!(index.exact(name), meanings);
        }
        assert_eq!(meaning(4).parts(), (DivisionId::of_row(4), Naming::FormerVague, Level::Township));
        assert!(index.exact(&names[0][..1]).is_empty());
    }
}
