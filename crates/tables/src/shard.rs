//! The fused state of one std partition: the truth, of which the lake is a projection.
//!
//! ```text
//!  fusion ── Writer ── Writing ──► one atomic batch: facts, places, warnings, change log,
//!                                  marks (what was applied) and positions (what was read)
//!                                      │
//!  projection, delivery, SQL ◄── View ─┘   a consistent snapshot; Shard::changed wakes them
//! ```
//!
//! A shard has one writer; views are as many as wanted and never wait for it.

mod codec;
mod custody;
mod ends;
mod load;
mod names;
mod read;
mod state;
mod timers;
mod write;

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use yibiao_records::{Change, PlaceId, TableSchema, Value};
use yibiao_state::{Bytes, Options, Snapshot, Store};

use crate::{
    Error,
    spec::{PLACES, Tables, WARNINGS},
};
use names::Names;

pub use custody::Deed;
pub use ends::BatchEnd;
pub use load::{Loading, Packed};
pub use state::{Alarm, Daily, DailySeries, Due, MarkKey, Origin, PlaceState, Silence, StoredFact, Winner};
pub use timers::{LastDay, Queue};
pub use write::{Mark, Writer, Writing};

const FACTS_KEYSPACE: usize = 0;
const PLACES_KEYSPACE: usize = 1;
const WARNINGS_KEYSPACE: usize = 2;
const OUTBOX_KEYSPACE: usize = 3;
const MARKS_KEYSPACE: usize = 4;
const POSITIONS_KEYSPACE: usize = 5;
const NAMES_KEYSPACE: usize = 6;
const META_KEYSPACE: usize = 7;
const TIMERS_KEYSPACE: usize = 8;
const KEYSPACES: [&str; 9] =
    ["facts", "places", "warnings", "outbox", "marks", "positions", "names", "meta", "timers"];

const SEQUENCE: &str = "sequence";
const LAYOUT: &str = "layout";

/// How many entries of the outbox one batch deletes.
const TRIM_MAX: usize = 1024;

/// The state of one shard. Cheap to clone; all clones share it.
#[derive(Clone)]
pub struct Shard {
    inner: Arc<Inner>,
}

struct Inner {
    number: u32,
    store: Store,
    tables: Tables,
    names: Names,
    changed: watch::Sender<u64>,
    writer_taken: AtomicBool,
    /// Entries of the outbox up to here are gone already.
    trimmed: AtomicU64,
    /// Set where shards move.
    custody: OnceLock<custody::Custody>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("number", &self.inner.number).finish_non_exhaustive()
    }
}

impl Shard {
    /// Opens or makes the shard in folder `dir`.
    pub fn open(dir: &Path, shard: u32, tables: &Tables, options: &Options) -> Result<Self, Error> {
        Self::over(Store::open(dir, &KEYSPACES, options)?, shard, tables)
    }

    /// As [`Shard::open`], over a store that is open. For simulations, which use one store for many runs.
    #[doc(hidden)]
    pub fn over(store: Store, shard: u32, tables: &Tables) -> Result<Self, Error> {
        let layout = Self::layout(shard, tables);
        match store.get(META_KEYSPACE, LAYOUT)? {
            Some(found) if *found == *layout.as_bytes() => {}
            Some(found) => {
                let found = String::from_utf8_lossy(&found).into_owned();
                return Err(Error::Layout { shard, found, expected: layout });
            }
            None => {
                let mut batch = store.batch();
                batch.put(META_KEYSPACE, LAYOUT.as_bytes(), layout.as_bytes());
                batch.commit()?;
            }
        }
        let corrupt = |what| move |detail| Error::Corrupt { shard, what, detail };
        let mut names: Vec<Arc<str>> = Vec::new();
        for pair in store.prefix(NAMES_KEYSPACE, b"") {
            let (_, name) = pair?;
            let name = std::str::from_utf8(&name).map_err(|e| corrupt("name")(e.to_string()))?;
            names.push(name.into());
        }
        let sequence = match store.get(META_KEYSPACE, SEQUENCE)? {
            Some(bytes) => codec::be_u64(&bytes).map_err(corrupt("sequence"))?,
            None => 0,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                number: shard,
                store,
                tables: tables.clone(),
                names: Names::new(names),
                changed: watch::Sender::new(sequence),
                writer_taken: AtomicBool::new(false),
                trimmed: AtomicU64::new(0),
                custody: OnceLock::new(),
            }),
        })
    }

    /// What a shard's state must say of itself.
    pub(crate) fn layout(shard: u32, tables: &Tables) -> String {
        format!("format 2, shard {shard}, {} buckets", tables.buckets_per_shard())
    }

    /// A copy of the whole state in the folder `to`, which [`Shard::open`] opens, and what it shows. Batches wait for some
    /// links only.
    pub fn copy(&self, to: &Path) -> Result<View, Error> {
        let snapshot = self.inner.store.checkpoint(to)?;
        Ok(View { shard: self.clone(), snapshot: Arc::new(snapshot) })
    }

    /// Where its state lies.
    pub fn path(&self) -> &Path {
        self.inner.store.path()
    }

    /// For simulations, see [`Shard::over`].
    #[doc(hidden)]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub fn number(&self) -> u32 {
        self.inner.number
    }

    pub fn tables(&self) -> &Tables {
        &self.inner.tables
    }

    /// The shard as it is now: later batches do not show in it.
    pub fn view(&self) -> View {
        View { shard: self.clone(), snapshot: Arc::new(self.inner.store.snapshot()) }
    }

    /// The right to write, given to one at a time; it comes back when the writer is dropped.
    pub fn writer(&self) -> Result<Writer, Error> {
        Writer::take(self)
    }

    /// Forgets the change log up to and including `through`, which projection and delivery have by now; changes that lie
    /// together with later ones stay with them.
    pub fn trim_outbox(&self, through: u64) -> Result<(), Error> {
        let store = &self.inner.store;
        loop {
            let from = self.inner.trimmed.load(Ordering::Acquire);
            let mut batch = store.batch();
            let mut last = from;
            for pair in store.from(OUTBOX_KEYSPACE, (from + 1).to_be_bytes()).take(TRIM_MAX) {
                let (key, _) = pair?;
                let sequence = codec::be_u64(&key).map_err(|e| self.corrupt("outbox", e))?;
                if sequence > through {
                    break;
                }
                last = sequence;
                batch.delete(OUTBOX_KEYSPACE, key);
            }
            let deleted = batch.len();
            if deleted > 0 {
                batch.commit()?;
                self.inner.trimmed.fetch_max(last, Ordering::AcqRel);
            }
            if deleted < TRIM_MAX {
                return Ok(());
            }
        }
    }

    /// The change log's last sequence; it changes with every batch that changed a row.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> Result<u64, Error> {
        Ok(self.inner.store.disk_bytes()?)
    }

    /// Synchronises everything to disk: before others rely on it, and for an orderly end.
    pub fn persist(&self) -> Result<(), Error> {
        Ok(self.inner.store.persist()?)
    }

    fn corrupt(&self, what: &'static str, detail: String) -> Error {
        Error::Corrupt { shard: self.inner.number, what, detail }
    }
}

/// A consistent snapshot of a [`Shard`]. Cheap to clone.
#[derive(Clone)]
pub struct View {
    shard: Shard,
    snapshot: Arc<Snapshot>,
}

impl View {
    pub fn shard(&self) -> u32 {
        self.shard.number()
    }

    pub fn tables(&self) -> &Tables {
        self.shard.tables()
    }

    /// Of the change log; 0 before the first change.
    pub fn last_sequence(&self) -> u64 {
        // The number was readable when the shard was opened, and only the writer writes it.
        self.snapshot
            .get(META_KEYSPACE, SEQUENCE)
            .ok()
            .flatten()
            .and_then(|bytes| codec::be_u64(&bytes).ok())
            .unwrap_or_default()
    }

    /// Changes after sequence `after`, dense, of all tables. Those that were trimmed are not among them.
    pub fn outbox(&self, after: u64) -> impl Iterator<Item = Result<Change, Error>> + '_ {
        self.snapshot.from(OUTBOX_KEYSPACE, (after + 1).to_be_bytes()).flat_map(move |pair| {
            let entry = pair.map_err(Error::from).and_then(|pair| self.changes_of(&pair, after));
            let (changes, error) = match entry {
                Ok(changes) => (changes, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            changes.into_iter().map(Ok).chain(error)
        })
    }

    /// The changes of an entry of the outbox, those after sequence `after`.
    fn changes_of(&self, (key, value): &(Bytes, Bytes), after: u64) -> Result<Vec<Change>, Error> {
        let corrupt = |e| self.shard.corrupt("outbox", e);
        let width = |table: &str| Some(self.tables().schema(table).ok()?.columns.len());
        let last = codec::be_u64(key).map_err(corrupt)?;
        let changes = codec::changes_of(last, value, after).map_err(corrupt)?;
        changes
            .map(|change| {
                let (sequence, change) = change?;
                codec::change_from(sequence, change, self.names(), width)
            })
            .collect::<Result<_, _>>()
            .map_err(|e| self.shard.corrupt("change", e))
    }

    /// All current rows of `places` or `warnings` whose place lies in `bucket` (0 to buckets_per_shard - 1),
    /// in the order of place and warning. Other tables have no current rows.
    pub fn bucket_rows(
        &self,
        table: &str,
        bucket: u32,
    ) -> impl Iterator<Item = Result<Vec<Value>, Error>> + '_ {
        self.rows_from(table, codec::bucket_key(bucket).to_vec())
    }

    /// All current rows of `places` or `warnings`, bucket by bucket.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = Result<Vec<Value>, Error>> + '_ {
        self.rows_from(table, Vec::new())
    }

    /// All current rows of one place in `places` or `warnings`.
    pub fn rows_at(
        &self,
        table: &str,
        place: PlaceId,
    ) -> impl Iterator<Item = Result<Vec<Value>, Error>> + '_ {
        self.rows_from(table, codec::place_key(self.tables().bucket(place), place).to_vec())
    }

    /// The place's row in `places`, or its newest warning in `warnings`.
    pub fn row(&self, table: &str, place: PlaceId) -> Result<Option<Vec<Value>>, Error> {
        let key = codec::place_key(self.tables().bucket(place), place);
        if table == WARNINGS {
            let id = self.tables().schema(WARNINGS)?.column("raised_at");
            let mut newest: Option<Vec<Value>> = None;
            for row in self.rows_from(table, key.to_vec()) {
                let row = row?;
                let raised = |row: &Vec<Value>| id.map(|index| row[index].clone());
                if newest.as_ref().is_none_or(|newest| raised(newest) <= raised(&row)) {
                    newest = Some(row);
                }
            }
            return Ok(newest);
        }
        self.rows_from(table, key.to_vec()).next().transpose()
    }

    fn rows_from(
        &self,
        table: &str,
        prefix: Vec<u8>,
    ) -> impl Iterator<Item = Result<Vec<Value>, Error>> + '_ {
        let schema = self.tables().schema(table).cloned();
        let keyspace = match (&schema, table) {
            (Err(_), _) => None,
            (Ok(_), PLACES) => Some(PLACES_KEYSPACE),
            (Ok(_), WARNINGS) => Some(WARNINGS_KEYSPACE),
            (Ok(_), _) => None,
        };
        let (schema, unknown) = match schema {
            Ok(schema) => (Some(schema), None),
            Err(error) => (None, Some(Err(error))),
        };
        let rows = keyspace.into_iter().flat_map(move |keyspace| {
            let schema = schema.clone();
            self.snapshot.prefix(keyspace, prefix.clone()).filter_map(move |pair| {
                let read = pair.map_err(Error::from).and_then(|(_, value)| self.row_of(keyspace, &value));
                let row = read.transpose()?;
                Some(row.and_then(|row| self.fits(schema.as_deref(), row)))
            })
        });
        unknown.into_iter().chain(rows)
    }

    fn row_of(&self, keyspace: usize, value: &Bytes) -> Result<Option<Vec<Value>>, Error> {
        match keyspace {
            PLACES_KEYSPACE => codec::place_row_from(value),
            _ => codec::row_from(value).map(Some),
        }
        .map_err(|e| self.shard.corrupt("row", e))
    }

    /// Rows that an older specification made have another width until the fusion stage has rebuilt them.
    fn fits(&self, schema: Option<&TableSchema>, row: Vec<Value>) -> Result<Vec<Value>, Error> {
        match schema {
            Some(schema) => {
                self.has_width(&schema.name, row.len(), schema.columns.len())?;
                Ok(row)
            }
            None => Ok(row),
        }
    }

    fn has_width(&self, table: &str, found: usize, wanted: usize) -> Result<(), Error> {
        if found == wanted {
            return Ok(());
        }
        Err(Error::Layout {
            shard: self.shard(),
            found: format!("{found} columns in {table}"),
            expected: format!("{wanted} (the fusion stage rebuilds the rows when it starts)"),
        })
    }

    /// What is kept of a place beside its facts.
    pub fn place(&self, place: PlaceId) -> Result<Option<PlaceState>, Error> {
        let key = codec::place_key(self.tables().bucket(place), place);
        let Some(bytes) = self.snapshot.get(PLACES_KEYSPACE, key)? else { return Ok(None) };
        codec::place_from(&bytes, self.names()).map(Some).map_err(|e| self.shard.corrupt("place", e))
    }

    /// All places that ever had a fact, with what is kept of them, in the order of bucket and place.
    pub fn places(&self) -> impl Iterator<Item = Result<(PlaceId, PlaceState), Error>> + '_ {
        self.snapshot.prefix(PLACES_KEYSPACE, b"").map(|pair| {
            let (key, value) = pair?;
            let place = codec::place_of(&key).map_err(|e| self.shard.corrupt("place key", e))?;
            let state =
                codec::place_from(&value, self.names()).map_err(|e| self.shard.corrupt("place", e))?;
            Ok((place, state))
        })
    }

    /// The place's facts of one kind, or of all, in the order of kind and fact id.
    pub fn facts(&self, place: PlaceId, kind: Option<&str>) -> Result<Vec<StoredFact>, Error> {
        let Some(prefix) = self.shard.fact_prefix(place, kind) else { return Ok(Vec::new()) };
        self.snapshot
            .prefix(FACTS_KEYSPACE, prefix)
            .map(|pair| {
                let (key, value) = pair?;
                codec::fact_from(&key, &value, self.names()).map_err(|e| self.shard.corrupt("fact", e))
            })
            .collect()
    }

    /// Every fact of the shard, place by place.
    pub fn all_facts(&self) -> impl Iterator<Item = Result<StoredFact, Error>> + '_ {
        self.snapshot.prefix(FACTS_KEYSPACE, b"").map(|pair| {
            let (key, value) = pair?;
            codec::fact_from(&key, &value, self.names()).map_err(|e| self.shard.corrupt("fact", e))
        })
    }

    fn names(&self) -> &Names {
        &self.shard.inner.names
    }
}

impl Shard {
    /// None when no fact of this kind was ever stored.
    fn fact_prefix(&self, place: PlaceId, kind: Option<&str>) -> Option<Vec<u8>> {
        let number = match kind {
            Some(kind) => Some(self.inner.names.number(kind)?),
            None => None,
        };
        Some(codec::fact_prefix(place, number))
    }
}
