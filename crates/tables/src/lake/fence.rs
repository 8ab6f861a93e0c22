//! Whoever takes shards tells all tables, and whoever had them is told by them.

use deltalake::DeltaTableError;

use super::{
    Commit, Lake, Table,
    table::{ATTEMPTS_MAX, fail, owner_application},
};
use crate::Error;

impl Lake {
    /// Notes in every table in which epochs the shards are had from now on. When it returns, no commit of an earlier owner
    /// lands any more, also not one that was checked before and slept since.
    pub async fn fence(&self, owners: &[(u32, u64)]) -> Result<(), Error> {
        for table in self.tables() {
            self.open_table(table).await?.fence(owners).await?;
        }
        Ok(())
    }
}

impl Table {
    /// Nobody has taken one of these shards, as far as this handle has looked.
    pub async fn check_owners(&mut self, owners: &[(u32, u64)]) -> Result<(), Error> {
        for &(shard, epoch) in owners {
            if self.position(&owner_application(shard)).await? > Some(epoch) {
                return Err(Error::Revoked { of: shard.into(), epoch });
            }
        }
        Ok(())
    }

    /// Notes the shards' epochs in the table: whatever an earlier owner was about to commit does not succeed any more.
    pub async fn fence(&mut self, owners: &[(u32, u64)]) -> Result<(), Error> {
        for _ in 0..ATTEMPTS_MAX {
            self.refresh().await?;
            self.check_owners(owners).await?;
            let mut positions = Vec::new();
            for &(shard, epoch) in owners {
                if self.position(&owner_application(shard)).await? != Some(epoch) {
                    positions.push((owner_application(shard), epoch));
                }
            }
            if positions.is_empty() {
                return Ok(());
            }
            match self.try_commit(&Commit { positions, ..Commit::default() }).await {
                Err(Error::OtherWriter { .. }) => {}
                done => return done.map(drop),
            }
        }
        let source = DeltaTableError::generic("other processes were faster again and again");
        Err(fail("fencing", &self.name)(source))
    }
}
