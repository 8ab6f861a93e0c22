//! The one atomic write of a batch.

use yibiao_records::{CrashPoint, Operation};
use yibiao_tables::shard::Writing;

use super::{Applied, Applier, Batch, HOLDING, Holding, RECORDED_AT, Said, listen};
use crate::Error;

impl Applier {
    pub(super) fn write(&mut self, batch: Batch) -> Result<Applied, Error> {
        let Batch {
            recorded_at_ms,
            facts,
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
        for ((place, kind, id), stored) in &facts {
            match stored {
                Some(stored) => writing.put_fact(stored),
                None => writing.delete_fact(*place, kind, id),
            }
        }
        for (place, touch) in &places {
            if touch.state_changed {
                writing.put_place(*place, &touch.state);
                listen::write_timers(&mut writing, *place, &touch.silences_before, &touch.state.silences);
            }
        }
        for (key, day) in &last_days {
            writing.put_last_day(&self.listening.clocks.last_day(key, *day));
        }
        for ((place, rule, ordinal), row) in &warnings {
            writing.put_warning(*place, rule, *ordinal, row);
        }
        for said in &said {
            match said {
                Said::Place(operation, place) => {
                    let touch = &places[place];
                    let row = match operation {
                        Operation::Delete => &touch.row_before,
                        _ => &touch.state.row,
                    };
                    writing.change(&self.places_table, *operation, *place, row);
                }
                Said::Fact(operation, said) => {
                    writing.fact_change(&self.fact_tables[&said.kind], *operation, said);
                }
                Said::Warning(operation, place, row) => {
                    writing.change(&self.warnings_table, *operation, *place, row);
                }
            }
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

fn note(writing: &mut Writing<'_>, recorded_at_ms: i64, holding: Holding) {
    writing.note(RECORDED_AT, &recorded_at_ms.to_string());
    writing.note(HOLDING, &format!("{} {} {}", holding.places, holding.facts, holding.firing));
}

impl Holding {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|number| number.parse().ok());
        Some(Self { places: numbers.next()??, facts: numbers.next()??, firing: numbers.next()?? })
    }
}
