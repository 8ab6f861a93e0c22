//! Sets of characters that rules ask for at every position: one look at a word of bits nearly always says no.

/// A few characters of the language. Built when the program is compiled; see [`one_of`](crate::charset::one_of).
pub(crate) struct CharSet {
    /// Bit (character modulo 256) is set where a member has that remainder.
    bits: [u64; 4],
    list: [char; LIST_MAX],
    len: usize,
}

const LIST_MAX: usize = 32;

impl CharSet {
    /// At most 32 characters.
    pub const fn new(list: &str) -> Self {
        let mut set = Self { bits: [0; 4], list: ['\0'; LIST_MAX], len: 0 };
        let (bytes, mut at) = (list.as_bytes(), 0);
        while at < bytes.len() {
            let (c, length) = decode(bytes, at);
            set.bits[(c as usize / 64) % 4] |= 1 << (c as u32 % 64);
            set.list[set.len] = c;
            set.len += 1;
            at += length;
        }
        set
    }

    #[inline(always)]
    pub fn has(&self, c: char) -> bool {
        self.bits[(c as usize / 64) % 4] >> (c as u32 % 64) & 1 != 0 && self.lists(c)
    }

    #[inline]
    fn lists(&self, c: char) -> bool {
        self.list[..self.len].contains(&c)
    }
}

/// The character that begins at byte `at`, and its length in bytes.
pub(crate) const fn decode(bytes: &[u8], at: usize) -> (char, usize) {
    let first = bytes[at] as u32;
    let (mut n, length) = match first {
        0..0x80 => (first, 1),
        0x80..0xe0 => (first & 0x1f, 2),
        0xe0..0xf0 => (first & 0x0f, 3),
        _ => (first & 0x07, 4),
    };
    let mut i = 1;
    while i < length {
        n = n << 6 | (bytes[at + i] as u32 & 0x3f);
        i += 1;
    }
    match char::from_u32(n) {
        Some(c) => (c, length),
        None => ('\u{fffd}', length),
    }
}

/// Is the character one of those of the literal? `one_of!(c, "路街巷弄")`
macro_rules! one_of {
    ($c:expr, $list:literal) => {{
        const SET: &$crate::charset::CharSet = &$crate::charset::CharSet::new($list);
        SET.has($c)
    }};
}
pub(crate) use one_of;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn every_member_is_found_and_its_neighbours_are_not() {
        assert!("路a街é𠀀".chars().all(|c| one_of!(c, "路a街é𠀀")));
        assert!(!one_of!('巷', "路a街é𠀀") && !one_of!('\0', "路a街é𠀀"));
    }

    proptest! {
        #[test]
        fn a_set_holds_what_its_list_holds(c in "\\PC|[东-中]") {
            let c = c.chars().next().unwrap_or_default();
            prop_assert_eq!(one_of!(c, "东西南北中上下内外前后横直正支新老环号条"), "东西南北中上下内外前后横直正支新老环号条".contains(c));
        }
    }
}
