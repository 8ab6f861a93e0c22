//! Sorting more pairs than fit into memory.
//!
//! ```text
//!  push ──► arena, so many bytes ──full──► sorted ──► a file ┐
//!                │                                           ├──► Sorted: merged, in the order of keys
//!                └── all of it fitted: sorted in memory ─────┘
//! ```
//!
//! Pairs of equal keys come out as they went in.

use std::{
    collections::{BinaryHeap, binary_heap::PeekMut},
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use crate::Error;

/// Files that are merged at once: each takes a handle and a buffer.
const FILES_MAX: usize = 128;
const BUFFER_BYTES_MIN: usize = 8 << 10;
const BUFFER_BYTES_MAX: usize = 1 << 20;
/// Key and value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Before a pair's bytes: the lengths of key and value.
const LENGTHS: usize = 8;

/// Takes pairs in any order. Its files lie in a folder of its own, which whoever gave it deletes.
pub struct Sorter {
    dir: PathBuf,
    memory_max: usize,
    arena: Vec<u8>,
    entries: Vec<Entry>,
    files: Vec<PathBuf>,
    files_made: usize,
}

/// A pair in the arena. In the order of `prefix`, then of the whole key, then of `at`.
#[derive(Clone, Copy)]
struct Entry {
    /// The first sixteen bytes of the key, so that most comparisons end here.
    prefix: u128,
    at: usize,
}

impl Sorter {
    /// Keeps at most about `memory_max` bytes in memory; the rest goes to files in `dir`, which is made.
    pub fn new(dir: impl Into<PathBuf>, memory_max: usize) -> Result<Self, Error> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|source| Error::Sort { path: dir.clone(), source })?;
        let (arena, entries, files) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { dir, memory_max, arena, entries, files, files_made: 0 })
    }

    pub fn push(&mut self, key: &[u8], value: &[&[u8]]) -> Result<(), Error> {
        let length: usize = value.iter().map(|part| part.len()).sum();
        let bytes = LENGTHS + key.len() + length;
        let used = self.arena.len() + self.entries.len() * size_of::<Entry>();
        if !self.entries.is_empty() && used + bytes + size_of::<Entry>() > self.memory_max {
            self.spill()?;
        }
        if self.arena.capacity() == 0 {
            // Memory that is never written to is never there.
            self.arena.reserve(self.memory_max);
        }
        let lengths = u32::try_from(key.len()).ok().zip(u32::try_from(length).ok());
        let (key_length, value_length) =
            lengths.ok_or_else(|| self.failed(io::ErrorKind::FileTooLarge.into()))?;
        self.entries.push(Entry { prefix: prefix(key), at: self.arena.len() });
        self.arena.extend_from_slice(&key_length.to_le_bytes());
        self.arena.extend_from_slice(&value_length.to_le_bytes());
        self.arena.extend_from_slice(key);
        value.iter().for_each(|part| self.arena.extend_from_slice(part));
        Ok(())
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        self.entries.sort_unstable_by(|a, b| {
            let keys = || pair(arena, a.at).0.cmp(pair(arena, b.at).0);
            a.prefix.cmp(&b.prefix).then_with(keys).then(a.at.cmp(&b.at))
        });
    }

    fn spill(&mut self) -> Result<(), Error> {
        if self.files.len() == FILES_MAX {
            self.merge_files()?;
        }
        self.sort();
        let path = self.next_file();
        let write = || {
            let mut file = BufWriter::with_capacity(BUFFER_BYTES_MAX, File::create(&path)?);
            for entry in &self.entries {
                file.write_all(&self.arena[entry.at..end(&self.arena, entry.at)])?;
            }
            file.flush()
        };
        write().map_err(|source| Error::Sort { path: path.clone(), source })?;
        self.files.push(path);
        self.entries.clear();
        self.arena.clear();
        Ok(())
    }

    /// All files become one, so that there are never too many.
    fn merge_files(&mut self) -> Result<(), Error> {
        let path = self.next_file();
        let failed = |source| Error::Sort { path: path.clone(), source };
        let mut file = BufWriter::with_capacity(BUFFER_BYTES_MAX, File::create(&path).map_err(failed)?);
        let mut merged = Merged::open(&std::mem::take(&mut self.files), self.memory_max / 4)?;
        while merged.advance()? {
            if let Some(head) = merged.heap.peek() {
                file.write_all(&head.lengths()).and_then(|()| file.write_all(&head.bytes)).map_err(failed)?;
            }
        }
        file.flush().map_err(failed)?;
        self.files.push(path);
        Ok(())
    }

    fn next_file(&mut self) -> PathBuf {
        self.files_made += 1;
        self.dir.join(self.files_made.to_string())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Sort { path: self.dir.clone(), source }
    }

    /// Everything that was pushed, in order. Where files had to be written, memory is given back.
    pub fn sorted(mut self) -> Result<Sorted, Error> {
        if self.files.is_empty() {
            self.sort();
            let Self { arena, entries, .. } = self;
            return Ok(Sorted(Of::Memory { arena, entries: entries.into_iter() }));
        }
        if !self.entries.is_empty() {
            self.spill()?;
        }
        Ok(Sorted(Of::Files(Merged::open(&self.files, self.memory_max)?)))
    }
}

fn prefix(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}

fn lengths(bytes: &[u8]) -> (usize, usize) {
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (number(0) as usize, number(4) as usize)
}

fn end(arena: &[u8], at: usize) -> usize {
    let (key, value) = lengths(&arena[at..]);
    at + LENGTHS + key + value
}

fn pair(arena: &[u8], at: usize) -> Pair<'_> {
    let (key, value) = lengths(&arena[at..]);
    arena[at + LENGTHS..at + LENGTHS + key + value].split_at(key)
}

/// What a [`Sorter`] took, in the order of keys.
pub struct Sorted(Of);

enum Of {
    Memory { arena: Vec<u8>, entries: std::vec::IntoIter<Entry> },
    Files(Merged),
}

impl Sorted {
    /// The next key and value.
    #[allow(clippy::should_implement_trait)] // It lends.
    pub fn next(&mut self) -> Result<Option<Pair<'_>>, Error> {
        match &mut self.0 {
            Of::Memory { arena, entries } => Ok(entries.next().map(|entry| pair(arena, entry.at))),
            Of::Files(merged) => {
                merged.advance()?;
                Ok(merged.heap.peek().map(|head| head.bytes.split_at(head.key)))
            }
        }
    }
}

/// Several sorted files, as one.
struct Merged {
    /// The least pair is at its top once it was advanced to.
    heap: BinaryHeap<Head>,
    has_begun: bool,
}

/// The pair that comes next of one file.
struct Head {
    prefix: u128,
    /// Key, then value.
    bytes: Vec<u8>,
    key: usize,
    /// Files in the order in which they were written.
    number: usize,
    file: BufReader<File>,
    path: PathBuf,
}

impl Merged {
    fn open(files: &[PathBuf], memory: usize) -> Result<Self, Error> {
        let buffer = (memory / files.len().max(1)).clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
        let mut heap = BinaryHeap::with_capacity(files.len());
        for (number, path) in files.iter().enumerate() {
            heap.extend(Head::open(path, number, buffer)?);
        }
        Ok(Self { heap, has_begun: false })
    }

    /// Brings the next pair to the top; false where there is none.
    fn advance(&mut self) -> Result<bool, Error> {
        if self.has_begun
            && let Some(mut head) = self.heap.peek_mut()
            && !head.read()?
        {
            PeekMut::pop(head);
        }
        self.has_begun = true;
        Ok(!self.heap.is_empty())
    }
}

impl Head {
    /// None where the file is empty. The file is gone when it is closed.
    fn open(path: &Path, number: usize, buffer: usize) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Sort { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed)?;
        fs::remove_file(path).map_err(failed)?;
        let file = BufReader::with_capacity(buffer, file);
        let mut head = Self { prefix: 0, bytes: Vec::new(), key: 0, number, file, path: path.to_path_buf() };
        Ok(head.read()?.then_some(head))
    }

    fn read(&mut self) -> Result<bool, Error> {
        let mut lengths_read = [0; LENGTHS];
        match self.file.read_exact(&mut lengths_read) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read.map_err(|source| Error::Sort { path: self.path.clone(), source })?,
        }
        let (key, value) = lengths(&lengths_read);
        self.bytes.resize(key + value, 0);
        self.file
            .read_exact(&mut self.bytes)
            .map_err(|source| Error::Sort { path: self.path.clone(), source })?;
        self.key = key;
        self.prefix = prefix(&self.bytes[..key]);
        Ok(true)
    }

    fn lengths(&self) -> [u8; LENGTHS] {
        let mut bytes = [0; LENGTHS];
        bytes[..4].copy_from_slice(&(self.key as u32).to_le_bytes());
        bytes[4..].copy_from_slice(&((self.bytes.len() - self.key) as u32).to_le_bytes());
        bytes
    }
}

/// The least comes first out of a heap that gives the greatest.
impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other
            .prefix
            .cmp(&self.prefix)
            .then_with(|| other.bytes[..other.key].cmp(&self.bytes[..self.key]))
            .then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}
