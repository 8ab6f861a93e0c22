//! `kill -9` in the middle of writing, and what is there afterwards.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    Run,
    batch::{Batches, check_whole, last_batch},
    measure::{Report, Since, forget_cached, peak_memory_bytes},
    rows::City,
    steady::BatchTimes,
    store::{PLACES, Store},
};

/// How many batches are acknowledged before the kill: enough that memtables and journal are full.
const BATCHES_BEFORE: usize = 40;

/// In the child: writes batch after batch, and says the number of each that was acknowledged, until it is killed.
pub fn write_until_killed(run: &Run, batches: &Batches) -> Result<()> {
    let store = run.open()?;
    let mut times = BatchTimes::default();
    for number in last_batch(&*store)? + 1.. {
        times.run(&*store, batches, number)?;
        println!("{number}");
    }
    Ok(())
}

/// In the parent, who must not have the store open.
pub fn restart(run: &Run, batches: &Batches, kills: u32, report: &Report) -> Result<()> {
    for kill in 0..kills {
        let acknowledged = kill_a_writer(run, kill)?;
        if kill == 0 {
            forget_cached(&run.folder())?;
        }
        let what = if kill == 0 { "open after kill -9, nothing cached" } else { "open after kill -9" };
        let since = Since::now()?;
        let store = run.open()?;
        let opened = since.elapsed();
        let city = City { places: run.places };
        let is_there = store.get(PLACES, &city.place_key(run.places / 2), &mut |_| ())?;
        let first_read = since.elapsed();
        ensure!(is_there, "a place is lost");
        report.tell(&format!("{what}: open"), opened.as_secs_f64() * 1e3, "ms");
        report.tell(&format!("{what}: first read"), first_read.as_secs_f64() * 1e3, "ms");
        report.tell(&format!("{what}: peak memory"), peak_memory_bytes()? as f64 / 1e6, "MB");
        let last = last_batch(&*store)?;
        ensure!(
            last >= acknowledged,
            "batch {acknowledged} was acknowledged, {last} is the last that is there"
        );
        check_whole(&*store, batches, last)?;
        time_of_first_batch(&*store, batches, last + 1, what, report)?;
    }
    report.tell("kills after which the last acknowledged batch was whole", f64::from(kills), "");
    Ok(())
}

fn time_of_first_batch(
    store: &dyn Store,
    batches: &Batches,
    number: u64,
    what: &str,
    report: &Report,
) -> Result<()> {
    let began = Instant::now();
    BatchTimes::default().run(store, batches, number)?;
    report.tell(&format!("{what}: first batch"), began.elapsed().as_secs_f64() * 1e3, "ms");
    Ok(())
}

/// Returns the number of the last batch that the writer said was committed.
fn kill_a_writer(run: &Run, kill: u32) -> Result<u64> {
    let mut writer = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--write-until-killed")
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the writer")?;
    let output = writer.stdout.take().context("the writer has no output")?;
    let mut lines = BufReader::new(output).lines();
    let mut acknowledged = 0;
    for line in lines.by_ref().take(BATCHES_BEFORE) {
        acknowledged = line?.parse()?;
    }
    // Somewhere within a batch.
    std::thread::sleep(Duration::from_millis(13 + 29 * u64::from(kill)));
    writer.kill()?;
    writer.wait()?;
    for line in lines {
        acknowledged = line?.parse().unwrap_or(acknowledged);
    }
    ensure!(acknowledged > 0, "the writer of {} committed nothing", run.folder().display());
    Ok(acknowledged)
}
