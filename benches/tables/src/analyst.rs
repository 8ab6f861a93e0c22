//! An analyst who asks for a long scan again and again, while batches are applied and projected as fast as they go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use datafusion::prelude::SessionContext;
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;
use yibiao_tables::{Lake, Live, Projector, lake::Config};

use crate::{
    facts::{Frame, Sender},
    measure::{Watch, at, resident_mb},
    steps::{BATCH_FACTS, BATCHES, Bench},
};

/// Over all rows, most of their texts included.
const SCAN: &str = "select division_code, count(*), count(distinct address), sum(water_m3_30d) from places group by division_code";

/// How long each batch and each scan took, milliseconds.
#[derive(Default)]
struct Took {
    batches: Vec<f64>,
    scans: Vec<f64>,
    cpu: f64,
    resident_mb: f64,
}

/// Batches alone, both, batches alone, both: the machine is not equally fast all the time.
pub async fn run(
    lake: &Lake,
    bench: &mut Bench,
    water: &mut Sender,
    places: u64,
    dice: &mut ChaCha8Rng,
) -> Result<()> {
    let live = lake.live_session(Live::new([bench.shard.clone()]), [])?;
    let mut quiet = Vec::new();
    for _ in 0..5 {
        quiet.push(scan(&live).await?);
    }
    println!("scan of all rows while nothing is applied: p50 {:.0} ms", at(&mut quiet, 0.5));
    let stop = CancellationToken::new();
    let projector = Projector::new(lake.clone(), vec![bench.shard.clone()], Config::default());
    let projecting = tokio::spawn(projector.run(stop.child_token()));
    for is_beside in [false, true, false, true] {
        let mut took = Took::default();
        let batches = (0..BATCHES).map(|_| water.random_readings(places, 31, dice));
        let batches = batches.collect::<Result<Vec<_>>>()?;
        apply(bench, &batches, is_beside.then_some(&live), &mut took).await?;
        let Took { batches, scans, cpu, resident_mb } = &mut took;
        println!(
            "batches of {} {}: p50 {:.0} ms, p99 {:.0} ms; {} scans: p50 {:.0} ms, p99 {:.0} ms; {cpu:.1} s of processor time, {resident_mb:.0} MB resident",
            BATCH_FACTS / 4,
            if is_beside { "beside scans" } else { "alone" },
            at(batches, 0.5),
            at(batches, 0.99),
            scans.len(),
            at(scans, 0.5),
            at(scans, 0.99)
        );
    }
    stop.cancel();
    projecting.await??;
    Ok(())
}

async fn apply(
    bench: &mut Bench,
    batches: &[Vec<Frame>],
    live: Option<&SessionContext>,
    took: &mut Took,
) -> Result<()> {
    let (watch, over) = (Watch::start(), Arc::new(AtomicBool::new(false)));
    let asking = live.cloned().map(|live| {
        let over = over.clone();
        tokio::spawn(async move {
            let mut scans = Vec::new();
            while !over.load(Ordering::Relaxed) {
                scans.push(scan(&live).await?);
            }
            anyhow::Ok(scans)
        })
    });
    for frames in batches {
        let began = Instant::now();
        bench.apply(frames).await?;
        took.batches.push(began.elapsed().as_secs_f64() * 1e3);
        took.resident_mb = took.resident_mb.max(resident_mb());
    }
    over.store(true, Ordering::Relaxed);
    if let Some(asking) = asking {
        took.scans = asking.await??;
    }
    took.cpu = watch.spent().cpu;
    Ok(())
}

async fn scan(live: &SessionContext) -> Result<f64> {
    let began = Instant::now();
    live.sql(SCAN).await?.collect().await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
