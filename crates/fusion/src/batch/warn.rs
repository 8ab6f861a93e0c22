//! Rules over the touched places of a batch, and what they mean for warnings.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use yibiao_records::{Operation, PlaceId, Value};
use yibiao_tables::{
    shard::{Alarm, StoredFact},
    spec::PLACES,
};

use super::{Applier, Batch, Said, Touch};
use crate::{
    Error, day, evidence,
    rules::{Hit, Rule, Rules, Shape, Touched, silent},
    silence::{Clocks, Standing},
    warnings::{self, Content, Transition},
};

impl Applier {
    /// Runs the rules over the places of the batch and puts what follows into it.
    ///
    /// A rule is asked about a place only when something that it reads has changed there: its row, or facts of a
    /// kind that it names, or how long it has been silent. What it said before stands otherwise. `all` asks about
    /// everything.
    pub(super) async fn warn(
        &mut self,
        batch: &mut Batch,
        rules: &mut Rules,
        all: bool,
    ) -> Result<(), Error> {
        let mut asked: BTreeMap<Arc<str>, Vec<PlaceId>> = BTreeMap::new();
        let mut to_run: BTreeMap<Arc<str>, Vec<PlaceId>> = BTreeMap::new();
        let mut by_kind: BTreeMap<String, BTreeSet<PlaceId>> = BTreeMap::new();
        for (rule, reads) in rules.reads() {
            let concerns = |touch: &Touch| {
                all || (reads.places && touch.row_changed)
                    || touch.kinds.iter().any(|kind| reads.kinds.contains(&**kind))
                    || (rule.shape == Shape::Silence
                        && (touch.is_due || touch.kinds.iter().any(|kind| rule.silent.contains_key(&**kind))))
            };
            let places: Vec<PlaceId> =
                batch.places.iter().filter(|(_, touch)| concerns(touch)).map(|(place, _)| *place).collect();
            // Where nothing is silent such a rule does not hold, which needs no SQL.
            let is_open = |place: &&PlaceId| {
                let standings = || batch.standings(**place, &self.listening.clocks);
                rule.shape != Shape::Silence || silent::row(rule, **place, &standings()).is_some()
            };
            let open: Vec<PlaceId> = places.iter().filter(is_open).copied().collect();
            for kind in &reads.kinds {
                by_kind.entry(kind.clone()).or_default().extend(&open);
            }
            to_run.insert(rule.name.clone(), open);
            asked.insert(rule.name.clone(), places);
        }
        let mut facts: BTreeMap<String, Vec<StoredFact>> = BTreeMap::new();
        for (kind, places) in by_kind {
            let list = facts.entry(kind.clone()).or_default();
            for place in places {
                list.extend(self.facts_now(batch, place, Some(&kind))?);
            }
        }
        let places: BTreeSet<PlaceId> = to_run.values().flatten().copied().collect();
        let with_row = |place: &PlaceId| {
            let row = batch.places[place].state.row.as_slice();
            (!row.is_empty()).then_some((*place, row))
        };
        let mut standings = BTreeMap::new();
        if !batch.watched.is_empty() {
            let of = |place: &PlaceId| (*place, batch.standings(*place, &self.listening.clocks));
            standings.extend(places.iter().map(of));
        }
        let touched = Touched { places: places.iter().filter_map(with_row).collect(), facts, standings };
        let is_asked = |rule: &Rule| !touched.places.is_empty() && !to_run[&rule.name].is_empty();
        let found = rules.run(&touched, is_asked).await?;
        for (rule, hits) in found {
            let by_place: HashMap<PlaceId, Hit> = hits.into_iter().map(|hit| (hit.place, hit)).collect();
            for place in &asked[&rule.name] {
                self.judge(batch, rule, *place, by_place.get(place))?;
            }
        }
        if all {
            let known: Vec<&str> = rules.iter().map(|rule| &*rule.name).collect();
            self.clear_of_other_rules(batch, &known)?;
        }
        Ok(())
    }

    fn judge(
        &mut self,
        batch: &mut Batch,
        rule: &Rule,
        place: PlaceId,
        hit: Option<&Hit>,
    ) -> Result<(), Error> {
        let state = &batch.places[&place].state;
        let alarm = state.alarms.iter().find(|alarm| alarm.rule == rule.name);
        let now = hit.map(|hit| (hit.severity, warnings::update_key(rule, hit)));
        let Some((transition, alarm)) = warnings::decide(&rule.name, alarm, now) else { return Ok(()) };
        let at_ms = match rule.shape {
            Shape::Silence => self.silent_ms(batch, rule, place, transition),
            Shape::Row | Shape::Facts => self.event_ms(batch, place),
        };
        let before = self.warning_before(batch, place, &rule.name, alarm.ordinal)?;
        let row = match (transition, hit) {
            (Transition::Clear, _) | (_, None) => before.map(|row| warnings::cleared(row, at_ms)),
            (_, Some(hit)) => {
                let mut kinds: Vec<&str> = rule.evidence.iter().map(|wanted| wanted.kind.as_str()).collect();
                kinds.sort_unstable();
                kinds.dedup();
                let mut facts = Vec::new();
                for kind in kinds {
                    facts.extend(self.facts_now(batch, place, Some(kind))?);
                }
                let content = Content {
                    rule,
                    place,
                    schema: self.tables.schema(PLACES)?,
                    row: &batch.places[&place].state.row,
                    hit,
                    evidence: evidence::of(rule, hit, &facts, self.tables.kinds()),
                };
                let before = before.filter(|_| transition == Transition::Update);
                Some(warnings::row(&content, &alarm, at_ms, before.as_deref()))
            }
        };
        self.warned(batch, place, transition, alarm, row);
        Ok(())
    }

    /// Warnings of rules that are there no longer.
    fn clear_of_other_rules(&mut self, batch: &mut Batch, known: &[&str]) -> Result<(), Error> {
        let touched: Vec<PlaceId> = batch.places.keys().copied().collect();
        for place in &touched {
            let alarms = &batch.places[place].state.alarms;
            let is_orphan = |alarm: &&Alarm| alarm.firing && !known.contains(&&*alarm.rule);
            let orphans: Vec<Alarm> = alarms.iter().filter(is_orphan).cloned().collect();
            for alarm in orphans {
                let decided = warnings::decide(&alarm.rule, Some(&alarm), None);
                let Some((transition, alarm)) = decided else { continue };
                let at_ms = self.event_ms(batch, *place);
                let before = self.warning_before(batch, *place, &alarm.rule, alarm.ordinal)?;
                let row = before.map(|row| warnings::cleared(row, at_ms));
                self.warned(batch, *place, transition, alarm, row);
            }
        }
        Ok(())
    }

    fn warned(
        &mut self,
        batch: &mut Batch,
        place: PlaceId,
        transition: Transition,
        alarm: Alarm,
        row: Option<Vec<Value>>,
    ) {
        let operation = match transition {
            Transition::Raise => {
                batch.applied.raised += 1;
                self.holding.firing += 1;
                Operation::Insert
            }
            Transition::Update => {
                batch.applied.updated += 1;
                Operation::Update
            }
            Transition::Clear => {
                batch.applied.cleared += 1;
                self.holding.firing -= 1;
                Operation::Update
            }
        };
        if let Some(row) = row {
            batch.warnings.insert((place, alarm.rule.clone(), alarm.ordinal), row.clone());
            batch.said.push(Said::Warning(operation, place, row));
        }
        let touch = batch.places.get_mut(&place).expect("invariant: the place is in the batch");
        touch.state_changed = true;
        match touch.state.alarms.iter_mut().find(|other| other.rule == alarm.rule) {
            Some(other) => *other = alarm,
            None => touch.state.alarms.push(alarm),
        }
    }

    fn warning_before(
        &self,
        batch: &Batch,
        place: PlaceId,
        rule: &Arc<str>,
        ordinal: u32,
    ) -> Result<Option<Vec<Value>>, Error> {
        match batch.warnings.get(&(place, rule.clone(), ordinal)) {
            Some(row) => Ok(Some(row.clone())),
            None if self.is_loading => Ok(None),
            None => Ok(self.writer.warning(place, rule, ordinal)?),
        }
    }

    /// The beginning of the place's latest event day; a place without one has only the batch's own time.
    fn event_ms(&self, batch: &Batch, place: PlaceId) -> i64 {
        let event_day = self.merger.event_day(&batch.places[&place].state);
        event_day.map_or(batch.recorded_at_ms, day::begin_ms)
    }

    /// A warning of silence is raised on the day on which the silence came to count, which is no event's; what becomes of
    /// it later happens on the latest event day too.
    fn silent_ms(&self, batch: &Batch, rule: &Rule, place: PlaceId, transition: Transition) -> i64 {
        let since_day = silent::since_day(rule, &batch.standings(place, &self.listening.clocks));
        match since_day.map(day::begin_ms) {
            Some(since_ms) if transition == Transition::Raise => since_ms,
            Some(since_ms) => since_ms.max(self.event_ms(batch, place)),
            None => self.event_ms(batch, place),
        }
    }
}

impl Batch {
    fn standings(&self, place: PlaceId, clocks: &Clocks) -> Vec<Standing> {
        let silences = self.places.get(&place).map_or(&[][..], |touch| &touch.state.silences);
        silences.iter().filter_map(|silence| Standing::of(silence, clocks)).collect()
    }
}
