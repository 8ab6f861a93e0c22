//! How much each character of a text says: words that many places share say little.

use crate::lexicon::LexiconBytes;
use std::sync::OnceLock;

const GENERIC: &str = include_str!("../../data/generic_words.txt");
/// A character of a word that many places share, and one that only says what kind of thing is named or counts it.
const GENERIC_WEIGHT: f32 = 0.25;
const KIND_WEIGHT: f32 = 0.4;
const KINDS: &str = "省市区县镇乡村路街道巷号楼栋幢院座层室弄组园城东西南北中大小新";

fn generic() -> &'static LexiconBytes {
    static WORDS: OnceLock<LexiconBytes> = OnceLock::new();
    WORDS.get_or_init(|| {
        let lines = GENERIC.lines().filter(|l| !l.starts_with('#'));
        let mut words: Vec<Vec<char>> =
            lines.flat_map(str::split_whitespace).map(crate::key::name_key).collect();
        words.sort();
        words.dedup();
        LexiconBytes::new(&words)
    })
}

/// The weight of each character of the key `text`, 1 where it tells places apart.
pub(super) fn weights(text: &[char]) -> Vec<f32> {
    let lexicon = generic().view();
    let kind = |c: &char| c.is_ascii_digit() || KINDS.contains(*c) || crate::fold::is_numeral(*c);
    let mut out: Vec<f32> = text.iter().map(|c| if kind(c) { KIND_WEIGHT } else { 1.0 }).collect();
    for at in 0..text.len() {
        lexicon.prefixes(&text[at..], |_, length| {
            out[at..at + length].iter_mut().for_each(|w| *w = w.min(GENERIC_WEIGHT));
        });
    }
    out
}

/// The longest stretches of `a`, of two characters or more, that `b` has too: (start, length), left to right.
pub(super) fn shared_stretches(a: &[char], b: &[char]) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < a.len() {
        let length = longest_at(&a[at..], b);
        if length >= 2 {
            out.push((at, length));
        }
        at += length.max(1);
    }
    out
}

/// How many characters of the beginning of `a` stand somewhere in `b`.
fn longest_at(a: &[char], b: &[char]) -> usize {
    let common = |from: usize| a.iter().zip(&b[from..]).take_while(|(x, y)| x == y).count();
    (0..b.len()).map(common).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn words_that_many_places_share_weigh_little() {
        let sum = |text: &str| weights(&chars(text)).iter().sum::<f32>();
        assert!(sum("青禾") > sum("科技有限公司"));
        assert!(sum("123号") < sum("云栖"));
    }

    #[test]
    fn stretches_are_as_long_as_they_can_be() {
        let (a, b) = (chars("云栖路青禾新村25幢"), chars("青禾新村在云栖路"));
        assert_eq!(shared_stretches(&a, &b), [(0, 3), (3, 4)]);
    }
}
