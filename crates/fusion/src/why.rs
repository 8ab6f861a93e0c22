//! Where a published cell came from.

use serde_json::{Value as Json, json};
use yibiao_records::{PlaceId, Value};
use yibiao_tables::{
    View,
    shard::StoredFact,
    spec::{Merge, PLACES, WARNINGS},
};

use crate::{
    Error,
    evidence::reference,
    facts,
    merge::{self, Merger},
};

/// The provenance of one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    pub value: Value,
    /// How the value came of its facts, in words.
    pub how: String,
    /// The facts behind it, the winning one first: feed, source_key, raw position, day, content.
    pub facts: Vec<Json>,
}

/// `table` is `places` or `warnings`, `key` the place.
pub fn why(view: &View, table: &str, key: PlaceId, column: &str) -> Result<Why, Error> {
    let schema = view.tables().schema(table)?;
    let index = schema.column(column).ok_or_else(|| {
        let known: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
        Error::Ask(format!("table {table} has no column {column}; it has {}", known.join(", ")))
    })?;
    let row = view.row(table, key)?;
    let row = row.ok_or_else(|| Error::Ask(format!("table {table} has no row of place {key}")))?;
    let value = row[index].clone();
    match table {
        PLACES => of_place(view, key, column, value),
        WARNINGS => {
            let evidence = schema.column("evidence").and_then(|index| row[index].as_text()).unwrap_or("{}");
            let evidence: Json = serde_json::from_str(evidence).unwrap_or_default();
            Ok(Why {
                value,
                how: "the rule's evidence when the warning last held".into(),
                facts: vec![evidence],
            })
        }
        _ => Err(Error::Ask(format!("{table} is a change log: each of its rows names its own raw record"))),
    }
}

fn of_place(view: &View, place: PlaceId, column: &str, value: Value) -> Result<Why, Error> {
    let spec = view.tables().places();
    let Some((index, merged)) =
        spec.columns.iter().enumerate().find(|(_, merged)| merged.column.name == column)
    else {
        return Ok(Why { value, how: "made by the system, not of facts".into(), facts: Vec::new() });
    };
    let state = view.place(place)?.unwrap_or_default();
    let all = view.facts(place, None)?;
    let mut behind: Vec<&StoredFact> = all
        .iter()
        .filter(|stored| merged.sources.iter().any(|source| merge::given(source, stored).is_some()))
        .collect();
    behind.sort_by_key(|stored| (stored.fact.valid_from_ms, stored.fact.recorded_at_ms, stored.fact.raw));
    behind.reverse();
    let how = match merged.merge {
        Merge::SourceOrder => {
            "the first source that has a value, the freshest of its facts; the others follow".into()
        }
        Merge::Latest => "the freshest fact; the others follow".into(),
        Merge::Max => "the highest value; the others follow".into(),
        Merge::Min => "the lowest value; the others follow".into(),
        Merge::EventDay => "the latest day that any windowed column counts".into(),
        Merge::Series { measure, .. } => {
            let merger = Merger::new(spec, view.tables().kinds());
            let span = merger.span(measure, &state);
            if let (Some((from, to)), true) = (span, measure_is_by_day(measure)) {
                let day = |stored: &StoredFact| crate::day::of_ms(stored.fact.valid_from_ms);
                behind.retain(|stored| (from..=to).contains(&day(stored)));
                format!("the {measure} of the facts from {} to {}", Value::Date(from), Value::Date(to))
            } else {
                format!("the {measure} of all facts")
            }
        }
    };
    if let Some(winner) = state.winners.get(index).and_then(Option::as_ref) {
        behind.sort_by_key(|stored| {
            !(stored.fact.id == winner.origin.fact && stored.kind == winner.origin.kind)
        });
    }
    let facts = behind.into_iter().map(|stored| {
        let content = view.tables().kinds().get(&stored.kind).map(|kind| facts::content(stored, kind));
        let mut reference = reference(stored, content.unwrap_or_default());
        reference["contract_version"] = json!(&*stored.contract_version);
        reference["gazetteer_version"] = json!(&*stored.gazetteer_version);
        reference["match_reason"] = json!(stored.fact.match_reason);
        reference["confidence"] = json!(stored.fact.confidence);
        reference
    });
    Ok(Why { value, how, facts: facts.collect() })
}

fn measure_is_by_day(measure: yibiao_tables::spec::Measure) -> bool {
    use yibiao_tables::spec::{Measure, Span};
    !matches!(measure, Measure::Sum(Span::All) | Measure::Count(Span::All) | Measure::Days(Span::All))
}
