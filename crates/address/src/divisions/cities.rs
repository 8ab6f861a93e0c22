//! Which cities there are, and the communities of those that were asked for.

use super::communities::{City, Signs};
use super::{DivisionId, Row};
use crate::model::Level;
use std::ops::Range;
use std::sync::OnceLock;

#[derive(Debug)]
pub(super) struct Cities {
    signs: Signs,
    /// The rows of each city, and its communities once they were asked for.
    cities: Vec<(Range<u32>, OnceLock<City>)>,
    /// Per row: its city; `NONE` above the cities.
    of_row: Vec<u16>,
}

const NONE: u16 = u16::MAX;

impl Cities {
    pub fn new(signs: Signs, rows: &[Row]) -> Self {
        let mut of_row = vec![NONE; rows.len()];
        let mut cities = Vec::new();
        for (at, row) in (0..).zip(rows).filter(|(_, row)| row.level == Level::City) {
            of_row[at as usize..row.end as usize].fill(cities.len() as u16);
            cities.push((at..row.end, OnceLock::new()));
        }
        Self { signs, cities, of_row }
    }

    /// The city that a row is or lies in.
    pub fn of(&self, row: u32) -> Option<u16> {
        self.of_row.get(row as usize).copied().filter(|&city| city != NONE)
    }

    /// The communities of a city, and its first row.
    fn unpacked(&self, rows: &[Row], city: u16) -> (&City, u32) {
        let (range, unpacked) = &self.cities[usize::from(city)];
        let lists = || rows[range.start as usize..range.end as usize].iter().map(|row| row.communities);
        (unpacked.get_or_init(|| City::unpack(&self.signs, lists())), range.start)
    }

    /// How many communities lie in the township that is this row.
    pub fn count(&self, rows: &[Row], row: u32) -> usize {
        if rows[row as usize].communities.is_empty() {
            return 0;
        }
        self.of(row).map_or(0, |city| {
            let (city, first) = self.unpacked(rows, city);
            city.of((row - first) as usize).len()
        })
    }

    /// Name and last three digits of the code of a township's nth community.
    pub fn community(&self, rows: &[Row], row: u32, nth: usize) -> (&str, u16) {
        let Some(city) = self.of(row) else { return ("", 0) };
        let (city, first) = self.unpacked(rows, city);
        let local = city.of((row - first) as usize).start + nth;
        (city.name(local), city.code(local))
    }

    pub fn by_code(&self, rows: &[Row], row: u32, code: u16) -> Option<DivisionId> {
        if rows[row as usize].communities.is_empty() {
            return None;
        }
        let (city, first) = self.unpacked(rows, self.of(row)?);
        let division = (row - first) as usize;
        let local = city.by_code(division, code)?;
        Some(DivisionId::of_community(row, local - city.of(division).start))
    }

    /// Calls `found(length, community)` for every community of the cities that `area` lies in, is, or holds, whose name
    /// begins `text`.
    pub fn prefixes(
        &self,
        rows: &[Row],
        area: DivisionId,
        text: &[char],
        mut found: impl FnMut(usize, DivisionId),
    ) {
        let held = rows[area.row() as usize].end;
        let cities = match self.of(area.row()) {
            Some(city) => city..city + 1,
            None => {
                let first = self.cities.partition_point(|(range, _)| range.start < area.row());
                let end = self.cities.partition_point(|(range, _)| range.start < held);
                first as u16..end as u16
            }
        };
        for city in cities {
            let (city, first) = self.unpacked(rows, city);
            city.prefixes(text, |length, local| {
                let division = city.division_of(local);
                let nth = local - city.of(division).start;
                found(length, DivisionId::of_community(first + division as u32, nth));
            });
        }
    }
}
