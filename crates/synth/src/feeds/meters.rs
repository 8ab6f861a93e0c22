//! The three utilities, day by day: which readings are made, which come late, twice, wrong at first, or never.
//!
//! ```text
//!  use of the day --> Meters::read --> arrival: at once | late | twice | wrong, then right | never --> the day's rows
//! ```
//! Only the readings that are still on their way are held (about two in a hundred of a few days).

use std::collections::BTreeMap;

use chrono::{Datelike, Days, NaiveDate};
use encoding_rs::{GB18030, GBK};
use serde::Serialize;
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, Place, scramble};
use crate::dice::{Dice, Domain};
use crate::ledger::{Breaker, Dialect, Ledger, Out, spoil};
use crate::names::full_width;
use crate::spell::{self, Done, Feed, Spelled};

use super::strangers;

const WATER: Dialect = Dialect { separator: ',', line_end: "\r\n", encoding: GBK };
const GAS: Dialect = Dialect { separator: ';', line_end: "\n", encoding: GB18030 };
const WATER_HEADER: [&str; 5] = ["户号", "用水地址", "抄表日期", "用水量（吨）", "水表状态"];
const GAS_HEADER: [&str; 5] = ["燃气户号", "地址", "日期", "用气量(方)", "表型"];

const CSV_BROKEN: [Reason; 8] = [
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
const API_BROKEN: [Reason; 8] = [
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

    fn id(self) -> &'static str {
        self.feed().id()
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
    fn address(self, city: &City, index: u32) -> Spelled {
        if index < city.dwellings.len() as u32 {
            spell::spell(city, self.feed(), Place::Dwelling(index), u64::from(index))
        } else {
            let mut dice = Dice::new(city.plan.seed, Domain::Stranger, u64::from(index) * 3 + self as u64);
            Spelled { text: strangers::address(city, &mut dice), done: Done::default() }
        }
    }
}

pub(crate) fn strangers_count(city: &City) -> u32 {
    ((city.dwellings.len() as f64 * city.plan.rates.strangers) as u32).max(3)
}

/// Whether the account exists at all on some day.
fn has_account(city: &City, utility: Utility, index: u32) -> bool {
    let Some(dwelling) = city.dwellings.get(index as usize) else { return true };
    let mut dice = Dice::new(city.plan.seed, Domain::Schedule, u64::from(index));
    let unmetered = dice.unit();
    city.is_ever_in_use(index)
        && match utility {
            Utility::Gas => dwelling.home.has_gas,
            Utility::Water => unmetered >= 0.006,
            Utility::Power => unmetered < 0.994,
        }
}

/// A reading on its way.
struct Pending {
    account: u32,
    day: u32,
    hundredths: u32,
}

struct Meter {
    utility: Utility,
    out: Out,
    file: String,
    breaker: Breaker,
    pending: BTreeMap<u32, Vec<Pending>>,
    /// What was broken in the file that will be sent again.
    broken_again: Vec<(Reason, String)>,
}

/// The three utilities' files, open.
pub(crate) struct Meters<'a> {
    city: &'a City,
    meters: Vec<Meter>,
    /// Bit by bit: which of the three accounts an index has.
    accounts: Vec<u8>,
}

impl<'a> Meters<'a> {
    /// Opens the first files and tells the truth about every account.
    pub fn open(city: &'a City, ledger: &mut Ledger) -> Result<Meters<'a>, Error> {
        let total = city.dwellings.len() as u32 + strangers_count(city);
        let mut accounts = vec![0u8; total as usize];
        for utility in Utility::ALL {
            for index in 0..total {
                if has_account(city, utility, index) {
                    accounts[index as usize] |= 1 << utility as u8;
                    let place =
                        (index < city.dwellings.len() as u32).then(|| city.code(Place::Dwelling(index)));
                    let done = utility.address(city, index).done;
                    ledger.matched(utility.id(), &utility.account(city, index), place.as_deref(), done)?;
                }
            }
        }
        let mut meters = Vec::new();
        for utility in Utility::ALL {
            let (kinds, gap): (&'static [Reason], u64) =
                if utility == Utility::Power { (&API_BROKEN, 31) } else { (&CSV_BROKEN, 31) };
            let (out, file) = open(city, ledger, utility, 0)?;
            meters.push(Meter {
                utility,
                out,
                file,
                breaker: Breaker::new(city, utility.id(), kinds, gap),
                pending: BTreeMap::new(),
                broken_again: Vec::new(),
            });
        }
        Ok(Meters { city, meters, accounts })
    }

    /// Writes one day's readings.
    pub fn day(&mut self, ledger: &mut Ledger, day: u32) -> Result<(), Error> {
        let city = self.city;
        let plan = &city.plan;
        let date = plan.date(day);
        let weather = crate::households::Weather::of(plan.seed, day, date);
        if day > 0 {
            for meter in &mut self.meters {
                meter.turn_over(city, ledger, day)?;
            }
        }
        let mut habit = Dice::new(plan.seed, Domain::Habit, u64::from(day));
        let mut arrivals = [Domain::WaterArrival, Domain::PowerArrival, Domain::GasArrival]
            .map(|d| Dice::new(plan.seed, d, u64::from(day)));
        for index in 0..self.accounts.len() as u32 {
            let used = match city.dwellings.get(index as usize) {
                Some(_) if !city.is_in_use(index, day) => continue,
                Some(dwelling) => dwelling.home.use_of_day(day as i16, date, &weather, &mut habit),
                None => [habit.span(0.1, 6.0), habit.span(1.0, 60.0), habit.span(0.0, 5.0)],
            };
            for (meter, dice) in self.meters.iter_mut().zip(&mut arrivals) {
                if self.accounts[index as usize] & (1 << meter.utility as u8) != 0 {
                    let hundredths = (used[meter.utility as usize] * 100.0).round() as u32;
                    meter.arrive(city, ledger, dice, Pending { account: index, day, hundredths })?;
                }
            }
        }
        for meter in &mut self.meters {
            for pending in meter.pending.remove(&day).unwrap_or_default() {
                meter.write(city, ledger, &pending, day)?;
            }
        }
        Ok(())
    }

    /// Writes what is still on its way, then the water works' second sending of a whole file and its file of extras.
    pub fn close(mut self, ledger: &mut Ledger) -> Result<(), Error> {
        let days = self.city.plan.days;
        for meter in &mut self.meters {
            for (_, readings) in std::mem::take(&mut meter.pending) {
                for pending in readings {
                    meter.write(self.city, ledger, &pending, days)?;
                }
            }
        }
        for meter in self.meters {
            let folder = meter.out.path().parent().map(std::path::Path::to_path_buf).unwrap_or_default();
            ledger.close(meter.utility.id(), meter.out)?;
            if meter.utility == Utility::Water {
                let again = day_sent_again(self.city);
                let source = folder.join(water_file(self.city, again));
                let copy =
                    format!("{:04}-again-{}.csv", days + 1, self.city.plan.date(again).format("%Y%m%d"));
                send_again(ledger, &source, &copy, &meter.broken_again)?;
                extra_column(self.city, ledger, &format!("{:04}-extra.csv", days + 2))?;
            }
        }
        Ok(())
    }
}

impl Meter {
    /// A new file a day for water and a week for gas; electricity is one long log behind a service.
    fn turn_over(&mut self, city: &City, ledger: &mut Ledger, day: u32) -> Result<(), Error> {
        let due = match self.utility {
            Utility::Water => true,
            Utility::Power => false,
            Utility::Gas => day.is_multiple_of(7),
        };
        if due {
            let (out, file) = open(city, ledger, self.utility, day)?;
            self.file = file;
            ledger.close(self.utility.id(), std::mem::replace(&mut self.out, out))?;
        }
        Ok(())
    }

    fn arrive(
        &mut self,
        city: &City,
        ledger: &mut Ledger,
        dice: &mut Dice,
        reading: Pending,
    ) -> Result<(), Error> {
        let rates = &city.plan.rates;
        let feed = self.utility.id();
        let mut roll = dice.unit();
        let mut falls = |rate: f64| {
            let fell = (0.0..rate).contains(&roll);
            roll -= rate;
            fell
        };
        let day = reading.day;
        if falls(rates.missing) {
            ledger.feed(feed).missing += 1;
        } else if falls(rates.late) {
            ledger.feed(feed).late += 1;
            self.pending.entry(day + dice.between(1, 6)).or_default().push(reading);
        } else if falls(rates.corrected) {
            ledger.feed(feed).corrected += 1;
            let wrong = if dice.chance(0.5) {
                reading.hundredths * 10
            } else {
                reading.hundredths + dice.between(20, 400)
            };
            self.write(city, ledger, &Pending { hundredths: wrong, ..reading }, day)?;
            self.pending.entry(day + dice.between(1, 4)).or_default().push(reading);
        } else {
            let repeated = falls(rates.repeated);
            self.write(city, ledger, &reading, day)?;
            if repeated {
                ledger.feed(feed).repeated += 1;
                self.write(city, ledger, &reading, day)?;
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        city: &City,
        ledger: &mut Ledger,
        reading: &Pending,
        today: u32,
    ) -> Result<(), Error> {
        let feed = self.utility.id();
        let address = self.utility.address(city, reading.account).text;
        let number = self.utility.account(city, reading.account);
        if let Some(reason) = self.breaker.due() {
            let serial = ledger.feed(feed).broken_total();
            let mut broken = Broken { number: number.clone(), address: address.clone(), reason, serial };
            if matches!(reason, Reason::EmptyAddress | Reason::OtherProvince) {
                // Accounts of their own: what they say replaces nothing.
                broken.number = format!("9{}{serial:05}", &number[..number.len() - 6]);
                let mut dice = Dice::new(city.plan.seed, Domain::Stranger, u64::MAX - serial);
                broken.address = if reason == Reason::EmptyAddress {
                    String::new()
                } else {
                    strangers::abroad(city, &mut dice)
                };
                ledger.matched(feed, &broken.number, None, Done::default())?;
            }
            let (bytes, key) = self.broken_row(city, &broken, reading, today)?;
            self.out.raw(&bytes)?;
            ledger.broke(feed, &self.file, reason, &key)?;
            if self.utility == Utility::Water && self.file == water_file(city, day_sent_again(city)) {
                self.broken_again.push((reason, key));
            }
        }
        ledger.feed(feed).records += 1;
        let date = city.plan.date(reading.day);
        match self.utility {
            Utility::Water => self.out.raw(&WATER.row(&water_cells(&number, address, reading, date))),
            Utility::Gas => self.out.raw(&GAS.row(&gas_cells(&number, address, reading, date))),
            Utility::Power => self.out.line(&json(&item(&number, &address, reading, date, today, city))),
        }
    }

    fn broken_row(
        &self,
        city: &City,
        broken: &Broken,
        reading: &Pending,
        today: u32,
    ) -> Result<(Vec<u8>, String), Error> {
        let date = city.plan.date(reading.day);
        if self.utility == Utility::Power {
            return Ok(broken_item(city, broken, reading, date, today));
        }
        let (dialect, mut cells) = match self.utility {
            Utility::Gas => (GAS, gas_cells(&broken.number, broken.address.clone(), reading, date)),
            _ => (WATER, water_cells(&broken.number, broken.address.clone(), reading, date)),
        };
        match broken.reason {
            Reason::Malformed => cells.truncate(3),
            Reason::BadDate => {
                cells[2] = (*["2025/11/31", "20251345", "2025年2月30日"]
                    .get(broken.serial as usize % 3)
                    .unwrap_or(&""))
                .to_owned()
            }
            Reason::OutOfRange => cells[3] = "-3.20".to_owned(),
            Reason::BadNumber => cells[3] = "抄表失败".to_owned(),
            Reason::MissingKey => cells[0].clear(),
            _ => {}
        }
        let key = format!("{}|{}", cells[0], cells[2]);
        let row = dialect.row(&cells);
        Ok((if broken.reason == Reason::Undecodable { spoil(&row, dialect.line_end) } else { row }, key))
    }
}

struct Broken {
    number: String,
    address: String,
    reason: Reason,
    serial: u64,
}

fn water_file(city: &City, day: u32) -> String {
    format!("{:04}-{}.csv", day + 1, city.plan.date(day).format("%Y%m%d"))
}

fn open(city: &City, ledger: &mut Ledger, utility: Utility, day: u32) -> Result<(Out, String), Error> {
    let name = match utility {
        Utility::Water => water_file(city, day),
        Utility::Power => "readings.jsonl".to_owned(),
        Utility::Gas => {
            let week = city.plan.date(day).iso_week();
            format!("{:04}-{}W{:02}.csv", day / 7 + 1, week.year(), week.week())
        }
    };
    let mut out = ledger.source(utility.id(), &name)?;
    match utility {
        Utility::Water => out.raw(&WATER.row(&WATER_HEADER))?,
        Utility::Gas => out.raw(&GAS.row(&GAS_HEADER))?,
        Utility::Power => {}
    }
    Ok((out, name))
}

fn decimal(hundredths: u32) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn water_cells(number: &str, address: String, reading: &Pending, date: NaiveDate) -> Vec<String> {
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

fn gas_cells(number: &str, address: String, reading: &Pending, date: NaiveDate) -> Vec<String> {
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
    reading: &Pending,
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
    reading: &Pending,
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

/// The day whose water file is sent twice.
fn day_sent_again(city: &City) -> u32 {
    city.plan.days * 2 / 5
}

/// The same file once more, byte for byte.
fn send_again(
    ledger: &mut Ledger,
    source: &std::path::Path,
    name: &str,
    broken: &[(Reason, String)],
) -> Result<(), Error> {
    let id = Utility::Water.id();
    let bytes = std::fs::read(source).map_err(Error::file("reading back", source))?;
    let rows = bytes.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1) as u64;
    let mut out = ledger.source(id, name)?;
    out.raw(&bytes)?;
    ledger.close(id, out)?;
    for (reason, key) in broken {
        ledger.broke(id, name, *reason, key)?;
    }
    let good = rows - broken.len() as u64;
    let feed = ledger.feed(id);
    feed.records += good;
    feed.repeated += good;
    Ok(())
}

/// A few accounts with a column that no contract knows, and that holds what nobody should see.
fn extra_column(city: &City, ledger: &mut Ledger, name: &str) -> Result<(), Error> {
    let id = Utility::Water.id();
    let mut out = ledger.source(id, name)?;
    out.raw(&WATER.row(&[&WATER_HEADER[..], &["联系电话"]].concat()))?;
    let date = city.plan.end;
    for account in
        (0..city.dwellings.len() as u32).step_by(61).filter(|a| has_account(city, Utility::Water, *a)).take(5)
    {
        let number = Utility::Water.account(city, account);
        let reading = Pending { account, day: city.plan.days - 1, hundredths: 30 };
        let mut cells = water_cells(&number, Utility::Water.address(city, account).text, &reading, date);
        cells.push(format!("{}TEL-{account:08}", crate::CANARY));
        out.raw(&WATER.row(&cells))?;
        ledger.broke(id, name, Reason::UnknownColumn, &format!("{number}|{}", cells[2]))?;
    }
    ledger.close(id, out)
}
