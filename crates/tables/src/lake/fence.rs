//! Whoever takes shards tells all tables.

use super::Lake;
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
