//! Bytes to records, without decoding them.
//!
//! In UTF-8, GBK and GB18030 no byte of a longer character is a quote, a comma, a semicolon, a tab or a line break
//! (GBK's second bytes start at 0x40; GB18030's four-byte characters have 0x30 to 0x39 in second and fourth place),
//! so records can be told apart before anything is decoded; a test below goes through all characters.
//!
//! CSV quotes follow RFC 4180 as the csv crate reads them: a quote opens at the beginning of a field only, a doubled
//! quote inside is one. Line feed, carriage return and both together end a record; empty lines are none.

use std::ops::Range;

/// How records are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Lines,
    Csv { delimiter: u8, quote: Option<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Field,
    Quoted,
    QuoteInQuoted,
}

/// Where one record lies. Its bytes are [`Splitter::bytes`], until more is fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    range: Option<Range<usize>>,
    /// The record's first byte within the file.
    pub offset: u64,
    /// The byte after its line break.
    pub next: u64,
    /// Only the beginning of a record that is too long.
    pub truncated: bool,
}

/// Cuts a stream of bytes into records. Holds at most one record of `limit` bytes and one chunk.
#[derive(Debug)]
pub struct Splitter {
    shape: Shape,
    limit: usize,
    buffer: Vec<u8>,
    /// The file's offset of the buffer's first byte.
    base: u64,
    /// The current record's first byte, and the first that was not looked at, within the buffer.
    start: usize,
    scan: usize,
    state: State,
    /// The beginning of a record that is too long; the rest of it is passed over.
    long: Vec<u8>,
    long_offset: Option<u64>,
}

impl Splitter {
    /// `offset` is where the first bytes lie that are fed; a record begins there.
    pub fn new(shape: Shape, limit: usize, offset: u64) -> Self {
        Self {
            shape,
            limit,
            buffer: Vec::new(),
            base: offset,
            start: 0,
            scan: 0,
            state: State::FieldStart,
            long: Vec::new(),
            long_offset: None,
        }
    }

    /// Adds bytes. Cuts made before are void.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.base += self.start as u64;
        self.scan -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    pub fn bytes(&self, cut: &Cut) -> &[u8] {
        match &cut.range {
            Some(range) => &self.buffer[range.clone()],
            None => &self.long,
        }
    }

    /// Where the record begins that is not whole yet.
    pub fn offset(&self) -> u64 {
        self.long_offset.unwrap_or(self.base + self.start as u64)
    }

    /// The next record that is whole.
    pub fn next_record(&mut self) -> Option<Cut> {
        loop {
            if self.long_offset.is_some() {
                return self.end_of_long();
            }
            self.skip_empty_lines();
            match self.find_end() {
                Some(end) if end - self.start <= self.limit => {
                    let cut = self.cut(end);
                    if !self.is_blank(&cut) {
                        return Some(cut);
                    }
                }
                Some(_) => self.begin_long(),
                None if self.scan - self.start > self.limit => match self.first_break() {
                    // A quote that was never closed: what it swallowed is told apart by lines.
                    Some(end) => return Some(self.cut(end)),
                    None => self.begin_long(),
                },
                None => return None,
            }
        }
    }

    /// What is left at the end of the file: a record without a line break. Call again, after
    /// [`Splitter::next_record`], until there is none.
    pub fn last_record(&mut self) -> Option<Cut> {
        let end = self.buffer.len();
        if let Some(offset) = self.long_offset.take() {
            (self.start, self.scan, self.state) = (end, end, State::FieldStart);
            return Some(Cut { range: None, offset, next: self.base + end as u64, truncated: true });
        }
        if self.start >= end {
            return None;
        }
        match self.first_break().filter(|_| self.state == State::Quoted) {
            Some(end) => Some(self.cut(end)),
            None => {
                let cut = self.cut(end);
                (!self.is_blank(&cut)).then_some(cut)
            }
        }
    }

    /// JSON lines may be parted by lines of white space; in CSV a space is a value.
    fn is_blank(&self, cut: &Cut) -> bool {
        self.shape == Shape::Lines && self.bytes(cut).iter().all(u8::is_ascii_whitespace)
    }

    /// Ends the current record before `end` and begins the next one after the line break there.
    fn cut(&mut self, end: usize) -> Cut {
        let mut next = end;
        if self.buffer.get(next) == Some(&b'\r') && matches!(self.shape, Shape::Csv { .. }) {
            next += 1;
        }
        if self.buffer.get(next) == Some(&b'\n') {
            next += 1;
        }
        let content = &self.buffer[self.start..end];
        let trimmed = match self.shape {
            Shape::Lines => content.strip_suffix(b"\r").unwrap_or(content).len(),
            Shape::Csv { .. } => content.len(),
        };
        let cut = Cut {
            range: Some(self.start..self.start + trimmed),
            offset: self.base + self.start as u64,
            next: self.base + next as u64,
            truncated: false,
        };
        (self.start, self.scan, self.state) = (next, next, State::FieldStart);
        cut
    }

    fn skip_empty_lines(&mut self) {
        if self.scan > self.start || self.state != State::FieldStart {
            return;
        }
        while let Some(byte) = self.buffer.get(self.start) {
            if !matches!(byte, b'\r' | b'\n') {
                break;
            }
            self.start += 1;
        }
        self.scan = self.start;
    }

    fn find_end(&mut self) -> Option<usize> {
        let Shape::Csv { delimiter, quote } = self.shape else {
            let found = self.buffer[self.scan..].iter().position(|byte| *byte == b'\n');
            let end = found.map(|at| self.scan + at);
            self.scan = end.unwrap_or(self.buffer.len());
            return end;
        };
        let is_quote = |byte: u8| quote == Some(byte);
        let mut state = self.state;
        for (at, &byte) in self.buffer[self.scan..].iter().enumerate() {
            state = match state {
                State::Quoted if is_quote(byte) => State::QuoteInQuoted,
                State::Quoted => State::Quoted,
                State::QuoteInQuoted if is_quote(byte) => State::Quoted,
                State::FieldStart if is_quote(byte) => State::Quoted,
                _ if byte == b'\n' || byte == b'\r' => {
                    self.state = state;
                    self.scan += at;
                    return Some(self.scan);
                }
                _ if byte == delimiter => State::FieldStart,
                _ => State::Field,
            };
        }
        self.state = state;
        self.scan = self.buffer.len();
        None
    }

    fn first_break(&self) -> Option<usize> {
        let found = self.buffer[self.start..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        found.map(|at| self.start + at).filter(|end| end - self.start <= self.limit)
    }

    /// Keeps one byte more than the limit, which tells every later reader that the record was longer.
    fn begin_long(&mut self) {
        self.long.clear();
        self.long.extend_from_slice(&self.buffer[self.start..self.start + self.limit + 1]);
        self.long_offset = Some(self.base + self.start as u64);
        self.start += self.limit + 1;
        self.scan = self.start;
    }

    /// Within a record that is too long any line break ends it, quoted or not.
    fn end_of_long(&mut self) -> Option<Cut> {
        let found = self.buffer[self.start..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(at) = found else {
            self.start = self.buffer.len();
            self.scan = self.start;
            return None;
        };
        let offset = self.long_offset.take()?;
        self.start += at + 1;
        (self.scan, self.state) = (self.start, State::FieldStart);
        Some(Cut { range: None, offset, next: self.base + self.start as u64, truncated: true })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CSV: Shape = Shape::Csv { delimiter: b',', quote: Some(b'"') };

    /// Records and where each next one begins, fed in chunks of `size`.
    fn split(shape: Shape, limit: usize, bytes: &[u8], size: usize) -> Vec<(Vec<u8>, bool, u64)> {
        let mut splitter = Splitter::new(shape, limit, 0);
        let mut records = Vec::new();
        for chunk in bytes.chunks(size) {
            splitter.feed(chunk);
            while let Some(cut) = splitter.next_record() {
                records.push((splitter.bytes(&cut).to_vec(), cut.truncated, cut.next));
            }
        }
        while let Some(cut) = splitter.last_record() {
            records.push((splitter.bytes(&cut).to_vec(), cut.truncated, cut.next));
            while let Some(cut) = splitter.next_record() {
                records.push((splitter.bytes(&cut).to_vec(), cut.truncated, cut.next));
            }
        }
        records
    }

    fn texts(shape: Shape, limit: usize, text: &str) -> Vec<String> {
        let whole = split(shape, limit, text.as_bytes(), usize::MAX);
        for size in [1, 2, 3, 7] {
            let pieces = split(shape, limit, text.as_bytes(), size);
            let (whole, pieces): (Vec<_>, Vec<_>) =
                (whole.iter().map(|r| &r.0).collect(), pieces.iter().map(|r| &r.0).collect());
            assert_eq!(whole, pieces, "chunks of {size}");
        }
        whole.into_iter().map(|(record, ..)| String::from_utf8(record).unwrap()).collect()
    }

    #[test]
    fn quoted_line_breaks_belong_to_their_record() {
        let text = "户号,地址\r\n1,\"国泰新村\n25幢\"\r\n\r\n2,\"a\"\"\nb\",c\n3,x\"y\nlast,1";
        assert_eq!(
            texts(CSV, 1000, text),
            ["户号,地址", "1,\"国泰新村\n25幢\"", "2,\"a\"\"\nb\",c", "3,x\"y", "last,1"]
        );
    }

    #[test]
    fn lines_end_at_line_feeds_only() {
        assert_eq!(
            texts(Shape::Lines, 1000, "{\"a\":\"\\n\"}\r\n\n  \n{\"b\":1}\n{\"torn"),
            ["{\"a\":\"\\n\"}", "{\"b\":1}", "{\"torn"]
        );
    }

    #[test]
    fn a_record_that_is_too_long_gives_its_beginning_and_the_next_one_is_whole() {
        let text = format!("1,a\n2,{}\n3,c\n", "x".repeat(5000));
        for size in [1, 10, 100, 10_000] {
            let records = split(CSV, 100, text.as_bytes(), size);
            let shown: Vec<_> =
                records.iter().map(|(bytes, truncated, _)| (bytes.len(), *truncated)).collect();
            assert_eq!(shown, [(3, false), (101, true), (3, false)], "chunks of {size}");
            assert_eq!(records[2].2, text.len() as u64);
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_one_line_and_not_the_file() {
        let mut text = String::from("1,a\n2,\"never closed\n");
        (3..200).for_each(|n| text.push_str(&format!("{n},b\n")));
        let records = texts(CSV, 50, &text);
        assert_eq!(records.len(), 199);
        assert_eq!(records[1], "2,\"never closed");
        assert_eq!(records[198], "199,b");
        assert_eq!(texts(CSV, 100_000, &text).len(), 199, "also where the file ends before the limit");
    }

    #[test]
    fn each_cut_says_where_the_next_record_begins() {
        let text = "h\r\n1\r\n\r\n2\n3";
        let nexts: Vec<u64> =
            split(CSV, 10, text.as_bytes(), usize::MAX).iter().map(|record| record.2).collect();
        assert_eq!(nexts, [3, 6, 10, 11]);
        for next in &nexts[..3] {
            let mut splitter = Splitter::new(CSV, 10, *next);
            splitter.feed(&text.as_bytes()[*next as usize..]);
            let mut resumed = 0;
            while splitter.next_record().is_some() || splitter.last_record().is_some() {
                resumed += 1;
            }
            assert_eq!(resumed, nexts.iter().filter(|other| *other > next).count());
        }
    }

    #[test]
    fn no_character_of_the_encodings_has_a_byte_that_looks_like_a_quote_delimiter_or_line_break() {
        // Beyond the basic plane GB18030 is a formula; a part of it shows the whole.
        for character in ('\u{80}'..='\u{ffff}').chain(('\u{10000}'..=char::MAX).step_by(101)) {
            let mut utf8 = [0; 4];
            let text = &*character.encode_utf8(&mut utf8);
            for encoding in [encoding_rs::GBK, encoding_rs::GB18030] {
                let (bytes, _, unmappable) = encoding.encode(text);
                let special = bytes.iter().find(|byte| b"\",;\t\r\n".contains(byte));
                assert!(unmappable || special.is_none(), "{character:?} {bytes:x?}");
            }
        }
    }
}
