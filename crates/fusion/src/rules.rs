//! Rules: SQL over one place's row or facts, planned once and run over the touched places of each batch.
//!
//! ```text
//!  pipelines/rules/*.sql ── front: what it is called, its thresholds ── check: is it about one place only?
//!                                                                          │          personal: does it read nothing personal?
//!  touched places ──► Rules::run ──► Hit (the warning holds here, with these numbers)
//! ```

mod check;
mod front;
mod hits;
mod personal;
mod planned;
mod planner;
pub(crate) mod silent;
mod slot;

use yibiao_records::PlaceId;

pub use front::{Evidence, Parameter, Pick, Rule, Shape};
pub use planned::{Rules, Touched};
pub use planner::Reads;

/// A rule holds at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub place: PlaceId,
    pub severity: i64,
    /// The rule's other columns, in their order.
    pub numbers: Vec<(String, serde_json::Value)>,
}

impl Hit {
    pub fn number(&self, column: &str) -> Option<&serde_json::Value> {
        self.numbers.iter().find(|(name, _)| name == column).map(|(_, value)| value)
    }
}

/// A number, text or date as a sentence has it.
pub(crate) fn in_words(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "未知".into(),
        serde_json::Value::Bool(true) => "是".into(),
        serde_json::Value::Bool(false) => "否".into(),
        other => other.to_string(),
    }
}

/// The names in braces of a message: `{address}`.
pub(crate) fn placeholders(message: &str) -> impl Iterator<Item = &str> {
    message.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name)
}
