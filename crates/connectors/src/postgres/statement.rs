//! The SQL of one feed.

use std::collections::BTreeMap;

use yibiao_contracts::Contract;

use crate::{Error, PostgresSource};

/// Statements whose rows are (JSON, update time, key, whether the time has come, update time in ms).
#[derive(Debug)]
pub struct Statements {
    /// The first page of the first cycle.
    pub all: String,
    /// A cycle's first page: `$1` is where the last cycle ended.
    pub from: String,
    /// Each further page: `$1` and `$2` are the last row's update time and key.
    pub after: String,
    /// The present in the column's type. None where updates are counted, not timed.
    pub now: Option<String>,
    /// The earlier of two update times.
    pub least: String,
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
        let is_time = updated_type.starts_with("timestamp") || updated_type == "date";
        let (is_past, milliseconds, overlap) = if is_time {
            (
                format!("{updated} <= now()::{updated_type}"),
                format!("(extract(epoch from {updated}::timestamptz) * 1000)::bigint"),
                format!(" - interval '{} seconds'", source.overlap.as_secs()),
            )
        } else {
            ("true".to_owned(), "null::bigint".to_owned(), String::new())
        };
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
                 {updated}::text, {key}::text, {is_past}, {milliseconds} from (\
                 select {} from {table} t where {updated} is not null and {key} is not null{condition} {order} limit {}\
                 ) t, lateral (select row_to_json(r)::text as text from (select {}) r) j {order}",
                inner.join(", "),
                source.page.max(1),
                list.join(", ")
            )
        };
        Ok(Self {
            all: select(String::new()),
            from: select(format!(" and {updated} >= $1::text::{updated_type}{overlap}")),
            after: select(format!(
                " and ({updated}, {key}) > ($1::text::{updated_type}, $2::text::{key_type})"
            )),
            now: is_time.then(|| format!("select now()::{updated_type}::text")),
            least: format!("select least($1::text::{updated_type}, $2::text::{updated_type})::text"),
            unreadable: format!("select count(*) from {table} t where {updated} is null or {key} is null"),
        })
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
