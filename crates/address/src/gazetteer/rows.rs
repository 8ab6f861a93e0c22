//! Rows below compounds, as small as they can be held: a province has 150 million of them.

use crate::model::{Level, Status};
use crate::parse::Label;
use crate::parse::door::column_value;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::hash::BuildHasher;

/// A label among all that the rows have; 0 where the row says none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct LabelId(pub u32);

impl LabelId {
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What column values were read as is remembered for so many of them.
const COLUMNS_MAX: usize = 1 << 20;

/// Every distinct number of buildings, units and rooms, once.
#[derive(Debug)]
pub(super) struct Labels {
    labels: Vec<Label>,
    ids: HashMap<Label, LabelId>,
    columns: HashMap<Box<str>, LabelId>,
}

impl Default for Labels {
    fn default() -> Self {
        Self { labels: vec![Label::EMPTY], ids: HashMap::new(), columns: HashMap::new() }
    }
}

impl Labels {
    pub fn id(&mut self, label: Label) -> LabelId {
        if label.is_empty() {
            return LabelId::default();
        }
        let next = LabelId(self.labels.len() as u32);
        *self.ids.entry(label).or_insert_with(|| {
            self.labels.push(label);
            next
        })
    }

    /// The label that reads `text`.
    pub fn of_text(&mut self, text: &str) -> LabelId {
        Label::from_chars(text.chars()).map_or(LabelId::default(), |label| self.id(label))
    }

    /// The label of a column as written (`25幢`).
    pub fn of_column(&mut self, text: &str) -> LabelId {
        if text.is_empty() {
            return LabelId::default();
        }
        if let Some(&known) = self.columns.get(text) {
            return known;
        }
        let id = column_value(text).map_or(LabelId::default(), |label| self.id(label));
        if self.columns.len() < COLUMNS_MAX {
            self.columns.insert(text.into(), id);
        }
        id
    }

    pub fn get(&self, id: LabelId) -> &Label {
        &self.labels[id.0 as usize]
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }
}

/// One row below a compound: 40 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub place: u64,
    /// 0: not given.
    pub parent: u64,
    /// Which compound it lies in, by its own words.
    pub hint: u32,
    /// Building, unit, room.
    pub doors: [LabelId; 3],
    pub level: Level,
    pub status: Status,
}

impl Row {
    /// Of a row whose parent is known to be there.
    pub const NO_HINT: u32 = u32::MAX;

    /// The number that the row is about.
    pub fn own(&self) -> LabelId {
        self.doors[self.level as usize - Level::Building as usize]
    }
}

/// The rows in the order in which they came, each place once.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    by_place: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Rows {
    pub fn push(&mut self, row: Row) {
        let at = self.rows.len() as u32;
        let Self { rows, by_place, hasher } = self;
        rows.push(row);
        by_place
            .insert_unique(hasher.hash_one(row.place), at, |&at| hasher.hash_one(rows[at as usize].place));
    }

    pub fn of_place(&mut self, place: u64) -> Option<&mut Row> {
        let Self { rows, by_place, hasher } = self;
        let at = by_place.find(hasher.hash_one(place), |&at| rows[at as usize].place == place)?;
        rows.get_mut(*at as usize)
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows, without what finds them by their place.
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_found_among_many_and_a_label_is_kept_once() {
        let (mut rows, mut labels) = (Rows::default(), Labels::default());
        for n in 1..=10_000u64 {
            let room = labels.of_column(&format!("{}室", n % 50));
            let doors = [LabelId::default(), LabelId::default(), room];
            rows.push(Row {
                place: n * 7,
                parent: 0,
                hint: 0,
                doors,
                level: Level::Dwelling,
                status: Status::InUse,
            });
        }
        assert_eq!(rows.of_place(70).unwrap().own(), labels.of_column("10"));
        assert!(rows.of_place(71).is_none());
        assert_eq!(labels.len(), 51, "50 rooms and the empty label");
        assert_eq!(size_of::<Row>(), 40);
    }
}
