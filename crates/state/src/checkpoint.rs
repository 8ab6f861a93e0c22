//! A copy of a store that is open, which [`Store::open`] opens as it opens what a death left.
//!
//! ```text
//!  commits wait ─► current ─► link tables, copy the rest ─► current: the same? ─► commits go on
//!                     ▲                                        │ no
//!                     └────────────────────────────────────────┘
//! ```
//!
//! fjall has no checkpoint. But a table is never changed once it is written, a keyspace's file `current` names the version
//! that names its tables, and versions only count up. So where all files `current` are the same before and after, every
//! table of those versions was there all the time, and is in the copy. The journals hold all that is in no table yet, and
//! nothing is added to them while commits wait. Tables that a compaction was about to write are in the copy too; whoever
//! opens it deletes them, as after a death.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{Error, Snapshot, Store};

/// Without commits there is soon nothing left to flush, and each compaction makes the next one smaller.
const ATTEMPTS_MAX: usize = 100;

const KEYSPACES: &str = "keyspaces";
const CURRENT: &str = "current";
const TABLES: [&str; 2] = ["tables", "blobs"];
const JOURNAL: &str = "jnl";

impl Store {
    /// Makes the folder `to`, on the same file system, which must not be there. Commits wait meanwhile: for the links and
    /// for a copy of the journals. Gives the store as it is in the copy.
    pub fn checkpoint(&self, to: &Path) -> Result<Snapshot, Error> {
        let failed = |source| Error::Checkpoint { path: self.path.clone(), to: to.to_path_buf(), source };
        let _no_commits = self.commits.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        for _ in 0..ATTEMPTS_MAX {
            fs::create_dir(to).map_err(failed)?;
            let before = versions(&self.path).map_err(failed)?;
            let copied = copy(&self.path, to);
            match copied {
                Ok(()) if versions(&self.path).map_err(failed)? == before => return Ok(self.snapshot()),
                Ok(()) => {}
                // A table or journal that has just been replaced.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
            fs::remove_dir_all(to).map_err(failed)?;
        }
        Err(failed(io::Error::other("its tables were replaced again and again meanwhile")))
    }
}

/// What the file `current` of each keyspace says.
fn versions(store: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut versions = BTreeMap::new();
    for keyspace in fs::read_dir(store.join(KEYSPACES))? {
        let current = keyspace?.path().join(CURRENT);
        versions.insert(current.clone(), fs::read(current)?);
    }
    Ok(versions)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let holds_tables = from.file_name().is_some_and(|name| TABLES.iter().any(|tables| name == *tables));
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copy(&path, &to)?;
        } else if holds_tables {
            fs::hard_link(path, to)?;
        } else {
            fs::copy(&path, &to)?;
            if path.extension().is_some_and(|extension| extension == JOURNAL) {
                cut_zeros(&to)?;
            }
        }
    }
    Ok(())
}

/// A journal is 64 MiB of zeros at first, and no entry ends with a zero.
fn cut_zeros(journal: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(journal)?;
    let mut end = file.metadata()?.len();
    let mut block = [0; 64 << 10];
    while end > 0 {
        let from = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - from) as usize];
        file.read_exact_at(block, from)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            end = from + last as u64 + 1;
            break;
        }
        end = from;
    }
    file.set_len(end)
}
