//! Taking shards, step by step; see the module above for the order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use yibiao_state::Options;

use super::{
    Checkpoints, Owner,
    owner::{Before, new_claim},
};
use crate::{Error, Lake, Shard, Tables, shard::Claims};

/// One shard on its way.
struct Taken {
    owner: Owner,
    claim: String,
    dir: PathBuf,
    /// The state here is the one that the owner before wrote.
    is_newest: bool,
}

/// Takes these shards, whose states are to lie in the given folders. An earlier owner that still runs can write no more to
/// the lake when it returns. Each shard's tail ([`Shard::take_tail`]) is still to be made again.
pub async fn acquire(
    checkpoints: &Checkpoints,
    lake: &Lake,
    shards: &[(u32, PathBuf)],
    tables: &Tables,
    options: &Options,
) -> Result<Vec<Shard>, Error> {
    checkpoints.prove().await?;
    lake.prove().await?;
    let mut taken = Vec::new();
    for (number, dir) in shards {
        taken.push(take(checkpoints, *number, dir, tables, options).await?);
    }
    let owners: Vec<_> = taken.iter().map(|taken| (taken.owner.shard(), taken.owner.epoch())).collect();
    lake.fence(&owners).await?;
    let mut shards = Vec::new();
    for taken in taken {
        shards.push(taken.open(tables, options).await?);
    }
    Ok(shards)
}

async fn take(
    checkpoints: &Checkpoints,
    number: u32,
    dir: &Path,
    tables: &Tables,
    options: &Options,
) -> Result<Taken, Error> {
    let claim = new_claim();
    let mut claims = None;
    if dir.exists() {
        let shard = Shard::open(dir, number, tables, options)?;
        claims = Some(shard.claims()?);
        shard.note_claim(&claim)?;
    }
    let (owner, before) = checkpoints.take(number, &claim).await?;
    let is_newest = match &claims {
        Some(claims) => is_newest(number, claims, &before)?,
        None => false,
    };
    Ok(Taken { owner, claim, dir: dir.to_path_buf(), is_newest })
}

/// Whether nobody else has gone on from this state.
fn is_newest(shard: u32, claims: &Claims, before: &Before) -> Result<bool, Error> {
    if claims.epoch > before.epoch {
        return Err(Error::OtherCheckpoints { shard, state: claims.epoch, store: before.epoch });
    }
    Ok(before.epoch == 0 || claims.has(&before.claim))
}

impl Taken {
    async fn open(self, tables: &Tables, options: &Options) -> Result<Shard, Error> {
        let number = self.owner.shard();
        if !self.is_newest {
            set_aside(number, &self.dir)?;
            self.owner.restore(&self.dir, tables).await?;
        }
        let shard = Shard::open(&self.dir, number, tables, options)?;
        let tail = self.owner.take_over_tail(shard.view().last_batch()?).await?;
        tracing::info!(shard = number, epoch = self.owner.epoch(), tail = tail.len(), "shard opened");
        shard.take_custody(self.owner, &self.claim, tail)?;
        Ok(shard)
    }
}

/// Others have gone on from an earlier state than the one here: it is kept beside, and only the last such.
fn set_aside(shard: u32, dir: &Path) -> Result<(), Error> {
    if !dir.exists() {
        return Ok(());
    }
    let to = dir.with_extension("superseded");
    tracing::warn!(shard, to = %to.display(), "somebody else had the shard since: the state here is set aside");
    let moved = match fs::remove_dir_all(&to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::rename(dir, &to),
    };
    moved.map_err(|source| Error::Write { path: to, source })
}
