//! police/housing-registrations: who is registered where, as JSON lines in the order of `updated_at`, and as an SQL
//! script for PostgreSQL that ends in the same rows. The last two columns are personal; they are canaries here.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, Place, days_before, scramble};
use crate::dice::{Dice, Domain};
use crate::households::Kind;
use crate::ledger::{Breaker, Ledger, Out};
use crate::spell::{self, Done, Feed};

use super::strangers;

const FEED: &str = "police/housing-registrations";
/// A line that cannot be read may hold personal fields, so that its bytes must be withheld.
const BROKEN: [Reason; 9] = [
    Reason::Withheld,
    Reason::MissingColumn,
    Reason::UnknownColumn,
    Reason::BadDate,
    Reason::BadNumber,
    Reason::OutOfRange,
    Reason::EmptyAddress,
    Reason::OtherProvince,
    Reason::MissingKey,
];

/// One version of a registration.
#[derive(Debug, Clone, Serialize)]
struct Row {
    registration_id: String,
    address: String,
    area_m2: f64,
    rooms: u8,
    is_rental: bool,
    registered_count: u8,
    valid_from: String,
    updated_at: String,
    landlord_id_card: String,
    landlord_phone: String,
}

/// A later version, due on a day of the plan.
#[derive(Debug, Clone, Copy)]
struct Change {
    day: u32,
    dwelling: u32,
    is_rental: bool,
    registered: u8,
}

pub(crate) struct Registrations<'a> {
    city: &'a City,
    out: Out,
    breaker: Breaker,
    changes: Vec<Change>,
    repeat: Dice,
}

impl<'a> Registrations<'a> {
    /// Writes the registrations as they stand when the plan begins.
    pub fn open(city: &'a City, ledger: &mut Ledger) -> Result<Registrations<'a>, Error> {
        let out = ledger.source(FEED, "registrations.jsonl")?;
        let breaker = Breaker::new(city, FEED, &BROKEN, 17);
        let mut this = Registrations {
            city,
            out,
            breaker,
            changes: Vec::new(),
            repeat: Dice::new(city.plan.seed, Domain::Registration, u64::MAX),
        };
        // The oldest first, as a cursor on the update time would bring them.
        let mut order: Vec<u32> =
            (0..city.dwellings.len() as u32).filter(|d| is_registered(city, *d)).collect();
        order.sort_by_cached_key(|&d| (std::cmp::Reverse(age_days(city, d)), clock(d)));
        for dwelling in order {
            let spelled =
                spell::spell(city, Feed::Registrations, Place::Dwelling(dwelling), u64::from(dwelling));
            ledger.matched(
                FEED,
                &registration_id(city, dwelling),
                Some(&city.code(Place::Dwelling(dwelling))),
                spelled.done,
            )?;
            this.put(ledger, &base(city, dwelling, spelled.text))?;
            this.changes.extend(change(city, dwelling));
        }
        this.changes.sort_by_key(|change| (change.day, clock(change.dwelling)));
        Ok(this)
    }

    /// Writes what changed on a day.
    pub fn day(&mut self, ledger: &mut Ledger, day: u32) -> Result<(), Error> {
        let from = self.changes.partition_point(|change| change.day < day);
        let to = self.changes.partition_point(|change| change.day <= day);
        for at in from..to {
            let change = self.changes[at];
            ledger.feed(FEED).corrected += 1;
            self.put(ledger, &changed(self.city, &change))?;
        }
        Ok(())
    }

    pub fn close(self, ledger: &mut Ledger, dir: &std::path::Path) -> Result<(), Error> {
        ledger.close(FEED, self.out)?;
        write_sql(self.city, &self.changes, dir)
    }

    fn put(&mut self, ledger: &mut Ledger, row: &Row) -> Result<(), Error> {
        let line = json(row);
        let times = if self.repeat.chance(self.city.plan.rates.repeated) { 2 } else { 1 };
        for _ in 0..times {
            self.out.line(&line)?;
        }
        ledger.feed(FEED).records += times;
        ledger.feed(FEED).repeated += times - 1;
        match self.breaker.due() {
            Some(reason) => self.break_row(ledger, row, reason),
            None => Ok(()),
        }
    }

    fn break_row(&mut self, ledger: &mut Ledger, row: &Row, reason: Reason) -> Result<(), Error> {
        let serial = ledger.feed(FEED).broken_total();
        let mut row = Row { registration_id: format!("FWX{serial:07}"), ..row.clone() };
        let mut dice = Dice::new(self.city.plan.seed, Domain::Stranger, 1 << 40 | serial);
        match reason {
            Reason::BadDate => row.valid_from = "2025-02-30".to_owned(),
            Reason::EmptyAddress => row.address.clear(),
            Reason::OtherProvince => row.address = strangers::abroad(self.city, &mut dice),
            Reason::MissingKey => row.registration_id.clear(),
            _ => {}
        }
        let mut value = serde_json::to_value(&row).expect("invariant: a row is plain text and numbers");
        if let Some(fields) = value.as_object_mut() {
            match reason {
                Reason::MissingColumn => drop(fields.shift_remove("updated_at")),
                Reason::UnknownColumn => {
                    drop(fields.insert(
                        "tenant_names".to_owned(),
                        format!("{}NAME-{serial:04}", crate::CANARY).into(),
                    ))
                }
                Reason::BadNumber => drop(fields.insert("area_m2".to_owned(), Value::from("八十平方"))),
                Reason::OutOfRange => drop(fields.insert("registered_count".to_owned(), Value::from(-3))),
                _ => {}
            }
        }
        let mut line = value.to_string();
        if reason == Reason::Withheld {
            // Cut behind the personal fields' beginning, at a whole character.
            let cut = line.find("landlord_phone").unwrap_or(line.len());
            line.truncate(cut);
        }
        self.out.line(&line)?;
        if reason == Reason::OtherProvince {
            ledger.matched(FEED, &row.registration_id, None, Done::default())?;
        }
        ledger.broke(FEED, "registrations.jsonl", reason, &row.registration_id)
    }
}

fn json(row: &Row) -> String {
    serde_json::to_string(row).expect("invariant: a row is plain text and numbers")
}

/// The time of day at which its clerk works.
fn clock(dwelling: u32) -> String {
    format!("{:02}:{:02}:{:02}+08:00", 8 + dwelling % 10, dwelling / 10 % 60, dwelling / 600 % 60)
}

/// Some dwellings were never registered, crowded ones a little more often.
fn is_registered(city: &City, dwelling: u32) -> bool {
    let mut dice = Dice::new(city.plan.seed, Domain::Registration, u64::from(dwelling));
    let home = &city.dwellings[dwelling as usize].home;
    let unknown = if home.kind == Kind::Crowded { 0.03 } else { 0.04 };
    dice.unit() >= unknown && city.is_ever_in_use(dwelling)
}

/// Days before the plan on which it was last updated.
fn age_days(city: &City, dwelling: u32) -> u32 {
    Dice::new(city.plan.seed, Domain::Registration, 1 << 40 | u64::from(dwelling)).between(2, 1_400)
}

fn registration_id(city: &City, dwelling: u32) -> String {
    format!("FW{:08}", scramble(dwelling, 100_000_000, city.plan.seed + 17))
}

/// Whether the register knows that it is let: some of the crowded ones, and more of the small ones, were never declared.
fn declared_rental(city: &City, dwelling: u32) -> bool {
    let home = &city.dwellings[dwelling as usize].home;
    let undeclared = Dice::new(city.plan.seed, Domain::Registration, 1 << 41 | u64::from(dwelling)).unit();
    home.let_out
        && undeclared
            >= match home.kind {
                Kind::Crowded => 0.06,
                Kind::SmallRental => 0.25,
                _ => 0.05,
            }
}

fn base(city: &City, dwelling: u32, address: String) -> Row {
    let home = &city.dwellings[dwelling as usize].home;
    let age = age_days(city, dwelling);
    let updated = days_before(city.plan.start(), age);
    Row {
        registration_id: registration_id(city, dwelling),
        address,
        area_m2: f64::from(home.area_tenths) / 10.0,
        rooms: home.rooms,
        is_rental: declared_rental(city, dwelling),
        registered_count: home.registered,
        valid_from: days_before(updated, age % 40).to_string(),
        updated_at: format!("{updated}T{}", clock(dwelling)),
        landlord_id_card: format!(
            "{}ID-{}{dwelling:08}",
            crate::CANARY,
            city.county_of(city.compound_of(Place::Dwelling(dwelling))).code
        ),
        landlord_phone: format!("{}TEL-138{dwelling:08}", crate::CANARY),
    }
}

/// What changes within the plan: somebody moves in or out, or a let dwelling is declared.
fn change(city: &City, dwelling: u32) -> Option<Change> {
    let mut dice = Dice::new(city.plan.seed, Domain::Registration, 1 << 42 | u64::from(dwelling));
    let home = &city.dwellings[dwelling as usize].home;
    let is_rental = declared_rental(city, dwelling);
    if !dice.chance(0.02) || home.kind == Kind::Crowded {
        return None;
    }
    let day = dice.below(city.plan.days);
    let registered = match dice.below(3) {
        0 => home.registered + 1,
        1 => home.registered.saturating_sub(1),
        _ => home.registered,
    };
    let declared = is_rental || (home.let_out && dice.chance(0.5));
    (registered != home.registered || declared != is_rental).then_some(Change {
        day,
        dwelling,
        is_rental: declared,
        registered,
    })
}

fn changed(city: &City, change: &Change) -> Row {
    let dwelling = change.dwelling;
    let address =
        spell::spell(city, Feed::Registrations, Place::Dwelling(dwelling), u64::from(dwelling)).text;
    let date = city.plan.date(change.day);
    Row {
        is_rental: change.is_rental,
        registered_count: change.registered,
        valid_from: date.to_string(),
        updated_at: format!("{date}T{}", clock(dwelling)),
        ..base(city, dwelling, address)
    }
}

/// `<dir>/postgres/housing_registrations.sql`: the good rows as they stand at the end.
fn write_sql(city: &City, changes: &[Change], dir: &std::path::Path) -> Result<(), Error> {
    let mut out = Out::create(&dir.join("postgres/housing_registrations.sql"))?;
    out.line(
        "CREATE TABLE housing_registrations (\n  registration_id text PRIMARY KEY,\n  address text,\n  area_m2 numeric(8,1),\n  rooms integer,\n  \
         is_rental boolean,\n  registered_count integer,\n  valid_from date,\n  updated_at timestamptz NOT NULL,\n  landlord_id_card text,\n  \
         landlord_phone text\n);\nCREATE INDEX housing_registrations_cursor ON housing_registrations (updated_at, registration_id);\n\
         COPY housing_registrations (registration_id, address, area_m2, rooms, is_rental, registered_count, valid_from, updated_at, \
         landlord_id_card, landlord_phone) FROM stdin;",
    )?;
    let latest: std::collections::HashMap<u32, &Change> =
        changes.iter().map(|change| (change.dwelling, change)).collect();
    let mut line = String::new();
    for dwelling in (0..city.dwellings.len() as u32).filter(|d| is_registered(city, *d)) {
        let row = match latest.get(&dwelling) {
            Some(change) => changed(city, change),
            None => base(
                city,
                dwelling,
                spell::spell(city, Feed::Registrations, Place::Dwelling(dwelling), u64::from(dwelling)).text,
            ),
        };
        line.clear();
        let flag = if row.is_rental { 't' } else { 'f' };
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "{}\t{}\t{:.1}\t{}\t{flag}\t{}\t{}\t{}\t{}\t{}",
            row.registration_id,
            row.address,
            row.area_m2,
            row.rooms,
            row.registered_count,
            row.valid_from,
            row.updated_at,
            row.landlord_id_card,
            row.landlord_phone
        );
        out.line(&line)?;
    }
    out.line("\\.")?;
    out.finish().map(drop)
}
