//! The door: building, unit, floor, room, or a chain of numbers whose meaning only the place can tell.

mod range;
mod side;
mod value;

use super::label::Label;
use super::street::is_aisle;
use super::words::Words;
use crate::charset::one_of;
use value::value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoorKind {
    Building,
    Unit,
    Floor,
    Room,
    /// 25号: a house in a compound, or a room behind a building.
    Hao,
    /// Digits alone or in a chain.
    Bare,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    pub kind: DoorKind,
    pub value: Label,
    pub start: usize,
    pub end: usize,
}

pub(crate) const DOORS_MAX: usize = 6;

fn gap(c: char) -> bool {
    matches!(c, ' ' | '-' | '(' | ')' | '/' | '.')
}

fn matches_word(text: &[char], at: usize, word: &str) -> bool {
    text.get(at..).is_some_and(|rest| super::begins(rest, word))
}

/// The doors that begin exactly at `at` (after gaps), with where they end. Empty where none begin there.
pub(crate) fn doors_at(text: &[char], at: usize, out: &mut Vec<Door>) -> usize {
    out.clear();
    let mut end = at;
    while out.len() < DOORS_MAX {
        let mut start = end;
        while text.get(start).is_some_and(|&c| gap(c))
            || (text.get(start) == Some(&'第') && text.get(start + 1).is_some_and(char::is_ascii_digit))
        {
            start += 1;
        }
        match door(text, start, out) {
            Some(d) => {
                end = d.end;
                out.push(d);
            }
            None => break,
        }
    }
    end
}

/// The first doors at `from` or after it that are more than a stray number. Gives their start and end.
pub(crate) fn find_doors(text: &[char], from: usize, out: &mut Vec<Door>) -> Option<(usize, usize)> {
    let mut at = from;
    while at < text.len() {
        let c = text[at];
        let begins = (c.is_ascii_alphanumeric() || one_of!(c, "甲乙丙丁东西南北中"))
            && !(at > from && text[at - 1].is_ascii_alphanumeric());
        if begins {
            let mut end = doors_at(text, at, out);
            if matches!(
                out[..],
                [Door { kind: DoorKind::Hao, .. }, Door { kind: DoorKind::Building, .. }, ..]
            ) {
                // 望月一号19号楼: the first is part of the name.
                at = out[1].start;
                end = doors_at(text, at, out);
            }
            // 学府一号望月园20号楼: a number with nothing behind it is passed by for a building that comes later.
            if let [Door { kind: DoorKind::Hao, .. }] = out[..]
                && end < text.len()
                && later_building(text, end)
            {
                at = end;
                continue;
            }
            let explicit = out.iter().any(|d| !matches!(d.kind, DoorKind::Bare | DoorKind::Hao));
            let last = text[end..].iter().all(|&c| gap(c));
            let stray = out.len() == 1 && out[0].kind == DoorKind::Bare && !last;
            if !out.is_empty() && (explicit || out.len() > 1 || !stray) {
                return Some((out[0].start, end));
            }
        }
        at += 1;
    }
    out.clear();
    None
}

fn is_shop(text: &[char]) -> bool {
    matches!(text, ['商', '铺', ..] | ['店', '面' | '铺', ..] | ['门', '面' | '市', ..] | ['档', ..])
}

/// Does a building with its counter stand in `text` from `from` on?
fn later_building(text: &[char], from: usize) -> bool {
    (from + 1..text.len()).any(|at| {
        let counted = text[at - 1].is_ascii_alphanumeric();
        counted && (matches!(text[at], '栋' | '幢' | '座') || matches_word(text, at, "号楼"))
    })
}

/// What stands behind the first doors, parted from them by other words: 5栋公寓楼103室, 8幢望月5楼.
pub(crate) fn more_doors(text: &[char], from: usize, out: &mut Vec<Door>) {
    let mut at = from;
    while at < text.len() && out.len() < DOORS_MAX {
        let c = text[at];
        let begins = c.is_ascii_alphanumeric() || one_of!(c, "东西南北中");
        let next = door(text, at, out).filter(|_| begins && !text[at - 1].is_ascii_alphanumeric());
        let Some(door) = next else {
            at += 1;
            continue;
        };
        let rank = |kind: DoorKind| match kind {
            DoorKind::Building => 1,
            DoorKind::Unit => 2,
            DoorKind::Floor => 3,
            DoorKind::Room => 4,
            DoorKind::Hao | DoorKind::Bare => 0,
        };
        let number = door.kind == DoorKind::Bare && door.value.len() >= 3 && door.end == text.len();
        let deeper = rank(door.kind) > 1 && out.iter().all(|d| rank(d.kind) < rank(door.kind));
        let room_open = out.iter().all(|d| !matches!(d.kind, DoorKind::Room | DoorKind::Bare));
        if deeper || number && room_open {
            out.push(door);
        }
        at = door.end;
    }
}

fn door(text: &[char], start: usize, before: &[Door]) -> Option<Door> {
    if let Some(door) = range::range(text, start, before).or_else(|| side::side(text, start, before)) {
        return Some(door);
    }
    let (mut value, mut at, named) = value(text, start)?;
    let has = |kind: DoorKind| before.iter().any(|d| d.kind == kind);
    let next = text.get(at).copied();
    let bare_next = |kind| Some((kind, 0));
    let (kind, length) = match next {
        Some('号') if text.get(at + 1) == Some(&'楼') => Some((DoorKind::Building, 2)),
        Some('号') if matches!(text.get(at + 1), Some('栋' | '幢')) => Some((DoorKind::Building, 2)),
        Some('号') if matches!(text.get(at + 1), Some('院' | '线' | '桥' | '路' | '街')) => None,
        Some('号') if text.get(at + 1) == Some(&'梯') => Some((DoorKind::Unit, 2)),
        Some('号') if text.get(at + 1) == Some(&'室') => Some((DoorKind::Room, 2)),
        Some('号') if text.get(at + 1) == Some(&'房') => Some((DoorKind::Room, 2)),
        Some('号') => Some((DoorKind::Hao, 1)),
        Some('幢' | '栋' | '座' | '楝' | '橦' | '憧' | '撞') => Some((DoorKind::Building, 1)),
        Some('排') if before.is_empty() => Some((DoorKind::Building, 1)),
        Some('#') if text.get(at + 1) == Some(&'楼') => Some((DoorKind::Building, 2)),
        Some('#') if has(DoorKind::Building) => Some((DoorKind::Room, 1)),
        Some('#') => Some((DoorKind::Building, 1)),
        Some('单') if text.get(at + 1) == Some(&'元') => Some((DoorKind::Unit, 2)),
        Some('单') if text.get(at + 1).is_some_and(char::is_ascii_digit) => Some((DoorKind::Unit, 1)),
        Some('门') if is_shop(&text[at..]) && !named => Some((DoorKind::Room, 0)),
        Some('门') if matches_word(text, at, "门栋") => Some((DoorKind::Unit, 2)),
        Some('门') if text.get(at + 1).is_none_or(|c| gap(*c) || c.is_ascii_digit()) => {
            Some((DoorKind::Unit, 1))
        }
        Some('梯') => Some((DoorKind::Unit, 1)),
        Some('层') => Some((DoorKind::Floor, 1)),
        Some('楼') => Some((storey_or_building(text, (start, at + 1), &value, before), 1)),
        Some('f') if !text.get(at + 1).is_some_and(char::is_ascii_lowercase) => Some((DoorKind::Floor, 1)),
        Some('室') => Some((DoorKind::Room, 1)),
        Some('房') => Some((DoorKind::Room, if text.get(at + 1) == Some(&'间') { 2 } else { 1 })),
        Some('户' | '铺') => Some((DoorKind::Room, 1)),
        // 415商铺: the room of a shop.
        Some('商' | '店' | '门' | '档') if is_shop(&text[at..]) && !named => Some((DoorKind::Room, 0)),
        Some('间') if !named => Some((DoorKind::Room, 1)),
        Some('街') if is_aisle(text, at) => Some((DoorKind::Unit, 1)),
        // What counts something else: phases, areas, villages, roads, metres.
        Some(c) if one_of!(c, "期区村组路街弄米年元条巷队亩%里大小") => None,
        Some(c) if c.is_ascii_alphanumeric() => None,
        // a letter alone is a building where a chain follows.
        Some('-')
            if named
                && before.is_empty()
                && value.len() == 1
                && text.get(at + 1).is_some_and(char::is_ascii_digit) =>
        {
            bare_next(DoorKind::Building)
        }
        // 4-d-1259
        Some('-') if named && !before.is_empty() && value.len() == 1 => bare_next(DoorKind::Bare),
        _ if named => None,
        _ => bare_next(DoorKind::Bare),
    }?;
    if kind == DoorKind::Bare && before.is_empty() && value.as_str().bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    // 2排 is a row of houses, not building 2, and 7街 an aisle.
    if let Some(c @ ('排' | '街')) = next
        && !value.push(c)
    {
        return None;
    }
    at += length;
    Some(Door { kind, value, start, end: at })
}

/// Where people live: there 楼 may count buildings.
static HOMES: Words = Words::new("小区 新村 花园 家园 嘉园 佳园 宿舍 家属院 苑 里 坊 庄 村");

/// 25楼2单元 is a building, and so is 25楼402 where people live; else 楼 counts storeys.
fn storey_or_building(
    text: &[char],
    (start, after): (usize, usize),
    value: &Label,
    before: &[Door],
) -> DoorKind {
    if before.iter().any(|d| matches!(d.kind, DoorKind::Building | DoorKind::Unit | DoorKind::Hao)) {
        return DoorKind::Floor;
    }
    let at = after + text[after..].iter().take_while(|&&c| gap(c)).count();
    let digits = text[at..].iter().take_while(|c| c.is_ascii_digit()).count();
    let unit_follows = matches_word(text, at + digits, "单元") || matches_word(text, at + digits, "门");
    let named = text[..start].iter().rposition(|c| !gap(*c)).map_or(0, |last| last + 1);
    let at_home = HOMES.ending(&text[..named]) > 0;
    let room_elsewhere = (3..=4).contains(&digits) && !super::begins(&text[at..at + digits], value.as_str());
    if unit_follows || room_elsewhere && at_home { DoorKind::Building } else { DoorKind::Floor }
}

/// The normalised value of one column (`25幢`, `二单元`, `0402室`). What has no such form is folded whole.
pub(crate) fn column_value(text: &str) -> Option<Label> {
    let chars: Vec<char> = crate::fold::folded(text).chars().collect();
    if chars.is_empty() {
        return None;
    }
    let mut doors = Vec::new();
    let end = doors_at(&chars, 0, &mut doors);
    if doors.len() == 1 && end == chars.len() {
        return Some(doors[0].value);
    }
    let alphanumeric = || chars.iter().copied().filter(|c| c.is_alphanumeric() || *c == '-');
    Label::from_chars(alphanumeric()).or_else(|| {
        let hash = crate::key::KeyHash::new(crate::key::About::Text).chars(&chars).finish();
        Label::from_chars(format!("={hash:016x}").chars())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(s: &str) -> String {
        let text: Vec<char> = crate::fold::folded(s).chars().collect();
        let mut out = Vec::new();
        find_doors(&text, 0, &mut out);
        out.iter().map(|d| format!("{:?}{} ", d.kind, d.value)).collect::<String>().trim_end().to_owned()
    }

    #[test]
    fn doors_of_every_department_are_read() {
        for (text, want) in [
            ("国泰新村25幢2单元402室", "Building25 Unit2 Room402"),
            ("国泰新村２５幢２单元４０２室", "Building25 Unit2 Room402"),
            ("国泰新村25栋2-402", "Building25 Bare2 Bare402"),
            ("国泰新村25-402", "Bare25 Bare402"),
            ("国泰新村25-2-402", "Bare25 Bare2 Bare402"),
            ("国泰新村25号楼二单元402", "Building25 Unit2 Bare402"),
            ("国泰新村 25栋 二单元402 门口", "Building25 Unit2 Bare402"),
            ("国泰新村A座1203", "Buildinga Bare1203"),
            ("望月一号19号楼2单元401", "Building19 Unit2 Bare401"),
            ("国泰新村A-101", "Buildinga Bare101"),
            ("国泰新村B-3-201", "Buildingb Bare3 Bare201"),
            ("国泰新村25号402室", "Hao25 Room402"),
            ("国泰新村25楼402", "Building25 Bare402"),
            ("国泰大厦4楼402", "Floor4 Bare402"),
            ("国泰新村东单元501", "Unit东 Bare501"),
            ("国泰新村25幢0402室", "Building25 Room402"),
            ("国泰新村2A幢", "Building2a"),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }

    #[test]
    fn what_counts_other_things_is_no_door() {
        for text in ["国泰新村2期", "国泰家园3区", "路口200米", "南苑一村", "东门"] {
            assert_eq!(read(text), "", "{text}");
        }
    }

    #[test]
    fn columns_are_normalised_as_texts_are() {
        for (text, want) in [
            ("25幢", "25"),
            ("二单元", "2"),
            ("0402室", "402"),
            ("A座", "a"),
            ("储藏室", "储藏室"),
            ("甲1幢", "1甲"),
        ] {
            assert_eq!(column_value(text).map(|l| l.as_str().to_owned()).as_deref(), Some(want), "{text}");
        }
        assert_eq!(column_value(" "), None);
    }
}
