//! Gazetteers on disk: `gazetteer-<version>.ybg`, beside each `gazetteer-<version>.ended` (see [`super::Ended`]), and
//! `CURRENT` with the version in force.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::Error;

const CURRENT: &str = "CURRENT";

/// A folder of gazetteers.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder where it is missing.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(failed("making the gazetteer folder", &path))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn path_of(&self, version: &str) -> PathBuf {
        self.0.join(format!("gazetteer-{version}.ybg"))
    }

    pub(super) fn ended_of(&self, version: &str) -> PathBuf {
        self.0.join(format!("gazetteer-{version}.ended"))
    }

    /// Where a builder writes before it knows the version.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.0.join("gazetteer.unfinished")
    }

    /// The version in force; None before the first.
    pub fn current(&self) -> Result<Option<String>, Error> {
        let path = self.0.join(CURRENT);
        match fs::read_to_string(&path) {
            Ok(version) => Ok(Some(version.trim().to_owned()).filter(|version| !version.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("reading", &path)(error)),
        }
    }

    /// Gives `unfinished` its name and puts it in force, then removes all but the `kept` newest others.
    pub(super) fn publish(
        &self,
        unfinished: &Path,
        ended: &[u8],
        version: &str,
        kept: usize,
    ) -> Result<(), Error> {
        let (path, beside) = (self.path_of(version), self.ended_of(version));
        fs::write(&beside, ended)
            .and_then(|()| fs::File::open(&beside)?.sync_all())
            .map_err(failed("writing", &beside))?;
        fs::File::open(unfinished)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(unfinished, &path))
            .map_err(failed("naming the gazetteer", &path))?;
        let (current, next) = (self.0.join(CURRENT), self.0.join("CURRENT.next"));
        fs::write(&next, version)
            .and_then(|()| fs::File::open(&next)?.sync_all())
            .and_then(|()| fs::rename(&next, &current))
            .map_err(failed("replacing", &current))?;
        self.prune(version, kept)
    }

    fn prune(&self, current: &str, kept: usize) -> Result<(), Error> {
        let listing = failed("listing the gazetteer folder", &self.0);
        let mut old: Vec<(SystemTime, PathBuf)> = fs::read_dir(&self.0)
            .map_err(listing)?
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let name = path.file_name()?.to_str()?;
                let version = name.strip_prefix("gazetteer-")?.strip_suffix(".ybg")?;
                let changed = fs::metadata(&path).and_then(|about| about.modified()).ok()?;
                (version != current).then_some((changed, path))
            })
            .collect();
        old.sort();
        let surplus = old.len().saturating_sub(kept);
        for (_, path) in old.drain(..surplus) {
            // Whoever still has it open keeps its pages.
            fs::remove_file(&path).map_err(failed("removing the old gazetteer", &path))?;
            let ended = path.with_extension("ended");
            match fs::remove_file(&ended) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("removing", &ended)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { doing, path: path.clone(), source }
}
