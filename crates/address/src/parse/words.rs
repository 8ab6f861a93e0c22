//! Lists of words, found by one of their characters: nearly always a single look tells that none is there.

use crate::charset::decode;
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
    by_first: Group,
    by_last: Group,
}

/// Words of one list, grouped by one of their characters modulo 256; in a group the longest first, so that the first
/// match is the longest.
struct Group {
    words: Vec<Box<[char]>>,
    ranges: [(u16, u16); 256],
}

impl Group {
    fn new(list: &str, by: impl Fn(&[char]) -> char) -> Self {
        let mut words: Vec<Box<[char]>> = list.split_whitespace().map(|w| w.chars().collect()).collect();
        let group = |word: &[char]| by(word) as usize % 256;
        words.sort_by_key(|w| (group(w), std::cmp::Reverse(w.len())));
        let mut ranges = [(0, 0); 256];
        for (at, word) in (0..).zip(&words) {
            let range = &mut ranges[group(word)];
            *range = (if range.1 == 0 { at } else { range.0 }, at + 1);
        }
        Self { words, ranges }
    }

    /// The length of the first word of the group of `c` that is one by `is_there`.
    #[inline]
    fn find(&self, c: char, is_there: impl Fn(&[char]) -> bool) -> usize {
        let (start, end) = self.ranges[c as usize % 256];
        let words = &self.words[usize::from(start)..usize::from(end)];
        words.iter().find(|w| is_there(w)).map_or(0, |w| w.len())
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
            by_first: Group::new(self.list, |word| word[0]),
            by_last: Group::new(self.list, |word| word[word.len() - 1]),
        })
    }

    /// The length of the longest word that `text` begins with; 0 where there is none.
    #[inline]
    pub fn beginning(&self, text: &[char]) -> usize {
        match text.first() {
            Some(&first) if self.begins.may_have(first) => {
                self.table().by_first.find(first, |word| has_prefix(text, word))
            }
            _ => 0,
        }
    }

    /// The length of the longest word that `text` ends with; 0 where there is none.
    #[inline]
    pub fn ending(&self, text: &[char]) -> usize {
        match text.last() {
            Some(&last) if self.ends.may_have(last) => self.table().by_last.find(last, |word| {
                word.len() <= text.len() && has_prefix(&text[text.len() - word.len()..], word)
            }),
            _ => 0,
        }
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
