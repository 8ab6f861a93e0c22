//! Whether a store honours put-if-absent. One that ignores the condition, or looks first and writes then, would give a shard
//! two owners and a Delta version two contents, and nobody would be told.

use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, Result,
    path::{Path, PathPart},
};

use crate::checkpoint::owner::new_claim;

/// Puts of one name at once.
const AT_ONCE: usize = 4;

/// Makes an object below `folder` several times at once and once more later: exactly one may be taken. Deletes it again.
pub(super) async fn prove(store: &impl ObjectStore, folder: &Path) -> Result<()> {
    let object = folder.clone().join(PathPart::from(format!("_proof-{}", new_claim())));
    let proven = is_made_once(store, &object).await;
    // Where this fails, a few bytes stay, which nobody looks at.
    if let Err(error) = store.delete(&object).await {
        tracing::debug!(%error, %object, "what was made to prove put-if-absent stays");
    }
    proven
}

async fn is_made_once(store: &impl ObjectStore, object: &Path) -> Result<()> {
    let puts = (0..AT_ONCE).map(|number| put(store, object, number));
    let mut taken = 0;
    for put in futures::future::join_all(puts).await {
        taken += usize::from(put?);
    }
    let first = store.get(object).await?.bytes().await?;
    // A lost answer may leave none; two are too many.
    let again = put(store, object, AT_ONCE).await?;
    let then = store.get(object).await?.bytes().await?;
    match taken <= 1 && !again && first == then {
        true => Ok(()),
        false => Err(refusal(
            "it took an object a second time, although it was to take it only if it was not there",
        )),
    }
}

async fn put(store: &impl ObjectStore, object: &Path, number: usize) -> Result<bool> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(object, PutPayload::from(number.to_string().into_bytes()), options).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. }) => Ok(false),
        Err(error @ (Error::NotImplemented { .. } | Error::NotSupported { .. })) => {
            Err(refusal(&error.to_string()))
        }
        Err(error) if error.to_string().contains("NotImplemented") => Err(refusal(&error.to_string())),
        Err(error) => Err(error),
    }
}

fn refusal(what: &str) -> Error {
    let text = format!(
        "this store has no put-if-absent (If-None-Match: *), by which a shard has one owner and a Delta version one content: {what}; \
         use a store, or a release of it, that has it"
    );
    Error::NotSupported { source: text.into() }
}
