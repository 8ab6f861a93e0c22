//! The first fill of a shard.

use anyhow::Result;

use crate::{
    measure::{Report, Since, disk_bytes, peak_memory_bytes, settle},
    rows::City,
    store::{FACTS, PLACES, Store, Write},
};
use std::path::Path;

const BATCH_ROWS: usize = 20_000;
const MADE_UP_MAX: u64 = 200_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Load {
    /// Batches in key order: all places, then all facts.
    Ordered,
    /// Batches of places with their facts, in any order: what the first full dumps bring.
    Random,
    /// Sorted runs, past journal and memtables.
    Ingest,
}

impl Load {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordered => "load in key order",
            Self::Random => "load in random order",
            Self::Ingest => "load of sorted runs",
        }
    }
}

pub fn load(store: &dyn Store, folder: &Path, city: City, how: Load, report: &Report) -> Result<()> {
    let since = Since::now()?;
    let (rows, bytes) = match how {
        Load::Ordered => in_batches(store, places(city).chain(facts(city)))?,
        Load::Random => {
            let scattered = (0..city.places).map(|at| city.scattered(at));
            in_batches(store, scattered.flat_map(move |place| place_and_facts(city, place)))?
        }
        Load::Ingest => ingest(store, city)?,
    };
    store.persist()?;
    let took = since.elapsed();
    let settled = settle()?;
    let what = how.name();
    report.tell(&format!("{what}: rows"), rows as f64, "");
    report.tell(&format!("{what}: rows/s"), rows as f64 / took.as_secs_f64(), "/s");
    report.tell(&format!("{what}: time"), took.as_secs_f64(), "s");
    report.tell(&format!("{what}: until compaction rests"), settled.as_secs_f64(), "s more");
    report.tell(&format!("{what}: CPU"), since.cpu()?.as_secs_f64(), "s");
    report.tell(&format!("{what}: rows given"), bytes as f64 / 1e6, "MB");
    report.tell(&format!("{what}: written for a byte given"), since.written()? as f64 / bytes as f64, "");
    report.tell(&format!("{what}: on disk"), disk_bytes(folder)? as f64 / 1e6, "MB");
    report.tell(&format!("{what}: peak memory"), peak_memory_bytes()? as f64 / 1e6, "MB");
    Ok(())
}

/// What making up the rows costs by itself.
pub fn nothing(city: City, report: &Report) -> Result<()> {
    let since = Since::now()?;
    let rows = (0..city.places.min(MADE_UP_MAX)).flat_map(|at| place_and_facts(city, city.scattered(at)));
    let (count, bytes) = rows.fold((0, 0), |(count, bytes), write| (count + 1, bytes + size(&write)));
    std::hint::black_box(bytes);
    report.tell("making up rows: CPU", since.cpu()?.as_secs_f64() * 1e6 / f64::from(count), "us a row");
    Ok(())
}

fn place(city: City, place: u64) -> Write {
    Write::put(PLACES, city.place_key(place), city.place_row(place, 0))
}

fn place_and_facts(city: City, at: u64) -> impl Iterator<Item = Write> {
    facts_at(city, at).chain(std::iter::once_with(move || place(city, at)))
}

fn facts_at(city: City, place: u64) -> impl Iterator<Item = Write> {
    (0..city.facts_of(place))
        .map(move |fact| Write::put(FACTS, city.fact_key(place, fact), city.fact_row(place, fact, 0)))
}

/// In key order: buckets come first in the key.
fn places(city: City) -> impl Iterator<Item = Write> {
    (0..city.buckets()).flat_map(move |bucket| {
        (0..city.places).filter(move |at| city.bucket(*at) == bucket).map(move |at| place(city, at))
    })
}

fn facts(city: City) -> impl Iterator<Item = Write> {
    (0..city.places).flat_map(move |place| facts_at(city, place))
}

fn in_batches(store: &dyn Store, rows: impl Iterator<Item = Write>) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    for write in rows {
        count += 1;
        bytes += size(&write);
        batch.push(write);
        if batch.len() == BATCH_ROWS {
            store.commit(std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS)))?;
        }
    }
    store.commit(batch)?;
    Ok((count, bytes))
}

fn ingest(store: &dyn Store, city: City) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    let mut pair = |write: Write| {
        count += 1;
        bytes += size(&write);
        Ok((write.key, write.value.unwrap_or_default()))
    };
    store.ingest(PLACES, &mut places(city).map(&mut pair))?;
    store.ingest(FACTS, &mut facts(city).map(&mut pair))?;
    Ok((count, bytes))
}

fn size(write: &Write) -> u64 {
    (write.key.len() + write.value.as_ref().map_or(0, Vec::len)) as u64
}
