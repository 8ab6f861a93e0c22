//! Where a shadow lies: `<data>/shadow/<name>`, with its plan, and below it what the real stages have in `<data>`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use yibiao_topics::{Client, View};

use super::{Name, Plan};
use crate::config::{Config, Layout};

const PLAN: &str = "shadow.json";
const LOCK: &str = "lock";

/// A shadow's folder, used by this process: alone, or together with others that only read.
pub struct Folder {
    name: Name,
    path: PathBuf,
    _lock: fs::File,
}

fn path(config: &Config, name: &Name) -> PathBuf {
    config.data.join("shadow").join(name.as_str())
}

impl Folder {
    /// Makes it where it is not there. Whoever writes has it alone.
    pub fn open(config: &Config, name: &Name) -> Result<Self> {
        let path = path(config, name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Self::lock(name, path, fs::File::try_lock)
    }

    /// For reading. Of a shadow that is not there an error.
    pub fn read(config: &Config, name: &Name) -> Result<(Self, Plan)> {
        let path = path(config, name);
        if !path.join(PLAN).exists() {
            bail!(
                "there is no shadow {name} in {}: make one with `yibiao shadow run {name}`",
                config.data.display()
            );
        }
        let folder = Self::lock(name, path, fs::File::try_lock_shared)?;
        let plan = folder.plan()?.context("the shadow was just dropped")?;
        Ok((folder, plan))
    }

    fn lock(
        name: &Name,
        path: PathBuf,
        take: impl Fn(&fs::File) -> Result<(), fs::TryLockError>,
    ) -> Result<Self> {
        let at = path.join(LOCK);
        let mut options = fs::OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(&at);
        let lock = lock.with_context(|| format!("opening {}", at.display()))?;
        match take(&lock) {
            Ok(()) => Ok(Self { name: name.clone(), path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => {
                bail!("the shadow {name} is in use by another process: wait until that has ended, or stop it")
            }
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", at.display()))
            }
        }
    }

    pub fn layout(&self) -> Layout {
        Layout::new(&self.path)
    }

    pub fn plan(&self) -> Result<Option<Plan>> {
        let at = self.path.join(PLAN);
        let bytes = match fs::read(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("reading {}", at.display()))?,
        };
        let plan = serde_json::from_slice(&bytes);
        plan.map(Some).with_context(|| {
            format!("{} was written by another version: `yibiao shadow drop {}`", at.display(), self.name)
        })
    }

    /// Nothing was begun in it.
    pub fn abandon(self) {
        // It stays where it cannot be removed, and the next run begins in it.
        let _ = fs::remove_file(self.path.join(LOCK)).and_then(|()| fs::remove_dir(&self.path));
        remove_if_empty(self.path.parent());
    }

    /// All of it or nothing, whatever dies.
    pub fn write(&self, plan: &Plan) -> Result<()> {
        let (at, next) = (self.path.join(PLAN), self.path.join("shadow.json.next"));
        let json = serde_json::to_vec_pretty(plan)?;
        fs::write(&next, json)
            .and_then(|()| fs::File::open(&next)?.sync_all())
            .and_then(|()| fs::rename(&next, &at))
            .with_context(|| format!("writing {}", at.display()))
    }
}

/// Names in the data folder, also of those whose beginning was cut short.
pub fn names(config: &Config) -> Result<Vec<Name>> {
    let folder = config.data.join("shadow");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("listing {}", folder.display()))?,
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut names: Vec<Name> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// The topics that the cluster has of this shadow, as its own client names them.
pub async fn topics(client: &Client, name: &Name) -> Result<Vec<String>> {
    let own = client.seeing(View::new(name.topics(), []))?;
    Ok(own.topics().await?.into_keys().collect())
}

/// Removes everything of a shadow: first what is on the cluster, then the folder, so that after a death in between it can be
/// dropped again. True where there was something.
pub async fn drop_all(config: &Config, client: &Client, name: &Name) -> Result<bool> {
    let path = path(config, name);
    // Out of the way at once: of half a folder a run would make a whole shadow again.
    let dropped = path.with_extension("dropped");
    let folder = path.exists().then(|| Folder::open(config, name)).transpose()?;
    let own = client.seeing(View::new(name.topics(), []))?;
    let topics: Vec<String> = own.topics().await?.into_keys().collect();
    own.delete(&topics).await.context("deleting the shadow's topics")?;
    let was_there = folder.is_some() || dropped.exists() || !topics.is_empty();
    remove(&dropped)?;
    if folder.is_some() {
        fs::rename(&path, &dropped).with_context(|| format!("moving {}", path.display()))?;
        remove(&dropped)?;
    }
    remove_if_empty(path.parent());
    Ok(was_there)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing {}", folder.display())),
    }
}

/// The folder of shadows, with the last of them.
fn remove_if_empty(folder: Option<&Path>) {
    if let Some(folder) = folder {
        // It is not empty where there are others.
        let _ = fs::remove_dir(folder);
    }
}
