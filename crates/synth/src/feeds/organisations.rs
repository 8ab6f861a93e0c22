//! civil-affairs/organisations: an Excel workbook of registered social organisations and their premises. Most dates are
//! real date cells, some are text, as in every register that people have typed into.

use chrono::{Datelike, NaiveDate};
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, Worksheet, XlsxError};
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, Place, days_before, scramble};
use crate::dice::{Dice, Domain};
use crate::ledger::{Breaker, Ledger};
use crate::spell::{self, Done, Feed};

use super::strangers;

const FEED: &str = "civil-affairs/organisations";
const HEADER: [&str; 7] = ["统一社会信用代码", "名称", "类型", "住所", "成立日期", "状态", "法定代表人"];
const BROKEN: [Reason; 5] =
    [Reason::EmptyAddress, Reason::BadDate, Reason::MissingKey, Reason::OtherProvince, Reason::MissingValue];
const KINDS: [(&str, &str, &str); 8] = [
    ("老年协会", "社会团体", "51"),
    ("志愿者协会", "社会团体", "51"),
    ("书画协会", "社会团体", "51"),
    ("乒乓球协会", "社会团体", "51"),
    ("居家养老服务中心", "社会服务机构", "52"),
    ("托育园", "社会服务机构", "52"),
    ("社会工作服务中心", "社会服务机构", "52"),
    ("公益基金会", "基金会", "53"),
];

struct Organisation {
    code: String,
    name: String,
    class: &'static str,
    premises: String,
    founded: NaiveDate,
    /// A typed date instead of a date cell.
    typed: Option<String>,
    status: &'static str,
    head: String,
}

pub(crate) fn write(city: &City, ledger: &mut Ledger) -> Result<(), Error> {
    let name = "organisations-202511.xlsx";
    let mut rows: Vec<Organisation> = Vec::new();
    let mut breaker = Breaker::new(city, FEED, &BROKEN, 5);
    // On the ground floor, where a sign can hang.
    let grounds: Vec<u32> = (0..city.dwellings.len() as u32)
        .filter(|&d| {
            city.dwellings[d as usize].room < 200
                && city.dwellings[d as usize].home.crowd == 0
                && city.is_in_use(d, 0)
        })
        .collect();
    let wanted = (city.dwellings.len() as u32 / 120).max(30).min(grounds.len() as u32);
    for at in 0..wanted {
        // Evenly over the city, each at a room of its own.
        let dwelling = grounds[(u64::from(at) * grounds.len() as u64 / u64::from(wanted)) as usize];
        let (it, done) = organisation(city, at, dwelling);
        let place = done.map(|_| city.code(Place::Dwelling(dwelling)));
        ledger.matched(FEED, &it.code, place.as_deref(), done.unwrap_or_default())?;
        ledger.feed(FEED).records += 1;
        rows.push(it);
        if let Some(reason) = breaker.due() {
            let broken = break_row(city, at, dwelling, reason, ledger, name)?;
            rows.push(broken);
        }
    }
    // One comes twice, as it does when two clerks keep one list.
    if let Some(first) = grounds.first() {
        rows.push(organisation(city, 0, *first).0);
        ledger.feed(FEED).records += 1;
        ledger.feed(FEED).repeated += 1;
    }
    save(ledger, name, city, &rows)
}

/// And what was done to its address; `None` if it is a stranger's.
fn organisation(city: &City, at: u32, dwelling: u32) -> (Organisation, Option<Done>) {
    let mut dice = Dice::new(city.plan.seed, Domain::Organisation, u64::from(at));
    let place = Place::Dwelling(dwelling);
    let compound = city.compound_of(place);
    let (kind, class, prefix) = *dice.pick(&KINDS);
    let code = format!(
        "{prefix}{}MJ{:08}",
        city.county_of(compound).code,
        scramble(at, 100_000_000, city.plan.seed + 19)
    );
    let stranger = dice.chance(city.plan.rates.strangers);
    let (premises, done) = if stranger {
        (strangers::address(city, &mut dice), None)
    } else {
        let spelled = spell::spell(city, Feed::Organisations, place, u64::from(at));
        (spelled.text, Some(spelled.done))
    };
    let founded = days_before(city.plan.start(), dice.between(100, 9_000));
    let typed = match dice.below(100) {
        0..6 => Some(founded.to_string()),
        6..10 => Some(format!("{}年{}月{}日", founded.year(), founded.month(), founded.day())),
        _ => None,
    };
    let it = Organisation {
        code,
        name: format!("{}{}{kind}", city.county_of(compound).name, city.community_of(compound).name),
        class,
        premises,
        founded,
        typed,
        status: dice.weighted(&[("正常", 90.0), ("注销", 8.0), ("撤销", 2.0)]),
        head: format!("{}NAME-{at:06}", crate::CANARY),
    };
    (it, done)
}

fn break_row(
    city: &City,
    at: u32,
    dwelling: u32,
    reason: Reason,
    ledger: &mut Ledger,
    file: &str,
) -> Result<Organisation, Error> {
    let serial = ledger.feed(FEED).broken_total();
    let mut dice = Dice::new(city.plan.seed, Domain::Stranger, 1 << 42 | serial);
    let spelled = spell::spell(city, Feed::Organisations, Place::Dwelling(dwelling), u64::from(at));
    let mut it = Organisation {
        code: format!("51{}MJ9{serial:07}", city.counties[0].code),
        name: "已录入待核组织".to_owned(),
        class: "社会团体",
        premises: spelled.text,
        founded: days_before(city.plan.start(), 400),
        typed: None,
        status: "正常",
        head: format!("{}NAME-X{serial:05}", crate::CANARY),
    };
    match reason {
        Reason::EmptyAddress => it.premises.clear(),
        Reason::BadDate => it.typed = Some("2025-02-30".to_owned()),
        Reason::MissingKey => it.code.clear(),
        Reason::OtherProvince => {
            it.premises = strangers::abroad(city, &mut dice);
            ledger.matched(FEED, &it.code, None, Done::default())?;
        }
        _ => it.name.clear(),
    }
    ledger.broke(FEED, file, reason, &it.code)?;
    Ok(it)
}

fn save(ledger: &mut Ledger, name: &str, city: &City, rows: &[Organisation]) -> Result<(), Error> {
    let mut out = ledger.source(FEED, name)?;
    let path = out.path().to_path_buf();
    let bytes = workbook(city, rows).map_err(|source| Error::Workbook { path, source: Box::new(source) })?;
    out.raw(&bytes)?;
    ledger.close(FEED, out)
}

fn workbook(city: &City, rows: &[Organisation]) -> Result<Vec<u8>, XlsxError> {
    let mut sheet = Worksheet::new();
    sheet.set_name("社会组织")?;
    let date = Format::new().set_num_format("yyyy-mm-dd");
    for (column, title) in HEADER.iter().enumerate() {
        sheet.write_string(0, column as u16, *title)?;
    }
    for (row, it) in (1u32..).zip(rows) {
        for (column, text) in [
            (0, it.code.as_str()),
            (1, &it.name),
            (2, it.class),
            (3, &it.premises),
            (5, it.status),
            (6, &it.head),
        ] {
            if !text.is_empty() {
                sheet.write_string(row, column, text)?;
            }
        }
        match &it.typed {
            Some(text) => sheet.write_string(row, 4, text)?,
            None => sheet.write_datetime_with_format(row, 4, excel_date(it.founded)?, &date)?,
        };
    }
    let mut workbook = Workbook::new();
    // A workbook remembers when it was made; ours is made when the plan ends.
    workbook.set_properties(&DocProperties::new().set_creation_datetime(&excel_date(city.plan.end)?));
    workbook.push_worksheet(sheet);
    workbook.save_to_buffer()
}

fn excel_date(date: NaiveDate) -> Result<ExcelDateTime, XlsxError> {
    ExcelDateTime::from_ymd(date.year() as u16, date.month() as u8, date.day() as u8)
}
