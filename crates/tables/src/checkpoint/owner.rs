//! Whose a shard is: the highest epoch, taken by making an object that nobody has made yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use super::{Checkpoints, Folder, Subject, manifest::Name};
use crate::Error;

/// So often somebody else may be faster.
const ATTEMPTS_MAX: usize = 20;

/// The right to write one shard, or to keep the normaliser's state, until somebody takes the next epoch.
#[derive(Debug)]
pub struct Owner {
    pub(super) folder: Folder,
    epoch: u64,
    base: Option<Name>,
    /// The last batch whose end is in the tail.
    pub(super) tailed: AtomicU64,
}

/// Who had the shard before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    /// 0: nobody.
    pub epoch: u64,
    /// Under which it was taken.
    pub claim: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub epoch: u64,
    /// Made up by the process that took it, so that its own state knows it again.
    pub claim: String,
    /// The newest checkpoint of earlier epochs that counts: what an earlier owner adds later does not.
    pub base: Option<String>,
    pub taken_at: String,
}

impl Record {
    fn new(epoch: u64, claim: &str, base: Option<Name>) -> Self {
        let (claim, base) = (claim.to_owned(), base.map(|base| base.to_string()));
        Self { epoch, claim, base, taken_at: chrono::Utc::now().to_rfc3339() }
    }

    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an owner's record is JSON")
    }
}

/// A new claim: nobody else makes up the same one.
pub fn new_claim() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

pub(super) fn owner_name(epoch: u64) -> String {
    format!("owner-{epoch:010}.json")
}

/// The epochs and checkpoints that there are.
pub(super) struct Contents {
    pub epochs: BTreeSet<u64>,
    pub checkpoints: BTreeSet<Name>,
}

impl Folder {
    pub(super) async fn contents(&self) -> Result<Contents, Error> {
        let names = self.names(None).await?;
        let epoch = |name: &String| name.strip_prefix("owner-")?.strip_suffix(".json")?.parse().ok();
        Ok(Contents {
            epochs: names.iter().filter_map(epoch).collect(),
            checkpoints: names.iter().filter_map(|name| Name::parse(name)).collect(),
        })
    }

    async fn record(&self, epoch: u64) -> Result<Record, Error> {
        let name = owner_name(epoch);
        let bytes = self.get(&name).await?.ok_or_else(|| self.damaged(&name, "it is gone"))?;
        serde_json::from_slice(&bytes).map_err(|error| self.damaged(&name, error.to_string()))
    }

    async fn last(&self, contents: &Contents) -> Result<Before, Error> {
        Ok(match contents.epochs.last() {
            Some(epoch) => Before { epoch: *epoch, claim: self.record(*epoch).await?.claim },
            None => Before::default(),
        })
    }

    /// The newest checkpoint that was there when the epoch after its own was taken. A checkpoint that a revoked owner wrote
    /// afterwards is of a history that was not gone on with.
    pub(super) async fn newest(&self, contents: &Contents) -> Result<Option<Name>, Error> {
        let newest_epoch = contents.epochs.last().copied().unwrap_or_default();
        let mut records = BTreeMap::new();
        for name in contents.checkpoints.iter().rev() {
            if name.epoch == newest_epoch {
                return Ok(Some(*name));
            }
            let next = name.epoch + 1;
            if !contents.epochs.contains(&next) {
                continue;
            }
            if let std::collections::btree_map::Entry::Vacant(entry) = records.entry(next) {
                let base = self.record(next).await?.base;
                entry.insert(base.as_deref().and_then(Name::parse));
            }
            if records[&next].is_some_and(|base| *name <= base) {
                return Ok(Some(*name));
            }
        }
        Ok(None)
    }
}

impl Checkpoints {
    /// The newest epoch.
    pub(super) async fn last(&self, subject: Subject) -> Result<Before, Error> {
        let folder = self.folder(subject);
        folder.last(&folder.contents().await?).await
    }

    /// Takes the next epoch. From now on the owner before can neither put a checkpoint that counts nor, once
    /// the lake is fenced, write to it.
    pub async fn take(&self, subject: impl Into<Subject>, claim: &str) -> Result<(Owner, Before), Error> {
        let subject = subject.into();
        let folder = self.folder(subject);
        for _ in 0..ATTEMPTS_MAX {
            let contents = folder.contents().await?;
            let before = folder.last(&contents).await?;
            let base = folder.newest(&contents).await?;
            let epoch = before.epoch + 1;
            let record = Record::new(epoch, claim, base);
            if folder.create(&owner_name(epoch), record.to_bytes()).await? {
                tracing::info!(%subject, epoch, base = record.base, "taken");
                return Ok((Owner { folder, epoch, base, tailed: AtomicU64::new(0) }, before));
            }
        }
        Err(folder.damaged("owner", "others take it again and again"))
    }
}

impl Owner {
    pub fn subject(&self) -> Subject {
        self.folder.subject
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The newest checkpoint of the owners before.
    pub(super) fn base(&self) -> Option<Name> {
        self.base
    }

    /// In which epoch the newest checkpoint of the owners before was made.
    pub fn base_epoch(&self) -> Option<u64> {
        self.base.map(|base| base.epoch)
    }

    /// Takes the epoch after this one, so that the newest checkpoint of this one counts for whoever comes later. An error where
    /// somebody else has it.
    pub async fn renew(&self, claim: &str) -> Result<Owner, Error> {
        let (folder, epoch) = (self.folder.clone(), self.epoch + 1);
        let base = folder.newest(&folder.contents().await?).await?;
        match folder.create(&owner_name(epoch), Record::new(epoch, claim, base).to_bytes()).await? {
            true => Ok(Owner { folder, epoch, base, tailed: AtomicU64::new(0) }),
            false => Err(Error::Revoked { of: self.subject(), epoch: self.epoch }),
        }
    }

    /// The last batch whose end is in the tail.
    pub fn tailed(&self) -> u64 {
        self.tailed.load(Ordering::Acquire)
    }

    /// An error once somebody else has taken it.
    pub async fn check(&self) -> Result<(), Error> {
        // Epochs are taken one by one.
        match self.folder.exists(&owner_name(self.epoch + 1)).await? {
            true => Err(Error::Revoked { of: self.subject(), epoch: self.epoch }),
            false => Ok(()),
        }
    }
}
