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
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Parser;
use seed::Seed;
use servers::Servers;
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
    /// How many seeds one after the other have the same brokers and database, which are emptied in between: a broker that has
    /// run for a while takes less of the processor.
    #[arg(long, default_value_t = 1)]
    servers_for: u32,
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
    let ran = Arc::new(Mutex::new(Ran::begin()));
    let so_far = ran.clone();
    runtime.spawn(ending::on_interrupt(root.clone(), args.keep.is_none(), move || locked(&so_far).say()));
    let (from, end) = (args.from, args.from + args.seeds);
    let seeds = Seeds { args, root, program, project, runtime, next: AtomicU64::new(from), ran };
    std::thread::scope(|scope| {
        for _ in 0..seeds.args.jobs.max(1) {
            scope.spawn(|| seeds.run_until(end));
        }
    });
    while ending::is_ending() {
        // Whoever was interrupted says what ran, and ends the process.
        std::thread::park();
    }
    let mut ran = locked(&seeds.ran);
    ran.say();
    let Ran { tally, failed, .. } = &mut *ran;
    failed.sort();
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
    ran: Arc<Mutex<Ran>>,
}

/// What came of the seeds that have ended.
struct Ran {
    began: Instant,
    equal: u64,
    failed: Vec<u64>,
    tally: Tally,
}

impl Ran {
    fn begin() -> Self {
        Self { began: Instant::now(), equal: 0, failed: Vec::new(), tally: Tally::default() }
    }

    fn say(&self) {
        let (ended, seconds) = (self.equal + self.failed.len() as u64, self.began.elapsed().as_secs_f64());
        println!("{} of {ended} seeds equal in {seconds:.0} s", self.equal);
        println!("faults: {}", self.tally.faults());
        println!("deaths by point: {}", self.tally.points());
        println!("shards loaded at once: {}", self.tally.loads);
    }
}

fn locked(ran: &Mutex<Ran>) -> MutexGuard<'_, Ran> {
    ran.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Seeds {
    /// One after the other, as far as nobody else runs them. Each says one line when it ends.
    fn run_until(&self, end: u64) {
        let mut servers = None;
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || ending::is_ending() {
                break;
            }
            let (began, mut tally) = (Instant::now(), Tally::default());
            let outcome = self.run(seed, &mut servers, &mut tally);
            if ending::is_ending() {
                return;
            }
            let mut ran = locked(&self.ran);
            ran.tally.add(tally);
            match outcome {
                Ok(said) => {
                    println!("seed {seed}: equal ({said}; {:.0} s)", began.elapsed().as_secs_f64());
                    ran.equal += 1;
                }
                Err(error) => {
                    println!("seed {seed}: {error:#}");
                    ran.failed.push(seed);
                }
            }
        }
        if let Some(Err(error)) = servers.map(InUse::end) {
            eprintln!("removing the folder of the last servers: {error:#}");
        }
    }

    /// What is left in `servers` may be had by another seed.
    fn run(&self, seed: u64, servers: &mut Option<InUse>, tally: &mut Tally) -> Result<String> {
        let dir = self.root.join(format!("seed-{seed}"));
        std::fs::create_dir_all(&dir)?;
        let had = servers.take().and_then(|had| self.emptied(had));
        let mut had = had.map_or_else(|| self.servers(seed), Ok)?;
        let one = Seed {
            seed,
            steps: self.args.steps,
            calm: self.args.calm,
            pair: self.args.pair || seed.is_multiple_of(2),
            servers: &had.servers,
            dir: &dir,
            program: &self.program,
            project: &self.project,
        };
        let said = self.runtime.block_on(one.run(tally))?;
        std::fs::remove_dir_all(dir)?;
        had.seeds += 1;
        if had.seeds < self.args.servers_for {
            *servers = Some(had);
        } else {
            had.end()?;
        }
        Ok(said)
    }

    fn servers(&self, seed: u64) -> Result<InUse> {
        let folder = self.root.join(format!("servers-{seed}"));
        Ok(InUse { servers: Servers::start(&self.project, &folder)?, folder, seeds: 0 })
    }

    /// Others are started where that fails.
    fn emptied(&self, had: InUse) -> Option<InUse> {
        let cleared = self.runtime.block_on(had.servers.clear());
        cleared.inspect_err(|error| eprintln!("{}: not emptied: {error:#}", had.folder.display())).ok()?;
        Some(had)
    }
}

/// Servers, and how many seeds have had them.
struct InUse {
    servers: Servers,
    folder: PathBuf,
    seeds: u32,
}

impl InUse {
    fn end(self) -> Result<()> {
        drop(self.servers);
        Ok(std::fs::remove_dir_all(self.folder)?)
    }
}
