//! What the projector needs of a shard: a trait, so that its tests can drive it with a model.

use std::future::Future;

use tokio::sync::watch;
use yibiao_records::{Change, PlaceId, Value};

use super::changes::{ChangeRef, VisitChange, VisitRow};
use crate::Error;

/// A shard of fused state, seen from the lake.
pub trait ChangeSource: Send + Sync + 'static {
    type View: ChangeView;

    fn number(&self) -> u32;

    /// A consistent snapshot.
    fn view(&self) -> Self::View;

    /// Synchronises to disk what every view so far shows. The projector asks for it before it commits: a power
    /// cut must not leave the lake ahead of the shard.
    fn persist(&self) -> Result<(), Error>;

    /// Forgets changes up to and including `through`: they are in the lake.
    fn trim_outbox(&self, through: u64) -> Result<(), Error>;

    /// The last sequence; its change wakes the projector.
    fn changed(&self) -> watch::Receiver<u64>;

    /// Where shards move: the epoch in which this process has it.
    fn epoch(&self) -> Option<u64> {
        None
    }

    /// Called before changes that the view shows are committed; an error where the shard is somebody else's now.
    fn announce(&self, _view: &Self::View) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }
}

/// A consistent snapshot of a shard.
pub trait ChangeView: Send + Sync + 'static {
    /// Of the change log, whether trimmed or not; 0 before the first change.
    fn last_sequence(&self) -> u64;

    /// The changes with a sequence greater than `after` that are not trimmed, dense and in order.
    fn outbox(&self, after: u64) -> Box<dyn Iterator<Item = Result<Change, Error>> + '_>;

    /// As [`ChangeView::outbox`], without a copy of each row.
    fn each_change(&self, after: u64, visit: &mut VisitChange<'_>) -> Result<(), Error> {
        for change in self.outbox(after) {
            if visit(&ChangeRef::from(&change?))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// As [`ChangeView::bucket_rows`], without a copy of each row.
    fn each_bucket_row(&self, table: &str, bucket: u32, visit: &mut VisitRow<'_>) -> Result<(), Error> {
        for row in self.bucket_rows(table, bucket) {
            if visit(&row?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All current rows of one bucket (from 0 within the shard) of a keyed table, in key order.
    fn bucket_rows<'a>(
        &'a self,
        table: &'a str,
        bucket: u32,
    ) -> Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + 'a>;

    /// The current rows of one place of a keyed table.
    fn rows_at<'a>(
        &'a self,
        table: &'a str,
        place: PlaceId,
    ) -> Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + 'a>;
}

impl ChangeSource for crate::Shard {
    type View = crate::View;

    fn number(&self) -> u32 {
        crate::Shard::number(self)
    }

    fn view(&self) -> crate::View {
        crate::Shard::view(self)
    }

    fn persist(&self) -> Result<(), Error> {
        crate::Shard::persist(self)
    }

    fn trim_outbox(&self, through: u64) -> Result<(), Error> {
        crate::Shard::trim_outbox(self, through)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        crate::Shard::changed(self)
    }

    fn epoch(&self) -> Option<u64> {
        self.owner().map(crate::checkpoint::Owner::epoch)
    }

    async fn announce(&self, view: &crate::View) -> Result<(), Error> {
        crate::Shard::announce(self, view).await
    }
}

impl ChangeView for crate::View {
    fn last_sequence(&self) -> u64 {
        crate::View::last_sequence(self)
    }

    fn outbox(&self, after: u64) -> Box<dyn Iterator<Item = Result<Change, Error>> + '_> {
        Box::new(crate::View::outbox(self, after))
    }

    fn each_change(&self, after: u64, visit: &mut VisitChange<'_>) -> Result<(), Error> {
        crate::View::each_change(self, after, visit)
    }

    fn each_bucket_row(&self, table: &str, bucket: u32, visit: &mut VisitRow<'_>) -> Result<(), Error> {
        crate::View::each_bucket_row(self, table, bucket, visit)
    }

    fn bucket_rows<'a>(
        &'a self,
        table: &'a str,
        bucket: u32,
    ) -> Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + 'a> {
        Box::new(crate::View::bucket_rows(self, table, bucket))
    }

    fn rows_at<'a>(
        &'a self,
        table: &'a str,
        place: PlaceId,
    ) -> Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + 'a> {
        Box::new(crate::View::rows_at(self, table, place))
    }
}
