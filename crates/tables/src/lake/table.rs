//! One Delta table: made, widened, written and read back how far it was written.
//!
//! Commits are optimistic and never merged with somebody else's: a commit succeeds only if nothing was
//! committed since this handle last looked, so the positions ([`Table::position`]) that the writer checked
//! before are still true when the commit lands. Delta itself does not check them.
//!
//! Where shards move, several processes write to a table, each the rows of its own shards. Then a commit that finds another
//! one before it looks again at whose the shards are (also a position, `owner-<p>`), and only then tries once more: between
//! that look and the commit nothing may have been committed either. Who takes a shard commits its epoch to every table
//! first, so what an earlier owner was about to commit does not succeed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{RecordBatch, new_null_array},
    datatypes::{Schema, SchemaRef},
};
use deltalake::{
    DeltaTable, DeltaTableError,
    kernel::{
        Action, Add, StructType, Transaction,
        engine::arrow_conversion::{TryIntoArrow, TryIntoKernel},
        transaction::{CommitBuilder, CommitProperties, TransactionError},
    },
    logstore::commit_uri_from_version,
    operations::{optimize::OptimizeType, vacuum::VacuumMode},
    protocol::{DeltaOperation, SaveMode},
    writer::{DeltaWriter, RecordBatchWriter},
};
use url::Url;

use super::{layout::BUCKET, parquet};
use crate::{Error, objects};

/// An open Delta table and its single writer.
pub struct Table {
    pub(super) name: String,
    url: Url,
    delta: DeltaTable,
    schema: SchemaRef,
    /// Positions by application id, as of this handle's version; filled when asked for.
    positions: HashMap<String, Option<u64>>,
}

/// How to make a table that is not there yet.
#[derive(Debug, Clone)]
pub struct Declared {
    pub name: String,
    pub title: String,
    pub schema: SchemaRef,
    pub partitioned: bool,
}

/// One atomic change of a table.
#[derive(Debug, Default)]
pub struct Commit {
    /// From [`Writer::finish`].
    pub add: Vec<Add>,
    /// All files of these buckets leave; their new rows are among `add`.
    pub replace_buckets: BTreeSet<i64>,
    /// All files of the table leave: it begins anew with `add`.
    pub replace_all: bool,
    /// By application id; each greater than the one before, unless the table begins anew.
    pub positions: Vec<(String, u64)>,
    /// Shards that move and the epochs in which this process has them; empty where it is the only one to write.
    pub owners: Vec<(u32, u64)>,
}

/// The application id under which a shard's epoch stands.
pub fn owner_application(shard: u32) -> String {
    format!("owner-{shard}")
}

/// So often other processes may be faster with a commit.
pub(super) const ATTEMPTS_MAX: usize = 50;

pub(super) fn fail(doing: &'static str, table: &str) -> impl FnOnce(DeltaTableError) -> Error {
    let table = table.to_owned();
    move |source| Error::Delta { doing, table, source: Box::new(source) }
}

impl Table {
    /// Opens the table in `url`, makes it if it is not there, adds the columns that it lacks. Columns that it
    /// has beyond the declared ones stay and are null in new rows.
    pub async fn open(url: &Url, declared: &Declared) -> Result<Self, Error> {
        let name = declared.name.as_str();
        let opening = || fail("opening", name);
        let mut delta = DeltaTable::try_from_url(url.clone()).await.map_err(opening())?;
        if delta.version().is_none() {
            let columns: StructType = declared
                .schema
                .as_ref()
                .try_into_kernel()
                .map_err(|source| Error::Arrow { doing: "describing", table: name.to_owned(), source })?;
            let partitions: &[&str] = if declared.partitioned { &[BUCKET] } else { &[] };
            let made = delta
                .create()
                .with_table_name(name)
                .with_comment(declared.title.as_str())
                .with_columns(columns.fields().cloned())
                .with_partition_columns(partitions.iter().copied())
                .with_configuration([
                    ("delta.checkpointInterval", Some("50")),
                    ("delta.logRetentionDuration", Some("interval 2 days")),
                    ("delta.deletedFileRetentionDuration", Some("interval 1 days")),
                ])
                .await;
            delta = match made {
                Ok(made) => made,
                Err(error) => {
                    // Another process may have been faster.
                    let there = DeltaTable::try_from_url(url.clone()).await.map_err(opening())?;
                    if there.version().is_none() {
                        return Err(fail("making", name)(error));
                    }
                    there
                }
            };
        }
        let mut table = Self {
            name: name.to_owned(),
            url: url.clone(),
            schema: arrow_schema(&delta, name)?,
            delta,
            positions: HashMap::new(),
        };
        table.widen(&declared.schema).await?;
        Ok(table)
    }

    /// As [`Table::open`], at a folder (made if it is not there) or URL.
    pub async fn open_at(location: &str, declared: &Declared) -> Result<Self, Error> {
        Self::open(&objects::locate(location)?, declared).await
    }

    async fn widen(&mut self, declared: &Schema) -> Result<(), Error> {
        let mut missing = Vec::new();
        for field in declared.fields() {
            match self.schema.field_with_name(field.name()) {
                Ok(found) if found.data_type() == field.data_type() => {}
                Ok(found) => {
                    return Err(Error::Incompatible {
                        table: self.name.clone(),
                        column: field.name().clone(),
                        found: found.data_type().to_string(),
                        wanted: field.data_type().to_string(),
                    });
                }
                Err(_) => missing.push(field.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = missing.iter().map(|field| field.name().as_str()).collect();
        tracing::info!(table = self.name, columns = names.join(","), "adding columns");
        let fields: StructType = (&Schema::new(missing)).try_into_kernel().map_err(|source| {
            Error::Arrow { doing: "describing new columns of", table: self.name.clone(), source }
        })?;
        self.delta = self
            .delta
            .clone()
            .add_columns()
            .with_fields(fields.fields().cloned().collect::<Vec<_>>())
            .await
            .map_err(fail("adding columns to", &self.name))?;
        self.schema = arrow_schema(&self.delta, &self.name)?;
        Ok(())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it lies in Delta: timestamps in microseconds, the partition column included.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn version(&self) -> u64 {
        self.delta.version().unwrap_or(0)
    }

    /// The position that `application` last committed with its data (Delta's `txn`).
    pub async fn position(&mut self, application: &str) -> Result<Option<u64>, Error> {
        if let Some(position) = self.positions.get(application) {
            return Ok(*position);
        }
        let reading = || fail("reading the position of", &self.name);
        let state = self.delta.snapshot().map_err(reading())?;
        let position = state
            .transaction_version(self.delta.log_store().as_ref(), application)
            .await
            .map_err(reading())?
            .and_then(|version| u64::try_from(version).ok());
        self.positions.insert(application.to_owned(), position);
        Ok(position)
    }

    /// Starts writing files; they belong to the table only once [`Table::commit`] has named them.
    pub fn writer(&self) -> Result<Writer, Error> {
        let inner = RecordBatchWriter::for_table(&self.delta)
            .map_err(fail("writing", &self.name))?
            .with_writer_properties(parquet::properties());
        Ok(Writer { table: self.name.clone(), schema: inner.arrow_schema(), inner, rows: 0, opened: false })
    }

    /// Commits files and positions, all or nothing, and gives the table's new version.
    pub async fn commit(&mut self, commit: Commit) -> Result<u64, Error> {
        let mut expected = BTreeMap::new();
        for (application, _) in &commit.positions {
            expected.insert(application.clone(), self.position(application).await?);
        }
        let mut attempts = 0;
        loop {
            self.check_owners(&commit.owners).await?;
            let seen = self.version();
            let error = match self.try_commit(&commit).await {
                Err(error @ Error::OtherWriter { .. }) => error,
                done => return done,
            };
            self.check_late(seen).await?;
            if commit.owners.is_empty() {
                return Err(error);
            }
            attempts += 1;
            if attempts >= ATTEMPTS_MAX {
                return Err(error);
            }
            self.refresh().await?;
            self.check_owners(&commit.owners).await?;
            // Only this process moves its shards' positions: where they are there, the commit landed and was reported
            // as failed.
            let mut landed = !commit.positions.is_empty();
            for (application, position) in &commit.positions {
                let found = self.position(application).await?;
                landed &= found == Some(*position);
                if !landed && found != expected[application] {
                    return Err(error);
                }
            }
            if landed {
                return Ok(self.version());
            }
        }
    }

    /// Looks at what others have committed.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        self.positions.clear();
        self.delta.update_state().await.map_err(fail("reading", &self.name))
    }

    /// None of the versions after `seen` is a commit of this process that was given up, because an object store was away, and
    /// came late: the positions that the writer has in mind are those of before.
    async fn check_late(&self, seen: u64) -> Result<(), Error> {
        if self.url.scheme() == "file" {
            return Ok(());
        }
        let reading = || fail("reading the log of", &self.name);
        let log = self.delta.log_store();
        for version in seen + 1.. {
            let Some(entry) = log.read_commit_entry(version).await.map_err(reading())? else { break };
            if objects::came_late(&self.url, &commit_uri_from_version(Some(version)), &entry)? {
                let late = format!(
                    "version {version} is a commit of this process that was given up and came late: look again"
                );
                return Err(fail("committing to", &self.name)(DeltaTableError::generic(late)));
            }
        }
        Ok(())
    }

    pub(super) async fn try_commit(&mut self, commit: &Commit) -> Result<u64, Error> {
        let mut actions: Vec<Action> = Vec::new();
        let replacing = commit.replace_all || !commit.replace_buckets.is_empty();
        if replacing {
            let state = self.delta.snapshot().map_err(fail("reading the files of", &self.name))?;
            for file in state.log_data() {
                let values = file.partition_values_map();
                let bucket = values.get(BUCKET).and_then(|value| value.as_deref()).map(str::parse::<i64>);
                let replaced = matches!(bucket, Some(Ok(bucket)) if commit.replace_buckets.contains(&bucket));
                if commit.replace_all || replaced {
                    actions.push(Action::Remove(file.remove_action(true)));
                }
            }
        }
        actions.extend(commit.add.iter().cloned().map(Action::Add));
        let now = chrono::Utc::now().timestamp_millis();
        let mut transactions = Vec::new();
        for (application, position) in &commit.positions {
            let before = self.position(application).await?;
            assert!(
                commit.replace_all || before < Some(*position),
                "a position of {} never goes back",
                self.name
            );
            let version = i64::try_from(*position).expect("a position is a BIGINT");
            transactions.push(Transaction::new_with_last_update(application, version, Some(now)));
        }
        let operation = DeltaOperation::Write {
            mode: if replacing { SaveMode::Overwrite } else { SaveMode::Append },
            partition_by: (!commit.replace_buckets.is_empty()).then(|| vec![BUCKET.to_owned()]),
            predicate: None,
        };
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_application_transactions(transactions)
            .with_cleanup_expired_logs(Some(false));
        let state = self.delta.snapshot().map_err(fail("reading", &self.name))?;
        CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state), self.delta.log_store(), operation)
            .await
            .map_err(|source| self.commit_failed(source))?;
        for (application, position) in &commit.positions {
            self.positions.insert(application.clone(), Some(*position));
        }
        self.delta.update_state().await.map_err(fail("reading the new version of", &self.name))?;
        Ok(self.version())
    }

    fn commit_failed(&self, source: DeltaTableError) -> Error {
        let other = matches!(
            &source,
            DeltaTableError::VersionAlreadyExists(_)
                | DeltaTableError::Transaction {
                    source: TransactionError::MaxCommitAttempts(_)
                        | TransactionError::CommitConflict(_)
                        | TransactionError::VersionAlreadyExists(_)
                }
        );
        let (table, source) = (self.name.clone(), Box::new(source));
        if other {
            Error::OtherWriter { table, source }
        } else {
            Error::Delta { doing: "committing to", table, source }
        }
    }

    /// The number of data files.
    pub fn files(&self) -> usize {
        self.delta.snapshot().map_or(0, |state| state.log_data().num_files())
    }

    /// Merges small files into larger ones; the rows stay the same.
    pub async fn compact(&mut self) -> Result<(), Error> {
        let (delta, metrics) = self
            .delta
            .clone()
            .optimize()
            .with_type(OptimizeType::Compact)
            .with_max_concurrent_tasks(1)
            .with_commit_properties(CommitProperties::default().with_max_retries(0))
            .await
            .map_err(fail("compacting", &self.name))?;
        self.delta = delta;
        self.delta.update_state().await.map_err(fail("reading", &self.name))?;
        tracing::debug!(
            table = self.name,
            removed = metrics.num_files_removed,
            added = metrics.num_files_added,
            "compacted"
        );
        Ok(())
    }

    /// Deletes files that no version younger than `retention` names.
    pub async fn vacuum(&mut self, retention: Duration) -> Result<usize, Error> {
        let retention = chrono::Duration::from_std(retention).unwrap_or(chrono::Duration::days(7));
        let (delta, metrics) = self
            .delta
            .clone()
            .vacuum()
            .with_mode(VacuumMode::Full)
            .with_retention_period(retention)
            .with_enforce_retention_duration(false)
            .await
            .map_err(fail("vacuuming", &self.name))?;
        self.delta = delta;
        self.delta.update_state().await.map_err(fail("reading", &self.name))?;
        Ok(metrics.files_deleted.len())
    }

    /// Compacts the table if it has more files than `files_max`, deletes files that no version younger than
    /// `retention` names, and writes a checkpoint. For its single writer, between two commits.
    pub async fn maintain(&mut self, files_max: Option<usize>, retention: Duration) -> Result<(), Error> {
        self.refresh().await?;
        if files_max.is_some_and(|files_max| self.files() > files_max) {
            self.compact().await?;
        }
        let deleted = self.vacuum(retention).await?;
        self.checkpoint().await?;
        tracing::debug!(table = self.name, deleted, "maintained");
        Ok(())
    }

    /// Writes a checkpoint and forgets log entries beyond the retention.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        deltalake::checkpoints::create_checkpoint(&self.delta, None)
            .await
            .map_err(fail("checkpointing", &self.name))?;
        deltalake::checkpoints::cleanup_metadata(&self.delta, None)
            .await
            .map_err(fail("cleaning the log of", &self.name))?;
        Ok(())
    }
}

pub(crate) fn arrow_schema(delta: &DeltaTable, name: &str) -> Result<SchemaRef, Error> {
    let state = delta.snapshot().map_err(fail("reading the schema of", name))?;
    let schema: Schema = state.schema().as_ref().try_into_arrow().map_err(|source| Error::Arrow {
        doing: "reading the schema of",
        table: name.to_owned(),
        source,
    })?;
    Ok(Arc::new(schema))
}

/// Writes new Parquet files of one table (zstd).
pub struct Writer {
    table: String,
    schema: SchemaRef,
    inner: RecordBatchWriter,
    rows: u64,
    opened: bool,
}

impl Writer {
    /// Columns are found by name; those that the batch lacks become null.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = self
            .schema
            .fields()
            .iter()
            .map(|field| match batch.column_by_name(field.name()) {
                Some(array) => array.clone(),
                None => new_null_array(field.data_type(), batch.num_rows()),
            })
            .collect();
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|source| Error::Arrow {
            doing: "writing",
            table: self.table.clone(),
            source,
        })?;
        self.rows += batch.num_rows() as u64;
        self.opened = true;
        self.inner.write(batch).await.map_err(fail("writing", &self.table))
    }

    /// Rows written since the writer was made.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Closes the open files. The writer can go on with new ones.
    pub async fn finish(&mut self) -> Result<Vec<Add>, Error> {
        if !std::mem::take(&mut self.opened) {
            return Ok(Vec::new());
        }
        self.inner.flush().await.map_err(fail("closing a file of", &self.table))
    }
}
