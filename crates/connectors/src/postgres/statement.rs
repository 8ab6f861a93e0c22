//! The SQL of one feed.

use std::collections::BTreeMap;

use yibiao_contracts::Contract;

use crate::{Error, PostgresSource};

/// Statements whose rows are (JSON, update time, key, whether the time has come, whether the next cycle asks for it
/// again, update time in ms where it is finite). `$1` is the cycle's floor.
#[derive(Debug)]
pub struct Statements {
    /// From the table's beginning.
    pub all: String,
    /// With the rows of update time `$2`.
    pub from: String,
    /// After the row with update time `$2` and key `$3`.
    pub after: String,
    /// The present less the overlap, in the column's type.
    pub floor: String,
    /// `true` where the update time `$1` is earlier than `$2`.
    pub is_before: String,
    /// How many rows have no update time or key.
    pub unreadable: String,
}

impl Statements {
    pub fn new(
        contract: &Contract,
        source: &PostgresSource,
        columns: &BTreeMap<String, String>,
        record_bytes_max: usize,
    ) -> Result<Self, Error> {
        let cursor = contract
            .ingest
            .cursor
            .as_ref()
            .ok_or_else(|| Error::NoCursorColumns { feed: contract.feed.to_string() })?;
        let kept = |name: &str| {
            !contract.privacy.drop.iter().any(|dropped| dropped == name)
                && !contract.privacy.pseudonymise.iter().any(|field| field.field == name)
        };
        let wanted: Vec<_> = contract.fields.iter().filter(|field| kept(&field.name)).collect();
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|field| !field.optional_column)
            .map(|field| field.name.as_str())
            .chain([cursor.updated.as_str(), cursor.key.as_str()])
            .filter(|name| !columns.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            return Err(Error::Refused {
                what: source.table.clone(),
                detail: format!("it lacks the columns {}", missing.join(", ")),
                mend: "compare the contract with the table",
            });
        }
        let list: Vec<String> = wanted
            .iter()
            .filter(|field| columns.contains_key(&field.name))
            .map(|field| format!("t.{}", quoted(&field.name)))
            .collect();
        let (updated, key) = (format!("t.{}", quoted(&cursor.updated)), format!("t.{}", quoted(&cursor.key)));
        let (updated_type, key_type) = (&columns[&cursor.updated], &columns[&cursor.key]);
        // A number tells nothing about which rows may still be uncommitted.
        if !updated_type.starts_with("timestamp") && updated_type != "date" {
            return Err(Error::Refused {
                what: source.table.clone(),
                detail: format!("its column {} is of type {updated_type}, not a time", cursor.updated),
                mend: "name a column of type timestamp or date as ingest.cursor.updated in the contract",
            });
        }
        let is_past = format!("{updated} <= now()::{updated_type}");
        let milliseconds = format!(
            "case when isfinite({updated}) then (extract(epoch from {updated}::timestamptz) * 1000)::bigint end"
        );
        let overlap = format!("interval '{} milliseconds'", source.overlap.as_millis());
        let table: Vec<String> = source.table.split('.').map(quoted).collect();
        let table = table.join(".");
        // The department may have granted these columns only.
        let mut inner = list.clone();
        inner.extend([&updated, &key].into_iter().filter(|column| !list.contains(column)).cloned());
        // Rows are rendered after they were chosen, and one over the limit is cut by the server (in characters: at
        // least as many bytes).
        let cut = record_bytes_max + 1;
        let order = format!("order by {updated}, {key}");
        let select = |condition: String| {
            format!(
                "select case when octet_length(j.text) > {record_bytes_max} then left(j.text, {cut}) else j.text end, \
                 {updated}::text, {key}::text, {is_past}, {updated} >= $1::text::{updated_type}, {milliseconds} from (\
                 select {} from {table} t where {updated} is not null and {key} is not null{condition} {order} limit {}\
                 ) t, lateral (select row_to_json(r)::text as text from (select {}) r) j {order}",
                inner.join(", "),
                source.page.max(1),
                list.join(", ")
            )
        };
        Ok(Self {
            all: select(String::new()),
            from: select(format!(" and {updated} >= $2::text::{updated_type}")),
            after: select(format!(
                " and ({updated}, {key}) > ($2::text::{updated_type}, $3::text::{key_type})"
            )),
            floor: format!("select (now() - {overlap})::{updated_type}::text"),
            is_before: format!("select ($1::text::{updated_type} < $2::text::{updated_type})::text"),
            unreadable: format!("select count(*) from {table} t where {updated} is null or {key} is null"),
        })
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
