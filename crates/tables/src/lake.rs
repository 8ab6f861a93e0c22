//! The lake: Delta tables that show the shards' fused state, for every tool that reads Delta.
//!
//! ```text
//!  Shard ── view ──► Projector ──► <table>_changes, fact_<kind>   appended, position in the same commit
//!    ▲                   │
//!    │                   └───────► <table>                        buckets that changed, rewritten whole
//!    └── trim_outbox ◄── once both are committed
//! ```
//!
//! In reading order: [`layout`] which tables there are; [`source`] what a shard must offer, [`changes`] how it is read;
//! [`table`] one Delta table; `batch` rows to Arrow, `parquet` how they are stored; [`projector`]; [`since`] what a reader that comes again has to read.

mod batch;
pub mod changes;
mod fence;
pub mod layout;
mod parquet;
pub mod projector;
pub mod since;
pub mod source;
pub mod table;

use std::{collections::BTreeMap, sync::Arc};

use deltalake::{DeltaTable, DeltaTableError};
use parking_lot::Mutex;
use url::Url;

pub(crate) use batch::RowsBuilder;
pub use batch::{batch, delta_schema, delta_type};
pub use changes::{Cells, ChangeRef};
pub use layout::{Fused, LakeTable, Layout, Role};
pub use projector::{Boundary, Config, Progress, Projector, ShardProgress};
pub use since::{Selection, Since};
pub use source::{ChangeSource, ChangeView};
pub use table::{Commit, Declared, Table, Writer};

use crate::{Error, objects, provider::Queries};

/// A folder of Delta tables. Cheap to clone.
#[derive(Clone)]
pub struct Lake {
    inner: Arc<Inner>,
    /// Of all queries; None: each session has one of its own, without limits.
    pub(crate) queries: Option<Arc<Queries>>,
}

struct Inner {
    root: Url,
    layout: Layout,
    tables: BTreeMap<String, LakeTable>,
    /// Reading handles, so that a query looks only at the log entries since the last one.
    readers: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<DeltaTable>>>>,
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lake").field("root", &self.inner.root.as_str()).finish_non_exhaustive()
    }
}

impl Lake {
    /// The lake at a folder (made if it is not there) or at `s3://bucket/prefix`.
    pub fn open(location: &str, layout: impl Into<Layout>) -> Result<Self, Error> {
        let root = objects::locate(location)?;
        let layout = layout.into();
        let tables = layout.lake_tables().into_iter().map(|table| (table.name.clone(), table)).collect();
        let inner = Inner { root, layout, tables, readers: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), queries: None })
    }

    /// Whether it can be written: what is wrong with an object store is told before anything is.
    pub async fn prove(&self) -> Result<(), Error> {
        objects::prove(&self.inner.root).await
    }

    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// Where it is.
    pub fn root(&self) -> &Url {
        &self.inner.root
    }

    /// All declared tables, by name, whether or not something was written to them yet.
    pub fn tables(&self) -> impl Iterator<Item = &LakeTable> {
        self.inner.tables.values()
    }

    pub fn table(&self, name: &str) -> Option<&LakeTable> {
        self.inner.tables.get(name)
    }

    pub(crate) fn declared(&self, name: &str) -> Result<&LakeTable, Error> {
        self.table(name).ok_or_else(|| Error::UnknownTable {
            table: name.to_owned(),
            known: self.inner.tables.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// The URL of one table.
    pub fn table_url(&self, name: &str) -> Result<Url, Error> {
        let mut url = self.inner.root.clone();
        let path = format!("{}/{name}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(url)
    }

    /// Opens a table for writing: one process may do so.
    pub async fn open_table(&self, table: &LakeTable) -> Result<Table, Error> {
        let declared = Declared {
            name: table.name.clone(),
            title: table.title.clone(),
            schema: delta_schema(&table.schema),
            partitioned: table.role == Role::Base,
        };
        let url = self.table_url(&table.name)?;
        Table::open(&objects::locate(url.as_str())?, &declared).await
    }

    /// What tells this table from another in its place: made anew with the table. None if nothing was written yet.
    pub async fn table_id(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(delta) = self.latest(name).await? else { return Ok(None) };
        let state = delta.snapshot().map_err(|source| Error::Delta {
            doing: "reading the id of",
            table: name.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Some(state.metadata().id().to_owned()))
    }

    /// The table as it is now, for reading; None if nothing was written yet.
    pub async fn latest(&self, name: &str) -> Result<Option<DeltaTable>, Error> {
        self.declared(name)?;
        let failed =
            |source| Error::Delta { doing: "reading", table: name.to_owned(), source: Box::new(source) };
        let known = self.inner.readers.lock().get(name).cloned();
        let reader = match known {
            Some(reader) => reader,
            None => {
                let url = self.table_url(name)?;
                if url.to_file_path().is_ok_and(|path| !path.join("_delta_log").exists()) {
                    return Ok(None);
                }
                let table = match deltalake::open_table(url).await {
                    Ok(table) => table,
                    Err(DeltaTableError::NotATable(_)) => {
                        // Where there is no bucket, there is no table either.
                        objects::reach(&self.inner.root).await?;
                        return Ok(None);
                    }
                    Err(error) => return Err(failed(error)),
                };
                let mut readers = self.inner.readers.lock();
                readers
                    .entry(name.to_owned())
                    .or_insert_with(|| Arc::new(tokio::sync::Mutex::new(table)))
                    .clone()
            }
        };
        let mut table = reader.lock().await;
        if let Err(error) = table.update_state().await {
            // The folder was made anew under us, or the entries that it needs were cleaned: look afresh.
            self.inner.readers.lock().remove(name);
            return Err(failed(error));
        }
        Ok(Some(table.clone()))
    }
}
