//! What follows where a full dump ends: of each key of the partition, whether the dump had it.

use std::collections::BTreeSet;

use super::{By, Expected, Last, Partition};
use crate::{setup::GONE_MAX_PERCENT, source::Said};

/// So few missing records are never too many.
const FEW: usize = 10;

/// What came of the ends of dumps.
#[derive(Debug, Default)]
pub struct Told {
    pub ended: u64,
    pub incomplete: u64,
    /// Records that stood and were missing.
    pub missing: u64,
    /// Records that waited for another gazetteer and were missing.
    pub missing_waiting: u64,
}

/// The dumps of one raw partition.
#[derive(Debug, Default)]
pub struct Dumps {
    newest: Dump,
    /// The last one from whose end something followed, and where that lay.
    in_force: Option<(u64, i64)>,
}

#[derive(Debug, Default)]
struct Dump {
    number: u64,
    had: BTreeSet<String>,
    has_nameless: bool,
    is_over: bool,
}

impl Dumps {
    pub fn see(&mut self, said: &Said) {
        if said.dump == 0 || !self.is_coming(said.dump) {
            return;
        }
        if said.key.starts_with('?') {
            self.newest.has_nameless = true;
        } else {
            self.newest.had.insert(said.key.clone());
        }
    }

    fn is_coming(&mut self, number: u64) -> bool {
        if number > self.newest.number {
            self.newest = Dump { number, ..Dump::default() };
        }
        number == self.newest.number && !self.newest.is_over
    }

    /// What first came there was refused, and a dump that said everything anew has ended since.
    pub fn is_outdated(&self, said: &Said, first_offset: i64) -> bool {
        self.in_force.is_some_and(|(number, end)| said.dump != number && first_offset < end)
    }
}

impl Partition {
    pub(super) fn end_dump(
        &mut self,
        expected: &mut Expected,
        said: &Said,
        partition: i32,
        (offset, is_replayed): (i64, bool),
    ) {
        let counts = expected.counts.entry((said.feed, partition)).or_default();
        counts.received += 1;
        if is_replayed || !self.dumps.is_coming(said.dump) {
            counts.unchanged += 1;
            return;
        }
        let dump = &mut self.dumps.newest;
        dump.is_over = true;
        let standing = self.keys.values().filter(|last| last.claim.is_some()).count();
        let is_missing = |key: &String| !dump.had.contains(key);
        let stood = self.keys.iter().filter(|(key, last)| last.claim.is_some() && is_missing(key));
        let missing: Vec<String> = stood.map(|(key, _)| key.clone()).collect();
        let too_many = missing.len() > FEW && missing.len() * 100 > standing * usize::from(GONE_MAX_PERCENT);
        if !missing.is_empty() && (dump.has_nameless || too_many) {
            counts.quarantined += 1;
            expected.refused.entry(said.feed).or_default().insert((partition, offset));
            expected.dumps.incomplete += 1;
            return;
        }
        match missing.len() {
            0 => counts.unchanged += 1,
            _ => counts.accepted += 1,
        }
        counts.retracted += missing.len() as u64;
        expected.dumps.ended += 1;
        expected.dumps.missing += missing.len() as u64;
        // What has no readable key may be any of them.
        if !dump.has_nameless {
            let before = self.waiting.len();
            self.waiting.retain(|key, _| dump.had.contains(key));
            expected.dumps.missing_waiting += (before - self.waiting.len()) as u64;
            self.dumps.in_force = Some((said.dump, offset));
        }
        for key in missing {
            expected.facts.remove(&(said.feed, key.clone()));
            let gone = Last {
                value: None,
                first_offset: offset,
                since: offset,
                is_doubtful: false,
                by: By { edition: None, strict: false },
                claim: None,
                address: None,
            };
            self.keys.insert(key, gone);
        }
    }
}
