//! A short piece of text held in place: the normalised value of a number, a building, a room.

use std::fmt;

const CAPACITY: usize = 30;

/// At most 30 bytes of UTF-8. Compared by content; nothing longer is a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    bytes: [u8; CAPACITY],
    len: u8,
}

impl Label {
    pub const EMPTY: Label = Label { bytes: [0; CAPACITY], len: 0 };

    /// False, and unchanged, where `c` does not fit.
    #[inline]
    pub(crate) fn push(&mut self, c: char) -> bool {
        let at = self.len as usize;
        if c.is_ascii() && at < CAPACITY {
            self.bytes[at] = c as u8;
            self.len += 1;
            return true;
        }
        if at + c.len_utf8() > CAPACITY {
            return false;
        }
        self.len += c.encode_utf8(&mut self.bytes[at..]).len() as u8;
        true
    }

    pub(crate) fn from_chars(chars: impl IntoIterator<Item = char>) -> Option<Label> {
        let mut label = Label::EMPTY;
        chars.into_iter().all(|c| label.push(c)).then_some(label)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len as usize]).unwrap_or_default()
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Default for Label {
    fn default() -> Self {
        Label::EMPTY
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
