//! Keys: what is compared. A name's key has no punctuation and has its numerals in digits
//! (`青禾二村(B区)` and `青禾2村b区` are one name); a number's key keeps every part of it.

use crate::fold::{chinese_number, is_numeral};
use xxhash_rust::xxh3::xxh3_64;

/// The key of a folded text with, for each of its characters, the folded character it came from.
#[derive(Debug, Default, Clone)]
pub(crate) struct NameKey {
    pub chars: Vec<char>,
    pub from: Vec<u32>,
}

impl NameKey {
    /// Replaces the content by the key of `folded`.
    pub fn set(&mut self, folded: &[char]) {
        self.chars.clear();
        self.from.clear();
        let mut at = 0;
        while at < folded.len() {
            let c = folded[at];
            if is_numeral(c) {
                let end = folded[at..].iter().position(|&c| !is_numeral(c)).map_or(folded.len(), |n| at + n);
                self.numerals(folded, at, end);
                at = end;
                continue;
            }
            if is_wordy(c) {
                self.push(c, at);
            } else if at > 0
                && folded[at - 1].is_ascii_digit()
                && folded.get(at + 1).is_some_and(char::is_ascii_digit)
            {
                // Numbers never run together: 1-16 is not 116.
                self.push('-', at);
            }
            at += 1;
        }
    }

    fn numerals(&mut self, folded: &[char], start: usize, end: usize) {
        let beside_digit =
            |at: Option<usize>| at.and_then(|i| folded.get(i)).is_some_and(char::is_ascii_digit);
        let whole = folded[start..end].iter().all(|c| matches!(c, '百' | '廿' | '卅'));
        let number = (!whole && !beside_digit(start.checked_sub(1)) && !beside_digit(Some(end)))
            .then(|| chinese_number(&folded[start..end]))
            .flatten();
        match number {
            Some(n) => {
                for digit in Decimal::new(u64::from(n)) {
                    self.push(digit, start);
                }
            }
            None => (start..end).for_each(|i| self.push(folded[i], i)),
        }
    }

    fn push(&mut self, c: char, from: usize) {
        self.chars.push(c);
        self.from.push(from as u32);
    }

    /// The first key character that came from folded character `at` or a later one.
    pub fn at_folded(&self, at: usize) -> usize {
        self.from.partition_point(|&f| (f as usize) < at)
    }
}

/// The decimal digits of a number, without allocating.
pub(crate) struct Decimal {
    n: u64,
    unit: u64,
}

impl Decimal {
    pub fn new(n: u64) -> Self {
        let mut unit = 1;
        while n / unit >= 10 {
            unit *= 10;
        }
        Self { n, unit }
    }
}

impl Iterator for Decimal {
    type Item = char;
    fn next(&mut self) -> Option<char> {
        if self.unit == 0 {
            return None;
        }
        let digit = self.n / self.unit % 10;
        self.unit /= 10;
        char::from_digit(digit as u32, 10)
    }
}

/// The key of a name as written, for build time.
pub(crate) fn name_key(name: &str) -> Vec<char> {
    let mut folded = crate::fold::Folded::default();
    crate::fold::fold(name, &mut folded);
    let mut key = NameKey::default();
    key.set(folded.chars());
    key.chars
}

/// What an entry of the hash index is about; part of the hash, so that kinds never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum About {
    /// Road and number.
    Number = 1,
    /// A road, whatever the number.
    Road = 2,
    /// The key of a whole surface address.
    Text = 3,
    /// A name with one of its characters blanked: the miss path of names.
    BlankedName = 4,
    /// A road with one of its characters blanked, and the number.
    BlankedRoad = 5,
    /// A name with one of its characters left out: the miss path of names, too.
    ShortenedName = 7,
    /// The key of an alias of something below a compound.
    Alias = 6,
}

/// Hashes key characters one by one, without building a string: a folded 128-bit multiplication each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    pub fn new(about: About) -> Self {
        Self((about as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[inline]
    pub fn char(self, c: char) -> Self {
        let product =
            u128::from(self.0 ^ (c as u64).wrapping_add(0xa076_1d64_78bd_642f)) * 0xe703_7ed1_a0b4_28db_u128;
        Self((product as u64 ^ (product >> 64) as u64).wrapping_add(0x8ebc_6af0_9c88_c6e3))
    }

    pub fn chars(self, chars: &[char]) -> Self {
        chars.iter().fold(self, |h, &c| h.char(c))
    }

    /// `chars` with the one at `blank` blanked.
    pub fn blanked(self, chars: &[char], blank: usize) -> Self {
        chars.iter().enumerate().fold(self, |h, (i, &c)| h.char(if i == blank { '\u{1}' } else { c }))
    }

    /// `chars` without the one at `lost`.
    pub fn without(self, chars: &[char], lost: usize) -> Self {
        chars.iter().enumerate().filter(|(i, _)| *i != lost).fold(self, |h, (_, &c)| h.char(c))
    }

    /// Parts two fields.
    pub fn part(self) -> Self {
        self.char('\u{1f}')
    }

    pub fn finish(self) -> u64 {
        xxh3_64(&self.0.to_le_bytes())
    }
}

/// As `char::is_alphanumeric`, quick for the common ideographs.
pub(crate) fn is_wordy(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}' | 'a'..='z' | '0'..='9') || (!c.is_ascii() && c.is_alphanumeric())
}

/// May this character, as written, be a slip for another? Never a number, a letter, or what tells namesakes apart.
pub(crate) fn may_be_mistyped(c: char) -> bool {
    may_be_meant(c) && !"东西南北中上下前后左右内外大小新老甲乙丙丁".contains(c)
}

/// May a slip have been written for this character? 欣 for 新, but no digit for another.
pub(crate) fn may_be_meant(c: char) -> bool {
    !c.is_ascii() && !is_numeral(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(s: &str) -> String {
        name_key(s).into_iter().collect()
    }

    #[test]
    fn spellings_of_one_name_have_one_key() {
        assert_eq!(key("青禾二村(B区)"), key("青禾２村b区"));
        assert_eq!(key("青禾·望月汇"), key("青禾望月汇"));
        assert_eq!(key("望月新寓二十一村"), "望月新寓21村");
        assert_eq!(key("百家湖花园"), "百家湖花园");
    }

    #[test]
    fn numbers_in_keys_never_run_together() {
        assert_eq!(key("云家园1-16幢"), "云家园1-16幢");
        assert_ne!(key("天山一12号"), key("天山112号"));
    }
}
