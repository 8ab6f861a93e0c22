//! What stands before a counter: 25, 2a, b3, 东, 甲.

use super::matches_word;
use crate::charset::one_of;
use crate::parse::label::Label;

/// The value at `at`, where it ends, and whether it is a word that must have its counter (东单元, a座).
pub(super) fn value(text: &[char], at: usize) -> Option<(Label, usize, bool)> {
    let c = *text.get(at)?;
    if one_of!(c, "东西南北中甲乙丙丁") {
        let next = text.get(at + 1).copied();
        let counted = matches!(next, Some('单' | '幢' | '栋' | '座' | '号' | '户' | '梯'))
            && !matches_word(text, at + 1, "单位");
        if counted && !(next == Some('号') && text.get(at + 2) != Some(&'楼')) {
            return Some((Label::from_chars([c])?, at + 1, true));
        }
        if !(next.is_some_and(|n| n.is_ascii_digit()) && one_of!(c, "甲乙丙丁")) {
            return None;
        }
        let (mut label, end, _) = value(text, at + 1)?;
        return label.push(c).then_some((label, end, false));
    }
    let letters = text[at..].iter().take(4).take_while(|c| c.is_ascii_lowercase()).count();
    let digits = text[at + letters..].iter().take(7).take_while(|c| c.is_ascii_digit()).count();
    if letters > 2 || digits > 6 || letters + digits == 0 {
        return None;
    }
    let mut end = at + letters + digits;
    let zeros =
        text[at + letters..end].iter().take_while(|&&c| c == '0').count().min(digits.saturating_sub(1));
    let mut label = Label::EMPTY;
    text[at..at + letters].iter().for_each(|&c| {
        label.push(c);
    });
    text[at + letters + zeros..end].iter().for_each(|&c| {
        label.push(c);
    });
    if digits > 0 {
        let tail = text.get(end).copied().filter(|c| c.is_ascii_lowercase() || one_of!(*c, "甲乙丙丁"));
        let storey = tail == Some('f') && letters == 0;
        // 17乙803: a building, its part, a room.
        let part = text[end..].iter().skip(1).take(3).filter(|c| c.is_ascii_digit()).count() == 3;
        let joined = text.get(end + 1).is_some_and(char::is_ascii_lowercase)
            || tail.is_some_and(|c| !c.is_ascii()) && part;
        if let Some(c) = tail.filter(|_| !storey && !joined) {
            label.push(c);
            end += 1;
            // 15b03
            let more = text[end..].iter().take(5).take_while(|c| c.is_ascii_digit()).count();
            if c.is_ascii() && more <= 4 {
                text[end..end + more].iter().for_each(|&c| {
                    label.push(c);
                });
                end += more;
            }
        }
    }
    Some((label, end, digits == 0))
}
