//! What stays here: rows of other areas, personal columns, and what JSON cells say of personal columns.

use std::collections::BTreeSet;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray},
    compute::filter_record_batch,
};
use serde_json::Value as Json;
use std::sync::Arc;
use yibiao_records::Column;
use yibiao_tables::lake::{LakeTable, Layout, layout};

use crate::{Error, grant::GrantedTable};

/// The 12-digit code by which rows belong to an area.
pub const DIVISION_CODE: &str = "division_code";
/// Columns that hold JSON.
const JSON_COLUMNS: [&str; 2] = ["sources", "evidence"];
/// Columns that every delivered row has, whatever the grant names: who, where, and which change.
const ALWAYS: [&str; 9] = [
    "place_id",
    DIVISION_CODE,
    "warning_id",
    "fact_id",
    layout::SHARD,
    layout::SEQUENCE,
    layout::OPERATION,
    layout::RECORDED_AT,
    layout::BUCKET,
];

/// The names of all personal columns of all tables.
pub fn personal_names(layout: &Layout) -> BTreeSet<String> {
    let columns = layout.tables.iter().flat_map(|fused| &fused.schema.columns);
    columns.filter(|column| column.personal).map(|column| column.name.clone()).collect()
}

/// The columns of `table` that a centre receives.
pub fn granted_columns(table: &LakeTable, grant: &GrantedTable) -> Vec<Column> {
    let wanted = |column: &&Column| {
        let named = grant.columns.as_ref().is_none_or(|columns| columns.contains(&column.name));
        !column.personal && (named || ALWAYS.contains(&column.name.as_str()))
    };
    table.schema.columns.iter().filter(wanted).cloned().collect()
}

/// Rows whose division code begins with `area`.
pub fn in_area(table: &str, batch: &RecordBatch, area: &str) -> Result<BooleanArray, Error> {
    let codes = batch
        .column_by_name(DIVISION_CODE)
        .and_then(|column| column.as_string_opt::<i32>())
        .ok_or_else(|| Error::NoArea { table: table.to_owned(), column: DIVISION_CODE })?;
    // A row without a code belongs to no area.
    Ok(codes.iter().map(|code| Some(code.is_some_and(|code| code.starts_with(area)))).collect())
}

/// The rows of `keep` with the columns `columns`, their JSON cleaned of what is personal.
pub fn project(
    table: &str,
    batch: &RecordBatch,
    keep: &BooleanArray,
    columns: &[Column],
    personal: &BTreeSet<String>,
) -> Result<RecordBatch, Error> {
    let failed = |source| Error::Arrow { table: table.to_owned(), source };
    let indices: Vec<_> =
        columns.iter().filter_map(|column| batch.schema().index_of(&column.name).ok()).collect();
    let narrow = batch.project(&indices).map_err(failed)?;
    let kept = filter_record_batch(&narrow, keep).map_err(failed)?;
    if personal.is_empty() {
        return Ok(kept);
    }
    let schema = kept.schema();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .zip(kept.columns())
        .map(|(field, array)| match array.as_string_opt::<i32>() {
            Some(texts) if JSON_COLUMNS.contains(&field.name().as_str()) => {
                let cleaned = texts.iter().map(|text| text.and_then(|text| clean(text, personal)));
                Arc::new(cleaned.collect::<StringArray>()) as ArrayRef
            }
            _ => array.clone(),
        })
        .collect();
    debug_assert!(columns.iter().all(|column| column.len() == kept.num_rows()));
    RecordBatch::try_new(schema, columns).map_err(failed)
}

/// JSON without what names a personal column; None (null) if it is not JSON, as then nobody knows what it says.
pub fn clean(text: &str, personal: &BTreeSet<String>) -> Option<String> {
    let mut json: Json = serde_json::from_str(text).ok()?;
    prune(&mut json, personal);
    Some(json.to_string())
}

/// Removes entries whose key is a personal column, and objects that speak of one (`{"column": "phone", …}`).
fn prune(json: &mut Json, personal: &BTreeSet<String>) {
    match json {
        Json::Object(entries) => {
            entries.retain(|key, value| !personal.contains(key) && !speaks_of(value, personal));
            entries.values_mut().for_each(|value| prune(value, personal));
        }
        Json::Array(items) => {
            items.retain(|item| !speaks_of(item, personal));
            items.iter_mut().for_each(|item| prune(item, personal));
        }
        _ => {}
    }
}

fn speaks_of(json: &Json, personal: &BTreeSet<String>) -> bool {
    ["column", "field", "name"]
        .iter()
        .any(|key| json.get(key).and_then(Json::as_str).is_some_and(|name| personal.contains(name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_loses_what_names_a_personal_column_and_what_is_not_json_is_withheld() {
        let personal = BTreeSet::from(["phone".to_owned()]);
        let text = r#"{"area_m2":{"feed":"a/b"},"phone":{"feed":"CANARY"},"facts":[{"column":"phone","value":"CANARY"},{"column":"rooms","value":2,"more":{"phone":"CANARY"}}]}"#;
        let cleaned = clean(text, &personal).unwrap();
        assert!(!cleaned.contains("CANARY"), "{cleaned}");
        assert!(cleaned.contains("a/b") && cleaned.contains("rooms"), "{cleaned}");
        assert_eq!(clean("phone: CANARY", &personal), None);
    }
}
