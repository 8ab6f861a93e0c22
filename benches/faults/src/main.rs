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
mod faults;
mod oracle;
mod script;
mod servers;
mod stages;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Parser;
use departments::Departments;
use disk::Disk;
use faults::{Fault, Faults, stage_of};
use rand::Rng;
use script::{Dwelling, Step};
use servers::{Kafka, Postgres};
use stages::{BESIDE, Stages, processes};
use yibiao_records::CrashPoint;

/// Faults by the seed: kills, pauses, brokers and a database that go away; then the tables against an oracle.
#[derive(Debug, clap::Parser)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Steps of each script: the departments send, something may go wrong.
    #[arg(long, default_value_t = 12)]
    steps: usize,
    /// Send the same, and let nothing go wrong.
    #[arg(long)]
    calm: bool,
    /// Two processes that fuse, whose shards follow a group: with every seed, and not only with every second one.
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
    let beside = std::env::current_exe()?.with_file_name("yibiao");
    let program =
        args.program.clone().unwrap_or(beside).canonicalize().context("the program: give --program")?;
    let project = args.project.canonicalize()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut failed, began) = (Vec::new(), Instant::now());
    let mut tally = Tally::default();
    for seed in args.from..args.from + args.seeds {
        let dir = root.join(format!("seed-{seed}"));
        std::fs::create_dir_all(&dir)?;
        let one = Seed {
            seed,
            steps: args.steps,
            calm: args.calm,
            pair: args.pair || seed.is_multiple_of(2),
            dir: &dir,
            program: &program,
            project: &project,
        };
        let began = Instant::now();
        match runtime.block_on(one.run(&mut tally)) {
            Ok(said) => {
                println!("seed {seed}: equal ({said}, {:.0} s)", began.elapsed().as_secs_f64());
                std::fs::remove_dir_all(&dir)?;
            }
            Err(error) => {
                println!("seed {seed}: {error:#}");
                failed.push(seed);
            }
        }
    }
    let equal = args.seeds - failed.len() as u64;
    println!("{equal} of {} seeds equal in {:.0} s", args.seeds, began.elapsed().as_secs_f64());
    println!("faults: {}", tally.faults());
    println!("deaths by point: {}", tally.points());
    let never: Vec<&str> =
        CrashPoint::STAGES.iter().filter(|p| !tally.points.contains_key(p)).map(|p| p.as_str()).collect();
    if args.every_point && !never.is_empty() {
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

/// What went wrong in all seeds.
#[derive(Default)]
struct Tally {
    faults: BTreeMap<&'static str, u32>,
    points: BTreeMap<CrashPoint, u32>,
}

impl Tally {
    fn faults(&self) -> String {
        self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }

    fn points(&self) -> String {
        let counts = self.points.iter().map(|(point, count)| format!("{} {count}", point.as_str()));
        counts.collect::<Vec<_>>().join(", ")
    }
}

struct Seed<'a> {
    seed: u64,
    steps: usize,
    calm: bool,
    pair: bool,
    dir: &'a Path,
    program: &'a Path,
    project: &'a Path,
}

impl Seed<'_> {
    /// Gives what happened, in few words.
    async fn run(&self, tally: &mut Tally) -> Result<String> {
        let city = script::city();
        let steps = script::script(self.seed, self.steps);
        let kafka = Kafka::start(self.project, &self.dir.join("kafka"))?;
        let postgres = Postgres::start(&self.dir.join("postgres"))?;
        for folder in ["pipelines", "schemas"] {
            copy(&self.project.join(folder), &self.dir.join(folder))?;
        }
        let mut departments = Departments::open(self.dir, &kafka.bootstrap, &postgres, &city).await?;
        self.configure(departments.config(self.dir, &kafka.bootstrap, &postgres))?;
        let disk = Disk::mount(&self.dir.join("data"))?;
        let outcome = self.with(&disk, &kafka, &postgres, &mut departments, &city, &steps, tally).await;
        if outcome.is_err() {
            disk.keep()?;
        }
        outcome
    }

    fn configure(&self, mut config: String) -> Result<()> {
        if self.pair {
            let checkpoints = self.dir.join("data/checkpoints");
            config += &format!(
                "[fusion]\ncheckpoints = {checkpoints:?}\ncheckpoint_every = \"1s\"\nfollow = true\nsession = \"6s\"\n\
                 hand_over = \"20s\"\n[project]\ninterval = \"500ms\"\n"
            );
            let (data, beside) = (self.dir.join("data"), self.dir.join("data/beside"));
            let own = format!("data = {beside:?}\nlake = {:?}", data.join("lake"));
            std::fs::write(self.dir.join(BESIDE), config.replacen(&format!("data = {data:?}"), &own, 1))?;
        }
        Ok(std::fs::write(self.dir.join("yibiao.toml"), config)?)
    }

    #[allow(clippy::too_many_arguments)]
    async fn with(
        &self,
        disk: &Disk,
        kafka: &Kafka,
        postgres: &Postgres,
        departments: &mut Departments,
        city: &[Dwelling],
        steps: &[Step],
        tally: &mut Tally,
    ) -> Result<String> {
        let mut stages = Stages::new(processes(self.pair), self.program, self.project, self.dir);
        let (mut faults, mut count) = (Faults::new(self.seed, stages.processes.len()), 0);
        for stage in 0..stages.processes.len() {
            let first = Some(faults.first).filter(|first| !self.calm && stage_of(first.0) == stage);
            stages.start_armed(stage, first)?;
        }
        for (number, step) in steps.iter().enumerate() {
            if number == steps.len() / 2 {
                departments.register_late(city)?;
            }
            departments.send(step, city, postgres).await?;
            tokio::time::sleep(faults.ms(100..1_200)).await;
            let drawn = faults.draw().filter(|_| !self.calm);
            // A process that is to die at a point mostly gets the time to come there.
            let spared = |fault: &Fault| fault.stage().is_some_and(|stage| stages.is_armed(stage));
            let happens = |fault: &Fault| disk.can_be_filled() || !matches!(fault, Fault::DiskFull { .. });
            let drawn = drawn.filter(happens);
            if let Some(fault) = drawn.filter(|fault| !spared(fault) || faults.dice.random_bool(0.3)) {
                count += 1;
                *tally.faults.entry(fault.name()).or_default() += 1;
                self.strike(fault, &mut stages, kafka, postgres, disk).await?;
            }
            stages.look_after()?;
        }
        stages.stop()?;
        for &point in &stages.died_at {
            *tally.points.entry(point).or_default() += 1;
        }
        stages.run_to_end()?;
        let sent: usize = steps.iter().map(|step| step.statements.len()).sum();
        compare::all(&stages, &oracle::expected(city, steps)?)?;
        let (died, by_themselves) = (stages.died_at.len(), stages.ended_by_themselves);
        Ok(format!(
            "{sent} records, {count} faults, {died} deaths at a point, {by_themselves} ended by themselves"
        ))
    }

    async fn strike(
        &self,
        fault: Fault,
        stages: &mut Stages,
        kafka: &Kafka,
        postgres: &Postgres,
        disk: &Disk,
    ) -> Result<()> {
        match fault {
            Fault::Kill { stage, down } => {
                stages.kill(stage)?;
                tokio::time::sleep(down).await;
                stages.start(stage)
            }
            Fault::Crash { stage, point, nth } => {
                stages.kill(stage)?;
                stages.start_armed(stage, Some((point, nth)))
            }
            Fault::Pause { stage, time } => {
                stages.signal(stage, "STOP")?;
                tokio::time::sleep(time).await;
                stages.signal(stage, "CONT")
            }
            Fault::Broker { broker, hard, down } => {
                kafka.end(broker, hard)?;
                tokio::time::sleep(down).await;
                kafka.start_again()
            }
            Fault::Torn { stage, bytes } => {
                stages.kill(stage)?;
                let state = stages.processes[stage].state;
                disk::tear_last_write(&self.dir.join("data").join(state), bytes)?;
                stages.start(stage)
            }
            Fault::DiskFull { time } => {
                disk.fill()?;
                tokio::time::sleep(time).await;
                disk.make_room()
            }
            Fault::Restart { stage, down } => {
                stages.stop_some(stage..stage + 1)?;
                tokio::time::sleep(down).await;
                stages.start(stage)
            }
            Fault::Database { down } => {
                postgres.stop()?;
                tokio::time::sleep(down).await;
                postgres.start_again()
            }
        }
    }
}

/// A folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (entry, to) = (entry?, to.to_owned());
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
