//! A shard's part in full dumps.

use yibiao_records::{FactId, NextOffset};

use super::{Shard, prepare::Prepared};
use crate::{
    Error,
    decode::{ProvenanceView, RawRecord},
    diff::{Decision, Known, Said, Version, diff},
    dump::{Dump, Whole},
    emit::{self, Origin, Outlet},
    state::{Commit, State},
};

/// Retractions in one commit.
pub(super) const SWEEP_RECORDS: usize = 10_000;

impl Shard {
    /// At most so many retractions in one commit; at least one.
    pub fn limit_sweep(&mut self, records_max: usize) {
        self.sweep_records_max = records_max.max(1);
    }

    /// Notes that the dump has this record.
    pub(super) fn see(&mut self, record: &RawRecord<'_>, prepared: &Prepared) {
        let coming = self.record.dump.as_mut().filter(|dump| !dump.ended);
        if let Some(dump) = coming
            && record.offset != self.record.next.get()
        {
            dump.gaps += 1;
        }
        if prepared.dump == 0 || record.origin.is_some() || !self.is_coming(prepared.dump) {
            return;
        }
        // The door gives a record without a readable key one that begins so.
        let is_readable = record.key.is_some_and(|key| !key.starts_with(b"?"));
        match prepared.key.filter(|_| is_readable) {
            Some(key) => self.seen.push(key.fact()),
            None => self.record.dump.iter_mut().for_each(|dump| dump.nameless += 1),
        }
    }

    /// Whether a replayed record comes too late: it was refused, and a dump that has ended since has said all anew.
    pub(super) fn is_outdated(&self, record: &RawRecord<'_>, known: Option<&Known>) -> bool {
        let Some(whole) = self.record.whole_dump else { return false };
        let view = record.provenance.map(ProvenanceView::scan).unwrap_or_default();
        let stands = known.is_some_and(|known| known.standing.is_some());
        record.origin.is_some() && !stands && whole.outdates(view.dump, record.first_offset())
    }

    /// Whether this dump is the newest and has not ended; a newer one than was known begins.
    fn is_coming(&mut self, number: u64) -> bool {
        if self.record.dump.as_ref().is_none_or(|dump| dump.number < number) {
            if let Some(before) = self.record.dump.replace(Dump::new(number)) {
                self.forget.push((before.number, before.lists));
            }
            self.seen.clear();
        }
        self.record.dump.as_ref().is_some_and(|dump| dump.number == number && !dump.ended)
    }

    pub(super) fn write_seen(&mut self, commit: &mut Commit) {
        for (number, lists) in self.forget.drain(..) {
            commit.forget_seen(self.prefix, number, lists);
        }
        let Some(dump) = self.record.dump.as_mut().filter(|_| !self.seen.is_empty()) else { return };
        self.seen.sort_unstable();
        self.seen.dedup();
        commit.seen(self.prefix, dump.number, dump.lists, &self.seen);
        dump.lists += 1;
        dump.seen += self.seen.len() as u64;
        self.seen.clear();
    }

    /// Takes one step of what follows from the end of a dump, as a batch of its own. False: it is to be taken again,
    /// after a commit.
    pub fn end_dump(
        &mut self,
        record: &RawRecord<'_>,
        state: &State,
        outlet: &mut impl Outlet,
    ) -> Result<bool, Error> {
        let number = record.ends_dump().unwrap_or_default();
        let agreed = self.full_dump.clone().filter(|_| self.is_coming(number));
        let Some((agreed, mut dump)) = agreed.zip(self.record.dump.clone()) else {
            self.record.counts.unchanged += 1;
            self.pass(record);
            return Ok(true);
        };
        if dump.sweep.is_none() {
            let refusal = dump.refusal(dump.survey(state, self.prefix)?, &agreed);
            if let Some(refusal) = refusal {
                tracing::warn!(feed = %self.id.feed, partition = self.id.partition, detail = refusal.detail, "a full dump is incomplete: nothing that is missing in it is withdrawn");
                let rejection = emit::rejection(&self.header, record, &refusal);
                outlet.quarantine(&self.quarantine_topic, record, &rejection)?;
                self.record.counts.quarantine(refusal.reason);
                self.end(dump, record);
                return Ok(true);
            }
        }
        let mut sweep = dump.sweep.take().unwrap_or_default();
        let missing = dump.missing(state, self.prefix, &sweep, self.sweep_records_max)?;
        let is_last = missing.len() < self.sweep_records_max;
        for (key, known) in missing {
            let known = self.retract_missing(key.fact(), &known, record, sweep.gone, outlet)?;
            sweep.passed(key.fact());
            self.learn(key, known);
        }
        if !is_last {
            dump.sweep = Some(sweep);
            self.record.dump = Some(dump);
            return Ok(false);
        }
        if dump.is_whole() {
            for key in dump.missing_waiting(state, self.prefix)? {
                self.waits.insert(key, None);
            }
            self.record.whole_dump = Some(Whole { number, end: record.offset });
        }
        tracing::info!(feed = %self.id.feed, partition = self.id.partition, records = dump.seen, gone = sweep.gone, "a full dump has ended");
        match sweep.gone {
            0 => self.record.counts.unchanged += 1,
            _ => self.record.counts.accepted += 1,
        }
        self.end(dump, record);
        Ok(true)
    }

    /// What is known of the record afterwards.
    fn retract_missing(
        &mut self,
        fact: FactId,
        known: &Known,
        end: &RawRecord<'_>,
        index: u64,
        outlet: &mut impl Outlet,
    ) -> Result<Known, Error> {
        let kind = self.kind.clone();
        let version = Version {
            content: self.content_of(end),
            gazetteer: 0,
            origin: end.offset,
            replayed: false,
            asked: 0,
            kind: &kind,
        };
        let ended = diff(Some(known), Said::Ended { at_ms: end.timestamp_ms }, version);
        let Decision::Changed { retract: Some(mut retraction), known, .. } = ended else {
            unreachable!("invariant: what stands and ends is retracted");
        };
        retraction.because = "missing_in_dump";
        // The source's key is not kept with what is known; fusion has it.
        let origin = Origin { fact, source_key: "", offset: end.offset, recorded_at_ms: end.timestamp_ms };
        self.frames.retract(&retraction, origin, index as i32, &self.kinds, outlet)?;
        self.record.counts.retracted += 1;
        Ok(known)
    }

    /// The end was dealt with.
    fn end(&mut self, dump: Dump, record: &RawRecord<'_>) {
        self.forget.push((dump.number, dump.lists));
        self.record.dump = Some(Dump { ended: true, ..Dump::new(dump.number) });
        self.pass(record);
    }

    fn pass(&mut self, record: &RawRecord<'_>) {
        self.record.counts.received += 1;
        self.record.next = NextOffset::after(record.offset);
    }
}
