//! What speaks for and against a compound, and how much each weighs.

use super::gather::Spot;
use super::{Resolver, Scratch};
use crate::charset::one_of;
use crate::divisions::{DivisionId, Divisions};
use crate::gazetteer::{PlaceIndex, via};
use crate::model::Level;
use crate::parse::area::is_gap;
use crate::parse::contains;
use crate::parse::words::Words;

/// How strongly the compound's name speaks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NameEvidence {
    None,
    /// The text mentions it beside the address proper: a landmark, a quarter.
    Mentioned,
    /// One character differs.
    Typo,
    /// The address names it.
    Written,
    /// The record gives it as the name, apart from the address.
    Given,
}

/// What the street says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreetEvidence {
    /// The same road, another number.
    Conflict,
    None,
    Road,
    NumberTypo,
    /// Two roads that meet, both of them in one of its surface texts.
    Crossing,
    Number,
    /// The whole text is a surface address of it.
    Text,
}

/// Whether the areas of text and place agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AreaEvidence {
    OtherCity,
    OtherCounty,
    /// Another district of one city: where one ends and the next begins is not known to all.
    OtherDistrict,
    Unknown,
    County,
    Township,
}

/// One compound under consideration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    pub compound: PlaceIndex,
    /// The overlay holds the compound.
    pub added: bool,
    pub name: NameEvidence,
    pub street: StreetEvidence,
    pub area: AreaEvidence,
    /// The worst way by which it was found: standard, alias, former.
    pub via: u32,
    /// Characters of the name that matched.
    pub name_length: usize,
    /// Where its own words end in the folded text: the door follows.
    pub tail: usize,
    /// The record gives a name, and it is not this one's.
    pub other_name: bool,
    /// How alike the text is to one of its free surface texts, 0 to 1.
    pub likeness: f32,
    pub score: f32,
}

impl Evidence {
    /// Takes over what speaks for the same compound elsewhere.
    pub fn join(&mut self, other: &Evidence) {
        if other.name > self.name {
            (self.name, self.via, self.name_length) = (other.name, other.via, other.name_length);
        }
        // A conflict is only one where nothing agrees.
        self.street = self.street.max(other.street);
        self.area = self.area.max(other.area);
        self.tail = self.tail.max(other.tail);
        self.likeness = self.likeness.max(other.likeness);
        self.other_name &= other.other_name;
    }
}

/// A description this much like a surface text is that text.
pub(super) const ALIKE: f32 = 0.8;

const NEARBY: [&str; 22] = [
    "对面", "旁", "附近", "隔壁", "北侧", "南侧", "东侧", "西侧", "以东", "以西", "以南", "以北", "东北",
    "西北", "东南", "西南", "斜对", "后面", "前面", "向东", "向西", "交",
];

impl Resolver {
    /// Scores, and puts the best first; of an entry and its duplicates the better one stays.
    pub(super) fn weigh(&self, s: &mut Scratch) {
        // A compound's name given apart from the address decides which compound it is. Names of shops do not.
        let known = s.evidence.iter().any(|e| e.name == NameEvidence::Given);
        let given = known || is_residence(s.name_folded.chars());
        for e in &mut s.evidence {
            if given && e.name != NameEvidence::Given {
                e.other_name |= known || e.name != NameEvidence::Typo;
            }
            e.score = score(e);
        }
        for e in &mut s.evidence {
            e.compound = self.layer(e.added).compound(e.compound).canonical;
        }
        // Likeness orders the candidates; it never decides.
        let rank = |e: &Evidence| e.score + 0.2 * e.likeness;
        s.evidence.sort_unstable_by(|a, b| {
            let ranks = rank(b).total_cmp(&rank(a)).then((a.added, a.compound).cmp(&(b.added, b.compound)));
            ranks.then_with(|| (b.name, b.street, b.tail).cmp(&(a.name, a.street, a.tail)))
        });
        let mut kept = 0;
        for i in 0..s.evidence.len() {
            let twin = s.evidence[..kept]
                .iter()
                .any(|k| (k.added, k.compound) == (s.evidence[i].added, s.evidence[i].compound));
            if !twin {
                s.evidence.swap(kept, i);
                kept += 1;
            }
        }
        s.evidence.truncate(kept);
    }

    pub(super) fn area_evidence(&self, compound: PlaceIndex, context: &[DivisionId]) -> AreaEvidence {
        let own = self.covered.get(self.gazetteer.division_index(compound) as usize).copied().flatten();
        let Some(own) = own.filter(|_| !context.is_empty()) else { return AreaEvidence::Unknown };
        let d = self.divisions;
        let mut best = AreaEvidence::OtherCity;
        for &c in context {
            let shared = if d.within(own, c) {
                c
            } else if d.within(c, own) {
                own
            } else {
                match d.line(own).find(|&l| d.within(c, l)) {
                    Some(shared) => shared,
                    None => continue,
                }
            };
            let agree = d.agree(own, c);
            best = best.max(match d.get(shared).level {
                Level::Township | Level::Community => AreaEvidence::Township,
                Level::County => AreaEvidence::County,
                Level::City | Level::Province if agree => AreaEvidence::Unknown,
                Level::City if both_districts(d, own, c) => AreaEvidence::OtherDistrict,
                Level::City => AreaEvidence::OtherCounty,
                _ => AreaEvidence::OtherCity,
            });
        }
        best
    }
}

/// Are both in districts of a city, by GB/T 2260 numbered 01 to 20, and not in counties or county-level cities?
fn both_districts(divisions: &Divisions, a: DivisionId, b: DivisionId) -> bool {
    [a, b].iter().all(|&id| {
        let county = divisions.at_level(id, Level::County);
        county.is_some_and(|c| (1..=20).contains(&(divisions.get(c).code / 1_000_000 % 100)))
    })
}

/// Does a number with 号 follow the name, and nothing more of a door?
pub(super) fn numbered(s: &Scratch, spot: &Spot) -> bool {
    s.sketch
        .streets
        .iter()
        .any(|t| t.end == spot.end && t.number.is_some_and(|n| n.end == s.folded.chars().len()))
}

/// Is the name at `spot` the address, or only near it?
pub(super) fn strength(s: &Scratch, spot: &Spot) -> NameEvidence {
    let text = s.folded.chars();
    let rest = &text[spot.end..];
    let near = is_near(rest);
    let direction = matches!(rest, ['东' | '西' | '南' | '北', next, ..] if next.is_ascii_digit() || *next == '面' || *next == '侧');
    let before = &text[..spot.start];
    let led = matches!(before.last(), Some('近' | '临' | '邻' | '与' | '至'));
    let road = matches!(text[spot.end - 1], '路' | '街' | '巷' | '道' | '弄');
    // 鼓楼-望月广场-…: before a dash and another name it is a quarter.
    let quarter = matches!(rest, ['-', next, ..] if !next.is_ascii() && !is_door_word(&rest[1..]));
    if near || direction || led || road || quarter {
        return NameEvidence::Mentioned;
    }
    // Before a street that has its own number it is a quarter, unless a door follows it.
    let street_after =
        s.sketch.streets.iter().any(|t| (t.is_road || t.number.is_some()) && t.start >= spot.end);
    let door_follows = rest.first().is_some_and(char::is_ascii_digit);
    if street_after && !door_follows || spot.length < 3 && !door_follows && !rest.is_empty() {
        return NameEvidence::Mentioned;
    }
    // 国泰新村南院25幢: the name goes on, so it is another one, or this one with a slip.
    let goes_on = rest.iter().take_while(|c| !c.is_ascii_alphanumeric() && !is_gap(**c)).count();
    let filler = ["小区", "内", "里", "门口", "大院", "院内", "社区", "东门", "南门", "西门", "北门"]
        .iter()
        .any(|w| rest[..goes_on].iter().copied().eq(w.chars()));
    if goes_on > 0 && !filler && !is_door_word(rest) {
        return NameEvidence::Typo;
    }
    NameEvidence::Written
}

/// Does what follows a name say that it is only near: 对面, 东侧?
pub(super) fn is_near(rest: &[char]) -> bool {
    let may_begin = rest.first().is_some_and(|c| one_of!(*c, "对旁附隔北南东西以斜后前向交"));
    may_begin && NEARBY.iter().any(|word| crate::parse::begins(rest, word))
}

/// 东单元, 甲栋
fn is_door_word(rest: &[char]) -> bool {
    matches!(
        rest,
        [
            '东' | '西' | '南' | '北' | '中' | '甲' | '乙' | '丙' | '丁',
            '单' | '楼' | '幢' | '栋' | '座' | '门',
            ..
        ]
    )
}

/// The likeness of two surface texts. Numbers are never alike: with other digits it stays below what decides.
pub(super) fn alike(text: &[char], other: &str) -> f32 {
    let same =
        text.iter().copied().filter(char::is_ascii_digit).eq(other.chars().filter(char::is_ascii_digit));
    let likeness = likeness(text, other);
    if same { likeness } else { likeness.min(ALIKE - 0.01) }
}

/// The share of pairs of neighbouring characters that two texts have in common (Dice).
pub(super) fn likeness(text: &[char], other: &str) -> f32 {
    let pairs = |at: &[char]| (at[0], at[1]);
    let mut shared = 0;
    let mut count = 0;
    let mut last = None;
    for c in other.chars() {
        if let Some(before) = last {
            count += 1;
            shared += usize::from(text.windows(2).any(|w| pairs(w) == (before, c)));
        }
        last = Some(c);
    }
    let total = count + text.len().saturating_sub(1);
    if total == 0 { 0.0 } else { (2 * shared.min(text.len().saturating_sub(1))) as f32 / total as f32 }
}

static HOMES: Words = Words::new(
    "新村 小区 花园 花苑 家园 公寓 苑 园 村 里 坊 庭 府 邸 城 湾 居 寓 都 郡 墅 院 区 期 楼 大厦 广场 宿舍",
);

/// Does a name say by its ending that people live there? The ending is not all of it.
pub(super) fn is_residence(name: &[char]) -> bool {
    name.split_first().is_some_and(|(_, rest)| HOMES.ending(rest) > 0) && !is_business(name)
}

/// A shop, a company, an office: its name says nothing about the compound that it is in.
fn is_business(name: &[char]) -> bool {
    [
        "公司",
        "店",
        "超市",
        "中心",
        "银行",
        "学校",
        "幼儿园",
        "医院",
        "协会",
        "基金会",
        "服务",
        "工作室",
        "餐",
        "馆",
        "厂",
    ]
    .iter()
    .any(|w| contains(name, w))
}

fn score(e: &Evidence) -> f32 {
    let name = match e.name {
        NameEvidence::Given => 0.60,
        NameEvidence::Written => 0.50 + 0.01 * (e.name_length.min(10) as f32),
        NameEvidence::Typo => 0.35,
        NameEvidence::Mentioned => 0.15,
        NameEvidence::None => 0.0,
    };
    let street = match e.street {
        StreetEvidence::Text => 0.35,
        StreetEvidence::Number => 0.32,
        StreetEvidence::NumberTypo => 0.18,
        StreetEvidence::Crossing => 0.30,
        StreetEvidence::Road => 0.08,
        StreetEvidence::None => 0.0,
        StreetEvidence::Conflict => -0.02,
    };
    let area = match e.area {
        AreaEvidence::Township => 0.06,
        AreaEvidence::County => 0.05,
        AreaEvidence::Unknown => 0.03,
        AreaEvidence::OtherCounty | AreaEvidence::OtherDistrict => -0.20,
        AreaEvidence::OtherCity => -1.0,
    };
    let via = if e.via == via::STANDARD { 0.0 } else { -0.01 };
    let other = if e.other_name { -0.30 } else { 0.0 };
    (name + street + area + via + other).clamp(0.0, 1.0)
}
