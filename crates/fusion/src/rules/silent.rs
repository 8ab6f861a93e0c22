//! The table `silent`, which a rule of shape `silence` reads: one row a place where a kind is silent.
//!
//! | column | |
//! |---|---|
//! | `place_id` | |
//! | `<kind>_days` | the highest of the rule's days that the silence has lasted; null while it is no silence |
//! | `<kind>_last_on` | the day of the last fact; null where there is none, and who never spoke is not silent |
//!
//! It has no column with the clock's day: such a rule would have to run over every place every day.

use yibiao_records::{Column, ColumnType, PlaceId, TableSchema, Value};

use super::Rule;
use crate::silence::Standing;

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

/// The day on which the last of the silences became one that counts.
pub fn since_day(rule: &Rule, standings: &[Standing]) -> Option<i32> {
    let due = |standing: &Standing| Some(standing.due(standing.passed(rule.silent.get(&*standing.kind)?)?));
    standings.iter().filter_map(due).max()
}
