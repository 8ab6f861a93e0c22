//! What the shards hold in the end, against what they must hold.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use yibiao_records::{Operation, PlaceId, Value};
use yibiao_tables::{
    View,
    shard::StoredFact,
    spec::{PLACES, WARNINGS, fact_table},
};

use crate::{
    alike,
    fuser::Fuser,
    oracle::{self, Counts, Expected, Stands},
    rows,
    rule::{Firing, Which},
    setup::{RAW_PARTITIONS, Setup},
    silence::Silences,
    step::Event,
    topics::About,
    world::World,
};

/// Every comparison; the first difference is the error.
pub fn all(world: &mut World<'_>, which: Which) -> Result<()> {
    let setup = world.setup;
    oracle::is_said(setup, &world.topics, &world.connectors)?;
    if let Some(machines) = &world.machines {
        let (switches, late) = oracle::announced::switches(setup, &world.topics, &machines.first)?;
        world.switches = switches;
        world.count(Event::AnnouncementLate, late);
        let again = alike::said(setup, &world.topics)?;
        world.count(Event::FactSaidAgain, again);
    }
    let expected = oracle::expected(setup, &world.topics, &world.switches, &world.contracts)?;
    world.count(Event::ReplaySuperseded, expected.superseded);
    world.count(Event::DumpEnded, expected.dumps.ended);
    world.count(Event::DumpIncomplete, expected.dumps.incomplete);
    world.count(Event::RecordMissing, expected.dumps.missing);
    world.count(Event::WaitingMissing, expected.dumps.missing_waiting);
    accounts(world, &expected)?;
    quarantine(world, &expected)?;
    let views: Vec<View> = world.fusers.iter().map(|fuser| fuser.applier.shard().view()).collect();
    facts(setup, &views, &expected)?;
    let rows = rows::rows(setup, &expected);
    places(setup, &views, &rows)?;
    let shards = views.len() as u32;
    Firing::of(which, &expected, &rows, shards).compare(setup, &views)?;
    for view in views.iter().filter(|_| which == Which::Silence) {
        Silences::of(&expected, view.shard(), shards).compare(view)?;
    }
    for (fuser, view) in world.fusers.iter_mut().zip(&views) {
        fuser.follow()?;
        change_log(setup, fuser, view)
            .with_context(|| format!("the change log of shard {}", fuser.number))?;
        holding(fuser, view)?;
    }
    Ok(())
}

fn accounts(world: &World<'_>, expected: &Expected) -> Result<()> {
    let found = world.process.state.shards()?;
    for (feed, of) in world.setup.feeds.iter().enumerate() {
        for partition in 0..RAW_PARTITIONS[feed] {
            let wanted = expected.counts.get(&(feed, partition)).copied().unwrap_or_default();
            let shard = found.iter().find(|(id, _)| id.feed == of.contract.feed && id.partition == partition);
            let (next, counts) = match shard {
                Some((_, record)) => (record.next.get(), &record.counts),
                None => (0, &Default::default()),
            };
            let found = Counts {
                received: counts.received,
                accepted: counts.accepted,
                quarantined: counts.quarantined,
                unchanged: counts.unchanged,
                asserted: counts.asserted,
                retracted: counts.retracted,
            };
            let end = world.topics.end(&(of.raw_topic.clone(), partition));
            ensure!(next == end, "feed {feed}, partition {partition}: read up to {next} of {end}");
            ensure!(found == wanted, "feed {feed}, partition {partition}: {found:?}, not {wanted:?}");
        }
    }
    Ok(())
}

/// Everything that was refused is there, at least once, and nothing else.
fn quarantine(world: &World<'_>, expected: &Expected) -> Result<()> {
    for (feed, of) in world.setup.feeds.iter().enumerate() {
        let messages = world.topics.of(&(of.quarantine_topic.clone(), 0));
        let found: BTreeSet<(i32, i64)> = messages
            .iter()
            .filter_map(|message| match message.about {
                About::Refused { partition, offset, .. } => Some((partition, offset)),
                _ => None,
            })
            .collect();
        let wanted = expected.refused.get(&feed).cloned().unwrap_or_default();
        ensure!(found == wanted, "quarantine of feed {feed}: {found:?}, not {wanted:?}");
    }
    Ok(())
}

fn facts(setup: &Setup, views: &[View], expected: &Expected) -> Result<()> {
    let mut found: BTreeMap<(usize, String), StoredFact> = BTreeMap::new();
    for view in views {
        for stored in view.all_facts() {
            let stored = stored?;
            let shard = stored.fact.place.shard(views.len() as u32);
            ensure!(shard == view.shard(), "{stored:?} lies in shard {}", view.shard());
            let feed = setup.feeds.iter().position(|feed| feed.contract.feed.as_str() == &*stored.feed);
            let key = (feed.context("a fact of no feed")?, stored.fact.source_key.clone());
            if let Some(other) = found.insert(key, stored.clone()) {
                anyhow::bail!("one fact at two places: {other:?} and {stored:?}");
            }
        }
    }
    for (key, stands) in &expected.facts {
        let stored = found.get(key).with_context(|| format!("{key:?} is not there: {stands:?}"))?;
        same(setup, key.0, stored, stands).with_context(|| format!("{stored:?}, not {stands:?}"))?;
    }
    let surplus = found.keys().find(|key| !expected.facts.contains_key(key));
    ensure!(surplus.is_none(), "{surplus:?} is there: {:?}", surplus.map(|key| &found[key]));
    Ok(())
}

fn same(setup: &Setup, feed: usize, stored: &StoredFact, stands: &Stands) -> Result<()> {
    let (fact, spot) = (&stored.fact, &stands.claim.spot);
    let version = stands.edition.map_or("", |edition| setup.editions[edition].version());
    ensure!(fact.place == spot.place, "the place");
    ensure!((&fact.level, fact.provisional) == (&spot.level, spot.provisional), "the level");
    ensure!(fact.division_code == spot.division_code, "the division");
    ensure!((fact.valid_from_ms, fact.valid_to_ms) == (stands.claim.valid_from_ms, None), "the event time");
    ensure!(fact.payload == stands.claim.payload, "the payload");
    ensure!(fact.recorded_at_ms == stands.recorded_at_ms, "the time of recording");
    ensure!((fact.raw.offset, fact.raw.index) == (stands.offset, stands.index), "the raw position");
    ensure!(stored.raw_partition == stands.partition, "the raw partition");
    ensure!(*stored.raw_topic == *setup.feeds[feed].raw_topic, "the raw topic");
    let contract = setup.feeds[feed].contract_of(stands.strict);
    ensure!(*stored.contract_version == *contract.version, "the contract");
    ensure!(*stored.gazetteer_version == *version, "the gazetteer");
    Ok(())
}

/// The column `sources` and the time of the update are not compared: they say how it came to be.
fn places(setup: &Setup, views: &[View], wanted: &BTreeMap<PlaceId, BTreeMap<&str, Value>>) -> Result<()> {
    let schema = setup.tables.schema(PLACES)?;
    let mut found = BTreeMap::new();
    for view in views {
        for row in view.rows(PLACES) {
            let row = row?;
            let place = row[0].as_i64().and_then(PlaceId::new).context("a place's id")?;
            let cells = schema.columns.iter().zip(row).skip(1);
            let cells: BTreeMap<&str, Value> = cells
                .filter(|(column, value)| {
                    !rows::is_nothing(value) && !["sources", "updated_at"].contains(&column.name.as_str())
                })
                .map(|(column, value)| (column.name.as_str(), value))
                .collect();
            ensure!(found.insert(place, cells).is_none(), "place {place} has two rows");
        }
    }
    for (place, wanted) in wanted {
        let found = found.get(place).with_context(|| format!("place {place} has no row: {wanted:?}"))?;
        ensure!(found == wanted, "place {place}: {found:?}, not {wanted:?}");
    }
    ensure!(found.len() == wanted.len(), "{} rows, not {}", found.len(), wanted.len());
    Ok(())
}

/// Dense, nothing in it twice, and folded it is what the shard holds.
fn change_log(setup: &Setup, fuser: &Fuser, view: &View) -> Result<()> {
    let mut rows: BTreeMap<(&str, String), &Vec<Value>> = BTreeMap::new();
    let mut said = BTreeSet::new();
    for (number, change) in (1..).zip(&fuser.followed) {
        ensure!(change.sequence == number, "sequence {} at {number}", change.sequence);
        let schema = setup.tables.schema(&change.table)?;
        let cell = |column: &str| schema.column(column).map(|index| change.row[index].to_string());
        let is_base = [PLACES, WARNINGS].contains(&change.table.as_str());
        let own = if change.table == WARNINGS { cell("warning_id") } else { cell("fact_id") };
        let key = (change.table.as_str(), format!("{} {}", change.place, own.unwrap_or_default()));
        if !is_base {
            let columns = ["statement", "raw_partition", "raw_offset", "raw_index"];
            let statement = (key.clone(), columns.map(cell));
            ensure!(said.insert(statement.clone()), "twice: {statement:?}");
        }
        let before = match change.operation {
            Operation::Delete => rows.remove(&key),
            _ => rows.insert(key.clone(), &change.row),
        };
        let is_new = change.operation == Operation::Insert;
        ensure!(before.is_none() == is_new, "{:?} of {key:?} after {before:?}", change.operation);
    }
    let mut held = Vec::new();
    for stored in view.all_facts() {
        let stored = stored?;
        let table = fact_table(&stored.kind);
        held.push((table.clone(), stored.row(setup.tables.schema(&table)?.columns.len())));
    }
    for table in [PLACES, WARNINGS] {
        for row in view.rows(table) {
            held.push((table.to_owned(), row?));
        }
    }
    let mut folded: Vec<(String, Vec<Value>)> =
        rows.into_iter().map(|((table, _), row)| (table.to_owned(), row.clone())).collect();
    folded.sort();
    held.sort();
    let missing = held.iter().find(|row| folded.binary_search(row).is_err());
    ensure!(missing.is_none(), "folded it lacks {missing:?}");
    let surplus = folded.iter().find(|row| held.binary_search(row).is_err());
    ensure!(surplus.is_none(), "folded it has {surplus:?}");
    Ok(())
}

fn holding(fuser: &Fuser, view: &View) -> Result<()> {
    let count = |n: usize| n as i64;
    let holding = fuser.applier.holding();
    let state = setup_state(view)?;
    let firing = view.rows(WARNINGS).collect::<Result<Vec<_>, _>>()?;
    let firing = firing.iter().filter(|row| row[state].as_text() != Some("cleared")).count();
    let found = (count(view.rows(PLACES).count()), count(view.all_facts().count()), count(firing));
    let told = (holding.places, holding.facts, holding.firing);
    ensure!(
        told == found,
        "shard {} tells {told:?} places, facts and warnings, and has {found:?}",
        fuser.number
    );
    Ok(())
}

fn setup_state(view: &View) -> Result<usize> {
    view.tables().schema(WARNINGS)?.column("state").context("warnings have a state")
}
