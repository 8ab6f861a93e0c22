//! Is what was kept up to date step by step the same as what a full computation gives?

mod silences;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use yibiao_records::PlaceId;
use yibiao_tables::{
    View,
    shard::{PlaceState, StoredFact},
};

use crate::{
    Error,
    merge::Merger,
    rules::{Rule, Rules, Shape, Touched},
};
use silences::Silences;

/// Something that a full computation sees otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub shard: u32,
    /// None: it is about the shard.
    pub place: Option<PlaceId>,
    /// `row`, `silence`, `timer`, `timers`, `clock`, or the rule's name.
    pub what: String,
    pub incremental: String,
    pub full: String,
}

/// What was compared, and what differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub places: u64,
    pub firing: u64,
    /// Places with a timer that is due and was not looked at yet: what rules of silence say of them is not compared.
    pub due: u64,
    pub differences: Vec<Difference>,
}

/// Places looked at together.
const CHUNK: usize = 4096;
/// More differences are counted by nobody: something is wrong as a whole.
const DIFFERENCES_MAX: usize = 1000;

/// Evaluates all rules over all rows, and merges all rows from their facts, and compares with what the state says.
/// It reads a snapshot, so the stage may run meanwhile.
pub async fn verify(view: &View, rules: &mut Rules) -> Result<Verified, Error> {
    let merger = Merger::new(view.tables().places(), view.tables().kinds());
    let mut verified = Verified::default();
    let silences = Silences::of(view, rules.watched(), &mut verified)?;
    let mut chunk: Vec<(PlaceId, PlaceState)> = Vec::new();
    let mut places = view.places();
    loop {
        let place = places.next().transpose()?;
        let is_last = place.is_none();
        chunk.extend(place);
        if chunk.len() == CHUNK || (is_last && !chunk.is_empty()) {
            compare(view, rules, &merger, &silences, &chunk, &mut verified).await?;
            chunk.clear();
        }
        if is_last || verified.differences.len() >= DIFFERENCES_MAX {
            return Ok(verified);
        }
    }
}

async fn compare(
    view: &View,
    rules: &mut Rules,
    merger: &Merger,
    silences: &Silences,
    chunk: &[(PlaceId, PlaceState)],
    verified: &mut Verified,
) -> Result<(), Error> {
    let shard = view.shard();
    let mut facts: BTreeMap<String, Vec<StoredFact>> =
        rules.fact_kinds().into_iter().map(|kind| (kind.to_owned(), Vec::new())).collect();
    let (mut standings, mut due) = (BTreeMap::new(), HashMap::new());
    for (place, state) in chunk {
        verified.places += 1;
        let of_place = view.facts(*place, None)?;
        let mut full = PlaceState::default();
        merger.from_scratch(&mut full, &of_place);
        let row = merger.row(*place, &full, 0);
        if !merger.same(&row, &state.row) {
            verified.differences.push(Difference {
                shard,
                place: Some(*place),
                what: "row".into(),
                incremental: format!("{:?}", state.row),
                full: format!("{row:?}"),
            });
        }
        let heard = silences.of_place(view, *place, state, &of_place, verified)?;
        standings.insert(*place, heard.standings);
        due.insert(*place, heard.is_due);
        for stored in of_place {
            if let Some(list) = facts.get_mut(&*stored.kind) {
                list.push(stored);
            }
        }
    }
    let rows = chunk.iter().filter(|(_, state)| !state.row.is_empty());
    let places: Vec<_> = rows.map(|(place, state)| (*place, state.row.as_slice())).collect();
    let found = rules.run(&Touched { places, facts, standings }, |_| true).await?;
    let is_silence = |rule: &&Rule| rule.shape == Shape::Silence;
    let rules_of_silence: BTreeSet<&str> =
        found.iter().map(|(rule, _)| *rule).filter(is_silence).map(|rule| &*rule.name).collect();
    for (place, state) in chunk {
        let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
        for (rule, hits) in &found {
            if let Some(hit) = hits.iter().find(|hit| hit.place == *place) {
                expected.insert(&rule.name, hit.severity);
            }
        }
        let firing = state.alarms.iter().filter(|alarm| alarm.firing);
        let kept: BTreeMap<&str, i64> = firing.map(|alarm| (&*alarm.rule, alarm.severity)).collect();
        verified.firing += kept.len() as u64;
        for rule in expected.keys().chain(kept.keys()).copied().collect::<BTreeSet<_>>() {
            let (incremental, full) = (kept.get(rule), expected.get(rule));
            let waits = due[place] && rules_of_silence.contains(rule);
            if incremental != full && !waits {
                let words =
                    |severity: Option<&i64>| severity.map_or("silent".into(), |n| format!("firing at {n}"));
                verified.differences.push(Difference {
                    shard,
                    place: Some(*place),
                    what: rule.to_owned(),
                    incremental: words(incremental),
                    full: words(full),
                });
            }
        }
    }
    Ok(())
}
