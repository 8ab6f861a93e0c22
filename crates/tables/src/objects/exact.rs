//! Put-if-absent over a network, where answers are lost.
//!
//! | what put-if-absent says | what lies there | so |
//! |---|---|---|
//! | taken | | it was made |
//! | it is there already, or no answer | these bytes | it was made, by the attempt whose answer was lost |
//! | it is there already | other bytes | somebody else was faster |
//! | conflict, or no answer | nothing | it is tried again: it cannot be made twice |
//! | no answer | it cannot be read | nobody knows: an error, and the bytes are remembered |
//! | it is there already | bytes that are remembered | a put that was given up came late: an error, after which the caller looks again |
//!
//! That the same bytes are ours holds because no two writers make the same ones: an owner's record has a claim that was made up at
//! random, a manifest the epoch in its name, a Delta commit an epoch or files with random names.

use std::{collections::VecDeque, fmt, ops::Range, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use xxhash_rust::xxh3::Xxh3;

use super::proof;

/// So often a put without an answer that has left nothing is tried again; each has its own retries below.
const ATTEMPTS_MAX: usize = 3;
/// Puts that were given up and may still arrive.
const GIVEN_UP_MAX: usize = 256;

pub(super) struct Exact<S> {
    inner: S,
    proven: OnceCell<()>,
    given_up: Mutex<VecDeque<(Path, u128)>>,
}

impl<S: ObjectStore> Exact<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, proven: OnceCell::new(), given_up: Mutex::default() }
    }

    /// See [`proof`]. Once it holds, it is not asked again.
    pub async fn prove(&self, folder: &Path) -> Result<()> {
        self.proven.get_or_try_init(|| proof::prove(&self.inner, folder)).await.copied()
    }

    async fn create(&self, object: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        // Nobody can forget to ask.
        self.prove(&folder_of(object)).await?;
        let sent = hash(payload.iter().map(|bytes| &**bytes));
        let mut attempts = 0;
        loop {
            let error = match self.inner.put_opts(object, payload.clone(), options.clone()).await {
                Ok(made) => return Ok(made),
                Err(error) if is_certain(&error) => return Err(error),
                Err(error) => error,
            };
            match self.inner.get(object).await {
                Ok(found) => {
                    let (e_tag, version) = (found.meta.e_tag.clone(), found.meta.version.clone());
                    let found = match found.bytes().await {
                        Ok(found) => hash([&*found]),
                        Err(_) => return Err(self.give_up(object, sent, error)),
                    };
                    if found == sent {
                        tracing::info!(%object, "it was made by a put whose answer was lost");
                        return Ok(PutResult { e_tag, version });
                    }
                    return Err(self.made_by_another(object, found, error));
                }
                Err(Error::NotFound { .. }) if attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_millis(100 << attempts)).await;
                }
                Err(_) => return Err(self.give_up(object, sent, error)),
            }
        }
    }

    fn give_up(&self, object: &Path, sent: u128, error: Error) -> Error {
        let mut given_up = self.given_up.lock();
        given_up.push_back((object.clone(), sent));
        if given_up.len() > GIVEN_UP_MAX {
            given_up.pop_front();
        }
        match error {
            // It may be one's own.
            Error::AlreadyExists { source, .. } => Error::Generic { store: "S3", source },
            error => error,
        }
    }

    /// Whether an object that is there now was put by this process, which had given it up. Told once.
    pub fn came_late(&self, object: &Path, content: &[u8]) -> bool {
        self.is_given_up(object, hash([content]))
    }

    fn is_given_up(&self, object: &Path, found: u128) -> bool {
        let mut given_up = self.given_up.lock();
        let before = given_up.len();
        given_up.retain(|(path, sent)| !(path == object && *sent == found));
        given_up.len() < before
    }

    fn made_by_another(&self, object: &Path, found: u128, error: Error) -> Error {
        if self.is_given_up(object, found) {
            let what = format!(
                "{object} is there from a put of this process that was given up and came late: look again"
            );
            return Error::Generic { store: "S3", source: what.into() };
        }
        match error {
            Error::AlreadyExists { .. } => error,
            error => Error::AlreadyExists { path: object.to_string(), source: Box::new(error) },
        }
    }
}

/// The put has left nothing, and would leave nothing the next time.
fn is_certain(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. }
            | Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
    )
}

fn folder_of(object: &Path) -> Path {
    let mut parts: Vec<_> = object.parts().collect();
    parts.pop();
    Path::from_iter(parts)
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
    let mut hash = Xxh3::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hash.digest128()
}

impl<S: fmt::Display> fmt::Display for Exact<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<S: fmt::Debug> fmt::Debug for Exact<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exact").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Exact<S> {
    async fn put_opts(&self, object: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match options.mode {
            PutMode::Create => self.create(object, payload, options).await,
            _ => self.inner.put_opts(object, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        object: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(object, options).await
    }

    async fn get_opts(&self, object: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(object, options).await
    }

    async fn get_ranges(&self, object: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(object, ranges).await
    }

    fn delete_stream(&self, objects: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(objects)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
