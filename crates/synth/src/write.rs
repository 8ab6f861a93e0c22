//! The order in which a city's sources are written: what is (places, names, registers), then what happens, by day.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Error;
use crate::city::{City, Place};
use crate::feeds::{
    cases::Cases, hazards::Hazards, meters::Meters, organisations, place_names, registrations::Registrations,
    standard_addresses,
};
use crate::households::Kind;
use crate::ledger::{self, Ledger, Out};
use crate::plan::{Plan, Step};
use crate::report::{Crowded, Report};

/// Writes the city of a plan under `dir`: `sources/<department>/<feed>/…`, `postgres/` and `truth/`.
///
/// The same plan gives the same bytes. Memory holds the city (about 300 bytes a dwelling), never its readings.
///
/// # Errors
/// `Plan` if the plan is out of its limits, `Occupied` if `dir` holds a city already, `File` and `Workbook` if the disk
/// does not take it.
pub fn write_city(plan: &Plan, dir: &Path, mut progress: impl FnMut(Step)) -> Result<Report, Error> {
    plan.check()?;
    if dir.join("sources").exists() || dir.join("truth").exists() {
        return Err(Error::Occupied(dir.to_owned()));
    }
    let before = 4;
    let of = before + u64::from(plan.days) + 1;
    let mut tell = |what: &str, done: u64| progress(Step { what: what.to_owned(), done, of });

    tell("the city", 0);
    let city = City::grow(plan);
    let mut ledger = Ledger::new(dir)?;
    let places = ledger::write_places(&city, dir)?;
    tell("standard addresses", 1);
    standard_addresses::write(&city, &mut ledger)?;
    tell("place names and organisations", 2);
    place_names::write(&city, &mut ledger)?;
    organisations::write(&city, &mut ledger)?;
    tell("registrations", 3);
    let mut registrations = Registrations::open(&city, &mut ledger)?;
    let mut cases = Cases::open(&city, &mut ledger)?;
    let mut hazards = Hazards::open(&city, &mut ledger)?;
    let mut meters = Meters::open(&city, &mut ledger)?;
    for day in 0..plan.days {
        tell(&format!("day {}", plan.date(day)), before + u64::from(day));
        registrations.day(&mut ledger, day)?;
        meters.day(&mut ledger, day)?;
        cases.day(&mut ledger, day)?;
        hazards.day(&mut ledger, day)?;
    }
    tell("what comes late and twice", of - 1);
    registrations.close(&mut ledger, dir)?;
    meters.close(&mut ledger)?;
    cases.close(&mut ledger)?;
    hazards.close(&mut ledger)?;

    let report = report(&city, places, ledger)?;
    let mut out = Out::create(&dir.join("truth/report.json"))?;
    out.line(&serde_json::to_string_pretty(&report).expect("invariant: a report is plain text and numbers"))?;
    out.finish()?;
    tell("done", of);
    Ok(report)
}

fn report(city: &City, places: u32, ledger: Ledger) -> Result<Report, Error> {
    let mut dwellings_by_city: BTreeMap<String, u32> = BTreeMap::new();
    let mut dwellings_by_kind: BTreeMap<Kind, u32> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    let (mut crowded, mut silent) = (Crowded::default(), 0);
    let last = city.plan.days as i16 - 1;
    for (at, dwelling) in (0u32..).zip(&city.dwellings) {
        let name = &city.county_of(city.compound_of(Place::Dwelling(at))).city;
        match dwellings_by_city.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(dwellings_by_city.insert(name.clone(), 1)),
        }
        let home = &dwelling.home;
        *dwellings_by_kind.entry(home.kind).or_default() += 1;
        silent += u32::from(home.is_silent_on(last));
        if home.kind == Kind::Crowded {
            crowded.total += 1;
            crowded.begin_within += u32::from(home.crowded_from >= 0);
            crowded.end_within += u32::from(home.crowded_to <= last);
            crowded.throughout += u32::from(home.crowded_from < 0 && home.crowded_to > last);
            crowded.on_last_day += u32::from(home.is_crowded_on(last));
        }
    }
    Ok(Report {
        plan: city.plan.clone(),
        compounds: city.compounds.len() as u32,
        buildings: city.buildings.len() as u32,
        places,
        dwellings: city.dwellings.len() as u32,
        dwellings_by_city,
        dwellings_by_kind,
        crowded,
        silent,
        feeds: ledger.finish()?,
    })
}
