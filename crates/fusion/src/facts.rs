//! A fact as a row of its table.

use yibiao_records::{FactKind, Statement, Value};
use yibiao_tables::shard::StoredFact;

/// In the order of the table `fact_<kind>`, which has `width` columns: a fact that was stored before its kind had
/// a column has null there. A retraction's row has the content that was retracted.
pub fn row(stored: &StoredFact, width: usize) -> Vec<Value> {
    let fact = &stored.fact;
    let text = |text: &str| Value::Text(text.to_owned());
    let mut row = vec![
        text(match fact.statement {
            Statement::Assert => "assert",
            Statement::Retract => "retract",
        }),
        Value::Text(fact.id.to_string()),
        Value::Int(fact.place.get()),
        text(&fact.division_code),
        text(&fact.level),
        Value::Bool(fact.provisional),
        Value::Timestamp(fact.valid_from_ms),
        fact.valid_to_ms.map_or(Value::Null, Value::Timestamp),
        Value::Timestamp(fact.recorded_at_ms),
        text(&stored.feed),
        text(&fact.source_key),
        text(&stored.raw_topic),
        Value::Int(i64::from(stored.raw_partition)),
        Value::Int(fact.raw.offset),
        Value::Int(i64::from(fact.raw.index)),
        text(&stored.contract_version),
        text(&stored.gazetteer_version),
        text(&fact.match_reason),
        Value::Decimal((f64::from(fact.confidence) * 1000.0).round() as i64),
    ];
    debug_assert_eq!(row.len(), yibiao_tables::spec::FACT_COLUMNS_BEFORE_PAYLOAD);
    row.extend(fact.payload.iter().cloned());
    row.resize(width, Value::Null);
    row
}

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
