//! What the program's tables hold against what they must hold.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use polars::prelude::DataFrame;
use serde_json::Value;

use crate::{oracle::Expected, script::date, stages::Stages};

const PLACES: &str = "external_id as code, water_m3_30d as water, water_days_30d as water_days, hazards_90d as hazards, \
     partition_hazards_90d as partition_hazards, disputes_365d as disputes, rooms, is_rental, registered_count, last_event_on as last";

/// One row as texts, column by column; numbers in thousandths where they have a fraction.
type Row = Vec<String>;

/// Every comparison; the first difference is the error.
pub fn all(stages: &Stages, expected: &Expected) -> Result<()> {
    let places = rows_of(&expected.places)?;
    let base = stages
        .sql("lake", &format!("select {PLACES} from places where external_id is not null order by 1"))?;
    same("places", &places, &rows(&base, &expected.places)?)?;

    let changes = stages.sql(
        "lake",
        &format!(
            "select place_id, sequence, operation, {PLACES} from places_changes order by shard, sequence"
        ),
    )?;
    once("places_changes", &changes, &["place_id", "sequence"])?;
    let folded = last(&changes, "place_id", "operation", "delete");
    let mut folded = rows(&folded, &expected.places)?;
    folded.sort();
    same("places_changes, folded", &places, &folded)?;

    let nanjing = stages.sql(
        "deliveries/nanjing",
        &format!("select {PLACES} from places where external_id is not null order by 1"),
    )?;
    same("places of the centre of Nanjing", &places, &rows(&nanjing, &expected.places)?)?;

    let warnings = rows_of(&expected.warnings)?;
    let firing = stages.sql(
        "lake",
        "select w.rule, p.external_id as code, w.severity from warnings w join places p on p.place_id = w.place_id \
         where w.state <> 'cleared' order by 2",
    )?;
    same("warnings", &warnings, &rows(&firing, &expected.warnings)?)?;
    let changes = stages.sql(
        "lake",
        "select w.warning_id, w.sequence, w.state, w.rule, p.external_id as code, w.severity from warnings_changes w \
         join places p on p.place_id = w.place_id order by w.shard, w.sequence",
    )?;
    once("warnings_changes", &changes, &["warning_id", "sequence"])?;
    let folded = last(&changes, "warning_id", "state", "cleared");
    let mut folded = rows(&folded, &expected.warnings)?;
    folded.sort();
    same("warnings_changes, folded", &warnings, &folded)?;

    water(stages, expected)?;
    cases(stages, expected)?;
    for table in ["fact_hazard", "fact_registration", "fact_place"] {
        let facts = facts(stages, table, "")?;
        ensure!(!facts.is_empty(), "{table} is empty");
    }
    accounting(stages, expected)?;
    stages
        .say(&["rules", "verify"])
        .context("the full evaluation of the rules differs from the incremental one")?;
    Ok(())
}

/// The statements of one fact table, each there once.
fn facts(stages: &Stages, table: &str, columns: &str) -> Result<Vec<Value>> {
    let all = stages.sql(
        "lake",
        &format!(
            "select f.fact_id, f.statement, f.sequence, f.raw_topic, f.raw_partition, f.raw_offset, f.raw_index, f.shard, \
             p.external_id as code {columns} from {table} f join places p on p.place_id = f.place_id \
             order by f.shard, f.sequence"
        ),
    )?;
    once(
        table,
        &all,
        &["fact_id", "statement", "raw_topic", "raw_partition", "raw_offset", "raw_index", "code"],
    )?;
    Ok(all)
}

fn water(stages: &Stages, expected: &Expected) -> Result<()> {
    let all = facts(stages, "fact_water", ", f.amount, f.source_key, f.valid_from")?;
    // A fact that moved is retracted in one shard and asserted in another, by the same raw record or a later one: the
    // place that it was last asserted at stands.
    let mut standing: BTreeMap<(String, String), &Value> = BTreeMap::new();
    for row in &all {
        let key = (text(row, "fact_id"), text(row, "code"));
        match text(row, "statement").as_str() {
            "assert" => drop(standing.insert(key, row)),
            _ => drop(standing.remove(&key)),
        }
    }
    let mut found: Vec<Row> = standing
        .values()
        .map(|row| {
            let day = text(row, "source_key").rsplit('\u{1f}').next().unwrap_or_default().to_owned();
            vec![text(row, "code"), day, number(&row["amount"])]
        })
        .collect();
    found.sort();
    let mut wanted = rows_of(&expected.water)?;
    for row in &mut wanted {
        row[1] = date(row[1].parse().context("a day")?);
    }
    wanted.sort();
    same("fact_water, folded", &wanted, &found)?;
    // The same by the query of docs/sql.md.
    let known = stages.sql(
        "lake",
        "select count(*) as n, sum(amount) as amount from (select *, row_number() over (partition by fact_id, place_id \
         order by sequence desc) as nth from fact_water where recorded_at <= now()) known \
         where nth = 1 and statement = 'assert'",
    )?;
    let known = known.first().map(|row| (text(row, "n"), number(&row["amount"])));
    let sum: i64 = wanted.iter().filter_map(|row| row[2].parse::<i64>().ok()).sum();
    let (n, amount) = (wanted.len().to_string(), sum.to_string());
    ensure!(known == Some((n.clone(), amount.clone())), "known now: {known:?}, not {n} readings of {amount}");
    Ok(())
}

/// The cases that stand, by the facts: those of the last full dump.
fn cases(stages: &Stages, expected: &Expected) -> Result<()> {
    let mut standing: BTreeMap<(String, String), Row> = BTreeMap::new();
    for row in facts(stages, "fact_dispute", ", f.source_key")? {
        let (key, case) = ((text(&row, "fact_id"), text(&row, "code")), text(&row, "source_key"));
        match text(&row, "statement").as_str() {
            "assert" => drop(standing.insert(key.clone(), vec![case, key.1])),
            _ => drop(standing.remove(&key)),
        }
    }
    let found: Vec<Row> = standing.into_values().collect();
    same("fact_dispute, folded", &rows_of(&expected.cases)?, &found)
}

fn accounting(stages: &Stages, expected: &Expected) -> Result<()> {
    let feeds: BTreeMap<String, Value> = serde_json::from_str(&stages.say(&["accounting", "--json"])?)?;
    for (feed, account) in &feeds {
        let count = |name: &str| account["counts"][name].as_u64().unwrap_or_default();
        let (received, parts) =
            (count("received"), count("accepted") + count("quarantined") + count("unchanged"));
        ensure!(received == parts, "{feed}: {received} received, {parts} accounted for");
    }
    let quarantined = feeds["utilities/water-readings"]["counts"]["quarantined"].as_u64().unwrap_or_default();
    let refused = expected.refused as u64;
    ensure!(
        quarantined >= refused,
        "{quarantined} readings are in quarantine, {refused} different ones were refused"
    );
    Ok(())
}

/// No two rows agree in all of `columns`.
fn once(table: &str, rows: &[Value], columns: &[&str]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for row in rows {
        let key: Vec<String> = columns.iter().map(|column| text(row, column)).collect();
        if !seen.insert(key.clone()) {
            bail!("{table} holds {key:?} twice");
        }
    }
    Ok(())
}

/// The last row of each key, without those that it ended with.
fn last(rows: &[Value], key: &str, column: &str, ended: &str) -> Vec<Value> {
    let last: BTreeMap<String, &Value> = rows.iter().map(|row| (text(row, key), row)).collect();
    last.into_values().filter(|row| row[column] != ended).cloned().collect()
}

fn text(row: &Value, column: &str) -> String {
    match &row[column] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| value.to_string(), |n| format!("{}", (n * 1000.0).round() as i64))
}

/// The program's rows, with the columns of the expected ones.
fn rows(found: &[Value], like: &DataFrame) -> Result<Vec<Row>> {
    let names: Vec<String> = like.get_column_names().iter().map(ToString::to_string).collect();
    found
        .iter()
        .map(|row| {
            let cell = |name: &String| -> Result<String> {
                let value = row.get(name).with_context(|| format!("no column {name} in {row}"))?;
                Ok(match (name.as_str(), value) {
                    ("water", Value::Number(_)) => number(value),
                    _ => text(row, name),
                })
            };
            names.iter().map(cell).collect()
        })
        .collect()
}

/// The expected rows in the same form.
fn rows_of(frame: &DataFrame) -> Result<Vec<Row>> {
    let columns = frame.columns();
    (0..frame.height())
        .map(|at| {
            columns
                .iter()
                .map(|column| {
                    let value = column.get(at)?;
                    let text = value.to_string().trim_matches('"').to_owned();
                    Ok(match (column.name().as_str(), value.is_null()) {
                        (_, true) => "null".to_owned(),
                        ("last", _) => date(text.parse()?),
                        _ => text,
                    })
                })
                .collect()
        })
        .collect()
}

fn same(what: &str, wanted: &[Row], found: &[Row]) -> Result<()> {
    let (wanted, found): (BTreeSet<&Row>, BTreeSet<&Row>) = (wanted.iter().collect(), found.iter().collect());
    if wanted == found {
        return Ok(());
    }
    let show =
        |rows: Vec<&&Row>| rows.iter().take(5).map(|r| r.join(" | ")).collect::<Vec<_>>().join("\n    ");
    bail!(
        "{what} differ\n  wanted and not there ({}):\n    {}\n  there and not wanted ({}):\n    {}",
        wanted.difference(&found).count(),
        show(wanted.difference(&found).collect()),
        found.difference(&wanted).count(),
        show(found.difference(&wanted).collect())
    )
}
