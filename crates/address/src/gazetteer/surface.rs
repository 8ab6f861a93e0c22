//! Free surface texts: where in them an address may begin and end again.
//!
//! ```text
//!  鼓楼-望月广场-青禾小学附近,解放路    cuts behind each area word and each gap
//!      └────────┬───────────────┘
//!       望月广场… │ 青禾小学附近,解放路 │ 青禾小学附近
//! ```
//! Sources put different quarters before one description of a place. Behind its cuts the description is the same.

use crate::key::{About, KeyHash, NameKey};
use crate::parse::area::{Area, is_gap};

/// Fewer characters than this describe no place.
const PIECE_MIN: usize = 5;
/// Of one text no more cuts are made.
const CUTS_MAX: usize = 12;

/// Calls `found` with (hash, start, end) of every piece of `text` that may describe a place by itself: from each cut
/// to the end of the text, and to the next comma or bracket. `key` is the key of the whole of `text`.
pub(crate) fn pieces(area: &Area, text: &[char], key: &NameKey, mut found: impl FnMut(u64, usize, usize)) {
    let mut seen = 0;
    for start in 0..text.len() {
        if !is_cut(area, text, start) {
            continue;
        }
        seen += 1;
        if seen > CUTS_MAX {
            return;
        }
        let gap = (start..text.len()).find(|&at| is_end(text, at)).unwrap_or(text.len());
        piece(text, key, start, text.len(), &mut found);
        // What stands before a dash is the quarter: 鼓楼-望月广场-….
        if text.get(gap).is_some_and(|c| *c != '-') {
            piece(text, key, start, gap, &mut found);
        }
    }
}

/// The hashes of all pieces of `text`, for build time.
pub(super) fn hashes(area: &Area, text: &[char]) -> Vec<u64> {
    let mut key = NameKey::default();
    key.set(text);
    let mut out = Vec::new();
    pieces(area, text, &key, |hash, _, _| out.push(hash));
    out
}

fn piece(text: &[char], key: &NameKey, start: usize, end: usize, found: &mut impl FnMut(u64, usize, usize)) {
    let chars = &key.chars[key.at_folded(start)..key.at_folded(end)];
    // A road, with or without its quarter, is nobody's address.
    let road = chars.last().is_some_and(|c| "路街巷道弄线".contains(*c));
    if chars.len() >= PIECE_MIN && !road && !text[start..end].iter().all(char::is_ascii) {
        found(KeyHash::new(About::Text).chars(chars).finish(), start, end);
    }
}

fn is_cut(area: &Area, text: &[char], at: usize) -> bool {
    let behind_area = || at == area.end || area.mentions.iter().any(|m| m.end == at);
    !is_gap(text[at]) && (at == 0 || is_end(text, at - 1) || behind_area())
}

/// A gap, but not the dash of 12-1.
fn is_end(text: &[char], at: usize) -> bool {
    let digit = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(char::is_ascii_digit);
    is_gap(text[at]) && !(text[at] == '-' && digit(at.checked_sub(1)) && digit(Some(at + 1)))
}
