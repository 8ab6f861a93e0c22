//! When the tables' specification or the rules have changed, everything is merged and judged again, once, before
//! the first new fact. A crash in between begins it anew: it gives the same rows.

use yibiao_records::PlaceId;
use yibiao_tables::shard::PlaceState;

use super::{
    Applied, Applier, Batch, Touch,
    listen::{Listening, set_timers},
};
use crate::{Error, rules::Rules, silence::Clocks};

const SPECIFICATION: &str = "specification";
const RULES: &str = "rules";
const SILENCES: &str = "silences";
/// Clocks and timers are being made anew.
const UNFINISHED: &str = "unfinished";

/// Places in one write.
const CHUNK: usize = 2048;

impl Applier {
    /// Whether rows and warnings are by the present specification and rules, or there are none yet.
    pub fn is_fresh(&self, rules: &Rules) -> Result<bool, Error> {
        let (merged_by, judged_by) = (self.writer.note(SPECIFICATION)?, self.writer.note(RULES)?);
        let is_new = merged_by.is_none() && judged_by.is_none();
        let is_merged = merged_by.as_deref() == Some(&self.merger.spec().fingerprint);
        Ok(is_new || is_merged && judged_by == Some(rules.fingerprint()))
    }

    /// Brings rows and warnings up to the present specification and rules. True when something had to be done.
    pub async fn refresh(&mut self, rules: &mut Rules) -> Result<bool, Error> {
        self.rebuild_silences(rules)?;
        let specification = self.merger.spec().fingerprint.clone();
        let (merged_by, judged_by) = (self.writer.note(SPECIFICATION)?, self.writer.note(RULES)?);
        let is_merged = merged_by.as_deref() == Some(&specification);
        let is_judged = judged_by == Some(rules.fingerprint());
        if is_merged && is_judged {
            return Ok(false);
        }
        let shard = self.shard().number();
        if merged_by.is_some() {
            tracing::info!(
                shard,
                merge = !is_merged,
                "tables or rules have changed: places are brought up to date"
            );
        }
        let view = self.shard().view();
        let mut chunk = Vec::with_capacity(CHUNK);
        for place in view.places() {
            chunk.push(place?);
            if chunk.len() == CHUNK {
                self.refresh_chunk(rules, std::mem::take(&mut chunk), !is_merged).await?;
            }
        }
        self.refresh_chunk(rules, chunk, !is_merged).await?;
        let mut writing = self.writer.begin(self.recorded_at_ms)?;
        writing.note(SPECIFICATION, &specification);
        writing.note(RULES, &rules.fingerprint());
        writing.commit()?;
        Ok(true)
    }

    async fn refresh_chunk(
        &mut self,
        rules: &mut Rules,
        chunk: Vec<(PlaceId, PlaceState)>,
        merge: bool,
    ) -> Result<Applied, Error> {
        if chunk.is_empty() {
            return Ok(Applied::default());
        }
        let mut batch = Batch::new(self.recorded_at_ms, rules);
        for (place, state) in chunk {
            let mut touch = Touch::new(state);
            if merge {
                let facts = self.writer.facts(place, None)?;
                self.merger.from_scratch(&mut touch.state, &facts);
                touch.state_changed = true;
            }
            batch.places.insert(place, touch);
        }
        self.merge(&mut batch)?;
        set_timers(&mut batch, &self.listening.clocks);
        self.warn(&mut batch, rules, true).await?;
        self.write(batch)
    }

    /// When rules have changed, and some listen or listened: last days, clocks and timers are made anew from the facts. All
    /// timers wait for their first day then; those that are due by the clocks are looked at like any.
    fn rebuild_silences(&mut self, rules: &Rules) -> Result<(), Error> {
        let wanted = rules.watched().fingerprint();
        let is_judged = self.writer.note(RULES)? == Some(rules.fingerprint());
        if self.writer.note(SILENCES)?.unwrap_or_default() == wanted && (is_judged || wanted.is_empty()) {
            return Ok(());
        }
        self.note(SILENCES, UNFINISHED)?;
        self.writer.clear_timers()?;
        self.listening = Listening::new(&self.writer, self.listening.timers_max)?;
        let view = self.shard().view();
        let mut batch = Batch::new(self.recorded_at_ms, rules);
        for place in view.places() {
            let (place, mut state) = place?;
            let before = std::mem::take(&mut state.silences);
            let mut touch = Touch::new(state);
            touch.state.row = std::mem::take(&mut touch.row_before);
            touch.stale_silences = rules.watched().kinds().cloned().collect();
            touch.state_changed = !before.is_empty();
            batch.places.insert(place, touch);
            if batch.places.len() == CHUNK {
                self.rebuild_chunk(std::mem::replace(&mut batch, Batch::new(self.recorded_at_ms, rules)))?;
            }
        }
        self.rebuild_chunk(batch)?;
        self.note(SILENCES, &wanted)
    }

    fn rebuild_chunk(&mut self, mut batch: Batch) -> Result<(), Error> {
        self.hear(&mut batch)?;
        set_timers(&mut batch, &Clocks::default());
        self.write(batch).map(drop)
    }

    fn note(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let mut writing = self.writer.begin(self.recorded_at_ms)?;
        writing.note(name, text);
        writing.commit()?;
        Ok(())
    }
}
