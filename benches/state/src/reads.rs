//! Reads by themselves: one place, one place with all its facts, one fact that is not there, all places of a bucket.

use std::time::Instant;

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    measure::{Report, Times},
    rows::City,
    store::{FACTS, PLACES, Store},
};

const READS: usize = 20_000;
const BUCKETS_SCANNED: u16 = 6;

pub fn reads(store: &dyn Store, city: City, report: &Report) -> Result<()> {
    timed(report, "read of a place", city, |place| {
        let is_there = store.get(PLACES, &city.place_key(place), &mut |_| ())?;
        ensure!(is_there, "place {place} is not there");
        Ok(())
    })?;
    timed(report, "read of a place with all its facts", city, |place| {
        let mut facts = 0;
        store.get(PLACES, &city.place_key(place), &mut |_| ())?;
        store.prefix(FACTS, &city.fact_prefix(place), &mut |_, _| {
            facts += 1;
            true
        })?;
        ensure!(facts >= city.facts_of(place), "place {place} has {facts} facts");
        Ok(())
    })?;
    timed(report, "read of a fact that is not there", city, |place| {
        let is_there = store.get(FACTS, &city.fact_key(place, u64::from(u32::MAX)), &mut |_| ())?;
        ensure!(!is_there, "a fact of place {place} is there that nobody wrote");
        Ok(())
    })?;
    scan(store, city, report)
}

fn timed(report: &Report, what: &str, city: City, read: impl Fn(u64) -> Result<()>) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut times = Times::default();
    for _ in 0..READS {
        let place = random.random_range(0..city.places);
        let began = Instant::now();
        read(place)?;
        times.add(began.elapsed());
    }
    report.tell(&format!("{what}: p50"), times.quantile(0.5).as_secs_f64() * 1e6, "us");
    report.tell(&format!("{what}: p99"), times.quantile(0.99).as_secs_f64() * 1e6, "us");
    Ok(())
}

fn scan(store: &dyn Store, city: City, report: &Report) -> Result<()> {
    let (mut rows, began) = (0u64, Instant::now());
    // As projection and delivery read.
    let view = store.snapshot();
    for bucket in 0..BUCKETS_SCANNED {
        view.prefix(PLACES, &bucket.to_be_bytes(), &mut |_, _| {
            rows += 1;
            true
        })?;
    }
    ensure!(rows > 0 || city.places < 1000, "no places in {BUCKETS_SCANNED} buckets");
    report.tell("scan of places by bucket", rows as f64 / began.elapsed().as_secs_f64(), "rows/s");
    Ok(())
}
