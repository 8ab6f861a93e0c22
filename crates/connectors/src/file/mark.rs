//! How far each file was read, and whether it is still the same file.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::folder::{Entry, Order, order};
use crate::Error;

/// Files that are remembered with their marks. An older one counts as read, whatever becomes of it.
const REMEMBERED: usize = 64;
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

/// The marks of a source's files.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FileCursor {
    marks: BTreeMap<String, Mark>,
    /// The last of the files that are no longer remembered one by one.
    forgotten: Option<String>,
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
            let forgotten = self.forgotten.as_deref().map(order);
            return Ok(match forgotten {
                Some(last) if order(&entry.name) <= last => Todo::Nothing,
                _ => Todo::Anew { replaced: false },
            });
        };
        if entry.size == mark.size
            && entry.modified_ms == mark.modified_ms
            && (mark.torn_sent || mark.offset >= mark.size)
        {
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
        while self.marks.len() > REMEMBERED {
            let oldest = self.marks.keys().map(|name| order(name)).min();
            let Some((_, oldest)): Option<Order> = oldest else { break };
            self.marks.remove(&oldest);
            self.forgotten = self.forgotten.take().max_by_order(oldest);
        }
    }

    /// How much of a file counts as read, in bytes.
    pub fn read_of(&self, entry: &Entry) -> u64 {
        match self.marks.get(&entry.name) {
            Some(mark) if mark.torn_sent => mark.size.min(entry.size),
            Some(mark) => mark.offset.min(entry.size),
            None if self.forgotten.as_deref().map(order).is_some_and(|last| order(&entry.name) <= last) => {
                entry.size
            }
            None => 0,
        }
    }
}

trait MaxByOrder {
    fn max_by_order(self, other: String) -> Option<String>;
}

impl MaxByOrder for Option<String> {
    fn max_by_order(self, other: String) -> Option<String> {
        Some(match self {
            Some(name) if order(&name) >= order(&other) => name,
            _ => other,
        })
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

    #[test]
    fn only_so_many_files_are_remembered_and_older_ones_count_as_read() {
        let mut cursor = FileCursor::default();
        let named =
            |n: usize| Entry { name: format!("i-{n:04}.csv"), path: "x".into(), size: 5, modified_ms: 1 };
        for n in 0..100 {
            cursor.note_whole(&named(n), 1);
        }
        assert_eq!((cursor.marks.len(), cursor.forgotten.as_deref()), (REMEMBERED, Some("i-0035.csv")));
        assert_eq!(
            (cursor.read_of(&named(3)), cursor.read_of(&named(99)), cursor.read_of(&named(100))),
            (5, 5, 0)
        );
    }
}
