//! From a compound down to the door: which reading of the numbers do its standard addresses bear out?

use super::Scratch;
use crate::gazetteer::tree::provisional;
use crate::gazetteer::{Gazetteer, PlaceIndex};
use crate::model::Level;
use crate::parse::door::{Door, DoorKind};
use crate::parse::{Label, Role, roles};
use arrayvec::ArrayVec;

/// Where the doors lead.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Descent {
    /// The text has no door: the compound itself.
    Here,
    Found {
        place: PlaceIndex,
        left_out: bool,
    },
    /// The building is known, the room is not.
    Provisional {
        building: PlaceIndex,
        id: u64,
    },
    /// The standard addresses of this compound end here, the text goes on.
    Deeper {
        place: PlaceIndex,
    },
    /// Several places fit.
    Several {
        within: PlaceIndex,
        places: ArrayVec<PlaceIndex, SEVERAL_MAX>,
    },
    NoSuchBuilding,
}

/// Of the places that fit no more are kept.
const SEVERAL_MAX: usize = 8;

/// One reading: building, unit, room.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    doors: [Option<Label>; 3],
}

pub(crate) fn descend(gazetteer: &Gazetteer, compound: PlaceIndex, s: &Scratch) -> Descent {
    let doors = &s.doors[..];
    if doors.is_empty() {
        return Descent::Here;
    }
    if !gazetteer.has_children(compound) {
        return Descent::Deeper { place: compound };
    }
    let plain = plain(doors);
    let mut best = walk(gazetteer, compound, &plain);
    if !matches!(best, Descent::Found { left_out: false, .. }) && open(doors) > 0 {
        let mut found: ArrayVec<PlaceIndex, SEVERAL_MAX> = ArrayVec::new();
        if let Descent::Found { place, .. } = &best {
            found.push(*place);
        }
        for reading in readings(doors) {
            if reading == plain {
                continue;
            }
            if let Descent::Found { place, left_out } = walk(gazetteer, compound, &reading)
                && !found.contains(&place)
                && found.try_push(place).is_ok()
            {
                best = Descent::Found { place, left_out };
            }
        }
        if found.len() > 1 {
            found.sort_unstable();
            best = Descent::Several { within: compound, places: found };
        }
    }
    best
}

fn open(doors: &[Door]) -> usize {
    doors.iter().filter(|d| matches!(d.kind, DoorKind::Bare | DoorKind::Hao)).count()
}

fn plain(doors: &[Door]) -> Reading {
    let mut reading = Reading { doors: [None; 3] };
    let mut floor = None;
    for (door, role) in doors.iter().zip(roles(doors)) {
        let slot = match role {
            Role::Building | Role::Number => 0,
            Role::Unit => 1,
            Role::Room => 2,
            Role::Floor => {
                floor = Some(door.value);
                continue;
            }
        };
        reading.doors[slot].get_or_insert(door.value);
    }
    // 4层2室 is room 402.
    if let (Some(floor), Some(room)) = (floor, reading.doors[2]) {
        let (f, r) = (floor.as_str(), room.as_str());
        if r.len() <= 2 && [f, r].iter().all(|t| t.bytes().all(|b| b.is_ascii_digit())) {
            let zero = (r.len() == 1).then_some('0');
            reading.doors[2] = Label::from_chars(f.chars().chain(zero).chain(r.chars()));
        }
    }
    reading
}

/// All ways to give the doors their levels, kept in the order of the text.
fn readings(doors: &[Door]) -> ArrayVec<Reading, 8> {
    let doors: ArrayVec<&Door, 3> = doors.iter().filter(|d| d.kind != DoorKind::Floor).take(3).collect();
    let mut out = ArrayVec::new();
    for mask in 1u8..8 {
        if mask.count_ones() as usize != doors.len() {
            continue;
        }
        let mut reading = Reading { doors: [None; 3] };
        let levels = (0..3usize).filter(|l| mask & (1 << l) != 0);
        let fits = levels.zip(&doors).all(|(level, door)| {
            reading.doors[level] = Some(door.value);
            match door.kind {
                DoorKind::Building => level == 0,
                DoorKind::Unit => level == 1,
                DoorKind::Room => level == 2,
                DoorKind::Hao => level != 1,
                DoorKind::Bare | DoorKind::Floor => true,
            }
        });
        if fits {
            out.push(reading);
        }
    }
    out
}

fn walk(g: &Gazetteer, compound: PlaceIndex, reading: &Reading) -> Descent {
    let [building, unit, room] = reading.doors;
    let label = |l: Label| g.label(l.as_str());
    let building = match building {
        Some(b) => match label(b).and_then(|l| g.child(compound, Level::Building, l)) {
            Some(found) => found,
            None => return Descent::NoSuchBuilding,
        },
        None => match without_building(g, compound, unit, room) {
            Ok(building) => building,
            Err(outcome) => return outcome,
        },
    };
    let given = reading.doors[0].is_some();
    let Some(room) = room else {
        return match unit {
            None => Descent::Found { place: building, left_out: false },
            Some(u) => match label(u).and_then(|l| g.child(building, Level::Unit, l)) {
                Some(place) => Descent::Found { place, left_out: !given },
                None => Descent::Deeper { place: building },
            },
        };
    };
    in_building(g, building, unit, room, given)
}

/// The text names no building: one that hangs under the compound by itself, or the only one there is.
fn without_building(
    g: &Gazetteer,
    compound: PlaceIndex,
    unit: Option<Label>,
    room: Option<Label>,
) -> Result<PlaceIndex, Descent> {
    let label = |l: Label| g.label(l.as_str());
    if let (None, Some(room)) = (unit, room)
        && let Some(place) = label(room).and_then(|l| g.child(compound, Level::Dwelling, l))
    {
        return Err(Descent::Found { place, left_out: false });
    }
    if let Some(unit_place) = unit.and_then(label).and_then(|l| g.child(compound, Level::Unit, l)) {
        let Some(room) = room else { return Err(Descent::Found { place: unit_place, left_out: false }) };
        if let Some(place) = label(room).and_then(|l| g.child(unit_place, Level::Dwelling, l)) {
            return Err(Descent::Found { place, left_out: false });
        }
    }
    let buildings = g.children_at(compound, Level::Building);
    if buildings.len() == 1 { Ok(buildings.start) } else { Err(Descent::NoSuchBuilding) }
}

fn in_building(
    g: &Gazetteer,
    building: PlaceIndex,
    unit: Option<Label>,
    room: Label,
    given: bool,
) -> Descent {
    let room_label = g.label(room.as_str());
    let units = g.children_at(building, Level::Unit);
    let dwelling = |parent| room_label.and_then(|l| g.child(parent, Level::Dwelling, l));
    let missing = || Descent::Provisional { building, id: room_id(g, building, unit, room) };
    match unit {
        Some(u) => match g.label(u.as_str()).and_then(|l| g.child(building, Level::Unit, l)) {
            Some(unit) => {
                dwelling(unit).map_or_else(missing, |place| Descent::Found { place, left_out: !given })
            }
            None => {
                // Rooms may be entered as 2-402, or directly where the building has no units.
                let joined = Label::from_chars(u.as_str().chars().chain(['-']).chain(room.as_str().chars()));
                let joined = joined
                    .and_then(|l| g.label(l.as_str()))
                    .and_then(|l| g.child(building, Level::Dwelling, l));
                let direct = || dwelling(building).filter(|_| units.is_empty());
                match joined.or_else(direct) {
                    Some(place) => Descent::Found { place, left_out: true },
                    None => missing(),
                }
            }
        },
        None => {
            let own = dwelling(building);
            let mut places: ArrayVec<PlaceIndex, SEVERAL_MAX> = own.into_iter().collect();
            let direct = !places.is_empty();
            places.extend(units.filter_map(dwelling).take(SEVERAL_MAX - places.len()));
            match places[..] {
                [] => missing(),
                [place] => Descent::Found { place, left_out: !direct || !given },
                _ => Descent::Several { within: building, places },
            }
        }
    }
}

/// The id of a room that its building is not known to have: the same for all texts that mean it.
fn room_id(g: &Gazetteer, building: PlaceIndex, unit: Option<Label>, room: Label) -> u64 {
    let unit = unit.iter().flat_map(|unit| unit.as_str().chars().chain(['-']));
    provisional(g.id(building), Level::Dwelling, unit.chain(room.as_str().chars()))
}
