//! Sets of characters that rules ask for at every position: one load and one comparison say whether a character is in.

/// A few characters of the language. Built when the program is compiled; see [`one_of`](crate::charset::one_of).
pub(crate) struct CharSet {
    /// Each member at its place, of which no other member has the same; elsewhere what has another place.
    members: [u16; SIZE],
    factor: u32,
}

const SIZE: usize = 128;
const SIZE_BITS: u32 = SIZE.ilog2();

const fn place(c: u32, factor: u32) -> usize {
    (c.wrapping_mul(factor) >> (u32::BITS - SIZE_BITS)) as usize
}

impl CharSet {
    /// At most 32 distinct characters of Unicode's first plane.
    pub const fn new(list: &str) -> Self {
        let mut factor = 0x9e37_79b1;
        loop {
            if let Some(members) = members(list, factor) {
                return Self { members, factor };
            }
            factor = factor.wrapping_mul(0x85eb_ca6b) | 1;
        }
    }

    #[inline(always)]
    pub fn has(&self, c: char) -> bool {
        self.members[place(c as u32, self.factor)] as u32 == c as u32
    }
}

/// None where two characters would have one place.
const fn members(list: &str, factor: u32) -> Option<[u16; SIZE]> {
    // 0 has place 0, and whatever has that place has not the first other one.
    let other = if place(1, factor) == 0 { 2 } else { 1 };
    let (mut members, mut taken) = ([0; SIZE], [false; SIZE]);
    members[0] = other;
    let (bytes, mut at) = (list.as_bytes(), 0);
    while at < bytes.len() {
        let (c, length) = decode(bytes, at);
        assert!((c as u32) < 0x1_0000, "beyond the first plane");
        let place = place(c as u32, factor);
        if taken[place] {
            return None;
        }
        (members[place], taken[place]) = (c as u16, true);
        at += length;
    }
    Some(members)
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
        assert!("路a街é\0".chars().all(|c| one_of!(c, "路a街é\0")));
        assert!(!one_of!('巷', "路a街é") && !one_of!('\0', "路a街é") && !one_of!('\u{1}', "路"));
    }

    proptest! {
        #[test]
        fn a_set_holds_what_its_list_holds(c in "\\PC|[东-中]") {
            let c = c.chars().next().unwrap_or_default();
            prop_assert_eq!(one_of!(c, "东西南北中上下内外前后横直正支新老环号条"), "东西南北中上下内外前后横直正支新老环号条".contains(c));
        }
    }
}
