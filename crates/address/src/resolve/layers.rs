//! A base and what was added to it or withdrawn since it was built: they answer as one gazetteer of all rows would.
//!
//! Evidence is gathered in both. The overlay holds each compound that it touches with all that lies in it, so that a compound
//! that both know is looked at in the overlay alone.

use super::evidence::Evidence;
use super::{Resolver, Scratch};
use crate::gazetteer::{Gazetteer, PlaceIndex, PlaceView};
use crate::model::Status;
use std::sync::Arc;

impl Resolver {
    /// Resolves by `overlay`, too: a gazetteer built [over](crate::GazetteerBuilder::over) this one's.
    pub fn with_overlay(mut self, overlay: Arc<Gazetteer>) -> Self {
        let overlay = Resolver::new(overlay);
        self.salt ^= overlay.salt.rotate_left(1);
        for (own, added) in [(&mut self.provinces, &overlay.provinces), (&mut self.cities, &overlay.cities)] {
            own.extend(added);
            own.sort_unstable();
            own.dedup();
        }
        self.overlay = Some(Arc::new(overlay));
        self
    }

    /// The standard or implied place with this id, as the overlay has it, else as the base does.
    pub fn place(&self, id: u64) -> Option<PlaceView<'_>> {
        let added = self.overlay.as_ref().and_then(|overlay| overlay.gazetteer.place(id));
        let mut view = added.or_else(|| self.gazetteer.place(id))?;
        if self.withdraws(id) {
            view.status = Status::Withdrawn;
        }
        Some(view)
    }

    pub(super) fn withdraws(&self, id: u64) -> bool {
        self.overlay.as_ref().is_some_and(|overlay| overlay.gazetteer.withdraws(id))
    }

    /// The gazetteer that holds what some evidence is about.
    pub(super) fn layer(&self, added: bool) -> &Gazetteer {
        match &self.overlay {
            Some(overlay) if added => &overlay.gazetteer,
            _ => &self.gazetteer,
        }
    }

    /// Adds the overlay's evidence to the base's that `s` holds.
    pub(super) fn gather_added(&self, s: &mut Scratch) {
        let Some(overlay) = &self.overlay else { return };
        let mut all = std::mem::take(&mut s.evidence_of_base);
        std::mem::swap(&mut all, &mut s.evidence);
        for e in &mut all {
            let held = overlay.gazetteer.index_of(self.gazetteer.id(e.compound));
            (e.compound, e.added) = held.map_or((e.compound, false), |held| (held, true));
        }
        overlay.gather(s);
        for added in s.evidence.iter().map(|e| Evidence { added: true, ..*e }) {
            match all.iter_mut().find(|e| e.added && e.compound == added.compound) {
                Some(e) => e.join(&added),
                None => all.push(added),
            }
        }
        std::mem::swap(&mut all, &mut s.evidence);
        s.evidence_of_base = all;
    }

    /// A listed alias of a building, unit or dwelling that is the whole text: the place, and whether the overlay holds it.
    pub(super) fn by_alias_of_layers(&self, s: &Scratch) -> Option<(PlaceIndex, bool)> {
        let added = self.overlay.as_ref().and_then(|overlay| overlay.by_alias(s));
        added.map(|place| (place, true)).or_else(|| self.by_alias(s).map(|place| (place, false)))
    }
}
