//! From a copy of a state to a checkpoint: only files that are not in the store yet travel.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    Folder, Owner, Subject,
    manifest::{FORMAT, File, Manifest, Name, hash},
};
use crate::{Error, shard::View};

/// An owner that was revoked between its check and its last checkpoint must not count out the one that the next builds on.
const KEPT_MIN: usize = 2;

/// What one owner knows of its checkpoints.
#[derive(Debug, Default)]
pub struct Uploads {
    /// Of this epoch.
    number: u64,
    /// Files of the checkpoint before, by what is known of them without reading them. Tables never change.
    seen: HashMap<Seen, File>,
    /// By hash: stored already, and in the newest checkpoint.
    stored: HashMap<(String, u64), String>,
    /// Checkpoints that are kept.
    manifests: BTreeMap<Name, Manifest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    path: String,
    bytes: u64,
    modified: Option<SystemTime>,
}

/// How far a state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Of a shard; 0 of the normaliser.
    pub batch: u64,
    sequence: u64,
    next: Vec<(String, i32, i64)>,
}

impl Reached {
    pub fn of(view: &View) -> Result<Self, Error> {
        let next = view.positions()?.into_iter();
        let next = next.map(|(of, next)| (of.topic.to_string(), of.partition, next.get()));
        Ok(Self { batch: view.last_batch()?, sequence: view.last_sequence(), next: next.collect() })
    }

    /// Of the normaliser: where each raw partition is read on.
    pub fn raw(next: Vec<(String, i32, i64)>) -> Self {
        Self { batch: 0, sequence: 0, next }
    }
}

/// What a checkpoint cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uploaded {
    pub files: usize,
    pub bytes: u64,
    pub files_new: usize,
    pub bytes_new: u64,
}

impl Uploads {
    /// Uploads the copy of a state in `copy`, and keeps the last `kept` checkpoints. `layout` is what the state says of
    /// itself: only such a state is restored from it.
    pub async fn upload(
        &mut self,
        owner: &Owner,
        layout: &str,
        copy: &Path,
        at: Reached,
        kept: usize,
    ) -> Result<Uploaded, Error> {
        if self.manifests.is_empty() {
            self.begin(owner, layout).await?;
        }
        let (mut files, mut uploaded, mut seen) = (Vec::new(), Uploaded::default(), HashMap::new());
        for (path, found) in list(copy).map_err(reading(copy))? {
            let known = self.seen.get(&found).cloned();
            let file = match known {
                Some(file) => file,
                None => self.store(owner, &path, &found, &mut uploaded).await?,
            };
            uploaded.files += 1;
            uploaded.bytes += file.bytes;
            seen.insert(found, file.clone());
            files.push(file);
        }
        let manifest = Manifest {
            format: FORMAT,
            shard: match owner.subject() {
                Subject::Shard(number) => Some(number),
                Subject::Normaliser => None,
            },
            layout: layout.to_owned(),
            batch: at.batch,
            sequence: at.sequence,
            next: at.next,
            made_at: chrono::Utc::now().to_rfc3339(),
            program: env!("CARGO_PKG_VERSION").into(),
            files,
        };
        owner.check().await?;
        // Also where it fails: an object store may have taken it although its answer was lost.
        self.number += 1;
        let name = Name { epoch: owner.epoch(), number: self.number };
        if !owner.folder.create(&name.to_string(), manifest.to_bytes()).await? {
            return Err(owner.folder.damaged(&name.to_string(), "it was there already"));
        }
        self.seen = seen;
        self.stored = stored(&manifest);
        self.manifests.insert(name, manifest);
        self.prune(owner, kept.max(KEPT_MIN)).await?;
        Ok(uploaded)
    }

    /// What the owners before have left that counts.
    async fn begin(&mut self, owner: &Owner, layout: &str) -> Result<(), Error> {
        let Some(base) = owner.base() else { return Ok(()) };
        // One that cannot be read is not restored from either, so nothing of it is kept.
        if let Ok(manifest) = owner.folder.manifest(base, layout).await {
            self.stored = stored(&manifest);
            self.manifests.insert(base, manifest);
        }
        Ok(())
    }

    async fn store(
        &mut self,
        owner: &Owner,
        path: &Path,
        found: &Seen,
        uploaded: &mut Uploaded,
    ) -> Result<File, Error> {
        let from = path.to_path_buf();
        // A table is at most some tens of megabytes, a journal too.
        let bytes = tokio::task::spawn_blocking(move || fs::read(from))
            .await
            .map_err(|error| Error::Task(error.to_string()))?
            .map_err(reading(path))?;
        let (xxh3, length) = (hash(&bytes), bytes.len() as u64);
        let key = (xxh3.clone(), length);
        let object = match self.stored.get(&key) {
            Some(object) => object.clone(),
            None => {
                let object = format!("files/{:010}/{xxh3}", owner.epoch());
                owner.folder.put(&object, bytes).await?;
                uploaded.files_new += 1;
                uploaded.bytes_new += length;
                self.stored.insert(key, object.clone());
                object
            }
        };
        Ok(File { path: found.path.clone(), object, bytes: length, xxh3 })
    }

    /// Deletes all checkpoints but the last ones, and what no kept one needs. An owner that was revoked meanwhile takes
    /// nothing away from the next one: that one builds on the newest checkpoint that it found, which is kept here.
    async fn prune(&mut self, owner: &Owner, kept: usize) -> Result<(), Error> {
        if self.manifests.len() < kept {
            // The owners before have left others, which stay until there are enough again.
            return Ok(());
        }
        while self.manifests.len() > kept {
            self.manifests.pop_first();
        }
        let Some((oldest, manifest)) = self.manifests.first_key_value() else { return Ok(()) };
        let contents = owner.folder.contents().await?;
        for name in contents.checkpoints.iter().filter(|name| **name < *oldest) {
            owner.folder.delete(&name.to_string()).await?;
        }
        owner.prune_tail(manifest.batch).await?;
        let needed: BTreeSet<&str> = self
            .manifests
            .values()
            .flat_map(|manifest| manifest.files.iter().map(|file| &*file.object))
            .collect();
        for name in owner.folder.names(Some("files")).await? {
            // Files of a later epoch are somebody else's.
            if !needed.contains(&*name) && epoch_of(&name).is_some_and(|epoch| epoch <= owner.epoch()) {
                owner.folder.delete(&name).await?;
            }
        }
        Ok(())
    }
}

fn epoch_of(file: &str) -> Option<u64> {
    file.strip_prefix("files/")?.split_once('/')?.0.parse().ok()
}

fn stored(manifest: &Manifest) -> HashMap<(String, u64), String> {
    manifest.files.iter().map(|file| ((file.xxh3.clone(), file.bytes), file.object.clone())).collect()
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Read { path, source }
}

/// All files below a folder.
fn list(root: &Path) -> io::Result<Vec<(PathBuf, Seen)>> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let modified = metadata.modified().ok();
            let name = path.to_string_lossy().into_owned();
            files.push((root.join(&path), Seen { path: name, bytes: metadata.len(), modified }));
        }
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

impl Folder {
    pub(super) async fn manifest(&self, name: Name, layout: &str) -> Result<Manifest, Error> {
        let name = name.to_string();
        let bytes = self.get(&name).await?.ok_or_else(|| self.damaged(&name, "it is gone"))?;
        Manifest::from_bytes(&bytes, self.subject, layout).map_err(|what| self.damaged(&name, what))
    }
}
