//! Seeds of the simulation, and what came of them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::Result;
use clap::Parser;
use yibiao_bench_simulation::{
    runner::{Runner, run_many},
    setup::Setup,
    step::Event,
};

/// Runs the commit, replay and duplicate logic in virtual time under seeded faults, and compares what stands in the end.
#[derive(Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Prints every step; with one seed.
    #[arg(long)]
    trace: bool,
    #[arg(long)]
    threads: Option<usize>,
    /// The folder that holds `pipelines`.
    #[arg(long, default_value = ".")]
    project: PathBuf,
}

#[derive(Default)]
struct Total {
    steps: u64,
    records: u64,
    events: BTreeMap<Event, u64>,
    failures: BTreeMap<u64, String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let setup = Arc::new(Setup::new(&args.project)?);
    if args.trace {
        return trace(&args, setup);
    }
    let (began, total) = (Instant::now(), Mutex::new(Total::default()));
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    run_many(&setup, args.from, args.seeds, threads, |report| {
        let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        total.steps += report.steps as u64;
        total.records += report.records;
        for (event, count) in report.events {
            *total.events.entry(event).or_default() += count;
        }
        if let Some(failure) = report.failure {
            if total.failures.len() < 10 {
                let failure: String = failure.chars().take(600).collect();
                println!("seed {} differs: {failure}", report.seed);
            }
            total.failures.insert(report.seed, failure);
        }
    })?;
    let total = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (seeds, failed) = (args.seeds, total.failures.len());
    println!("{} of {seeds} seeds equal, in {:.1} s", seeds - failed as u64, began.elapsed().as_secs_f64());
    println!("  {} steps, {} raw records", total.steps, total.records);
    for (event, count) in &total.events {
        println!("  {count} {}", event.as_str());
    }
    if let Some(first) = total.failures.keys().next() {
        println!("{failed} seeds differ; again with its steps: --from {first} --seeds 1 --trace");
        std::process::exit(1);
    }
    Ok(())
}

fn trace(args: &Args, setup: Arc<Setup>) -> Result<()> {
    let mut runner = Runner::new(setup)?;
    for seed in args.from..args.from + args.seeds {
        let report = runner.run(seed, true)?;
        println!("seed {seed}");
        report.trace.iter().for_each(|line| println!("{line}"));
        if let Some(failure) = report.failure {
            println!("seed {seed} differs: {failure}");
            std::process::exit(1);
        }
    }
    Ok(())
}
