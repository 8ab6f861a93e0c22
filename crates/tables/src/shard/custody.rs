//! Whose the shard is, where shards move: kept with the state, so that a state that somebody else went on from is told.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{BatchEnd, META_KEYSPACE, Shard, View, codec};
use crate::{
    Error,
    checkpoint::{Claims, Owner},
};

const OWNER: &str = "owner";
const CLAIMING: &str = "claiming";
/// The epoch in which the state was loaded at once.
const LOADED: &str = "loaded";

/// The shard's owner in this process.
pub(super) struct Custody {
    owner: Arc<Owner>,
    /// Under which the epoch was taken.
    claim: String,
    /// What the state has could be had again: from a checkpoint that counts, or from the tail.
    is_founded: bool,
    /// Batches that were made after the state that was restored, and have to be made again first.
    tail: Mutex<Vec<BatchEnd>>,
}

impl Shard {
    pub fn claims(&self) -> Result<Claims, Error> {
        let text = |name: &str| {
            let bytes = self.inner.store.get(META_KEYSPACE, name)?;
            Ok::<_, Error>(
                bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default(),
            )
        };
        Claims::parse(&text(OWNER)?, &text(CLAIMING)?).map_err(|e| self.corrupt("owner", e))
    }

    /// Notes, durably, whose it is by `claims`, and that an epoch is about to be taken under `claim`.
    pub fn note_claim(&self, claims: &Claims, claim: &str) -> Result<(), Error> {
        let mut batch = self.inner.store.batch();
        if let Some(owner) = claims.owner() {
            batch.put(META_KEYSPACE, OWNER.as_bytes(), owner.into_bytes());
        }
        batch.put(META_KEYSPACE, CLAIMING.as_bytes(), claim.as_bytes());
        batch.commit()?;
        self.persist()
    }

    /// From here on each batch notes where it ended, and the lake is written by this owner only. `tail` has to be made
    /// again before anything else.
    pub fn take_custody(&self, owner: Owner, claim: &str, tail: Vec<BatchEnd>) -> Result<(), Error> {
        self.take_over(Arc::new(owner), claim, tail)
    }

    fn take_over(&self, owner: Arc<Owner>, claim: &str, tail: Vec<BatchEnd>) -> Result<(), Error> {
        self.note_owner(&owner, claim)?;
        let (is_founded, claim) = (self.is_founded_on(owner.base_epoch())?, claim.to_owned());
        let custody = Custody { owner, claim, is_founded, tail: Mutex::new(tail) };
        self.inner.custody.set(custody).map_err(|_| Error::Written { shard: self.number() })
    }

    /// With the newest checkpoint that counts, if there is one, of this epoch.
    fn is_founded_on(&self, base: Option<u64>) -> Result<bool, Error> {
        if let Some(bytes) = self.inner.store.get(META_KEYSPACE, LOADED)? {
            let loaded = codec::be_u64(&bytes).map_err(|e| self.corrupt("loaded", e))?;
            // In an epoch a shard is loaded before its first checkpoint is made.
            return Ok(base.is_some_and(|base| base >= loaded));
        }
        // One that had no owner until now, and is not empty, has batches that no tail tells of.
        let view = self.view();
        let is_empty = view.last_sequence() == 0 && view.positions()?.is_empty();
        Ok(is_empty || base.is_some() || view.last_batch()? > 0)
    }

    /// So that the state is known again as the one that this owner wrote.
    fn note_owner(&self, owner: &Owner, claim: &str) -> Result<(), Error> {
        let mut batch = self.inner.store.batch();
        batch.put(META_KEYSPACE, OWNER.as_bytes(), Claims::owned(owner.epoch(), claim).into_bytes());
        batch.commit()?;
        self.persist()
    }

    /// Whose the shard is, for a state that is made in the place of this one. None where the shard does not move.
    pub fn deed(&self) -> Option<Deed> {
        let custody = self.inner.custody.get()?;
        Some(Deed { owner: custody.owner.clone(), claim: custody.claim.clone() })
    }

    /// Whether what the state has could be had again where the folder is lost: else nothing of it may go to the lake. It could
    /// not where the shard was loaded at once, as no batch tells of that, until there is a checkpoint that
    /// counts ([`found`](crate::checkpoint::found)). True where the shard does not move.
    pub fn is_founded(&self) -> bool {
        self.inner.custody.get().is_none_or(|custody| custody.is_founded)
    }

    /// Whether batches are still to be made again.
    pub fn has_tail(&self) -> bool {
        self.inner.custody.get().is_some_and(|custody| !custody.tail.lock().is_empty())
    }

    /// None where the shard does not move.
    pub fn owner(&self) -> Option<&Owner> {
        self.inner.custody.get().map(|custody| &*custody.owner)
    }

    /// What is to be made again before anything else; given once.
    pub fn take_tail(&self) -> Vec<BatchEnd> {
        let tail = self.inner.custody.get().map(|custody| std::mem::take(&mut *custody.tail.lock()));
        tail.unwrap_or_default()
    }

    /// Before changes that `view` shows go to the lake: nobody else has taken the shard, and the checkpoints' store knows
    /// the ends of their batches.
    pub(crate) async fn announce(&self, view: &View) -> Result<(), Error> {
        let Some(owner) = self.owner() else { return Ok(()) };
        if !self.is_founded() {
            return Err(Error::Tail {
                of: self.number().into(),
                what: "nobody else could make the state again: it is in no checkpoint that counts".into(),
            });
        }
        owner.check().await?;
        let ends = view.ends(owner.tailed())?;
        if !ends.is_empty() {
            owner.append_tail(&ends).await?;
            self.trim_ends(owner.tailed())?;
        }
        Ok(())
    }
}

/// The right to write a shard, on its way from one state to the one that is put in its place.
#[derive(Clone)]
pub struct Deed {
    owner: Arc<Owner>,
    claim: String,
}

impl Deed {
    /// What was loaded is this owner's. Before it is put in its place: a death right after it must not leave a state that is nobody's.
    pub fn note_loaded(&self, made: &Shard) -> Result<(), Error> {
        let mut batch = made.inner.store.batch();
        batch.put(META_KEYSPACE, LOADED.as_bytes(), self.owner.epoch().to_be_bytes().to_vec());
        batch.commit()?;
        made.note_owner(&self.owner, &self.claim)
    }

    /// Once it is there.
    pub fn hand_to(self, made: &Shard) -> Result<(), Error> {
        made.take_over(self.owner, &self.claim, Vec::new())
    }
}
