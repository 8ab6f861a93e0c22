//! Words of the administrative part that name no division: exports' nulls, 省直辖, 城区, zones.

use super::{Area, Mention};
use crate::charset::one_of;
use crate::divisions::{Divisions, Naming};
use crate::model::Level;
use crate::parse::words::Words;

/// A level that exists only in the tables, as exports write it.
static TABLE_LEVELS: Words = Words::new("省直辖县级行政区划 自治区直辖县级行政区划");

/// What exports write where a level is missing.
static NOTHING: Words = Words::new("null 省直辖 直辖 市辖区 其它区 其他区 其他地区");

/// Behind a division that was named: quarters and zones that are no divisions.
pub(super) static ZONES: Words = Words::new(
    "高新技术产业开发区 高新技术开发区 经济技术开发区 经济开发区 工业园区 高新区 经开区 开发区 新区 \
     园区 市区 城城区 城区 全区 全境 县城 周边",
);

impl Area {
    pub(super) fn filler(&mut self, divisions: &Divisions, text: &[char], at: usize) -> Option<usize> {
        let rest = &text[at..];
        let n = TABLE_LEVELS.beginning(rest);
        if n > 0 && self.deepest() < Level::City {
            let (level, beginning) = (Level::City, self.beginning);
            self.push(Mention {
                start: at,
                end: at + n,
                level,
                division: None,
                naming: Naming::Full,
                beginning,
            });
            return Some(at + n);
        }
        let n = NOTHING.beginning(rest);
        if n > 0 {
            // 直辖路: a road.
            let street = rest.get(n).is_some_and(|c| one_of!(*c, "路街巷道"));
            return (rest.len() > n && !street).then(|| {
                self.begin_anew();
                at + n
            });
        }
        if let ['中', '国', ref after @ ..] = *rest {
            let meant = names_division(divisions, after) || (self.named && is_road_only(after));
            return meant.then(|| {
                self.begin_anew();
                at + 2
            });
        }
        None
    }

    /// A quarter or zone behind a division. 温州市温州经济技术开发区 takes the place of a county.
    pub(super) fn zone(&mut self, text: &[char], at: usize) -> Option<usize> {
        let rest = &text[at..];
        let end = |from: usize| {
            let n = ZONES.beginning(&rest[from..]);
            let named = n > 0 && self.named;
            let n = n + from;
            (named && !rest.get(n).is_some_and(|c| one_of!(*c, "路街道"))).then_some(at + n)
        };
        if let Some(end) = end(0) {
            return Some(end);
        }
        let city =
            self.mentions.last().filter(|m| m.level == Level::City && self.deepest() == Level::City)?;
        let name = &text[city.start..city.end];
        let short = name.strip_suffix(&['市']).unwrap_or(name);
        let end = rest.starts_with(short).then(|| end(short.len())).flatten()?;
        let (level, beginning) = (Level::County, self.beginning);
        self.push(Mention { start: at, end, level, division: None, naming: Naming::Full, beginning });
        Some(end)
    }
}

fn names_division(divisions: &Divisions, text: &[char]) -> bool {
    let mut found = false;
    divisions.names().prefixes(text, |name, _| {
        found |= divisions.names().meanings(name).iter().any(|meaning| {
            let (_, naming, level) = meaning.parts();
            level <= Level::County && naming == Naming::Full
                || level <= Level::City && naming == Naming::Short
        });
    });
    found
}

/// 中国望月大道: nothing but a road follows. 中国银行, 中国移动 are names.
fn is_road_only(text: &[char]) -> bool {
    let end = text.iter().take(7).position(|c| one_of!(*c, "路街道"));
    let after = end.map(|e| text.get(e + 1));
    end.is_some_and(|e| e >= 2)
        && after.is_some_and(|n| n.is_none_or(|&c| super::is_gap(c) || c.is_ascii_digit()))
}
