//! The measurements of one size, in their order.

use std::path::Path;

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use yibiao_contracts::load_fact_kinds;
use yibiao_fusion::{Applier, Rules};
use yibiao_records::FactKinds;
use yibiao_state::Options;
use yibiao_tables::{Projector, Shard, Tables, lake::Config};

use crate::{
    Args, analyst,
    facts::{Frame, Sender},
    load::{self, MadeUp},
    measure::{Spent, Watch, at, peak_mb},
    queries, restart,
};

pub const BATCH_FACTS: u64 = 16_000;
pub const BATCHES: u64 = 40;

/// What a process needs to apply batches.
pub struct Bench {
    pub kinds: FactKinds,
    pub tables: Tables,
    pub shard: Shard,
    pub applier: Applier,
    pub rules: Rules,
}

impl Bench {
    /// Opens the shard of a folder, with so many copies of one rule over rows.
    pub async fn open(args: &Args, dir: &Path, rules: usize) -> Result<Self> {
        let (kinds, tables, shard, mut rules) = parts(args, dir, rules).await?;
        let mut applier = Applier::new(&shard, 1)?;
        applier.refresh(&mut rules).await?;
        Ok(Self { kinds, tables, shard, applier, rules })
    }

    /// Applies the frames, as many facts at once as the stage would.
    pub async fn apply(&mut self, frames: &[Frame]) -> Result<()> {
        for frames in frames.chunks(BATCH_FACTS as usize / 1_000) {
            let incoming: Vec<_> = frames.iter().map(Frame::incoming).collect();
            self.applier.apply(&mut self.rules, &incoming).await?;
        }
        Ok(())
    }
}

/// Of the shard of a folder, with so many copies of one rule over rows.
pub async fn parts(args: &Args, dir: &Path, rules: usize) -> Result<(FactKinds, Tables, Shard, Rules)> {
    let kinds = load_fact_kinds(&args.pipelines.join("facts"))?;
    let tables = Tables::load(&args.pipelines.join("tables"), &kinds, args.buckets)?;
    let options = Options {
        cache_bytes: args.cache_mib << 20,
        write_buffer_bytes: args.memtables_mib << 20,
        ..Options::default()
    };
    let shard = Shard::open(&dir.join("shard"), 0, &tables, &options)?;
    let rules = Rules::parse((0..rules).map(rule).collect::<Vec<_>>(), &tables).await?;
    Ok((kinds, tables, shard, rules))
}

/// One of many rules; none of them fires often.
fn rule(number: usize) -> (&'static str, String) {
    let text = format!(
        "-- rule: heavy_use_{number}\n-- title: 用水偏高{number}\n-- version: 1\n-- shape: row\n\
         -- message: \"{{address}}：近30天用水{{water}}吨\"\n-- update_when: water\n-- evidence: water newest 1\n\
         -- param water_min: {}\nSELECT place_id, 1 AS severity, water\n\
         FROM (SELECT place_id, CAST(water_m3_30d AS DOUBLE) AS water FROM places)\nWHERE water >= $water_min\n",
        1_000 + number
    );
    ("made_up.sql", text)
}

/// With so many facts of each place from the first load.
pub async fn run(args: &Args, dir: &Path, places: u64, facts_a_place: u64) -> Result<()> {
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    let kinds = load_fact_kinds(&args.pipelines.join("facts"))?;
    let mut addresses = Sender::new(&kinds, "place", "police/standard-addresses", 0, 0)?;
    let mut water = Sender::new(&kinds, "water", "utilities/water-readings", 0, 0)?;
    let senders = (&mut addresses, &mut water);
    let made_up = MadeUp { places, facts_a_place, senders, dice: &mut dice };
    let (loaded, projected) = match args.batches {
        true => load::in_batches(args, dir, made_up).await?,
        false => (load::at_once(args, dir, made_up).await?, Spent::default()),
    };
    let mut projected = projected;
    let mut bench = Bench::open(args, dir, 1).await?;
    let lake = load::lake(&bench, dir)?;
    let (facts, Spent { seconds, cpu }) = (facts_a_place * places, loaded);
    let disk = bench.shard.disk_bytes()? as f64 / 1e6;
    println!(
        "first load: {facts} facts in {seconds:.1} s, {cpu:.1} s of processor time: {:.0} facts/s/core; {disk:.0} MB on disk, {:.0} MB of memory at the peak",
        facts as f64 / cpu,
        peak_mb()
    );
    if args.first_load_only {
        return Ok(());
    }

    let rules: &[usize] = if args.readings_only { &[1] } else { &[1, 10, 100] };
    for &rules in rules {
        if rules > 1 {
            drop(bench);
            bench = Bench::open(args, dir, rules).await?;
        }
        let (mut micros, mut batches) = (0.0, Vec::new());
        for batch in 0..BATCHES {
            let day = 1 + (rules as i64 * 41 + batch as i64) % 30;
            let frames = water.random_readings(places, day, &mut dice)?;
            let watch = Watch::start();
            bench.apply(&frames).await?;
            let spent = watch.spent();
            micros += spent.cpu * 1e6;
            batches.push(spent.seconds * 1e3);
        }
        let records = (BATCHES * BATCH_FACTS / 4) as f64;
        println!(
            "readings of random places, {rules} rules: {:.1} us of processor time a record; a batch of {} p50 {:.0} ms, p99 {:.0} ms",
            micros / records,
            BATCH_FACTS / 4,
            at(&mut batches, 0.5),
            at(&mut batches, 0.99)
        );
    }
    drop(bench);
    if args.readings_only {
        return Ok(());
    }

    let mut bench = Bench::open(args, dir, 1).await?;
    let mut projector = Projector::new(lake.clone(), vec![bench.shard.clone()], Config::default());
    let watch = Watch::start();
    projector.project_once().await?;
    projected += watch.spent();
    println!("projection of all of it: {:.1} s, {:.1} s of processor time", projected.seconds, projected.cpu);

    let recent: Vec<u64> = (0..args.recent).map(|_| dice.random_range(0..places)).collect();
    for numbers in recent.chunks(BATCH_FACTS as usize) {
        let frames = water.readings(numbers.iter().copied(), 31, &mut dice)?;
        bench.apply(&frames).await?;
    }
    queries::run(&lake, &bench.shard, places, args.recent, &mut dice).await?;
    queries::after_batches(&lake, &mut bench, &mut water, places, &mut dice).await?;
    println!("memory at the peak: {:.0} MB", peak_mb());
    drop(projector);
    analyst::run(&lake, &mut bench, &mut water, places, &mut dice).await?;
    drop(bench);
    restart::run(args, dir).await
}
