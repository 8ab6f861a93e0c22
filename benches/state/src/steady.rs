//! Batch after batch: sorted reads of what it touches, then one atomic write.

use std::{ops::Range, path::Path, time::Instant};

use anyhow::{Result, ensure};

use crate::{
    batch::{Batches, Choice},
    measure::{Report, Since, Times, disk_bytes, peak_memory_bytes, settle},
    store::Store,
};

/// Runs the batches `numbers` and reports.
pub fn steady(
    store: &dyn Store,
    folder: &Path,
    batches: &Batches,
    numbers: Range<u64>,
    report: &Report,
) -> Result<()> {
    let what = match batches.choice {
        Choice::Uniform => "batches, uniform",
        Choice::Skewed => "batches, skewed",
    };
    let mut times = BatchTimes::default();
    let since = Since::now()?;
    let mut given = 0;
    for number in numbers {
        given += times.run(store, batches, number)?;
    }
    let records = batches.touched * times.whole.len() as u64;
    let (took, cpu, peak) = (times.whole.sum() + times.trim.sum(), since.cpu()?, peak_memory_bytes()?);
    let settled = settle()?;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    report.tell(&format!("{what}: records/s"), records as f64 / took.as_secs_f64(), "/s");
    report.tell(&format!("{what}: CPU"), cpu.as_secs_f64() * 1e6 / records as f64, "us a record");
    report.tell(&format!("{what}: CPU until at rest"), us(since.cpu()?) / records as f64, "us a record");
    report.tell(&format!("{what}: until compaction rests"), settled.as_secs_f64(), "s more");
    report.tell(&format!("{what}: p50"), ms(times.whole.quantile(0.5)), "ms");
    report.tell(&format!("{what}: p99"), ms(times.whole.quantile(0.99)), "ms");
    report.tell(&format!("{what}: longest"), ms(times.whole.quantile(1.0)), "ms");
    report.tell(&format!("{what}: read p50"), ms(times.read.quantile(0.5)), "ms");
    report.tell(&format!("{what}: read p99"), ms(times.read.quantile(0.99)), "ms");
    report.tell(&format!("{what}: commit p50"), ms(times.commit.quantile(0.5)), "ms");
    report.tell(&format!("{what}: commit p99"), ms(times.commit.quantile(0.99)), "ms");
    report.tell(&format!("{what}: trim p50"), ms(times.trim.quantile(0.5)), "ms");
    report.tell(&format!("{what}: written for a byte given"), since.written()? as f64 / given as f64, "");
    report.tell(&format!("{what}: on disk after"), disk_bytes(folder)? as f64 / 1e6, "MB");
    report.tell(&format!("{what}: peak memory"), peak as f64 / 1e6, "MB");
    Ok(())
}

fn us(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[derive(Default)]
pub struct BatchTimes {
    pub read: Times,
    pub commit: Times,
    pub trim: Times,
    /// Reads and commit.
    pub whole: Times,
}

impl BatchTimes {
    /// Returns the bytes that were given to be written. Making up keys and rows is not timed.
    pub fn run(&mut self, store: &dyn Store, batches: &Batches, number: u64) -> Result<u64> {
        let keys = batches.keys(number);
        let writes = batches.writes(number);
        let given = writes
            .iter()
            .map(|write| write.key.len() + write.value.as_ref().map_or(0, Vec::len))
            .sum::<usize>();
        let began = Instant::now();
        let found = keys.read(store)?;
        let read = began.elapsed();
        store.commit(writes)?;
        let whole = began.elapsed();
        ensure!(found > keys.places.len(), "only {found} of the rows that batch {number} touches are there");
        self.read.add(read);
        self.commit.add(whole - read);
        self.whole.add(whole);
        let trims = batches.trims(number);
        if !trims.is_empty() {
            let began = Instant::now();
            store.commit(trims)?;
            self.trim.add(began.elapsed());
        }
        Ok(given as u64)
    }
}
