//! What departments say, drawn from a seed: records as bytes, and what each means, for the oracle.
//!
//! Few keys and many versions: the same again, the same in other bytes, corrected, moved to another place, withdrawn,
//! of an earlier day, broken, and back to what was said before. Two feeds also send full dumps, which have most of what there
//! is, with other records in between; not each of them comes to its end.

use std::rc::Rc;

use prost::Message as _;
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use yibiao_contracts::Door;
use yibiao_records::{Provenance, Value};

use crate::setup::{ADDRESSES, DUMPED, JUSTICE, POLICE, POWER, RAW_PARTITIONS, Setup, Spot, own_place};

/// What a record means.
#[derive(Debug)]
pub struct Said {
    pub feed: usize,
    pub key: String,
    /// Which of the script's records it is.
    pub number: usize,
    /// The full dump that it belongs to; 0 for none.
    pub dump: u64,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Holds {
        lies: Lies,
        valid_from_ms: i64,
        payload: Vec<Value>,
    },
    /// The source has it no longer.
    Gone,
    Broken,
    /// All records of its dump lie before this, in every partition.
    EndsDump,
}

#[derive(Debug)]
pub enum Lies {
    /// The record defines its place.
    Here(Spot),
    /// At one of [`ADDRESSES`].
    At(usize),
}

/// A record of a feed's script.
#[derive(Debug)]
pub struct Record {
    pub partition: i32,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub said: Rc<Said>,
}

const DAY_MS: i64 = 86_400_000;
/// Days as records tell them, and since 1970-01-01. The first two are outside a window of 30 days.
const DAYS: [(&str, i64); 6] = [
    ("2025-09-22", 20_353),
    ("2025-10-12", 20_373),
    ("2025-11-01", 20_393),
    ("2025-11-04", 20_396),
    ("2025-11-11", 20_403),
    ("2025-11-19", 20_411),
];
const COLUMNS: &str = "地址编码,标准地址,行政区划代码,省,市,区县,街道,社区,道路,门牌号,小区名称,楼栋,单元,户室,地址级别,状态,别名,更新时间";
const HOMES: [(&str, &str, &str); 4] = [
    ("QH-1-101", "1幢", "101室"),
    ("QH-1-102", "1幢", "102室"),
    ("QH-2-101", "2幢", "101室"),
    ("QH-1-103", "1幢", "103室"),
];

/// One script a feed.
pub fn scripts(setup: &Setup, doors: &mut [Door], rng: &mut ChaCha8Rng) -> Vec<Vec<Record>> {
    let scripts = setup.feeds.iter().map(|_| Vec::new()).collect();
    // So many that a dump may lack too many.
    let cases = if rng.random_range(0..8) == 0 { CASES_MANY } else { CASES_FEW };
    let mut writer = Writer { doors, scripts, cases, dumps: 0, rng };
    let records = writer.rng.random_range(12..=60);
    let dumps_percent = [0, 4, 8][writer.rng.random_range(0..3)];
    for _ in 0..records {
        let feed = *[POLICE, POWER, POWER, POWER, JUSTICE].choose(writer.rng).unwrap_or(&POWER);
        if DUMPED.contains(&feed) && writer.rng.random_range(0..20) < dumps_percent {
            writer.dump(feed);
        } else {
            writer.record(feed);
        }
    }
    writer.scripts
}

const CASES_FEW: usize = 4;
const CASES_MANY: usize = 26;

struct Writer<'a> {
    doors: &'a mut [Door],
    scripts: Vec<Vec<Record>>,
    /// How many mediation cases there are.
    cases: usize,
    /// The number of the last dump.
    dumps: u64,
    rng: &'a mut ChaCha8Rng,
}

impl Writer<'_> {
    /// A record of no dump.
    fn record(&mut self, feed: usize) {
        let script = &self.scripts[feed];
        let drawn = self.rng.random_range(0..100);
        let before = (drawn < 24).then(|| self.rng.random_range(0..script.len().max(1)));
        match before.and_then(|before| script.get(before)).filter(|before| !before.key.is_empty()) {
            Some(before) => {
                let said = again(before, script.len(), 0, drawn >= 14);
                self.scripts[feed].push(said);
            }
            None => {
                let nth = self.rng.random_range(0..self.keys(feed));
                self.say(feed, nth, 0);
            }
        }
    }

    /// Most of what there is, half of it as it was said last.
    fn dump(&mut self, feed: usize) {
        self.dumps += 1;
        let number = self.dumps;
        let had_percent = [10, 70, 70, 95][self.rng.random_range(0..4)];
        for nth in 0..self.keys(feed) {
            if self.rng.random_range(0..100) < 8 {
                self.record(feed);
            }
            if self.rng.random_range(0..100) < had_percent {
                let script = &self.scripts[feed];
                let key = key(feed, nth);
                let last = script.iter().rev().find(|record| record.key == key.as_bytes());
                match last.filter(|last| last.value.is_some() && self.rng.random()) {
                    Some(last) => {
                        let said = again(last, script.len(), number, false);
                        self.scripts[feed].push(said);
                    }
                    None => self.say(feed, nth, number),
                }
            }
        }
        if self.rng.random_range(0..100) < 85 {
            let ends = record(feed, self.scripts[feed].len(), number, Vec::new(), None, What::EndsDump);
            self.scripts[feed].push(ends);
        }
    }

    fn keys(&self, feed: usize) -> usize {
        match feed {
            POLICE => HOMES.len(),
            POWER => 1,
            _ => self.cases,
        }
    }

    /// Something new, of the nth of the feed's keys.
    fn say(&mut self, feed: usize, nth: usize, dump: u64) {
        let (value, what) = match feed {
            POLICE => place(self.rng, nth),
            POWER => reading(self.rng),
            _ => dispute(self.rng, nth, self.cases > CASES_FEW),
        };
        let columns = (feed == POLICE).then_some(COLUMNS.as_bytes());
        let key = self.doors[feed].admit(value.as_bytes(), columns).key;
        let number = self.scripts[feed].len();
        self.scripts[feed].push(record(feed, number, dump, key, Some(value.into_bytes()), what));
    }
}

/// What was said before: the same, or that it is gone.
fn again(before: &Record, number: usize, dump: u64, gone: bool) -> Record {
    let what = match &before.said.what {
        _ if gone => What::Gone,
        What::Holds { lies, valid_from_ms, payload } => What::Holds {
            lies: match lies {
                Lies::Here(spot) => Lies::Here(spot.clone()),
                Lies::At(address) => Lies::At(*address),
            },
            valid_from_ms: *valid_from_ms,
            payload: payload.clone(),
        },
        What::Gone => What::Gone,
        What::Broken => What::Broken,
        What::EndsDump => What::EndsDump,
    };
    let value = before.value.clone().filter(|_| !gone);
    record(before.said.feed, number, dump, before.key.clone(), value, what)
}

fn record(feed: usize, number: usize, dump: u64, key: Vec<u8>, value: Option<Vec<u8>>, what: What) -> Record {
    let partition = key.iter().map(|byte| i32::from(*byte)).sum::<i32>() % RAW_PARTITIONS[feed];
    let said = Said { feed, key: String::from_utf8_lossy(&key).into_owned(), number, dump, what };
    Record { partition, key, value, said: Rc::new(said) }
}

/// The nth key of a feed of full dumps.
fn key(feed: usize, nth: usize) -> String {
    if feed == POLICE { HOMES[nth].0.to_owned() } else { format!("D{nth}") }
}

fn reading(rng: &mut ChaCha8Rng) -> (String, What) {
    let meter = rng.random_range(1..=2);
    let (day, number) = *DAYS[2..].choose(rng).unwrap_or(&DAYS[2]);
    let (day, number) = if meter == 2 { (day, number) } else { DAYS[rng.random_range(0..4)] };
    let address = rng.random_range(0..ADDRESSES.len());
    let tenths: i64 = rng.random_range(1..=4) * 5;
    // The same in other bytes.
    let zeros = ["", "0", "00"].choose(rng).unwrap_or(&"");
    let (kwh, broken) = match rng.random_range(0..100) {
        0..8 => ("-1".to_owned(), true),
        _ => (format!("{}.{}{zeros}", tenths / 10, tenths % 10), false),
    };
    let value = format!(
        r#"{{"meter_no":"E{meter}","service_address":"{}","reading_date":"{day}","kwh":{kwh},"updated_at":null}}"#,
        ADDRESSES[address]
    );
    if rng.random_range(0..100) < 4 {
        let cut: String = value.chars().take(40).collect();
        return (cut, What::Broken);
    }
    let payload = vec![Value::Decimal(tenths * 100)];
    (value, holds(Lies::At(address), number * DAY_MS - 8 * 3_600_000, payload, broken))
}

fn dispute(rng: &mut ChaCha8Rng, case: usize, many: bool) -> (String, What) {
    let (day, number) = *DAYS.choose(rng).unwrap_or(&DAYS[0]);
    let address = rng.random_range(0..ADDRESSES.len());
    // Where there are many, most are at an address that is found.
    let address = if many && rng.random_range(0..8) > 0 { 0 } else { address };
    let category = *["邻里纠纷", "租赁纠纷"].choose(rng).unwrap_or(&"邻里纠纷");
    let broken = rng.random_range(0..100) < 8;
    let accepted = if broken { "昨天".to_owned() } else { format!("{day}T09:00:00") };
    let value = format!(
        r#"{{"case_no":"D{case}","category":"{category}","accepted_at":"{accepted}","closed_at":null,"address":"{}","outcome":null}}"#,
        ADDRESSES[address]
    );
    if rng.random_range(0..200) < 3 {
        let cut: String = value.chars().take(8).collect();
        return (cut, What::Broken);
    }
    let at_ms = number * DAY_MS + 3_600_000;
    let payload = vec![Value::Text(category.into()), Value::Timestamp(at_ms), Value::Null, Value::Null];
    (value, holds(Lies::At(address), at_ms, payload, broken))
}

fn place(rng: &mut ChaCha8Rng, home: usize) -> (String, What) {
    let (id, building, room) = HOMES[home];
    let (day, number) = *DAYS.choose(rng).unwrap_or(&DAYS[0]);
    let (status, code) = *[("在用", "in_use"), ("停用", "stopped"), ("注销", "withdrawn")]
        .choose(rng)
        .unwrap_or(&("在用", "in_use"));
    let alias = *["", "青禾苑"].choose(rng).unwrap_or(&"");
    let broken = rng.random_range(0..100) < 8;
    let level = if broken { "楼层" } else { "户室" };
    let address = format!("南京市鼓楼区上海路12号青禾新村{building}1单元{room}");
    let cells = [
        id,
        &address,
        "320106",
        "江苏省",
        "南京市",
        "鼓楼区",
        "",
        "",
        "上海路",
        "12号",
        "青禾新村",
        building,
        "1单元",
        room,
        level,
        status,
        alias,
        &format!("{day} 08:00:00"),
    ];
    let text = |text: &str| if text.is_empty() { Value::Null } else { Value::Text(text.into()) };
    let mut payload: Vec<Value> = [id, &address, "dwelling", code, alias].into_iter().map(text).collect();
    payload.extend(cells[3..14].iter().copied().map(text));
    payload.push(text("320106"));
    let spot = Spot {
        place: own_place(id),
        level: "dwelling".into(),
        provisional: false,
        division_code: "320106000000".into(),
    };
    (cells.join(","), holds(Lies::Here(spot), number * DAY_MS, payload, broken))
}

fn holds(lies: Lies, valid_from_ms: i64, payload: Vec<Value>, broken: bool) -> What {
    if broken { What::Broken } else { What::Holds { lies, valid_from_ms, payload } }
}

/// The header that a connector gives records of a feed.
pub fn provenance(setup: &Setup, said: &Said) -> Rc<[u8]> {
    let columns = if said.feed == POLICE { COLUMNS.as_bytes().to_vec() } else { Vec::new() };
    let feed = setup.feeds[said.feed].contract.feed.to_string();
    let ends_dump = matches!(said.what, What::EndsDump);
    let (source, dump) = ("simulation".to_owned(), said.dump);
    Provenance { feed, source, columns, dump, ends_dump, ..Provenance::default() }.encode_to_vec().into()
}
