//! The column `sources`: which columns of a row came of which facts, as JSON.
//!
//! ```text
//! [{"columns":["area_m2","rooms"],"feed":"police/housing-registrations","source_key":"H1",
//!   "raw":"raw.police.housing-registrations/0/17","since":"2025-11-03"},
//!  {"columns":["water_30d"],"feeds":["utilities/water-readings"],"facts":30,"days":"2025-10-05/2025-11-03"}]
//! ```
//! It is written for every row that changes, so it is put together here, without a library's detours; a test reads it back.

use std::{fmt::Write, sync::Arc};

use yibiao_records::Value;
use yibiao_tables::shard::Origin;

use crate::day;

/// Columns that came of the same facts, together: most of a row comes of one record.
#[derive(Debug)]
struct From<'a> {
    columns: Vec<&'a str>,
    what: What<'a>,
}

#[derive(Debug, PartialEq)]
pub(super) enum What<'a> {
    One(&'a Arc<Origin>),
    Many {
        /// In their order, each once.
        feeds: Vec<&'a str>,
        facts: u64,
        /// First and last; None where the column is not of some days.
        days: Option<(i32, i32)>,
    },
}

/// What the columns of one row came of, in the order of the columns.
#[derive(Default)]
pub(super) struct Sources<'a>(Vec<From<'a>>);

impl<'a> Sources<'a> {
    pub fn add(&mut self, column: &'a str, what: What<'a>) {
        match self.0.iter_mut().find(|from| is_same(&from.what, &what)) {
            Some(from) => from.columns.push(column),
            None => self.0.push(From { columns: vec![column], what }),
        }
    }

    pub fn json(&self) -> String {
        let mut out = String::with_capacity(256 * self.0.len());
        out.push('[');
        for (index, from) in self.0.iter().enumerate() {
            out.push_str(if index == 0 { "{\"columns\":" } else { ",{\"columns\":" });
            list(&mut out, &from.columns);
            match &from.what {
                What::One(origin) => one(&mut out, origin),
                What::Many { feeds, facts, days } => {
                    out.push_str(",\"feeds\":");
                    list(&mut out, feeds);
                    out.push_str(",\"facts\":");
                    number(&mut out, *facts);
                    match days {
                        Some((first, last)) => {
                            out.push_str(",\"days\":\"");
                            date(&mut out, *first);
                            out.push('/');
                            date(&mut out, *last);
                            out.push('"');
                        }
                        None => out.push_str(",\"days\":null"),
                    }
                }
            }
            out.push('}');
        }
        out.push(']');
        out
    }
}

/// Columns that one fact won share its origin, but after it was stored and read they may not.
fn is_same(a: &What<'_>, b: &What<'_>) -> bool {
    match (a, b) {
        (What::One(a), What::One(b)) => {
            Arc::ptr_eq(a, b)
                || (a.raw.offset == b.raw.offset
                    && a.raw_partition == b.raw_partition
                    && a.raw_topic == b.raw_topic
                    && a.feed == b.feed
                    && a.source_key == b.source_key
                    && day::of_ms(a.valid_from_ms) == day::of_ms(b.valid_from_ms))
        }
        _ => a == b,
    }
}

fn one(out: &mut String, origin: &Origin) {
    out.push_str(",\"feed\":");
    quoted(out, &origin.feed);
    out.push_str(",\"source_key\":");
    quoted(out, &origin.source_key);
    out.push_str(",\"raw\":\"");
    escaped(out, &origin.raw_topic);
    out.push('/');
    signed(out, origin.raw_partition.into());
    out.push('/');
    signed(out, origin.raw.offset);
    out.push_str("\",\"since\":\"");
    date(out, day::of_ms(origin.valid_from_ms));
    out.push('"');
}

fn list(out: &mut String, texts: &[&str]) {
    out.push('[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        quoted(out, text);
    }
    out.push(']');
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    escaped(out, text);
    out.push('"');
}

/// As a part of a JSON string.
fn escaped(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push_str(text);
        return;
    }
    let json = serde_json::Value::from(text).to_string();
    out.push_str(&json[1..json.len() - 1]);
}

fn signed(out: &mut String, value: i64) {
    if value < 0 {
        out.push('-');
    }
    number(out, value.unsigned_abs());
}

fn number(out: &mut String, mut value: u64) {
    let (mut digits, mut at) = ([0u8; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

/// `2025-11-03`
fn date(out: &mut String, day: i32) {
    // Years of four digits; Hinnant's civil_from_days.
    if !(-719_528..2_932_897).contains(&day) {
        // A text cannot fail to take more.
        let _ = write!(out, "{}", Value::Date(day));
        return;
    }
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i32::from(month <= 2);
    let digit = |number: i32| char::from(b'0' + (number % 10) as u8);
    out.extend([digit(year / 1000), digit(year / 100), digit(year / 10), digit(year), '-']);
    out.extend([digit(month / 10), digit(month), '-', digit(day / 10), digit(day)]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;
    use yibiao_records::{FactId, RawPosition};

    use super::*;

    fn origin(key: &str, offset: i64, valid_from_ms: i64) -> Arc<Origin> {
        Arc::new(Origin {
            kind: "dwelling".into(),
            fact: FactId::from_bytes([1; 16]),
            valid_from_ms,
            recorded_at_ms: 0,
            feed: "police/dwellings".into(),
            source_key: key.to_owned(),
            raw_topic: "raw.police.dwellings".into(),
            raw_partition: 3,
            raw: RawPosition { offset, index: 0 },
        })
    }

    fn day_text(day: i32) -> String {
        Value::Date(day).to_string()
    }

    proptest! {
        #[test]
        fn any_key_and_number_is_read_back(
            key in any::<String>(), offset in any::<i64>(), ms in any::<i64>(), facts in any::<u64>(),
            feeds in prop::collection::vec("[a-z/\"\\\\界\u{1}]{0,9}", 0..4), days in any::<Option<(i32, i32)>>(),
        ) {
            let one = origin(&key, offset, ms);
            let mut sources = Sources::default();
            sources.add("level", What::One(&one));
            sources.add("count", What::Many { feeds: feeds.iter().map(String::as_str).collect(), facts, days });
            // The same origin, but stored and read.
            let again = Arc::new(Origin::clone(&one));
            sources.add("area_m2", What::One(&again));
            let read: serde_json::Value = serde_json::from_str(&sources.json()).unwrap();
            prop_assert_eq!(read, json!([
                {"columns": ["level", "area_m2"], "feed": "police/dwellings", "source_key": key,
                 "raw": format!("raw.police.dwellings/3/{offset}"), "since": day_text(day::of_ms(ms))},
                {"columns": ["count"], "feeds": feeds, "facts": facts,
                 "days": days.map(|(from, to)| format!("{}/{}", day_text(from), day_text(to)))},
            ]));
        }

        #[test]
        fn a_date_is_written_as_everywhere_else(day in prop_oneof![any::<i32>(), -800_000..3_000_000i32]) {
            let mut text = String::new();
            date(&mut text, day);
            prop_assert_eq!(text, day_text(day));
        }
    }

    #[test]
    fn dates_at_the_edges_of_years_and_of_four_digits() {
        for day in [-719_529, -719_528, -719_468, -1, 0, 59, 60, 11_015, 11_016, 2_932_896, 2_932_897] {
            let mut text = String::new();
            date(&mut text, day);
            assert_eq!(text, day_text(day));
        }
    }

    #[test]
    fn nothing_is_an_empty_list() {
        assert_eq!(Sources::default().json(), "[]");
    }
}
