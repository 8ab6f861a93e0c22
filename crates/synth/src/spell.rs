//! How each department writes the address of a place. One account keeps its spelling from record to record, as
//! departments' registers do, so that the truth can be told by account.
//!
//! ```text
//!  police         江苏省南京市鼓楼区华侨路街道五台山社区云锦路12号国泰新村25幢2单元402室
//!  water          鼓楼区国泰新村２５幢２单元４０２室
//!  electricity    南京市鼓楼区云锦路12号国泰新村25栋2-402
//!  gas            国泰新村25-2-402      or, where the room is the only one of its number, 国泰新村25-402
//!  registrations  南京市鼓楼区华侨路街道国泰新村25号楼二单元402
//!  justice        南京市下关区国泰新村25幢2单元402室       (former county)
//!  hazards        国泰新村 25栋 二单元402 门口
//!  organisations  云锦路12号国泰新村25幢101室
//! ```

use crate::city::{City, Compound, Place};
use crate::dice::{Dice, Domain};
use crate::names::{chinese_number, full_width, slip};

/// A feed whose addresses are dirty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    Water,
    Power,
    Gas,
    Registrations,
    Cases,
    Hazards,
    Organisations,
}

impl Feed {
    pub fn id(self) -> &'static str {
        match self {
            Feed::Water => "utilities/water-readings",
            Feed::Power => "utilities/electricity-readings",
            Feed::Gas => "utilities/gas-readings",
            Feed::Registrations => "police/housing-registrations",
            Feed::Cases => "justice/mediation-cases",
            Feed::Hazards => "grid/hazard-reports",
            Feed::Organisations => "civil-affairs/organisations",
        }
    }

    fn domain(self) -> Domain {
        match self {
            Feed::Water => Domain::Water,
            Feed::Power => Domain::Power,
            Feed::Gas => Domain::Gas,
            Feed::Registrations => Domain::Registration,
            Feed::Cases => Domain::Case,
            Feed::Hazards => Domain::Hazard,
            Feed::Organisations => Domain::Organisation,
        }
    }

    fn habits(self) -> Habits {
        let (former_county, former_name, alias, typo) = match self {
            Feed::Water => (0.02, 0.25, 0.02, 0.008),
            Feed::Power => (0.01, 0.20, 0.01, 0.005),
            Feed::Gas => (0.01, 0.35, 0.04, 0.015),
            Feed::Registrations => (0.03, 0.10, 0.01, 0.004),
            Feed::Cases => (0.40, 0.45, 0.05, 0.02),
            Feed::Hazards => (0.0, 0.30, 0.08, 0.04),
            Feed::Organisations => (0.10, 0.30, 0.01, 0.005),
        };
        Habits { former_county, former_name, alias, typo }
    }
}

/// The probabilities of what a department does to a name.
struct Habits {
    former_county: f64,
    former_name: f64,
    alias: f64,
    typo: f64,
}

/// An address as written, and what was done to it.
#[derive(Debug, Default)]
pub(crate) struct Spelled {
    pub text: String,
    pub done: Done,
}

/// What was done to an address, for the truth.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Done(u16);

impl Done {
    const NAMES: [&str; 9] = [
        "former_county",
        "former_name",
        "alias",
        "typo",
        "no_county",
        "no_compound",
        "no_unit",
        "full_width",
        "namesake",
    ];

    fn mark(&mut self, name: &str) {
        if let Some(bit) = Done::NAMES.iter().position(|n| *n == name) {
            self.0 |= 1 << bit;
        }
    }

    pub fn names(self) -> String {
        let named: Vec<&str> = Done::NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, n)| *n)
            .collect();
        if named.is_empty() { "plain".to_owned() } else { named.join("+") }
    }
}

/// The names of one place as one department knows them.
struct Known<'a> {
    city: &'a City,
    compound_at: &'a Compound,
    place: Place,
    county: String,
    road: String,
    compound: String,
    done: Done,
}

/// The official address, by the names of an epoch.
pub(crate) fn standard(city: &City, place: Place, compound_name: &str) -> String {
    let compound = city.compound_of(place);
    let county = city.county_of(compound);
    format!(
        "江苏省{}{}{}{}{}{}号{}{}",
        county.city,
        county.name,
        city.township_of(compound).name,
        city.community_of(compound).name,
        city.road_of(compound).name,
        compound.number,
        compound_name,
        within(city, place)
    )
}

/// `25幢2单元402室`
fn within(city: &City, place: Place) -> String {
    let (building, unit, room) = numbers(city, place);
    let mut text = String::new();
    if let Some(building) = building {
        text.push_str(&standard_building(city, place, &building));
    }
    if let Some(unit) = unit {
        text.push_str(&format!("{unit}单元"));
    }
    if let Some(room) = room {
        text.push_str(&format!("{room}室"));
    }
    text
}

/// `25幢`, or `C座` where buildings bear letters.
pub(crate) fn standard_building(city: &City, place: Place, label: &str) -> String {
    format!("{label}{}", if city.compound_of(place).lettered { "座" } else { "幢" })
}

/// Building label, unit and room, as far down as the place lies.
pub(crate) fn numbers(city: &City, place: Place) -> (Option<String>, Option<u8>, Option<u16>) {
    match place {
        Place::Compound(_) => (None, None, None),
        Place::Building(building) => (Some(city.building_label(building)), None, None),
        Place::Unit(building, unit) => (Some(city.building_label(building)), Some(unit), None),
        Place::Dwelling(at) => {
            let it = &city.dwellings[at as usize];
            (Some(city.building_label(it.building)), (it.unit > 0).then_some(it.unit), Some(it.room))
        }
    }
}

/// The address of `place` as `feed` writes it in the account or record number `index`.
pub(crate) fn spell(city: &City, feed: Feed, place: Place, index: u64) -> Spelled {
    let mut dice = Dice::new(city.plan.seed ^ 0x5be1_1000, feed.domain(), index);
    let mut known = know(city, feed, place, &mut dice);
    let text = match feed {
        Feed::Water => water(&mut known, &mut dice),
        Feed::Power => power(&mut known, &mut dice),
        Feed::Gas => gas(&mut known, &mut dice),
        Feed::Registrations => registration(&mut known, &mut dice),
        Feed::Cases => case(&mut known, &mut dice),
        Feed::Hazards => hazard(&mut known, &mut dice),
        Feed::Organisations => organisation(&mut known, &mut dice),
    };
    Spelled { text, done: known.done }
}

fn know<'a>(city: &'a City, feed: Feed, place: Place, dice: &mut Dice) -> Known<'a> {
    let habits = feed.habits();
    let compound = city.compound_of(place);
    let county = city.county_of(compound);
    let road = city.road_of(compound);
    let mut known = Known {
        city,
        compound_at: compound,
        place,
        county: county.name.clone(),
        road: road.name.clone(),
        compound: compound.name.clone(),
        done: Done::default(),
    };
    if dice.chance(habits.former_county) && !county.former.is_empty() {
        known.county = dice.pick(&county.former).clone();
        known.done.mark("former_county");
    }
    let (name_roll, alias_roll, road_roll) = (dice.unit(), dice.unit(), dice.unit());
    if let Some(former) = compound.former.as_ref().filter(|_| name_roll < habits.former_name) {
        known.compound = former.clone();
        known.done.mark("former_name");
    } else if alias_roll < habits.alias && !compound.aliases.is_empty() {
        known.compound = dice.pick(&compound.aliases).clone();
        known.done.mark("alias");
    }
    if let Some(former) = road.former.as_ref().filter(|_| road_roll < habits.former_name) {
        known.road = former.clone();
        if matches!(feed, Feed::Power | Feed::Organisations) {
            known.done.mark("former_name");
        }
    }
    if dice.chance(habits.typo) {
        known.compound = slip(&known.compound, dice);
        known.done.mark("typo");
    }
    known
}

impl Known<'_> {
    fn city_name(&self) -> &str {
        &self.city.county_of(self.compound_at).city
    }

    fn township(&self) -> &str {
        &self.city.township_of(self.compound_at).name
    }

    fn community(&self) -> &str {
        &self.city.community_of(self.compound_at).name
    }

    fn has_namesakes(&self) -> bool {
        self.city.namesakes.get(&self.compound_at.name).is_some_and(|n| *n > 1)
    }

    fn drop_county(&mut self) -> String {
        self.done.mark("no_county");
        if self.has_namesakes() {
            self.done.mark("namesake");
        }
        String::new()
    }

    /// Whether the room's number is the only one of its kind in its building.
    fn room_is_unique(&self) -> bool {
        match self.place {
            Place::Dwelling(at) => {
                let dwelling = &self.city.dwellings[at as usize];
                dwelling.unit == 0 || {
                    let building = &self.city.buildings[dwelling.building as usize];
                    building.units == 1 || building.running
                }
            }
            _ => false,
        }
    }
}

fn water(known: &mut Known, dice: &mut Dice) -> String {
    let roll = dice.unit();
    let county = if roll < 0.08 { known.drop_county() } else { known.county.clone() };
    let city = if (0.08..0.18).contains(&roll) { known.city_name() } else { "" };
    let township = if (0.18..0.24).contains(&roll) { known.township() } else { "" };
    let text = format!("{city}{county}{township}{}{}", known.compound, within(known.city, known.place));
    if dice.chance(0.35) {
        known.done.mark("full_width");
        return full_width(&text);
    }
    text
}

fn power(known: &mut Known, dice: &mut Dice) -> String {
    let (building, unit, room) = numbers(known.city, known.place);
    let inside = match (building, unit, room) {
        (Some(building), Some(unit), Some(room)) => format!("{building}栋{unit}-{room}"),
        (Some(building), None, Some(room)) => format!("{building}栋{room}"),
        _ => within(known.city, known.place),
    };
    let street = format!("{}{}号", known.road, known.compound_at.number);
    let city = known.city_name().to_owned();
    let (county, name) = (known.county.clone(), known.compound.clone());
    match dice.below(100) {
        0..70 => format!("{city}{county}{street}{name}{inside}"),
        70..80 => format!("{city}{county}{name}{inside}"),
        80..86 => {
            known.done.mark("no_compound");
            format!("{city}{county}{street}{inside}")
        }
        86..94 => {
            known.drop_county();
            format!("{city}{street}{name}{inside}")
        }
        _ => format!("江苏省{city}{county}{street}{name}{inside}"),
    }
}

fn gas(known: &mut Known, dice: &mut Dice) -> String {
    let (building, unit, room) = numbers(known.city, known.place);
    let building = building.unwrap_or_default();
    let (roll, forgets_unit) = (dice.unit(), dice.chance(0.015));
    let short = unit.is_none() || forgets_unit || (known.room_is_unique() && dice.chance(0.7));
    if forgets_unit && !known.room_is_unique() {
        known.done.mark("no_unit");
    }
    let chain = match (unit, room) {
        (Some(unit), Some(room)) if !short => format!("{building}-{unit}-{room}"),
        (_, Some(room)) => format!("{building}-{room}"),
        _ => building,
    };
    // Where two compounds share a name, the clerks mostly add the county, with or without its last character.
    let prefix = if known.has_namesakes() && roll < 0.75 {
        let whole = known.county.clone();
        if roll < 0.35 { whole } else { whole.trim_end_matches(['区', '县', '市']).to_owned() }
    } else if roll < 0.05 {
        known.county.clone()
    } else {
        known.drop_county()
    };
    format!("{prefix}{}{chain}", known.compound)
}

fn registration(known: &mut Known, dice: &mut Dice) -> String {
    let (building, unit, room) = numbers(known.city, known.place);
    let mut inside = building.map(|b| format!("{b}号楼")).unwrap_or_default();
    if let Some(unit) = unit {
        inside.push_str(&format!("{}单元", chinese_number(u32::from(unit))));
    }
    if let Some(room) = room {
        inside.push_str(&room.to_string());
    }
    let roll = dice.unit();
    let township = if roll < 0.10 { "" } else { known.township() };
    let community = if roll > 0.93 { known.community() } else { "" };
    format!("{}{}{township}{community}{}{inside}", known.city_name(), known.county, known.compound)
}

fn case(known: &mut Known, dice: &mut Dice) -> String {
    let city = known.city_name().to_owned();
    let street = if dice.chance(0.2) {
        format!("{}{}号", known.road, known.compound_at.number)
    } else {
        String::new()
    };
    let tail = match known.place {
        Place::Compound(_) => *dice.pick(&["门口", "", "南门"]),
        _ => "",
    };
    format!("{city}{}{street}{}{}{tail}", known.county, known.compound, within(known.city, known.place))
}

fn hazard(known: &mut Known, dice: &mut Dice) -> String {
    let (building, unit, room) = numbers(known.city, known.place);
    let area = match dice.below(10) {
        0..4 => format!("{} ", known.community()),
        4..6 => format!("{} ", known.township()),
        6 => format!("{} ", known.county),
        _ => known.drop_county(),
    };
    let mut text = format!("{area}{}", known.compound);
    if let Some(building) = building {
        text.push_str(&format!(" {building}{}", if known.compound_at.lettered { "座" } else { "栋" }));
    }
    match (unit, room) {
        (Some(unit), Some(room)) => text.push_str(&format!(" {}单元{room}", chinese_number(u32::from(unit)))),
        (Some(unit), None) => text.push_str(&format!(" {}单元", chinese_number(u32::from(unit)))),
        (None, Some(room)) => text.push_str(&format!(" {room}")),
        (None, None) => {}
    }
    text.push_str(dice.pick::<&str>(&["", "", " 门口", " 楼道", " 附近"]));
    text
}

fn organisation(known: &mut Known, dice: &mut Dice) -> String {
    let street = format!("{}{}号", known.road, known.compound_at.number);
    let prefix = match dice.below(10) {
        0..4 => String::new(),
        4..8 => format!("{}{}", known.city_name(), known.county),
        _ => known.county.clone(),
    };
    if prefix.is_empty() {
        known.drop_county();
    }
    format!("{prefix}{street}{}{}", known.compound, within(known.city, known.place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn each_department_writes_in_its_own_way() {
        let city = City::grow(&Plan { dwellings: 2_000, ..Plan::default() });
        for at in 0..2_000u32 {
            let place = Place::Dwelling(at);
            let room = city.dwellings[at as usize].room.to_string();
            let index = u64::from(at);
            let standard = standard(&city, place, &city.compound_of(place).name);
            assert!(standard.starts_with("江苏省") && standard.ends_with('室'), "{standard}");
            let power = spell(&city, Feed::Power, place, index).text;
            assert!(power.contains('栋') && power.ends_with(&room), "{power}");
            let gas = spell(&city, Feed::Gas, place, index).text;
            assert!(gas.ends_with(&format!("-{room}")) && !gas.contains('室'), "{gas}");
            let registration = spell(&city, Feed::Registrations, place, index).text;
            assert!(registration.contains("号楼") && registration.ends_with(&room), "{registration}");
        }
    }

    #[test]
    fn an_account_is_spelled_the_same_every_time() {
        let city = City::grow(&Plan { dwellings: 300, ..Plan::default() });
        for at in 0..300u32 {
            let once = spell(&city, Feed::Water, Place::Dwelling(at), 7 + u64::from(at)).text;
            assert_eq!(once, spell(&city, Feed::Water, Place::Dwelling(at), 7 + u64::from(at)).text);
        }
    }
}
