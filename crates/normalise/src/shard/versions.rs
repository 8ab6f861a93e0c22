//! Under which versions a shard judges: which gazetteer is in force, and when another contract may be.

use std::sync::Arc;

use yibiao_records::NextOffset;

use super::Shard;
use crate::{Error, announce::Announcement, gazetteer::Edition, state::ShardRecord};

/// Gives the gazetteer of a version.
pub type EditionOf<'a> = &'a mut dyn FnMut(&str) -> Result<Arc<Edition>, Error>;

impl Shard {
    /// Takes a newer gazetteer, at a batch boundary, unless what was sent before a crash may have to be repeated under
    /// the present one (`held_until`). Where it does, that is committed before anything is sent under it: a restart
    /// then repeats under the version that was in force.
    pub fn take_edition(&mut self, current: &Arc<Edition>) -> bool {
        let in_force = self.edition.as_ref().is_some_and(|edition| edition.version() == current.version());
        let is_held = self.edition.is_some() && self.record.next < self.held_until;
        if in_force || is_held || !self.source.needs_gazetteer() {
            return false;
        }
        self.record.gazetteer_version = Some(current.version().to_owned());
        self.record.gazetteer_since = self.record.next;
        self.edition = Some(current.clone());
        true
    }

    /// Takes the gazetteer by which what stands before the first announcement is resolved: it is to be in the copy under which
    /// anything is sent ([`crate::announce::Custodian`]). False where it has one.
    pub fn take_first_edition(&mut self, current: &Arc<Edition>) -> bool {
        self.edition.is_none() && self.take_edition(current)
    }

    /// Passes a record that only says which gazetteer is in force behind it, which `edition` gives by its version. Where the
    /// normaliser does not move, or a later epoch has spoken, it says nothing. What it is counted as: nothing.
    pub fn pass_announcement(
        &mut self,
        offset: i64,
        announced: Option<(Announcement<'_>, EditionOf<'_>)>,
    ) -> Result<bool, Error> {
        self.record.next = NextOffset::after(offset);
        let Some((Announcement { epoch, version }, edition)) = announced else { return Ok(false) };
        if epoch < self.record.announced || !self.source.needs_gazetteer() {
            return Ok(false);
        }
        self.record.announced = epoch;
        if self.edition.as_ref().is_some_and(|edition| edition.version() == version) {
            return Ok(false);
        }
        self.edition = Some(edition(version)?);
        self.record.gazetteer_version = Some(version.to_owned());
        self.record.gazetteer_since = self.record.next;
        Ok(true)
    }

    fn contract(&self) -> String {
        format!("{:032x}", self.contract_hash)
    }

    /// At a start: whatever was sent lies before this `end`.
    pub fn begin_before(&mut self, end: NextOffset) {
        if self.record.contract.is_some() && !self.record.at_rest {
            self.owed_until = end;
        }
    }

    /// Notes that nothing is sent that is not committed, or that something may be from now on, and by which contract. False
    /// where that was noted already. A stop in order says nothing of what was sent before the death before it.
    pub fn rest(&mut self, at_rest: bool) -> bool {
        let before = self.record.clone();
        self.record.at_rest = at_rest && self.record.next >= self.owed_until;
        if !at_rest {
            self.record.contract_version = Some(self.contract_version.clone());
            self.record.contract = Some(self.contract());
        }
        self.record != before
    }

    /// Whether facts may have been sent, by another contract than the present, of records that lie before `end` and
    /// are not committed: after a death. Read by the present contract, they might say something else in the same position,
    /// which fusion would take for a repetition.
    pub fn is_owed_by_another_contract(&self, end: NextOffset) -> bool {
        let ShardRecord { next, at_rest, contract, .. } = &self.record;
        let another = contract.as_ref().is_some_and(|contract| *contract != self.contract());
        another && !at_rest && *next < end
    }
}
