//! One entry of a fused table's change log.

use serde::{Deserialize, Serialize};

use crate::{PlaceId, Value};

/// What happened to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Insert,
    Update,
    Delete,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }

    pub fn named(text: &str) -> Option<Self> {
        [Operation::Insert, Operation::Update, Operation::Delete]
            .into_iter()
            .find(|operation| operation.as_str() == text)
    }
}

/// A row's new content (its last content when it was deleted), at one position of one shard's change log.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// From 1, dense within a shard, over all its tables.
    pub sequence: u64,
    /// The fused table, such as `places`.
    pub table: String,
    pub operation: Operation,
    pub place: PlaceId,
    /// When the fusion shard recorded it, ms since the epoch, UTC.
    pub recorded_at_ms: i64,
    /// In the order of the table's columns.
    pub row: Vec<Value>,
}
