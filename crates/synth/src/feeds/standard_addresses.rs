//! police/standard-addresses: a full dump, two increments, and the full dump again, as UTF-8 CSV with a byte order mark
//! in the dumps. The dump that comes again repeats what is known, so that nearly all of it should count as unchanged.

use chrono::NaiveDate;
use encoding_rs::UTF_8;
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, NEVER, Place, days_before};
use crate::dice::{Dice, Domain};
use crate::ledger::{Breaker, Dialect, Ledger, Out, spoil};
use crate::spell;

use super::strangers;

pub(crate) const FEED: &str = "police/standard-addresses";
const HEADER: [&str; 18] = [
    "地址编码",
    "标准地址",
    "行政区划代码",
    "省",
    "市",
    "区县",
    "街道",
    "社区",
    "道路",
    "门牌号",
    "小区名称",
    "楼栋",
    "单元",
    "户室",
    "地址级别",
    "状态",
    "别名",
    "更新时间",
];
const DIALECT: Dialect = Dialect { separator: ',', line_end: "\n", encoding: UTF_8 };
const BROKEN: [Reason; 7] = [
    Reason::Undecodable,
    Reason::Malformed,
    Reason::BadDate,
    Reason::EmptyAddress,
    Reason::OtherProvince,
    Reason::BadValue,
    Reason::MissingKey,
];

/// All files of the feed.
pub(crate) fn write(city: &City, ledger: &mut Ledger) -> Result<(), Error> {
    let mut writer = Writer { city, breaker: Breaker::new(city, FEED, &BROKEN, 29), broken: 0 };
    writer.file(ledger, "full-0001.csv", true, |_| Some(0))?;
    for epoch in [1u8, 2] {
        writer.file(ledger, &format!("increment-000{}.csv", epoch + 1), false, |place| {
            changed_in(city, place, epoch).then_some(epoch)
        })?;
    }
    writer.extra_column(ledger)?;
    let before = ledger.feed(FEED).records;
    let broken = writer.broken;
    writer.file(ledger, "full-0005.csv", true, |_| Some(2))?;
    let again = ledger.feed(FEED).records - before - (writer.broken - broken);
    ledger.feed(FEED).repeated += again;
    Ok(())
}

struct Writer<'a> {
    city: &'a City,
    breaker: Breaker,
    broken: u64,
}

impl Writer<'_> {
    /// Writes the places for which `epoch_of` names an epoch and that are listed then.
    fn file(
        &mut self,
        ledger: &mut Ledger,
        name: &str,
        full: bool,
        epoch_of: impl Fn(Place) -> Option<u8>,
    ) -> Result<(), Error> {
        let mut out = ledger.source(FEED, name)?;
        if full {
            out.raw(b"\xef\xbb\xbf")?;
        }
        out.raw(&DIALECT.row(&HEADER))?;
        for place in self.city.places() {
            let Some(cells) = epoch_of(place).and_then(|epoch| row(self.city, place, epoch)) else {
                continue;
            };
            ledger.feed(FEED).records += 1;
            out.raw(&DIALECT.row(&cells))?;
            if let Some(reason) = self.breaker.due() {
                self.broken += 1;
                self.break_row(ledger, &mut out, name, cells, reason)?;
            }
        }
        ledger.close(FEED, out)
    }

    /// A row of its own beside the good one, so that no standard address is lost.
    fn break_row(
        &mut self,
        ledger: &mut Ledger,
        out: &mut Out,
        file: &str,
        mut cells: Vec<String>,
        reason: Reason,
    ) -> Result<(), Error> {
        cells[0] = format!("{}9{:09}", &cells[0][..6], self.broken);
        let mut dice = Dice::new(self.city.plan.seed, Domain::StandardAddress, self.broken);
        match reason {
            Reason::BadDate => cells[17] = "2025-02-30 08:00:00".to_owned(),
            Reason::EmptyAddress => cells[1].clear(),
            Reason::OtherProvince => {
                cells[1] = strangers::abroad(self.city, &mut dice);
                cells[2] = "340503001001".to_owned();
                cells[3] = "安徽省".to_owned();
            }
            Reason::BadValue => cells[15] = "在建".to_owned(),
            Reason::MissingKey => cells[0].clear(),
            Reason::Malformed => cells.truncate(11),
            _ => {}
        }
        let row = DIALECT.row(&cells);
        out.raw(&if reason == Reason::Undecodable { spoil(&row, DIALECT.line_end) } else { row })?;
        ledger.broke(FEED, file, reason, &cells[0])
    }

    /// A small file with a column that no contract knows.
    fn extra_column(&self, ledger: &mut Ledger) -> Result<(), Error> {
        let name = "increment-0004.csv";
        let mut out = ledger.source(FEED, name)?;
        out.raw(&DIALECT.row(&[&HEADER[..], &["采集人"]].concat()))?;
        for at in (0..self.city.dwellings.len() as u32).step_by(97).take(3) {
            let Some(mut cells) = row(self.city, Place::Dwelling(at), 0) else { continue };
            cells.push(format!("{}NAME-采集员{at}", crate::CANARY));
            out.raw(&DIALECT.row(&cells))?;
            ledger.broke(FEED, name, Reason::UnknownColumn, &cells[0])?;
        }
        ledger.close(FEED, out)
    }
}

/// When the row of a place last changed, up to `epoch`; `None` if it is not listed yet.
fn version(city: &City, place: Place, epoch: u8) -> Option<u8> {
    let (building, listed) = match place {
        Place::Compound(_) => (None, 0),
        Place::Building(b) | Place::Unit(b, _) => (Some(b), city.buildings[b as usize].listed_from),
        Place::Dwelling(d) => {
            (Some(city.dwellings[d as usize].building), city.dwellings[d as usize].listed_from)
        }
    };
    if listed > epoch {
        return None;
    }
    let mut changed = listed;
    if let Some(building) = building.map(|b| &city.buildings[b as usize]) {
        for at in [building.used_from, building.withdrawn_from] {
            if at != NEVER && at <= epoch {
                changed = changed.max(at);
            }
        }
    }
    if epoch >= 1 && city.compound_of(place).renamed.is_some() {
        changed = changed.max(1);
    }
    Some(changed)
}

fn changed_in(city: &City, place: Place, epoch: u8) -> bool {
    version(city, place, epoch) == Some(epoch)
}

fn row(city: &City, place: Place, epoch: u8) -> Option<Vec<String>> {
    let changed = version(city, place, epoch)?;
    let compound = city.compound_of(place);
    let (county, township, community) =
        (city.county_of(compound), city.township_of(compound), city.community_of(compound));
    let new_name = compound.renamed.as_ref().filter(|_| epoch >= 1);
    let name = new_name.unwrap_or(&compound.name);
    let (building, unit, room) = spell::numbers(city, place);
    let mut aliases = Vec::new();
    if matches!(place, Place::Compound(_)) {
        aliases.clone_from(&compound.aliases);
        aliases.extend(compound.former.clone());
        if new_name.is_some() {
            aliases.push(compound.name.clone());
        }
    }
    let level = match place {
        Place::Compound(_) => "小区",
        Place::Building(_) => "楼栋",
        Place::Unit(..) => "单元",
        Place::Dwelling(_) => "户室",
    };
    Some(vec![
        city.code(place),
        spell::standard(city, place, name),
        community.code.clone(),
        "江苏省".to_owned(),
        county.city.clone(),
        county.name.clone(),
        township.name.clone(),
        community.name.clone(),
        city.road_of(compound).name.clone(),
        format!("{}号", compound.number),
        name.clone(),
        building.map(|label| spell::standard_building(city, place, &label)).unwrap_or_default(),
        unit.map(|unit| format!("{unit}单元")).unwrap_or_default(),
        room.map(|room| format!("{room}室")).unwrap_or_default(),
        level.to_owned(),
        status(city, place, epoch).to_owned(),
        aliases.join(";"),
        updated_at(city, place, changed),
    ])
}

fn status(city: &City, place: Place, epoch: u8) -> &'static str {
    let building = match place {
        Place::Compound(_) => return "在用",
        Place::Building(b) | Place::Unit(b, _) => b,
        Place::Dwelling(d) => city.dwellings[d as usize].building,
    };
    let building = &city.buildings[building as usize];
    if building.withdrawn_from <= epoch {
        "注销"
    } else if building.used_from > epoch {
        "未启用"
    } else {
        // A room closed by the house office: rare, and the meters know nothing of it.
        match place {
            Place::Dwelling(d)
                if city.dwellings[d as usize].home.kind == crate::Kind::Empty && d.is_multiple_of(37) =>
            {
                "停用"
            }
            _ => "在用",
        }
    }
}

fn updated_at(city: &City, place: Place, changed: u8) -> String {
    let (index, date): (u64, NaiveDate) = match place {
        Place::Compound(at) => (u64::from(at), days_before(city.plan.start(), 20 + at * 7 % 900)),
        Place::Building(b) | Place::Unit(b, _) => {
            (u64::from(b), days_before(city.plan.start(), 20 + b * 11 % 900))
        }
        Place::Dwelling(d) => (u64::from(d), days_before(city.plan.start(), 20 + (d / 16) * 13 % 900)),
    };
    let date = if changed == 0 { date } else { city.plan.date(city.plan.epoch_day(changed)) };
    format!("{date} {:02}:{:02}:{:02}", 8 + index % 9, index * 7 % 60, index * 13 % 60)
}
