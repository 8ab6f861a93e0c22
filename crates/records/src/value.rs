//! One cell of a record, a fact or a row.

use std::fmt;

use chrono::{DateTime, NaiveDate};
use serde::Serialize;

/// A cell. Decimals are whole thousandths, so that sums are exact whatever the order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    /// Thousandths.
    Decimal(i64),
    Text(String),
    /// Days since 1970-01-01.
    Date(i32),
    /// Milliseconds since the epoch, UTC.
    Timestamp(i64),
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whole number of an int, thousandths of a decimal.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(n) | Value::Decimal(n) => Some(*n),
            _ => None,
        }
    }
}

/// As a person reads it: `1.5`, `2025-11-03`, `2025-11-03T08:00:00Z`; null is empty.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => Ok(()),
            Value::Bool(v) => v.fmt(f),
            Value::Int(v) => v.fmt(f),
            Value::Decimal(v) => {
                let sign = if *v < 0 { "-" } else { "" };
                let (whole, part) = (v.unsigned_abs() / 1000, v.unsigned_abs() % 1000);
                if part == 0 {
                    return write!(f, "{sign}{whole}");
                }
                let part = format!("{part:03}");
                write!(f, "{sign}{whole}.{}", part.trim_end_matches('0'))
            }
            Value::Text(v) => f.write_str(v),
            Value::Date(v) => match NaiveDate::from_epoch_days(*v) {
                Some(date) => date.fmt(f),
                None => write!(f, "day {v}"),
            },
            Value::Timestamp(v) => match DateTime::from_timestamp_millis(*v) {
                Some(time) => f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
                None => write!(f, "{v} ms"),
            },
        }
    }
}

/// JSON: numbers for ints and decimals, text for dates and times.
impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => s.serialize_none(),
            Value::Bool(v) => s.serialize_bool(*v),
            Value::Int(v) => s.serialize_i64(*v),
            Value::Decimal(v) if v % 1000 == 0 => s.serialize_i64(v / 1000),
            Value::Decimal(v) => s.serialize_f64(*v as f64 / 1000.0),
            Value::Text(v) => s.serialize_str(v),
            Value::Date(_) | Value::Timestamp(_) => s.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_read_as_people_write_them() {
        for (value, text) in [
            (Value::Decimal(1500), "1.5"),
            (Value::Decimal(-50), "-0.05"),
            (Value::Decimal(12_000), "12"),
            (Value::Date(20_395), "2025-11-03"),
            (Value::Timestamp(0), "1970-01-01T00:00:00Z"),
            (Value::Null, ""),
        ] {
            assert_eq!(value.to_string(), text);
        }
        assert_eq!(serde_json::to_string(&Value::Decimal(1250)).unwrap(), "1.25");
    }
}
