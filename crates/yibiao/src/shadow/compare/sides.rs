//! Both lakes in one session, and what of each the other has read.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
use arrow::{
    array::{AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use datafusion::{
    catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, TableProvider},
    datasource::{MemTable, empty::EmptyTable},
    prelude::SessionContext,
};
use yibiao_tables::{
    Lake,
    lake::{LakeTable, Layout, Role, delta_schema},
    provider::{CATALOG, SCHEMA},
};

use super::Side;
use crate::shadow::Plan;

/// The catalog of the tables that the shadow's are compared with.
const OTHER: &str = "compared_with";
/// The catalog of what was found out about both.
const HELPERS: &str = "helpers";

/// See the module.
pub struct Sides {
    session: SessionContext,
    here: Lake,
    there: Lake,
    /// Names of fact tables that both have.
    pub fact_tables: Vec<String>,
    /// What only one side has, in words.
    pub only_one: Vec<String>,
    /// How many places are not compared.
    pub excluded: u64,
    /// The other side has read everything in the plan.
    pub level: bool,
    /// The last raw offset that the other side shows of each raw topic and partition.
    pub reached: BTreeMap<(String, i32), i64>,
}

impl Sides {
    /// Opens both lakes, and finds the places of which one side knows what the other has not read. Where the other side is
    /// `level`, it has read everything in the plan.
    pub async fn open(here: &Side, there: &Side, plan: &Plan, level: bool) -> Result<Self> {
        let open = |side: &Side| -> Result<Lake> {
            let path = side.lake.to_str().context("the data folder's path is not UTF-8")?;
            Ok(Lake::open(path, Layout::new(&side.installation.tables, side.shards))?)
        };
        let (here, there) = (open(here)?, open(there)?);
        let session = here.session([])?;
        let other = there.session([])?.catalog(CATALOG).context("a lake's session has its catalog")?;
        session.register_catalog(OTHER, other);
        let helpers = MemoryCatalogProvider::new();
        helpers.register_schema(SCHEMA, Arc::new(MemorySchemaProvider::new()))?;
        session.register_catalog(HELPERS, Arc::new(helpers));
        let names = |lake: &Lake| -> Vec<String> { facts(lake).map(|table| table.name.clone()).collect() };
        let (ours, theirs) = (names(&here), names(&there));
        let lacks = |of: &[String], all: &[String], what: &str| {
            let only = all.iter().filter(|name| !of.contains(name));
            only.map(|name| format!("only {what} has the table {name}")).collect::<Vec<_>>()
        };
        let only_one =
            [lacks(&theirs, &ours, "the shadow"), lacks(&ours, &theirs, "the other side")].concat();
        let fact_tables = ours.iter().filter(|name| theirs.contains(name)).cloned().collect();
        let mut sides = Self {
            session,
            here,
            there,
            fact_tables,
            only_one,
            level,
            excluded: 0,
            reached: BTreeMap::new(),
        };
        sides.add_ranges(plan)?;
        sides.cut().await?;
        sides.find_reached().await?;
        sides.exclude(&ours, &theirs).await?;
        Ok(sides)
    }

    /// The rows of a query.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let rows = async { self.session.sql(sql).await?.collect().await }.await;
        rows.with_context(|| {
            tracing::debug!(sql, "a comparison failed");
            "comparing the tables (--log debug shows the query)"
        })
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> Result<u64> {
        let rows = self.query(sql).await?;
        let row = rows.iter().find(|batch| batch.num_rows() > 0);
        let number = row.map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0));
        Ok(number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
    }

    /// The name in SQL of a table of the shadow.
    pub fn here(table: &str) -> String {
        format!("{CATALOG}.{SCHEMA}.{table}")
    }

    pub fn there(table: &str) -> String {
        format!("{OTHER}.{SCHEMA}.{table}")
    }

    pub fn helper(table: &str) -> String {
        format!("{HELPERS}.{SCHEMA}.{table}")
    }

    /// A table as each side declares it.
    pub fn declared(&self, table: &str) -> Option<(&LakeTable, &LakeTable)> {
        self.here.table(table).zip(self.there.table(table))
    }

    /// `schema` is that of a table without rows.
    /// Its columns have names that no table has: see `Pairing::pairs`.
    fn add(&self, name: &str, schema: Schema, batches: Vec<RecordBatch>) -> Result<()> {
        let schema = batches.first().map_or_else(|| Arc::new(schema), RecordBatch::schema);
        let table = MemTable::try_new(schema, vec![batches])?;
        self.session.register_table(Self::helper(name), Arc::new(table))?;
        Ok(())
    }

    /// `ranges`: what the shadow has read.
    fn add_ranges(&self, plan: &Plan) -> Result<()> {
        let mut rows = Vec::new();
        for (feed, partitions) in &plan.feeds {
            for (partition, range) in partitions {
                rows.push((feed.raw_topic(), i64::from(*partition), range.from.get(), range.to.get()));
            }
        }
        let number = |name| Field::new(name, DataType::Int64, false);
        let schema = Schema::new(vec![
            Field::new("range_topic", DataType::Utf8, false),
            number("range_partition"),
            number("from_offset"),
            number("to_offset"),
        ]);
        let batch = RecordBatch::try_new(
            Arc::new(schema.clone()),
            vec![
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3))),
            ],
        )?;
        self.add("ranges", schema, vec![batch])
    }

    /// `cut` and `other_places`: the other side at one moment, though it goes on. Its base tables are written after all
    /// change logs up to the same change, so these have everything up to `cut`. Warnings are looked at first: what the base
    /// table of places shows later holds for them too.
    async fn cut(&self) -> Result<()> {
        let warnings = self.there.pinned("warnings").await?;
        let places = self.there.pinned("places").await?;
        let mut cut: BTreeMap<u32, u64> = BTreeMap::new();
        for pinned in [&warnings, &places].into_iter().flatten() {
            for (shard, position) in &pinned.positions {
                let last = cut.entry(*shard).or_default();
                *last = (*position).max(*last);
            }
        }
        let places: Arc<dyn TableProvider> = match places {
            Some(pinned) => pinned.table,
            None => {
                let table = self.there.table("places").context("every installation has places")?;
                Arc::new(EmptyTable::new(delta_schema(&table.schema)))
            }
        };
        self.session.register_table(Self::helper("other_places"), places)?;
        let number = |name| Field::new(name, DataType::Int64, false);
        let schema = Arc::new(Schema::new(vec![number("cut_shard"), number("cut_sequence")]));
        let shards = Int64Array::from_iter_values(cut.keys().map(|shard| i64::from(*shard)));
        let sequences = cut.values().map(|last| i64::try_from(*last).unwrap_or(i64::MAX));
        let sequences = Int64Array::from_iter_values(sequences);
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(shards), Arc::new(sequences)])?;
        self.add("cut", schema.as_ref().clone(), vec![batch])
    }

    /// Rows `f` of a change log of the other side, up to the moment of the comparison.
    pub fn there_until_cut(table: &str) -> String {
        format!(
            "{} f join {} cut on cut.cut_shard = f.shard and f.sequence <= cut.cut_sequence",
            Self::there(table),
            Self::helper("cut")
        )
    }

    /// `reached`: the last raw offset that the other side shows, by raw partition and shard. A shard takes the facts of one
    /// raw partition in their order, so all before it are there.
    async fn find_reached(&mut self) -> Result<()> {
        let of = |table: &String| {
            format!(
                "select f.raw_topic, f.raw_partition, f.shard, max(f.raw_offset) as raw_offset from {} group by 1, 2, 3",
                Self::there_until_cut(table)
            )
        };
        let union: Vec<_> = facts(&self.there).map(|table| of(&table.name)).collect();
        let sql = format!(
            "select raw_topic as last_topic, raw_partition as last_partition, shard as last_shard, max(raw_offset) as last_offset \
             from ({}) group by 1, 2, 3",
            union.join(" union all ")
        );
        let batches = self.query(&sql).await?;
        for batch in &batches {
            let topics = batch.column(0).as_string::<i32>();
            let (partitions, offsets) =
                (batch.column(1).as_primitive::<Int64Type>(), batch.column(3).as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let key = (topics.value(row).to_owned(), partitions.value(row) as i32);
                let last = self.reached.entry(key).or_insert(-1);
                *last = offsets.value(row).max(*last);
            }
        }
        let number = |name| Field::new(name, DataType::Int64, true);
        let schema = Schema::new(vec![
            Field::new("last_topic", DataType::Utf8, true),
            number("last_partition"),
            number("last_shard"),
            number("last_offset"),
        ]);
        self.add("reached", schema, batches)
    }

    /// `excluded`: places that are not compared.
    async fn exclude(&mut self, ours: &[String], theirs: &[String]) -> Result<()> {
        let mut union: Vec<String> = theirs
            .iter()
            .map(|table| {
                format!(
                    "select f.place_id from {} left join {} r on r.range_topic = f.raw_topic and \
                     r.range_partition = f.raw_partition where r.range_topic is null or f.raw_offset < r.from_offset or \
                     f.raw_offset >= r.to_offset",
                    Self::there_until_cut(table),
                    Self::helper("ranges")
                )
            })
            .collect();
        if !self.level {
            union.extend(ours.iter().map(|table| {
                format!(
                    "select f.place_id from {} f {} where {}",
                    Self::here(table),
                    Self::reached_join(),
                    Self::AHEAD
                )
            }));
        }
        let sql = format!("select distinct place_id as excluded_id from ({})", union.join(" union all "));
        let batches = self.query(&sql).await?;
        self.excluded = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        self.add("excluded", Schema::new(vec![Field::new("excluded_id", DataType::Int64, true)]), batches)
    }

    /// Of a shadow's fact `f`, with [`Sides::reached_join`]: the other side may not have come so far.
    pub const AHEAD: &str = "f.raw_offset > coalesce(reached.last_offset, -1)";

    pub fn reached_join() -> String {
        format!(
            "left join {} reached on reached.last_topic = f.raw_topic and reached.last_partition = f.raw_partition and \
             reached.last_shard = f.shard",
            Self::helper("reached")
        )
    }
}

fn facts(lake: &Lake) -> impl Iterator<Item = &LakeTable> {
    lake.tables().filter(|table| table.role == Role::Changes && table.name.starts_with("fact_"))
}
