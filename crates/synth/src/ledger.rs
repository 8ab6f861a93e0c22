//! The truth beside the sources, and the counts: what every writer of a feed reports to.
//!
//! `<dir>/truth/places.csv`, `dwellings.csv`, `matches.csv`, `broken.csv`, `report.json`. No stage of the pipeline may
//! read them; [`crate::score`] does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use encoding_rs::Encoding;
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, Place};
use crate::dice::{Dice, Domain};
use crate::report::FeedReport;
use crate::spell::Done;

pub(crate) struct Ledger {
    dir: PathBuf,
    matches: Out,
    broken: Out,
    pub feeds: BTreeMap<String, FeedReport>,
}

impl Ledger {
    pub fn new(dir: &Path) -> Result<Ledger, Error> {
        let truth = dir.join("truth");
        let mut matches = Out::create(&truth.join("matches.csv"))?;
        matches.line("feed,source_key,place,done")?;
        let mut broken = Out::create(&truth.join("broken.csv"))?;
        broken.line("feed,file,reason,source_key")?;
        Ok(Ledger { dir: dir.to_owned(), matches, broken, feeds: BTreeMap::new() })
    }

    pub fn feed(&mut self, feed: &str) -> &mut FeedReport {
        if !self.feeds.contains_key(feed) {
            self.feeds.insert(feed.to_owned(), FeedReport::default());
        }
        self.feeds.get_mut(feed).expect("invariant: inserted above")
    }

    /// Opens `<dir>/sources/<feed>/<name>`.
    pub fn source(&mut self, feed: &str, name: &str) -> Result<Out, Error> {
        self.feed(feed).files += 1;
        Out::create(&self.dir.join("sources").join(feed).join(name))
    }

    /// Closes a source file and counts its bytes.
    pub fn close(&mut self, feed: &str, out: Out) -> Result<(), Error> {
        self.feed(feed).bytes += out.finish()?;
        Ok(())
    }

    /// The truth about a source record's address: where it is, or `None` if it is in no standard address.
    pub fn matched(
        &mut self,
        feed: &str,
        source_key: &str,
        place: Option<&str>,
        done: Done,
    ) -> Result<(), Error> {
        if place.is_none() {
            self.feed(feed).strangers += 1;
        }
        let names = if place.is_some() { done.names() } else { "stranger".to_owned() };
        self.matches.line(&format!("{feed},{source_key},{},{names}", place.unwrap_or("NONE")))
    }

    /// A record was written that cannot be used.
    pub fn broke(&mut self, feed: &str, file: &str, reason: Reason, source_key: &str) -> Result<(), Error> {
        self.feed(feed).count_broken(reason);
        self.broken.line(&format!("{feed},{file},{},{source_key}", reason.code()))
    }

    pub fn finish(self) -> Result<BTreeMap<String, FeedReport>, Error> {
        self.matches.finish()?;
        self.broken.finish()?;
        Ok(self.feeds)
    }
}

/// `places.csv` and `dwellings.csv`: which places there are, and what goes on in the dwellings.
pub(crate) fn write_places(city: &City, dir: &Path) -> Result<u32, Error> {
    let mut places = Out::create(&dir.join("truth/places.csv"))?;
    places.line("place,parent,level")?;
    let mut dwellings = Out::create(&dir.join("truth/dwellings.csv"))?;
    dwellings.line(
        "place,kind,city,county,occupants,crowd,registered,rooms,let_out,crowded_from,crowded_to,silent_from",
    )?;
    let mut count = 0;
    for place in city.places() {
        let code = city.code(place);
        let parent = city.parent(place).map(|p| city.code(p)).unwrap_or_default();
        let level = match place {
            Place::Compound(_) => "compound",
            Place::Building(_) => "building",
            Place::Unit(..) => "unit",
            Place::Dwelling(_) => "dwelling",
        };
        places.line(&format!("{code},{parent},{level}"))?;
        count += 1;
        if let Place::Dwelling(at) = place {
            dwellings.line(&dwelling_truth(city, at, &code))?;
        }
    }
    places.finish()?;
    dwellings.finish()?;
    Ok(count)
}

/// Days outside the plan are left empty: crowded before it, or after it.
fn dwelling_truth(city: &City, at: u32, code: &str) -> String {
    let home = &city.dwellings[at as usize].home;
    let county = city.county_of(city.compound_of(Place::Dwelling(at)));
    let days = city.plan.days as i16;
    let date = |day: i16| {
        if (0..days).contains(&day) { city.plan.date(day as u32).to_string() } else { String::new() }
    };
    let (from, to) = if home.kind == crate::Kind::Crowded {
        (date(home.crowded_from), date(home.crowded_to))
    } else {
        Default::default()
    };
    format!(
        "{code},{},{},{},{},{},{},{},{},{from},{to},{}",
        home.kind.name(),
        county.city,
        county.name,
        home.occupants,
        home.crowd,
        home.registered,
        home.rooms,
        home.let_out,
        date(home.silent_from)
    )
}

/// A buffered file that counts its bytes.
pub(crate) struct Out {
    path: PathBuf,
    writer: BufWriter<File>,
    bytes: u64,
}

impl Out {
    pub fn create(path: &Path) -> Result<Out, Error> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::file("making the folder", parent))?;
        }
        let file = File::create(path).map_err(Error::file("creating", path))?;
        Ok(Out { path: path.to_owned(), writer: BufWriter::with_capacity(256 * 1024, file), bytes: 0 })
    }

    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        self.writer.write_all(bytes).map_err(Error::file("writing", &self.path))
    }

    pub fn line(&mut self, text: &str) -> Result<(), Error> {
        self.raw(text.as_bytes())?;
        self.raw(b"\n")
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn finish(mut self) -> Result<u64, Error> {
        self.writer.flush().map_err(Error::file("writing", &self.path))?;
        Ok(self.bytes)
    }
}

/// A department's CSV dialect.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    pub separator: char,
    pub line_end: &'static str,
    pub encoding: &'static Encoding,
}

impl Dialect {
    /// One encoded row with its line end; cells are quoted where they must be.
    pub fn row<S: AsRef<str>>(&self, cells: &[S]) -> Vec<u8> {
        let mut text = String::with_capacity(160);
        for (i, cell) in cells.iter().enumerate() {
            if i > 0 {
                text.push(self.separator);
            }
            let cell = cell.as_ref();
            if cell.contains([self.separator, '"', '\n']) {
                text.push('"');
                text.push_str(&cell.replace('"', "\"\""));
                text.push('"');
            } else {
                text.push_str(cell);
            }
        }
        text.push_str(self.line_end);
        self.encoding.encode(&text).0.into_owned()
    }
}

/// Bytes that are text in none of the encodings, put in the middle of a row and away from its end.
pub(crate) fn spoil(row: &[u8], line_end: &str) -> Vec<u8> {
    let body = row.len() - line_end.len();
    let mut spoiled = row[..body / 2].to_vec();
    spoiled.extend_from_slice(&[0xff, 0xff, 0xfe]);
    spoiled.extend_from_slice(&row[body / 2..]);
    spoiled
}

/// Says when a record that cannot be used is due: each kind once early on, then at random at the plan's rate.
pub(crate) struct Breaker {
    kinds: &'static [Reason],
    gap: u64,
    rate: f64,
    seen: u64,
    dice: Dice,
}

impl Breaker {
    /// `gap`: good records between the certain ones.
    pub fn new(city: &City, feed: &str, kinds: &'static [Reason], gap: u64) -> Breaker {
        let salt = feed.bytes().fold(0u64, |salt, byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Breaker {
            kinds,
            gap,
            rate: city.plan.rates.broken,
            seen: 0,
            dice: Dice::new(city.plan.seed, Domain::Break, salt),
        }
    }

    /// To be asked once for each good record.
    pub fn due(&mut self) -> Option<Reason> {
        self.seen += 1;
        let nth = (self.seen / self.gap) as usize;
        if self.seen.is_multiple_of(self.gap) && nth <= self.kinds.len() {
            return Some(self.kinds[nth - 1]);
        }
        self.dice.chance(self.rate).then(|| *self.dice.pick(self.kinds))
    }
}
