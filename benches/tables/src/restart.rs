//! Killed in the midst of batches, and again until one is committed.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Args, facts::Sender, steps::Bench};

const COMMITTED: &str = "committed";

/// Opens the shard and applies batches until it is killed.
pub async fn child(args: &Args, dir: &Path) -> Result<()> {
    let mut bench = Bench::open(args, dir, 1).await?;
    let places = args.places[0];
    let mut dice = ChaCha8Rng::seed_from_u64(u64::from(std::process::id()));
    // Beyond everything that any earlier one has sent.
    let next = i64::from(std::process::id()) << 32;
    let mut water = Sender::new(&bench.kinds, "water", "utilities/water-readings", next, next)?;
    loop {
        let numbers: Vec<u64> = (0..4_000).map(|_| dice.random_range(0..places)).collect();
        let frames = water.readings(numbers.into_iter(), 32, &mut dice)?;
        bench.apply(&frames).await?;
        println!("{COMMITTED}");
    }
}

fn start(args: &Args, dir: &Path) -> Result<(Child, impl Iterator<Item = std::io::Result<String>> + use<>)> {
    let places = dir.file_name().context("a folder")?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--restart")
        .arg(dir)
        .arg("--places")
        .arg(places)
        .arg("--pipelines")
        .arg(&args.pipelines)
        .args(["--buckets", &args.buckets.to_string()])
        .args(["--cache-mib", &args.cache_mib.to_string()])
        .args(["--memtables-mib", &args.memtables_mib.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().context("its output")?;
    Ok((child, BufReader::new(out).lines()))
}

/// Kills one that has worked for a while, and waits for the first batch of the next.
pub async fn run(args: &Args, dir: &Path) -> Result<()> {
    let (mut child, mut lines) = start(args, dir)?;
    lines.next().context("the process ended before a batch was committed")??;
    tokio::time::sleep(Duration::from_secs(5)).await;
    child.kill()?;
    child.wait()?;
    let began = Instant::now();
    let (mut child, mut lines) = start(args, dir)?;
    lines.next().context("the process ended before a batch was committed")??;
    println!("after kill -9: {:.1} s until a batch was committed", began.elapsed().as_secs_f64());
    child.kill()?;
    child.wait()?;
    Ok(())
}
