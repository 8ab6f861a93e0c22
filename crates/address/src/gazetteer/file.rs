//! The file: a header, a table of sections, the sections. Little-endian, each section at a multiple of 8.
//!
//! ```text
//!  "YIBIAOGZ" │ format u32 │ sections u32 │ content hash u64 │ head hash u64 │ (offset u64, length u64)… │ bytes
//! ```
//! The content hash is of all sections and is the gazetteer's version; the head hash is of the table.

use crate::Error;
use crate::lexicon::Words;
use std::io::Write;
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: &[u8; 8] = b"YIBIAOGZ";
pub(super) const FORMAT: u32 = 2;
const HEAD: usize = 32;
/// Up to this size opening reads and checks every byte; above, the head and the lengths (see `Gazetteer::verify`).
const CHECKED_ON_OPEN_BYTES: usize = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Section {
    Report,
    StringStarts,
    Strings,
    LabelSlots,
    Labels,
    Ids,
    Kinds,
    FirstNode,
    FirstDwelling,
    Statuses,
    ById,
    IdSamples,
    Shadowed,
    Compounds,
    CompoundNames,
    CompoundNumbers,
    CompoundTexts,
    NameStarts,
    NameUnits,
    NameBuckets,
    MeaningStarts,
    Meanings,
    IndexStarts,
    Index,
    Covered,
    Withdrawn,
}

pub(super) const SECTIONS: usize = 26;

/// Where each section lies in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pub ranges: [(usize, usize); SECTIONS],
    pub content_hash: u64,
}

pub(super) fn write(path: &Path, sections: &[Vec<u8>; SECTIONS]) -> Result<(u64, u64), Error> {
    let fault = |source| Error::Write { path: path.to_owned(), source };
    let mut table = Vec::with_capacity(SECTIONS * 16);
    let mut at = (HEAD + SECTIONS * 16) as u64;
    let mut content = Xxh3::new();
    for bytes in sections {
        table.extend_from_slice(&at.to_le_bytes());
        table.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        content.update(&(bytes.len() as u64).to_le_bytes());
        content.update(bytes);
        at += (bytes.len() as u64).next_multiple_of(8);
    }
    let hash = content.digest();
    // Written aside and renamed, so that no reader ever opens half a file.
    let aside = path.with_extension("building");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&aside).map_err(fault)?);
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&(SECTIONS as u32).to_le_bytes());
    head.extend_from_slice(&hash.to_le_bytes());
    head.extend_from_slice(&xxh3_64(&table).to_le_bytes());
    out.write_all(&head).map_err(fault)?;
    out.write_all(&table).map_err(fault)?;
    for bytes in sections {
        out.write_all(bytes).map_err(fault)?;
        out.write_all(&[0; 8][..bytes.len().next_multiple_of(8) - bytes.len()]).map_err(fault)?;
    }
    let file = out.into_inner().map_err(|e| fault(e.into_error()))?;
    file.sync_all().map_err(fault)?;
    std::fs::rename(&aside, path).map_err(fault)?;
    Ok((hash, at))
}

/// Checks `bytes` and finds the sections.
pub(super) fn layout(bytes: &[u8]) -> Result<Layout, String> {
    if bytes.len() < HEAD + SECTIONS * 16 {
        return Err(format!("{} bytes are too few for a gazetteer", bytes.len()));
    }
    if &bytes[..8] != MAGIC {
        return Err("it is not a gazetteer file".to_owned());
    }
    let (format, sections) = (Words(&bytes[8..12]).get(0), Words(&bytes[12..16]).get(0));
    if format != FORMAT || sections as usize != SECTIONS {
        return Err(format!("it has format {format}, this program reads format {FORMAT}"));
    }
    let table = &bytes[HEAD..HEAD + SECTIONS * 16];
    if xxh3_64(table) != u64_at(bytes, 24) && !cfg!(fuzzing) {
        return Err("its head is damaged".to_owned());
    }
    let mut layout = Layout { content_hash: u64_at(bytes, 16), ..Layout::default() };
    for (i, range) in layout.ranges.iter_mut().enumerate() {
        let (start, length) = (u64_at(table, i * 16), u64_at(table, i * 16 + 8));
        let end = start.checked_add(length).filter(|&e| e <= bytes.len() as u64);
        let Some(end) = end else { return Err("it is cut short".to_owned()) };
        *range = (start as usize, end as usize);
    }
    // A fuzzer would never get behind the checksum; a file above the limit is read unchecked, too.
    if bytes.len() <= CHECKED_ON_OPEN_BYTES && !cfg!(fuzzing) {
        verify(bytes, &layout)?;
    }
    Ok(layout)
}

/// Reads every byte and compares with the content hash.
pub(super) fn verify(bytes: &[u8], layout: &Layout) -> Result<(), String> {
    let mut content = Xxh3::new();
    for &(start, end) in &layout.ranges {
        content.update(&((end - start) as u64).to_le_bytes());
        content.update(&bytes[start..end]);
    }
    if content.digest() == layout.content_hash { Ok(()) } else { Err("its content is damaged".to_owned()) }
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    if let Some(b) = bytes.get(at..at + 8) {
        value.copy_from_slice(b);
    }
    u64::from_le_bytes(value)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    if let Some(b) = bytes.get(at..at + 4) {
        value.copy_from_slice(b);
    }
    u32::from_le_bytes(value)
}
