//! A checkpoint while batches go on.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    Run,
    batch::{Batches, check_whole, last_batch},
    fjall_store::link_closed,
    measure::{Report, Since, disk_bytes, peak_memory_bytes, settle},
    steady::BatchTimes,
    store::Store,
};

/// Returns the number of the next batch.
pub fn checkpoint(
    store: &dyn Store,
    run: &Run,
    batches: &Batches,
    mut next: u64,
    report: &Report,
) -> Result<u64> {
    let to = run.dir.join("checkpoint");
    let from = next;
    settle()?;
    let since = Since::now()?;
    let is_done = AtomicBool::new(false);
    let mut times = BatchTimes::default();
    let took = std::thread::scope(|scope| {
        let maker = scope.spawn(|| {
            let began = Instant::now();
            let result = store.checkpoint(&to);
            is_done.store(true, Ordering::Release);
            result.map(|()| began.elapsed())
        });
        loop {
            times.run(store, batches, next)?;
            next += 1;
            if is_done.load(Ordering::Acquire) {
                break;
            }
        }
        maker.join().ok().context("the checkpoint's thread panicked")?
    })?;
    report.tell("checkpoint: time, batches going on", took.as_secs_f64(), "s");
    report.tell("checkpoint: longest batch meanwhile", times.whole.quantile(1.0).as_secs_f64() * 1e3, "ms");
    report.tell("checkpoint: batch p50 meanwhile", times.whole.quantile(0.5).as_secs_f64() * 1e3, "ms");
    report.tell("checkpoint: batches meanwhile", times.whole.len() as f64, "");
    report.tell("checkpoint: CPU, batches included", since.cpu()?.as_secs_f64(), "s");
    report.tell("checkpoint: written, batches included", since.written()? as f64 / 1e6, "MB");
    report.tell("checkpoint: peak memory", peak_memory_bytes()? as f64 / 1e6, "MB");
    report.tell("checkpoint: size", disk_bytes(&to)? as f64 / 1e6, "MB");
    let last = check(run, &to, batches, "checkpoint", report)?;
    let possible = from - 1..next;
    ensure!(possible.contains(&last), "the checkpoint ends with batch {last}, not one of {possible:?}");
    Ok(next)
}

/// Closes the store, links its files and opens it again, between two batches.
pub fn closed(store: Box<dyn Store>, run: &Run, batches: &Batches, report: &Report) -> Result<()> {
    let to = run.dir.join("checkpoint");
    let before = last_batch(&*store)?;
    let began = Instant::now();
    drop(store);
    let closed = began.elapsed();
    link_closed(&run.folder(), &to)?;
    let linked = began.elapsed();
    let store = run.open()?;
    let what = "checkpoint of a closed store";
    report.tell(&format!("{what}: close"), closed.as_secs_f64() * 1e3, "ms");
    report.tell(&format!("{what}: link"), (linked - closed).as_secs_f64() * 1e3, "ms");
    report.tell(&format!("{what}: all, batches waiting"), began.elapsed().as_secs_f64() * 1e3, "ms");
    BatchTimes::default().run(&*store, batches, before + 1)?;
    let last = check(run, &to, batches, what, report)?;
    ensure!(last == before, "the checkpoint ends with batch {last}, not {before}");
    Ok(())
}

/// Opens a checkpoint, removes it, and returns the last batch that it held whole.
fn check(run: &Run, to: &Path, batches: &Batches, what: &str, report: &Report) -> Result<u64> {
    let began = Instant::now();
    let copy = run.open_at(to)?;
    let last = last_batch(&*copy)?;
    report.tell(&format!("{what}: open the copy"), began.elapsed().as_secs_f64() * 1e3, "ms");
    check_whole(&*copy, batches, last)?;
    drop(copy);
    fs::remove_dir_all(to)?;
    Ok(last)
}
