//! grid/hazard-reports: protobuf messages of the grid workers, in one file of length-delimited messages that the caller
//! produces onto the department's topic.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use prost::Message;
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, Place, scramble};
use crate::dice::{Dice, Domain};
use crate::households::Kind;
use crate::ledger::{Breaker, Ledger, Out};
use crate::spell::{self, Done, Feed};

use super::strangers;

const FEED: &str = "grid/hazard-reports";
const FILE: &str = "reports.binpb";
const BROKEN: [Reason; 6] = [
    Reason::WrongSchema,
    Reason::Malformed,
    Reason::EmptyAddress,
    Reason::OutOfRange,
    Reason::OtherProvince,
    Reason::MissingKey,
];
/// Longer than any message that is written here; a longer one means that the file is not ours.
const LONGEST_MESSAGE_BYTES: u64 = 64 * 1024;

/// `yibiao.grid.v1.HazardReport`
#[derive(Clone, PartialEq, Message)]
pub struct HazardReport {
    #[prost(string, tag = "1")]
    pub report_id: String,
    #[prost(string, tag = "2")]
    pub category: String,
    #[prost(string, tag = "3")]
    pub place_text: String,
    /// Milliseconds since 1970 in UTC.
    #[prost(int64, tag = "4")]
    pub observed_at: i64,
    /// 1 (a remark) to 5 (danger).
    #[prost(int32, tag = "5")]
    pub severity: i32,
    #[prost(string, tag = "6")]
    pub note: String,
}

/// Of another schema: the same tags mean other things.
#[derive(Clone, PartialEq, Message)]
struct StreetLamp {
    #[prost(uint64, tag = "1")]
    lamp: u64,
    #[prost(double, tag = "2")]
    lux: f64,
    #[prost(bool, tag = "3")]
    is_lit: bool,
}

#[derive(Clone, Copy)]
struct Event {
    /// Sent on this day.
    day: u32,
    observed_on: u32,
    place: Place,
    number: u32,
    category: &'static str,
    severity: i32,
}

pub(crate) struct Hazards<'a> {
    city: &'a City,
    events: Vec<Event>,
    out: Out,
    breaker: Breaker,
}

impl<'a> Hazards<'a> {
    pub fn open(city: &'a City, ledger: &mut Ledger) -> Result<Hazards<'a>, Error> {
        let mut events = Vec::new();
        let mut number = 0;
        for dwelling in 0..city.dwellings.len() as u32 {
            draw(city, dwelling, &mut number, &mut events);
        }
        for event in &mut events {
            let mut dice = Dice::new(city.plan.seed, Domain::Hazard, 1 << 40 | u64::from(event.number));
            if dice.chance(0.03) {
                event.day = event.observed_on + dice.between(1, 5);
                ledger.feed(FEED).late += 1;
            }
        }
        events.sort_by_key(|event| (event.day, event.number));
        let out = ledger.source(FEED, FILE)?;
        Ok(Hazards { city, events, out, breaker: Breaker::new(city, FEED, &BROKEN, 3) })
    }

    /// Writes what is sent on a day; on the last day also what would come later.
    pub fn day(&mut self, ledger: &mut Ledger, day: u32) -> Result<(), Error> {
        let from = self.events.partition_point(|event| event.day < day);
        let until = if day + 1 == self.city.plan.days { u32::MAX } else { day };
        let to = self.events.partition_point(|event| event.day <= until);
        for at in from..to {
            let event = self.events[at];
            self.put(ledger, &event)?;
        }
        Ok(())
    }

    pub fn close(self, ledger: &mut Ledger) -> Result<(), Error> {
        ledger.close(FEED, self.out)
    }

    fn put(&mut self, ledger: &mut Ledger, event: &Event) -> Result<(), Error> {
        let spelled = spell::spell(self.city, Feed::Hazards, event.place, u64::from(event.number));
        let report = self.report(event, spelled.text);
        ledger.matched(FEED, &report.report_id, Some(&self.city.code(event.place)), spelled.done)?;
        let mut dice = Dice::new(self.city.plan.seed, Domain::Hazard, 1 << 41 | u64::from(event.number));
        // The workers' phones send again when they hear no answer.
        let times = if dice.chance(0.02) { 2 } else { 1 };
        for _ in 0..times {
            self.out.raw(&report.encode_length_delimited_to_vec())?;
        }
        ledger.feed(FEED).records += times;
        ledger.feed(FEED).repeated += times - 1;
        match self.breaker.due() {
            Some(reason) => self.break_message(ledger, report, reason),
            None => Ok(()),
        }
    }

    fn report(&self, event: &Event, place_text: String) -> HazardReport {
        let plan = &self.city.plan;
        // Between 8:00 and 20:00 in Shanghai, which is 0:00 to 12:00 in UTC.
        let second = i64::from(event.number * 97 % 43_200);
        let midnight =
            plan.date(event.observed_on).and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
        let note = match event.category {
            "群租隔断" => "巡查发现房间内有隔断，床位较多",
            "飞线充电" => "楼上拉线下来给电动车充电",
            "消防通道堵塞" => "楼道内堆放杂物，已劝导清理",
            _ => "",
        };
        HazardReport {
            report_id: format!("HZ{:09}", scramble(event.number, 1_000_000_000, plan.seed + 23)),
            category: event.category.to_owned(),
            place_text,
            observed_at: midnight + second * 1_000,
            severity: event.severity,
            note: note.to_owned(),
        }
    }

    fn break_message(
        &mut self,
        ledger: &mut Ledger,
        mut report: HazardReport,
        reason: Reason,
    ) -> Result<(), Error> {
        let serial = ledger.feed(FEED).broken_total();
        report.report_id = format!("HZX{serial:06}");
        match reason {
            Reason::EmptyAddress => report.place_text.clear(),
            Reason::OutOfRange => report.severity = 9,
            Reason::MissingKey => report.report_id.clear(),
            Reason::OtherProvince => {
                report.place_text = strangers::abroad(
                    self.city,
                    &mut Dice::new(self.city.plan.seed, Domain::Stranger, 1 << 44 | serial),
                );
                ledger.matched(FEED, &report.report_id, None, Done::default())?;
            }
            _ => {}
        }
        let mut message = match reason {
            Reason::WrongSchema => {
                StreetLamp { lamp: 4_000 + serial, lux: 12.5, is_lit: true }.encode_to_vec()
            }
            _ => report.encode_to_vec(),
        };
        let key = message_key(&message);
        if reason == Reason::Malformed {
            // Cut within a field.
            message.truncate(message.len() - 3);
        }
        let mut framed = Vec::with_capacity(message.len() + 4);
        prost::encoding::encode_varint(message.len() as u64, &mut framed);
        framed.extend_from_slice(&message);
        self.out.raw(&framed)?;
        ledger.broke(FEED, FILE, reason, &key)
    }
}

/// The reports that a dwelling gives cause for.
fn draw(city: &City, dwelling: u32, number: &mut u32, events: &mut Vec<Event>) {
    let mut dice = Dice::new(city.plan.seed, Domain::Hazard, 1 << 42 | u64::from(dwelling));
    let home = &city.dwellings[dwelling as usize].home;
    if !city.is_in_use(dwelling, 0) {
        return;
    }
    type Weighted = (&'static str, f64);
    let (probability, categories): (f64, &[Weighted]) = match home.kind {
        Kind::Crowded => {
            (0.62, &[("群租隔断", 5.0), ("飞线充电", 3.0), ("消防通道堵塞", 2.0), ("燃气隐患", 1.0)])
        }
        // Neighbours suspect what they see: many people, many shoes, many bottles.
        Kind::Dorm | Kind::ShortStay => (0.14, &[("群租隔断", 4.0), ("消防通道堵塞", 2.0)]),
        Kind::BigFamily | Kind::Salon | Kind::Guests => (0.06, &[("群租隔断", 2.0), ("消防通道堵塞", 2.0)]),
        Kind::HomeKitchen => (0.10, &[("燃气隐患", 3.0), ("消防通道堵塞", 1.0)]),
        Kind::Leak => (0.05, &[("管道渗漏", 1.0)]),
        _ => (
            0.012,
            &[
                ("飞线充电", 4.0),
                ("消防通道堵塞", 4.0),
                ("高空抛物", 2.0),
                ("电动车入户", 2.0),
                ("楼道堆物", 4.0),
                ("群租隔断", 0.4),
            ],
        ),
    };
    let mut probability = probability;
    while dice.chance(probability) {
        probability *= 0.4;
        let day = dice.below(city.plan.days);
        if home.kind == Kind::Crowded && !home.is_crowded_on(day as i16) {
            continue;
        }
        let category = dice.weighted(categories);
        let it = &city.dwellings[dwelling as usize];
        // What is seen in a stairway is reported for the stairway.
        let seen_outside = !matches!(category, "群租隔断" | "燃气隐患" | "管道渗漏");
        let place = match dice.below(100) {
            0..30 if seen_outside && it.unit > 0 => Place::Unit(it.building, it.unit),
            30..45 if seen_outside => Place::Building(it.building),
            45..50 if seen_outside => Place::Compound(city.buildings[it.building as usize].compound),
            95..100 => Place::Building(it.building),
            _ => Place::Dwelling(dwelling),
        };
        let severity =
            if home.kind == Kind::Crowded { dice.between(2, 5) } else { dice.between(1, 4) } as i32;
        events.push(Event { day, observed_on: day, place, number: *number, category, severity });
        *number += 1;
    }
}

/// The key under which a message is produced: its report id, or, where there is none to read, a hash of its bytes.
fn message_key(message: &[u8]) -> String {
    match HazardReport::decode(message) {
        Ok(report) if !report.report_id.is_empty() => report.report_id,
        _ => {
            let hash = message.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            format!("unreadable-{hash:016x}")
        }
    }
}

/// The messages of a written city in their order, to be produced onto the department's topic: key and value.
pub fn hazard_messages(dir: &Path) -> Result<HazardMessages, Error> {
    let path = dir.join("sources").join(FEED).join(FILE);
    let file = File::open(&path).map_err(Error::file("opening", &path))?;
    Ok(HazardMessages { reader: BufReader::new(file), path, at: 0, is_done: false })
}

/// See [`hazard_messages`].
pub struct HazardMessages {
    reader: BufReader<File>,
    path: PathBuf,
    at: u64,
    is_done: bool,
}

impl HazardMessages {
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut length = 0u64;
        for shift in (0..70).step_by(7) {
            let mut byte = [0u8; 1];
            let read = self.reader.read(&mut byte).map_err(Error::file("reading", &self.path))?;
            if read == 0 && shift == 0 {
                return Ok(None);
            }
            if read == 0 || shift > 56 {
                return Err(self.cut());
            }
            self.at += 1;
            length |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        if length > LONGEST_MESSAGE_BYTES {
            return Err(self.cut());
        }
        let mut message = vec![0u8; length as usize];
        self.reader.read_exact(&mut message).map_err(|_| self.cut())?;
        self.at += length;
        Ok(Some(message))
    }

    fn cut(&self) -> Error {
        Error::Hazards { path: self.path.clone(), at: self.at }
    }
}

impl Iterator for HazardMessages {
    type Item = Result<(String, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        match self.next_message() {
            Ok(Some(message)) => Some(Ok((message_key(&message), message))),
            Ok(None) => None,
            Err(error) => {
                self.is_done = true;
                Some(Err(error))
            }
        }
    }
}
