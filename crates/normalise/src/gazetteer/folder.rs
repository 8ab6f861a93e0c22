//! Gazetteers on disk: `gazetteer-<version>.ybg`, beside each `gazetteer-<version>.ended` (see [`super::Ended`]), and
//! `CURRENT` with the version in force. A version `<base>+<overlay>` is an overlay, which is read with its base.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use yibiao_address::{Gazetteer, Resolver};
use yibiao_records::CrashPoint;

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

    /// The version of the base, where `version` is an overlay's.
    pub fn base_of(version: &str) -> Option<&str> {
        version.split_once('+').map(|(base, _)| base)
    }

    /// What resolves by a version: a whole gazetteer, or an overlay with its base.
    pub fn open(&self, version: &str) -> Result<Resolver, Error> {
        let open = |version: &str| Ok::<_, Error>(Arc::new(Gazetteer::open(&self.path_of(version))?));
        match Self::base_of(version) {
            None => Ok(Resolver::new(open(version)?)),
            Some(base) => Ok(Resolver::new(open(base)?).with_overlay(open(version)?)),
        }
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
        CrashPoint::GazetteerWritten.pass();
        fs::write(&beside, ended)
            .and_then(|()| fs::File::open(&beside)?.sync_all())
            .map_err(failed("writing", &beside))?;
        fs::File::open(unfinished)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(unfinished, &path))
            .map_err(failed("naming the gazetteer", &path))?;
        CrashPoint::GazetteerNamed.pass();
        let before = self.current()?.filter(|_| kept > 0);
        self.put_in_force(version)?;
        CrashPoint::GazetteerInForce.pass();
        self.prune(version, before.as_deref(), kept)
    }

    fn put_in_force(&self, version: &str) -> Result<(), Error> {
        let (current, next) = (self.0.join(CURRENT), self.0.join("CURRENT.next"));
        fs::write(&next, version)
            .and_then(|()| fs::File::open(&next)?.sync_all())
            .and_then(|()| fs::rename(&next, &current))
            .map_err(failed("replacing", &current))
    }

    /// Puts one of these gazetteers in force in another folder too, where it stays when it is removed here.
    pub fn lend(&self, version: &str, to: &Folder) -> Result<(), Error> {
        for version in [Self::base_of(version), Some(version)].into_iter().flatten() {
            share(&self.path_of(version), &to.path_of(version))?;
            // Where no withdrawal is known there may be no such file.
            if self.ended_of(version).exists() {
                share(&self.ended_of(version), &to.ended_of(version))?;
            }
        }
        to.put_in_force(version)
    }

    /// Makes the folder `to` with all that is here and never changes, and with what is in force. A build that is under way is not in it.
    pub fn copy(&self, to: &Path) -> Result<(), Error> {
        let copy = Folder::new(to)?;
        // First, and it stays when a later one is put in force meanwhile.
        let current = self.current()?;
        let listing = failed("listing the gazetteer folder", &self.0);
        for entry in fs::read_dir(&self.0).map_err(&listing)? {
            let name = entry.map_err(&listing)?.file_name();
            let is_whole = |name: &str| name.starts_with("gazetteer-") && !name.ends_with(".unfinished");
            if !name.to_str().is_some_and(is_whole) {
                continue;
            }
            let from = self.0.join(&name);
            match share(&from, &copy.0.join(&name)) {
                // An old one that was just removed.
                Err(Error::File { .. }) if !from.exists() => {}
                shared => shared?,
            }
        }
        current.map_or(Ok(()), |version| copy.put_in_force(&version))
    }

    fn prune(&self, current: &str, before: Option<&str>, kept: usize) -> Result<(), Error> {
        let listing = failed("listing the gazetteer folder", &self.0);
        let mut old: Vec<(SystemTime, String)> = fs::read_dir(&self.0)
            .map_err(listing)?
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let name = path.file_name()?.to_str()?;
                let version = name.strip_prefix("gazetteer-")?.strip_suffix(".ybg")?;
                let changed = fs::metadata(&path).and_then(|about| about.modified()).ok()?;
                (version != current).then(|| (changed, version.to_owned()))
            })
            .collect();
        // The one before is the newest, whatever the files' times say: those that came back from a copy are of one age.
        old.sort_by_key(|(changed, version)| (before == Some(version), *changed));
        let surplus = old.len().saturating_sub(kept);
        let stay: Vec<String> = old.split_off(surplus).into_iter().map(|(_, version)| version).collect();
        let in_use = |version: &str| {
            let all = stay.iter().map(String::as_str).chain([current]);
            all.filter_map(Self::base_of).any(|base| base == version)
        };
        for (_, version) in old.into_iter().filter(|(_, version)| !in_use(version)) {
            let path = self.path_of(&version);
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

/// Another name for the same file, or a copy where the file system has no such thing. Files of gazetteers never change.
fn share(from: &Path, to: &Path) -> Result<(), Error> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed("reading", from)(error)),
        Err(_) => {
            let unfinished = to.with_extension("unfinished");
            fs::copy(from, &unfinished)
                .and_then(|_| fs::File::open(&unfinished)?.sync_all())
                .and_then(|()| fs::rename(&unfinished, to))
                .map_err(failed("copying", from))
        }
        Ok(()) => Ok(()),
    }
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { doing, path: path.clone(), source }
}
