//! Questions and answers.

use crate::model::{Level, Status};
use arrayvec::ArrayVec;
use serde::{Serialize, Serializer};

/// One question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    pub text: &'a str,
    /// The area that the asking feed covers: a city's or county's name, or a code of 2 to 12 digits.
    pub city: Option<&'a str>,
    /// The name of the compound, where the record gives it apart from the address.
    pub name: Option<&'a str>,
}

/// Why an answer is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Street, name and door (as far as given) are as in the standard address.
    Exact,
    /// By another name or address that the standard addresses list.
    Alias,
    /// By a name of the past: of the division, the road or the compound.
    Renamed,
    /// By the compound's name; the text gives no street, or one that the standard addresses do not confirm.
    CompoundOnly,
    /// By road and number; the text gives no name that is known.
    NumberOnly,
    /// By a description that only this place has: a crossing, what it stands beside.
    Described,
    /// A level (mostly the unit) was left out, and only one place fits all the same.
    LevelLeftOut,
    /// The text goes deeper than the standard addresses do: the answer is what holds it.
    Coarser,
    /// One character of a name differs; the rest agrees.
    Typo,
    /// Several places fit equally. No place is answered; the candidates are listed.
    Ambiguous,
    /// The compound is known and has no such building: a number is never guessed.
    NoSuchBuilding,
    /// Nothing known is named clearly enough.
    NotFound,
    /// The text names a province that the gazetteer does not cover.
    OtherProvince,
    /// The text names a city or county of a covered province that the gazetteer does not cover.
    OutsideArea,
    /// There is no text.
    Empty,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Exact => "exact",
            Reason::Alias => "alias",
            Reason::Renamed => "renamed",
            Reason::CompoundOnly => "compound_only",
            Reason::NumberOnly => "number_only",
            Reason::Described => "described",
            Reason::LevelLeftOut => "level_left_out",
            Reason::Coarser => "coarser",
            Reason::Typo => "typo",
            Reason::Ambiguous => "ambiguous",
            Reason::NoSuchBuilding => "no_such_building",
            Reason::NotFound => "not_found",
            Reason::OtherProvince => "other_province",
            Reason::OutsideArea => "outside_area",
            Reason::Empty => "empty",
        }
    }

    pub const ALL: [Reason; 15] = [
        Reason::Exact,
        Reason::Alias,
        Reason::Renamed,
        Reason::CompoundOnly,
        Reason::NumberOnly,
        Reason::Described,
        Reason::LevelLeftOut,
        Reason::Coarser,
        Reason::Typo,
        Reason::Ambiguous,
        Reason::NoSuchBuilding,
        Reason::NotFound,
        Reason::OtherProvince,
        Reason::OutsideArea,
        Reason::Empty,
    ];

    /// What it means, for the people who repair addresses.
    pub fn explanation(self, language: Language) -> &'static str {
        let (chinese, english) = match self {
            Reason::Exact => ("与标准地址一致", "as in the standard address"),
            Reason::Alias => ("按标准地址登记的别名命中", "by an alias that the standard addresses list"),
            Reason::Renamed => {
                ("按曾用名（区划、道路或小区）命中", "by a former name of the division, road or compound")
            }
            Reason::CompoundOnly => {
                ("仅凭小区名称命中，街路门牌缺失或未能印证", "by the compound's name alone")
            }
            Reason::NumberOnly => ("仅凭街路门牌命中", "by road and number alone"),
            Reason::Described => (
                "按方位描述命中（路口、相邻处所），仅此一处相符",
                "by a description that only this place has",
            ),
            Reason::LevelLeftOut => {
                ("原文缺少一级（多为单元），但只有一处相符", "a level was left out, only one place fits")
            }
            Reason::Coarser => {
                ("原文比标准地址更细，答到上一级", "the text goes deeper than the standard addresses")
            }
            Reason::Typo => ("名称有一字之差，其余相符", "one character differs, the rest agrees"),
            Reason::Ambiguous => {
                ("多处同样相符，不作猜测，见候选", "several places fit equally, see the candidates")
            }
            Reason::NoSuchBuilding => {
                ("小区存在，但标准地址中没有这一楼栋", "the compound is known, the building is not")
            }
            Reason::NotFound => ("没有找到相符的标准地址", "no standard address is named clearly enough"),
            Reason::OtherProvince => ("外省地址", "an address of another province"),
            Reason::OutsideArea => {
                ("本省内，但不在本地名库覆盖范围", "in the province, outside the gazetteer's area")
            }
            Reason::Empty => ("地址为空", "there is no text"),
        };
        if language == Language::Chinese { chinese } else { english }
    }
}

/// The language of explanations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    #[default]
    Chinese,
    English,
}

/// A place that was considered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate<Id = u64> {
    pub place_id: Id,
    pub level: Level,
    /// 0 to 1, comparable within one answer.
    pub score: f32,
}

/// What a text was resolved to. Serialises as `yibiao address resolve` writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer<Id = u64> {
    /// The place, or None: see `reason` and `candidates`.
    #[serde(rename = "place_id")]
    pub place: Option<Id>,
    pub level: Level,
    /// The place is no standard address: a room that its building is not known to have.
    pub provisional: bool,
    pub reason: Reason,
    /// 0 to 1. Of answers with confidence c, about the share c is right.
    pub confidence: f32,
    /// The deepest place that is certain where the place itself is not (the building of an ambiguous room).
    pub within: Option<Id>,
    /// The life cycle of the place that was found.
    pub status: Option<Status>,
    /// 12 digits, serialised as text: of the place, or of what the text says about its area.
    #[serde(serialize_with = "code")]
    pub division_code: Option<u64>,
    /// The best few, best first; the answer itself is among them.
    #[serde(serialize_with = "list")]
    pub candidates: ArrayVec<Candidate<Id>, CANDIDATES_MAX>,
}

/// An answer lists at most so many.
pub const CANDIDATES_MAX: usize = 5;

fn code<S: Serializer>(code: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match code {
        Some(code) => serializer.collect_str(&format_args!("{code:012}")),
        None => serializer.serialize_none(),
    }
}

fn list<S: Serializer, Id: Serialize>(
    candidates: &ArrayVec<Candidate<Id>, CANDIDATES_MAX>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(candidates)
}

impl Answer {
    pub(crate) fn none(reason: Reason) -> Self {
        Self {
            place: None,
            level: Level::Unknown,
            provisional: false,
            reason,
            confidence: 0.0,
            within: None,
            status: None,
            division_code: None,
            candidates: ArrayVec::new(),
        }
    }

    /// The same answer with the ids that the caller's own data uses.
    pub fn map_ids<T>(self, mut id: impl FnMut(u64) -> T) -> Answer<T> {
        Answer {
            place: self.place.map(&mut id),
            within: self.within.map(&mut id),
            candidates: self
                .candidates
                .into_iter()
                .map(|c| Candidate { place_id: id(c.place_id), level: c.level, score: c.score })
                .collect(),
            level: self.level,
            provisional: self.provisional,
            reason: self.reason,
            confidence: self.confidence,
            status: self.status,
            division_code: self.division_code,
        }
    }
}
