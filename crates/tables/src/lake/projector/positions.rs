//! How far each table has each shard, and the tables' writers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arrow::array::RecordBatch;

use super::ShardProgress;
use crate::{
    Error,
    lake::{ChangeSource, Commit, Lake, LakeTable, Role, Table, Writer, table::owner_application},
};

/// The application id of a shard's positions.
pub fn application(shard: u32) -> String {
    format!("shard-{shard}")
}

/// Where the projector stands.
pub struct Positions {
    pub tables: Writers,
    pub shards: Vec<Position>,
    /// What the tables held when this was read; changes beyond it are in none of them.
    pub logs: Arc<Logs>,
}

/// One shard's place in the lake.
#[derive(Debug, Clone)]
pub struct Position {
    pub shard: u32,
    pub last: u64,
    pub logged: u64,
    pub based: u64,
    pub trimmed: u64,
    /// The greatest position that any table had when this was read.
    pub floor: u64,
    /// Fused table to buckets whose base files are older than the change log.
    pub dirty: BTreeMap<String, BTreeSet<u32>>,
}

/// The change log of one fused table, as it was at the start.
pub struct Log {
    pub table: LakeTable,
    pub keyed: bool,
    /// By shard.
    pub logged: BTreeMap<u32, u64>,
    /// By shard; of the base table.
    pub based: BTreeMap<u32, u64>,
}

/// By fused table.
pub struct Logs {
    pub by_table: BTreeMap<String, Log>,
    pub buckets_per_shard: u32,
}

impl Positions {
    /// Opens (or makes) all tables and reads their positions.
    pub async fn read<S: ChangeSource>(lake: &Lake, shards: &[Arc<S>]) -> Result<Self, Error> {
        let mut tables = Writers::default();
        for table in lake.tables() {
            let mut open = Open { table: lake.open_table(table).await?, writer: None };
            for shard in shards {
                let owner = open.table.position(&owner_application(shard.number())).await?;
                match shard.epoch() {
                    None if owner.is_some() => return Err(Error::Owned { shard: shard.number() }),
                    None => {}
                    Some(epoch) => tables.owners.push((shard.number(), epoch)),
                }
            }
            let role = if table.role == Role::Base { &mut tables.bases } else { &mut tables.logs };
            role.insert(table.name.clone(), open);
        }
        tables.owners.sort_unstable();
        tables.owners.dedup();
        tables.fence().await?;
        let mut by_table = BTreeMap::new();
        let mut floors: BTreeMap<u32, u64> = BTreeMap::new();
        for fused in &lake.layout().tables {
            let table = fused.changes();
            let (mut logged, mut based) = (BTreeMap::new(), BTreeMap::new());
            for shard in shards.iter().map(|shard| shard.number()) {
                let log = &mut tables.open_log(&table.name)?.table;
                let position = log.position(&application(shard)).await?.unwrap_or(0);
                logged.insert(shard, position);
                let floor = floors.entry(shard).or_default();
                *floor = position.max(*floor);
                if fused.keyed {
                    let base = &mut tables.open_base(&fused.schema.name)?.table;
                    based.insert(shard, base.position(&application(shard)).await?.unwrap_or(0));
                }
            }
            by_table.insert(fused.schema.name.clone(), Log { table, keyed: fused.keyed, logged, based });
        }
        let shards = shards
            .iter()
            .map(|shard| Position {
                shard: shard.number(),
                last: 0,
                logged: 0,
                based: 0,
                trimmed: 0,
                floor: floors.get(&shard.number()).copied().unwrap_or(0),
                dirty: BTreeMap::new(),
            })
            .collect();
        let logs = Arc::new(Logs { by_table, buckets_per_shard: lake.layout().buckets_per_shard });
        Ok(Self { tables, shards, logs })
    }

    /// Nothing waits to be written.
    pub fn is_level(&self) -> bool {
        self.shards.iter().all(|shard| shard.logged == shard.last && shard.dirty.is_empty())
    }

    pub fn progress(&self) -> Vec<ShardProgress> {
        let progress = |position: &Position| ShardProgress {
            shard: position.shard,
            last: position.last,
            logged: position.logged,
            based: position.based,
        };
        self.shards.iter().map(progress).collect()
    }
}

impl Position {
    /// The change log is dense: what is retained must follow what the lake has.
    pub fn check_dense(&self, after: u64, first: Option<u64>) -> Result<(), Error> {
        let known = after.max(self.floor);
        let trimmed = first.map_or(self.last, |first| first - 1);
        if trimmed > known {
            return Err(Error::LakeBehind { shard: self.shard, lake: known, trimmed });
        }
        Ok(())
    }

    /// The lake cannot know more than the shard that it shows.
    pub fn check_not_ahead(&self) -> Result<(), Error> {
        if self.floor > self.last {
            return Err(Error::LakeAhead { shard: self.shard, lake: self.floor, state: self.last });
        }
        Ok(())
    }

    /// Through where the shard may forget its changes, if that is news.
    pub fn trimmable(&self) -> Option<u64> {
        (self.dirty.is_empty() && self.logged > self.trimmed).then_some(self.logged)
    }
}

struct Open {
    table: Table,
    writer: Option<Writer>,
}

impl Open {
    fn writer(&mut self) -> Result<&mut Writer, Error> {
        if self.writer.is_none() {
            self.writer = Some(self.table.writer()?);
        }
        Ok(self.writer.as_mut().expect("it was just made"))
    }
}

/// All tables of the lake, open for writing.
#[derive(Default)]
pub struct Writers {
    logs: BTreeMap<String, Open>,
    bases: BTreeMap<String, Open>,
    /// Where shards move: all of them that are projected here, with their epochs.
    owners: Vec<(u32, u64)>,
}

fn unknown(table: &str) -> Error {
    Error::UnknownTable { table: table.to_owned(), known: "those of the lake's layout".to_owned() }
}

impl Writers {
    fn open_log(&mut self, table: &str) -> Result<&mut Open, Error> {
        self.logs.get_mut(table).ok_or_else(|| unknown(table))
    }

    fn open_base(&mut self, table: &str) -> Result<&mut Open, Error> {
        self.bases.get_mut(table).ok_or_else(|| unknown(table))
    }

    /// See [`Table::fence`]; nothing is committed where it is done already.
    async fn fence(&mut self) -> Result<(), Error> {
        if self.owners.is_empty() {
            return Ok(());
        }
        for open in self.logs.values_mut().chain(self.bases.values_mut()) {
            open.table.fence(&self.owners).await?;
        }
        Ok(())
    }

    /// Appends rows to a change log's open file.
    pub async fn write(&mut self, table: &str, batch: &RecordBatch) -> Result<(), Error> {
        self.open_log(table)?.writer()?.write(batch).await
    }

    /// Commits every change log that has new rows, each with how far the shards were read. `between` is called
    /// after each commit. Gives the numbers of commits and of rows.
    pub async fn commit_appended(
        &mut self,
        reached: &[(u32, u64)],
        mut between: impl FnMut() -> Result<(), Error>,
    ) -> Result<(u64, u64), Error> {
        let (mut commits, mut rows) = (0, 0);
        for open in self.logs.values_mut() {
            let Some(mut writer) = open.writer.take() else { continue };
            let add = writer.finish().await?;
            if add.is_empty() {
                continue;
            }
            let mut positions = Vec::new();
            for (shard, last) in reached {
                let application = application(*shard);
                if open.table.position(&application).await? < Some(*last) {
                    positions.push((application, *last));
                }
            }
            let owners = self.owners.clone();
            open.table.commit(Commit { add, positions, owners, ..Commit::default() }).await?;
            metrics::counter!("yibiao_projected_rows_total", "stage" => "project", "table" => open.table.name().to_owned())
                .increment(writer.rows());
            commits += 1;
            rows += writer.rows();
            between()?;
        }
        Ok((commits, rows))
    }

    /// The writer of a base table.
    pub fn base(&mut self, table: &str) -> Result<&mut Writer, Error> {
        self.open_base(table)?.writer()
    }

    pub async fn commit_base(&mut self, table: &str, mut commit: Commit) -> Result<(), Error> {
        commit.owners = self.owners.clone();
        let open = self.open_base(table)?;
        open.writer = None;
        let mut positions = Vec::new();
        for (application, last) in commit.positions {
            // After a crash the same buckets may be written again from the same view.
            if open.table.position(&application).await? < Some(last) {
                positions.push((application, last));
            }
        }
        commit.positions = positions;
        open.table.commit(commit).await?;
        Ok(())
    }

    /// See [`super::Projector::maintain`].
    pub async fn maintain(&mut self, files_max: usize, retention: Duration) -> Result<(), Error> {
        for open in self.logs.values_mut() {
            open.table.maintain(Some(files_max), retention).await?;
        }
        for open in self.bases.values_mut() {
            // A bucket is one file from the start.
            open.table.maintain(None, retention).await?;
        }
        Ok(())
    }
}
