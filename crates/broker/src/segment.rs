//! One file of a partition's log, and beside it, once the file is full, an index with a checksum. Without a
//! sound index the file is read through, each batch's checksum is verified, and what follows the last sound
//! batch is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::{self, HEADER_BYTES, Header};
use crate::frame;
use crate::producers::Producers;

/// An entry of the index for about every so many bytes.
const INDEX_EVERY_BYTES: u64 = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Segment {
    /// Offset of the first record that may be in here.
    pub(crate) base: i64,
    pub(crate) facts: Facts,
    path: PathBuf,
    file: Option<Arc<File>>,
}

/// What is known of a segment without reading it; written into its index file when it is sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The offset after the last.
    pub(crate) end: i64,
    pub(crate) bytes: u64,
    pub(crate) max_timestamp: i64,
    /// When the first batch was appended, ms.
    pub(crate) opened_at: i64,
    /// When compaction last went over it, ms.
    pub(crate) compacted_at: Option<i64>,
    /// Whether compaction left records without a value in it.
    pub(crate) tombstones: bool,
    index: Vec<IndexEntry>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct IndexEntry {
    offset: i64,
    position: u64,
    /// Largest timestamp before this position.
    max_timestamp_before: i64,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    facts: Facts,
    producers: Producers,
}

impl Segment {
    /// A segment that has no bytes yet; its file is made with the first.
    pub(crate) fn new(folder: &Path, base: i64) -> Segment {
        let facts = Facts {
            end: base,
            bytes: 0,
            max_timestamp: -1,
            opened_at: 0,
            compacted_at: None,
            tombstones: false,
            index: Vec::new(),
        };
        Segment { base, facts, path: folder.join(format!("{base:020}.log")), file: None }
    }

    /// Opens the segment of a file. `producers` is the state before it and becomes the state after it.
    /// With a sound index for all of the file only that is read; else the whole file, which gets one.
    pub(crate) fn open(
        folder: &Path,
        base: i64,
        producers: &mut Producers,
        max: usize,
    ) -> io::Result<Segment> {
        let mut segment = Segment::new(folder, base);
        let bytes = fs::metadata(&segment.path)?.len();
        if let Some(sealed) = segment.read_index().filter(|s| s.facts.bytes == bytes) {
            *producers = sealed.producers;
            segment.facts = sealed.facts;
            return Ok(segment);
        }
        segment.facts.opened_at = modified_ms(&segment.path)?;
        let mut reader = BufReader::with_capacity(1 << 20, File::open(&segment.path)?);
        let mut batch = Vec::new();
        while read_batch(&mut reader, &mut batch)? && batch::checksum_holds(&batch) {
            let Some(header) = Header::read(&batch).filter(|h| h.base_offset >= segment.facts.end) else {
                break;
            };
            if header.is_control() {
                producers.ended(&header, batch::is_commit(&batch));
            } else {
                producers.appended(&header, max);
            }
            segment.facts.note(&header);
        }
        if segment.facts.bytes < bytes {
            let cut = bytes - segment.facts.bytes;
            tracing::warn!(path = %segment.path.display(), cut_bytes = cut, next_offset = segment.facts.end,
                "cut an unfinished or damaged end off a log segment");
            OpenOptions::new().write(true).open(&segment.path)?.set_len(segment.facts.bytes)?;
        }
        segment.seal(producers)?;
        Ok(segment)
    }

    /// Appends a batch that already bears its offsets. `header` is its header.
    pub(crate) fn append(&mut self, parts: &[&[u8]], header: &Header, now_ms: i64) -> io::Result<()> {
        let file = self.handle()?;
        let mut position = self.facts.bytes;
        for part in parts {
            if let Err(error) = file.write_all_at(part, position) {
                // The next batch goes to the same place; a restart before that cuts the remains off.
                let _ = file.set_len(self.facts.bytes);
                return Err(error);
            }
            position += part.len() as u64;
        }
        if self.facts.bytes == 0 {
            self.facts.opened_at = now_ms;
        }
        self.facts.note(header);
        Ok(())
    }

    /// The open file; it is opened when first asked for.
    pub(crate) fn handle(&mut self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        let file = Arc::new(file);
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Lets go of the file until it is next needed, to keep few files open.
    pub(crate) fn rest(&mut self) {
        self.file = None;
    }

    /// A position at or before the batch that holds `offset`.
    pub(crate) fn position_before(&self, offset: i64) -> u64 {
        let i = self.facts.index.partition_point(|e| e.offset <= offset);
        self.facts.index[..i].last().map_or(0, |e| e.position)
    }

    /// A position at or before the first batch with a record of `timestamp` or later.
    pub(crate) fn position_before_time(&self, timestamp: i64) -> u64 {
        let i = self.facts.index.partition_point(|e| e.max_timestamp_before < timestamp);
        self.facts.index[..i].last().map_or(0, |e| e.position)
    }

    /// Makes the file, and writes beside it the state of the producers before it.
    pub(crate) fn begin(&mut self, producers: &Producers) -> io::Result<()> {
        self.handle()?;
        let path = self.path.with_extension("producers");
        let staged = self.path.with_extension("producers.new");
        fs::write(&staged, frame::encode(producers))?;
        fs::rename(staged, path)
    }

    /// The state of the producers before this segment, if it was written down.
    pub(crate) fn producers_before(&self) -> Option<Producers> {
        frame::decode(&fs::read(self.path.with_extension("producers")).ok()?).map(|(producers, _)| producers)
    }

    /// Writes the index of a full segment, with the state of the producers after it.
    pub(crate) fn seal(&mut self, producers: &Producers) -> io::Result<()> {
        let sealed = Sealed { facts: self.facts.clone(), producers: producers.clone() };
        let staged = self.path.with_extension("index.new");
        fs::write(&staged, frame::encode(&sealed))?;
        fs::rename(staged, self.index_path())
    }

    /// Puts a rewritten file in place of this segment's, with the facts that hold for it.
    pub(crate) fn replace(
        &mut self,
        rewritten: &Path,
        facts: Facts,
        producers: &Producers,
    ) -> io::Result<()> {
        // Without an index a crash between the two renames only costs a reading of the file.
        let _ = fs::remove_file(self.index_path());
        fs::rename(rewritten, &self.path)?;
        self.file = None;
        self.facts = facts;
        self.seal(producers)
    }

    /// The state of the producers at the segment's end, as it was when it was sealed.
    pub(crate) fn sealed_producers(&self) -> Option<Producers> {
        self.read_index().map(|s| s.producers)
    }

    pub(crate) fn delete(&self) {
        for path in [self.path.clone(), self.index_path(), self.path.with_extension("producers")] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "could not remove a log segment");
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn index_path(&self) -> PathBuf {
        self.path.with_extension("index")
    }

    fn read_index(&self) -> Option<Sealed> {
        frame::decode(&fs::read(self.index_path()).ok()?).map(|(sealed, _)| sealed)
    }
}

impl Facts {
    /// Facts of a file that is being written anew from the segments that began with these.
    pub(crate) fn rewritten(opened_at: i64, base: i64, now_ms: i64) -> Facts {
        let compacted_at = Some(now_ms);
        Facts {
            end: base,
            bytes: 0,
            max_timestamp: -1,
            opened_at,
            compacted_at,
            tombstones: false,
            index: vec![],
        }
    }

    /// Takes note of the next batch of the file.
    pub(crate) fn note(&mut self, header: &Header) {
        if self.index.last().is_none_or(|e| self.bytes - e.position >= INDEX_EVERY_BYTES) {
            let (position, max_timestamp_before) = (self.bytes, self.max_timestamp);
            self.index.push(IndexEntry { offset: header.base_offset, position, max_timestamp_before });
        }
        self.bytes += header.bytes as u64;
        self.end = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }
}

/// Reads the next whole batch into `batch`; false at the end, and when the rest is not a whole batch.
pub(crate) fn read_batch(reader: &mut impl Read, batch: &mut Vec<u8>) -> io::Result<bool> {
    batch.clear();
    reader.by_ref().take(HEADER_BYTES as u64).read_to_end(batch)?;
    let Some(header) = Header::read(batch) else { return Ok(false) };
    reader.by_ref().take((header.bytes - HEADER_BYTES) as u64).read_to_end(batch)?;
    Ok(batch.len() == header.bytes)
}

fn modified_ms(path: &Path) -> io::Result<i64> {
    let age = fs::metadata(path)?.modified()?.duration_since(std::time::UNIX_EPOCH);
    Ok(age.map_or(0, |age| age.as_millis() as i64))
}
