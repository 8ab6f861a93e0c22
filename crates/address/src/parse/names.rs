//! Names by their structure: where one ends and the next begins, without knowing any of them.
//!
//! ```text
//!  云栖花园小区│桂雨苑│二期      青山工业区│松涛路      松涛路│与│竹海路│交叉口│云栖大厦│旁
//! ```
//! A name ends with a word of [`ENDS`], unless a word of [`FOLLOWERS`] carries it on.

mod vocabulary;

use super::area::is_gap;
use super::words::Bits;
use crate::charset::one_of;
use std::sync::OnceLock;
use vocabulary::{ENDS, FOLLOWERS, NEARBY, NOTHING, OFFICES, PARTS, REQUESTS};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PieceKind {
    /// A name: a compound, a building, a shop.
    Name,
    /// A village or community by its ending.
    Village,
    /// A zone that is no place by itself (开发区).
    Zone,
    /// A phase, a quarter, a gate.
    Part,
    /// 三组, 12队: a group of a village.
    Group,
    /// 对面, 交叉口: what stands before is only near.
    Nearby,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub kind: PieceKind,
    pub start: usize,
    pub end: usize,
}

/// A numeral, letter or direction before 期, 区, 门: 二期, a区, 北门. Its length.
fn part(text: &[char]) -> usize {
    let named = PARTS.beginning(text);
    if named > 0 {
        return named;
    }
    let mark =
        |c: &char| c.is_ascii_alphanumeric() || one_of!(*c, "东西南北中上下") || crate::fold::is_numeral(*c);
    let marks = text.iter().take(4).take_while(|c| mark(c)).count();
    let closes = marks > 0 && text.get(marks).is_some_and(|c| one_of!(*c, "期区"));
    if closes { marks + 1 } else { 0 }
}

/// 三组, 12队, 5社: its length.
fn group(text: &[char]) -> usize {
    let count = text.iter().take(4);
    let count = count.take_while(|&&c| c.is_ascii_digit() || crate::fold::is_numeral(c)).count();
    match text[count..] {
        ['村', '民', '小', '组', ..] if count > 0 => count + 4,
        ['小' | '大' | '生', '组' | '队', ..] if count > 0 => count + 2,
        ['组' | '队' | '社', ref rest @ ..] if count > 0 && rest.first() != Some(&'区') => count + 1,
        _ => 0,
    }
}

/// 对面, 北100米: the length of what says that something is only near. Right behind a road also 口, 内.
fn near(text: &[char], behind_road: bool) -> usize {
    let word = NEARBY.beginning(text);
    if word > 0 {
        return word;
    }
    if behind_road && matches!(text, ['口' | '内', ..]) && text.get(1) != Some(&'腔') {
        return 1;
    }
    let lead = text.iter().take(3).take_while(|c| one_of!(**c, "向往东西南北前")).count();
    let digits = text[lead..].iter().take(5).take_while(|c| c.is_ascii_digit()).count();
    if digits > 0 && text.get(lead + digits) == Some(&'米') { lead + digits + 1 } else { 0 }
}

/// Splits the free text [start, end) into pieces, in order.
pub(super) fn pieces(text: &[char], start: usize, end: usize, out: &mut Vec<Piece>) {
    let mut from = start;
    while from < end && out.len() < PIECES_MAX {
        if is_gap(text[from]) {
            from += 1;
            continue;
        }
        let rest = &text[from..end];
        let near = near(rest, from > 0 && from == start);
        if near > 0 {
            out.push(Piece { kind: PieceKind::Nearby, start: from, end: from + near });
            from += near;
            continue;
        }
        let length = part(rest);
        if length > 0 {
            out.push(Piece { kind: PieceKind::Part, start: from, end: from + length });
            from += length;
            continue;
        }
        let length = group(rest);
        if length > 0 {
            // What bears groups is a village.
            if let Some(last) = out.last_mut().filter(|p| p.end == from && p.kind == PieceKind::Name) {
                last.kind = PieceKind::Village;
            }
            out.push(Piece { kind: PieceKind::Group, start: from, end: from + length });
            from += length;
            continue;
        }
        let (length, kind) = name(rest);
        out.push(Piece { kind, start: from, end: from + length });
        from += length;
    }
}

const PIECES_MAX: usize = 16;

/// What gaps, and the words of [`near`], [`part`] and [`group`], begin with: most characters of a name are none of it.
fn breaks() -> &'static Bits {
    static BREAKS: OnceLock<Bits> = OnceLock::new();
    const MARKS: &str =
        " -()/#0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ东西南北中上下向往前";
    BREAKS.get_or_init(|| NEARBY.begins.or(&PARTS.begins).and_chars(MARKS).and_chars(crate::fold::NUMERALS))
}

/// 公安局, 第一人民医院: what a division lends its name to.
pub(super) fn begins_office(text: &[char]) -> bool {
    OFFICES.beginning(text) > 0
}

/// 不详, 请电话联系: it stands where a name would, and names nothing.
pub(super) fn is_remark(text: &[char]) -> bool {
    NOTHING.ending(text) == text.len() || (0..text.len()).any(|at| REQUESTS.beginning(&text[at..]) > 0)
}

/// How long the name is that `text` begins with, and what it is by its ending.
fn name(text: &[char]) -> (usize, PieceKind) {
    let breaks = breaks();
    let mut at = 1;
    while at < text.len() {
        let may_break = breaks.may_have(text[at]);
        debug_assert!(may_break || near(&text[at..], false) + group(&text[at..]) + part(&text[at..]) == 0);
        if may_break && (is_gap(text[at]) || near(&text[at..], false) > 0) {
            break;
        }
        if may_break && at >= 2 && group(&text[at..]) > 0 {
            break;
        }
        let length = if may_break && at >= 2 { part(&text[at..]) } else { 0 };
        if length > 0 {
            // 青禾二区: too short to be a name without it.
            let needed = at == 2 && text[at + length - 1] == '区' && !one_of!(text[at], "东西南北中");
            at += if needed { length } else { 0 };
            break;
        }
        at += 1;
        let Some(kind) = closed(text, at) else { continue };
        // 工业园 is only the beginning of 工业园区.
        if text.get(at) == Some(&'区') && text[at - 1] == '园' {
            continue;
        }
        let follower = FOLLOWERS.beginning(&text[at..]);
        if follower > 0 {
            at += follower - 1;
            continue;
        }
        if text.len() - at >= 2 || matches!(text[at..], ['内' | '里' | '外' | '旁' | '前' | '后' | '口'])
        {
            return (at, kind);
        }
    }
    // 望月观测站内
    if at > 3 && at == text.len() && text[at - 1] == '内' {
        at -= 1;
    }
    let kind =
        if named_group(&text[..at]) { PieceKind::Group } else { closed(text, at).unwrap_or(PieceKind::Name) };
    (at, kind)
}

/// 望月组, 青塘屯, 松涛队: a group that has a name instead of a number. Not 项目组, 消防队.
fn named_group(text: &[char]) -> bool {
    match text {
        [_, .., before, '组'] => !"目机班备料".contains(*before),
        [_, _, '屯'] | [_, _, _, '屯'] => true,
        [_, _, '队'] | [_, _, _, '队'] => {
            !super::contains(text, "消防") && !"车卫大中警舰支".contains(text[text.len() - 2])
        }
        _ => false,
    }
}

/// What the name of the first `end` characters is by its ending, where it ends there.
fn closed(text: &[char], end: usize) -> Option<PieceKind> {
    let length = ENDS.ending(&text[..end]);
    if length > 0 && (end > length || length > 2) {
        let zone = matches!(text[..end], [.., '开', '发', '区'] | [.., '新', '区']);
        return Some(if zone { PieceKind::Zone } else { PieceKind::Name });
    }
    // 世纪城桂雨苑, but not 云栖城市花园 and not 碧桂园, which is a builder's.
    let longer = end >= 3 && text.len() >= end + 3;
    let place = longer
        && match (text[end - 1], text[end]) {
            ('城', next) => text[end - 2] != '长' && !one_of!(next, "小市社区花国公印家堡中乡"),
            ('园', next) => text[end - 2] != '桂' && !one_of!(next, "小凤天翡城都里新区林大"),
            _ => false,
        };
    if place {
        return Some(PieceKind::Name);
    }
    let village = end >= 3 && matches!(text[..end], [.., '村'] | [.., '社', '区']);
    village.then_some(PieceKind::Village)
}

/// Where in [start, end), which ends a road, the road begins: behind the last name that ends in it.
pub(super) fn road_start(text: &[char], start: usize, end: usize) -> usize {
    let mut begin = start;
    // 云栖4号大街
    if let Some(number) =
        (start + 2..end).find(|&i| text[i].is_ascii_digit() && !text[i - 1].is_ascii_alphanumeric())
        && text[number..end].contains(&'号')
    {
        begin = number;
    }
    // A区望月大道, 9楼松涛北路
    let lead = part(&text[begin..end]).max(storey(&text[begin..end]));
    if lead > 0 && is_road(&text[begin + lead..end], false) {
        begin += lead;
    }
    let mut place = None;
    for at in begin + 2..end.saturating_sub(1) {
        let near = NEARBY.ending(&text[begin..at]) > 0;
        let part = at >= begin + 3 && matches!(text[at - 1], '期' | '区') && part_ends(text, begin, at);
        let zone = text[at - 1] == '园' && text[at] == '区';
        let follower = FOLLOWERS.beginning(&text[at..end]);
        let carried_on = zone || follower > 0 && end - at > follower + 1;
        let closed = !carried_on && closed(&text[begin..], at - begin).is_some();
        if (closed || near || part) && is_road(&text[at..end], near) {
            begin = at;
            place = None;
        } else if at >= begin + 3 && matches!(text[at - 1], '园' | '城') && !carried_on && text[at] != '区'
        {
            place = Some(at);
        }
    }
    // 农贸城青禾山路: less certain, but longer than 长城东路.
    place
        .filter(|&at| end - at >= 3 && is_road(&text[at..end], false) && !is_direction(text[at]))
        .unwrap_or(begin)
}

fn is_direction(c: char) -> bool {
    one_of!(c, "东西南北中")
}

/// 9楼, 2层: its length.
fn storey(text: &[char]) -> usize {
    let digits = text.iter().take(3).take_while(|c| c.is_ascii_digit()).count();
    if digits > 0 && matches!(text.get(digits), Some('楼' | '层')) { digits + 1 } else { 0 }
}

/// 二期, a区 before `at`.
fn part_ends(text: &[char], begin: usize, at: usize) -> bool {
    (1..=3).any(|n| at > begin + n && part(&text[at - n - 1..at]) == n + 1)
}

/// Is this a road by itself? 东路, 大道 are only the end of one; 三路, 西巷 may be one behind a name.
fn is_road(text: &[char], near: bool) -> bool {
    let stem = match text {
        [stem @ .., '大', '道' | '街'] => stem,
        [stem @ .., _] => stem,
        [] => return false,
    };
    match stem {
        [] => false,
        ['步', '行'] | ['商', '业'] | ['美', '食'] => near,
        [one] => {
            let lane = matches!(text.last(), Some('巷' | '弄'));
            let counted = one.is_ascii_digit() || crate::fold::is_numeral(*one);
            near || lane || counted
        }
        _ => true,
    }
}
