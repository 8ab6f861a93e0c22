//! `yibiao feed profile`: what a department's sample holds, before a contract is written for it.

use std::{fmt, io::Cursor, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use polars::prelude::*;

/// One column of a sample.
#[derive(Debug)]
pub struct ColumnProfile {
    pub name: String,
    pub filled: usize,
    pub distinct: usize,
    pub looks_like: Look,
    pub least: String,
    pub greatest: String,
    /// Lengths of the texts, in bytes of UTF-8.
    pub length_max: usize,
    pub hint: Option<&'static str>,
}

/// What all filled cells of a column look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Empty,
    Int,
    Decimal,
    Date,
    Address,
    Text,
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Look::Empty => "empty",
            Look::Int => "int",
            Look::Decimal => "decimal",
            Look::Date => "date",
            Look::Address => "address",
            Look::Text => "text",
        })
    }
}

/// A sample's profile.
#[derive(Debug)]
pub struct Profile {
    pub encoding: &'static str,
    pub rows: usize,
    /// Columns whose value differs in every row and is never empty: candidates for the primary key. An amount is none.
    pub keys: Vec<String>,
    pub columns: Vec<ColumnProfile>,
}

/// Reads a sample (CSV or JSON lines, at most `rows_max` rows). The encoding is UTF-8 where the bytes are
/// UTF-8, else GB18030, of which GBK is a part.
pub fn profile(path: &Path, delimiter: u8, rows_max: usize) -> Result<Profile> {
    let bytes = std::fs::read(path).with_context(|| format!("reading the sample {}", path.display()))?;
    let (text, encoding) = decode(&bytes)?;
    let frame = if path.extension().is_some_and(|e| e == "jsonl" || e == "ndjson") {
        JsonReader::new(Cursor::new(text.as_bytes()))
            .with_json_format(JsonFormat::JsonLines)
            .infer_schema_len(None)
            .finish()
            .map_err(|error| anyhow!("{} is not JSON lines: {error}", path.display()))?
            .head(Some(rows_max))
    } else {
        CsvReadOptions::default()
            .with_infer_schema_length(Some(0))
            .with_n_rows(Some(rows_max))
            .map_parse_options(|parse| parse.with_separator(delimiter).with_truncate_ragged_lines(true))
            .into_reader_with_file_handle(Cursor::new(text.as_bytes()))
            .finish()
            .map_err(|error| {
                anyhow!("{} is not CSV with delimiter {:?}: {error}", path.display(), delimiter as char)
            })?
    };
    let rows = frame.height();
    if rows == 0 {
        bail!(
            "the sample {} holds no rows: give a sample with a header row and some records",
            path.display()
        );
    }
    let mut columns = Vec::new();
    for column in frame.columns() {
        columns.push(column_profile(column)?);
    }
    let keys = columns
        .iter()
        .filter(|column| {
            column.filled == rows && column.distinct == rows && column.looks_like != Look::Decimal
        })
        .map(|column| column.name.clone())
        .collect();
    Ok(Profile { encoding, rows, keys, columns })
}

fn decode(bytes: &[u8]) -> Result<(String, &'static str)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok((text.to_owned(), "utf-8"));
    }
    let (text, _, broken) = encoding_rs::GB18030.decode(bytes);
    if broken {
        let lines = text.lines().filter(|line| line.contains('\u{fffd}')).count();
        eprintln!("note: {lines} lines cannot be decoded as GB18030; they would be quarantined");
    }
    Ok((text.into_owned(), "gb18030"))
}

fn column_profile(column: &Column) -> Result<ColumnProfile> {
    let cells = column.cast(&DataType::String)?;
    let cells = cells.str()?;
    let filled: StringChunked =
        cells.iter().map(|cell| cell.map(str::trim).filter(|cell| !cell.is_empty())).collect();
    let texts = filled.drop_nulls();
    let looks_like = look(texts.iter().flatten());
    let (least, greatest) = if looks_like == Look::Int || looks_like == Look::Decimal {
        let numbers = texts.iter().flatten().filter_map(|text| fold(text).parse::<f64>().ok());
        let (min, max) = numbers.fold((f64::MAX, f64::MIN), |(min, max), n| (min.min(n), max.max(n)));
        (min.to_string(), max.to_string())
    } else {
        let least = texts.iter().flatten().min().unwrap_or_default();
        let greatest = texts.iter().flatten().max().unwrap_or_default();
        (clip(least), clip(greatest))
    };
    let hint = hint(column.name(), texts.iter().flatten());
    // What is about persons is counted, never shown.
    let (least, greatest) = if hint.is_some() { Default::default() } else { (least, greatest) };
    Ok(ColumnProfile {
        name: column.name().to_string(),
        filled: texts.len(),
        distinct: texts.n_unique()?,
        looks_like,
        least,
        greatest,
        length_max: texts.iter().flatten().map(str::len).max().unwrap_or(0),
        hint,
    })
}

/// Full-width digits, signs and points to ASCII.
fn fold(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '０'..='９' | '－' | '．' | '／' => {
                char::from_u32(c as u32 - 0xfee0).expect("full-width forms map to ASCII")
            }
            c => c,
        })
        .collect()
}

fn look<'a>(texts: impl Iterator<Item = &'a str>) -> Look {
    let mut found = Look::Empty;
    for text in texts {
        let text = fold(text);
        let date = text.len() >= 8
            && text.chars().next().is_some_and(|c| c.is_ascii_digit())
            && (text.contains(['-', '/', '年', '.'])
                && text.chars().all(|c| c.is_ascii_digit() || "-/.年月日: TZ+".contains(c))
                && text.chars().filter(|c| "-/.年月".contains(*c)).count() >= 2
                || text.len() == 8 && text.starts_with("20") && text.parse::<u32>().is_ok());
        let look = if date {
            Look::Date
        } else if text.parse::<i64>().is_ok() {
            Look::Int
        } else if text.parse::<f64>().is_ok() {
            Look::Decimal
        } else if text.contains(['路', '街', '巷', '村', '幢', '栋', '室'])
            && text.contains(|c: char| c.is_ascii_digit())
        {
            Look::Address
        } else {
            Look::Text
        };
        found = match (found, look) {
            (Look::Empty, look) => look,
            (a, b) if a == b => a,
            (Look::Int, Look::Decimal) | (Look::Decimal, Look::Int) => Look::Decimal,
            _ => return Look::Text,
        };
    }
    found
}

fn hint<'a>(name: &str, mut texts: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    const PERSONAL: [&str; 12] = [
        "身份证",
        "姓名",
        "电话",
        "手机",
        "法定代表人",
        "联系人",
        "id_card",
        "phone",
        "name_of",
        "户主",
        "出生",
        "passport",
    ];
    const FORBIDDEN: [&str; 6] = ["民族", "宗教", "党", "政治面貌", "国籍", "ethnic"];
    let lower = name.to_lowercase();
    if FORBIDDEN.iter().any(|word| lower.contains(word)) {
        return Some("never taken in: have the department leave the column out");
    }
    let card = |text: &str| {
        text.len() == 18
            && text[..17].bytes().all(|b| b.is_ascii_digit())
            && text.ends_with(|c: char| c.is_ascii_digit() || c == 'X')
    };
    if PERSONAL.iter().any(|word| lower.contains(word)) || texts.any(|text| text.is_ascii() && card(text)) {
        return Some("about a person: list it under privacy.drop");
    }
    None
}

fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(24).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rows, {}", self.rows, self.encoding)?;
        writeln!(f, "{:>7} {:>8} {:<8} {:>5}  column", "filled", "distinct", "type", "bytes")?;
        for column in &self.columns {
            write!(
                f,
                "{:>6.1}% {:>8} {:<8} {:>5}  {}: {} … {}",
                column.filled as f64 * 100.0 / self.rows as f64,
                column.distinct,
                column.looks_like,
                column.length_max,
                column.name,
                column.least,
                column.greatest
            )?;
            match column.hint {
                Some(hint) => writeln!(f, "  ({hint})")?,
                None => writeln!(f)?,
            }
        }
        match self.keys.as_slice() {
            [] => write!(f, "no column alone tells records apart: the primary key has several columns"),
            keys => write!(f, "could be the primary key: {}", keys.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gb18030_sample_shows_types_keys_and_personal_columns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sample.csv");
        let text = "户号;地址;抄表日期;用气量;身份证\nA1;幸福新村1-101;2025-11-03;１.5;320101199001011234\nA2;幸福新村1-102;2025-11-03;2;\n";
        std::fs::write(&path, encoding_rs::GB18030.encode(text).0).unwrap();
        let profile = profile(&path, b';', 1000).unwrap();
        assert_eq!((profile.encoding, profile.rows), ("gb18030", 2));
        assert_eq!(profile.keys, ["户号", "地址"]);
        let looks: Vec<Look> = profile.columns.iter().map(|column| column.looks_like).collect();
        assert_eq!(looks[1..4], [Look::Address, Look::Date, Look::Decimal]);
        assert!(profile.columns[4].hint.unwrap().contains("privacy.drop"));
        assert_eq!(profile.columns[4].filled, 1);
        assert!(!profile.to_string().contains("320101199001011234"));
        assert!(profile.to_string().contains("could be the primary key: 户号, 地址"));
    }
}
