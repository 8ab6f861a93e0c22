//! civil-affairs/place-names: roads and compounds named, renamed and withdrawn, as UTF-8 CSV. The increments announce
//! what the standard addresses begin to use on the same day.

use encoding_rs::UTF_8;
use yibiao_records::Reason;

use crate::Error;
use crate::city::{City, days_before, scramble};
use crate::dice::{Dice, Domain};
use crate::ledger::{Breaker, Dialect, Ledger, Out, spoil};
use crate::names::CompoundName;

pub(crate) const FEED: &str = "civil-affairs/place-names";
const HEADER: [&str; 9] =
    ["地名代码", "类别", "标准名称", "曾用名", "所在区县", "所在街道", "状态", "启用日期", "变更日期"];
const DIALECT: Dialect = Dialect { separator: ',', line_end: "\n", encoding: UTF_8 };
const BROKEN: [Reason; 5] =
    [Reason::Undecodable, Reason::Malformed, Reason::BadDate, Reason::MissingKey, Reason::BadValue];

pub(crate) fn write(city: &City, ledger: &mut Ledger) -> Result<(), Error> {
    let mut breaker = Breaker::new(city, FEED, &BROKEN, 2);
    let name = "full-0001.csv";
    let mut out = ledger.source(FEED, name)?;
    out.raw(&DIALECT.row(&HEADER))?;
    let roads = (0..city.roads.len()).map(|at| road(city, at));
    let compounds = (0..city.compounds.len()).map(|at| compound(city, at));
    for cells in roads.chain(compounds).chain((0..3 + city.compounds.len() / 40).map(|at| gone(city, at))) {
        put(city, ledger, &mut out, name, &mut breaker, cells)?;
    }
    ledger.close(FEED, out)?;

    let name = "increment-0002.csv";
    let mut out = ledger.source(FEED, name)?;
    out.raw(&DIALECT.row(&HEADER))?;
    for (at, it) in city.compounds.iter().enumerate() {
        let Some(new) = &it.renamed else { continue };
        let mut cells = compound(city, at);
        let mut former = vec![it.name.clone()];
        former.extend(it.former.clone());
        cells[2].clone_from(new);
        cells[3] = former.join(";");
        cells[6] = "更名".to_owned();
        cells[8] = city.plan.date(city.plan.epoch_day(1)).to_string();
        ledger.feed(FEED).corrected += 1;
        put(city, ledger, &mut out, name, &mut breaker, cells)?;
    }
    ledger.close(FEED, out)
}

fn put(
    city: &City,
    ledger: &mut Ledger,
    out: &mut Out,
    file: &str,
    breaker: &mut Breaker,
    cells: Vec<String>,
) -> Result<(), Error> {
    ledger.feed(FEED).records += 1;
    out.raw(&DIALECT.row(&cells))?;
    let Some(reason) = breaker.due() else { return Ok(()) };
    let mut cells = cells;
    let serial = ledger.feed(FEED).broken_total();
    cells[0] = format!("DM{}9{serial:07}", &city.counties[0].code);
    match reason {
        Reason::Malformed => cells.truncate(5),
        Reason::BadDate => cells[7] = "2025-13-01".to_owned(),
        Reason::MissingKey => cells[0].clear(),
        Reason::BadValue => cells[1] = "桥梁隧道".to_owned(),
        _ => {}
    }
    let row = DIALECT.row(&cells);
    out.raw(&if reason == Reason::Undecodable { spoil(&row, DIALECT.line_end) } else { row })?;
    ledger.broke(FEED, file, reason, &cells[0])
}

fn code(city: &City, county: usize, serial: u32) -> String {
    format!("DM{}{:08}", city.counties[county].code, scramble(serial, 100_000_000, city.plan.seed))
}

fn road(city: &City, at: usize) -> Vec<String> {
    let it = &city.roads[at];
    let township = city.counties[it.county].townships[it.township].name.clone();
    let opened = days_before(city.plan.start(), 4_000 + (at as u32 * 131) % 9_000);
    let changed = it
        .former
        .as_ref()
        .map(|_| days_before(city.plan.start(), 300 + (at as u32 * 57) % 3_000).to_string());
    row(
        code(city, it.county, at as u32 * 3),
        "道路",
        &it.name,
        it.former.clone(),
        &city.counties[it.county].name,
        township,
        opened.to_string(),
        changed,
    )
}

fn compound(city: &City, at: usize) -> Vec<String> {
    let it = &city.compounds[at];
    let township = city.township_of(it).name.clone();
    let age = (city.plan.start() - it.built).num_days() as u32;
    let changed = it.former.as_ref().map(|_| days_before(city.plan.start(), age / 3 + 30).to_string());
    row(
        code(city, it.county, at as u32 * 3 + 1),
        "住宅区",
        &it.name,
        it.former.clone(),
        &city.county_of(it).name,
        township,
        it.built.to_string(),
        changed,
    )
}

/// A compound that was pulled down years ago: its name is withdrawn and answers to no standard address.
fn gone(city: &City, at: usize) -> Vec<String> {
    let mut dice = Dice::new(city.plan.seed, Domain::PlaceName, at as u64);
    let county = dice.below(city.counties.len() as u32) as usize;
    let townships = &city.counties[county].townships;
    let township = townships[dice.below(townships.len() as u32) as usize].name.clone();
    let mut name = CompoundName::draw(&mut dice).full();
    while city.namesakes.contains_key(&name) {
        name = CompoundName::draw(&mut dice).full();
    }
    let opened = days_before(city.plan.start(), dice.between(9_000, 14_000)).to_string();
    let changed = days_before(city.plan.start(), dice.between(200, 3_000)).to_string();
    let mut cells = row(
        code(city, county, at as u32 * 3 + 2),
        "住宅区",
        &name,
        None,
        &city.counties[county].name,
        township,
        opened,
        Some(changed),
    );
    cells[6] = "注销".to_owned();
    cells
}

#[allow(clippy::too_many_arguments)]
fn row(
    code: String,
    class: &str,
    name: &str,
    former: Option<String>,
    county: &str,
    township: String,
    opened: String,
    changed: Option<String>,
) -> Vec<String> {
    let status = if former.is_some() { "更名" } else { "使用" };
    vec![
        code,
        class.to_owned(),
        name.to_owned(),
        former.unwrap_or_default(),
        county.to_owned(),
        township,
        status.to_owned(),
        opened,
        changed.unwrap_or_default(),
    ]
}
