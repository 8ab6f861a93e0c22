//! Queries over live tables, against the same over the base alone.

use std::time::Instant;

use anyhow::Result;
use datafusion::prelude::SessionContext;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use yibiao_tables::{Lake, Live, Shard};

use crate::{
    facts::{Sender, place},
    measure::{Watch, at, resident_mb},
    steps::{BATCH_FACTS, BATCHES, Bench},
};

const QUERIES: [(&str, &str); 4] = [
    ("one column", "select sum(water_m3_30d) from places"),
    (
        "three columns, grouped",
        "select division_code, count(*), sum(water_m3_30d), max(last_event_on) from places group by division_code",
    ),
    ("a text, filtered", "select count(*) from places where address like '%7幢3单元%'"),
    ("count", "select count(*) from places"),
];
const TIMES: usize = 7;
/// Runs of a query in a row: processor time is counted in steps of 10 ms.
const RUNS: usize = 10;
const POINTS: usize = 400;

pub async fn run(lake: &Lake, shard: &Shard, places: u64, recent: u64, dice: &mut ChaCha8Rng) -> Result<()> {
    let base = lake.session([])?;
    let live = lake.live_session(Live::new([shard.clone()]), [])?;
    let (before, watch) = (resident_mb(), Watch::start());
    spend(&live, QUERIES[3].1, 1).await?;
    let spent = watch.spent();
    println!(
        "first live query, {recent} recent changes are read: {:.2} s, {:.2} s of processor time, {:.0} MB more resident",
        spent.seconds,
        spent.cpu,
        resident_mb() - before
    );
    for (name, sql) in QUERIES {
        let (mut ratios, mut of_base, mut of_live) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let (base, live) = (spend(&base, sql, RUNS).await?, spend(&live, sql, RUNS).await?);
            ratios.push(live / base);
            of_base.push(base);
            of_live.push(live);
        }
        println!(
            "scan, {name}: base {:.1} ms, live {:.1} ms of processor time (medians of {TIMES} times {RUNS} runs), ratio {:.2}",
            at(&mut of_base, 0.5) * 1e3,
            at(&mut of_live, 0.5) * 1e3,
            at(&mut ratios, 0.5)
        );
    }
    points(&live, shard, places, dice).await
}

/// What a query costs after a batch of changes, and what the same query costs once more.
pub async fn after_batches(
    lake: &Lake,
    bench: &mut Bench,
    water: &mut Sender,
    places: u64,
    dice: &mut ChaCha8Rng,
) -> Result<()> {
    let live = lake.live_session(Live::new([bench.shard.clone()]), [])?;
    let sql = QUERIES[0].1;
    spend(&live, sql, 1).await?;
    let (mut first, mut again) = (0.0, 0.0);
    for _ in 0..BATCHES {
        bench.apply(&water.random_readings(places, 31, dice)?).await?;
        first += spend(&live, sql, 1).await?;
        again += spend(&live, sql, 1).await?;
    }
    println!(
        "scan of one column after a batch of {} changes: {:.1} ms of processor time, once more {:.1} ms (means of {BATCHES})",
        BATCH_FACTS / 4,
        first / BATCHES as f64 * 1e3,
        again / BATCHES as f64 * 1e3
    );
    Ok(())
}

async fn points(live: &SessionContext, shard: &Shard, places: u64, dice: &mut ChaCha8Rng) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..POINTS {
        let id = place(dice.random_range(0..places)).get();
        let began = Instant::now();
        let rows = live.sql(&format!("select * from places where place_id = {id}")).await?.collect().await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(rows.iter().map(|rows| rows.num_rows()).sum::<usize>() == 1, "place {id} has a row");
    }
    println!(
        "one place by SQL, planning included: p50 {:.2} ms, p99 {:.2} ms",
        at(&mut times, 0.5),
        at(&mut times, 0.99)
    );
    let mut times = Vec::new();
    for _ in 0..POINTS * 5 {
        let place = place(dice.random_range(0..places));
        let began = Instant::now();
        let view = shard.view();
        let (row, facts) = (view.place(place)?, view.facts(place, None)?);
        times.push(began.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(row.is_some() && facts.len() > 1, "{place} has a row and facts");
    }
    println!(
        "one place with all its facts, from the store: p50 {:.3} ms, p99 {:.3} ms",
        at(&mut times, 0.5),
        at(&mut times, 0.99)
    );
    Ok(())
}

/// Seconds of processor time of one run, of so many.
async fn spend(session: &SessionContext, sql: &str, runs: usize) -> Result<f64> {
    let watch = Watch::start();
    for _ in 0..runs {
        session.sql(sql).await?.collect().await?;
    }
    Ok(watch.spent().cpu / runs as f64)
}
