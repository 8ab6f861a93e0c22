//! The gazetteer: every standard address, its names and numbers, in one immutable mapped file.
//!
//! ```text
//!  names ──► compounds ──► buildings ──► units ──► dwellings       (place records, children side by side)
//!  road+number ──┘  surface texts, aliases, blanked names ──┘      (one sorted hash index)
//! ```
//! Its version is a hash of its content: the same rows in the same order give the same bytes.

mod base;
pub(crate) mod build;
mod column;
mod compound;
mod file;
mod layout;
pub(crate) mod names;
mod neighbour;
mod order;
mod places;
mod report;
mod rows;
mod siblings;
pub(crate) mod surface;
pub(crate) mod tree;
mod twins;

pub use build::GazetteerBuilder;
pub use report::BuildReport;

use crate::Error;
use crate::lexicon::{Lexicon, Words, partition};
use crate::model::{Level, Status};
use file::{Layout, Section, u32_at, u64_at};
use std::path::Path;

/// Provisional places, those that no standard address names, have this bit in their id; standard ones never do.
pub const PROVISIONAL_BIT: u64 = 1 << 62;

/// How a name or number came to a compound.
pub(crate) mod via {
    pub const STANDARD: u32 = 0;
    pub const ALIAS: u32 = 1;
    pub const FORMER: u32 = 2;
    /// The name of a road: its compounds are found through the number.
    pub const ROAD: u32 = 8;
}

const COMPOUND_BYTES: usize = 44;
/// Where in a compound's record its division stands.
const DIVISION_AT: usize = 40;
const INDEX_BYTES: usize = 16;
const MEANING_BYTES: usize = 8;

/// An open gazetteer. Cheap to share behind an `Arc`; reading never allocates.
pub struct Gazetteer {
    map: memmap2::Mmap,
    layout: Layout,
    version: String,
    report: BuildReport,
}

/// A place's number within the open gazetteer.
pub(crate) type PlaceIndex = u32;

/// What the gazetteer knows of one place.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceView<'g> {
    pub place: u64,
    pub parent: Option<u64>,
    pub level: Level,
    pub status: Status,
    /// No row of the standard addresses is this place itself; its dwellings imply it.
    pub implied: bool,
    /// The compound's name, or the normalised number of the building, unit or room.
    pub name: &'g str,
    /// 12 digits, as deep as the rows said; None where they did not say.
    pub division_code: Option<u64>,
    pub lng_lat: Option<(f32, f32)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct CompoundRecord {
    pub lng_lat: Option<(f32, f32)>,
    /// Of the records of one compound that was entered twice, the one to answer with.
    pub canonical: u32,
    pub names: (u32, u32),
    pub numbers: (u32, u32),
    pub texts: (u32, u32),
    /// Its number is from a list, and not enough to tell it from its neighbours.
    pub undecided_by_number: bool,
}

impl Gazetteer {
    /// Maps the file. Every byte is checked up to 256 MiB, above that the head and the lengths.
    ///
    /// # Errors
    /// A file that is missing, foreign, of another format, cut short or damaged.
    pub fn open(path: &Path) -> Result<Gazetteer, Error> {
        let fault = |source| Error::Open { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(fault)?;
        // SAFETY: the file is written aside, renamed into place and never written again; whoever truncates it
        // under a running program breaks the rule that gazetteers are immutable.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fault)?;
        let damaged = |problem| Error::Damaged { path: path.to_owned(), problem };
        let layout = file::layout(&map).map_err(damaged)?;
        let (start, end) = layout.ranges[Section::Report as usize];
        let report = BuildReport::from_bytes(&map[start..end], layout.content_hash, map.len() as u64);
        Ok(Gazetteer { version: format!("{:016x}", layout.content_hash), report, map, layout })
    }

    /// Reads and checks every byte, whatever the size.
    ///
    /// # Errors
    /// What is damaged, with no path: the caller opened it.
    pub fn verify(&self) -> Result<(), String> {
        file::verify(&self.map, &self.layout)
    }

    /// 16 hexadecimal digits: a hash of the content.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it is made of.
    pub fn report(&self) -> &BuildReport {
        &self.report
    }

    /// The standard or implied place with this id. Of two rows with one address the id of either leads to the
    /// place, which is called by the id of the one in use.
    pub fn place(&self, id: u64) -> Option<PlaceView<'_>> {
        self.index_of(id).map(|index| self.view(index))
    }

    fn section(&self, section: Section) -> &[u8] {
        let (start, end) = self.layout.ranges[section as usize];
        &self.map[start..end]
    }

    /// The entries from `start` to `end` that the section holds: a damaged file must not send us round billions.
    fn entries(
        &self,
        section: Section,
        entry_bytes: usize,
        (start, end): (u32, u32),
    ) -> std::ops::Range<u32> {
        let count = u32::try_from(self.section(section).len() / entry_bytes).unwrap_or(u32::MAX);
        start.min(count)..end.min(count)
    }

    fn words(&self, section: Section) -> Words<'_> {
        Words(self.section(section))
    }

    pub(crate) fn compound(&self, index: PlaceIndex) -> CompoundRecord {
        let bytes = self.section(Section::Compounds);
        let at = index as usize * COMPOUND_BYTES;
        let (lng, lat) = (f32::from_bits(u32_at(bytes, at)), f32::from_bits(u32_at(bytes, at + 4)));
        CompoundRecord {
            lng_lat: lng.is_finite().then_some((lng, lat)),
            canonical: u32_at(bytes, at + 8),
            names: (u32_at(bytes, at + 12), u32_at(bytes, at + 16)),
            numbers: (u32_at(bytes, at + 20), u32_at(bytes, at + 24)),
            texts: (u32_at(bytes, at + 28), u32_at(bytes, at + 32)),
            undecided_by_number: u32_at(bytes, at + 36) & 1 != 0,
        }
    }

    /// Every name of a compound, the first is the standard one.
    pub fn names(&self, id: u64) -> Vec<&str> {
        let Some(index) = self.index_of(id).filter(|&i| self.level(i) == Level::Compound) else {
            return Vec::new();
        };
        let names = self.entries(Section::CompoundNames, 4, self.compound(index).names);
        names.map(|i| self.string(self.words(Section::CompoundNames).get(i as usize))).collect()
    }

    /// The codes of all divisions that places lie in; the first entry is 0, for unknown.
    pub(crate) fn covered(&self) -> impl Iterator<Item = u64> + '_ {
        self.section(Section::Covered).chunks_exact(8).map(|b| u64_at(b, 0))
    }

    pub(crate) fn string(&self, index: u32) -> &str {
        std::str::from_utf8(self.string_bytes(index)).unwrap_or("")
    }

    fn string_bytes(&self, index: u32) -> &[u8] {
        let starts = self.words(Section::StringStarts);
        let (start, end) = (starts.get(index as usize) as usize, starts.get(index as usize + 1) as usize);
        self.section(Section::Strings).get(start..end).unwrap_or(&[])
    }

    pub(crate) fn lexicon(&self) -> Lexicon<'_> {
        Lexicon {
            starts: self.words(Section::NameStarts),
            units: self.words(Section::NameUnits),
            buckets: self.words(Section::NameBuckets),
        }
    }

    /// (compound, via) of each meaning of a name.
    pub(crate) fn meanings(&self, name: u32) -> impl Iterator<Item = (PlaceIndex, u32)> + '_ {
        let starts = self.words(Section::MeaningStarts);
        let bytes = self.section(Section::Meanings);
        let range = (starts.get(name as usize), starts.get(name as usize + 1));
        self.entries(Section::Meanings, MEANING_BYTES, range).map(move |i| {
            let at = i as usize * MEANING_BYTES;
            (u32_at(bytes, at), u32_at(bytes, at + 4))
        })
    }

    /// (place, via) of each entry of the hash index under `hash`.
    pub(crate) fn indexed(&self, hash: u64) -> impl Iterator<Item = (PlaceIndex, u32)> + '_ {
        let bytes = self.section(Section::Index);
        let count = bytes.len() / INDEX_BYTES;
        let starts = self.words(Section::IndexStarts);
        let bucket = names::bucket_of(hash, starts.len().saturating_sub(1).max(1));
        let (low, high) = (starts.get(bucket) as usize, starts.get(bucket + 1) as usize);
        let low = partition(low.min(count), high.min(count), |i| u64_at(bytes, i * INDEX_BYTES) < hash);
        (low..count)
            .map(move |i| i * INDEX_BYTES)
            .take_while(move |&at| u64_at(bytes, at) == hash)
            .map(move |at| (u32_at(bytes, at + 8), u32_at(bytes, at + 12)))
    }

    /// The keys of the free surface texts of a compound, without their area.
    pub(crate) fn texts(&self, compound: PlaceIndex) -> impl Iterator<Item = &str> {
        let texts = self.entries(Section::CompoundTexts, 4, self.compound(compound).texts);
        texts.map(|i| self.string(self.words(Section::CompoundTexts).get(i as usize)))
    }

    /// (hash of the road, hash of road and number) of each surface address of a compound.
    pub(crate) fn numbers(&self, compound: PlaceIndex) -> impl Iterator<Item = (u64, u64)> + '_ {
        let numbers = self.entries(Section::CompoundNumbers, 16, self.compound(compound).numbers);
        let bytes = self.section(Section::CompoundNumbers);
        numbers.map(move |i| (u64_at(bytes, i as usize * 16), u64_at(bytes, i as usize * 16 + 8)))
    }
}

impl std::fmt::Debug for Gazetteer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gazetteer")
            .field("version", &self.version)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}
