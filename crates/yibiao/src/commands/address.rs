//! `yibiao address`: parse, resolve, explain and compare addresses, one a line, in order.

use std::{
    io::{BufRead, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};
use yibiao_address::{
    Divisions, Gazetteer, GazetteerBuilder, Language, Level, Query, Resolver, Scratch, StandardAddress,
    match_pair, parse,
};

/// Lines that are worked on at a time, divided among the cores.
const CHUNK_LINES: usize = 20_000;

/// Parse, resolve, explain and compare addresses.
#[derive(Debug, clap::Subcommand)]
pub enum Address {
    /// Lines on standard input to JSON lines: the elements of each address, with their spans.
    Parse,
    /// JSON lines `{"city","name","address"}` to JSON lines: the place of each, or why there is none.
    Resolve(Places),
    /// Show how one address is resolved: each step, candidate and score.
    Explain(Explain),
    /// JSON lines `{"query","candidate"}` to `{"match"}`: 0 none, 1 one contains the other, 2 the same place.
    Match,
}

/// What addresses are resolved against: a gazetteer, or a list of places.
#[derive(Debug, clap::Args)]
pub struct Places {
    /// Tab-separated places: place_id, city, name, address, lng, lat; several rows a place are several forms.
    #[arg(long, required_unless_present = "gazetteer", conflicts_with = "gazetteer")]
    places: Option<PathBuf>,

    /// A gazetteer file (.ybg), or a folder with a CURRENT one.
    #[arg(long)]
    gazetteer: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The address.
    text: String,

    #[command(flatten)]
    places: Places,

    /// The city in which the address is looked for, such as 南京市.
    #[arg(long)]
    city: Option<String>,

    /// The place's name, where it is given apart from the address.
    #[arg(long)]
    name: Option<String>,

    /// English rather than Chinese.
    #[arg(long)]
    english: bool,
}

#[derive(Deserialize)]
struct QueryLine {
    #[serde(default)]
    city: Option<String>,
    #[serde(default)]
    name: Option<String>,
    address: String,
}

#[derive(Deserialize)]
struct PairLine {
    query: String,
    candidate: String,
}

impl Address {
    pub fn run(self) -> Result<()> {
        match self {
            Address::Parse => {
                let divisions = Divisions::bundled();
                each_line(|line, _| Ok(serde_json::to_string(&parse(line, divisions, None))?))
            }
            Address::Match => each_line(|line, number| {
                let pair: PairLine = read(line, number)?;
                Ok(format!("{{\"match\":{}}}", match_pair(&pair.query, &pair.candidate)))
            }),
            Address::Resolve(places) => {
                let places = places.open()?;
                each_line(|line, number| {
                    let query: QueryLine = read(line, number)?;
                    SCRATCH.with_borrow_mut(|scratch| {
                        let query = Query {
                            text: &query.address,
                            city: query.city.as_deref(),
                            name: query.name.as_deref(),
                        };
                        places.answer(&query, scratch)
                    })
                })
            }
            Address::Explain(explain) => {
                let places = explain.places.open()?;
                let language = if explain.english { Language::English } else { Language::Chinese };
                let query = Query {
                    text: &explain.text,
                    city: explain.city.as_deref(),
                    name: explain.name.as_deref(),
                };
                println!("{}", places.resolver.explain(&query, language));
                Ok(())
            }
        }
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

/// A resolver, and the ids by which the user knows the places.
struct Opened {
    resolver: Resolver,
    /// Of a list of places: the user's id of place n + 1.
    ids: Vec<String>,
    _built: Option<tempfile::TempDir>,
}

impl Opened {
    /// The answer as JSON, with the user's own place ids.
    fn answer(&self, query: &Query<'_>, scratch: &mut Scratch) -> Result<String> {
        let answer = self.resolver.resolve(query, scratch);
        if self.ids.is_empty() {
            return Ok(serde_json::to_string(&answer)?);
        }
        let named = |id: u64| match self.ids.get((id as usize).wrapping_sub(1)) {
            Some(name) => name.clone(),
            None => id.to_string(),
        };
        Ok(serde_json::to_string(&answer.map_ids(named))?)
    }
}

impl Places {
    fn open(&self) -> Result<Opened> {
        if let Some(path) = &self.gazetteer {
            let path = if path.is_dir() {
                let folder = yibiao_normalise::GazetteerFolder::new(path)?;
                let version = folder.current()?.with_context(|| {
                    format!(
                        "{} holds no gazetteer yet: build one with `yibiao gazetteer build`",
                        path.display()
                    )
                })?;
                folder.path_of(&version)
            } else {
                path.clone()
            };
            let resolver = Resolver::new(Arc::new(Gazetteer::open(&path)?));
            return Ok(Opened { resolver, ids: Vec::new(), _built: None });
        }
        let Some(path) = &self.places else { bail!("give --places or --gazetteer") };
        let dir = tempfile::tempdir().context("making a folder for the gazetteer")?;
        let built = dir.path().join("places.ybg");
        let ids = build(path, &built)?;
        let resolver = Resolver::new(Arc::new(Gazetteer::open(&built)?));
        Ok(Opened { resolver, ids, _built: Some(dir) })
    }
}

/// Builds a gazetteer of the places in a tab-separated file; returns their ids in the file, in the order of their numbers.
fn build(path: &Path, out: &Path) -> Result<Vec<String>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading places from {}", path.display()))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        header.iter().position(|column| *column == name).with_context(|| {
            format!(
                "{} has no column {name}; it needs place_id, city, name and address, tab-separated",
                path.display()
            )
        })
    };
    let (id, city, name, address) =
        (column("place_id")?, column("city")?, column("name")?, column("address")?);
    let (lng, lat) = (column("lng").ok(), column("lat").ok());
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    let mut ids: Vec<String> = Vec::new();
    let mut numbers: std::collections::HashMap<String, u64> = std::collections::HashMap::new();
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        let degrees = |at: Option<usize>| at.and_then(|at| cell(at).parse::<f64>().ok());
        let place = *numbers.entry(cell(id).to_owned()).or_insert_with(|| {
            ids.push(cell(id).to_owned());
            ids.len() as u64
        });
        builder
            .add(StandardAddress {
                place,
                level: Level::Compound,
                city: cell(city).to_owned(),
                name: Some(cell(name).to_owned()).filter(|name| !name.is_empty()),
                address: cell(address).to_owned(),
                lng_lat: degrees(lng).zip(degrees(lat)),
                ..StandardAddress::default()
            })
            .with_context(|| format!("line {} of {}", index + 2, path.display()))?;
    }
    builder.finish(out)?;
    Ok(ids)
}

fn read<T: DeserializeOwned>(line: &str, number: usize) -> Result<T> {
    let read = serde_json::from_str(line).or_else(|error| match without_lone_surrogates(line) {
        Some(line) => serde_json::from_str(&line),
        None => Err(error),
    });
    read.with_context(|| format!("line {number} of the input is not as expected"))
}

/// The JSON text with U+FFFD for escapes that are half a character (`\ud83d` alone), as programs write them that count
/// in UTF-16; None where there are none.
fn without_lone_surrogates(json: &str) -> Option<String> {
    let unit = |at: usize| {
        let escape = json.as_bytes().get(at..at + 6).filter(|escape| escape.starts_with(b"\\u"))?;
        u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
    };
    let (mut out, mut kept, mut at) = (String::new(), 0, 0);
    while let Some(found) = json[at..].find('\\') {
        at += found;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => at += 12,
            (Some(0xd800..0xe000), _) => {
                out.push_str(&json[kept..at]);
                out.push_str("\\ufffd");
                at += 6;
                kept = at;
            }
            // The character behind a backslash belongs to it.
            _ => at += 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    (kept > 0).then(|| out + &json[kept..])
}

/// A line without its end. What is no UTF-8 is read as U+FFFD: a broken line is answered, and the lines behind it too.
fn line(bytes: Vec<u8>) -> String {
    let mut line = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if line.ends_with('\r') {
        line.pop();
    }
    line
}

/// Maps lines of standard input to lines of standard output, in order, on all cores. The second argument is
/// the line's number, from 1.
fn each_line(work: impl Fn(&str, usize) -> Result<String> + Sync) -> Result<()> {
    let mut input = std::io::stdin().lock().split(b'\n');
    let mut out = BufWriter::new(std::io::stdout().lock());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut first = 1;
    loop {
        let lines = input.by_ref().take(CHUNK_LINES).map(|bytes| Ok(line(bytes?)));
        let lines: Vec<String> = lines.collect::<std::io::Result<_>>()?;
        if lines.is_empty() {
            out.flush()?;
            return Ok(());
        }
        let part = lines.len().div_ceil(cores);
        let work = &work;
        let answers: Vec<Result<Vec<String>>> = std::thread::scope(|scope| {
            let parts: Vec<_> = lines
                .chunks(part)
                .enumerate()
                .map(|(at, lines)| {
                    let first = first + at * part;
                    scope.spawn(move || {
                        lines
                            .iter()
                            .enumerate()
                            .map(|(n, line)| work(line, first + n))
                            .collect::<Result<Vec<_>>>()
                    })
                })
                .collect();
            parts.into_iter().map(|part| part.join().expect("a worker does not panic")).collect()
        });
        for part in answers {
            for answer in part? {
                writeln!(out, "{answer}")?;
            }
        }
        first += lines.len();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn half_a_character_in_json_is_read_as_its_replacement() {
        for (json, address) in [
            (r#"{"address":"12号\ud83d"}"#, "12号\u{fffd}"),
            (r#"{"address":"\udc00\ud800\u53f7"}"#, "\u{fffd}\u{fffd}号"),
            (r#"{"address":"\ud83c\udfe0\ud83c"}"#, "🏠\u{fffd}"),
            (r#"{"address":"\\ud83d\ud83d"}"#, "\\ud83d\u{fffd}"),
            (r#"{"address":"\ud83c\udfe0"}"#, "🏠"),
        ] {
            assert_eq!(read::<QueryLine>(json, 1).unwrap().address, address, "{json}");
        }
        assert!(read::<QueryLine>(r#"{"address":"\ud83"#, 7).err().unwrap().to_string().contains("line 7"));
        assert!(read::<QueryLine>("\\", 1).is_err());
    }

    #[test]
    fn what_is_no_utf8_is_read_with_replacements_and_ends_of_lines_are_cut() {
        assert_eq!(line(b"12\xff\xe5\x8f".to_vec()), "12\u{fffd}\u{fffd}");
        assert_eq!(line("12号\r".into()), "12号");
        assert_eq!(line(Vec::new()), "");
    }
}
