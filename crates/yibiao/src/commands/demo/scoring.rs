//! What came out, against the city's truth. Only here is the truth read, and only after everything has ended.

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::{Context, Result};
use yibiao_records::{PlaceId, Value};
use yibiao_synth::{
    Plan,
    score::{self, MatchScore, SilenceScore, Truth, WarningScore},
};
use yibiao_tables::{
    Shard,
    spec::{PLACES, WARNINGS},
};

/// The rules that the city's truth is about.
const CROWDED: &str = "crowded_rental";
const SILENT: &str = "silent_meters";
/// After how many days that rule speaks first.
const SILENT_DAYS: u64 = 30;
/// Feeds whose addresses are resolved: the others say what the addresses are.
const NOT_RESOLVED: [&str; 2] = ["place", "place_name"];

pub struct Scores {
    pub matches: MatchScore,
    pub warnings: WarningScore,
    pub silence: SilenceScore,
}

pub fn score(shards: &[Shard], city: &Path, plan: &Plan) -> Result<Scores> {
    let truth = Truth::open(city)?;
    let mut codes: HashMap<PlaceId, String> = HashMap::new();
    let (mut crowded, mut silent): (Vec<String>, Vec<String>) = Default::default();
    for shard in shards {
        let view = shard.view();
        let places = view.tables().schema(PLACES)?;
        let code = places.column("external_id").context("places has an external_id")?;
        let id = places.column("place_id").context("places has a place_id")?;
        for row in view.rows(PLACES) {
            let row = row?;
            let place = row[id].as_i64().and_then(PlaceId::new).context("a place has an id")?;
            codes.insert(place, row[code].as_text().unwrap_or_default().to_owned());
        }
        for (rule, warned) in [(CROWDED, &mut crowded), (SILENT, &mut silent)] {
            for warning in firing(shard, rule)? {
                let place = warning.get("place_id").and_then(Value::as_i64).and_then(PlaceId::new);
                warned.push(place.and_then(|place| codes.get(&place)).cloned().unwrap_or_default());
            }
        }
    }
    // A meter's readings share its address, so one answer an account is enough: its last one.
    let mut resolved: HashMap<(Arc<str>, String), &str> = HashMap::new();
    for shard in shards {
        for stored in shard.view().all_facts() {
            let stored = stored?;
            if NOT_RESOLVED.contains(&&*stored.kind) {
                continue;
            }
            let code = codes.get(&stored.fact.place).map_or("", String::as_str);
            let account = stored.fact.source_key.split('\u{1f}').next().unwrap_or_default().to_owned();
            resolved.insert((stored.feed, account), code);
        }
    }
    let matches = score::matches(
        &truth,
        resolved.iter().map(|((feed, account), code)| (feed, account.as_str(), *code)),
    );
    let warnings = score::warnings(&truth, crowded.iter().map(String::as_str), plan.end);
    let silence = score::silence(&truth, silent.iter().map(String::as_str), plan.end, SILENT_DAYS);
    Ok(Scores { matches, warnings, silence })
}

/// A row of the table of warnings, by column.
type Warning = HashMap<String, Value>;

fn firing(shard: &Shard, rule: &str) -> Result<Vec<Warning>> {
    let view = shard.view();
    let schema = view.tables().schema(WARNINGS)?.clone();
    let mut firing = Vec::new();
    for row in view.rows(WARNINGS) {
        let warning: Warning = schema.columns.iter().map(|column| column.name.clone()).zip(row?).collect();
        let is = |column: &str, text: &str| warning.get(column).and_then(Value::as_text) == Some(text);
        if is("rule", rule) && !is("state", "cleared") {
            firing.push(warning);
        }
    }
    Ok(firing)
}

/// The most severe warnings of these rules, so many of each, in words, with their evidence.
pub fn examples(shards: &[Shard]) -> Result<Vec<String>> {
    let mut examples = worst(shards, CROWDED, 2)?;
    examples.extend(worst(shards, SILENT, 1)?);
    Ok(examples)
}

fn worst(shards: &[Shard], rule: &str, count: usize) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for shard in shards {
        all.extend(firing(shard, rule)?);
    }
    let severity = |warning: &Warning| warning.get("severity").and_then(Value::as_i64).unwrap_or(0);
    let id = |warning: &Warning| warning.get("warning_id").map(Value::to_string).unwrap_or_default();
    all.sort_by_key(|warning| (-severity(warning), id(warning)));
    Ok(all.iter().take(count).map(explain).collect())
}

fn explain(warning: &Warning) -> String {
    let cell = |column: &str| warning.get(column).map(Value::to_string).unwrap_or_default();
    let evidence: serde_json::Value = serde_json::from_str(&cell("evidence")).unwrap_or_default();
    let mut lines = String::new();
    for (title, part) in [("numbers", "numbers"), ("thresholds", "thresholds")] {
        let pairs = evidence[part].as_object().into_iter().flatten();
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name} {value}")).collect();
        lines.push_str(&format!("\n  {title}: {}", pairs.join(", ")));
    }
    for (kind, facts) in evidence["facts"].as_object().into_iter().flatten() {
        for fact in facts.as_array().into_iter().flatten() {
            lines.push_str(&format!("\n  {kind}: {fact}"));
        }
    }
    format!(
        "{}\n  rule {} version {}, severity {}, since {}{lines}",
        cell("message"),
        cell("rule"),
        cell("rule_version"),
        cell("severity"),
        cell("raised_at")
    )
}
