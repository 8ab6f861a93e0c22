//! What a state says of who wrote it, so that one that somebody else went on from is told.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Subject, owner::Before};
use crate::Error;

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
    /// From what the state has of its owner ([`Claims::owned`]) and of a claim that was about to be made; both may be empty.
    /// Or what is wrong with it.
    pub fn parse(owner: &str, claiming: &str) -> Result<Self, String> {
        let (epoch, claim) = owner.split_once(' ').unwrap_or(("0", ""));
        let epoch = epoch.parse().map_err(|_| format!("'{owner}'"))?;
        Ok(Self { epoch, claim: claim.to_owned(), claiming: claiming.to_owned() })
    }

    /// What a state is to have of its owner.
    pub fn owned(epoch: u64, claim: &str) -> String {
        format!("{epoch} {claim}")
    }

    /// Whether the epoch that was taken under `claim` was taken for this state.
    pub fn has(&self, claim: &str) -> bool {
        !claim.is_empty() && (self.claim == claim || self.claiming == claim)
    }

    /// Whether nobody else has gone on from this state.
    ///
    /// # Errors
    /// The state has had a later epoch than there ever was.
    pub fn is_newest(&self, of: Subject, before: &Before) -> Result<bool, Error> {
        if self.epoch > before.epoch {
            return Err(Error::OtherCheckpoints { of, state: self.epoch, store: before.epoch });
        }
        Ok(before.epoch == 0 || self.has(&before.claim))
    }
}

/// Others have gone on from an earlier state than the one in this folder: it is kept beside, and only the last such.
pub fn set_aside(of: Subject, dir: &Path) -> Result<(), Error> {
    if !dir.exists() {
        return Ok(());
    }
    let to: PathBuf = dir.with_extension("superseded");
    tracing::warn!(%of, to = %to.display(), "somebody else had it since: the state here is set aside");
    let moved = match fs::remove_dir_all(&to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::rename(dir, &to),
    };
    moved.map_err(|source| Error::Write { path: to, source })
}
