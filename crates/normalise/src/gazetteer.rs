//! Which gazetteer is in force.
//!
//! ```text
//!  std.place, std.place_name ──► build ──► <dir>/gazetteer-<version>.ybg, <dir>/CURRENT
//!                                              │
//!                   Editions (notices, opens) ─┴─► shards take it at a batch boundary
//! ```
//!
//! Few changes are built into an overlay over the last whole gazetteer, which takes no time; many, or changes of names,
//! into a new whole one.
//!
//! A gazetteer is immutable. `CURRENT` names the one in force and is replaced atomically, by this process or by
//! another one; older files stay for a while, because a restart ends what it began under the old one.

mod build;
mod ended;
mod folder;
mod held;
mod job;
mod standard;

pub use build::{Builder, Facts, Report};
pub use ended::Ended;
pub use folder::Folder;
pub use standard::Columns as StandardColumns;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;
use yibiao_address::{PlaceView, Resolver};

use crate::{Error, announce::Spread};

/// One open gazetteer and what resolves by it.
pub struct Edition {
    version: String,
    ended: Ended,
    resolver: Resolver,
    short: u32,
}

impl Edition {
    fn open(folder: &Folder, version: &str) -> Result<Self, Error> {
        let resolver = folder.open(version)?;
        let ended = Ended::read(&folder.ended_of(version))?;
        let short = (xxh3_64(version.as_bytes()) as u32).max(1);
        Ok(Self { version: version.to_owned(), ended, resolver, short })
    }

    /// Names the gazetteer's content and the moments of withdrawal.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// When places were withdrawn.
    pub fn ended(&self) -> &Ended {
        &self.ended
    }

    /// A short name of the version, never 0.
    pub fn short(&self) -> u32 {
        self.short
    }

    /// The standard or implied place with this id.
    pub fn place(&self, id: u64) -> Option<PlaceView<'_>> {
        self.resolver.place(id)
    }

    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }
}

impl std::fmt::Debug for Edition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edition").field("version", &self.version()).finish_non_exhaustive()
    }
}

/// The editions in a folder. Cheap to clone; all clones share what is open.
#[derive(Debug, Clone)]
pub struct Editions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: Folder,
    current: watch::Sender<Option<Arc<Edition>>>,
    /// What is open somewhere, by version.
    open: Mutex<BTreeMap<String, Weak<Edition>>>,
    /// What is in force and cannot be read, once that was told.
    unreadable: Mutex<Option<String>>,
    spread: Spread,
}

impl Editions {
    /// Opens what `CURRENT` names, if there is such a file yet.
    pub fn open(folder: Folder) -> Result<Self, Error> {
        let editions = Self(Arc::new(Shared {
            folder,
            current: watch::Sender::new(None),
            open: Mutex::default(),
            unreadable: Mutex::default(),
            spread: Spread::default(),
        }));
        editions.refresh()?;
        Ok(editions)
    }

    pub fn folder(&self) -> &Folder {
        &self.0.folder
    }

    /// How far the last announcement has come, where the normaliser moves.
    pub fn spread(&self) -> &Spread {
        &self.0.spread
    }

    /// Notices a new `CURRENT`, and tells those who subscribed. True where there was one.
    pub fn refresh(&self) -> Result<bool, Error> {
        let Some(version) = self.0.folder.current()? else { return Ok(false) };
        let in_force = |edition: &Option<Arc<Edition>>| {
            edition.as_ref().is_some_and(|edition| edition.version() == version)
        };
        if in_force(&self.0.current.borrow()) {
            return Ok(false);
        }
        let edition = match self.edition(&version) {
            // Of an older format, damaged or gone: a builder makes it anew from the facts, and until then there is none.
            Err(Error::Gazetteer(error)) if is_lost(&error) => {
                let mut told = self.0.unreadable.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if told.replace(version.clone()) != Some(version) {
                    tracing::warn!(%error, "the gazetteer in force cannot be read, feeds wait for the next build");
                }
                return Ok(false);
            }
            edition => edition?,
        };
        tracing::info!(version, "a gazetteer is in force");
        self.0.current.send_replace(Some(edition));
        Ok(true)
    }

    /// The edition in force, now and later.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Edition>>> {
        self.0.current.subscribe()
    }

    /// The edition of this version, which may be an older one.
    pub fn edition(&self, version: &str) -> Result<Arc<Edition>, Error> {
        let mut open = self.0.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(edition) = open.get(version).and_then(Weak::upgrade) {
            return Ok(edition);
        }
        let edition = Arc::new(Edition::open(&self.0.folder, version)?);
        open.retain(|_, edition| edition.strong_count() > 0);
        open.insert(version.to_owned(), Arc::downgrade(&edition));
        Ok(edition)
    }
}

/// Whether trying again cannot help, but a build can.
fn is_lost(error: &yibiao_address::Error) -> bool {
    match error {
        yibiao_address::Error::Damaged { .. } => true,
        yibiao_address::Error::Open { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gazetteer_that_cannot_be_read_is_none_until_the_next_build() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        std::fs::write(folder.path_of("old"), b"YIBIAOGZ of another format, or cut short").unwrap();
        std::fs::write(dir.path().join("CURRENT"), "old").unwrap();
        let editions = Editions::open(folder).unwrap();
        assert!(editions.subscribe().borrow().is_none());
        assert!(!editions.refresh().unwrap());
        std::fs::remove_file(editions.folder().path_of("old")).unwrap();
        let editions = Editions::open(Folder::new(dir.path()).unwrap()).unwrap();
        assert!(editions.subscribe().borrow().is_none());
    }
}
