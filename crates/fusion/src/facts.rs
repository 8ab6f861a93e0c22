//! What a fact says, in JSON.

use yibiao_records::{FactKind, Value};
use yibiao_tables::shard::StoredFact;

/// What a fact says, for people: its payload without what is personal.
pub fn content(stored: &StoredFact, kind: &FactKind) -> serde_json::Map<String, serde_json::Value> {
    kind.columns
        .iter()
        .zip(&stored.fact.payload)
        .filter(|(column, value)| !column.personal && !value.is_null())
        .map(|(column, value)| (column.name.clone(), json(value)))
        .collect()
}

pub(crate) fn json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).expect("invariant: a cell is always JSON")
}
