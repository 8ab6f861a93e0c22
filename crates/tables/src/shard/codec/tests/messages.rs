//! The messages of the stored bytes.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct FactMessage {
    #[prost(string, tag = "1")]
    pub level: String,
    #[prost(bool, tag = "2")]
    pub provisional: bool,
    #[prost(string, tag = "3")]
    pub division_code: String,
    #[prost(sint64, tag = "4")]
    pub valid_from_ms: i64,
    #[prost(sint64, optional, tag = "5")]
    pub valid_to_ms: Option<i64>,
    #[prost(sint64, tag = "6")]
    pub recorded_at_ms: i64,
    #[prost(uint32, tag = "7")]
    pub feed: u32,
    #[prost(string, tag = "8")]
    pub source_key: String,
    #[prost(uint32, tag = "9")]
    pub raw_topic: u32,
    #[prost(int32, tag = "10")]
    pub raw_partition: i32,
    #[prost(int64, tag = "11")]
    pub raw_offset: i64,
    #[prost(int32, tag = "12")]
    pub raw_index: i32,
    #[prost(uint32, tag = "13")]
    pub match_reason: u32,
    #[prost(float, tag = "14")]
    pub confidence: f32,
    #[prost(uint32, tag = "15")]
    pub contract_version: u32,
    #[prost(uint32, tag = "16")]
    pub gazetteer_version: u32,
    /// A `Row`.
    #[prost(bytes = "vec", tag = "17")]
    pub payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ChangeMessage {
    #[prost(uint32, tag = "1")]
    pub table: u32,
    #[prost(uint32, tag = "2")]
    pub operation: u32,
    #[prost(int64, tag = "3")]
    pub place: i64,
    #[prost(sint64, tag = "4")]
    pub recorded_at_ms: i64,
    /// A `Row`; empty where the change is one of a fact.
    #[prost(bytes = "vec", tag = "5")]
    pub row: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    pub fact: Option<SaidMessage>,
}

/// What was said of a fact: its row is made when the change is read.
#[derive(Clone, PartialEq, Message)]
pub struct SaidMessage {
    /// As [`fact_key`].
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub retracted: bool,
    /// A [`FactMessage`].
    #[prost(bytes = "vec", tag = "3")]
    pub fact: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PlaceMessage {
    /// A `Row`.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub row: Option<Vec<u8>>,
    #[prost(uint64, tag = "2")]
    pub facts: u64,
    #[prost(message, repeated, tag = "3")]
    pub origins: Vec<OriginMessage>,
    #[prost(message, repeated, tag = "4")]
    pub series: Vec<SeriesMessage>,
    #[prost(message, repeated, tag = "5")]
    pub alarms: Vec<AlarmMessage>,
    /// By merged column: 0 where no fact won, else one more than the number of its origin.
    #[prost(uint32, repeated, tag = "6")]
    pub winners: Vec<u32>,
    /// By merged column.
    #[prost(uint32, repeated, tag = "7")]
    pub ranks: Vec<u32>,
    #[prost(message, repeated, tag = "8")]
    pub silences: Vec<SilenceMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OriginMessage {
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub fact: Vec<u8>,
    #[prost(sint64, tag = "3")]
    pub valid_from_ms: i64,
    #[prost(sint64, tag = "4")]
    pub recorded_at_ms: i64,
    #[prost(uint32, tag = "5")]
    pub feed: u32,
    #[prost(string, tag = "6")]
    pub source_key: String,
    #[prost(uint32, tag = "7")]
    pub raw_topic: u32,
    #[prost(int32, tag = "8")]
    pub raw_partition: i32,
    #[prost(int64, tag = "9")]
    pub raw_offset: i64,
    #[prost(int32, tag = "10")]
    pub raw_index: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct SeriesMessage {
    #[prost(sint32, tag = "1")]
    pub floor_day: i32,
    #[prost(uint64, tag = "2")]
    pub facts_before: u64,
    /// Four columns of equal length: packed varints, days as differences.
    #[prost(uint32, repeated, tag = "3")]
    pub feeds: Vec<u32>,
    #[prost(sint32, repeated, tag = "4")]
    pub days: Vec<i32>,
    #[prost(uint64, repeated, tag = "5")]
    pub facts: Vec<u64>,
    #[prost(sint64, repeated, tag = "6")]
    pub sums: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AlarmMessage {
    #[prost(uint32, tag = "1")]
    pub rule: u32,
    #[prost(uint32, tag = "2")]
    pub ordinal: u32,
    #[prost(bool, tag = "3")]
    pub firing: bool,
    #[prost(sint64, tag = "4")]
    pub severity: i64,
    #[prost(string, tag = "5")]
    pub update_key: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct SilenceMessage {
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// Two columns of equal length.
    #[prost(uint32, repeated, tag = "2")]
    pub feeds: Vec<u32>,
    #[prost(sint32, repeated, tag = "3")]
    pub days: Vec<i32>,
    #[prost(message, optional, tag = "4")]
    pub waiting: Option<DueMessage>,
    #[prost(message, optional, tag = "5")]
    pub passed: Option<DueMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DueMessage {
    #[prost(uint32, tag = "1")]
    pub feed: u32,
    #[prost(sint32, tag = "2")]
    pub day: i32,
}
