//! justice/mediation-cases: one JSON object a line, when a case is accepted and again when it is closed. The court of
//! the street knows the counties by their former names.

use serde::Serialize;
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, Place, scramble};
use crate::dice::{Dice, Domain};
use crate::households::Kind;
use crate::ledger::{Breaker, Ledger, Out};
use crate::spell::{self, Done, Feed};

use super::strangers;

const FEED: &str = "justice/mediation-cases";
const BROKEN: [Reason; 6] = [
    Reason::Malformed,
    Reason::UnknownColumn,
    Reason::BadDate,
    Reason::EmptyAddress,
    Reason::OtherProvince,
    Reason::MissingColumn,
];

/// A case as it stands on a day.
#[derive(Clone, Copy)]
struct Event {
    day: u32,
    accepted_on: u32,
    place: Place,
    number: u32,
    category: &'static str,
    outcome: Option<&'static str>,
}

#[derive(Serialize)]
struct Row<'a> {
    case_no: String,
    category: &'a str,
    accepted_at: String,
    closed_at: Option<String>,
    address: String,
    outcome: Option<&'a str>,
}

pub(crate) struct Cases<'a> {
    city: &'a City,
    events: Vec<Event>,
    out: Out,
    file: String,
    breaker: Breaker,
}

impl<'a> Cases<'a> {
    pub fn open(city: &'a City, ledger: &mut Ledger) -> Result<Cases<'a>, Error> {
        let mut events = Vec::new();
        let mut number = 0;
        for dwelling in 0..city.dwellings.len() as u32 {
            draw(city, dwelling, &mut number, &mut events);
        }
        events.sort_by_key(|event| (event.day, event.number, event.outcome.is_some()));
        let file = "cases-0001.jsonl".to_owned();
        let out = ledger.source(FEED, &file)?;
        Ok(Cases { city, events, out, file, breaker: Breaker::new(city, FEED, &BROKEN, 2) })
    }

    pub fn day(&mut self, ledger: &mut Ledger, day: u32) -> Result<(), Error> {
        if day > 0 && day.is_multiple_of(7) {
            self.file = format!("cases-{:04}.jsonl", day / 7 + 1);
            let next = ledger.source(FEED, &self.file)?;
            ledger.close(FEED, std::mem::replace(&mut self.out, next))?;
        }
        let from = self.events.partition_point(|event| event.day < day);
        let to = self.events.partition_point(|event| event.day <= day);
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
        let row = self.row(event);
        let line = serde_json::to_string(&row).expect("invariant: a case is plain text");
        self.out.line(&line)?;
        ledger.feed(FEED).records += 1;
        if event.outcome.is_none() {
            let done = spell::spell(self.city, Feed::Cases, event.place, u64::from(event.number)).done;
            ledger.matched(FEED, &row.case_no, Some(&self.city.code(event.place)), done)?;
        } else {
            ledger.feed(FEED).corrected += 1;
        }
        let mut dice = Dice::new(self.city.plan.seed, Domain::Case, 1 << 40 | u64::from(event.number));
        if dice.chance(self.city.plan.rates.repeated) {
            self.out.line(&line)?;
            ledger.feed(FEED).records += 1;
            ledger.feed(FEED).repeated += 1;
        }
        match self.breaker.due() {
            Some(reason) => self.break_row(ledger, row, reason),
            None => Ok(()),
        }
    }

    fn row(&self, event: &Event) -> Row<'static> {
        let plan = &self.city.plan;
        let time = |day: u32, hour: u32| {
            format!("{}T{:02}:{:02}:00+08:00", plan.date(day), hour + event.number % 8, event.number * 7 % 60)
        };
        Row {
            case_no: format!(
                "苏调{}-{:07}",
                plan.start().format("%Y"),
                scramble(event.number, 10_000_000, plan.seed)
            ),
            category: event.category,
            accepted_at: time(event.accepted_on, 9),
            closed_at: event.outcome.map(|_| time(event.day, 10)),
            address: spell::spell(self.city, Feed::Cases, event.place, u64::from(event.number)).text,
            outcome: event.outcome,
        }
    }

    fn break_row(&mut self, ledger: &mut Ledger, mut row: Row<'_>, reason: Reason) -> Result<(), Error> {
        let serial = ledger.feed(FEED).broken_total();
        row.case_no = format!("苏调{}-X{serial:06}", self.city.plan.start().format("%Y"));
        match reason {
            Reason::BadDate => row.accepted_at = "2025-02-30T09:00:00+08:00".to_owned(),
            Reason::EmptyAddress => row.address.clear(),
            Reason::OtherProvince => {
                row.address = strangers::abroad(
                    self.city,
                    &mut Dice::new(self.city.plan.seed, Domain::Stranger, 1 << 43 | serial),
                );
                ledger.matched(FEED, &row.case_no, None, Done::default())?;
            }
            _ => {}
        }
        let mut value = serde_json::to_value(&row).expect("invariant: a case is plain text");
        if let Some(fields) = value.as_object_mut() {
            match reason {
                Reason::UnknownColumn => drop(fields.insert(
                    "parties".to_owned(),
                    format!("{}NAME-甲{serial};{}NAME-乙{serial}", crate::CANARY, crate::CANARY).into(),
                )),
                Reason::MissingColumn => drop(fields.shift_remove("accepted_at")),
                _ => {}
            }
        }
        let mut line = value.to_string();
        if reason == Reason::Malformed {
            line.truncate(line.find("\"address\"").unwrap_or(line.len()));
        }
        self.out.line(&line)?;
        ledger.broke(FEED, &self.file, reason, &row.case_no)
    }
}

/// The cases that a dwelling gives cause for.
fn draw(city: &City, dwelling: u32, number: &mut u32, events: &mut Vec<Event>) {
    let mut dice = Dice::new(city.plan.seed, Domain::Case, 1 << 41 | u64::from(dwelling));
    let home = &city.dwellings[dwelling as usize].home;
    let (probability, categories): (f64, &[&'static str]) = match home.kind {
        Kind::Crowded => (0.22, &["噪音扰民", "房屋租赁纠纷", "邻里纠纷", "房屋租赁纠纷"]),
        Kind::Leak => (0.25, &["漏水纠纷"]),
        Kind::Salon | Kind::HomeKitchen | Kind::ShortStay => (0.12, &["噪音扰民", "邻里纠纷"]),
        Kind::Dorm => (0.08, &["噪音扰民"]),
        Kind::SmallRental => (0.012, &["房屋租赁纠纷", "邻里纠纷"]),
        _ => (0.008, &["邻里纠纷", "物业纠纷", "漏水纠纷", "噪音扰民", "装修纠纷"]),
    };
    if !dice.chance(probability) || !city.is_in_use(dwelling, 0) {
        return;
    }
    let day = dice.below(city.plan.days);
    if home.kind == Kind::Crowded && !home.is_crowded_on(day as i16) {
        return;
    }
    let building = city.dwellings[dwelling as usize].building;
    let place = match dice.below(100) {
        0..84 => Place::Dwelling(dwelling),
        84..92 => Place::Building(building),
        _ => Place::Compound(city.buildings[building as usize].compound),
    };
    let accepted = Event {
        day,
        accepted_on: day,
        place,
        number: *number,
        category: dice.pick::<&str>(categories),
        outcome: None,
    };
    *number += 1;
    events.push(accepted);
    let closed = day + dice.between(2, 25);
    if closed < city.plan.days {
        let outcome =
            dice.weighted(&[("调解成功", 70.0), ("调解不成", 15.0), ("撤回申请", 10.0), ("转诉讼", 5.0)]);
        events.push(Event { day: closed, outcome: Some(outcome), ..accepted });
    }
}
