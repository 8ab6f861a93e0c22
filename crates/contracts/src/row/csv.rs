//! One CSV record to the byte ranges of its cells.
//!
//! Works on the source's own bytes: the delimiters, quotes and line ends that contracts allow are no part of
//! longer characters in GBK and GB18030 (their second bytes are 0x40 and above, or digits).

use std::borrow::Cow;
use std::ops::Range;

use crate::contract::Dialect;

/// Where one cell lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// With its quotes.
    pub whole: Range<usize>,
    /// Without them.
    pub content: Range<usize>,
    /// The content holds doubled quotes.
    pub doubled: bool,
}

impl Span {
    pub fn text<'t>(&self, record: &'t str) -> Cow<'t, str> {
        let text = record.get(self.content.clone()).unwrap_or_default();
        if self.doubled { Cow::Owned(text.replace("\"\"", "\"")) } else { Cow::Borrowed(text) }
    }
}

/// Why bytes are no CSV record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CsvError {
    OpenQuote,
    AfterQuote,
    LineEnd,
}

impl CsvError {
    pub fn detail(self) -> &'static str {
        match self {
            CsvError::OpenQuote => "a quoted cell does not end",
            CsvError::AfterQuote => "a quoted cell is followed by text",
            CsvError::LineEnd => "a line ends within the record, outside quotes",
        }
    }
}

/// Fills `spans` with the record's cells.
pub(crate) fn split(record: &[u8], dialect: Dialect, spans: &mut Vec<Span>) -> Result<(), CsvError> {
    spans.clear();
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    let record = record.strip_suffix(b"\r").unwrap_or(record);
    let mut at = 0;
    loop {
        let span = match dialect.quote {
            Some(quote) if record.get(at) == Some(&quote) => quoted(record, at, quote, dialect.delimiter)?,
            _ => {
                let end = plain_end(record, at, dialect.delimiter)?;
                Span { whole: at..end, content: at..end, doubled: false }
            }
        };
        at = span.whole.end;
        spans.push(span);
        if at >= record.len() {
            return Ok(());
        }
        // `at` is on a delimiter; a record that ends with one has an empty last cell.
        at += 1;
    }
}

fn plain_end(record: &[u8], from: usize, delimiter: u8) -> Result<usize, CsvError> {
    for (offset, &byte) in record[from..].iter().enumerate() {
        if byte == delimiter {
            return Ok(from + offset);
        }
        if byte == b'\n' || byte == b'\r' {
            return Err(CsvError::LineEnd);
        }
    }
    Ok(record.len())
}

fn quoted(record: &[u8], from: usize, quote: u8, delimiter: u8) -> Result<Span, CsvError> {
    let (mut at, mut doubled) = (from + 1, false);
    loop {
        let Some(offset) = record[at..].iter().position(|&byte| byte == quote) else {
            return Err(CsvError::OpenQuote);
        };
        at += offset;
        if record.get(at + 1) != Some(&quote) {
            break;
        }
        doubled = true;
        at += 2;
    }
    let close = at;
    let mut end = close + 1;
    while record.get(end) == Some(&b' ') && delimiter != b' ' {
        end += 1;
    }
    if end < record.len() && record[end] != delimiter {
        return Err(CsvError::AfterQuote);
    }
    Ok(Span { whole: from..end, content: from + 1..close, doubled })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(record: &str, delimiter: u8) -> Result<Vec<String>, CsvError> {
        let mut spans = Vec::new();
        split(record.as_bytes(), Dialect { delimiter, quote: Some(b'"') }, &mut spans)?;
        Ok(spans.iter().map(|span| span.text(record).into_owned()).collect())
    }

    #[test]
    fn cells_are_split_at_delimiters_outside_quotes() {
        assert_eq!(cells("a,b,,c", b',').as_deref(), Ok(&["a", "b", "", "c"].map(String::from)[..]));
        assert_eq!(cells("a;b,c;", b';').as_deref(), Ok(&["a", "b,c", ""].map(String::from)[..]));
        assert_eq!(
            cells("\"a,\"\"b\"\"\n\",c\r\n", b',').as_deref(),
            Ok(&["a,\"b\"\n", "c"].map(String::from)[..])
        );
        assert_eq!(cells("", b',').as_deref(), Ok(&[String::new()][..]));
        assert_eq!(cells("a 5\" pipe,b", b',').as_deref(), Ok(&["a 5\" pipe", "b"].map(String::from)[..]));
    }

    #[test]
    fn broken_records_say_how_they_are_broken() {
        assert_eq!(cells("a,\"b", b','), Err(CsvError::OpenQuote));
        assert_eq!(cells("\"a\"b,c", b','), Err(CsvError::AfterQuote));
        assert_eq!(cells("a,b\nc,d", b','), Err(CsvError::LineEnd));
    }
}
