//! The fused tables: which there are, and their columns.

mod places;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use yibiao_records::{Column, ColumnType, FactKind, FactKinds, PlaceId, TableSchema};

pub use places::{FactField, Measure, Merge, MergedColumn, PlacesSpec, Series as SeriesSpec, Source, Span};

use crate::Error;

/// One row a place.
pub const PLACES: &str = "places";
/// One row a warning.
pub const WARNINGS: &str = "warnings";
/// The tables that have current rows; all others are change logs only.
pub const BASE_TABLES: [&str; 2] = [PLACES, WARNINGS];

/// All fused tables of an installation.
#[derive(Debug, Clone)]
pub struct Tables {
    places: Arc<PlacesSpec>,
    kinds: FactKinds,
    schemas: BTreeMap<String, Arc<TableSchema>>,
    buckets_per_shard: u32,
}

impl Tables {
    /// Reads `places.yaml` in `dir`. The number of buckets is part of the state's layout: it cannot be changed
    /// for an existing folder.
    pub fn load(dir: &Path, kinds: &FactKinds, buckets_per_shard: u32) -> Result<Self, Error> {
        let path = dir.join("places.yaml");
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        Self::parse(&path, &text, kinds, buckets_per_shard)
    }

    /// As [`Tables::load`], from the text of `places.yaml`; `path` is for messages.
    pub fn parse(path: &Path, text: &str, kinds: &FactKinds, buckets_per_shard: u32) -> Result<Self, Error> {
        assert!((1..=4096).contains(&buckets_per_shard), "a shard has 1 to 4096 buckets");
        let places = PlacesSpec::parse(path, text, kinds)?;
        let mut schemas = BTreeMap::new();
        for schema in std::iter::once(places_schema(&places))
            .chain(std::iter::once(warnings_schema()))
            .chain(kinds.iter().map(|kind| fact_schema(kind)))
        {
            schemas.insert(schema.name.clone(), Arc::new(schema));
        }
        Ok(Self { places: Arc::new(places), kinds: kinds.clone(), schemas, buckets_per_shard })
    }

    pub fn places(&self) -> &Arc<PlacesSpec> {
        &self.places
    }

    pub fn kinds(&self) -> &FactKinds {
        &self.kinds
    }

    /// `places`, `warnings` or `fact_<kind>`.
    pub fn schema(&self, table: &str) -> Result<&Arc<TableSchema>, Error> {
        self.schemas.get(table).ok_or_else(|| Error::UnknownTable {
            table: table.to_owned(),
            known: self.schemas.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// In the order of their names.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<TableSchema>> {
        self.schemas.values()
    }

    pub fn buckets_per_shard(&self) -> u32 {
        self.buckets_per_shard
    }

    /// The place's bucket within its shard.
    pub fn bucket(&self, place: PlaceId) -> u32 {
        place.bucket(self.buckets_per_shard)
    }

    /// The value of the lake's column `bucket`: unique over all shards.
    pub fn lake_bucket(&self, shard: u32, place: PlaceId) -> u32 {
        shard * self.buckets_per_shard + self.bucket(place)
    }
}

/// The table of a kind's facts: `fact_water`.
pub fn fact_table(kind: &str) -> String {
    format!("fact_{kind}")
}

fn places_schema(spec: &PlacesSpec) -> TableSchema {
    let mut columns = vec![Column::new("place_id", ColumnType::Int, "地点")];
    columns.extend(spec.columns.iter().map(|merged| merged.column.clone()));
    columns.push(Column::new("sources", ColumnType::Text, "各字段来源"));
    columns.push(Column::new("updated_at", ColumnType::Timestamp, "更新时间"));
    TableSchema { name: PLACES.into(), columns }
}

fn warnings_schema() -> TableSchema {
    use ColumnType::{Int, Text, Timestamp};
    let columns = [
        ("warning_id", Text, "预警编号"),
        ("rule", Text, "规则"),
        ("rule_version", Text, "规则版本"),
        ("place_id", Int, "地点"),
        ("division_code", Text, "行政区划代码"),
        ("county", Text, "区县"),
        ("address", Text, "标准地址"),
        ("state", Text, "状态"),
        ("severity", Int, "等级"),
        ("message", Text, "说明"),
        ("evidence", Text, "依据"),
        ("raised_at", Timestamp, "发出时间"),
        ("updated_at", Timestamp, "更新时间"),
        ("cleared_at", Timestamp, "解除时间"),
        ("previous", Text, "前一预警编号"),
    ];
    TableSchema {
        name: WARNINGS.into(),
        columns: columns.into_iter().map(|(name, t, title)| Column::new(name, t, title)).collect(),
    }
}

/// The columns of every fact before its payload.
const FACT_COLUMNS: [(&str, ColumnType, &str); 19] = [
    ("statement", ColumnType::Text, "陈述"),
    ("fact_id", ColumnType::Text, "事实编号"),
    ("place_id", ColumnType::Int, "地点"),
    ("division_code", ColumnType::Text, "行政区划代码"),
    ("level", ColumnType::Text, "地址级别"),
    ("provisional", ColumnType::Bool, "暂定地点"),
    ("valid_from", ColumnType::Timestamp, "有效自"),
    ("valid_to", ColumnType::Timestamp, "有效至"),
    ("recorded_at", ColumnType::Timestamp, "记录时间"),
    ("feed", ColumnType::Text, "数据源"),
    ("source_key", ColumnType::Text, "来源主键"),
    ("raw_topic", ColumnType::Text, "原始主题"),
    ("raw_partition", ColumnType::Int, "原始分区"),
    ("raw_offset", ColumnType::Int, "原始位置"),
    ("raw_index", ColumnType::Int, "记录内序号"),
    ("contract_version", ColumnType::Text, "契约版本"),
    ("gazetteer_version", ColumnType::Text, "地名库版本"),
    ("match_reason", ColumnType::Text, "匹配方式"),
    ("confidence", ColumnType::Decimal, "匹配置信度"),
];

/// How many columns of a fact table come before the payload.
pub const FACT_COLUMNS_BEFORE_PAYLOAD: usize = FACT_COLUMNS.len();

/// A payload column whose name every fact has already (a place's `level`) is called `<kind>_<column>`.
fn fact_schema(kind: &FactKind) -> TableSchema {
    let mut columns: Vec<Column> =
        FACT_COLUMNS.iter().map(|(name, t, title)| Column::new(name, *t, title)).collect();
    for column in &kind.columns {
        let mut column = column.clone();
        if FACT_COLUMNS.iter().any(|(name, ..)| *name == column.name) {
            column.name = format!("{}_{}", kind.name, column.name);
        }
        columns.push(column);
    }
    TableSchema { name: fact_table(&kind.name), columns }
}
