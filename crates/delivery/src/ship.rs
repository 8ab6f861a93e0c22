//! One table to one centre: read what is new, keep the centre's area, write, enter in the audit log, commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use futures::StreamExt;
use sm3::{Digest, Sm3};
use tokio::sync::Mutex;
use yibiao_records::{Column, CrashPoint, TableSchema};
use yibiao_tables::{
    Lake,
    lake::{Commit, Declared, LakeTable, Role, Selection, Since, Table, delta_schema, layout},
};

use crate::{
    Audit, Error, Grant,
    audit::{self, Entry},
    grant::GrantedTable,
    privacy,
    warnings::{Topic, Warning},
};

/// The position of the source's version in the centre's tables.
const SOURCE: &str = "source";
/// The position that says what the centre's table was made of and for: a hash, see [`Shipment::fingerprint`].
const FINGERPRINT: &str = "fingerprint";
/// In the audit log.
const DELIVERED: &str = "delivered";
/// Buckets of a base table that are rewritten together.
const BUCKETS_AT_ONCE: usize = 16;

/// What all shipments of one centre share.
pub struct Context<'a> {
    pub lake: &'a Lake,
    pub grant: &'a Grant,
    /// Names of personal columns of all tables.
    pub personal: &'a BTreeSet<String>,
    pub audit: &'a Mutex<Audit>,
    pub now: chrono::DateTime<chrono::Utc>,
}

/// One table on its way to one centre.
pub struct Shipment {
    source: LakeTable,
    columns: Vec<Column>,
    declared: Declared,
    location: String,
    /// Opened at the first delivery.
    target: Option<Table>,
}

/// What one delivery of one table did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shipped {
    pub from: Option<u64>,
    pub to: u64,
    /// read = delivered + filtered + repeated
    pub read: u64,
    pub delivered: u64,
    /// Rows of other areas.
    pub filtered: u64,
    /// Rows that the centre has already: they were read again because the source's log was cleaned.
    pub repeated: u64,
    /// Records on the topic of warnings.
    pub sent: u64,
}

impl Shipment {
    /// `location` is the folder or URL of the centre's table.
    pub fn new(source: LakeTable, grant: &GrantedTable, location: String) -> Self {
        let columns = privacy::granted_columns(&source, grant);
        let schema = TableSchema { name: source.name.clone(), columns: columns.clone() };
        let declared = Declared {
            name: source.name.clone(),
            title: source.title.clone(),
            schema: delta_schema(&schema),
            partitioned: source.role == Role::Base,
        };
        Self { source, columns, declared, location, target: None }
    }

    /// The lake's table.
    pub fn table(&self) -> &str {
        &self.source.name
    }

    /// Whether its rows also go to the topic of warnings.
    pub fn is_warnings(&self) -> bool {
        self.source.fused == "warnings" && self.source.role == Role::Changes
    }

    /// The centre's own table.
    pub async fn target(&mut self) -> Result<&mut Table, Error> {
        if self.target.is_none() {
            self.target = Some(Table::open_at(&self.location, &self.declared).await?);
        }
        Ok(self.target.as_mut().expect("it was just opened"))
    }

    /// A hash of what positions are bound to: the source's table, the centre's area and columns, and what counts
    /// as personal. Where it differs from the one in the centre's table, everything is delivered anew. None if
    /// nothing was written to the source yet.
    pub async fn fingerprint(
        &self,
        lake: &Lake,
        area: &str,
        personal: &BTreeSet<String>,
    ) -> Result<Option<u64>, Error> {
        let Some(id) = lake.table_id(&self.source.name).await? else { return Ok(None) };
        let columns: Vec<_> = self.columns.iter().map(|column| (&column.name, column.column_type)).collect();
        let text = format!("{id:?} {area:?} {columns:?} {personal:?}");
        let hash = Sm3::digest(text.as_bytes());
        // A position is a BIGINT of Delta's, not negative.
        let first = hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(Some(first >> 1))
    }

    /// Delivers what is new since the last time; None when nothing is.
    pub async fn ship(
        &mut self,
        context: &Context<'_>,
        topic: Option<&mut Topic>,
    ) -> Result<Option<Shipped>, Error> {
        let outcome = self.try_ship(context, topic).await;
        if outcome.is_err() {
            // Whatever was half done: look at the table again.
            self.target = None;
        }
        outcome
    }

    /// Maintains the centre's table as the projector does the lake's: change logs of many small files are
    /// compacted; files that no recent version names are deleted; a checkpoint is written. Nothing to do where
    /// nothing was delivered since the start.
    pub async fn maintain(&mut self, files_max: usize, retention: Duration) -> Result<(), Error> {
        let Some(target) = &mut self.target else { return Ok(()) };
        let files_max = (self.source.role == Role::Changes).then_some(files_max);
        let outcome = target.maintain(files_max, retention).await;
        if outcome.is_err() {
            self.target = None;
        }
        Ok(outcome?)
    }

    async fn try_ship(
        &mut self,
        context: &Context<'_>,
        topic: Option<&mut Topic>,
    ) -> Result<Option<Shipped>, Error> {
        let print = self.fingerprint(context.lake, &context.grant.area, context.personal).await?;
        let Some(fingerprint) = print else { return Ok(None) };
        let target = self.target().await?;
        let mut from = target.position(SOURCE).await?;
        let anew = target.position(FINGERPRINT).await? != Some(fingerprint);
        if anew && from.take().is_some() {
            tracing::info!(
                centre = context.grant.id,
                table = self.source.name,
                "the grant or the lake is another than before: everything is delivered anew"
            );
        }
        let anew = anew.then_some(fingerprint);
        let Some(since) = context.lake.since(&self.source.name, from).await? else { return Ok(None) };
        if since.what == Selection::Nothing || from.is_some_and(|from| since.version <= from) {
            return Ok(None);
        }
        let shipped = Shipped { from, to: since.version, ..Shipped::default() };
        match self.source.role {
            Role::Changes => self.ship_changes(context, topic, since, anew, shipped).await.map(Some),
            Role::Base => self.ship_base(context, since, anew, shipped).await.map(Some),
        }
    }

    async fn ship_changes(
        &mut self,
        context: &Context<'_>,
        mut topic: Option<&mut Topic>,
        since: Since,
        anew: Option<u64>,
        mut shipped: Shipped,
    ) -> Result<Shipped, Error> {
        let (source, columns) = (self.source.name.clone(), self.columns.clone());
        let mut delivered = BTreeMap::new();
        for shard in 0..context.lake.layout().shards {
            let position = match anew {
                Some(_) => None,
                None => self.target().await?.position(&shard_position(i64::from(shard))).await?,
            };
            delivered.insert(i64::from(shard), position.unwrap_or(0) as i64);
        }
        let mut reached = delivered.clone();
        let mut writer = self.target().await?.writer()?;
        let mut warnings = Vec::new();
        let mut newest_us = None;
        let mut batches = context.lake.scan(&source, &since.what).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let area = privacy::in_area(&source, &batch, &context.grant.area)?;
            let new = news(&source, &batch, &delivered, &mut reached)?;
            let keep: BooleanArray = area
                .iter()
                .zip(new.iter())
                .map(|(area, new)| Some(area == Some(true) && new == Some(true)))
                .collect();
            shipped.read += batch.num_rows() as u64;
            shipped.delivered += keep.true_count() as u64;
            shipped.repeated += new.false_count() as u64;
            let rows = privacy::project(&source, &batch, &keep, &columns, context.personal)?;
            newest_us = newest_us.max(newest(&rows));
            if topic.is_some() {
                warnings.extend(
                    Warning::of(&rows)
                        .map_err(|source| Error::Arrow { table: self.source.name.clone(), source })?,
                );
            }
            writer.write(&rows).await?;
        }
        shipped.filtered = shipped.read - shipped.delivered - shipped.repeated;
        let add = writer.finish().await?;
        self.enter(context, &shipped, DELIVERED).await?;
        if anew.is_some() && topic.is_some() {
            let unknown = self.unknown(context, &warnings).await?;
            if !unknown.is_empty() {
                let told = unknown.len() as u64;
                let cleared = Shipped { read: told, delivered: told, ..shipped };
                self.enter(context, &cleared, "cleared: the lake does not know these warnings any more")
                    .await?;
                warnings.extend(unknown);
            }
        }
        let mut positions = vec![(SOURCE.to_owned(), since.version)];
        if let Some(topic) = topic.as_deref_mut() {
            shipped.sent = topic.send(warnings).await?;
            CrashPoint::DeliverSent.pass();
            positions.extend(topic.positions().await?);
        }
        positions.extend(reached.iter().map(|(shard, last)| (shard_position(*shard), *last as u64)));
        let target = self.target().await?;
        match anew {
            Some(fingerprint) => positions.push((FINGERPRINT.to_owned(), fingerprint)),
            None => positions = forward(target, positions).await?,
        }
        target.commit(Commit { add, replace_all: anew.is_some(), positions, ..Commit::default() }).await?;
        CrashPoint::DeliverCommitted.pass();
        if let Some(topic) = topic {
            topic.committed();
        }
        if let Some(at_us) = newest_us {
            let lag_ms = (context.now.timestamp_millis() - at_us / 1000).max(0);
            metrics::gauge!("yibiao_event_lag_seconds", "stage" => "deliver", "centre" => context.grant.id.clone())
                .set(lag_ms as f64 / 1000.0);
        }
        Ok(shipped)
    }

    async fn ship_base(
        &mut self,
        context: &Context<'_>,
        since: Since,
        anew: Option<u64>,
        mut shipped: Shipped,
    ) -> Result<Shipped, Error> {
        let (source, columns) = (self.source.name.clone(), self.columns.clone());
        let layout = context.lake.layout();
        let buckets = match since.what {
            Selection::Buckets(buckets) => buckets,
            _ => (0..i64::from(layout.shards) * i64::from(layout.buckets_per_shard)).collect(),
        };
        let replace_all = anew.is_some();
        let mut commit = Commit { replace_buckets: buckets.clone(), replace_all, ..Commit::default() };
        let mut writer = self.target().await?.writer()?;
        let buckets: Vec<_> = buckets.into_iter().collect();
        for some in buckets.chunks(BUCKETS_AT_ONCE) {
            let what = Selection::Buckets(some.iter().copied().collect());
            let mut batches = context.lake.scan(&source, &what).await?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                let keep = privacy::in_area(&source, &batch, &context.grant.area)?;
                shipped.read += batch.num_rows() as u64;
                shipped.delivered += keep.true_count() as u64;
                let rows = privacy::project(&source, &batch, &keep, &columns, context.personal)?;
                writer.write(&rows).await?;
            }
            commit.add.extend(writer.finish().await?);
        }
        shipped.filtered = shipped.read - shipped.delivered;
        self.enter(context, &shipped, DELIVERED).await?;
        commit.positions = vec![(SOURCE.to_owned(), since.version)];
        commit.positions.extend(anew.map(|fingerprint| (FINGERPRINT.to_owned(), fingerprint)));
        self.target().await?.commit(commit).await?;
        Ok(shipped)
    }

    /// Clearings of what the centre was told as firing, and of which `warnings`, all that the lake has, says nothing. Only of what
    /// the centre may have now: of places outside its area it hears nothing, as ever.
    async fn unknown(&self, context: &Context<'_>, warnings: &[Warning]) -> Result<Vec<Warning>, Error> {
        let name = &self.source.name;
        let known: BTreeSet<&str> = warnings.iter().map(|warning| warning.id.as_str()).collect();
        let folder = self.location.strip_suffix(name.as_str()).unwrap_or(&self.location);
        let told = Lake::open(folder.trim_end_matches('/'), context.lake.layout().clone())?;
        let mut last: BTreeMap<String, Warning> = BTreeMap::new();
        let mut batches = told.scan(name, &Selection::Everything).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let keep = privacy::in_area(name, &batch, &context.grant.area)?;
            let rows = privacy::project(name, &batch, &keep, &self.columns, context.personal)?;
            let rows = Warning::of(&rows).map_err(|source| Error::Arrow { table: name.clone(), source })?;
            for warning in rows.into_iter().filter(|warning| !known.contains(warning.id.as_str())) {
                if last.get(&warning.id).is_none_or(|last| last.sequence < warning.sequence) {
                    last.insert(warning.id.clone(), warning);
                }
            }
        }
        Ok(last.values().filter_map(|warning| warning.cleared(context.now, &self.columns)).collect())
    }

    /// Into the audit log, before anything is committed.
    async fn enter(&self, context: &Context<'_>, shipped: &Shipped, outcome: &str) -> Result<(), Error> {
        let grant = context.grant;
        context.audit.lock().await.append(Entry {
            at: audit::time(context.now),
            centre: grant.id.clone(),
            purposes: grant.purposes.clone(),
            area: grant.area.clone(),
            table: self.source.name.clone(),
            from: shipped.from,
            to: shipped.to,
            read: shipped.read,
            delivered: shipped.delivered,
            filtered: shipped.filtered,
            repeated: shipped.repeated,
            outcome: outcome.to_owned(),
        })?;
        CrashPoint::DeliverAudited.pass();
        Ok(())
    }
}

fn shard_position(shard: i64) -> String {
    format!("shard-{shard}")
}

/// Only positions that go forward are written.
async fn forward(target: &mut Table, positions: Vec<(String, u64)>) -> Result<Vec<(String, u64)>, Error> {
    let mut forward = Vec::new();
    for (application, position) in positions {
        if target.position(&application).await? < Some(position) {
            forward.push((application, position));
        }
    }
    Ok(forward)
}

/// Which rows are beyond what was delivered; `reached` becomes the last change of each shard that was read.
fn news(
    table: &str,
    batch: &RecordBatch,
    delivered: &BTreeMap<i64, i64>,
    reached: &mut BTreeMap<i64, i64>,
) -> Result<BooleanArray, Error> {
    let column = |name: &'static str| {
        batch
            .column_by_name(name)
            .and_then(|column| column.as_primitive_opt::<Int64Type>())
            .ok_or_else(|| Error::NoArea { table: table.to_owned(), column: name })
    };
    let (shards, sequences) = (column(layout::SHARD)?, column(layout::SEQUENCE)?);
    Ok(shards
        .values()
        .iter()
        .zip(sequences.values())
        .map(|(shard, sequence)| {
            let last = reached.entry(*shard).or_default();
            *last = (*last).max(*sequence);
            Some(*sequence > delivered.get(shard).copied().unwrap_or(0))
        })
        .collect())
}

fn newest(rows: &RecordBatch) -> Option<i64> {
    let times = rows.column_by_name(layout::RECORDED_AT)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    arrow::compute::max(times)
}
