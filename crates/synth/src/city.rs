//! The city itself: counties, roads, compounds, buildings, units, dwellings and who lives in them.
//!
//! Held in memory whole, at about 100 bytes a dwelling; the readings never are.

use std::collections::{HashMap, HashSet};

use chrono::{Days, NaiveDate};

use crate::dice::{Dice, Domain};
use crate::divisions::{self, Community, County, Township};
use crate::households::{Household, Kind};
use crate::names::{self, CompoundName};
use crate::plan::Plan;

/// Never in the plan.
pub(crate) const NEVER: u8 = u8::MAX;

pub(crate) struct City {
    pub plan: Plan,
    pub counties: Vec<County>,
    pub roads: Vec<Road>,
    pub compounds: Vec<Compound>,
    pub buildings: Vec<Building>,
    pub dwellings: Vec<Dwelling>,
    pub units: u32,
    /// How many compounds bear a name.
    pub namesakes: HashMap<String, u32>,
}

pub(crate) struct Road {
    pub name: String,
    pub former: Option<String>,
    pub county: usize,
    pub township: usize,
    next_number: u32,
}

pub(crate) struct Compound {
    pub name: String,
    pub aliases: Vec<String>,
    /// Names of before the plan, announced in the place names.
    pub former: Option<String>,
    /// A new name, in force from the first increment on.
    pub renamed: Option<String>,
    pub county: usize,
    pub township: usize,
    pub community: usize,
    pub road: usize,
    pub number: u32,
    /// Buildings are `A座`, `B座`.
    pub lettered: bool,
    pub buildings: std::ops::Range<u32>,
    pub built: NaiveDate,
}

pub(crate) struct Building {
    pub compound: u32,
    pub label: u16,
    /// 0: rooms stand directly in the building.
    pub units: u8,
    pub first_unit: u32,
    pub dwellings: std::ops::Range<u32>,
    /// Epochs (0 full dump, 1 and 2 the increments): first listed, in use from, withdrawn from.
    pub listed_from: u8,
    pub used_from: u8,
    pub withdrawn_from: u8,
    /// Room numbers run through all units, so that `25-402` names one room.
    pub running: bool,
}

pub(crate) struct Dwelling {
    pub building: u32,
    /// 0 if the building has no units.
    pub unit: u8,
    pub room: u16,
    pub listed_from: u8,
    pub home: Household,
}

/// Anything that has a standard address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Compound(u32),
    Building(u32),
    Unit(u32, u8),
    Dwelling(u32),
}

impl City {
    pub fn grow(plan: &Plan) -> City {
        let counties = divisions::counties();
        let mut city = City {
            plan: plan.clone(),
            counties,
            roads: Vec::new(),
            compounds: Vec::new(),
            buildings: Vec::new(),
            dwellings: Vec::with_capacity(plan.dwellings as usize),
            units: 0,
            namesakes: HashMap::new(),
        };
        let mut register = Register::default();
        let mut standing = vec![0u32; city.counties.len()];
        while (city.dwellings.len() as u32) < plan.dwellings {
            let before = city.dwellings.len() as u32;
            let county = neediest(&city.counties, &standing, before);
            city.add_compound(county, &mut register);
            standing[county] += city.dwellings.len() as u32 - before;
        }
        for compound in &city.compounds {
            *city.namesakes.entry(compound.name.clone()).or_default() += 1;
        }
        city
    }

    fn add_compound(&mut self, county: usize, register: &mut Register) {
        let index = self.compounds.len() as u32;
        let seed = self.plan.seed;
        let mut dice = Dice::new(seed, Domain::Compound, u64::from(index));
        let township = dice.below((self.counties[county].townships.len() as u32).min(10)) as usize;
        let community =
            dice.below(self.counties[county].townships[township].communities.len() as u32) as usize;
        let road = self.road_in(county, township, register, &mut dice);
        let number = self.roads[road].next_number;
        self.roads[road].next_number += dice.between(2, 16);
        let name = register.compound_name(county, &mut dice);
        // The third compound is always renamed within the plan, so that every city shows it.
        let renamed =
            (index == 2 || dice.chance(0.006)).then(|| register.fresh_name(county, &mut dice).full());
        let former = (index == 1 || dice.chance(0.09)).then(|| register.fresh_name(county, &mut dice).full());
        let mut compound = Compound {
            aliases: name.1.aliases(&mut dice),
            name: name.0,
            former,
            renamed,
            county,
            township,
            community,
            road,
            number,
            lettered: dice.chance(0.05),
            buildings: 0..0,
            built: days_before(self.plan.start(), dice.between(700, 12_000)),
        };
        compound.aliases.retain(|alias| register.is_free(county, alias));
        for alias in &compound.aliases {
            register.take(county, alias);
        }
        let most = (self.plan.dwellings / 2_000).clamp(3, 6);
        let wanted = dice.between(2, most);
        let first = self.buildings.len() as u32;
        let mut label = 0;
        for _ in 0..wanted {
            if self.dwellings.len() as u32 >= self.plan.dwellings {
                break;
            }
            label += if compound.lettered || dice.chance(0.93) { 1 } else { 2 };
            self.add_building(index, label);
        }
        compound.buildings = first..self.buildings.len() as u32;
        self.compounds.push(compound);
    }

    /// A road of the township, or a new one.
    fn road_in(&mut self, county: usize, township: usize, register: &mut Register, dice: &mut Dice) -> usize {
        let known: Vec<usize> = (0..self.roads.len())
            .rev()
            .take(400)
            .filter(|&r| self.roads[r].county == county && self.roads[r].township == township)
            .collect();
        if !known.is_empty() && dice.chance(0.6) {
            return *dice.pick(&known);
        }
        let index = self.roads.len() as u64;
        let mut own = Dice::new(self.plan.seed, Domain::Road, index);
        let name = register.fresh_road(county, &mut own);
        let former = (index == 1 || own.chance(0.09)).then(|| register.fresh_road(county, &mut own));
        let next_number = own.between(1, 40);
        self.roads.push(Road { name, former, county, township, next_number });
        self.roads.len() - 1
    }

    fn add_building(&mut self, compound: u32, label: u16) {
        let index = self.buildings.len() as u32;
        let mut dice = Dice::new(self.plan.seed, Domain::Building, u64::from(index));
        let (floors, per_floor, units) = dice.weighted(&[
            ((6u32, 2u32, 3u32), 30.0),
            ((6, 2, 4), 12.0),
            ((7, 2, 2), 10.0),
            ((5, 3, 2), 6.0),
            ((11, 2, 2), 14.0),
            ((18, 4, 1), 6.0),
            ((18, 2, 2), 6.0),
            ((30, 4, 1), 1.0),
            ((6, 4, 1), 3.0),
        ]);
        // The first buildings are low, so that the smallest city has enough of them.
        let (floors, per_floor, units) = if index < 8 { (6, 2, 2) } else { (floors, per_floor, units) };
        let no_units = units == 1 && dice.chance(0.7);
        // Some life cycles are certain, so that every city shows them; the rest are rare.
        let mut building = Building {
            compound,
            label,
            units: if no_units { 0 } else { units as u8 },
            first_unit: self.units,
            dwellings: self.dwellings.len() as u32..0,
            listed_from: if index == 3 || dice.chance(0.008) { dice.between(1, 2) as u8 } else { 0 },
            used_from: 0,
            withdrawn_from: NEVER,
            running: units > 1 && dice.chance(0.4),
        };
        match index {
            5 => building.withdrawn_from = 2,
            6 => building.used_from = 1,
            _ if building.listed_from == 0 && dice.chance(0.004) => {
                building.withdrawn_from = dice.between(1, 2) as u8
            }
            _ if building.listed_from == 0 && dice.chance(0.006) => {
                building.used_from = dice.weighted(&[(1u8, 1.0), (2, 1.0), (NEVER, 1.0)])
            }
            _ => {}
        }
        self.units += u32::from(building.units);
        for unit in 1..=units {
            for floor in 1..=floors {
                for door in 1..=per_floor {
                    let at = self.dwellings.len() as u32;
                    if at >= self.plan.dwellings {
                        break;
                    }
                    let mut home = Household::draw(self.plan.seed, at, self.plan.days);
                    let is_new = building.listed_from > 0 || building.used_from > 0;
                    if building.withdrawn_from != NEVER || (is_new && home.kind == Kind::Crowded) {
                        home.vacate();
                    }
                    let door = if building.running { (unit - 1) * per_floor + door } else { door };
                    self.dwellings.push(Dwelling {
                        building: index,
                        unit: if no_units { 0 } else { unit as u8 },
                        room: (floor * 100 + door) as u16,
                        listed_from: if dice.chance(0.002) {
                            building.listed_from.max(1)
                        } else {
                            building.listed_from
                        },
                        home,
                    });
                }
            }
        }
        building.dwellings.end = self.dwellings.len() as u32;
        self.buildings.push(building);
    }

    pub fn compound_of(&self, place: Place) -> &Compound {
        let building = match place {
            Place::Compound(compound) => return &self.compounds[compound as usize],
            Place::Building(building) | Place::Unit(building, _) => building,
            Place::Dwelling(dwelling) => self.dwellings[dwelling as usize].building,
        };
        &self.compounds[self.buildings[building as usize].compound as usize]
    }

    pub fn county_of(&self, compound: &Compound) -> &County {
        &self.counties[compound.county]
    }

    pub fn township_of(&self, compound: &Compound) -> &Township {
        &self.counties[compound.county].townships[compound.township]
    }

    pub fn community_of(&self, compound: &Compound) -> &Community {
        &self.township_of(compound).communities[compound.community]
    }

    pub fn road_of(&self, compound: &Compound) -> &Road {
        &self.roads[compound.road]
    }

    /// The 地址编码: opaque, sixteen digits, of which the first six are the county's.
    pub fn code(&self, place: Place) -> String {
        let county = &self.county_of(self.compound_of(place)).code;
        let (level, serial) = match place {
            Place::Compound(at) => (1, at),
            Place::Building(at) => (2, at),
            Place::Unit(building, unit) => {
                (3, self.buildings[building as usize].first_unit + u32::from(unit) - 1)
            }
            Place::Dwelling(at) => (4, at),
        };
        format!("{county}{level}{:09}", scramble(serial, 1_000_000_000, self.plan.seed + level))
    }

    /// The place above, within the compound.
    pub fn parent(&self, place: Place) -> Option<Place> {
        match place {
            Place::Compound(_) => None,
            Place::Building(building) => Some(Place::Compound(self.buildings[building as usize].compound)),
            Place::Unit(building, _) => Some(Place::Building(building)),
            Place::Dwelling(at) => {
                let dwelling = &self.dwellings[at as usize];
                Some(if dwelling.unit == 0 {
                    Place::Building(dwelling.building)
                } else {
                    Place::Unit(dwelling.building, dwelling.unit)
                })
            }
        }
    }

    /// Every place, parents before children.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        (0..self.compounds.len() as u32).flat_map(move |at| {
            let buildings = self.compounds[at as usize].buildings.clone();
            std::iter::once(Place::Compound(at)).chain(buildings.flat_map(move |b| self.places_in(b)))
        })
    }

    fn places_in(&self, building: u32) -> impl Iterator<Item = Place> + '_ {
        let it = &self.buildings[building as usize];
        std::iter::once(Place::Building(building))
            .chain((1..=it.units).map(move |unit| Place::Unit(building, unit)))
            .chain(it.dwellings.clone().map(Place::Dwelling))
    }

    /// Whether a meter hangs there on that day.
    pub fn is_in_use(&self, dwelling: u32, day: u32) -> bool {
        let it = &self.dwellings[dwelling as usize];
        let building = &self.buildings[it.building as usize];
        let from = it.listed_from.max(building.used_from);
        let begun = from != NEVER && day >= self.plan.epoch_day(from);
        let ended = building.withdrawn_from != NEVER && day >= self.plan.epoch_day(building.withdrawn_from);
        begun && !ended
    }

    /// Whether a meter hangs there on any day of the plan.
    pub fn is_ever_in_use(&self, dwelling: u32) -> bool {
        let it = &self.dwellings[dwelling as usize];
        it.listed_from.max(self.buildings[it.building as usize].used_from) != NEVER
    }

    /// `25`, or `C` where buildings bear letters.
    pub fn building_label(&self, building: u32) -> String {
        let it = &self.buildings[building as usize];
        if self.compounds[it.compound as usize].lettered && it.label <= 26 {
            char::from(b'A' + (it.label - 1) as u8).to_string()
        } else {
            it.label.to_string()
        }
    }
}

/// The county that lags most behind its share.
fn neediest(counties: &[County], standing: &[u32], total: u32) -> usize {
    let lag = |at: usize| counties[at].share * f64::from(total + 100) - f64::from(standing[at]);
    (0..counties.len()).max_by(|&a, &b| lag(a).total_cmp(&lag(b)).then(b.cmp(&a))).unwrap_or(0)
}

/// A serial number as departments show it: spread over the range, one to one. `range` must not share a factor with
/// the multiplier (it is a power of ten here).
pub(crate) fn scramble(serial: u32, range: u64, salt: u64) -> u64 {
    const PRIME: u64 = 618_033_989;
    (u64::from(serial) * PRIME + salt.wrapping_mul(7_919) % range) % range
}

pub(crate) fn days_before(date: NaiveDate, days: u32) -> NaiveDate {
    date.checked_sub_days(Days::new(u64::from(days))).unwrap_or(date)
}

/// Which names are taken in which county. A compound's name is unique in its county, and sometimes not in its city.
#[derive(Default)]
struct Register {
    taken: HashSet<(usize, String)>,
    drawn: Vec<(usize, CompoundName)>,
}

impl Register {
    fn is_free(&self, county: usize, name: &str) -> bool {
        !self.taken.contains(&(county, name.to_owned()))
    }

    fn take(&mut self, county: usize, name: &str) {
        self.taken.insert((county, name.to_owned()));
    }

    /// A new name, the namesake of one in another county, or the second phase of one near by.
    fn compound_name(&mut self, county: usize, dice: &mut Dice) -> (String, CompoundName) {
        // The fifth compound has a namesake, so that every city shows the ambiguity.
        if self.drawn.len() >= 4 && (self.drawn.len() == 4 || dice.chance(0.10)) {
            for _ in 0..8 {
                let (other, name) = dice.pick(&self.drawn).clone();
                let full = name.full();
                if other != county && self.is_free(county, &full) {
                    self.take(county, &full);
                    self.drawn.push((county, name.clone()));
                    return (full, name);
                }
            }
        }
        if dice.chance(0.05) {
            let near = self.drawn.iter().rev().find(|(c, _)| *c == county).map(|(_, name)| name.clone());
            if let Some(name) = near {
                let full = format!("{}二期", name.full());
                if self.is_free(county, &full) {
                    self.take(county, &full);
                    return (full.clone(), CompoundName { stem: full, kind: String::new() });
                }
            }
        }
        let name = self.fresh_name(county, dice);
        self.drawn.push((county, name.clone()));
        (name.full(), name)
    }

    fn fresh_name(&mut self, county: usize, dice: &mut Dice) -> CompoundName {
        let mut name = CompoundName::draw(dice);
        let mut tries = 0;
        while !self.is_free(county, &name.full()) {
            name = CompoundName::draw(dice);
            tries += 1;
            if tries > 200 {
                name.stem = format!("{}{}", name.stem, names::chinese_number(dice.between(1, 99)));
            }
        }
        self.take(county, &name.full());
        name
    }

    fn fresh_road(&mut self, county: usize, dice: &mut Dice) -> String {
        let mut name = names::road(dice);
        let mut tries = 0;
        while !self.is_free(county, &name) {
            name = names::road(dice);
            tries += 1;
            if tries > 200 {
                name = format!("{}{name}", names::chinese_number(dice.between(1, 99)));
            }
        }
        self.take(county, &name);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> City {
        City::grow(&Plan { dwellings: 3_000, ..Plan::default() })
    }

    #[test]
    fn a_city_has_exactly_the_planned_dwellings_two_thirds_of_them_in_nanjing() {
        let city = small();
        assert_eq!(city.dwellings.len(), 3_000);
        let nanjing = (0..3_000)
            .filter(|&d| city.county_of(city.compound_of(Place::Dwelling(d))).city == "南京市")
            .count();
        assert!((1_700..2_300).contains(&nanjing), "{nanjing}");
    }

    #[test]
    fn every_place_has_its_own_code_and_stands_after_its_parent() {
        let city = small();
        let mut seen = HashSet::new();
        for place in city.places() {
            assert!(city.parent(place).is_none_or(|parent| seen.contains(&city.code(parent))));
            assert!(seen.insert(city.code(place)), "{place:?}");
        }
        assert!(seen.len() > 3_000);
    }

    #[test]
    fn some_compounds_share_their_name_across_counties_but_never_within_one() {
        let city = small();
        assert!(city.namesakes.values().any(|n| *n > 1));
        let names: HashSet<_> = city.compounds.iter().map(|c| (c.county, &c.name)).collect();
        assert_eq!(names.len(), city.compounds.len());
    }

    #[test]
    fn every_city_shows_each_life_cycle() {
        for seed in 0..5 {
            let city = City::grow(&Plan { seed, dwellings: 300, ..Plan::default() });
            assert!(city.buildings.iter().any(|b| b.listed_from > 0), "{seed}");
            assert!(city.buildings.iter().any(|b| b.withdrawn_from != NEVER), "{seed}");
        }
    }
}
