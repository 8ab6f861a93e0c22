//! One reading of water, electricity or gas as its department writes it: good or broken, as a row or an item.

use std::collections::HashMap;

use chrono::{Datelike, Days, NaiveDate};
use encoding_rs::{Encoding, GB18030, GBK, UTF_8};
use serde::Serialize;
use yibiao_records::Reason;

use crate::city::{City, Place, scramble};
use crate::dice::{Dice, Domain};
use crate::ledger::{Dialect, spoil};
use crate::names::full_width;
use crate::spell::{self, Done, Feed, Spelled};

use super::strangers;

pub(crate) const WATER: Dialect = Dialect { separator: ',', line_end: "\r\n", encoding: GBK };
pub(crate) const GAS: Dialect = Dialect { separator: ';', line_end: "\n", encoding: GB18030 };
pub(crate) const WATER_HEADER: [&str; 5] = ["户号", "用水地址", "抄表日期", "用水量（吨）", "水表状态"];
pub(crate) const GAS_HEADER: [&str; 5] = ["燃气户号", "地址", "日期", "用气量(方)", "表型"];

pub(crate) const CSV_BROKEN: [Reason; 8] = [
    Reason::Undecodable,
    Reason::Malformed,
    Reason::BadDate,
    Reason::OutOfRange,
    Reason::BadNumber,
    Reason::EmptyAddress,
    Reason::OtherProvince,
    Reason::MissingKey,
];
/// The service answers JSON or nothing, so its items are always JSON.
pub(crate) const API_BROKEN: [Reason; 8] = [
    Reason::MissingColumn,
    Reason::UnknownColumn,
    Reason::BadDate,
    Reason::OutOfRange,
    Reason::BadNumber,
    Reason::EmptyAddress,
    Reason::OtherProvince,
    Reason::MissingKey,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Utility {
    Water,
    Power,
    Gas,
}

impl Utility {
    pub const ALL: [Utility; 3] = [Utility::Water, Utility::Power, Utility::Gas];

    pub fn feed(self) -> Feed {
        match self {
            Utility::Water => Feed::Water,
            Utility::Power => Feed::Power,
            Utility::Gas => Feed::Gas,
        }
    }

    pub fn id(self) -> &'static str {
        self.feed().id()
    }

    fn encoding(self) -> &'static Encoding {
        match self {
            Utility::Water => GBK,
            Utility::Power => UTF_8,
            Utility::Gas => GB18030,
        }
    }

    /// The account's number as its department shows it.
    pub fn account(self, city: &City, index: u32) -> String {
        let seed = city.plan.seed;
        match self {
            Utility::Water => format!("31{:08}", scramble(index, 100_000_000, seed + 11)),
            Utility::Power => format!("3201{:08}", scramble(index, 100_000_000, seed + 12)),
            Utility::Gas => format!("G{:08}", scramble(index, 100_000_000, seed + 13)),
        }
    }

    /// Accounts 0.. are the dwellings; those after them are strangers.
    pub fn address(self, city: &City, index: u32) -> Spelled {
        if index < city.dwellings.len() as u32 {
            spell::spell(city, self.feed(), Place::Dwelling(index), u64::from(index))
        } else {
            let mut dice = Dice::new(city.plan.seed, Domain::Stranger, u64::from(index) * 3 + self as u64);
            Spelled { text: strangers::address(city, &mut dice), done: Done::default() }
        }
    }
}

/// One reading, in hundredths of its unit.
pub(crate) struct Reading {
    pub account: u32,
    pub day: u32,
    pub hundredths: u32,
}

/// Every account's address in its department's encoding, one behind the other: they are written every day.
pub(crate) struct Addresses {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Addresses {
    pub fn new() -> Addresses {
        Addresses { bytes: Vec::new(), ends: vec![0] }
    }

    /// The address of the next account; empty if there is no such account.
    pub fn push(&mut self, utility: Utility, text: &str) {
        self.bytes.extend_from_slice(&utility.encoding().encode(text).0);
        self.ends.push(self.bytes.len() as u32);
    }

    pub fn of(&self, account: u32) -> &[u8] {
        &self.bytes[self.ends[account as usize] as usize..self.ends[account as usize + 1] as usize]
    }
}

/// Writes good records. Dates, states and kinds of meters are encoded once each, because the encoders search their
/// tables for every character.
pub(crate) struct Rows {
    utility: Utility,
    known: HashMap<String, Vec<u8>>,
    row: Vec<u8>,
}

impl Rows {
    /// Amounts in full-width digits come on top of the dates and states; what is beyond is encoded each time.
    const MOST_KNOWN: usize = 4_096;

    pub fn new(utility: Utility) -> Rows {
        Rows { utility, known: HashMap::new(), row: Vec::new() }
    }

    /// A record as bytes with its line end. No cell of a good record needs quotes.
    pub fn row(&mut self, city: &City, reading: &Reading, address: &[u8], today: u32) -> &[u8] {
        let date = city.plan.date(reading.day);
        let number = self.utility.account(city, reading.account);
        self.row.clear();
        let (dialect, cells) = match self.utility {
            Utility::Power => {
                let address = String::from_utf8_lossy(address);
                let item = json(&item(&number, &address, reading, date, today, city));
                self.row.extend_from_slice(item.as_bytes());
                self.row.push(b'\n');
                return &self.row;
            }
            Utility::Water => (WATER, water_cells(&number, String::new(), reading, date)),
            Utility::Gas => (GAS, gas_cells(&number, String::new(), reading, date)),
        };
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                self.row.push(dialect.separator as u8);
            }
            match self.known.get(cell) {
                _ if at == 1 => self.row.extend_from_slice(address),
                _ if cell.is_ascii() => self.row.extend_from_slice(cell.as_bytes()),
                Some(encoded) => self.row.extend_from_slice(encoded),
                None => {
                    let encoded = dialect.encoding.encode(cell).0.into_owned();
                    self.row.extend_from_slice(&encoded);
                    if self.known.len() < Self::MOST_KNOWN {
                        self.known.insert(cell.clone(), encoded);
                    }
                }
            }
        }
        self.row.extend_from_slice(dialect.line_end.as_bytes());
        &self.row
    }
}

/// What is to be broken, and how.
pub(crate) struct Broken {
    pub number: String,
    pub address: String,
    pub reason: Reason,
    pub serial: u64,
}

/// A record that cannot be used, as bytes with their line end, and its key.
pub(crate) fn broken_row(
    utility: Utility,
    city: &City,
    broken: &Broken,
    reading: &Reading,
    today: u32,
) -> (Vec<u8>, String) {
    let date = city.plan.date(reading.day);
    if utility == Utility::Power {
        return broken_item(city, broken, reading, date, today);
    }
    let (dialect, mut cells) = match utility {
        Utility::Gas => (GAS, gas_cells(&broken.number, broken.address.clone(), reading, date)),
        _ => (WATER, water_cells(&broken.number, broken.address.clone(), reading, date)),
    };
    match broken.reason {
        Reason::Malformed => cells.truncate(3),
        Reason::BadDate => {
            cells[2] =
                (*["2025/11/31", "20251345", "2025年2月30日"].get(broken.serial as usize % 3).unwrap_or(&""))
                    .to_owned()
        }
        Reason::OutOfRange => cells[3] = "-3.20".to_owned(),
        Reason::BadNumber => cells[3] = "抄表失败".to_owned(),
        Reason::MissingKey => cells[0].clear(),
        _ => {}
    }
    let key = format!("{}|{}", cells[0], cells[2]);
    let row = dialect.row(&cells);
    (if broken.reason == Reason::Undecodable { spoil(&row, dialect.line_end) } else { row }, key)
}

fn decimal(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

pub(crate) fn water_cells(number: &str, address: String, reading: &Reading, date: NaiveDate) -> Vec<String> {
    // Three generations of meters, three ways to write a day.
    let day = match reading.account % 3 {
        0 => format!("{}/{}/{}", date.year(), date.month(), date.day()),
        1 => format!("{}年{}月{}日", date.year(), date.month(), date.day()),
        _ => date.format("%Y%m%d").to_string(),
    };
    let amount = decimal(reading.hundredths);
    let amount = if reading.account.is_multiple_of(211) { full_width(&amount) } else { amount };
    let state = match (reading.account + reading.day) % 997 {
        0 => "故障",
        1 => "换表",
        _ => "正常",
    };
    vec![number.to_owned(), address, day, amount, state.to_owned()]
}

fn gas_cells(number: &str, address: String, reading: &Reading, date: NaiveDate) -> Vec<String> {
    let meter = ["物联网表", "IC卡表", "物联网表", "机械表"][reading.account as usize % 4];
    vec![number.to_owned(), address, date.to_string(), decimal(reading.hundredths), meter.to_owned()]
}

#[derive(Serialize)]
struct Item<'a> {
    meter_no: &'a str,
    service_address: &'a str,
    reading_date: String,
    kwh: f64,
    updated_at: String,
}

fn item<'a>(
    number: &'a str,
    address: &'a str,
    reading: &Reading,
    date: NaiveDate,
    today: u32,
    city: &City,
) -> Item<'a> {
    // Read over night, so it is there the morning after.
    let read_on = city.plan.date(today).checked_add_days(Days::new(1)).unwrap_or(date);
    Item {
        meter_no: number,
        service_address: address,
        reading_date: date.to_string(),
        kwh: f64::from(reading.hundredths) / 100.0,
        updated_at: format!(
            "{read_on}T{:02}:{:02}:00+08:00",
            5 + reading.account % 2,
            reading.account / 7 % 60
        ),
    }
}

fn json(item: &Item<'_>) -> String {
    serde_json::to_string(item).expect("invariant: an item is plain text and numbers")
}

fn broken_item(
    city: &City,
    broken: &Broken,
    reading: &Reading,
    date: NaiveDate,
    today: u32,
) -> (Vec<u8>, String) {
    let mut value = serde_json::to_value(item(&broken.number, &broken.address, reading, date, today, city))
        .expect("invariant: an item is plain text and numbers");
    let mut key = format!("{}|{date}", broken.number);
    if let Some(fields) = value.as_object_mut() {
        match broken.reason {
            Reason::MissingColumn => {
                fields.shift_remove("kwh");
            }
            Reason::UnknownColumn => {
                fields.insert(
                    "tenant_phone".to_owned(),
                    format!("{}TEL-{:08}", crate::CANARY, broken.serial).into(),
                );
            }
            Reason::BadDate => {
                fields.insert("reading_date".to_owned(), "2025-02-30".into());
                key = format!("{}|2025-02-30", broken.number);
            }
            Reason::OutOfRange => {
                fields.insert("kwh".to_owned(), (-12.5).into());
            }
            Reason::BadNumber => {
                fields.insert("kwh".to_owned(), "12.5度?".into());
            }
            Reason::MissingKey => {
                fields.insert("meter_no".to_owned(), "".into());
                key = format!("|{date}");
            }
            _ => {}
        }
    }
    (format!("{value}\n").into_bytes(), key)
}
