//! The audit log: one JSON line for each delivery, each with the hash (SM3) of the one before.
//!
//! An entry is on disk before the data it speaks of is committed. After a crash between the two the same
//! delivery is tried again and entered again, with the same versions.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use sm3::{Digest, Sm3};

use crate::Error;

/// What left, to whom, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub at: String,
    pub centre: String,
    pub purposes: Vec<String>,
    pub area: String,
    /// The lake's table.
    pub table: String,
    /// Delivered versions of the source: after `from` (null at the first visit), through `to`.
    pub from: Option<u64>,
    pub to: u64,
    /// read = delivered + filtered + repeated
    pub read: u64,
    pub delivered: u64,
    pub filtered: u64,
    pub repeated: u64,
    /// delivered, or refused with the reason.
    pub outcome: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    entry: Entry,
    previous: String,
    hash: String,
}

/// The open log. One process may write it.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    last: String,
    entries: u64,
}

/// The hash before the first entry.
const FIRST: &str = "";

impl Audit {
    /// Opens the log or begins one, and checks the whole chain. A last line that a crash has torn is cut: what
    /// it spoke of was not delivered.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unwritable = |source| Error::AuditUnwritable { path: path.to_path_buf(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unwritable)?;
        }
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::AuditInUse { path: path.to_path_buf() }),
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let (last, entries, length) = check(path, &file)?;
        if file.metadata().map_err(unwritable)?.len() > length {
            tracing::warn!(path = %path.display(), "the audit log's last line was torn and is cut");
            file.set_len(length).map_err(unwritable)?;
        }
        show_unwritable(false);
        Ok(Self { path: path.to_path_buf(), file, last, entries })
    }

    /// Checks a log without opening it for writing, and gives the number of entries.
    pub fn verify(path: &Path) -> Result<u64, Error> {
        let file =
            File::open(path).map_err(|source| Error::AuditUnwritable { path: path.to_path_buf(), source })?;
        check(path, &file).map(|(_, entries, _)| entries)
    }

    /// Appends an entry, and returns when it is on disk.
    pub fn append(&mut self, entry: Entry) -> Result<(), Error> {
        let hash = hash(&self.last, &entry);
        let line = Line { entry, previous: self.last.clone(), hash: hash.clone() };
        let mut text = serde_json::to_string(&line).expect("an entry is JSON");
        text.push('\n');
        let unwritable = |source| Error::AuditUnwritable { path: self.path.clone(), source };
        let before = self.file.metadata().map_err(unwritable)?.len();
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        show_unwritable(written.is_err());
        if let Err(source) = written {
            // Half a line must not stand before the next one.
            let _ = self.file.set_len(before);
            return Err(unwritable(source));
        }
        self.last = hash;
        self.entries += 1;
        Ok(())
    }

    pub fn entries(&self) -> u64 {
        self.entries
    }
}

fn show_unwritable(is_unwritable: bool) {
    metrics::gauge!("yibiao_audit_unwritable", "stage" => "deliver").set(f64::from(is_unwritable));
}

/// As entries have it: `2026-01-31T08:00:00Z`.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn hash(previous: &str, entry: &Entry) -> String {
    let mut hasher = Sm3::new();
    hasher.update(previous.as_bytes());
    hasher.update(b"\n");
    hasher.update(serde_json::to_string(entry).expect("an entry is JSON").as_bytes());
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last hash, the number of entries, and the length in bytes of the whole lines.
fn check(path: &Path, file: &File) -> Result<(String, u64, u64), Error> {
    let unreadable = |source| Error::AuditUnwritable { path: path.to_path_buf(), source };
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let (mut last, mut entries, mut length) = (FIRST.to_owned(), 0, 0);
    let mut text = String::new();
    loop {
        text.clear();
        let read = reader.read_line(&mut text).map_err(unreadable)?;
        if read == 0 || !text.ends_with('\n') {
            return Ok((last, entries, length));
        }
        let broken = |detail: String| Error::AuditBroken {
            path: path.to_path_buf(),
            line: entries as usize + 1,
            detail,
        };
        let line: Line = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if line.previous != last {
            return Err(broken("it does not follow the line before".to_owned()));
        }
        if line.hash != hash(&last, &line.entry) {
            return Err(broken("its hash is not that of its content".to_owned()));
        }
        last = line.hash;
        entries += 1;
        length += read as u64;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(to: u64) -> Entry {
        Entry {
            at: "2026-01-31T08:00:00Z".into(),
            centre: "nanjing".into(),
            purposes: vec!["房屋安全".into()],
            area: "3201".into(),
            table: "places".into(),
            from: None,
            to,
            read: 3,
            delivered: 2,
            filtered: 1,
            repeated: 0,
            outcome: "delivered".into(),
        }
    }

    #[test]
    fn a_changed_or_missing_line_breaks_the_chain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        for to in 0..3 {
            audit.append(entry(to)).unwrap();
        }
        assert!(matches!(Audit::open(&path), Err(Error::AuditInUse { .. })));
        drop(audit);
        assert_eq!(Audit::verify(&path).unwrap(), 3);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"delivered\":2", "\"delivered\":1", 1)).unwrap();
        assert!(matches!(Audit::open(&path), Err(Error::AuditBroken { line: 1, .. })));
        let without: Vec<_> =
            text.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
        std::fs::write(&path, without.join("\n") + "\n").unwrap();
        assert!(matches!(Audit::verify(&path), Err(Error::AuditBroken { line: 2, .. })));
    }

    #[test]
    fn a_torn_last_line_is_cut_and_the_chain_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        Audit::open(&path).unwrap().append(entry(1)).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"entry\":{\"at\":");
        std::fs::write(&path, text).unwrap();
        let mut audit = Audit::open(&path).unwrap();
        audit.append(entry(2)).unwrap();
        drop(audit);
        assert_eq!(Audit::verify(&path).unwrap(), 2);
    }
}
