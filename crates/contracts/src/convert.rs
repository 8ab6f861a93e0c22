//! A source's cell to a typed value, by its field in the contract.

use std::borrow::Cow;

use yibiao_records::{ColumnType, Reason, Value};

use crate::{
    contract::{Field, Ingest},
    date::{self, DateError, Form, midnight_ms},
    decode::Reject,
    number::{self, NumberError},
    row::Cell,
    text::{excerpt, fold, trim},
};

/// A value that borrows the record's text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Typed<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Decimal(i64),
    Text(Cow<'a, str>),
    Date(i32),
    Timestamp(i64),
}

impl Typed<'_> {
    pub fn is_null(&self) -> bool {
        matches!(self, Typed::Null)
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Typed::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a column of `column_type` holds it; the contract was checked to fit.
    pub fn to_value(&self, column_type: ColumnType, zone_minutes: i32) -> Value {
        match (self, column_type) {
            (Typed::Int(value), ColumnType::Decimal) => Value::Decimal(value.saturating_mul(1000)),
            (Typed::Date(days), ColumnType::Timestamp) => Value::Timestamp(midnight_ms(*days, zone_minutes)),
            (Typed::Timestamp(ms), ColumnType::Date) => {
                Value::Date((ms + i64::from(zone_minutes) * 60_000).div_euclid(86_400_000) as i32)
            }
            (Typed::Null, _) => Value::Null,
            (Typed::Bool(value), _) => Value::Bool(*value),
            (Typed::Int(value), _) => Value::Int(*value),
            (Typed::Decimal(value), _) => Value::Decimal(*value),
            (Typed::Text(text), _) => Value::Text(text.as_ref().to_owned()),
            (Typed::Date(days), _) => Value::Date(*days),
            (Typed::Timestamp(ms), _) => Value::Timestamp(*ms),
        }
    }

    /// Milliseconds of a date or timestamp.
    pub fn ms(&self, zone_minutes: i32) -> Option<i64> {
        match self {
            Typed::Date(days) => Some(midnight_ms(*days, zone_minutes)),
            Typed::Timestamp(ms) => Some(*ms),
            _ => None,
        }
    }
}

/// Decodes, checks type and range. Null where there is nothing; whether something is needed is decided by the caller.
pub(crate) fn convert<'a>(field: &Field, cell: Cell<'a>, ingest: &Ingest) -> Result<Typed<'a>, Reject> {
    let reject = |reason, detail: String| Err(Reject::new(reason, Some(field.name.clone()), detail));
    if let Cell::Text(text) | Cell::Number(text) = &cell
        && text.len() > ingest.max_field_bytes
    {
        return reject(
            Reason::TooLarge,
            format!("{} bytes, at most {} are allowed", text.len(), ingest.max_field_bytes),
        );
    }
    let cell = match cell {
        Cell::Missing | Cell::Null => return Ok(Typed::Null),
        Cell::Text(text) if is_null(&text, ingest) => return Ok(Typed::Null),
        Cell::Nested => {
            return reject(
                Reason::BadValue,
                "it is an object, a list or bytes, expected a single value".into(),
            );
        }
        cell => cell,
    };
    match field.field_type {
        ColumnType::Text => text(field, cell),
        ColumnType::Int => {
            let value = match &cell {
                Cell::Int(value) => Ok(*value),
                Cell::Text(text) | Cell::Number(text) => number::whole(&fold(text)),
                _ => Err(NumberError::Unreadable),
            };
            match value {
                Ok(value) => in_range(field, value.saturating_mul(1000)).map(|_| Typed::Int(value)),
                Err(error) => reject(Reason::BadNumber, number_detail(error, &cell)),
            }
        }
        ColumnType::Decimal => {
            let value = match &cell {
                Cell::Int(value) => value.checked_mul(1000).ok_or(NumberError::TooBig),
                Cell::Text(text) | Cell::Number(text) => number::thousandths(&fold(text)),
                _ => Err(NumberError::Unreadable),
            };
            match value {
                Ok(value) => in_range(field, value).map(Typed::Decimal),
                Err(error) => reject(Reason::BadNumber, number_detail(error, &cell)),
            }
        }
        ColumnType::Bool => match boolean(&cell) {
            Some(value) => Ok(Typed::Bool(value)),
            None => reject(Reason::BadValue, format!("{} is neither true nor false", shown(&cell))),
        },
        ColumnType::Date | ColumnType::Timestamp => moment(field, &cell, ingest),
    }
}

fn is_null(text: &str, ingest: &Ingest) -> bool {
    let trimmed = trim(text);
    trimmed.is_empty() || (!ingest.nulls.is_empty() && ingest.nulls.iter().any(|null| *null == fold(trimmed)))
}

fn text<'a>(field: &Field, cell: Cell<'a>) -> Result<Typed<'a>, Reject> {
    let reject = |reason, detail: String| Err(Reject::new(reason, Some(field.name.clone()), detail));
    let text = match cell {
        Cell::Text(text) | Cell::Number(text) => text,
        Cell::Int(value) => Cow::Owned(value.to_string()),
        other => return reject(Reason::BadValue, format!("{} is no text", shown(&other))),
    };
    // Keys are compared, so they are folded; other text stays as the source wrote it.
    let clean = if field.primary_key.is_some() {
        narrowed(text, fold)
    } else {
        narrowed(text, |text| Cow::Borrowed(trim(text)))
    };
    if clean.contains('\0') {
        return reject(Reason::BadValue, "it holds a zero byte".into());
    }
    if let Some(most) = field.max_length
        && clean.len() > most
        && clean.chars().nth(most).is_some()
    {
        return reject(
            Reason::TooLarge,
            format!("{} characters, at most {most} are allowed", clean.chars().count()),
        );
    }
    Ok(Typed::Text(clean))
}

/// Applies a function that narrows text, without a copy where the text is borrowed.
fn narrowed<'a>(text: Cow<'a, str>, narrow: impl for<'t> Fn(&'t str) -> Cow<'t, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => narrow(text),
        Cow::Owned(text) => Cow::Owned(narrow(&text).into_owned()),
    }
}

fn in_range(field: &Field, thousandths: i64) -> Result<i64, Reject> {
    let below = field.minimum.is_some_and(|minimum| thousandths < minimum);
    let above = field.maximum.is_some_and(|maximum| thousandths > maximum);
    if !below && !above {
        return Ok(thousandths);
    }
    let bound =
        |bound: Option<i64>| bound.map_or_else(|| "…".to_owned(), |bound| Value::Decimal(bound).to_string());
    Err(Reject::new(
        Reason::OutOfRange,
        Some(field.name.clone()),
        format!(
            "{} is outside {} to {}",
            Value::Decimal(thousandths),
            bound(field.minimum),
            bound(field.maximum)
        ),
    ))
}

fn boolean(cell: &Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Bool(value) => Some(*value),
        Cell::Int(value @ (0 | 1)) => Some(*value == 1),
        Cell::Text(text) | Cell::Number(text) => match fold(text).to_ascii_lowercase().as_str() {
            "是" | "true" | "t" | "yes" | "y" | "1" => Some(true),
            "否" | "false" | "f" | "no" | "n" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// 1800 to 2200: what lies outside is a wrong unit, not a time.
const EPOCH_MS: std::ops::Range<i64> = -5_364_662_400_000..7_258_118_400_000;

fn moment<'a>(field: &Field, cell: &Cell<'_>, ingest: &Ingest) -> Result<Typed<'a>, Reject> {
    let zone = ingest.zone_minutes;
    let reject = |detail: String| Err(Reject::new(Reason::BadDate, Some(field.name.clone()), detail));
    let parsed = match cell {
        Cell::Int(ms) if field.forms.has(Form::EpochMillis) => {
            if !EPOCH_MS.contains(ms) {
                return reject(format!("{ms} is no time in milliseconds since 1970"));
            }
            return Ok(match field.field_type {
                ColumnType::Date => {
                    Typed::Date((ms + i64::from(zone) * 60_000).div_euclid(86_400_000) as i32)
                }
                _ => Typed::Timestamp(*ms),
            });
        }
        Cell::Text(text) | Cell::Number(text) => date::parse(&fold(text), field.forms),
        _ => Err(DateError::Unreadable),
    };
    match parsed {
        Ok(moment) if field.field_type == ColumnType::Date => Ok(Typed::Date(moment.to_days(zone))),
        Ok(moment) => Ok(Typed::Timestamp(moment.to_ms(zone))),
        Err(DateError::Impossible) => reject(format!("there is no such day or time as {}", shown(cell))),
        Err(DateError::Unreadable) => {
            reject(format!("{} is in none of the forms {}", shown(cell), field.forms.names().join(", ")))
        }
    }
}

fn number_detail(error: NumberError, cell: &Cell<'_>) -> String {
    match error {
        NumberError::Unreadable => format!("{} is no number", shown(cell)),
        NumberError::NotWhole => format!("{} is not a whole number", shown(cell)),
        NumberError::TooBig => format!("{} is too large to be kept exactly", shown(cell)),
    }
}

fn shown(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Text(text) | Cell::Number(text) => format!("'{}'", excerpt(text)),
        Cell::Int(value) => value.to_string(),
        Cell::Bool(value) => value.to_string(),
        Cell::Missing | Cell::Null => "nothing".into(),
        Cell::Nested => "an object or list".into(),
    }
}
