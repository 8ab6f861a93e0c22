//! The one atomic write of a batch.

use std::{collections::BTreeMap, sync::Arc};

use yibiao_records::{CrashPoint, Operation, Statement};
use yibiao_tables::shard::{StoredFact, Writing};

use super::{Applied, Applier, Batch, FactKey, HOLDING, Holding, RECORDED_AT, Said, listen};
use crate::Error;

impl Applier {
    pub(super) fn write(&mut self, batch: Batch) -> Result<Applied, Error> {
        let Batch {
            recorded_at_ms,
            facts,
            has_repeats,
            places,
            said,
            warnings,
            marks,
            positions,
            last_days,
            timers_max,
            mut applied,
            ..
        } = batch;
        self.recorded_at_ms = recorded_at_ms;
        let mut writing = self.writer.begin(recorded_at_ms)?;
        if let Some(timers_max) = timers_max {
            writing.timers_max(timers_max);
        }
        for said in &said {
            match said {
                // What stands is written beside its change, so that its bytes are made once.
                Said::Fact(operation, said) => {
                    let is_kept = stands(&facts, said, has_repeats);
                    writing.fact_change(&self.fact_tables[&said.kind], *operation, said, is_kept);
                }
                Said::Place(Operation::Delete, place) => {
                    let row = &places[place].row_before;
                    writing.change(&self.places_table, Operation::Delete, *place, row);
                }
                Said::Place(operation, place) => {
                    writing.put_changed_place(&self.places_table, *operation, *place, &places[place].state);
                }
                Said::Warning(operation, place, row) => {
                    writing.change(&self.warnings_table, *operation, *place, row);
                }
            }
        }
        for ((place, kind, id), stored) in &facts {
            if stored.is_none() {
                writing.delete_fact(*place, kind, id);
            }
        }
        for (place, touch) in &places {
            if touch.state_changed && (!touch.row_changed || touch.state.row.is_empty()) {
                writing.put_place(*place, &touch.state);
            }
            if touch.state_changed {
                listen::write_timers(&mut writing, *place, &touch.silences_before, &touch.state.silences);
            }
        }
        for (key, day) in &last_days {
            writing.put_last_day(&self.listening.clocks.last_day(key, *day));
        }
        for ((place, rule, ordinal), row) in &warnings {
            writing.put_warning(*place, rule, *ordinal, row);
        }
        for (key, raw) in &marks {
            writing.mark(key, *raw);
        }
        for (of, next) in &positions {
            writing.position(of, *next);
        }
        note(&mut writing, recorded_at_ms, self.holding);
        applied.changes = writing.changes();
        CrashPoint::FusionApplied.pass();
        writing.commit()?;
        CrashPoint::FusionCommitted.pass();
        Ok(applied)
    }
}

/// Whether the fact stands as it was said here; if not, something later in the batch was said of it.
fn stands(
    facts: &BTreeMap<FactKey, Option<Arc<StoredFact>>>,
    said: &Arc<StoredFact>,
    has_repeats: bool,
) -> bool {
    if !has_repeats {
        return said.fact.statement == Statement::Assert;
    }
    let key = (said.fact.place, said.kind.clone(), said.fact.id);
    facts.get(&key).and_then(Option::as_ref).is_some_and(|standing| Arc::ptr_eq(standing, said))
}

pub(super) fn note(writing: &mut Writing<'_>, recorded_at_ms: i64, holding: Holding) {
    writing.note(RECORDED_AT, &recorded_at_ms.to_string());
    writing.note(HOLDING, &format!("{} {} {}", holding.places, holding.facts, holding.firing));
}

impl Holding {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|number| number.parse().ok());
        Some(Self { places: numbers.next()??, facts: numbers.next()??, firing: numbers.next()?? })
    }
}
