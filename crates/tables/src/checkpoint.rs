//! Shards that move: their checkpoints in an object store, and whose each shard is. The normaliser moves by the same means, but
//! for the tail: what it decides stands in the raw topics.
//!
//! ```text
//!  shard-<p>/owner-<epoch>.json                 who owns the shard; made once, the highest epoch counts
//!           /checkpoint-<epoch>-<number>.json   a manifest: which files are the state at one batch
//!           /files/<epoch>/<hash>               those files, each stored once
//!           /tail/<epoch>-<from>-<to>.json      where batches ended
//! ```
//!
//! To take a shard ([`acquire`](acquire::acquire)): make the next `owner`; fence the lake's tables, so that no commit of the
//! earlier owner lands any more; read the tail, and close it for the earlier owner; restore the newest checkpoint, unless
//! the state here is the one that the earlier owner wrote; make the batches of the tail again. Then the shard is where the
//! earlier owner had brought the lake, or beyond, and goes on freely.
//!
//! In reading order: [`owner`]; [`Claims`] what a state says of its owner; [`manifest`]; [`upload`]; [`restore`]; [`tail`]; [`acquire`]; [`keep`] checkpoints from time to
//! time.

pub mod acquire;
mod claims;
pub mod keep;
pub mod manifest;
pub mod owner;
pub mod restore;
pub mod tail;
pub mod upload;

use std::sync::Arc;

use deltalake::logstore::{StorageConfig, logstore_for};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use url::Url;

pub use acquire::{acquire, found};
pub use claims::{Claims, set_aside};
pub use keep::{Checkpointer, clear};
pub use manifest::Manifest;
pub use owner::{Owner, new_claim};
pub use upload::{Reached, Uploads};

use crate::{Error, objects};

/// Where all shards' checkpoints lie. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    url: Url,
    store: Arc<dyn ObjectStore>,
}

/// What has an owner and checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A fusion shard.
    Shard(u32),
    /// The one that judges raw records.
    Normaliser,
}

impl From<u32> for Subject {
    fn from(shard: u32) -> Self {
        Self::Shard(shard)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Shard(number) => write!(f, "shard {number}"),
            Subject::Normaliser => f.write_str("the normaliser"),
        }
    }
}

/// Where the checkpoints of one subject lie.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    store: Arc<dyn ObjectStore>,
    pub subject: Subject,
}

impl Checkpoints {
    /// At a folder (made if it is not there) or at `s3://bucket/prefix`: as the lake's.
    pub fn open(location: &str) -> Result<Self, Error> {
        let wrong = |detail: String| Error::Location { location: location.to_owned(), detail };
        let url = objects::locate(location)?;
        let log = logstore_for(&url, StorageConfig::default()).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { url, store: log.object_store(None) })
    }

    /// Whether the place can be used: what is wrong with an object store is told before a shard is taken.
    pub async fn prove(&self) -> Result<(), Error> {
        objects::prove(&self.url).await
    }

    pub(crate) fn folder(&self, subject: Subject) -> Folder {
        Folder { store: self.store.clone(), subject }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(object_store::Error) -> Error {
    let path = path.to_string();
    move |source| Error::Object { doing, path, source: Box::new(source) }
}

impl Folder {
    fn root(&self) -> Path {
        match self.subject {
            Subject::Shard(number) => Path::from(format!("shard-{number}")),
            Subject::Normaliser => Path::from("normaliser"),
        }
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.root()))
    }

    /// What is wrong with an object, as an error.
    fn damaged(&self, name: &str, what: impl Into<String>) -> Error {
        Error::Checkpoint { path: self.path(name).to_string(), what: what.into() }
    }

    /// Names directly in the folder, or in the folder `under` of it with all that lies below.
    async fn names(&self, under: Option<&str>) -> Result<Vec<String>, Error> {
        let root = self.root();
        let name = |path: &Path| path.as_ref().strip_prefix(&format!("{root}/")).map(str::to_owned);
        let Some(under) = under else {
            let listed =
                self.store.list_with_delimiter(Some(&root)).await.map_err(failed("listing", &root))?;
            return Ok(listed.objects.iter().filter_map(|object| name(&object.location)).collect());
        };
        let root = self.path(under);
        let objects: Vec<_> = futures::TryStreamExt::try_collect(self.store.list(Some(&root)))
            .await
            .map_err(failed("listing", &root))?;
        Ok(objects.iter().filter_map(|object: &object_store::ObjectMeta| name(&object.location)).collect())
    }

    async fn exists(&self, name: &str) -> Result<bool, Error> {
        let path = self.path(name);
        match self.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("looking for", &path)(error)),
        }
    }

    /// None where it is not there.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name);
        let got = match self.store.get(&path).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("reading", &path)(error)),
        }
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let path = self.path(name);
        self.store.put(&path, PutPayload::from(bytes)).await.map_err(failed("writing", &path))?;
        Ok(())
    }

    /// False where it is there already.
    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, Error> {
        let path = self.path(name);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path, PutPayload::from(bytes), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(failed("writing", &path)(error)),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("deleting", &path)(error)),
        }
    }
}
