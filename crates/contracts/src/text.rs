//! Folding of what Chinese input methods and spreadsheets do to digits and names.

use std::borrow::Cow;

/// Without surrounding white space (the ideographic space too), and full-width ASCII made half-width:
/// ` １２．５ ` becomes `12.5`. Borrowed where there is nothing to fold.
pub fn fold(text: &str) -> Cow<'_, str> {
    let text = trim(text);
    // U+FF01..U+FF5E begin with EF BC or EF BD, U+3000 with E3 80: rare lead bytes in Chinese text.
    if !text.bytes().any(|byte| byte == 0xEF || byte == 0xE3) {
        return Cow::Borrowed(text);
    }
    if !text.chars().any(is_wide) {
        return Cow::Borrowed(text);
    }
    let folded: String = text.chars().map(narrow).collect();
    Cow::Owned(folded.trim().to_owned())
}

/// Without white space, byte order marks and zero-width characters at both ends.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'))
}

/// A column's name as names are compared: folded, and ASCII letters in lower case.
pub fn fold_name(name: &str) -> Cow<'_, str> {
    let folded = fold(name);
    if folded.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(folded.to_ascii_lowercase());
    }
    folded
}

fn is_wide(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ff5e}' | '\u{3000}')
}

fn narrow(c: char) -> char {
    match c {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        other => other,
    }
}

/// At most 40 characters of a value, for a message; line breaks become spaces.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_width_digits_and_spaces_become_half_width() {
        assert_eq!(fold("\u{3000}１２．５ "), "12.5");
        assert_eq!(fold("用水量（吨）"), "用水量(吨)");
        assert!(matches!(fold(" 国泰新村25-402 "), Cow::Borrowed("国泰新村25-402")));
        assert_eq!(fold_name("\u{feff}Landlord_ＰＨＯＮＥ"), "landlord_phone");
    }

    #[test]
    fn folding_twice_is_folding_once() {
        for text in ["　 Ａ　", "ａ　", "\u{feff} x", "（）", ""] {
            assert_eq!(fold(&fold(text)), fold(text));
        }
    }
}
