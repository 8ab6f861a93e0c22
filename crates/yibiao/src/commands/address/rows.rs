//! Addresses from lines, JSON lines, CSV or Parquet. Whatever the bytes are, each record gives a row.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::DataType,
};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

/// Rows that are worked on at a time.
const CHUNK_ROWS: usize = 20_000;

/// How the input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One address a line.
    Lines,
    /// One JSON object a line.
    Jsonl,
    /// CSV with a header row, in UTF-8.
    Csv,
    Parquet,
}

/// Where the addresses are.
#[derive(Debug, clap::Args)]
pub struct Input {
    /// The file; standard input where it is left out.
    #[arg(long)]
    input: Option<PathBuf>,

    /// How it is written; by the file's ending where it is left out.
    #[arg(long, value_enum)]
    format: Option<Form>,

    /// The field or column that holds the address.
    #[arg(long, default_value = "address")]
    column: String,

    /// The field or column of the area (a city's or county's name or code), where there is one.
    #[arg(long, default_value = "city")]
    city_column: String,

    /// The field or column of the place's name, where there is one.
    #[arg(long, default_value = "name")]
    name_column: String,

    /// What parts the cells of a CSV file.
    #[arg(long, default_value_t = ',')]
    delimiter: char,
}

/// One record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    pub address: String,
    pub city: Option<String>,
    pub name: Option<String>,
    /// Why the record could not be read; its address is empty then.
    pub unreadable: Option<String>,
}

type Chunks = Box<dyn Iterator<Item = Result<Vec<Row>>>>;

impl Input {
    /// The rows in chunks. `form` is how standard input is written where nothing is said.
    pub fn chunks(&self, form: Form) -> Result<Chunks> {
        let form = self.format.or_else(|| self.by_ending()).unwrap_or(form);
        match form {
            Form::Lines => Ok(Box::new(chunked(lines(self.open()?, |_, line| Row {
                address: String::from_utf8_lossy(line).into_owned(),
                ..Row::default()
            })))),
            Form::Jsonl => {
                let fields = self.fields();
                Ok(Box::new(chunked(lines(self.open()?, move |number, line| fields.of_json(number, line)))))
            }
            Form::Csv => self.csv(),
            Form::Parquet => self.parquet(),
        }
    }

    fn by_ending(&self) -> Option<Form> {
        match self.input.as_ref()?.extension()?.to_str()? {
            "txt" => Some(Form::Lines),
            "jsonl" | "ndjson" => Some(Form::Jsonl),
            "csv" => Some(Form::Csv),
            "parquet" => Some(Form::Parquet),
            _ => None,
        }
    }

    fn open(&self) -> Result<Box<dyn BufRead>> {
        open(self.input.as_deref())
    }

    fn fields(&self) -> Fields {
        Fields {
            address: self.column.clone(),
            city: self.city_column.clone(),
            name: self.name_column.clone(),
        }
    }

    fn csv(&self) -> Result<Chunks> {
        let Ok(delimiter) = u8::try_from(self.delimiter) else {
            bail!("the delimiter {:?} is not one byte: use , ; | or a tab", self.delimiter);
        };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(self.open()?);
        let header = reader.byte_headers().context("reading the header row")?.clone();
        let names: Vec<String> = header
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        let at = |name: &str| names.iter().position(|other| other == name);
        let address = at(&self.column).with_context(|| self.no_column(&names))?;
        let (city, name) = (at(&self.city_column), at(&self.name_column));
        let rows = reader.into_byte_records().map(move |record| {
            let record = match record {
                Ok(record) => record,
                Err(error) if error.is_io_error() => return Err(error.into()),
                Err(error) => return Ok(unreadable(error.to_string())),
            };
            let cell = |at: usize| record.get(at).map(|cell| String::from_utf8_lossy(cell).into_owned());
            let given = |at: Option<usize>| at.and_then(cell).filter(|cell| !cell.is_empty());
            Ok(match cell(address) {
                Some(address) => Row { address, city: given(city), name: given(name), unreadable: None },
                None => unreadable("the record has too few cells".into()),
            })
        });
        Ok(Box::new(chunked(rows)))
    }

    fn parquet(&self) -> Result<Chunks> {
        let file = match &self.input {
            Some(path) => File::open(path).with_context(|| format!("opening {}", path.display()))?,
            None => {
                // A Parquet file is read from its end.
                let mut spooled = tempfile::tempfile().context("making a file for standard input")?;
                io::copy(&mut io::stdin().lock(), &mut spooled).context("reading standard input")?;
                spooled.seek(SeekFrom::Start(0))?;
                spooled
            }
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .context("the input is no Parquet file")?
            .with_batch_size(CHUNK_ROWS);
        let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
        if !names.contains(&self.column) {
            bail!(self.no_column(&names));
        }
        let fields = self.fields();
        let batches = reader.build().context("reading the Parquet file")?;
        Ok(Box::new(batches.map(move |batch| fields.of_batch(&batch?))))
    }

    fn no_column(&self, names: &[String]) -> String {
        format!(
            "there is no column {}; there are {}: name the one with the address by --column",
            self.column,
            names.join(", ")
        )
    }
}

/// The names of the fields or columns.
struct Fields {
    address: String,
    city: String,
    name: String,
}

impl Fields {
    fn of_json(&self, number: usize, line: &[u8]) -> Row {
        let text = String::from_utf8_lossy(line);
        let parsed = serde_json::from_str::<Map<String, Value>>(&text)
            .or_else(|error| serde_json::from_str(&without_lone_surrogates(&text)).map_err(|_| error));
        let object = match parsed {
            Ok(object) => object,
            Err(error) => return unreadable(format!("line {number} is no JSON object: {error}")),
        };
        let given = |name: &str| object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        match object.get(&self.address) {
            Some(Value::String(address)) => Row {
                address: address.clone(),
                city: given(&self.city).map(str::to_owned),
                name: given(&self.name).map(str::to_owned),
                unreadable: None,
            },
            Some(Value::Null) => Row { name: given(&self.name).map(str::to_owned), ..Row::default() },
            _ => unreadable(format!("line {number} has no text in the field {}", self.address)),
        }
    }

    fn of_batch(&self, batch: &RecordBatch) -> Result<Vec<Row>> {
        let texts = |name: &str| -> Result<Option<_>> {
            let Some(column) = batch.column_by_name(name) else { return Ok(None) };
            let texts = cast(column, &DataType::Utf8)
                .with_context(|| format!("the column {name} cannot be read as text"))?;
            Ok(Some(texts.as_string::<i32>().clone()))
        };
        let (addresses, cities, names) = (texts(&self.address)?, texts(&self.city)?, texts(&self.name)?);
        let cell = |column: &Option<arrow::array::StringArray>, row: usize| {
            let column = column.as_ref()?;
            (!column.is_null(row) && !column.value(row).is_empty()).then(|| column.value(row).to_owned())
        };
        Ok((0..batch.num_rows())
            .map(|row| Row {
                address: cell(&addresses, row).unwrap_or_default(),
                city: cell(&cities, row),
                name: cell(&names, row),
                unreadable: None,
            })
            .collect())
    }
}

fn open(path: Option<&Path>) -> Result<Box<dyn BufRead>> {
    Ok(match path {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        }
        None => Box::new(BufReader::with_capacity(1 << 20, io::stdin())),
    })
}

/// Numbered lines in chunks, from a file or standard input.
pub fn numbered(path: Option<&Path>) -> Result<impl Iterator<Item = Result<Vec<(usize, String)>>>> {
    let line = |number: usize, line: &[u8]| (number, String::from_utf8_lossy(line).into_owned());
    Ok(chunked(lines(open(path)?, line)))
}

fn unreadable(why: String) -> Row {
    Row { unreadable: Some(why), ..Row::default() }
}

/// Lines without their ends, numbered from 1, whatever their bytes.
fn lines<T>(
    mut input: Box<dyn BufRead>,
    mut row: impl FnMut(usize, &[u8]) -> T,
) -> impl Iterator<Item = Result<T>> {
    let (mut line, mut number) = (Vec::new(), 0);
    std::iter::from_fn(move || {
        line.clear();
        match input.read_until(b'\n', &mut line).context("reading the input") {
            Ok(0) => None,
            Ok(_) => {
                number += 1;
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                Some(Ok(row(number, line.strip_suffix(b"\r").unwrap_or(line))))
            }
            Err(error) => Some(Err(error)),
        }
    })
}

fn chunked<T>(mut rows: impl Iterator<Item = Result<T>>) -> impl Iterator<Item = Result<Vec<T>>> {
    std::iter::from_fn(move || {
        let chunk: Result<Vec<T>> = rows.by_ref().take(CHUNK_ROWS).collect();
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk),
        }
    })
}

/// JSON may name halves of a surrogate pair (`\ud83d` alone), which are no characters: each becomes U+FFFD.
fn without_lone_surrogates(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match (half(rest), rest.get(6..).and_then(half)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => {
                out.push_str(&rest[..12]);
                12
            }
            (Some(0xd800..=0xdfff), _) => {
                out.push_str("\\ufffd");
                6
            }
            _ => {
                // The escape and what it escapes, so that `\\ud800` stays a backslash and letters.
                let end = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
                out.push_str(&rest[..end]);
                end
            }
        };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

/// The number of an escape `\uXXXX` at the text's beginning.
fn half(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(form: Form, ending: &str, bytes: &[u8], column: &str) -> Result<Vec<Row>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("input.{ending}"));
        std::fs::write(&path, bytes).unwrap();
        let input = Input {
            input: Some(path),
            format: Some(form),
            column: column.into(),
            city_column: "city".into(),
            name_column: "name".into(),
            delimiter: ',',
        };
        let chunks: Result<Vec<Vec<Row>>> = input.chunks(Form::Lines)?.collect();
        Ok(chunks?.concat())
    }

    fn row(address: &str) -> Row {
        Row { address: address.into(), ..Row::default() }
    }

    #[test]
    fn every_line_is_a_row_also_where_it_is_empty_or_no_utf8() {
        let rows = read(Form::Lines, "txt", b"\xe8\xb7\xaf1\r\n\n\xff\xfe\n3", "address").unwrap();
        assert_eq!(rows, [row("路1"), row(""), row("\u{fffd}\u{fffd}"), row("3")]);
    }

    #[test]
    fn a_json_line_that_cannot_be_read_says_so_in_its_place() {
        let lines = r#"{"address":"甲路1号","city":"南京市","name":null}
{"address":"\ud83d 乙路 \\ud83d \ud83d\ude00"}
not json
{"text":"x"}"#;
        let rows = read(Form::Jsonl, "jsonl", lines.as_bytes(), "address").unwrap();
        assert_eq!(rows[0], Row { city: Some("南京市".into()), ..row("甲路1号") });
        assert_eq!(rows[1], row("\u{fffd} 乙路 \\ud83d 😀"));
        assert!(rows[2].unreadable.as_ref().unwrap().contains("line 3"));
        assert!(rows[3].unreadable.as_ref().unwrap().contains("address"));
        assert_eq!(rows.len(), 4);
    }

    #[test]
    fn csv_is_read_by_the_named_column_and_a_wrong_name_lists_the_right_ones() {
        let table = "\u{feff}编号,地址,city\n1,\"甲路,1号\",南京市\n2\n";
        let rows = read(Form::Csv, "csv", table.as_bytes(), "地址").unwrap();
        assert_eq!(rows[0], Row { city: Some("南京市".into()), ..row("甲路,1号") });
        assert!(rows[1].unreadable.is_some());
        let error = read(Form::Csv, "csv", table.as_bytes(), "住址").unwrap_err().to_string();
        assert!(error.contains("编号, 地址, city"), "{error}");
    }
}
