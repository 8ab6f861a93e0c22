//! Doors that are told by their side: 南楼2单元, 7东603, 3楼西门, and by a letter at the end: 17楼e.

use super::{Door, DoorKind};
use crate::parse::area::is_gap;
use crate::parse::label::Label;
use crate::parse::street::is_aisle;

/// The door at `at` that has no number, only a side or a letter. `before`: the doors that it follows.
pub(super) fn side(text: &[char], at: usize, before: &[Door]) -> Option<Door> {
    let side = *text.get(at)?;
    if let Some(aisle) = aisle(text, at) {
        return Some(aisle);
    }
    let last = before.last().filter(|d| d.end == at || is_gap(text[at - 1]));
    let (kind, length) = match text[at..] {
        // 南楼2单元, 南楼东单元: where units follow it is a building, else a wing.
        ['东' | '西' | '南' | '北' | '前' | '后', '楼' | '栋', ref rest @ ..]
            if before.is_empty() && unit(rest) =>
        {
            (DoorKind::Building, 2)
        }
        // 7东603, 17乙803
        ['东' | '西' | '中' | '甲' | '乙' | '丙' | '丁', ref rest @ ..] if is_room(rest) => {
            last.filter(|d| d.end == at && d.kind == DoorKind::Bare)?;
            (DoorKind::Unit, 1)
        }
        ['东' | '西' | '南' | '北' | '中' | '左' | '右', '门' | '房' | '室', ref rest @ ..]
            if closes(rest) =>
        {
            last.filter(|d| matches!(d.kind, DoorKind::Floor | DoorKind::Unit))?;
            (DoorKind::Room, 2)
        }
        ['a'..='z'] => {
            last.filter(|d| matches!(d.kind, DoorKind::Floor | DoorKind::Unit | DoorKind::Building))?;
            (DoorKind::Room, 1)
        }
        _ => return None,
    };
    Some(Door { kind, value: Label::from_chars([side])?, start: at, end: at + length })
}

/// 4楼三街: 三 counts, though it mostly names a street.
fn aisle(text: &[char], at: usize) -> Option<Door> {
    let numerals = text[at..].iter().take(3).take_while(|c| crate::fold::is_numeral(**c)).count();
    let end = at + numerals;
    if numerals == 0 || text.get(end) != Some(&'街') || !is_aisle(text, end) {
        return None;
    }
    let mut value = Label::EMPTY;
    let number = crate::fold::chinese_number(&text[at..end])?;
    let whole = number.to_string().chars().chain(['街']).all(|c| value.push(c));
    whole.then_some(Door { kind: DoorKind::Unit, value, start: at, end: end + 1 })
}

/// 2单元, 东单元
fn unit(text: &[char]) -> bool {
    let count = text.iter().take(3).take_while(|c| c.is_ascii_digit() || "东西南北中".contains(**c)).count();
    count > 0 && text[count..].starts_with(&['单', '元'])
}

/// Three or four digits, and no more.
fn is_room(text: &[char]) -> bool {
    let digits = text.iter().take(5).take_while(|c| c.is_ascii_digit()).count();
    (3..=4).contains(&digits) && text.get(digits).is_none_or(|&c| is_gap(c) || "室房户".contains(c))
}

fn closes(rest: &[char]) -> bool {
    rest.first().is_none_or(|&c| is_gap(c))
}
