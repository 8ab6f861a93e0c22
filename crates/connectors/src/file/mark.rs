//! How far each file was read, and whether it is still the same file.
//!
//! | the file | what is kept of it |
//! |---|---|
//! | is being read, or is among the [`WHOLE`] that changed last | its whole mark: it can go on where it ended |
//! | was read to its end, long ago | name, size and time: read again from its beginning if one of them changes |
//! | has left the folder | nothing: a file of this name is new |

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    dump::Dumps,
    finished::{Finished, Stamp},
    folder::Entry,
};
use crate::Error;

/// Finished files that keep their whole marks. Files still being read are kept beside them, whatever their number.
const WHOLE: usize = 256;
/// How much of a file's beginning, and of what lies before the mark, tells it from another.
const PRINT_BYTES: u64 = 4096;

/// How far one file was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where the next record begins, in bytes.
    pub offset: u64,
    /// Records before it.
    pub row: u64,
    /// The file as it was when this was noted.
    pub size: u64,
    pub modified_ms: i64,
    /// The bytes from `offset` on were sent as a record without its line break.
    pub torn_sent: bool,
    pub prints: Prints,
}

/// Hashes of a file's beginning and of the bytes before the mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prints {
    head: u64,
    tail: u64,
}

impl Mark {
    fn is_finished(&self) -> bool {
        self.torn_sent || self.offset >= self.size
    }
}

/// The marks of a source's files: of every file that is still there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FileCursor {
    marks: BTreeMap<String, Mark>,
    #[serde(default)]
    finished: Finished,
    #[serde(default, skip_serializing_if = "Dumps::is_unused")]
    pub dumps: Dumps,
    #[serde(skip)]
    pub unsaved: bool,
}

/// What is to be done about a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Todo {
    Nothing,
    Continue(Mark),
    Anew { replaced: bool },
}

impl FileCursor {
    pub async fn todo(&self, entry: &Entry) -> Result<Todo, Error> {
        let Some(mark) = self.marks.get(&entry.name) else {
            return Ok(match self.finished.0.get(&entry.name) {
                Some(stamp) if *stamp == Stamp::of(entry) => Todo::Nothing,
                Some(_) => Todo::Anew { replaced: true },
                None => Todo::Anew { replaced: false },
            });
        };
        if entry.size == mark.size && entry.modified_ms == mark.modified_ms && mark.is_finished() {
            return Ok(Todo::Nothing);
        }
        if entry.size < mark.offset {
            return Ok(Todo::Anew { replaced: true });
        }
        let same = prints(entry.path.clone(), mark.offset).await? == mark.prints;
        Ok(judge(mark, entry, same))
    }

    /// Notes how far a file was read. `offset` and `row` are of the next record.
    pub async fn note(&mut self, entry: &Entry, offset: u64, row: u64, torn_sent: bool) -> Result<(), Error> {
        let prints = prints(entry.path.clone(), offset).await?;
        let mark = Mark { offset, row, size: entry.size, modified_ms: entry.modified_ms, torn_sent, prints };
        self.insert(entry, mark);
        Ok(())
    }

    /// A workbook is read whole or not at all.
    pub fn note_whole(&mut self, entry: &Entry, row: u64) {
        let prints = Prints::default();
        let (size, modified_ms) = (entry.size, entry.modified_ms);
        self.insert(entry, Mark { offset: size, row, size, modified_ms, torn_sent: false, prints });
    }

    fn insert(&mut self, entry: &Entry, mark: Mark) {
        if self.marks.insert(entry.name.clone(), mark) != Some(mark) {
            self.unsaved = true;
        }
        self.finished.0.remove(&entry.name);
        if self.marks.len() > WHOLE {
            self.shorten();
        }
    }

    /// Keeps only the stamps of finished files that changed before others.
    fn shorten(&mut self) {
        let finished = self.marks.iter().filter(|(_, mark)| mark.is_finished());
        let mut finished: Vec<_> = finished.map(|(name, mark)| (mark.modified_ms, name.clone())).collect();
        if finished.len() <= WHOLE {
            return;
        }
        // Half of them at once: each file of a large folder then costs little.
        finished.sort();
        for (_, name) in finished.drain(..finished.len() - WHOLE / 2) {
            if let Some(mark) = self.marks.remove(&name) {
                let stamp = Stamp { size: mark.size, modified_ms: mark.modified_ms };
                self.finished.0.insert(name, stamp);
            }
        }
    }

    /// Forgets the files that are no longer there. A folder without any file is more likely one that is not mounted,
    /// and makes nothing forgotten.
    pub fn forget_absent(&mut self, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let there: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let before = self.marks.len() + self.finished.0.len();
        self.marks.retain(|name, _| there.contains(name.as_str()));
        self.finished.0.retain(|name, _| there.contains(name.as_str()));
        let forgotten = self.dumps.forget_unless(|name| there.contains(name));
        self.unsaved |= forgotten || self.marks.len() + self.finished.0.len() < before;
    }

    /// How many records a file had, if it was read to its end as it is now.
    pub fn rows_read(&self, entry: &Entry) -> Option<u64> {
        let mark = self.marks.get(&entry.name)?;
        let is_whole = mark.is_finished() && mark.size == entry.size && mark.modified_ms == entry.modified_ms;
        is_whole.then_some(mark.row + u64::from(mark.torn_sent))
    }

    /// How much of a file counts as read, in bytes.
    pub fn read_of(&self, entry: &Entry) -> u64 {
        match (self.marks.get(&entry.name), self.finished.0.get(&entry.name)) {
            (Some(mark), _) if mark.torn_sent => mark.size.min(entry.size),
            (Some(mark), _) => mark.offset.min(entry.size),
            (None, Some(stamp)) => stamp.size.min(entry.size),
            (None, None) => 0,
        }
    }
}

/// | the file | then |
/// |---|---|
/// | begins otherwise, or has other bytes before the mark | it was replaced: anew |
/// | was read to its end, has the same size and another time | it was rewritten: anew (unchanged records stop later) |
/// | else | it grew, or was not read to its end: continue |
fn judge(mark: &Mark, entry: &Entry, same: bool) -> Todo {
    let rewritten =
        mark.offset == entry.size && mark.size == entry.size && mark.modified_ms != entry.modified_ms;
    if !same || rewritten { Todo::Anew { replaced: true } } else { Todo::Continue(*mark) }
}

async fn prints(path: PathBuf, offset: u64) -> Result<Prints, Error> {
    let read = move || {
        read_prints(&path, offset).map_err(|source| Error::File { doing: "looking into", path, source })
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| Error::Panicked { doing: "looking into a file".into() })?
}

fn read_prints(path: &Path, offset: u64) -> std::io::Result<Prints> {
    let length = offset.min(PRINT_BYTES);
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.by_ref().take(length).read_to_end(&mut bytes)?;
    let head = xxh3_64(&bytes);
    file.seek(SeekFrom::Start(offset - length))?;
    bytes.clear();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(Prints { head, tail: xxh3_64(&bytes) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::file::folder::{Suffixes, list};

    fn entry(path: &Path) -> Entry {
        list(path, Suffixes(&[])).unwrap().remove(0)
    }

    #[tokio::test]
    async fn a_file_that_grew_goes_on_and_one_that_was_replaced_starts_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "h\n1\n2\n").unwrap();
        let mut cursor = FileCursor::default();
        assert_eq!(cursor.todo(&entry(&path)).await.unwrap(), Todo::Anew { replaced: false });
        cursor.note(&entry(&path), 6, 2, false).await.unwrap();
        assert_eq!(cursor.todo(&entry(&path)).await.unwrap(), Todo::Nothing);
        std::fs::write(&path, "h\n1\n2\n3\n").unwrap();
        assert!(
            matches!(cursor.todo(&entry(&path)).await.unwrap(), Todo::Continue(mark) if mark.offset == 6)
        );
        std::fs::write(&path, "h\n9\n2\n3\n").unwrap();
        assert_eq!(cursor.todo(&entry(&path)).await.unwrap(), Todo::Anew { replaced: true });
        std::fs::write(&path, "h\n").unwrap();
        assert_eq!(cursor.todo(&entry(&path)).await.unwrap(), Todo::Anew { replaced: true });
    }

    fn named(name: &str) -> Entry {
        Entry { name: name.into(), path: "x".into(), size: 5, modified_ms: 1 }
    }

    fn kept(cursor: &FileCursor) -> FileCursor {
        serde_json::from_str(&serde_json::to_string(cursor).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_new_file_is_read_however_many_files_are_there_and_whatever_its_name_is() {
        let mut cursor = FileCursor::default();
        for n in 0..1000 {
            cursor.note_whole(&named(&format!("320110-2025-12-{n:04}.csv")), 1);
        }
        let cursor = kept(&cursor);
        assert!(cursor.marks.len() <= WHOLE);
        for n in 0..1000 {
            let entry = named(&format!("320110-2025-12-{n:04}.csv"));
            assert_eq!(cursor.todo(&entry).await.unwrap(), Todo::Nothing, "{n}");
            assert_eq!(cursor.read_of(&entry), 5);
        }
        for name in ["320106-2025-11-03.csv", "01-01.csv", "水表.csv", "320110-2025-12-0000 (2).csv"] {
            assert_eq!(cursor.todo(&named(name)).await.unwrap(), Todo::Anew { replaced: false }, "{name}");
            assert_eq!(cursor.read_of(&named(name)), 0);
        }
        let rewritten = Entry { modified_ms: 2, ..named("320110-2025-12-0000.csv") };
        assert_eq!(cursor.todo(&rewritten).await.unwrap(), Todo::Anew { replaced: true });
    }

    #[tokio::test]
    async fn a_file_still_being_read_keeps_its_mark_whatever_is_read_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "h\n1\n2 is no").unwrap();
        let mut cursor = FileCursor::default();
        cursor.note(&entry(&path), 4, 1, false).await.unwrap();
        for n in 0..1000 {
            cursor.note_whole(&Entry { modified_ms: i64::MAX, ..named(&format!("b-{n}.csv")) }, 1);
        }
        let todo = kept(&cursor).todo(&entry(&path)).await.unwrap();
        assert!(matches!(todo, Todo::Continue(mark) if (mark.offset, mark.row) == (4, 1)), "{todo:?}");
    }

    #[tokio::test]
    async fn only_files_that_left_the_folder_are_forgotten_and_an_empty_folder_forgets_none() {
        let mut cursor = FileCursor::default();
        let entries: Vec<Entry> = (0..600).map(|n| named(&format!("{n}.csv"))).collect();
        entries.iter().for_each(|entry| cursor.note_whole(entry, 1));
        cursor.unsaved = false;
        cursor.forget_absent(&entries);
        cursor.forget_absent(&[]);
        assert!(!cursor.unsaved);
        cursor.forget_absent(&entries[300..]);
        assert!(cursor.unsaved);
        assert_eq!(cursor.marks.len() + cursor.finished.0.len(), 300);
        assert_eq!(cursor.todo(&entries[0]).await.unwrap(), Todo::Anew { replaced: false });
        assert_eq!(cursor.todo(&entries[300]).await.unwrap(), Todo::Nothing);
    }
}
