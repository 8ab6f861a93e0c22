//! The text by which a source record is known: the door keys raw topics by it, the decoder names facts by it.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_128;
use yibiao_records::Value;

use crate::{
    contract::{Field, Ingest},
    convert::{Typed, convert},
    row::Cell,
};

/// Between the parts of a key of several fields.
pub const KEY_SEPARATOR: char = '\u{1f}';

/// Adds one part. Typed, so that `2025/11/3` and `20251103` are one record's key. False where there is none.
pub(crate) fn push_part(key: &mut String, typed: &Typed<'_>) -> bool {
    if !key.is_empty() {
        key.push(KEY_SEPARATOR);
    }
    let written = match typed {
        Typed::Null => return false,
        Typed::Text(text) => {
            key.push_str(text);
            Ok(())
        }
        Typed::Bool(value) => write!(key, "{value}"),
        Typed::Int(value) => write!(key, "{value}"),
        Typed::Decimal(value) => write!(key, "{}", Value::Decimal(*value)),
        Typed::Date(value) => write!(key, "{}", Value::Date(*value)),
        Typed::Timestamp(value) => write!(key, "{}", Value::Timestamp(*value)),
    };
    written.is_ok()
}

/// The key from the cells of the key's fields. A part that cannot be read as its type is taken as text, so
/// that a repaired version of the record often has the same key; None where a part is empty.
pub(crate) fn of_cells<'a>(
    fields: &[Field],
    cells: impl Iterator<Item = (usize, Cell<'a>)>,
    ingest: &Ingest,
) -> Option<String> {
    let mut key = String::with_capacity(32);
    for (index, cell) in cells {
        let text = match &cell {
            Cell::Text(text) | Cell::Number(text) => Some(text.clone()),
            _ => None,
        };
        let typed = match convert(&fields[index], cell, ingest) {
            Ok(typed) => typed,
            Err(_) => {
                Typed::Text(crate::text::fold(&text.filter(|text| text.len() <= 256)?).into_owned().into())
            }
        };
        if !push_part(&mut key, &typed) {
            return None;
        }
    }
    Some(key)
}

/// What stands for the key of a record that has none: the same bytes have the same.
pub(crate) fn unreadable(bytes: &[u8]) -> String {
    format!("?{:032x}", xxh3_128(bytes))
}
