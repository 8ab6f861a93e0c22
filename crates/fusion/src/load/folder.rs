//! Where a shard is loaded: beside it, on the same disk, so that one rename puts it in place.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use yibiao_tables::Shard;

use crate::Error;

pub(super) struct Folder {
    shard: PathBuf,
    loading: PathBuf,
}

impl Folder {
    pub fn of(shard: &Shard) -> Self {
        let shard = shard.path().to_path_buf();
        let mut loading = shard.clone().into_os_string();
        loading.push(".loading");
        Self { shard, loading: loading.into() }
    }

    pub fn shard(&self) -> &Path {
        &self.shard
    }

    /// The store that is loaded.
    pub fn store(&self) -> PathBuf {
        self.loading.join("store")
    }

    /// What is sorted.
    pub fn sorting(&self) -> PathBuf {
        self.loading.join("sorting")
    }

    /// Takes away what an earlier load left.
    pub fn clear(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.loading) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// Puts the loaded store in the place of the shard's, which is empty. A death in between leaves no shard, which is made anew
    /// and is empty again.
    pub fn replace(&self) -> Result<(), Error> {
        let replace = || {
            synchronise_all(&self.store())?;
            synchronise(&self.loading)?;
            // Not deleted before the other one is there: a death in the midst of that would leave a store that nobody can open.
            fs::rename(&self.shard, self.loading.join("replaced"))?;
            fs::rename(self.store(), &self.shard)?;
            self.shard.parent().map_or(Ok(()), synchronise)
        };
        replace().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Load { path: self.loading.clone(), source }
    }
}

/// A file, or the names in a folder.
fn synchronise(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Whatever the store has synchronised itself: after the rename nobody could tell that a file of it is not whole.
fn synchronise_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => synchronise_all(&entry.path())?,
            false => synchronise(&entry.path())?,
        }
    }
    synchronise(folder)
}
