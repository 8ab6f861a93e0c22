//! What a state says of who wrote it, so that one that somebody else went on from is told.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Checkpoints, Subject,
    owner::{Before, Owner},
};
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

    /// What a state is to have of its owner, if it ever had one.
    pub fn owner(&self) -> Option<String> {
        (self.epoch > 0).then(|| Self::owned(self.epoch, &self.claim))
    }

    /// The same, where `last` is the newest epoch: one that was taken for this state, right after its own, is its own, though a
    /// process died before it had noted that. An epoch that was taken for it when others had been there since is not.
    fn settled(self, last: &Before) -> Self {
        let is_next = last.epoch == self.epoch + 1 && !last.claim.is_empty() && last.claim == self.claiming;
        if is_next { Self { epoch: last.epoch, claim: last.claim.clone(), ..self } } else { self }
    }

    /// Whether nobody else has gone on from this state.
    fn is_newest(&self, of: Subject, before: &Before) -> Result<bool, Error> {
        if self.epoch > before.epoch {
            return Err(Error::OtherCheckpoints { of, state: self.epoch, store: before.epoch });
        }
        Ok(before.epoch == 0 || self.epoch == before.epoch && self.claim == before.claim)
    }
}

impl Checkpoints {
    /// Takes the next epoch under `claim`, for a state that says `claims` of its owner; None where there is no state. Gives whether
    /// that state is the newest. Before, `note` is to keep with the state, durably, what it says of its owner and `claim` as
    /// the one that is about to be made.
    ///
    /// # Errors
    /// The state has had a later epoch than there ever was.
    pub async fn take_for(
        &self,
        of: Subject,
        claims: Option<Claims>,
        claim: &str,
        note: impl FnOnce(&Claims, &str) -> Result<(), Error>,
    ) -> Result<(Owner, bool), Error> {
        let Some(claims) = claims else { return Ok((self.take(of, claim).await?.0, false)) };
        let claims = claims.settled(&self.last(of).await?);
        note(&claims, claim)?;
        let (owner, before) = self.take(of, claim).await?;
        Ok((owner, claims.is_newest(of, &before)?))
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
