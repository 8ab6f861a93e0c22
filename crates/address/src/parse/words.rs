//! Lists of words, found by one of their characters: nearly always a single look tells that none is there.

use crate::charset::{CharSet, decode};
use std::sync::OnceLock;

/// A set of characters, of which a few others may be taken for members: bit (character modulo 4096) is set.
#[derive(Clone, Copy)]
pub(crate) struct Bits([u64; 64]);

impl Bits {
    pub const EMPTY: Bits = Bits([0; 64]);

    const fn add(&mut self, c: char) {
        self.0[(c as usize / 64) % 64] |= 1 << (c as u32 % 64);
    }

    /// With the members of `other` too.
    pub const fn or(mut self, other: &Bits) -> Self {
        let mut at = 0;
        while at < 64 {
            self.0[at] |= other.0[at];
            at += 1;
        }
        self
    }

    /// With the characters of `list` too.
    pub const fn and_chars(mut self, list: &str) -> Self {
        let (bytes, mut at) = (list.as_bytes(), 0);
        while at < bytes.len() {
            let (c, length) = decode(bytes, at);
            self.add(c);
            at += length;
        }
        self
    }

    #[inline(always)]
    pub fn may_have(&self, c: char) -> bool {
        self.0[(c as usize / 64) % 64] >> (c as u32 % 64) & 1 != 0
    }
}

/// Words that are looked for where a text begins or ends with them.
pub(crate) struct Words {
    /// Parted by spaces.
    list: &'static str,
    /// What words begin with, and end with.
    pub begins: Bits,
    pub ends: Bits,
    /// Laid out when a word may first be there.
    table: OnceLock<Table>,
}

struct Table {
    by_beginning: Group,
    by_ending: Group,
}

/// Words of one list, grouped by two of their characters; in a group the longest first, so that the first match is the
/// longest. Most pairs of characters have no group.
struct Group {
    words: Vec<Box<[char]>>,
    ranges: [(u16, u16); GROUPS],
    /// Words of a single character.
    singles: CharSet,
}

const GROUPS: usize = 512;

fn group(outer: char, inner: char) -> usize {
    ((outer as u32).wrapping_mul(0x9e37_79b1).wrapping_add(inner as u32).wrapping_mul(0x85eb_ca6b) >> 23)
        as usize
}

impl Group {
    /// `pair` gives the character at the end that is looked at, and the one beside it.
    fn new(list: &str, pair: impl Fn(&[char]) -> (char, char)) -> Self {
        let words = || list.split_whitespace().map(|w| w.chars().collect::<Box<[char]>>());
        let singles: String = words().filter(|w| w.len() == 1).map(|w| w[0]).collect();
        let mut words: Vec<Box<[char]>> = words().filter(|w| w.len() > 1).collect();
        let group = |word: &[char]| group(pair(word).0, pair(word).1);
        words.sort_by_key(|w| (group(w), std::cmp::Reverse(w.len())));
        let mut ranges = [(0, 0); GROUPS];
        for (at, word) in (0..).zip(&words) {
            let range = &mut ranges[group(word)];
            *range = (if range.1 == 0 { at } else { range.0 }, at + 1);
        }
        Self { words, ranges, singles: CharSet::new(&singles) }
    }

    /// The length of the longest word that is one by `is_there`, of those that have `outer` and `inner` at their end.
    #[inline]
    fn find(&self, outer: char, inner: Option<char>, is_there: impl Fn(&[char]) -> bool) -> usize {
        let (start, end) = inner.map_or((0, 0), |inner| self.ranges[group(outer, inner)]);
        let words = &self.words[usize::from(start)..usize::from(end)];
        let single = || usize::from(self.singles.has(outer));
        words.iter().find(|w| is_there(w)).map_or_else(single, |w| w.len())
    }
}

impl Words {
    pub const fn new(list: &'static str) -> Self {
        let (mut begins, mut ends) = (Bits::EMPTY, Bits::EMPTY);
        let (bytes, mut at, mut last) = (list.as_bytes(), 0, ' ');
        while at < bytes.len() {
            let (c, length) = decode(bytes, at);
            if last == ' ' && c != ' ' {
                begins.add(c);
            }
            if c == ' ' && last != ' ' {
                ends.add(last);
            }
            (last, at) = (c, at + length);
        }
        if last != ' ' {
            ends.add(last);
        }
        Self { list, begins, ends, table: OnceLock::new() }
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| Table {
            by_beginning: Group::new(self.list, |word| (word[0], word[1])),
            by_ending: Group::new(self.list, |word| (word[word.len() - 1], word[word.len() - 2])),
        })
    }

    /// The length of the longest word that `text` begins with; 0 where there is none.
    #[inline(always)]
    pub fn beginning(&self, text: &[char]) -> usize {
        let may = text.first().is_some_and(|&c| self.begins.may_have(c));
        if may { self.longest_beginning(text) } else { 0 }
    }

    /// The length of the longest word that `text` ends with; 0 where there is none.
    #[inline(always)]
    pub fn ending(&self, text: &[char]) -> usize {
        let may = text.last().is_some_and(|&c| self.ends.may_have(c));
        if may { self.longest_ending(text) } else { 0 }
    }

    #[inline(never)]
    fn longest_beginning(&self, text: &[char]) -> usize {
        let [first, rest @ ..] = text else { return 0 };
        self.table().by_beginning.find(*first, rest.first().copied(), |word| has_prefix(text, word))
    }

    #[inline(never)]
    fn longest_ending(&self, text: &[char]) -> usize {
        let [rest @ .., last] = text else { return 0 };
        self.table().by_ending.find(*last, rest.last().copied(), |word| {
            word.len() <= text.len() && has_prefix(&text[text.len() - word.len()..], word)
        })
    }
}

/// As `starts_with`, but without a call: words are short.
#[inline]
fn has_prefix(text: &[char], word: &[char]) -> bool {
    word.len() <= text.len() && word.iter().zip(text).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_is_found_at_either_end() {
        static WORDS: Words = Words::new("园 花园 小区 工业园 工业园区");
        let text = |s: &str| s.chars().collect::<Vec<char>>();
        assert_eq!(WORDS.ending(&text("云栖花园")), 2);
        assert_eq!(WORDS.ending(&text("青山工业园")), 3);
        assert_eq!(WORDS.beginning(&text("工业园区东路")), 4);
        assert_eq!(WORDS.beginning(&text("东工业园区")), 0);
        assert_eq!(WORDS.ending(&[]), 0);
    }
}
