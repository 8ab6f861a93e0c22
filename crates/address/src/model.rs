//! What goes in and what a place is: levels, life cycle, standard addresses, changes of names.

use serde::{Deserialize, Serialize};

/// How deep a place or an answer lies. Ordered from the province down; `Unknown` is above all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Level {
    #[default]
    Unknown = 0,
    Province = 1,
    City = 2,
    County = 3,
    Township = 4,
    Community = 5,
    Compound = 6,
    Building = 7,
    Unit = 8,
    Dwelling = 9,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Unknown => "unknown",
            Level::Province => "province",
            Level::City => "city",
            Level::County => "county",
            Level::Township => "township",
            Level::Community => "community",
            Level::Compound => "compound",
            Level::Building => "building",
            Level::Unit => "unit",
            Level::Dwelling => "dwelling",
        }
    }

    pub(crate) fn from_u8(n: u8) -> Level {
        match n {
            1 => Level::Province,
            2 => Level::City,
            3 => Level::County,
            4 => Level::Township,
            5 => Level::Community,
            6 => Level::Compound,
            7 => Level::Building,
            8 => Level::Unit,
            9 => Level::Dwelling,
            _ => Level::Unknown,
        }
    }

    /// The level by its English or Chinese name (小区, 楼栋, 单元, 户室 …).
    pub fn named(name: &str) -> Option<Level> {
        Some(match name.trim() {
            "province" | "省" => Level::Province,
            "city" | "市" => Level::City,
            "county" | "区县" => Level::County,
            "township" | "街道" => Level::Township,
            "community" | "社区" => Level::Community,
            "compound" | "小区" | "院落" => Level::Compound,
            "building" | "楼栋" | "楼幢" => Level::Building,
            "unit" | "单元" => Level::Unit,
            "dwelling" | "户室" | "房间" => Level::Dwelling,
            _ => return None,
        })
    }
}

/// The life cycle of a standard address. Every status is recognised; the answer carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Status {
    #[default]
    InUse = 0,
    Stopped = 1,
    NotYetUsed = 2,
    Withdrawn = 3,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::InUse => "in_use",
            Status::Stopped => "stopped",
            Status::NotYetUsed => "not_yet_used",
            Status::Withdrawn => "withdrawn",
        }
    }

    pub(crate) fn from_u8(n: u8) -> Status {
        match n {
            1 => Status::Stopped,
            2 => Status::NotYetUsed,
            3 => Status::Withdrawn,
            _ => Status::InUse,
        }
    }

    /// The status by its English or Chinese name (在用, 停用, 未启用, 注销).
    pub fn named(name: &str) -> Option<Status> {
        Some(match name.trim() {
            "in_use" | "在用" | "使用" => Status::InUse,
            "stopped" | "停用" => Status::Stopped,
            "not_yet_used" | "未启用" => Status::NotYetUsed,
            "withdrawn" | "注销" => Status::Withdrawn,
            _ => return None,
        })
    }
}

/// One row of standard addresses. Whatever is not known stays empty; `address` alone is enough.
///
/// `building`, `unit` and `room` are as written (`25幢`, `2单元`, `402室`); the builder normalises them.
/// Several rows of one `place` are several surface forms of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StandardAddress {
    /// A stable id, from 1 up to (not including) 2^62: bit 62 marks provisional places.
    pub place: u64,
    /// The place that this one lies in. Where it is None the builder finds it by the columns.
    pub parent: Option<u64>,
    pub level: Level,
    pub city: String,
    pub county: String,
    pub township: String,
    pub community: String,
    /// 6 to 12 digits, or empty. Wins over the names of divisions.
    pub division_code: String,
    pub road: String,
    pub number: String,
    pub compound: String,
    pub building: String,
    pub unit: String,
    pub room: String,
    pub aliases: Vec<String>,
    pub status: Status,
    /// Degrees, any one datum for all rows. Only used to tell duplicates from namesakes.
    pub lng_lat: Option<(f64, f64)>,
    /// The whole address as free text. It may be all that there is.
    pub address: String,
    /// The name of the place where it is given apart from the address.
    pub name: Option<String>,
}

/// What kind of name a [`NameChange`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameCategory {
    Road,
    Compound,
}

/// A road or compound that has borne other names, or that bears its name no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameChange {
    pub category: NameCategory,
    pub name: String,
    pub former: Vec<String>,
    pub county: String,
    pub township: String,
    /// The name itself was withdrawn: the places keep it as a name of the past.
    pub withdrawn: bool,
}
