//! The three utilities, day by day: which readings are made, which come late, twice, wrong at first, or never.
//!
//! ```text
//!  use of the day --> Meters::read --> arrival: at once | late | twice | wrong, then right | never --> the day's rows
//! ```
//! Only the readings that are still on their way are held (about two in a hundred of a few days).

use std::collections::BTreeMap;

use chrono::Datelike;
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, Place};
use crate::dice::{Dice, Domain};
use crate::ledger::{Breaker, Ledger, Out};
use crate::spell::Done;

use super::readings::{self, API_BROKEN, Addresses, Broken, CSV_BROKEN, Reading, Rows, Utility};
use super::strangers;

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

struct Meter {
    utility: Utility,
    out: Out,
    file: String,
    breaker: Breaker,
    addresses: Addresses,
    rows: Rows,
    pending: BTreeMap<u32, Vec<Reading>>,
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
        let mut meters = Vec::new();
        for utility in Utility::ALL {
            let mut addresses = Addresses::new();
            for index in 0..total {
                if !has_account(city, utility, index) {
                    addresses.push(utility, "");
                    continue;
                }
                accounts[index as usize] |= 1 << utility as u8;
                let place = (index < city.dwellings.len() as u32).then(|| city.code(Place::Dwelling(index)));
                let spelled = utility.address(city, index);
                addresses.push(utility, &spelled.text);
                let number = utility.account(city, index);
                ledger.matched(utility.id(), &number, place.as_deref(), spelled.done)?;
            }
            let kinds: &'static [Reason] = if utility == Utility::Power { &API_BROKEN } else { &CSV_BROKEN };
            let (out, file) = open(city, ledger, utility, 0)?;
            meters.push(Meter {
                utility,
                out,
                file,
                breaker: Breaker::new(city, utility.id(), kinds, 31),
                addresses,
                rows: Rows::new(utility),
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
            let is_silent =
                city.dwellings.get(index as usize).is_some_and(|it| it.home.is_silent_on(day as i16));
            for (meter, dice) in self.meters.iter_mut().zip(&mut arrivals) {
                if is_silent && meter.utility != Utility::Gas {
                    continue;
                }
                if self.accounts[index as usize] & (1 << meter.utility as u8) != 0 {
                    let hundredths = (used[meter.utility as usize] * 100.0).round() as u32;
                    meter.arrive(city, ledger, dice, Reading { account: index, day, hundredths })?;
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
        reading: Reading,
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
            self.write(city, ledger, &Reading { hundredths: wrong, ..reading }, day)?;
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
        reading: &Reading,
        today: u32,
    ) -> Result<(), Error> {
        if let Some(reason) = self.breaker.due() {
            self.write_broken(city, ledger, reading, today, reason)?;
        }
        ledger.feed(self.utility.id()).records += 1;
        let address = self.addresses.of(reading.account);
        self.out.raw(self.rows.row(city, reading, address, today))
    }

    fn write_broken(
        &mut self,
        city: &City,
        ledger: &mut Ledger,
        reading: &Reading,
        today: u32,
        reason: Reason,
    ) -> Result<(), Error> {
        let feed = self.utility.id();
        let serial = ledger.feed(feed).broken_total();
        let mut broken = Broken {
            number: self.utility.account(city, reading.account),
            address: self.utility.address(city, reading.account).text,
            reason,
            serial,
        };
        if matches!(reason, Reason::EmptyAddress | Reason::OtherProvince) {
            // Accounts of their own: what they say replaces nothing.
            broken.number = format!("9{}{serial:05}", &broken.number[..broken.number.len() - 6]);
            broken.address.clear();
            if reason == Reason::OtherProvince {
                let mut dice = Dice::new(city.plan.seed, Domain::Stranger, u64::MAX - serial);
                broken.address = strangers::abroad(city, &mut dice);
            }
            ledger.matched(feed, &broken.number, None, Done::default())?;
        }
        let (bytes, key) = readings::broken_row(self.utility, city, &broken, reading, today);
        self.out.raw(&bytes)?;
        ledger.broke(feed, &self.file, reason, &key)?;
        if self.utility == Utility::Water && self.file == water_file(city, day_sent_again(city)) {
            self.broken_again.push((reason, key));
        }
        Ok(())
    }
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
        Utility::Water => out.raw(&readings::WATER.row(&readings::WATER_HEADER))?,
        Utility::Gas => out.raw(&readings::GAS.row(&readings::GAS_HEADER))?,
        Utility::Power => {}
    }
    Ok((out, name))
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
    out.raw(&readings::WATER.row(&[&readings::WATER_HEADER[..], &["联系电话"]].concat()))?;
    let date = city.plan.end;
    for account in
        (0..city.dwellings.len() as u32).step_by(61).filter(|a| has_account(city, Utility::Water, *a)).take(5)
    {
        let number = Utility::Water.account(city, account);
        let reading = Reading { account, day: city.plan.days - 1, hundredths: 30 };
        let mut cells =
            readings::water_cells(&number, Utility::Water.address(city, account).text, &reading, date);
        cells.push(format!("{}TEL-{account:08}", crate::CANARY));
        out.raw(&readings::WATER.row(&cells))?;
        ledger.broke(id, name, Reason::UnknownColumn, &format!("{number}|{}", cells[2]))?;
    }
    ledger.close(id, out)
}
