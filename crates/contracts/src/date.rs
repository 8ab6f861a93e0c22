//! Dates and times in the forms that departments write.
//!
//! | form | examples |
//! |---|---|
//! | `dashes` | 2025-11-03, 2025-11-3 |
//! | `slashes` | 2025/11/3 |
//! | `dots` | 2025.11.3 |
//! | `chinese` | 2025年11月3日, 2025年11月3日 8时30分 |
//! | `compact` | 20251103, 202511030800, 20251103080000 |
//! | `rfc3339` | 2025-11-03T08:00:00+08:00, …Z |
//! | `excel` | 45964, 45964.5 (days since 1899-12-30) |
//! | `epoch_s` | 1762128000 |
//! | `epoch_ms` | 1762128000000 |
//!
//! The first four may carry a time: ` 08:00`, ` 08:00:00`, ` 08:00:00.250`, `8时30分`. A text has at most one
//! reading, so a feed may mix forms; a contract can still name the ones that it admits. Two-digit years and
//! day-before-year forms are never read: nobody can know what 03/11/25 is.

use yibiao_records::Value;

/// The forms, as bits of [`Forms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Form {
    Dashes = 1,
    Slashes = 1 << 1,
    Dots = 1 << 2,
    Chinese = 1 << 3,
    Compact = 1 << 4,
    Rfc3339 = 1 << 5,
    Excel = 1 << 6,
    EpochSeconds = 1 << 7,
    EpochMillis = 1 << 8,
}

const NAMES: [(&str, Form); 9] = [
    ("dashes", Form::Dashes),
    ("slashes", Form::Slashes),
    ("dots", Form::Dots),
    ("chinese", Form::Chinese),
    ("compact", Form::Compact),
    ("rfc3339", Form::Rfc3339),
    ("excel", Form::Excel),
    ("epoch_s", Form::EpochSeconds),
    ("epoch_ms", Form::EpochMillis),
];

/// A set of forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms(u16);

impl Forms {
    /// All that are written by people: no serial numbers, no epochs.
    pub const CALENDAR: Forms = Forms(0b11_1111);

    pub fn of(forms: &[Form]) -> Self {
        Self(forms.iter().fold(0, |bits, form| bits | *form as u16))
    }

    pub fn with(self, form: Form) -> Self {
        Self(self.0 | form as u16)
    }

    pub fn has(self, form: Form) -> bool {
        self.0 & form as u16 != 0
    }

    /// The names, for contracts and messages.
    pub fn names(self) -> Vec<&'static str> {
        NAMES.iter().filter(|(_, form)| self.has(*form)).map(|(name, _)| *name).collect()
    }

    pub fn all_names() -> Vec<&'static str> {
        NAMES.iter().map(|(name, _)| *name).collect()
    }
}

impl Form {
    pub fn from_name(name: &str) -> Option<Form> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, form)| *form)
    }
}

/// Why a text is no date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateError {
    /// In no form, or in one that the contract does not admit.
    Unreadable,
    /// In a known form, but no such day or time exists (2025-02-30, 25:00).
    Impossible,
}

/// A moment as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Days since 1970-01-01, in the writer's own time zone.
    pub days: i32,
    /// Milliseconds since that day's midnight.
    pub time_ms: i64,
    /// Minutes east of Greenwich, where the text says so.
    pub offset_minutes: Option<i32>,
}

const DAY_MS: i64 = 86_400_000;

impl Moment {
    /// Milliseconds since the epoch, UTC; a text without a zone is taken to be at `zone_minutes`.
    pub fn to_ms(self, zone_minutes: i32) -> i64 {
        let offset = i64::from(self.offset_minutes.unwrap_or(zone_minutes));
        i64::from(self.days) * DAY_MS + self.time_ms - offset * 60_000
    }

    /// The day at `zone_minutes`.
    pub fn to_days(self, zone_minutes: i32) -> i32 {
        match self.offset_minutes {
            None => self.days,
            Some(_) => {
                (self.to_ms(zone_minutes) + i64::from(zone_minutes) * 60_000).div_euclid(DAY_MS) as i32
            }
        }
    }
}

/// Midnight of a day at `zone_minutes`, in milliseconds since the epoch, UTC.
pub fn midnight_ms(days: i32, zone_minutes: i32) -> i64 {
    i64::from(days) * DAY_MS - i64::from(zone_minutes) * 60_000
}

/// Milliseconds of a date's midnight or of a timestamp; None for other values.
pub fn value_ms(value: &Value, zone_minutes: i32) -> Option<i64> {
    match value {
        Value::Date(days) => Some(midnight_ms(*days, zone_minutes)),
        Value::Timestamp(ms) => Some(*ms),
        _ => None,
    }
}

/// Reads a folded text in one of the `admitted` forms.
pub fn parse(text: &str, admitted: Forms) -> Result<Moment, DateError> {
    let bytes = text.as_bytes();
    let (form, moment) = if bytes.iter().all(u8::is_ascii_digit) {
        digits_only(bytes)?
    } else if bytes.len() > 5 && bytes[5] == b'.' && is_digits(&bytes[..5]) && is_digits(&bytes[6..]) {
        (Form::Excel, excel(bytes)?)
    } else {
        separated(bytes)?
    };
    match (admitted.has(form), moment) {
        (false, _) => Err(DateError::Unreadable),
        (true, None) => Err(DateError::Impossible),
        (true, Some(moment)) => Ok(moment),
    }
}

type Read = (Form, Option<Moment>);

fn is_digits(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'))
}

/// The number of digits tells the form.
fn digits_only(bytes: &[u8]) -> Result<Read, DateError> {
    let utc = |ms: i64| Moment {
        days: ms.div_euclid(DAY_MS) as i32,
        time_ms: ms.rem_euclid(DAY_MS),
        offset_minutes: Some(0),
    };
    Ok(match bytes.len() {
        5 => (Form::Excel, excel(bytes)?),
        8 | 12 | 14 => {
            let part = |from: usize, to: usize| bytes.get(from..to).map_or(0, number);
            let time = time_ms(part(8, 10), part(10, 12), part(12, 14), 0);
            (Form::Compact, moment(number(&bytes[..4]), part(4, 6), part(6, 8), time, None))
        }
        10 => (Form::EpochSeconds, Some(utc(number(bytes) * 1000))),
        13 => (Form::EpochMillis, Some(utc(number(bytes)))),
        _ => return Err(DateError::Unreadable),
    })
}

/// `45964` or `45964.354166`: days since 1899-12-30, of this century or the last.
fn excel(bytes: &[u8]) -> Result<Option<Moment>, DateError> {
    let days = number(&bytes[..5]);
    let mut time_ms = 0;
    if let Some(fraction) = bytes.get(6..) {
        let fraction = &fraction[..fraction.len().min(12)];
        let scale = 10i128.pow(fraction.len() as u32);
        time_ms = ((i128::from(number(fraction)) * i128::from(DAY_MS) + scale / 2) / scale) as i64;
        // Serials are floats: the nearest second is what was meant.
        time_ms = ((time_ms + 500) / 1000 * 1000).min(DAY_MS - 1000);
    }
    const EXCEL_DAY_0: i64 = -25_569;
    Ok(Some(Moment { days: (days + EXCEL_DAY_0) as i32, time_ms, offset_minutes: None }))
}

/// A cursor over the bytes of a date.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    /// One to `most` digits.
    fn digits(&mut self, most: usize) -> Option<i64> {
        let count = self.0.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        (count > 0).then(|| number(digits))
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text.as_bytes()) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
}

/// Year, month and day with something between them, perhaps a time and a zone.
fn separated(bytes: &[u8]) -> Result<Read, DateError> {
    let unreadable = DateError::Unreadable;
    if bytes.len() < 8 || !is_digits(&bytes[..4]) {
        return Err(unreadable);
    }
    let mut scan = Scan(&bytes[4..]);
    let (mut form, between) = match () {
        () if scan.eat("-") => (Form::Dashes, "-"),
        () if scan.eat("/") => (Form::Slashes, "/"),
        () if scan.eat(".") => (Form::Dots, "."),
        () if scan.eat("年") => (Form::Chinese, "月"),
        () => return Err(unreadable),
    };
    let month = scan.digits(2).ok_or(unreadable)?;
    if !scan.eat(between) {
        return Err(unreadable);
    }
    let day = scan.digits(2).ok_or(unreadable)?;
    if form == Form::Chinese && !(scan.eat("日") || scan.eat("号")) {
        return Err(unreadable);
    }
    let (mut time, mut zone) = (Some(0), None);
    if !scan.0.is_empty() {
        let by_t = scan.eat("T") || scan.eat("t");
        if !by_t {
            let before = scan.0.len();
            while scan.eat(" ") {}
            if before == scan.0.len() && form != Form::Chinese {
                return Err(unreadable);
            }
        }
        time = clock(&mut scan).ok_or(unreadable)?;
        zone = offset(&mut scan).ok_or(unreadable)?;
        if zone.is_some() {
            form = Form::Rfc3339;
        }
    }
    if !scan.0.is_empty() {
        return Err(unreadable);
    }
    Ok((form, moment(number(&bytes[..4]), month, day, time, zone)))
}

/// `8:30`, `08:30:00`, `08:30:00.250`, `8时30分`, `8时30分5秒`. Outer None: not a time; inner: no such time.
fn clock(scan: &mut Scan<'_>) -> Option<Option<i64>> {
    let hour = scan.digits(2)?;
    if scan.eat("时") || scan.eat("点") {
        let minute = scan.digits(2).unwrap_or(0);
        let minute_named = scan.eat("分");
        let second = if minute_named { scan.digits(2).unwrap_or(0) } else { 0 };
        scan.eat("秒");
        return Some(time_ms(hour, minute, second, 0));
    }
    if !scan.eat(":") {
        return None;
    }
    let minute = scan.digits(2)?;
    let (mut second, mut milli) = (0, 0);
    if scan.eat(":") {
        second = scan.digits(2)?;
        if scan.eat(".") {
            let count = scan.0.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&count) {
                return None;
            }
            let nanos = scan.digits(count)? * 10i64.pow(9 - count as u32);
            milli = nanos / 1_000_000;
        }
    }
    Some(time_ms(hour, minute, second, milli))
}

/// `Z`, `+08:00`, `+0800`, `+08`, or nothing.
fn offset(scan: &mut Scan<'_>) -> Option<Option<i32>> {
    while scan.eat(" ") {}
    if scan.0.is_empty() {
        return Some(None);
    }
    if scan.eat("Z") || scan.eat("z") {
        return Some(Some(0));
    }
    let sign = if scan.eat("+") {
        1
    } else if scan.eat("-") {
        -1
    } else {
        return None;
    };
    let hours = scan.digits(2)?;
    scan.eat(":");
    let minutes = if scan.0.is_empty() { 0 } else { scan.digits(2)? };
    (hours <= 15 && minutes < 60).then_some(Some(sign * (hours * 60 + minutes) as i32))
}

fn time_ms(hour: i64, minute: i64, second: i64, milli: i64) -> Option<i64> {
    // A leap second (60) is its minute's last second.
    (hour < 24 && minute < 60 && second <= 60)
        .then(|| (hour * 3600 + minute * 60 + second.min(59)) * 1000 + milli)
}

fn moment(year: i64, month: i64, day: i64, time: Option<i64>, zone: Option<i32>) -> Option<Moment> {
    const LENGTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = *LENGTHS.get(usize::try_from(month - 1).ok()?)? + i64::from(leap && month == 2);
    if !(1800..=2200).contains(&year) || day < 1 || day > length {
        return None;
    }
    Some(Moment { days: days_from_civil(year, month, day), time_ms: time?, offset_minutes: zone })
}

/// Days since 1970-01-01 (H. Hinnant, chrono-compatible low-level date algorithms).
fn days_from_civil(year: i64, month: i64, day: i64) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468) as i32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALL: Forms = Forms(0x1ff);
    const SHANGHAI: i32 = 480;

    #[test]
    fn ten_ways_to_write_one_day_are_one_day() {
        for text in [
            "2025-11-03",
            "2025-11-3",
            "2025/11/3",
            "2025/11/03",
            "2025年11月3日",
            "2025年11月03号",
            "20251103",
            "2025.11.3",
            "2025-11-03 08:00:00",
            "2025/11/3 8:00",
            "2025年11月3日8时30分",
            "2025-11-03T08:00:00+08:00",
            "2025-11-02T16:30:00Z",
            "20251103080000",
            "202511030800",
            "45964",
            "45964.354166667",
            "1762128000000",
            "1762128000",
            "2025-11-03 08:00:00.123456",
            "2025-11-03T08:00:00.5+0800",
        ] {
            assert_eq!(parse(text, ALL).unwrap().to_days(SHANGHAI), 20_395, "{text}");
        }
    }

    #[test]
    fn times_are_those_of_the_zone_written_or_else_of_the_contract() {
        let eight = 1_762_128_000_000;
        for text in [
            "2025-11-03 08:00:00",
            "2025-11-03T08:00:00+08:00",
            "2025-11-03T00:00:00Z",
            "20251103080000",
            "1762128000000",
            "1762128000",
            "2025年11月3日 8时",
            "45964.333333333",
        ] {
            assert_eq!(parse(text, ALL).unwrap().to_ms(SHANGHAI), eight, "{text}");
        }
        assert_eq!(midnight_ms(20_395, SHANGHAI), eight - 8 * 3_600_000);
    }

    #[test]
    fn days_that_do_not_exist_are_impossible_and_other_texts_unreadable() {
        for text in [
            "2025-02-29",
            "2025-13-01",
            "20250230",
            "2025/4/31",
            "2025年0月1日",
            "2025-11-03 25:00",
            "1025-01-01",
        ] {
            assert_eq!(parse(text, ALL), Err(DateError::Impossible), "{text}");
        }
        for text in [
            "",
            "昨天",
            "03/11/2025",
            "25-11-03",
            "2025-11",
            "2025-11-03 ",
            "2025-11-03x",
            "2025-11/03",
            "123456",
            "2025-11-03T",
            "2025年11月3",
            "2025-11-03 08",
            "4596",
            "45964.",
            "45964.x",
        ] {
            assert_eq!(parse(text, ALL), Err(DateError::Unreadable), "{text}");
        }
        assert!(parse("2024-02-29", ALL).is_ok());
    }

    #[test]
    fn a_form_that_the_contract_does_not_admit_is_unreadable() {
        assert_eq!(parse("45964", Forms::CALENDAR), Err(DateError::Unreadable));
        assert_eq!(parse("2025/11/3", Forms::of(&[Form::Dashes])), Err(DateError::Unreadable));
    }

    #[test]
    fn days_agree_with_chrono_over_four_centuries() {
        use chrono::{Datelike, NaiveDate};
        for days in (-62_000..84_000).step_by(7) {
            let date = NaiveDate::from_epoch_days(days).unwrap();
            let ours = days_from_civil(date.year().into(), date.month().into(), date.day().into());
            assert_eq!(ours, days);
        }
    }
}
