//! Divisions: provinces, cities, counties and townships of all China, communities of Jiangsu, and what was
//! before them. Compiled in; see data/README.md for the sources.

mod load;

use crate::lexicon::{Lexicon, LexiconBytes};
use crate::model::Level;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A division's place in the depth-first order. A parent stands before all that lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DivisionId(pub(crate) u32);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Division {
    /// The 12-digit statistical code.
    pub code: u64,
    pub level: Level,
    /// The name as published (`锁四社区居委会`).
    pub name: String,
    #[serde(skip)]
    pub parent: Option<DivisionId>,
    /// One past the last division within this one.
    #[serde(skip)]
    end: u32,
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
    all: Vec<Division>,
    by_code: HashMap<u64, DivisionId>,
    former: Vec<Former>,
    names: LexiconBytes,
    /// Per name of the lexicon: its range in `meanings`.
    ranges: Vec<(u32, u32)>,
    meanings: Vec<(DivisionId, Naming)>,
}

impl Divisions {
    /// The divisions compiled into this crate.
    pub fn bundled() -> &'static Divisions {
        static BUNDLED: OnceLock<Divisions> = OnceLock::new();
        BUNDLED.get_or_init(load::bundled)
    }

    /// By a code of 2, 4, 6, 9 or 12 digits.
    pub fn by_code(&self, code: &str) -> Option<&Division> {
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
        self.by_code.get(&code).copied()
    }

    /// The deepest known division that a 12-digit code lies in: an unknown community leads to its township.
    pub(crate) fn covering(&self, code: u64) -> Option<DivisionId> {
        [1, 1_000, 1_000_000, 100_000_000, 10_000_000_000]
            .iter()
            .find_map(|unit| self.id_by_number(code / unit * unit))
    }

    pub fn get(&self, id: DivisionId) -> &Division {
        &self.all[id.0 as usize]
    }

    /// Every division, parents first.
    pub fn iter(&self) -> impl Iterator<Item = (DivisionId, &Division)> {
        self.all.iter().enumerate().map(|(i, d)| (DivisionId(i as u32), d))
    }

    /// The divisions that bear this name today, in full or short.
    pub fn named(&self, name: &str) -> Vec<DivisionId> {
        let key: Vec<char> = crate::fold::folded(name).chars().collect();
        self.meanings_of(&key).iter().filter(|m| m.1 <= Naming::Short).map(|m| m.0).collect()
    }

    /// What once bore this name and does no more.
    pub fn former(&self, name: &str) -> Vec<&Former> {
        let name = crate::fold::folded(name);
        self.former.iter().filter(|f| f.name == name).collect()
    }

    pub fn parent(&self, id: DivisionId) -> Option<DivisionId> {
        self.get(id).parent
    }

    /// The division itself and all that it lies in, from within outwards.
    pub fn line(&self, id: DivisionId) -> impl Iterator<Item = DivisionId> + '_ {
        std::iter::successors(Some(id), |&id| self.parent(id))
    }

    /// The division of `level` that `id` is or lies in.
    pub fn at_level(&self, id: DivisionId, level: Level) -> Option<DivisionId> {
        self.line(id).find(|&d| self.get(d).level == level)
    }

    /// Is `inner` the same as `outer`, or within it?
    pub fn within(&self, inner: DivisionId, outer: DivisionId) -> bool {
        outer.0 <= inner.0 && inner.0 < self.get(outer).end
    }

    /// Does one of them lie in the other?
    pub(crate) fn agree(&self, a: DivisionId, b: DivisionId) -> bool {
        self.within(a, b) || self.within(b, a)
    }

    /// The name to show: a municipality's 市辖区 is the municipality.
    pub fn shown_name(&self, id: DivisionId) -> &str {
        let division = self.get(id);
        match (division.level, division.parent) {
            (Level::City, Some(parent)) if load::is_filler(&division.name) => &self.get(parent).name,
            _ => &division.name,
        }
    }

    /// The one city level of a municipality (上海市 is a province and a city).
    pub(crate) fn municipality(&self, province: DivisionId) -> Option<DivisionId> {
        let city = DivisionId(province.0 + 1);
        let is_city =
            self.all.get(city.0 as usize).is_some_and(|c| c.level == Level::City && c.name == "市辖区");
        (self.get(province).level == Level::Province && is_city).then_some(city)
    }

    /// Which area a feed's default names: a code, or a city's or county's name.
    pub fn area(&self, name: &str) -> Option<DivisionId> {
        let name = name.trim();
        self.id_by_code(name).or_else(|| {
            let found = self.named(name);
            let widest = found.iter().map(|&id| self.get(id).level).min()?;
            let mut widest = found.into_iter().filter(|&id| self.get(id).level == widest);
            widest.next().filter(|_| widest.next().is_none())
        })
    }

    pub(crate) fn lexicon(&self) -> Lexicon<'_> {
        self.names.view()
    }

    pub(crate) fn meanings(&self, name: u32) -> &[(DivisionId, Naming)] {
        let (start, end) = self.ranges[name as usize];
        &self.meanings[start as usize..end as usize]
    }

    fn meanings_of(&self, key: &[char]) -> &[(DivisionId, Naming)] {
        self.lexicon().exact(key).map_or(&[], |name| self.meanings(name))
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
            d.former(former).iter().flat_map(|f| &f.successors).map(|&s| d.get(s).name.as_str()).collect()
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
}
