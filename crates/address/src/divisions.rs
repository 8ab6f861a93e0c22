//! Divisions: provinces, cities, counties, townships and communities of all China, and what was before them.
//! Compiled in; see data/README.md for the sources. Communities are unpacked city by city, when first asked for.

mod cities;
mod communities;
mod index;
mod load;
mod names;

use crate::model::Level;
use cities::Cities;
pub(crate) use index::{Meaning, NameId, NameIndex};
use serde::Serialize;
use std::sync::OnceLock;

/// A division's place in the depth-first order. A parent stands before all that lies in it.
///
/// The number of a province, city, county or township among all of these, then twelve bits: 0 for itself, else the
/// number of a community of the township, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DivisionId(pub(crate) u32);

const COMMUNITY_BITS: u32 = 12;

impl DivisionId {
    fn of_row(row: u32) -> Self {
        Self(row << COMMUNITY_BITS)
    }

    /// `nth` from 0.
    fn of_community(row: u32, nth: usize) -> Self {
        Self(row << COMMUNITY_BITS | (nth as u32 + 1))
    }

    fn row(self) -> u32 {
        self.0 >> COMMUNITY_BITS
    }

    fn community(self) -> Option<usize> {
        (self.0 & ((1 << COMMUNITY_BITS) - 1)).checked_sub(1).map(|nth| nth as usize)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Division<'d> {
    /// The 12-digit statistical code.
    pub code: u64,
    pub level: Level,
    /// The name as published (`锁四社区居委会`).
    pub name: &'d str,
}

/// A province, city, county or township.
#[derive(Debug)]
struct Row {
    code: u64,
    level: Level,
    name: &'static str,
    /// Of a township: its communities, packed.
    communities: &'static str,
    parent: Option<u32>,
    /// One past the last row within this one.
    end: u32,
}

/// Where a row lies in the tree.
#[derive(Debug, Clone, Copy)]
struct Lineage {
    /// `u32::MAX` where there is none.
    parent: u32,
    /// One past the last row within this one.
    end: u32,
    level: Level,
    /// It exists only in the tables (市辖区).
    is_filler: bool,
    /// A province that is a city: the next row is that city.
    is_municipality: bool,
}

/// A division that is no more, and what it became. Two successors: it was split, the rest must decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    pub name: String,
    pub code: u64,
    pub first_year: u16,
    pub last_year: u16,
    pub successors: Vec<DivisionId>,
}

/// How a name in a text names a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Naming {
    /// The name in full.
    Full,
    /// Without 省, 市, 区, 街道 …: a road or compound may be called the same.
    Short,
    /// A name of the past.
    Former,
    /// The same without 县, 区 …
    FormerShort,
    /// 郊区, 城区: says something only within a known city.
    FormerVague,
}

pub struct Divisions {
    rows: Vec<Row>,
    /// Code and name of each row, as answers show them. The codes rise.
    shown: Vec<(u64, &'static str)>,
    /// What every text asks of a row, close together.
    lineage: Vec<Lineage>,
    cities: Cities,
    former: Vec<Former>,
    /// Of provinces to townships.
    names: NameIndex,
}

impl Divisions {
    /// The divisions compiled into this crate.
    pub fn bundled() -> &'static Divisions {
        static BUNDLED: OnceLock<Divisions> = OnceLock::new();
        BUNDLED.get_or_init(load::bundled)
    }

    /// By a code of 2, 4, 6, 9 or 12 digits.
    pub fn by_code(&self, code: &str) -> Option<Division<'_>> {
        self.id_by_code(code).map(|id| self.get(id))
    }

    pub fn id_by_code(&self, code: &str) -> Option<DivisionId> {
        if !(2..=12).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number: u64 = code.parse().ok()?;
        self.id_by_number(number * 10u64.pow(12 - code.len() as u32))
    }

    pub(crate) fn id_by_number(&self, code: u64) -> Option<DivisionId> {
        let row = self.shown.partition_point(|other| other.0 < code);
        if self.shown.get(row).is_some_and(|other| other.0 == code) {
            return Some(DivisionId::of_row(row as u32));
        }
        // A community stands behind its township.
        let township = row.checked_sub(1)? as u32;
        let own = code - self.shown[township as usize].0;
        let own = u16::try_from(own).ok().filter(|&own| own < 1_000)?;
        self.cities.by_code(&self.rows, township, own)
    }

    /// The deepest known division that a 12-digit code lies in: an unknown community leads to its township.
    pub(crate) fn covering(&self, code: u64) -> Option<DivisionId> {
        [1, 1_000, 1_000_000, 100_000_000, 10_000_000_000]
            .iter()
            .find_map(|unit| self.id_by_number(code / unit * unit))
    }

    pub fn get(&self, id: DivisionId) -> Division<'_> {
        let (code, name) = self.shown[id.row() as usize];
        match id.community() {
            None => Division { code, level: self.level(id), name },
            Some(nth) => {
                let (name, own) = self.cities.community(&self.rows, id.row(), nth);
                Division { code: code + u64::from(own), level: Level::Community, name }
            }
        }
    }

    fn lineage(&self, id: DivisionId) -> &Lineage {
        &self.lineage[id.row() as usize]
    }

    pub(crate) fn level(&self, id: DivisionId) -> Level {
        if id.community().is_some() { Level::Community } else { self.lineage(id).level }
    }

    /// Provinces to townships, parents first.
    fn ids(&self) -> impl Iterator<Item = DivisionId> + use<> {
        (0..self.rows.len() as u32).map(DivisionId::of_row)
    }

    /// Every division, parents first. Unpacks all communities: 0.15 s, 27 MB.
    pub fn iter(&self) -> impl Iterator<Item = (DivisionId, Division<'_>)> {
        let ids = self.ids().flat_map(|id| {
            let communities = (0..self.cities.count(&self.rows, id.row()))
                .map(move |nth| DivisionId::of_community(id.row(), nth));
            std::iter::once(id).chain(communities)
        });
        ids.map(|id| (id, self.get(id)))
    }

    /// The provinces, cities, counties and townships that bear this name today, in full or short.
    pub fn named(&self, name: &str) -> Vec<DivisionId> {
        let key: Vec<char> = crate::fold::folded(name).chars().collect();
        self.names.exact(&key).iter().filter(|m| m.naming() <= Naming::Short).map(|m| m.id()).collect()
    }

    /// The same, and communities as texts write them (`锁四社区`, `张庄村`), of those that lie in `area`.
    pub fn named_within(&self, name: &str, area: DivisionId) -> Vec<DivisionId> {
        let key: Vec<char> = crate::fold::folded(name).chars().collect();
        let meanings = self.names.exact(&key).iter().filter(|m| m.naming() <= Naming::Short).map(|m| m.id());
        let mut found: Vec<DivisionId> = meanings.filter(|&id| self.within(id, area)).collect();
        self.cities.prefixes(&self.rows, area, &key, |length, id| {
            if length == key.len() && self.within(id, area) {
                found.push(id);
            }
        });
        found
    }

    /// Calls `found(length, community)` for the communities of the cities that `areas` are or lie in whose names, as
    /// texts write them, begin `text`. A municipality is a city; other provinces are too wide.
    pub(crate) fn communities(
        &self,
        areas: &[DivisionId],
        text: &[char],
        mut found: impl FnMut(usize, DivisionId),
    ) {
        let Some(end) = communities::reach(text) else { return };
        let text = &text[..end];
        for (at, &area) in areas.iter().enumerate() {
            let city = self.cities.of(area.row());
            let met = areas[..at].iter().any(|before| self.cities.of(before.row()) == city);
            if (city.is_some() && !met) || self.municipality(area).is_some() {
                self.cities.prefixes(&self.rows, area, text, &mut found);
            }
        }
    }

    /// What once bore this name and does no more.
    pub fn former(&self, name: &str) -> Vec<&Former> {
        let name = crate::fold::folded(name);
        self.former.iter().filter(|f| f.name == name).collect()
    }

    pub fn parent(&self, id: DivisionId) -> Option<DivisionId> {
        match id.community() {
            Some(_) => Some(DivisionId::of_row(id.row())),
            None => Some(self.lineage(id).parent).filter(|&p| p != u32::MAX).map(DivisionId::of_row),
        }
    }

    /// The division itself and all that it lies in, from within outwards.
    pub fn line(&self, id: DivisionId) -> impl Iterator<Item = DivisionId> + '_ {
        std::iter::successors(Some(id), |&id| self.parent(id))
    }

    /// The division of `level` that `id` is or lies in.
    pub fn at_level(&self, id: DivisionId, level: Level) -> Option<DivisionId> {
        self.line(id).find(|&d| self.level(d) == level)
    }

    /// The division of each level, by its number, that `id` is or lies in. The city of a municipality is also that of
    /// its province.
    pub(crate) fn line_by_level(&self, id: DivisionId) -> [Option<DivisionId>; 6] {
        let mut line = [None; 6];
        line[Level::City as usize] = self.municipality(id);
        for id in self.line(id) {
            line[self.level(id) as usize] = Some(id);
        }
        line
    }

    /// Is `inner` the same as `outer`, or within it?
    pub fn within(&self, inner: DivisionId, outer: DivisionId) -> bool {
        match outer.community() {
            Some(_) => inner == outer,
            None => outer.row() <= inner.row() && inner.row() < self.lineage(outer).end,
        }
    }

    /// The rows of all that is or lies in `id`; none where it is a community, which is no row.
    pub(crate) fn rows_within(&self, id: DivisionId) -> std::ops::Range<u32> {
        let end = if id.community().is_some() { 0 } else { self.lineage(id).end };
        id.row()..end
    }

    /// Does one of them lie in the other?
    pub(crate) fn agree(&self, a: DivisionId, b: DivisionId) -> bool {
        self.within(a, b) || self.within(b, a)
    }

    /// The name to show: a municipality's 市辖区 is the municipality.
    pub fn shown_name(&self, id: DivisionId) -> &str {
        match (self.level(id), self.parent(id)) {
            (Level::City, Some(parent)) if self.lineage(id).is_filler => self.get(parent).name,
            _ => self.get(id).name,
        }
    }

    /// Does the level exist only in the tables, under a name that says nothing (县, 省直辖县级行政区划)? 市辖区 is shown as
    /// its municipality.
    pub(crate) fn is_nameless(&self, id: DivisionId) -> bool {
        id.community().is_none() && self.lineage(id).is_filler && self.get(id).name != "市辖区"
    }

    /// The one city level of a municipality (上海市 is a province and a city).
    pub(crate) fn municipality(&self, province: DivisionId) -> Option<DivisionId> {
        let is_one = province.community().is_none() && self.lineage(province).is_municipality;
        is_one.then(|| DivisionId::of_row(province.row() + 1))
    }

    /// Which area a feed's default names: a code, or a city's or county's name.
    pub fn area(&self, name: &str) -> Option<DivisionId> {
        let name = name.trim();
        self.id_by_code(name).or_else(|| {
            let found = self.named(name);
            let widest = found.iter().map(|&id| self.level(id)).min()?;
            let mut widest = found.into_iter().filter(|&id| self.level(id) == widest);
            widest.next().filter(|_| widest.next().is_none())
        })
    }

    /// The names of provinces to townships.
    pub(crate) fn names(&self) -> &NameIndex {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn codes_of_every_length_lead_to_their_division() {
        let d = Divisions::bundled();
        assert_eq!(d.by_code("32").unwrap().name, "江苏省");
        assert_eq!(d.by_code("3201").unwrap().name, "南京市");
        assert_eq!(d.by_code("320106").unwrap().name, "鼓楼区");
        assert_eq!(d.by_code("320102002000").unwrap().name, "梅园新村街道");
        assert!(d.by_code("99").is_none() && d.by_code("南京").is_none());
    }

    #[test]
    fn a_name_that_several_bear_gives_them_all() {
        let d = Divisions::bundled();
        let gulou = d.named("鼓楼区");
        assert!(gulou.len() >= 4);
        let jiangsu = d.id_by_code("32").unwrap();
        assert_eq!(gulou.iter().filter(|&&g| d.within(g, jiangsu)).count(), 2);
    }

    #[test]
    fn former_names_lead_to_todays_divisions() {
        let d = Divisions::bundled();
        let names = |former: &str| -> Vec<&str> {
            d.former(former).iter().flat_map(|f| &f.successors).map(|&s| d.get(s).name).collect()
        };
        assert_eq!(names("白下区"), ["秦淮区"]);
        assert_eq!(names("吴县"), ["吴中区", "相城区"]);
        assert!(names("没有县").is_empty());
    }

    #[test]
    fn the_default_area_is_a_code_or_a_name_that_only_one_bears() {
        let d = Divisions::bundled();
        assert_eq!(d.get(d.area("南京").unwrap()).name, "南京市");
        assert_eq!(d.get(d.area("320100").unwrap()).name, "南京市");
        assert_eq!(d.get(d.area("江苏省").unwrap()).name, "江苏省");
        assert!(d.area("鼓楼区").is_none());
    }

    #[test]
    fn all_china_has_communities_with_codes_that_lead_back() {
        let d = Divisions::bundled();
        let (mut count, mut last) = (0, None);
        for (id, division) in d.iter() {
            assert!(last < Some(id), "the order is depth first");
            last = Some(id);
            if division.level == Level::Community {
                count += 1;
                assert_eq!(d.id_by_number(division.code), Some(id));
                assert!(d.parent(id).is_some_and(|t| d.level(t) == Level::Township));
                assert!(
                    !division.name.is_empty()
                        && division.name.chars().all(|c| !c.is_ascii_uppercase() || "ABIT".contains(c))
                );
            }
        }
        assert_eq!(count, 620_572);
        assert_eq!(d.by_code("110101001001").unwrap().name, "多福巷社区居委会");
        assert!(d.by_code("110101001999").is_none() && d.by_code("320106002").is_some());
    }

    #[test]
    fn a_community_is_found_within_its_area_only() {
        let d = Divisions::bundled();
        let in_area = |name: &str, area: &str| -> Vec<u64> {
            d.named_within(name, d.id_by_code(area).unwrap()).into_iter().map(|id| d.get(id).code).collect()
        };
        assert_eq!(in_area("慈悲社社区", "3201"), [320_106_002_002]);
        assert_eq!(in_area("慈悲社社区", "320106"), [320_106_002_002]);
        assert_eq!(in_area("慈悲社社区", "320106002"), [320_106_002_002]);
        assert!(in_area("慈悲社社区", "320102").is_empty() && in_area("慈悲社社区", "3205").is_empty());
        assert_eq!(in_area("鼓楼区", "32"), [320_106_000_000, 320_302_000_000]);
        assert!(in_area("张庄村", "32").len() > 20, "of a province too");
    }
}
