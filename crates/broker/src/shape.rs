//! Whether a request's lengths are true, checked before it is decoded: the codec sets memory aside for as many
//! elements as an array claims to have, and so a few bytes of rubbish could end the whole process.
//!
//! The fields of a request are written as `c` `h` `i` `l` for 1, 2, 4 and 8 bytes, `s` for a string, `b` for
//! bytes, `[...]` for an array of structures and `(...)` for one of plain values. A number after a field is
//! the first version that has it, one after a colon the last.

/// What a request is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The first version with compact lengths and tagged fields.
    pub(crate) flexible_from: i16,
    pub(crate) fields: &'static str,
}

impl Shape {
    /// Whether the body of a request is of this shape. Bytes may follow, as they do when librdkafka asks for
    /// the metadata of all topics.
    pub(crate) fn fits(&self, body: &[u8], version: i16) -> bool {
        self.rest(body, version).is_some()
    }

    /// What follows a body of this shape; `None` if it is not of this shape.
    fn rest<'a>(&self, body: &'a [u8], version: i16) -> Option<&'a [u8]> {
        let mut walk = Walk { rest: body, version, flexible: version >= self.flexible_from };
        walk.structure(self.fields.as_bytes())?;
        Some(walk.rest)
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[u8]) -> Option<()> {
        self.fields(fields)?;
        if self.flexible {
            for _ in 0..self.varint()? {
                self.varint()?;
                let length = self.varint()?;
                self.skip(length)?;
            }
        }
        Some(())
    }

    fn fields(&mut self, mut fields: &[u8]) -> Option<()> {
        while let [kind, after @ ..] = fields {
            let (inner, after) = match kind {
                b'[' | b'(' => after.split_at(end_of_array(after)),
                _ => (&[][..], after),
            };
            let after = if inner.is_empty() { after } else { &after[1..] };
            let (here, after) = gate(after, self.version);
            fields = after;
            if !here {
                continue;
            }
            match kind {
                b'c' => self.skip(1)?,
                b'h' => self.skip(2)?,
                b'i' => self.skip(4)?,
                b'l' => self.skip(8)?,
                b's' => self.counted(2).and_then(|length| self.skip(length))?,
                b'b' => self.counted(4).and_then(|length| self.skip(length))?,
                b'[' | b'(' => {
                    let count = self.counted(4)?;
                    // Each element takes at least one byte.
                    if count > self.rest.len() {
                        return None;
                    }
                    for _ in 0..count {
                        if *kind == b'[' { self.structure(inner)? } else { self.fields(inner)? }
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    /// A length or a count: one more than it is as a varint, or plain in so many bytes. Null counts as 0.
    fn counted(&mut self, width: usize) -> Option<usize> {
        if self.flexible {
            return Some(self.varint()?.saturating_sub(1));
        }
        let (front, rest) = self.rest.split_at_checked(width)?;
        self.rest = rest;
        let negative = front[0] & 0x80 != 0;
        Some(if negative { 0 } else { front.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)) })
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }
}

/// Where the array ends whose opening bracket was just read.
fn end_of_array(fields: &[u8]) -> usize {
    let mut depth = 1;
    let end = fields.iter().position(|byte| {
        match byte {
            b'[' | b'(' => depth += 1,
            b']' | b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.expect("invariant: the brackets of a shape are balanced")
}

/// Reads the versions after a field, says whether this one is among them, and gives what follows.
fn gate(fields: &[u8], version: i16) -> (bool, &[u8]) {
    let (first, fields) = number(fields);
    let (last, fields) = match fields {
        [b':', fields @ ..] => number(fields),
        _ => (None, fields),
    };
    (first.is_none_or(|first| version >= first) && last.is_none_or(|last| version <= last), fields)
}

fn number(fields: &[u8]) -> (Option<i16>, &[u8]) {
    let digits = fields.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = fields[..digits].iter().fold(0, |n, digit| n * 10 + i16::from(digit - b'0'));
    ((digits > 0).then_some(number), &fields[digits..])
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
