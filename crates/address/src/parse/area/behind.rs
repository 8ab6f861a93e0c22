//! What stands behind a name decides what the name is: 台州路桥区 is a city, 台州路12号 a road.

use super::is_gap;
use crate::charset::one_of;
use crate::divisions::{DivisionId, Divisions, Naming};
use crate::model::Level;
use crate::parse::words::Words;

/// After these a short name is the beginning of a road, a compound or an office.
static STREET_HEADS: Words = Words::new(
    "路 街 巷 道 弄 里 坊 桥 站 村 苑 园 大 东路 西路 南路 北路 中路 东街 西街 南街 北街 花 新村 \
     小区 公 广场 家 嘉 国际 商",
);
/// Of those, what may begin another name behind a county at the very beginning: 义乌望月城, 宁海大桥路.
static WEAK_HEADS: Words = Words::new("大 公 家 嘉 国际 商");
/// After these a short name below the county is the beginning of a longer name.
static NAME_HEADS: Words = Words::new(
    "工业 科技 经济 高新 产业 创业 功能区 开发区 新城 新区 文化 汽车 市场 中心 中学 小学 宾馆 医院 \
     学府 印象 新天地 融创 万达 信用 法院 政府 支行 派出所 公租房 东区 西区 南区 北区 一 二 三 四 \
     东 西 社区",
);

/// Behind a county's short name at the very beginning: the name goes on.
static STREET_WORDS: Words =
    Words::new("大道 大街 大桥 工业 科技 大学 公园 公寓 人家 小区 花园 新村 大厦 广场 市场");

/// What stands behind a name.
pub(super) struct Behind<'a> {
    pub text: &'a [char],
    /// Nothing, or a gap.
    pub parted: bool,
    /// The beginning of a road or a compound's name.
    pub street: bool,
}

impl<'a> Behind<'a> {
    pub fn new(text: &'a [char]) -> Self {
        let parted = text.first().is_none_or(|&c| is_gap(c));
        let street = !parted && STREET_HEADS.beginning(text) > 0;
        Self { text, parted, street }
    }

    /// May a county's short name stand before this at the very beginning of a text?
    pub fn may_follow_county(&self) -> bool {
        let weak = WEAK_HEADS.beginning(self.text) > 0;
        (!self.street || weak) && self.text.first() != Some(&'山') && STREET_WORDS.beginning(self.text) == 0
    }

    /// 织里青禾路: a whole road follows. 白塔月路 and 青禾东三街 are roads of one name.
    pub fn starts_road(&self) -> bool {
        // 青山12号大街
        let digits = self.text.iter().take(4).take_while(|c| c.is_ascii_digit()).count();
        if digits > 0 && matches!(self.text[digits..], ['号', '大', '街' | '道', ..] | ['号', '路', ..])
        {
            return true;
        }
        let end = self.text.iter().take(6).position(|c| one_of!(*c, "路街巷弄"));
        let stem = &self.text[..end.unwrap_or(0)];
        (2..=3).contains(&stem.len())
            && !stem.iter().any(|c| one_of!(*c, "村区里业塘"))
            && !stem.iter().any(|c| is_gap(*c) || c.is_ascii_digit() || crate::fold::is_numeral(*c))
            && !matches!(stem, ['东' | '西' | '南' | '北' | '中', ..] | ['大', '道' | '街', ..])
            && self.text.get(stem.len() + 1) != Some(&'道')
    }

    /// 大沥望月站, 白塔月路: the short name of a township begins another name.
    pub fn continues_name(&self) -> bool {
        self.street
            || self.text.get(1).is_some_and(|c| one_of!(*c, "路街巷弄桥村区"))
            || NAME_HEADS.beginning(self.text) > 0
    }

    /// Does a division of `id` follow, or `id` itself in full?
    pub fn names_within(&self, divisions: &Divisions, id: DivisionId) -> bool {
        let mut found = false;
        divisions.names().prefixes(self.text, |name, length| {
            found |= divisions.names().meanings(name).iter().any(|meaning| {
                let (inner, naming, level) = meaning.parts();
                let named = match naming {
                    Naming::Full => level <= Level::Township,
                    Naming::Short if inner != id && level <= Level::County => {
                        let next = Behind::new(&self.text[length..]);
                        next.may_follow_county()
                            || level < Level::County && next.names_within(divisions, inner)
                    }
                    _ => false,
                };
                named && divisions.within(inner, id)
            });
        });
        found
    }

    /// 奉化市, which is 奉化区 today; 靖州县, which is 靖州苗族侗族自治县; 宁围镇, which is a 街道: how much belongs
    /// to the short name before it.
    pub fn renamed(&self, level: Level) -> Option<usize> {
        let next = self.text.get(1).copied();
        match (level, self.text.first()?) {
            (Level::County, '市') if !matches!(next, Some('场' | '民' | '政')) => Some(1),
            (Level::County, '县' | '区') => Some(1),
            (Level::City, '州') => Some(1),
            (Level::City, '地') if next == Some('区') => Some(2),
            (Level::Township, '镇' | '乡') if !matches!(next, Some('路' | '街')) => Some(1),
            (Level::Township, '街') if matches!(self.text, [_, '办', '事', '处', ..]) => Some(4),
            (Level::Township, '街') if matches!(next, Some('道' | '办')) => Some(2),
            (Level::Township, _) => {
                let people = self.text.iter().take(4).position(|&c| c == '族')?;
                let closed = matches!(self.text.get(people + 1), Some('镇' | '乡'));
                closed.then_some(people + 2)
            }
            _ => None,
        }
    }
}
