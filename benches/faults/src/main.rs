//! Runs the real processes on Apache Kafka (three brokers) and PostgreSQL under faults drawn from a seed, and compares what they end
//! as with a batch computation over what was sent.
//!
//! ```text
//!  script(seed) ─► files, a topic, a table ─► connect ─► normalise ─► fusion, deliver ─► tables ─┐
//!        │                                     killed, paused, their brokers and database away   ├─ equal?
//!        └─► oracle (Polars) ───────────────────────────────────────────────────────────────────┘
//! ```

mod compare;
mod departments;
mod disk;
mod ending;
mod faults;
mod late;
mod oracle;
mod ports;
mod script;
mod seed;
mod servers;
mod stages;
mod tally;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Parser;
use seed::Seed;
use tally::Tally;

/// Faults by the seed: kills, pauses, brokers and a database that go away; then the tables against an oracle.
#[derive(Debug, clap::Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How many run at once, each with servers, folders and ports of its own.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Steps of each script: the departments send, something may go wrong.
    #[arg(long, default_value_t = 12)]
    steps: usize,
    /// Send the same, and let nothing go wrong.
    #[arg(long)]
    calm: bool,
    /// Two processes that normalise and fuse, which follow groups: with every seed, and not only with every second one.
    #[arg(long)]
    pair: bool,
    /// Fail where no process died at one of the points between two writes.
    #[arg(long)]
    every_point: bool,
    /// The program; by default the one beside this one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// The project's folder.
    #[arg(long, default_value = ".")]
    project: PathBuf,
    /// Where everything lies; what failed is kept there. By default a folder that is removed.
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let temporary = tempfile::tempdir()?;
    let root = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&root)?;
    let root = root.canonicalize()?;
    let beside = std::env::current_exe()?.with_file_name("yibiao");
    let program =
        args.program.clone().unwrap_or(beside).canonicalize().context("the program: give --program")?;
    let project = args.project.canonicalize()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.spawn(ending::on_interrupt(root.clone(), args.keep.is_none()));
    let (from, end) = (args.from, args.from + args.seeds);
    let seeds =
        Seeds { args, root, program, project, runtime, next: AtomicU64::new(from), ran: Mutex::default() };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..seeds.args.jobs.max(1) {
            scope.spawn(|| seeds.run_until(end));
        }
    });
    let Ran { tally, mut failed } = seeds.ran.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failed.sort();
    let equal = seeds.args.seeds - failed.len() as u64;
    println!("{equal} of {} seeds equal in {:.0} s", seeds.args.seeds, began.elapsed().as_secs_f64());
    println!("faults: {}", tally.faults());
    println!("deaths by point: {}", tally.points());
    println!("shards loaded at once: {}", tally.loads);
    let never = tally.never();
    if seeds.args.every_point && !never.is_empty() {
        println!(
            "no process died at {}: more seeds or steps are needed, or the point is out of use",
            never.join(", ")
        );
        std::process::exit(1);
    }
    if !failed.is_empty() {
        println!("not equal: {failed:?}; run one with --from SEED --keep DIR to look at what it leaves");
        std::process::exit(1);
    }
    Ok(())
}

/// All seeds, of which some run at once.
struct Seeds {
    args: Args,
    root: PathBuf,
    program: PathBuf,
    project: PathBuf,
    runtime: tokio::runtime::Runtime,
    /// The seed that is run next.
    next: AtomicU64,
    ran: Mutex<Ran>,
}

#[derive(Default)]
struct Ran {
    tally: Tally,
    failed: Vec<u64>,
}

impl Seeds {
    /// One after the other, as far as nobody else runs them. Each says one line when it ends.
    fn run_until(&self, end: u64) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || ending::is_ending() {
                return;
            }
            let (began, mut tally) = (Instant::now(), Tally::default());
            let outcome = self.run(seed, &self.root.join(format!("seed-{seed}")), &mut tally);
            if ending::is_ending() {
                return;
            }
            let mut ran = self.ran.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            ran.tally.add(tally);
            match outcome {
                Ok(said) => println!("seed {seed}: equal ({said}; {:.0} s)", began.elapsed().as_secs_f64()),
                Err(error) => {
                    println!("seed {seed}: {error:#}");
                    ran.failed.push(seed);
                }
            }
        }
    }

    fn run(&self, seed: u64, dir: &Path, tally: &mut Tally) -> Result<String> {
        std::fs::create_dir_all(dir)?;
        let one = Seed {
            seed,
            steps: self.args.steps,
            calm: self.args.calm,
            pair: self.args.pair || seed.is_multiple_of(2),
            dir,
            program: &self.program,
            project: &self.project,
        };
        let said = self.runtime.block_on(one.run(tally))?;
        std::fs::remove_dir_all(dir)?;
        Ok(said)
    }
}
