//! Why a warning was raised: numbers, thresholds, and the facts behind them, each leading back to its raw record.

use serde_json::{Map, Value as Json, json};
use yibiao_records::FactKinds;
use yibiao_tables::shard::StoredFact;

use crate::{
    day, facts,
    rules::{Hit, Pick, Rule},
};

/// JSON: `{"numbers": {…}, "thresholds": {…}, "facts": {"water": [{feed, source_key, raw, on, …}]}}`.
/// `of_place` are all facts of the place, of the kinds that the rule's evidence names.
pub fn of(rule: &Rule, hit: &Hit, of_place: &[StoredFact], kinds: &FactKinds) -> String {
    let numbers: Map<String, Json> = hit.numbers.iter().cloned().collect();
    let parameters = rule.parameters.iter().map(|(name, parameter)| (name.clone(), parameter.json()));
    let silent = rule.silent.iter().map(|(kind, days)| (format!("{kind}_silent_days"), json!(days)));
    let thresholds: Map<String, Json> = parameters.chain(silent).collect();
    let mut by_kind = Map::new();
    for wanted in &rule.evidence {
        let Some(kind) = kinds.get(&wanted.kind) else { continue };
        let mut found: Vec<&StoredFact> =
            of_place.iter().filter(|stored| *stored.kind == *wanted.kind).collect();
        let column = match &wanted.pick {
            Pick::Newest => None,
            Pick::Heaviest(column) => kind.column(column),
        };
        // The order is total, so that the same facts give the same evidence.
        found.sort_by_cached_key(|stored| {
            let weight = column.and_then(|index| stored.fact.payload.get(index).cloned());
            std::cmp::Reverse((weight, stored.fact.valid_from_ms, stored.fact.raw, stored.fact.id))
        });
        let shown =
            found.iter().take(wanted.count).map(|stored| reference(stored, facts::content(stored, kind)));
        let entry = by_kind.entry(&wanted.kind).or_insert_with(|| json!([]));
        if let Json::Array(list) = entry {
            list.extend(shown);
        }
    }
    json!({ "numbers": numbers, "thresholds": thresholds, "facts": by_kind }).to_string()
}

/// Where one fact came from, and what it says.
pub fn reference(stored: &StoredFact, content: Map<String, Json>) -> Json {
    let mut reference = json!({
        "feed": &*stored.feed,
        "source_key": stored.fact.source_key,
        "raw": format!("{}/{}/{}", stored.raw_topic, stored.raw_partition, stored.fact.raw.offset),
        "on": day::text(stored.fact.valid_from_ms),
    });
    if let Json::Object(fields) = &mut reference {
        fields.extend(content);
    }
    reference
}
