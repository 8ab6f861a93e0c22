//! The table `silent`, which a rule of shape `silence` reads: one row a place where a kind is silent.
//!
//! | column | |
//! |---|---|
//! | `place_id` | |
//! | `<kind>_days` | the highest of the rule's days that the silence has lasted; null while it is no silence |
//! | `<kind>_last_on` | the day of the last fact; null where there is none, and who never spoke is not silent |
//!
//! It has no column with the clock's day: such a rule would have to run over every place every day.

use std::collections::{BTreeMap, HashSet};

use arrow::record_batch::RecordBatch;
use yibiao_records::{Column, ColumnType, PlaceId, TableSchema, Value, schema::array};
use yibiao_tables::{Problem, Tables};

use super::{Rule, personal, slot::Slot};
use crate::{Error, silence::Standing};

pub const TABLE: &str = "silent";

pub fn schema(rule: &Rule) -> TableSchema {
    let mut columns = vec![Column::new("place_id", ColumnType::Int, "地点")];
    for kind in rule.silent.keys() {
        columns.push(Column::new(&format!("{kind}_days"), ColumnType::Int, "已无记录天数"));
        columns.push(Column::new(&format!("{kind}_last_on"), ColumnType::Date, "最后记录日期"));
    }
    TableSchema { name: TABLE.into(), columns }
}

/// The place's row; None where none of the rule's kinds is silent, and the rule cannot hold.
pub fn row(rule: &Rule, place: PlaceId, standings: &[Standing]) -> Option<Vec<Value>> {
    let mut row = vec![Value::Int(place.get())];
    let mut is_silent = false;
    for (kind, days) in &rule.silent {
        let standing = standings.iter().find(|standing| *standing.kind == **kind);
        let passed = standing.and_then(|standing| standing.passed(days));
        is_silent |= passed.is_some();
        row.push(passed.map_or(Value::Null, |days| Value::Int(i64::from(days))));
        row.push(standing.map_or(Value::Null, |standing| Value::Date(standing.last_day)));
    }
    is_silent.then_some(row)
}

/// Kinds whose silence the rule cannot listen to.
pub(super) fn problems(rule: &Rule, tables: &Tables) -> Vec<Problem> {
    let line = personal::line_of_key(rule, "silent");
    let kinds = rule.silent.keys().filter_map(|kind| {
        let what = match tables.kinds().get(kind) {
            None => format!("silent: there is no kind of fact {kind}"),
            Some(_) if tables.places().placeless.contains(kind) => {
                format!("silent: facts of {kind} are at no place")
            }
            Some(_) => return None,
        };
        Some(rule.problem(line, what))
    });
    kinds.collect()
}

/// Fills the rule's table; the places that are in it.
pub(super) fn fill(
    rule: &Rule,
    table: &TableSchema,
    slot: &Slot,
    standings: &BTreeMap<PlaceId, Vec<Standing>>,
) -> Result<HashSet<PlaceId>, Error> {
    let (mut places, mut rows) = (HashSet::new(), Vec::new());
    for (place, standings) in standings {
        if let Some(row) = row(rule, *place, standings) {
            places.insert(*place);
            rows.push(row);
        }
    }
    let columns = table.columns.iter().enumerate();
    let arrays = columns.map(|(index, column)| array(column, rows.iter().map(|row| &row[index])));
    let batch = RecordBatch::try_new(slot.schema.clone(), arrays.collect::<Result<_, _>>()?)
        .expect("invariant: arrays are made in the order and types of the schema");
    slot.set(batch);
    Ok(places)
}

/// The day on which the last of the silences became one that counts.
pub fn since_day(rule: &Rule, standings: &[Standing]) -> Option<i32> {
    let due = |standing: &Standing| Some(standing.due(standing.passed(rule.silent.get(&*standing.kind)?)?));
    standings.iter().filter_map(due).max()
}
