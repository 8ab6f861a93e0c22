//! What each number of a door is of: of a building, a unit, a room.

use super::door::{DOORS_MAX, Door, DoorKind};

/// What a door is of, once its neighbours are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Building,
    Unit,
    Floor,
    Room,
    Number,
}

/// The plain reading of a sequence of doors, without any knowledge of the place.
pub(crate) fn roles(doors: &[Door]) -> [Role; DOORS_MAX] {
    let mut out = [Role::Number; DOORS_MAX];
    for (i, door) in doors.iter().enumerate().take(DOORS_MAX) {
        let open = doors[i + 1..]
            .iter()
            .filter(|d| matches!(d.kind, DoorKind::Bare | DoorKind::Hao | DoorKind::Room))
            .count();
        let later = doors.len() - i - 1;
        let has = |r: Role| out[..i].contains(&r);
        let role =
            match door.kind {
                DoorKind::Building => Role::Building,
                DoorKind::Unit => Role::Unit,
                DoorKind::Floor => Role::Floor,
                DoorKind::Room => Role::Room,
                // 25-2: a room would say its storey.
                DoorKind::Bare
                    if later == 0
                        && i == 1
                        && doors[0].kind == DoorKind::Bare
                        && door.value.as_str().len() <= 2 =>
                {
                    Role::Unit
                }
                DoorKind::Hao | DoorKind::Bare
                    if has(Role::Building) || has(Role::Unit) || has(Role::Floor) =>
                {
                    if !has(Role::Unit) && open > 0 { Role::Unit } else { Role::Room }
                }
                DoorKind::Hao => {
                    if later > 0 {
                        Role::Building
                    } else {
                        Role::Number
                    }
                }
                DoorKind::Bare if later > 0 => Role::Building,
                DoorKind::Bare if door.value.len() >= 3 => Role::Room,
                DoorKind::Bare => Role::Building,
            };
        out[i] = role;
    }
    out
}
