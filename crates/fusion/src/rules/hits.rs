//! What a plan gives, as hits.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Int64Type},
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::error::DataFusionError;
use yibiao_records::PlaceId;

use super::Hit;

/// One for each row that names a place.
pub(super) fn hits_of(batch: &RecordBatch) -> Result<Vec<Hit>, DataFusionError> {
    let schema = batch.schema();
    let whole = |name: &str| -> Result<_, DataFusionError> {
        let column = batch.column_by_name(name).cloned();
        let column = column.ok_or_else(|| DataFusionError::Execution(format!("the result lacks {name}")))?;
        Ok(arrow::compute::cast(&column, &DataType::Int64)?)
    };
    let (places, severities) = (whole("place_id")?, whole("severity")?);
    let (places, severities) = (places.as_primitive::<Int64Type>(), severities.as_primitive::<Int64Type>());
    let options = FormatOptions::default().with_date_format(Some("%Y-%m-%d"));
    let mut columns = Vec::new();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        if !["place_id", "severity"].contains(&field.name().as_str()) {
            columns.push((field.name(), array, ArrayFormatter::try_new(array, &options)?));
        }
    }
    let mut hits = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let Some(place) = PlaceId::new(places.value(row)).filter(|_| places.is_valid(row)) else { continue };
        let numbers = columns
            .iter()
            .map(|(name, array, formatter)| {
                ((*name).clone(), json(array, row, &formatter.value(row).to_string()))
            })
            .collect();
        let severity = if severities.is_valid(row) { severities.value(row) } else { 1 };
        hits.push(Hit { place, severity, numbers });
    }
    Ok(hits)
}

/// Numbers with at most three decimals: nobody inspects a flat for the fourth.
fn json(array: &dyn Array, row: usize, text: &str) -> serde_json::Value {
    use serde_json::Value as Json;
    if array.is_null(row) {
        return Json::Null;
    }
    match array.data_type() {
        DataType::Boolean => Json::Bool(array.as_boolean().value(row)),
        kind if kind.is_integer() => text.parse::<i64>().map_or_else(|_| Json::from(text), Json::from),
        kind if kind.is_numeric() => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                let rounded = (number * 1000.0).round() / 1000.0;
                if rounded.fract() == 0.0 && rounded.abs() < 1e15 {
                    Json::from(rounded as i64)
                } else {
                    Json::from(rounded)
                }
            }
            _ => Json::from(text),
        },
        _ => Json::from(text),
    }
}

/// Of two rows for one place the more severe stays; of two equally severe the one whose numbers sort last, so that
/// the engine's order does not matter.
pub(super) fn worst(hits: &mut BTreeMap<PlaceId, Hit>, hit: Hit) {
    let order = |hit: &Hit| (hit.severity, format!("{:?}", hit.numbers));
    match hits.get_mut(&hit.place) {
        Some(present) if order(present) >= order(&hit) => {}
        Some(present) => *present = hit,
        None => {
            hits.insert(hit.place, hit);
        }
    }
}
