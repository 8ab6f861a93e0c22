//! What the shards hold and the lake does not show yet, as part of its tables.
//!
//! ```text
//!   shard ── its change log after the last look ──► Overlay: newest row of each key, or rows of the log
//!   lake  ── a version, and how far it has each shard ──► what it has is forgotten
//!   query  = base rows without those of the overlay's keys  ∪  rows of the overlay
//! ```
//!
//! A change is trimmed from a shard only when the lake has it. So an overlay that was read before the table's version has
//! all that this version lacks. Where the version is as far as the overlay or farther, nothing is left of the overlay;
//! either way each shard is shown exactly as it was at one moment.

mod found;
mod overlay;
mod without;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::array::RecordBatch;
use deltalake::DeltaTable;
use yibiao_records::{PlaceId, Value};

use crate::{
    Error,
    lake::{ChangeSource, ChangeView, Lake, LakeTable, Role},
};

use super::position;
pub(super) use found::Known;
use overlay::Overlay;
pub(super) use overlay::{Shown, ShownRows, own_key};
pub(super) use without::{WithoutExec, leave_out};

/// Changes of one shard that are kept beside the lake for one table: beyond that the projection is far behind, and
/// the table shows what is in the lake.
const CHANGES_MAX: u64 = 500_000;

/// What is kept of one table.
struct OfTable {
    /// One a shard.
    overlays: tokio::sync::Mutex<Vec<Overlay>>,
    known: Arc<Known>,
}

/// The shards of this process, for live tables. Cheap to clone; all clones show the same.
#[derive(Clone)]
pub struct Live {
    here: Arc<Mutex<Here>>,
    changes_max: u64,
}

type Shards = Arc<[Arc<dyn Source>]>;

/// The shards that are here now.
struct Here {
    shards: Shards,
    /// By lake table; one overlay a shard, in the same order.
    overlays: BTreeMap<String, Arc<OfTable>>,
}

/// A shard, whatever its kind.
trait Source: Send + Sync {
    fn number(&self) -> u32;
    fn catch_up(&self, overlay: &mut Overlay, changes_max: u64) -> Result<(), Error>;
    fn rows_at(&self, table: &str, place: PlaceId) -> Result<Vec<Vec<Value>>, Error>;
}

impl<S: ChangeSource> Source for S {
    fn number(&self) -> u32 {
        ChangeSource::number(self)
    }

    fn catch_up(&self, overlay: &mut Overlay, changes_max: u64) -> Result<(), Error> {
        overlay.catch_up(&self.view(), changes_max)
    }

    fn rows_at(&self, table: &str, place: PlaceId) -> Result<Vec<Vec<Value>>, Error> {
        self.view().rows_at(table, place).collect()
    }
}

/// A table at one moment: the version of the lake, and by shard what is to be shown over it.
pub(super) struct Moment {
    pub delta: Option<DeltaTable>,
    pub shown: Vec<Arc<Shown>>,
    /// Of the table's files, whatever version they belong to.
    pub known: Arc<Known>,
}

impl Live {
    pub fn new<S: ChangeSource>(shards: impl IntoIterator<Item = S>) -> Self {
        let here = Here { shards: sources(shards), overlays: BTreeMap::new() };
        Self { here: Arc::new(Mutex::new(here)), changes_max: CHANGES_MAX }
    }

    /// From now on these shards: others of this process's are gone, or have come. A query that has begun ends as it began.
    pub fn show<S: ChangeSource>(&self, shards: impl IntoIterator<Item = S>) {
        *self.here() = Here { shards: sources(shards), overlays: BTreeMap::new() };
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another limit, for tests.
    #[doc(hidden)]
    pub fn with_changes_max(self, changes_max: u64) -> Self {
        Self { changes_max, ..self }
    }

    /// The table as it is now.
    pub(super) async fn now(&self, lake: &Lake, table: &LakeTable) -> Result<Moment, Error> {
        let (shards, of_table) = self.shards_and_overlays(lake, table);
        let mut overlays = of_table.overlays.lock().await;
        if overlays.iter().any(Overlay::is_new) {
            // What the lake has by now need not be read from the shards.
            forget(&mut overlays, lake.latest(&table.name).await?.as_ref(), table).await?;
        }
        self.catch_up(shards, &mut overlays).await?;
        let delta = lake.latest(&table.name).await?;
        forget(&mut overlays, delta.as_ref(), table).await?;
        let shown: Vec<_> = overlays.iter_mut().map(Overlay::shown).collect();
        show_changes(&table.name, shown.iter().map(|shown| shown.count()).sum());
        Ok(Moment { delta, shown, known: of_table.known.clone() })
    }

    fn shards_and_overlays(&self, lake: &Lake, table: &LakeTable) -> (Shards, Arc<OfTable>) {
        let mut here = self.here();
        let shards = here.shards.clone();
        let made = || {
            let overlays = shards.iter().map(|shard| Overlay::new(shard.number(), lake.layout(), table));
            let overlays = tokio::sync::Mutex::new(overlays.collect());
            Arc::new(OfTable { overlays, known: Arc::default() })
        };
        let overlays = here.overlays.entry(table.name.clone()).or_insert_with(made).clone();
        (shards, overlays)
    }

    /// Reads on in each shard's change log, where that may block.
    async fn catch_up(&self, shards: Shards, overlays: &mut Vec<Overlay>) -> Result<(), Error> {
        let changes_max = self.changes_max;
        let empty = overlays.iter().map(Overlay::emptied).collect();
        let mut moved = std::mem::replace(overlays, empty);
        let read = tokio::task::spawn_blocking(move || {
            for (shard, overlay) in shards.iter().zip(&mut moved) {
                shard.catch_up(overlay, changes_max)?;
            }
            Ok::<_, Error>(moved)
        });
        // After an error they are read anew.
        *overlays = read.await.map_err(|error| Error::Task(error.to_string()))??;
        Ok(())
    }

    /// The rows of these places, read from their shards; None where one of them is not here, or the table is no base table.
    pub(super) async fn rows_of(
        &self,
        lake: &Lake,
        table: &LakeTable,
        places: Vec<PlaceId>,
    ) -> Result<Option<RecordBatch>, Error> {
        let (all, shards) = (self.here().shards.clone(), lake.layout().shards);
        let here = |place: &PlaceId| all.iter().any(|shard| shard.number() == place.shard(shards));
        if table.role != Role::Base || !places.iter().all(here) {
            return Ok(None);
        }
        let (table, lake) = (table.clone(), lake.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut rows = Vec::new();
            for place in places {
                let Some(shard) = all.iter().find(|shard| shard.number() == place.shard(shards)) else {
                    continue;
                };
                for row in shard.rows_at(&table.fused, place)? {
                    rows.push(overlay::base_row(row, &table, lake.layout().bucket_of(place)));
                }
            }
            crate::lake::batch(&table.schema, &rows)
        });
        read.await.map_err(|error| Error::Task(error.to_string()))?.map(Some)
    }
}

fn sources<S: ChangeSource>(shards: impl IntoIterator<Item = S>) -> Shards {
    shards.into_iter().map(|shard| Arc::new(shard) as Arc<dyn Source>).collect()
}

/// How many rows a table has beyond the lake.
pub(super) fn show_changes(table: &str, rows: usize) {
    metrics::gauge!("yibiao_live_changes", "table" => table.to_owned()).set(rows as f64);
}

/// What this version of the table has is no more to be shown over it.
async fn forget(
    overlays: &mut [Overlay],
    delta: Option<&DeltaTable>,
    table: &LakeTable,
) -> Result<(), Error> {
    for overlay in overlays {
        let had = match delta {
            Some(delta) => position(delta, &table.name, overlay.shard()).await?,
            None => None,
        };
        overlay.forget(had.unwrap_or(0))?;
    }
    Ok(())
}
