//! Differences of rows, column by column.

use std::collections::BTreeMap;

use anyhow::Result;
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Int64Type,
};
use serde::Serialize;
use yibiao_records::Column;

use super::sides::Sides;

/// With more rows than this, a table is compared in parts, so that what is in memory has a limit.
const ROWS_AT_ONCE: u64 = 2_000_000;
const PARTS: usize = 16;

/// Where and when something was recorded: it differs though the tables say the same.
const OF_FACTS: [&str; 8] = [
    "statement",
    "recorded_at",
    "raw_topic",
    "raw_partition",
    "raw_offset",
    "raw_index",
    "contract_version",
    "gazetteer_version",
];
const OF_PLACES: [&str; 3] = ["sources", "updated_at", "bucket"];

/// How the rows of one table differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableDifference {
    pub table: String,
    /// Rows that were compared: of either side or both.
    pub compared: u64,
    pub only_shadow: u64,
    pub only_other: u64,
    /// On both sides, with another value in some column.
    pub differing: u64,
    /// Of the differing rows: how many differ in this column.
    pub columns: BTreeMap<String, u64>,
    /// Facts that the shadow has not read.
    pub outside: u64,
    /// Facts that the other side may not have read.
    pub ahead: u64,
    /// Columns that only one side has, or that have another type there.
    pub not_compared: Vec<String>,
    pub examples: Vec<Example>,
}

/// Cells as text; None is null.
pub type Cells = BTreeMap<String, Option<String>>;

/// One row that differs. Of a row that only one side has all cells, else those that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    pub key: Cells,
    pub shadow: Option<Cells>,
    pub other: Option<Cells>,
}

impl TableDifference {
    pub fn differences(&self) -> u64 {
        self.only_shadow + self.only_other + self.differing
    }
}

/// How two queries are compared.
struct Pairing<'a> {
    table: &'a str,
    /// SQL of both sides: the key, the columns, `stands`, `apart` (the other may not have read it) and `in_part`.
    here: String,
    there: String,
    key: &'a [&'a str],
    columns: Vec<Column>,
    parts: Vec<String>,
}

/// Facts by their ids, of every kind that both sides have.
pub async fn facts(sides: &Sides, examples: usize) -> Result<Vec<TableDifference>> {
    let mut differences = Vec::new();
    for table in &sides.fact_tables {
        let (columns, not_compared) = columns(sides, table, &OF_FACTS);
        let names = columns.iter().map(|column| format!("f.{}", column.name)).collect::<Vec<_>>().join(", ");
        let last = |from: String, apart: &str, only: &str| {
            format!(
                "select {names}, statement = 'assert' as stands, apart from (select {names}, f.statement, {apart} as apart, \
                 row_number() over (partition by f.fact_id order by f.raw_offset desc, f.raw_index desc) as recency \
                 from {from} where {only}) f where recency = 1"
            )
        };
        let ahead = if sides.level { "false" } else { Sides::AHEAD };
        let ranges = format!(
            "join {} r on r.range_topic = f.raw_topic and r.range_partition = f.raw_partition",
            Sides::helper("ranges")
        );
        let pairing = Pairing {
            table,
            here: last(format!("{} f {}", Sides::here(table), Sides::reached_join()), ahead, "$part"),
            there: last(
                format!("{} {ranges}", Sides::there_until_cut(table)),
                "f.raw_offset < r.from_offset",
                "f.raw_offset < r.to_offset and $part",
            ),
            key: &["fact_id"],
            columns,
            parts: parts(sides, table, |part| format!("substr(f.fact_id, 1, 1) = '{part:x}'")).await?,
        };
        differences.push(TableDifference { not_compared, ..pairing.compare(sides, examples).await? });
    }
    Ok(differences)
}

/// The rows of places that are compared.
pub async fn places(sides: &Sides, examples: usize) -> Result<TableDifference> {
    let (columns, not_compared) = columns(sides, "places", &OF_PLACES);
    let names = columns.iter().map(|column| format!("f.{}", column.name)).collect::<Vec<_>>().join(", ");
    let side = |from: String| {
        format!(
            "select {names}, true as stands, false as apart from {from} f left join {} e on e.excluded_id = f.place_id \
             where e.excluded_id is null and $part",
            Sides::helper("excluded")
        )
    };
    let pairing = Pairing {
        table: "places",
        here: side(Sides::here("places")),
        there: side(Sides::helper("other_places")),
        key: &["place_id"],
        columns,
        parts: parts(sides, "places", |part| format!("f.bucket % {PARTS} = {part}")).await?,
    };
    Ok(TableDifference { not_compared, ..pairing.compare(sides, examples).await? })
}

/// Warnings that stand, by rule: `only_shadow` were raised by the shadow's rule, `only_other` were cleared by it.
pub async fn warnings(sides: &Sides, examples: usize) -> Result<BTreeMap<String, TableDifference>> {
    let changes = "warnings_changes";
    let standing = |from: String, only: &str| {
        format!(
            "select f.rule, f.place_id, f.severity, f.message, true as stands, false as apart from (select f.*, \
             row_number() over (partition by f.warning_id order by f.sequence desc) as recency from {from}) f left join {} e \
             on e.excluded_id = f.place_id where recency = 1 and f.state <> 'cleared' and e.excluded_id is null and {only}",
            Sides::helper("excluded")
        )
    };
    let rules = format!(
        "select distinct rule from (select rule from {} union all select rule from {}) order by rule",
        Sides::here(changes),
        Sides::there(changes)
    );
    let mut differences = BTreeMap::new();
    for rule in texts(&sides.query(&rules).await?) {
        let only = format!("f.rule = '{}'", rule.replace('\'', "''"));
        let here = format!("{} f", Sides::here(changes));
        let pairing = Pairing {
            table: "warnings",
            here: standing(here, &only),
            there: standing(Sides::there_until_cut(changes), &only),
            key: &["rule", "place_id"],
            // A message says what the numbers were when the warning was last updated, which depends on the batches.
            columns: columns(sides, "warnings", &[])
                .0
                .into_iter()
                .filter(|column| ["rule", "place_id", "severity"].contains(&column.name.as_str()))
                .collect(),
            parts: vec!["true".to_owned()],
        };
        differences.insert(rule, pairing.compare(sides, examples).await?);
    }
    Ok(differences)
}

/// The columns of a table that both sides have in one type, and the names of the others.
fn columns(sides: &Sides, table: &str, left_out: &[&str]) -> (Vec<Column>, Vec<String>) {
    let Some((here, there)) = sides.declared(table) else { return Default::default() };
    let of_log = ["shard", "sequence"];
    let wanted = |column: &&Column| {
        !left_out.contains(&column.name.as_str()) && !of_log.contains(&column.name.as_str())
    };
    let same = |column: &Column, columns: &[Column]| {
        columns.iter().any(|other| other.name == column.name && other.column_type == column.column_type)
    };
    let (here, there) = (&here.schema.columns, &there.schema.columns);
    let both = here.iter().filter(wanted).filter(|column| same(column, there)).cloned().collect();
    let mut apart: Vec<String> = here
        .iter()
        .filter(wanted)
        .filter(|column| !same(column, there))
        .chain(there.iter().filter(wanted).filter(|column| !same(column, here)))
        .map(|column| column.name.clone())
        .collect();
    apart.sort();
    apart.dedup();
    (both, apart)
}

/// Conditions that divide a table's rows, on both sides alike.
async fn parts(sides: &Sides, table: &str, condition: impl Fn(usize) -> String) -> Result<Vec<String>> {
    let rows = |table: String| format!("select count(*) from {table}");
    let here = sides.number(&rows(Sides::here(table))).await?;
    let there = sides.number(&rows(Sides::there(table))).await?;
    Ok(match here.max(there) > ROWS_AT_ONCE {
        true => (0..PARTS).map(condition).collect(),
        false => vec!["true".to_owned()],
    })
}

impl Pairing<'_> {
    async fn compare(&self, sides: &Sides, examples: usize) -> Result<TableDifference> {
        let mut difference = TableDifference { table: self.table.to_owned(), ..TableDifference::default() };
        for part in &self.parts {
            let pairs = self.pairs(part);
            let counted = sides.query(&self.counting(&pairs)).await?;
            self.count(&counted, &mut difference);
            let left = examples * 3 - difference.examples.len().min(examples * 3);
            if difference.differences() > 0 && left > 0 {
                for kind in [
                    "h_stands and t_stands and differs",
                    "h_stands and not t_stands",
                    "t_stands and not h_stands",
                ] {
                    let rows = sides.query(&self.examples(&pairs, kind, examples)).await?;
                    difference.examples.extend(rows.iter().flat_map(|batch| self.read_examples(batch)));
                }
            }
        }
        Ok(difference)
    }

    /// Columns beside the key.
    fn values(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !self.key.contains(&column.name.as_str()))
    }

    /// Both sides' rows by their key. No two columns of the sides bear one name: DataFusion 55 pushes a filter over an outer
    /// join to the wrong side where they do.
    fn pairs(&self, part: &str) -> String {
        let keys = self.key.iter().map(|key| format!("coalesce(\"h_{key}\", \"t_{key}\") as {key}"));
        let on: Vec<_> = self.key.iter().map(|key| format!("\"h_{key}\" = \"t_{key}\"")).collect();
        let values = self.values().map(|column| format!("\"h_{0}\", \"t_{0}\"", column.name));
        let differs: Vec<_> = self.values().map(|column| differs(&column.name)).collect();
        let key = self.key[0];
        let flags = [
            "coalesce(h__stands, false) as h_stands".to_owned(),
            "coalesce(t__stands, false) as t_stands".to_owned(),
            "coalesce(h__apart, false) as ahead".to_owned(),
            format!("\"h_{key}\" is null and coalesce(t__apart, false) as outside"),
            format!(
                "({}) as differs",
                if differs.is_empty() { "false".to_owned() } else { differs.join(" or ") }
            ),
        ];
        let columns: Vec<_> = keys.chain(values).chain(flags).collect();
        format!(
            "with here as ({}), there as ({}), pairs as (select {} from here full join there on {})",
            self.side("h", &self.here.replace("$part", part)),
            self.side("t", &self.there.replace("$part", part)),
            columns.join(", "),
            on.join(" and ")
        )
    }

    /// One side with its letter before every name.
    fn side(&self, letter: &str, rows: &str) -> String {
        let keys = self.key.iter().copied().chain(self.values().map(|column| column.name.as_str()));
        let columns: Vec<_> = keys.map(|name| format!("{name} as \"{letter}_{name}\"")).collect();
        format!(
            "select {}, stands as {letter}__stands, apart as {letter}__apart from ({rows}) rows",
            columns.join(", ")
        )
    }

    fn counting(&self, pairs: &str) -> String {
        let count = |what: &str| format!("count(*) filter (where {what})");
        let comparable = |what: &str| count(&format!("not ahead and not outside and ({what})"));
        let mut counts = vec![
            comparable("h_stands or t_stands"),
            comparable("h_stands and not t_stands"),
            comparable("t_stands and not h_stands"),
            comparable("h_stands and t_stands and differs"),
            count("outside and t_stands"),
            count("ahead"),
        ];
        counts.extend(self.values().map(|column| {
            let name = &column.name;
            comparable(&format!("h_stands and t_stands and {}", differs(name)))
        }));
        let named = counts.iter().enumerate().map(|(index, count)| format!("{count} as c{index}"));
        format!("{pairs} select {} from pairs", named.collect::<Vec<_>>().join(", "))
    }

    fn count(&self, batches: &[RecordBatch], difference: &mut TableDifference) {
        let Some(row) = batches.iter().find(|batch| batch.num_rows() > 0) else { return };
        let count = |index: usize| row.column(index).as_primitive::<Int64Type>().value(0).max(0) as u64;
        difference.compared += count(0);
        difference.only_shadow += count(1);
        difference.only_other += count(2);
        difference.differing += count(3);
        difference.outside += count(4);
        difference.ahead += count(5);
        for (index, column) in self.values().enumerate() {
            let differing = count(6 + index);
            if differing > 0 {
                *difference.columns.entry(column.name.clone()).or_default() += differing;
            }
        }
    }

    fn examples(&self, pairs: &str, which: &str, limit: usize) -> String {
        let text = |column: &str| format!("cast(\"{column}\" as varchar)");
        let keys = self.key.iter().map(|key| text(key));
        let values = self.values().flat_map(|column| {
            // What is personal is counted, and not shown.
            let shown = |side: &str| match column.personal {
                true => format!("case when \"{side}_{}\" is not null then '(personal)' end", column.name),
                false => text(&format!("{side}_{}", column.name)),
            };
            [shown("h"), shown("t"), differs(&column.name)]
        });
        let cells = keys.chain(values).chain(["h_stands".to_owned(), "t_stands".to_owned()]);
        let cells = cells.enumerate().map(|(index, cell)| format!("{cell} as c{index}"));
        format!(
            "{pairs} select {} from pairs where not ahead and not outside and {which} order by {} limit {limit}",
            cells.collect::<Vec<_>>().join(", "),
            self.key.join(", ")
        )
    }

    fn read_examples(&self, batch: &RecordBatch) -> Vec<Example> {
        let text = |column: usize, row: usize| {
            let column = batch.column(column).as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let is = |column: usize, row: usize| batch.column(column).as_boolean().value(row);
        let last = batch.num_columns() - 2;
        let read = |row: usize| {
            let (shadow, other) = (is(last, row), is(last + 1, row));
            let key = self.key.iter().enumerate().map(|(index, key)| ((*key).to_owned(), text(index, row)));
            let cells = |side: usize| -> Cells {
                let values =
                    self.values().enumerate().map(|(index, column)| (self.key.len() + index * 3, column));
                values
                    .filter(|(at, _)| !(shadow && other) || is(at + 2, row))
                    .map(|(at, column)| (column.name.clone(), text(at + side, row)))
                    .filter(|(_, cell)| (shadow && other) || cell.is_some())
                    .collect()
            };
            Example { key: key.collect(), shadow: shadow.then(|| cells(0)), other: other.then(|| cells(1)) }
        };
        (0..batch.num_rows()).map(read).collect()
    }
}

/// Whether both sides have another value in this column.
fn differs(column: &str) -> String {
    format!("(\"h_{column}\" is distinct from \"t_{column}\")")
}

fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let of = |batch: &RecordBatch| -> Vec<String> {
        batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect()
    };
    batches.iter().flat_map(of).collect()
}
