//! Roads and their numbers. Also what carries a number like a road does: 青禾村8号, 望月桥12号.

use super::area::is_gap;
use super::label::Label;
use crate::charset::{CharSet, one_of};

/// A road as written, and the number after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Street {
    /// Where the name of the quarter begins that it was cut from; `start` where there is none.
    pub quarter: usize,
    pub start: usize,
    pub end: usize,
    pub number: Option<Number>,
    /// By its form a road (not a village or bridge that bears numbers).
    pub is_road: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    pub start: usize,
    pub end: usize,
    pub value: Label,
    /// 145弄55号: where the lane's own number ends.
    pub lane_end: Option<usize>,
}

/// Before 道: a township, a railway, a tunnel.
const NO_ROADS: &CharSet = &CharSet::new("街管隧通渠铁轨车巷频行跑航河味报知公");

/// How far the last of several houses may lie from the first, by their numbers.
const HOUSES_MAX: u32 = 60;

const STREETS_MAX: usize = 16;

/// All roads and numbered names of `text` from `from` on, in the order of the text. `town_open`: no township was named,
/// so that the first name may begin with one.
pub(crate) fn streets(text: &[char], from: usize, town_open: bool, out: &mut Vec<Street>) {
    out.clear();
    let mut start = from;
    let mut at = from;
    while at < text.len() && out.len() < STREETS_MAX {
        let c = text[at];
        // What ends a name, a road or begins a number: most characters do not.
        if !one_of!(c, " -()/#路街巷弄道同环线0123456789") {
            debug_assert!(!is_gap(c) && road_end(text, start, at).is_none() && !c.is_ascii_digit());
            at += 1;
            continue;
        }
        if is_gap(c) {
            at += 1;
            start = at;
            continue;
        }
        if let Some(end) = road_end(text, start, at).filter(|&end| !has_door(&text[start..end])) {
            let number = number(text, end);
            let after_road =
                out.last().is_some_and(|s| s.is_road && start == s.number.map_or(s.end, |n| n.end));
            let begin = super::names::road_start(text, start, end);
            let quarter = without_lead(text, begin, end, after_road);
            let begin = without_quarter(text, quarter, end, town_open && quarter == from);
            out.push(Street { quarter, start: begin, end, number, is_road: true });
            at = number.map_or(end, |n| n.end);
            start = at;
            continue;
        }
        // A number with 号 after a name that has no road in it.
        if c.is_ascii_digit() && at >= start + 2 && !text[at - 1].is_ascii_alphanumeric() {
            if let Some(number) = number(text, at).filter(|n| text[n.end - 1] == '号') {
                let begin = without_lead(text, start, at, false);
                out.push(Street {
                    quarter: begin,
                    start: begin,
                    end: at,
                    number: Some(number),
                    is_road: false,
                });
                at = number.end;
                start = at;
                continue;
            }
            while text.get(at).is_some_and(char::is_ascii_digit) {
                at += 1;
            }
            continue;
        }
        at += 1;
    }
}

/// Does a number with the counter of a door stand in it: 3幢2单元某某路?
fn has_door(text: &[char]) -> bool {
    text.windows(2).any(|w| match w[1] {
        '幢' | '栋' | '室' | '单' => w[0].is_ascii_alphanumeric(),
        '楼' => w[0] == '号',
        _ => false,
    })
}

/// What names no road by itself: 云栖花园路 is one name.
const GENERIC_STEMS: [[char; 2]; 18] = [
    ['商', '业'],
    ['步', '行'],
    ['公', '园'],
    ['高', '速'],
    ['工', '业'],
    ['科', '技'],
    ['创', '业'],
    ['发', '展'],
    ['回', '族'],
    ['环', '城'],
    ['花', '园'],
    ['新', '村'],
    ['广', '场'],
    ['小', '区'],
    ['市', '场'],
    ['中', '心'],
    ['文', '化'],
    ['美', '食'],
];

/// 青禾塘松涛南路: a quarter's name, then the road's, which nearly always has two characters before its direction and
/// kind. Where the road begins; `start` where its name is no longer than the name of a road may be.
fn without_quarter(text: &[char], start: usize, end: usize, town_open: bool) -> usize {
    const STEM: usize = 2;
    let mut name = &text[start..end];
    if let [head @ .., '段'] = name {
        name = without_ordinals(head);
    }
    name = match name {
        [head @ .., '大', '道' | '街']
        | [head @ .., '公', '路']
        | [head @ .., '胡', '同']
        | [head @ .., _] => head,
        [] => name,
    };
    name = without_ordinals(name);
    let words = name.iter().all(|c| *c >= '\u{2e80}' && !is_gap(*c));
    let long = name.len() > 2 * STEM || town_open && name.len() == 2 * STEM;
    // A generic word names no road by itself, and what is written by its sound is longer.
    let generic = matches!(name, [.., a, b] if GENERIC_STEMS.contains(&[*a, *b]));
    let whole = generic || name.iter().any(|c| one_of!(*c, "尔提克拉斯木"));
    if words && long && !whole { start + name.len() - STEM } else { start }
}

fn without_ordinals(name: &[char]) -> &[char] {
    &name[..name.len() - name.iter().rev().take_while(|c| is_ordinal(**c)).count()]
}

/// 南, 一, 3: what may stand between the name of a road and its kind.
fn is_ordinal(c: char) -> bool {
    one_of!(c, "东西南北中上下内外前后横直正支新老环号条") || c.is_ascii_digit() || crate::fold::is_numeral(c)
}

fn without_lead(text: &[char], start: usize, end: usize, parted: bool) -> usize {
    let lead = match text[start..end] {
        ['位', '于', ..] | ['靠', '近', ..] | ['毗', '邻', ..] | ['东' | '西' | '南' | '北', '临', ..] => {
            2
        }
        ['与' | '和' | '及' | '在', ..] if parted => 1,
        ['近', _, _, _, ..] => 1,
        _ => 0,
    };
    if end - start >= lead + 2 { start + lead } else { start }
}

/// Where the road that began at `start` ends, if it ends with the character at `at`.
fn road_end(text: &[char], start: usize, at: usize) -> Option<usize> {
    if at < start + 1 {
        return None;
    }
    let next = text.get(at + 1).copied();
    let previous = text[at - 1];
    let ends = match text[at] {
        '路' => {
            !(matches!(next, Some('桥' | '站'))
                || next == Some('口') && matches!(previous, '叉' | '字' | '岔'))
        }
        // 青巷路, 后街弄
        '街' | '巷' if matches!(next, Some('路' | '弄')) => false,
        '街' => next != Some('道') && !is_aisle(text, at),
        '巷' => at > start,
        '弄' => !previous.is_ascii_digit(),
        '道' => {
            at >= start + 2 && !NO_ROADS.has(previous) && !matches!(next, Some('口' | '路' | '观' | '具'))
        }
        '同' => previous == '胡',
        // 南二环, but 北二环东路 and 二环路 go on.
        '环' => {
            let goes_on =
                matches!(text[at + 1..], ['路' | '线' | '境' | '球' | '保' | '城' | '岛' | '湖' | '山', ..])
                    || matches!(text[at + 1..], ['东' | '西' | '南' | '北' | '中', '路' | '街', ..]);
            matches!(previous, '二' | '三' | '四' | '五' | '六' | '内' | '外') && !goes_on
        }
        '线' => at >= start + 2 && next.is_none_or(|n| n.is_ascii_digit() || is_gap(n)),
        _ => false,
    };
    if !ends {
        return None;
    }
    let mut end = at + 1;
    // 解放路中段, 芙蓉中路一段
    if let (Some(a), Some('段')) = (next, text.get(at + 2))
        && (one_of!(a, "东西南北中上下") || a.is_ascii_digit() || crate::fold::is_numeral(a))
    {
        end = at + 3;
    } else if let ['东' | '西' | '南' | '北' | '中', n, '段', ..] = text[at + 1..]
        && crate::fold::is_numeral(n)
    {
        end = at + 4;
    }
    Some(end)
}

/// 4楼7街46103, 四区57街38012: 街 counts the aisles of a market, of which every stall has its number.
pub(crate) fn is_aisle(text: &[char], at: usize) -> bool {
    let counted = |c: &char| c.is_ascii_digit() || crate::fold::is_numeral(*c);
    let head = &text[..at];
    let number = head.iter().rev().take(4).take_while(|c| counted(c)).count();
    let before = head[..at - number].iter().rev().find(|c| !is_gap(**c));
    let behind = text[at + 1..].iter().skip_while(|c| is_gap(**c));
    let stall = behind.take_while(|c| c.is_ascii_digit()).count();
    number > 0
        && match before {
            Some('楼' | '层') => true,
            Some('区' | '城' | '场') => stall >= 4,
            _ => false,
        }
}

fn is_stem(c: char) -> bool {
    matches!(c, '甲' | '乙' | '丙' | '丁')
}

/// The number at `at`, with its parts: 12号, 12-1号, 12号之1, 附, 甲, 145弄55号, or bare digits that count nothing else.
pub(crate) fn number(text: &[char], at: usize) -> Option<Number> {
    let mut value = Label::EMPTY;
    let mut end = at;
    let stem = text.get(at).copied().filter(|&c| is_stem(c));
    end += usize::from(stem.is_some());
    end = digits(text, end, &mut value)?;
    if let Some(&c) = text.get(end).filter(|c| c.is_ascii_lowercase())
        && !text.get(end + 1).is_some_and(|n| n.is_ascii_alphanumeric() || one_of!(*n, "座栋幢区"))
    {
        value.push(c);
        end += 1;
    }
    if text.get(end) == Some(&'弄') {
        value.push('弄');
        end += 1;
        let mut with = value;
        if let Some(e) = digits(text, end, &mut with)
            && text.get(e) == Some(&'号')
            && !matches!(text.get(e + 1), Some('楼'))
        {
            return Some(Number { start: at, end: e + 1, value: with, lane_end: Some(end) });
        }
        return Some(Number { start: at, end, value, lane_end: None });
    }
    let mut sealed = false;
    for _ in 0..3 {
        if let Some(&c) = text.get(end).filter(|c| is_stem(**c)) {
            value.push(c);
            end += 1;
        }
        if !sealed
            && text.get(end) == Some(&'号')
            && !matches!(text.get(end + 1), Some('楼' | '栋' | '幢' | '线' | '街'))
            && !matches!(text[end + 1..], ['路'] | ['路', '0'..='9', ..])
            && !matches!(text[end + 1..], ['大', '街' | '道', ..])
        {
            sealed = true;
            end += 1;
            // 7号院, but not 7号院士楼
            end += usize::from(
                matches!(text[end..], ['院', ref rest @ ..] if !matches!(rest, ['士' | '校' | '子', ..])),
            );
            // 12号甲, but not 12号丁家庄 and not 12号甲单元
            if let Some(&c) = text
                .get(end)
                .filter(|c| is_stem(**c) && text.get(end + 1).is_none_or(|n| super::area::is_gap(*n)))
            {
                value.push(c);
                end += 1;
            }
        }
        let (sign, skip) = match (text.get(end), text.get(end + 1)) {
            (Some('附'), Some(c)) if c.is_ascii_digit() => ('附', 1),
            (Some('之'), Some(c)) if c.is_ascii_digit() => ('-', 1),
            // 12-1号 is a number; 12号-402 and 12-402 are a number and a door.
            (Some('-'), Some(c)) if c.is_ascii_digit() && !sealed => ('-', 1),
            _ => break,
        };
        let mut with = value;
        with.push(sign);
        let Some(e) = digits(text, end + skip, &mut with) else { break };
        // 34-76, 227-233, 101-2某某: several houses, or one too small for a room that counts nothing.
        let after = text.get(e).copied();
        let (first, second) = (number_at(text, before_dash(text, end)), number_at(text, end + 1));
        let plain = after.is_none_or(|c| !c.is_ascii_alphanumeric() && !is_counter(c) && !is_gap(c));
        let several = second > first && (e - end <= 3 || first >= 100 && second - first <= HOUSES_MAX);
        let small = e - end <= 3 && after.is_some();
        let closes =
            after == Some('号') && !matches!(text.get(e + 1), Some('楼')) || plain && (several || small);
        if sign == '-' && skip == 1 && text.get(end) == Some(&'-') && !closes && text.get(e) != Some(&'-') {
            break;
        }
        (value, end) = (with, e);
    }
    if let Some(c) = stem {
        value.push(c);
    }
    if !sealed {
        let next = text.get(end).copied();
        let counts = next.is_some_and(|c| is_counter(c) || c.is_ascii_alphanumeric());
        if counts || next == Some('-') && stem.is_some() {
            return None;
        }
    }
    Some(Number { start: at, end, value, lane_end: None })
}

/// Where the digits before `end` begin.
fn before_dash(text: &[char], end: usize) -> usize {
    end - text[..end].iter().rev().take_while(|c| c.is_ascii_digit()).count()
}

/// The value of the digits at `at`.
fn number_at(text: &[char], at: usize) -> u32 {
    let digits = text[at.min(text.len())..].iter().take(6).map_while(|c| c.to_digit(10));
    digits.fold(0, |n, d| n * 10 + d)
}

/// What counts something else than a house on a road.
fn is_counter(c: char) -> bool {
    one_of!(c, "幢栋座单室层楼期区村组梯米年路街弄号元户房队巷排铺")
}

/// Up to six digits without leading zeros.
fn digits(text: &[char], at: usize, value: &mut Label) -> Option<usize> {
    let count = text[at.min(text.len())..].iter().take(7).take_while(|c| c.is_ascii_digit()).count();
    if !(1..=6).contains(&count) {
        return None;
    }
    let zeros = text[at..at + count - 1].iter().take_while(|&&c| c == '0').count();
    text[at + zeros..at + count].iter().all(|&c| value.push(c)).then_some(at + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(s: &str) -> Vec<(String, Option<String>)> {
        let text: Vec<char> = crate::fold::folded(s).chars().collect();
        let mut out = Vec::new();
        streets(&text, 0, false, &mut out);
        out.iter()
            .map(|s| (text[s.start..s.end].iter().collect(), s.number.map(|n| n.value.as_str().to_owned())))
            .collect()
    }

    #[test]
    fn numbers_keep_all_their_parts() {
        for (text, number) in [
            ("上海路12号", "12"),
            ("上海路12-1号", "12-1"),
            ("上海路12号之1", "12-1"),
            ("上海路12号附3", "12附3"),
            ("上海路12附3号", "12附3"),
            ("上海路甲12号", "12甲"),
            ("上海路12号甲", "12甲"),
            ("上海路12a号", "12a"),
            ("上海路492", "492"),
            ("南街145弄55号", "145弄55"),
            ("松涛南路88-33号", "88-33"),
        ] {
            assert_eq!(read(text)[0].1.as_deref(), Some(number), "{text}");
        }
    }

    #[test]
    fn what_counts_buildings_is_not_a_number_of_the_road() {
        assert_eq!(read("上海路12号楼")[0].1, None);
        assert_eq!(read("上海路25幢")[0].1, None);
        assert_eq!(
            read("华侨路街道25号"),
            [("华侨路".to_owned(), None), ("街道".to_owned(), Some("25".to_owned()))]
        );
    }

    #[test]
    fn several_roads_of_one_text_are_all_read() {
        assert_eq!(
            read("望月街99号,望月街6号").iter().map(|r| r.1.clone().unwrap_or_default()).collect::<Vec<_>>(),
            ["99", "6"]
        );
        assert_eq!(read("青禾村40号")[0], ("青禾村".to_owned(), Some("40".to_owned())));
    }
}
