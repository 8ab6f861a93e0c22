//! The tree of places as the file holds it.
//!
//! ```text
//!  position   0 … compounds │ … buildings and units │ … dwellings        what lies in one place stands side by side
//!  every place:  label, id                                              sorted by level and label
//!  the first two: kind, first building or unit within, first dwelling within
//! ```
//! A parent is found by whose range the position is in. Dwellings are in use unless listed otherwise.

use super::column::Column;
use super::file::{Section, u32_at, u64_at};
use super::layout::ID_SAMPLE;
use super::order::unpacked;
use super::{COMPOUND_BYTES, DIVISION_AT, Gazetteer, PlaceIndex, PlaceView};
use crate::lexicon::partition;
use crate::model::{Level, Status};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

impl Gazetteer {
    fn column(&self, section: Section) -> Column<'_> {
        Column::new(self.section(section))
    }

    fn compounds(&self) -> u32 {
        (self.section(Section::Compounds).len() / COMPOUND_BYTES) as u32
    }

    /// Compounds, buildings and units: dwellings stand behind so many places.
    fn holders(&self) -> u32 {
        self.section(Section::Kinds).len() as u32
    }

    pub(crate) fn id(&self, index: PlaceIndex) -> u64 {
        self.column(Section::Ids).get(index as usize)
    }

    /// The string of a place's label or, of a compound, its name.
    pub(crate) fn label_of(&self, index: PlaceIndex) -> &str {
        self.string(self.column(Section::Labels).get_u32(index as usize))
    }

    /// Level, status, and whether no row is this place itself.
    pub(crate) fn kind(&self, index: PlaceIndex) -> (Level, Status, bool) {
        if let Some(&kind) = self.section(Section::Kinds).get(index as usize) {
            return unpacked(kind);
        }
        let statuses = self.words(Section::Statuses);
        let at = partition(0, statuses.len() / 2, |i| statuses.get(i * 2) < index);
        let listed = at < statuses.len() / 2 && statuses.get(at * 2) == index;
        let status = if listed { Status::from_u8(statuses.get(at * 2 + 1) as u8) } else { Status::InUse };
        (Level::Dwelling, status, false)
    }

    pub(crate) fn level(&self, index: PlaceIndex) -> Level {
        let kind = self.section(Section::Kinds).get(index as usize);
        kind.map_or(Level::Dwelling, |&kind| unpacked(kind).0)
    }

    pub(crate) fn parent(&self, index: PlaceIndex) -> Option<PlaceIndex> {
        let first = match index.checked_sub(self.holders()) {
            Some(dwelling) => self.column(Section::FirstDwelling).count_up_to(u64::from(dwelling)),
            None if index < self.compounds() => return None,
            None => self.column(Section::FirstNode).count_up_to(u64::from(index)),
        };
        first.checked_sub(1).map(|holder| holder as u32)
    }

    /// The line of a place, from its compound down to itself.
    pub(crate) fn line(&self, index: PlaceIndex) -> Vec<PlaceIndex> {
        let mut line: Vec<PlaceIndex> = self.upwards(index).collect();
        line.reverse();
        line
    }

    /// A damaged file may lead in circles, so that no more steps than levels are taken.
    fn upwards(&self, index: PlaceIndex) -> impl Iterator<Item = PlaceIndex> + '_ {
        std::iter::successors(Some(index), |&i| self.parent(i)).take(4)
    }

    pub(crate) fn compound_of(&self, index: PlaceIndex) -> PlaceIndex {
        self.upwards(index).last().unwrap_or(index)
    }

    /// The entry of `Covered` that a compound lies in.
    #[inline]
    pub(crate) fn division_index(&self, compound: PlaceIndex) -> u32 {
        u32_at(self.section(Section::Compounds), compound as usize * COMPOUND_BYTES + DIVISION_AT)
    }

    /// The 12-digit code of the deepest division known for a compound; None: not known.
    pub(crate) fn division_of_compound(&self, compound: PlaceIndex) -> Option<u64> {
        let division = self.division_index(compound);
        let code = u64_at(self.section(Section::Covered), division as usize * 8);
        (code != 0).then_some(code)
    }

    /// The same of the compound that a place lies in.
    pub(crate) fn division_code(&self, index: PlaceIndex) -> Option<u64> {
        self.division_of_compound(self.compound_of(index))
    }

    pub(crate) fn view(&self, index: PlaceIndex) -> PlaceView<'_> {
        let (level, status, implied) = self.kind(index);
        PlaceView {
            place: self.id(index),
            parent: self.parent(index).map(|p| self.id(p)),
            level,
            status,
            implied,
            name: self.label_of(index),
            division_code: self.division_code(index),
            lng_lat: (level == Level::Compound).then(|| self.compound(index).lng_lat).flatten(),
        }
    }

    pub(crate) fn index_of(&self, id: u64) -> Option<PlaceIndex> {
        let (samples, by_id, ids) =
            (self.section(Section::IdSamples), self.column(Section::ById), self.column(Section::Ids));
        // The last sample that does not lie behind the id; before the first one nothing does.
        let sample = partition(0, samples.len() / 8, |i| u64_at(samples, i * 8) <= id).saturating_sub(1);
        let (first, id_at) = (sample * ID_SAMPLE, |i: usize| ids.get(by_id.get(i) as usize));
        let at = partition(first, (first + ID_SAMPLE).min(by_id.len()), |i| id_at(i) < id);
        if at < by_id.len() && id_at(at) == id {
            return Some(by_id.get_u32(at));
        }
        let shadowed = self.section(Section::Shadowed);
        let at = partition(0, shadowed.len() / 16, |i| u64_at(shadowed, i * 16) < id);
        (at < shadowed.len() / 16 && u64_at(shadowed, at * 16) == id)
            .then(|| u64_at(shadowed, at * 16 + 8) as u32)
    }

    /// Does it withdraw the place with this id, whichever gazetteer holds it?
    pub(crate) fn withdraws(&self, id: u64) -> bool {
        let ids = self.section(Section::Withdrawn);
        let at = partition(0, ids.len() / 8, |i| u64_at(ids, i * 8) < id);
        at < ids.len() / 8 && u64_at(ids, at * 8) == id
    }

    /// The number of the label `text`, if any place bears it.
    pub(crate) fn label(&self, text: &str) -> Option<u32> {
        let slots = self.words(Section::LabelSlots);
        let mask = slots.len().checked_sub(1)?;
        let mut slot = xxh3_64(text.as_bytes()) as usize & mask;
        for _ in 0..slots.len() {
            let label = slots.get(slot).checked_sub(1)?;
            if self.string_bytes(label) == text.as_bytes() {
                return Some(label);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    fn within(&self, section: Section, index: PlaceIndex) -> Range<u32> {
        if index >= self.holders() {
            return 0..0;
        }
        let column = self.column(section);
        let (first, end) = (column.get_u32(index as usize), column.get_u32(index as usize + 1));
        let count = self.column(Section::Ids).len() as u32;
        first.min(count)..end.min(count)
    }

    /// The buildings and units right below a place.
    fn nodes(&self, index: PlaceIndex) -> Range<PlaceIndex> {
        self.within(Section::FirstNode, index)
    }

    /// The dwellings right below a place.
    fn dwellings(&self, index: PlaceIndex) -> Range<PlaceIndex> {
        let Range { start, end } = self.within(Section::FirstDwelling, index);
        let holders = self.holders();
        start.saturating_add(holders)..end.saturating_add(holders)
    }

    pub(crate) fn has_children(&self, index: PlaceIndex) -> bool {
        !self.nodes(index).is_empty() || !self.dwellings(index).is_empty()
    }

    /// The children of `index` at `level`.
    pub(crate) fn children_at(&self, index: PlaceIndex, level: Level) -> Range<PlaceIndex> {
        if level == Level::Dwelling {
            return self.dwellings(index);
        }
        let Range { start, end } = self.nodes(index);
        let bound = |low: u32, before: &dyn Fn(Level) -> bool| {
            partition(low as usize, end as usize, |i| before(self.level(i as u32))) as u32
        };
        let first = bound(start, &|l| l < level);
        first..bound(first, &|l| l <= level)
    }

    /// The child of `index` at `level` that bears `label`.
    pub(crate) fn child(&self, index: PlaceIndex, level: Level, label: u32) -> Option<PlaceIndex> {
        let Range { start, end } = self.children_at(index, level);
        let labels = self.column(Section::Labels);
        let at = partition(start as usize, end as usize, |i| labels.get(i) < u64::from(label));
        (at < end as usize && labels.get(at) == u64::from(label)).then_some(at as u32)
    }
}
