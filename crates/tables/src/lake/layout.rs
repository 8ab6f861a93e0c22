//! Which Delta tables a lake has, and what their columns are.
//!
//! | fused table | in the lake |
//! |---|---|
//! | keyed (`places`, `warnings`) | `<table>` (base, a file per bucket) and `<table>_changes` (append) |
//! | facts (`fact_<kind>`) | `<table>` (append) |

use yibiao_records::{Column, ColumnType, PlaceId, TableSchema};

/// Which shard made a change.
pub const SHARD: &str = "shard";
/// The change's place in its shard's change log.
pub const SEQUENCE: &str = "sequence";
/// insert, update or delete.
pub const OPERATION: &str = "operation";
/// When the fusion shard recorded the change.
pub const RECORDED_AT: &str = "recorded_at";
/// The partition column of base tables.
pub const BUCKET: &str = "bucket";

/// A fused table as the projector needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fused {
    pub schema: TableSchema,
    /// In the users' language.
    pub title: String,
    /// One row a key, so that there is a base table beside the change log.
    pub keyed: bool,
}

/// All fused tables, and how places spread over shards and buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub tables: Vec<Fused>,
    pub shards: u32,
    pub buckets_per_shard: u32,
}

/// What a lake table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The rows as they are now; a partition a bucket.
    Base,
    /// Every change, appended.
    Changes,
}

/// One Delta table of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeTable {
    /// Folder and SQL name.
    pub name: String,
    pub title: String,
    pub role: Role,
    /// The fused table that it shows.
    pub fused: String,
    pub schema: TableSchema,
    /// How many columns every change has, before those of the fused row.
    pub before_row: usize,
}

impl Layout {
    /// The layout of an installation's fused tables; titles are looked up by `title`.
    pub fn new(tables: &crate::Tables, shards: u32) -> Self {
        let fused = |schema: &std::sync::Arc<TableSchema>| Fused {
            schema: schema.as_ref().clone(),
            title: match schema.name.as_str() {
                crate::spec::PLACES => "地点融合表".to_owned(),
                crate::spec::WARNINGS => "预警".to_owned(),
                name => name
                    .strip_prefix("fact_")
                    .and_then(|kind| tables.kinds().get(kind))
                    .map_or_else(String::new, |kind| kind.title.clone()),
            },
            keyed: crate::spec::BASE_TABLES.contains(&schema.name.as_str()),
        };
        Self {
            tables: tables.schemas().map(fused).collect(),
            shards,
            buckets_per_shard: tables.buckets_per_shard(),
        }
    }

    /// The lake's tables in the order of declaration, base before change log.
    pub fn lake_tables(&self) -> Vec<LakeTable> {
        let base = self.tables.iter().filter_map(Fused::base);
        let mut tables: Vec<_> = base.chain(self.tables.iter().map(Fused::changes)).collect();
        tables.sort_by_key(|table| self.tables.iter().position(|fused| fused.schema.name == table.fused));
        tables
    }

    /// The value of the column [`BUCKET`] for a bucket of a shard.
    pub fn bucket(&self, shard: u32, bucket: u32) -> i64 {
        i64::from(shard) * i64::from(self.buckets_per_shard) + i64::from(bucket)
    }

    /// In which bucket a place's row lies.
    pub fn bucket_of(&self, place: PlaceId) -> i64 {
        self.bucket(place.shard(self.shards), place.bucket(self.buckets_per_shard))
    }
}

impl Fused {
    /// The base table, if there is one.
    pub fn base(&self) -> Option<LakeTable> {
        let mut columns = self.schema.columns.clone();
        columns.push(Column::new(BUCKET, ColumnType::Int, "分桶"));
        self.keyed.then(|| LakeTable {
            name: self.schema.name.clone(),
            title: self.title.clone(),
            role: Role::Base,
            fused: self.schema.name.clone(),
            schema: TableSchema { name: self.schema.name.clone(), columns },
            before_row: 0,
        })
    }

    /// The change log. Columns of the row win over columns of the same name that every change has.
    pub fn changes(&self) -> LakeTable {
        let name =
            if self.keyed { format!("{}_changes", self.schema.name) } else { self.schema.name.clone() };
        let title = if self.keyed { format!("{}（变更记录）", self.title) } else { self.title.clone() };
        let mut columns = vec![
            Column::new(SHARD, ColumnType::Int, "分片"),
            Column::new(SEQUENCE, ColumnType::Int, "变更序号"),
        ];
        if self.keyed {
            columns.push(Column::new(OPERATION, ColumnType::Text, "变更类型"));
        }
        columns.push(Column::new(RECORDED_AT, ColumnType::Timestamp, "记录时间"));
        columns.retain(|column| self.schema.column(&column.name).is_none());
        let before_row = columns.len();
        columns.extend(self.schema.columns.iter().cloned());
        let fused = self.schema.name.clone();
        LakeTable {
            schema: TableSchema { name: name.clone(), columns },
            name,
            title,
            role: Role::Changes,
            fused,
            before_row,
        }
    }
}
