//! Taking shards, step by step; see the module above for the order.

use std::path::{Path, PathBuf};

use yibiao_records::CrashPoint;
use yibiao_state::Options;

use super::{
    Checkpointer, Checkpoints, Owner,
    claims::{Claims, set_aside},
    owner::new_claim,
};
use crate::{Error, Lake, Shard, Tables};

/// One shard on its way.
struct Taken {
    number: u32,
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
    let owners: Vec<_> = taken.iter().map(|taken| (taken.number, taken.owner.epoch())).collect();
    lake.fence(&owners).await?;
    let mut shards = Vec::new();
    for taken in taken {
        shards.push(taken.open(tables, options).await?);
    }
    Ok(shards)
}

/// Gives the shard a checkpoint that counts, where its state could not be made again without one ([`Shard::is_founded`]); before
/// that nothing of it goes to the lake.
///
/// A checkpoint alone is not enough. Whoever takes the shard at this moment may have looked for one before it was there, and would
/// begin without, while this owner goes on with its own. So this owner takes the next epoch, whose record names the
/// checkpoint: either it is the first to do so, and all who come later build on that, or it has lost the shard.
pub async fn found(lake: &Lake, shard: Shard, tables: &Tables, options: &Options) -> Result<Shard, Error> {
    let (number, dir) = (shard.number(), shard.path().to_path_buf());
    let Some(owner) = shard.owner().filter(|_| !shard.is_founded()) else { return Ok(shard) };
    Checkpointer::new(vec![shard.clone()], std::time::Duration::ZERO, 0).all().await?;
    CrashPoint::LoadCheckpointed.pass();
    let claim = new_claim();
    shard.note_claim(&shard.claims()?, &claim)?;
    let owner = owner.renew(&claim).await?;
    CrashPoint::LoadFounded.pass();
    lake.fence(&[(number, owner.epoch())]).await?;
    drop(shard);
    Taken { number, owner, claim, dir, is_newest: true }.open(tables, options).await
}

async fn take(
    checkpoints: &Checkpoints,
    number: u32,
    dir: &Path,
    tables: &Tables,
    options: &Options,
) -> Result<Taken, Error> {
    let claim = new_claim();
    let shard = dir.exists().then(|| Shard::open(dir, number, tables, options)).transpose()?;
    let claims = shard.as_ref().map(Shard::claims).transpose()?;
    let note = |claims: &Claims, claim: &str| match &shard {
        Some(shard) => shard.note_claim(claims, claim),
        None => Ok(()),
    };
    let (owner, is_newest) = checkpoints.take_for(number.into(), claims, &claim, note).await?;
    Ok(Taken { number, owner, claim, dir: dir.to_path_buf(), is_newest })
}

impl Taken {
    async fn open(self, tables: &Tables, options: &Options) -> Result<Shard, Error> {
        let number = self.number;
        if !self.is_newest {
            set_aside(number.into(), &self.dir)?;
            self.owner.restore(&self.dir, &Shard::layout(number, tables)).await?;
        }
        let shard = Shard::open(&self.dir, number, tables, options)?;
        let tail = self.owner.take_over_tail(shard.view().last_batch()?).await?;
        tracing::info!(shard = number, epoch = self.owner.epoch(), tail = tail.len(), "shard opened");
        shard.take_custody(self.owner, &self.claim, tail)?;
        Ok(shard)
    }
}
