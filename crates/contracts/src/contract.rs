//! A feed's contract, checked.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use chrono::NaiveDate;
use prost_reflect::MessageDescriptor;
use yibiao_records::{ColumnType, FactKinds, FeedId, Value};

use crate::{Decoder, Door, Error, PseudonymKeys, date::Forms};

/// Everything that is agreed about one feed.
#[derive(Debug, Clone)]
pub struct Contract {
    pub feed: FeedId,
    /// The contract's own version, such as `1.2.0`.
    pub version: String,
    /// In the users' language.
    pub title: String,
    pub ingest: Ingest,
    /// None for a feed whose records say nothing about where.
    pub place: Option<PlaceMapping>,
    pub fact: FactMapping,
    pub privacy: Privacy,
    pub legal: Legal,
    /// In the order of the contract.
    pub fields: Vec<Field>,
    /// Where the contract was read from.
    pub file: PathBuf,
    /// Of a protobuf feed.
    pub message: Option<MessageDescriptor>,
}

impl Contract {
    /// What stands at the connector. Fields under `privacy.pseudonymise` are dropped: a door that has the keys
    /// is made by [`Contract::door_with_keys`].
    pub fn door(&self) -> Door {
        Door::new(self, None)
    }

    /// A door that replaces fields under `privacy.pseudonymise` by keyed pseudonyms.
    pub fn door_with_keys(&self, keys: &PseudonymKeys) -> Result<Door, Error> {
        for field in &self.privacy.pseudonymise {
            if keys.get(&field.purpose).is_none() {
                return Err(Error::PseudonymKey {
                    feed: self.feed.to_string(),
                    purpose: field.purpose.clone(),
                });
            }
        }
        Ok(Door::new(self, Some(keys)))
    }

    /// What stands at the normaliser.
    pub fn decoder(&self, kinds: &FactKinds) -> Result<Decoder, Error> {
        Decoder::new(self, kinds)
    }

    /// The index of a field by its exact name.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The primary key's fields in their order.
    pub fn key_fields(&self) -> Vec<usize> {
        let mut fields: Vec<usize> =
            (0..self.fields.len()).filter(|&index| self.fields[index].primary_key.is_some()).collect();
        fields.sort_by_key(|&index| self.fields[index].primary_key);
        fields
    }
}

/// How records arrive: `yibiao.ingest`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingest {
    pub form: Form,
    pub encoding: Encoding,
    pub unknown: Unknown,
    /// Bytes of one record as it arrives.
    pub max_record_bytes: usize,
    /// Bytes of one field, decoded.
    pub max_field_bytes: usize,
    /// Texts that mean nothing, beside the empty one: `-`, `无`.
    pub nulls: Vec<String>,
    /// Minutes east of Greenwich at which the source writes times without a zone; 480 for Asia/Shanghai.
    pub zone_minutes: i32,
    /// For sources that are asked for what changed.
    pub cursor: Option<CursorFields>,
    /// How late a record may come, for watermarks.
    pub lateness: Duration,
    /// Files that hold all records that there are: what is missing in one is there no longer.
    pub full_dump: Option<FullDump>,
}

/// Which files are full dumps, and what may follow from the end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullDump {
    /// A name with `*` and `?`; files of other names hold changes only. None: all files.
    pub files: Option<String>,
    /// Where more than this share of what stands is missing, the dump is taken for a broken one: 0 to 100.
    pub gone_max_percent: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    Csv(Dialect),
    /// One JSON object a record: JSON lines, HTTP items, rows of a database.
    Json,
    /// Rows of a workbook, rendered as JSON objects of header to cell.
    Xlsx(Sheet),
    Protobuf(Schema),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// An ASCII byte that is no part of a longer character in the encoding.
    pub delimiter: u8,
    pub quote: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    pub name: String,
    /// From 1.
    pub header_row: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    pub file: PathBuf,
    /// The full name, such as `yibiao.grid.v1.HazardReport`.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Gbk,
    Gb18030,
}

impl Encoding {
    pub const ALL: [Encoding; 3] = [Encoding::Utf8, Encoding::Gbk, Encoding::Gb18030];

    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Gbk => "gbk",
            Encoding::Gb18030 => "gb18030",
        }
    }
}

/// What happens to a record with a column that the contract does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    Reject,
    Ignore,
}

/// The fields by which a source is asked for what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorFields {
    pub updated: String,
    /// Breaks ties of `updated`.
    pub key: String,
}

/// Where a record's place is said: `yibiao.place`. Names are names of fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlaceMapping {
    /// Joined without anything between them.
    pub address: Vec<String>,
    /// A record with an empty address is rejected.
    pub address_required: bool,
    pub name: Option<String>,
    pub external_id: Option<String>,
    pub city: Option<String>,
    /// Where the feed's records lie if their addresses do not say so.
    pub area: Area,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Area {
    pub province: String,
    pub city: Option<String>,
    pub county: Option<String>,
}

/// What a record becomes: `yibiao.fact`.
#[derive(Debug, Clone, PartialEq)]
pub struct FactMapping {
    pub kind: String,
    /// In the order of the kind's columns.
    pub columns: Vec<ColumnMapping>,
    /// Fields with a date or time; the first that is filled counts.
    pub valid_from: Vec<String>,
    pub valid_to: Option<String>,
    pub withdrawn: Option<Withdrawn>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnMapping {
    pub column: String,
    pub column_type: ColumnType,
    pub source: ColumnSource,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ColumnSource {
    Field {
        name: String,
        /// From folded source texts to the standard's codes; empty: as it is.
        map: BTreeMap<String, String>,
        otherwise: Otherwise,
    },
    Constant(Value),
    /// The feed does not know it, and says so.
    Absent,
}

/// What becomes of a value that is not in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    Reject,
    Keep,
    Null,
}

/// The record says of itself that it holds no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    pub field: String,
    /// Folded texts.
    pub when: Vec<String>,
}

/// What becomes of what is about persons: `yibiao.privacy`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Privacy {
    /// Taken out before anything is stored.
    pub drop: Vec<String>,
    /// Replaced by keyed pseudonyms before anything is stored.
    pub pseudonymise: Vec<Pseudonymised>,
    /// Kept, but labelled: only into columns that are personal and never leave.
    pub restrict: Vec<String>,
    /// Looks personal and is not, with the reason.
    pub not_personal: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pseudonymised {
    pub field: String,
    /// Pseudonyms of different purposes cannot be joined.
    pub purpose: String,
}

/// What the feed may be used for: `yibiao.legal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legal {
    /// The regulation, agreement or catalogue number that allows it.
    pub basis: String,
    pub purposes: Vec<String>,
    /// The last day.
    pub until: NaiveDate,
}

/// One column of the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub title: String,
    pub field_type: ColumnType,
    pub required: bool,
    /// The position within the primary key, from 1.
    pub primary_key: Option<u32>,
    /// Inclusive, in thousandths.
    pub minimum: Option<i64>,
    /// Inclusive, in thousandths.
    pub maximum: Option<i64>,
    /// Characters.
    pub max_length: Option<usize>,
    /// Of dates and timestamps.
    pub forms: Forms,
    /// Not in every file; where a CSV file or a record lacks it, it is empty.
    pub optional_column: bool,
}
