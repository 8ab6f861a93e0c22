//! Object stores that are not folders: `s3://bucket/prefix`, for the checkpoints and for the lake.
//!
//! ```text
//!  Checkpoints, Lake ──► locate ──► Store, one a bucket: exact, proven ──► requests, counted ──► the store's HTTP
//! ```
//!
//! deltalake asks for stores by their scheme, in one place for the whole process: a bucket that is located here is known there.
//! What is made once (owners, manifests, Delta's commits) is made by put-if-absent (`If-None-Match: *`), and by nothing else.
//!
//! In reading order: [`settings`], which come from the environment; [`exact`], what becomes of a put whose answer is lost; [`proof`], that
//! a store honours put-if-absent; [`advice`], what to do about an error; [`requests`], which are counted.

mod advice;
mod exact;
mod proof;
mod requests;
mod settings;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use deltalake::{
    DeltaResult, DeltaTableError, ensure_table_uri,
    logstore::{
        LogStore, LogStoreFactory, ObjectStoreFactory, ObjectStoreRef, StorageConfig, default_logstore,
        logstore_factories, object_store_factories,
    },
};
use object_store::{ObjectStore, path::Path};
use parking_lot::Mutex;
use url::Url;

pub(crate) use advice::Advice;
use exact::Exact;
pub use requests::sent;
pub use settings::{Limits, Settings};

use crate::Error;

const SCHEME: &str = "s3";

type Store = Exact<object_store::aws::AmazonS3>;

/// By bucket: each has one client, with its connections.
static STORES: LazyLock<Mutex<HashMap<String, Arc<Store>>>> = LazyLock::new(|| {
    let scheme = Url::parse("s3://").expect("it is a URL");
    object_store_factories().insert(scheme.clone(), Arc::new(Buckets));
    logstore_factories().insert(scheme, Arc::new(Buckets));
    Mutex::default()
});

/// Whether a location is a URL, and not a folder of this machine.
pub fn is_remote(location: &str) -> bool {
    location.contains("://") && !location.starts_with("file://")
}

/// How a bucket is reached from now on, where it is not by the environment of the process.
pub fn register(bucket: &str, settings: &Settings) -> Result<(), Error> {
    let store = settings.open(bucket).map_err(|what| unusable(&format!("s3://{bucket}"), what))?;
    STORES.lock().insert(bucket.to_owned(), Arc::new(Exact::new(store)));
    Ok(())
}

/// The URL of a folder (made if it is not there), or of a prefix in an object store, which is known to deltalake from here on.
pub(crate) fn locate(location: &str) -> Result<Url, Error> {
    LazyLock::force(&STORES);
    let wrong = |detail: String| Error::Location { location: location.to_owned(), detail };
    let url = ensure_table_uri(location).map_err(|error| wrong(error.to_string()))?;
    if url.scheme() == SCHEME {
        let Some(bucket) = url.host_str().filter(|bucket| !bucket.is_empty()) else {
            return Err(wrong("it names no bucket; write s3://bucket/prefix".to_owned()));
        };
        store(bucket).map_err(|what| unusable(location, what))?;
    }
    Ok(url)
}

fn unusable(location: &str, what: String) -> Error {
    Error::Store { location: location.to_owned(), what }
}

fn store(bucket: &str) -> Result<Arc<Store>, String> {
    let mut stores = STORES.lock();
    if let Some(store) = stores.get(bucket) {
        return Ok(store.clone());
    }
    let store = Arc::new(Exact::new(Settings::from_environment().open(bucket)?));
    stores.insert(bucket.to_owned(), store.clone());
    Ok(store)
}

/// The store of a located URL and the path in it; None for a folder.
fn remote(url: &Url) -> Result<Option<(Arc<Store>, Path)>, Error> {
    let Some(bucket) = url.host_str().filter(|_| url.scheme() == SCHEME) else { return Ok(None) };
    let store = store(bucket).map_err(|what| unusable(url.as_str(), what))?;
    let path = Path::from_url_path(url.path()).map_err(|error| unusable(url.as_str(), error.to_string()))?;
    Ok(Some((store, path)))
}

/// Whether what is there can be read: the bucket is there and this process may look into it. Nothing is written.
pub(crate) async fn reach(url: &Url) -> Result<(), Error> {
    let Some((store, path)) = remote(url)? else { return Ok(()) };
    match store.list_with_delimiter(Some(&path)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(about(url, error)),
    }
}

/// That the store honours put-if-absent, by making an object twice. An object store that takes the second one would let two
/// processes own one shard. Once a process and bucket; folders need no proof.
pub(crate) async fn prove(url: &Url) -> Result<(), Error> {
    let Some((store, path)) = remote(url)? else { return Ok(()) };
    store.prove(&path).await.map_err(|error| about(url, error))
}

/// Whether an object below a located URL was put by this process, which had given it up. Told once; never of folders, which answer.
pub(crate) fn came_late(url: &Url, object: &Path, content: &[u8]) -> Result<bool, Error> {
    let Some((store, folder)) = remote(url)? else { return Ok(false) };
    Ok(store.came_late(&Path::from_iter(folder.parts().chain(object.parts())), content))
}

/// What somebody has to change, or may pass.
fn about(url: &Url, error: object_store::Error) -> Error {
    let location = url.to_string();
    match Advice::of(&error).is_needed() {
        true => Error::Store { location, what: format!("{error}{}", Advice::of(&error)) },
        false => Error::Object { doing: "reaching", path: location, source: Box::new(error) },
    }
}

/// Gives deltalake the stores from above.
#[derive(Debug)]
struct Buckets;

impl ObjectStoreFactory for Buckets {
    fn parse_url_opts(&self, url: &Url, _: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        match remote(url) {
            Ok(Some((store, path))) => Ok((store, path)),
            Ok(None) => Err(DeltaTableError::InvalidTableLocation(url.to_string())),
            Err(error) => Err(DeltaTableError::generic(error.to_string())),
        }
    }
}

/// deltalake's own log: each commit is one put-if-absent.
impl LogStoreFactory for Buckets {
    fn with_options(
        &self,
        prefixed: ObjectStoreRef,
        root: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed, root, location, options))
    }
}
