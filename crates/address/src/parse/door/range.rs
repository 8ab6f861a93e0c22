//! Two numbers that are one door: 78-2号 (a sub-number), 404-411室 (several rooms), 3-4层.

use super::{Door, DoorKind};
use crate::parse::area::is_gap;
use crate::parse::label::Label;

/// How far the last of several doors may lie from the first.
const SPAN_MAX: u32 = 60;

/// 78-2号, 404-411号, 3-11号楼, 3-4层. 2-402号 is a building and a room.
pub(super) fn range(text: &[char], at: usize, before: &[Door]) -> Option<Door> {
    if let Some(stall) = stall(text, at, before) {
        return Some(stall);
    }
    let mut value = Label::EMPTY;
    let (end, first) = number(text, at, &mut value)?;
    if text.get(end) != Some(&'-') || !value.push('-') {
        return None;
    }
    let (end, second) = number(text, end + 1, &mut value)?;
    let several = second > first && second - first <= SPAN_MAX;
    let rooms = several && first >= 100 && !before.is_empty();
    let has = |kind: DoorKind| before.iter().any(|d| d.kind == kind);
    let closes = text.get(end).is_none_or(|&c| is_gap(c));
    // 3单元8-6 counts the rooms of a storey, 603-2 parts of a room.
    let sub_room = second < 100
        && (has(DoorKind::Unit) && first < 100
            || first >= 100 && (has(DoorKind::Building) || has(DoorKind::Floor)));
    // 青禾村4-135号
    let in_village = at > 0 && text[at - 1] == '村';
    let (kind, length) = match text[end..] {
        ['号', '楼' | '栋' | '幢', ..] if before.is_empty() => (DoorKind::Building, 2),
        ['栋' | '幢', ..] if before.is_empty() => (DoorKind::Building, 1),
        ['楼' | '层', ..] if several => (DoorKind::Floor, 1),
        ['室' | '房', ..] if several && first >= 100 => (DoorKind::Room, 1),
        ['号', '室' | '房' | '院', ..] => return None,
        ['号', ..] if rooms || several && (has(DoorKind::Building) || has(DoorKind::Floor)) => {
            (DoorKind::Room, 1)
        }
        ['室' | '号' | '户', ..] if sub_room => (DoorKind::Room, 1),
        ['号', ..] if before.is_empty() && (several && first >= 3 || second < 10 || in_village) => {
            (DoorKind::Hao, 1)
        }
        // 346-349 are rooms: no building has a number so near to that of a room.
        _ if closes && (sub_room || several && (first >= 100 || has(DoorKind::Floor))) => (DoorKind::Room, 0),
        _ => return None,
    };
    Some(Door { kind, value, start: at, end: end + length })
}

/// 3楼g2-016, a2006-2012: what is behind a letter and its number is of one door.
fn stall(text: &[char], at: usize, before: &[Door]) -> Option<Door> {
    let letters = text[at..].iter().take(3).take_while(|c| c.is_ascii_lowercase()).count();
    if !(1..=2).contains(&letters) {
        return None;
    }
    let mut value = Label::EMPTY;
    let whole = text[at..at + letters].iter().all(|&c| value.push(c));
    let (end, first) = number(text, at + letters, &mut value)?;
    let dash = text.get(end).filter(|c| matches!(c, '-' | '/'))?;
    if !whole || !value.push(*dash) {
        return None;
    }
    let (end, second) = number(text, end + 1, &mut value)?;
    let on_floor = before.iter().any(|d| d.kind == DoorKind::Floor);
    let several = first >= 100 && second > first && second - first <= SPAN_MAX;
    let counter = usize::from(matches!(text.get(end), Some('号' | '室')));
    let closes = text.get(end + counter).is_none_or(|&c| is_gap(c) && c != '-');
    (closes && (on_floor || several)).then_some(Door {
        kind: DoorKind::Room,
        value,
        start: at,
        end: end + counter,
    })
}

/// Up to four digits at `at`, added to `value`: where they end, and what they are.
fn number(text: &[char], at: usize, value: &mut Label) -> Option<(usize, u32)> {
    let digits = text[at.min(text.len())..].iter().take(5).take_while(|c| c.is_ascii_digit()).count();
    if !(1..=4).contains(&digits) {
        return None;
    }
    let digits = &text[at..at + digits];
    let whole = digits.iter().all(|&c| value.push(c));
    whole.then(|| (at + digits.len(), digits.iter().fold(0, |n, c| n * 10 + c.to_digit(10).unwrap_or(0))))
}
