//! Whose the shard is, where shards move: kept with the state, so that a state that somebody else went on from is told.

use parking_lot::Mutex;

use super::{BatchEnd, META_KEYSPACE, Shard, View};
use crate::{Error, checkpoint::Owner};

const OWNER: &str = "owner";
const CLAIMING: &str = "claiming";

/// The shard's owner in this process.
pub(super) struct Custody {
    owner: Owner,
    /// Batches that were made after the state that was restored, and have to be made again first.
    tail: Mutex<Vec<BatchEnd>>,
}

/// What a state says of who wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The epoch in which it was written last; 0 where it never had an owner.
    pub epoch: u64,
    /// Under which this epoch was taken.
    pub claim: String,
    /// Under which another one was about to be taken: a process may have died in between.
    pub claiming: String,
}

impl Claims {
    /// Whether the epoch that was taken under `claim` was taken for this state.
    pub fn has(&self, claim: &str) -> bool {
        !claim.is_empty() && (self.claim == claim || self.claiming == claim)
    }
}

impl Shard {
    pub fn claims(&self) -> Result<Claims, Error> {
        let text = |name: &str| {
            let bytes = self.inner.store.get(META_KEYSPACE, name)?;
            Ok::<_, Error>(
                bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default(),
            )
        };
        let owner = text(OWNER)?;
        let (epoch, claim) = owner.split_once(' ').unwrap_or(("0", ""));
        let epoch = epoch.parse().map_err(|_| self.corrupt("owner", format!("'{owner}'")))?;
        Ok(Claims { epoch, claim: claim.to_owned(), claiming: text(CLAIMING)? })
    }

    /// Notes, durably, that an epoch is about to be taken under `claim`.
    pub fn note_claim(&self, claim: &str) -> Result<(), Error> {
        let mut batch = self.inner.store.batch();
        batch.put(META_KEYSPACE, CLAIMING.as_bytes(), claim.as_bytes());
        batch.commit()?;
        self.persist()
    }

    /// From here on each batch notes where it ended, and the lake is written by this owner only. `tail` has to be made
    /// again before anything else.
    pub fn take_custody(&self, owner: Owner, claim: &str, tail: Vec<BatchEnd>) -> Result<(), Error> {
        let mut batch = self.inner.store.batch();
        batch.put(META_KEYSPACE, OWNER.as_bytes(), format!("{} {claim}", owner.epoch()).into_bytes());
        batch.commit()?;
        self.persist()?;
        let custody = Custody { owner, tail: Mutex::new(tail) };
        self.inner.custody.set(custody).map_err(|_| Error::Written { shard: self.number() })
    }

    /// None where the shard does not move.
    pub fn owner(&self) -> Option<&Owner> {
        self.inner.custody.get().map(|custody| &custody.owner)
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
        owner.check().await?;
        let ends = view.ends(owner.tailed())?;
        if !ends.is_empty() {
            owner.append_tail(&ends).await?;
            self.trim_ends(owner.tailed())?;
        }
        Ok(())
    }
}
