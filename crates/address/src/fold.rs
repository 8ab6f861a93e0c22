//! Fold: one way to write each character, and numbers in digits where they count something.
//!
//! ```text
//!   江寧區 國泰新村２５—４O２, 二单元   →   江宁区 国泰新村25-402 2单元
//! ```
//! Every folded character knows which characters of the original it came from, so that spans can be
//! given back in the original text.

mod characters;
mod numerals;

pub use numerals::chinese_number;
pub(crate) use numerals::{NUMERALS, is_numeral};

/// Folded text with its way back to the original. Reuse one across calls: nothing is allocated then.
#[derive(Debug, Default, Clone)]
pub struct Folded {
    /// What is folded are the first `length` of these; the rest is room for longer texts.
    chars: Vec<char>,
    /// Per folded character: the characters [from, to) of the original that it stands for.
    from: Vec<u32>,
    to: Vec<u32>,
    length: usize,
    staged: Vec<(char, u32, u32)>,
}

impl Folded {
    pub fn chars(&self) -> &[char] {
        &self.chars[..self.length]
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The folded text as a string (allocates).
    pub fn text(&self) -> String {
        self.chars().iter().collect()
    }

    /// The characters [start, end) of the original that the folded characters [start, end) came from.
    #[inline]
    pub fn original(&self, start: usize, end: usize) -> [u32; 2] {
        debug_assert!(start <= end && end <= self.length);
        if start >= end {
            let last = self.to[..self.length].last();
            let at = self.from[..self.length].get(start).or(last).copied().unwrap_or(0);
            return [at, at];
        }
        [self.from[start], self.to[end - 1]]
    }

    /// Drops the content, and makes room for as many characters as a text of so many bytes can have.
    fn clear(&mut self, bytes: usize) {
        self.length = 0;
        if self.chars.len() < bytes {
            self.chars.resize(bytes, '\0');
            self.from.resize(bytes, 0);
            self.to.resize(bytes, 0);
        }
    }

    fn push(&mut self, c: char, from: u32, to: u32) {
        let at = self.length;
        (self.chars[at], self.from[at], self.to[at]) = (c, from, to);
        self.length = at + 1;
    }

    fn last(&self) -> Option<char> {
        self.chars().last().copied()
    }
}

/// Folds `text` into `out`, whose former content is dropped. Folding what was folded changes nothing.
pub fn fold(text: &str, out: &mut Folded) {
    out.clear(text.len());
    if let Some(first) = characters::write(text, out) {
        numerals::settle(out, first);
    }
}

/// Is `c` an ideograph that folding leaves as it is, whatever stands beside it?
pub(crate) fn is_settled(c: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&c) && characters::simplified(c) == c && !is_numeral(c)
}

/// The folded text alone. For names and labels at build time, not for the hot path.
pub fn folded(text: &str) -> String {
    let mut out = Folded::default();
    fold(text, &mut out);
    out.text()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn width_script_dashes_and_the_letter_o_are_folded() {
        assert_eq!(folded("江寧區　國泰新村２５幢"), "江宁区 国泰新村25幢");
        assert_eq!(folded("国泰新村25—4O2"), "国泰新村25-402");
        assert_eq!(folded("25一402"), "25-402");
        assert_eq!(folded("（北区）【A座】"), "(北区)(a座)");
        assert_eq!(folded("青禾·望月汇"), "青禾望月汇");
        assert_eq!(folded("COCO蜜园"), "coco蜜园");
        assert_eq!(folded("⾦⽥"), "金田");
    }

    #[test]
    fn chinese_numerals_become_digits_only_where_they_count() {
        assert_eq!(folded("十二栋二单元四〇二室"), "12栋2单元402室");
        assert_eq!(folded("廿三号"), "23号");
        assert_eq!(folded("一百零八号"), "108号");
        assert_eq!(folded("三元路五一路"), "三元路五一路");
        assert_eq!(folded("二O二室"), "202室");
        assert_eq!(folded("三门峡市"), "三门峡市");
    }

    #[test]
    fn spans_lead_back_to_the_original_characters() {
        let mut f = Folded::default();
        fold("甲  十二栋", &mut f);
        assert_eq!(f.text(), "甲 12栋");
        assert_eq!(f.original(2, 5), [3, 6]);
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in "[0-9oO〇零一二十百两廿號号栋單单元室层楼路村()（）,，.。·—一\\- \\ta-cＡ１２]{0,24}|\\PC{0,24}") {
            let once = folded(&text);
            prop_assert_eq!(&folded(&once), &once);
        }

        #[test]
        fn spans_lie_in_the_text_and_never_run_backwards(text in "\\PC{0,40}") {
            let mut f = Folded::default();
            fold(&text, &mut f);
            let count = text.chars().count() as u32;
            let mut last = 0;
            for i in 0..f.chars().len() {
                let [start, end] = f.original(i, i + 1);
                prop_assert!(start < end && end <= count && start >= last);
                last = start;
            }
        }
    }
}
