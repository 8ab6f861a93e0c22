//! One seed: its servers, its departments, the stages, and what goes wrong while they work.

use std::{path::Path, time::Instant};

use anyhow::Result;
use rand::Rng;
use yibiao_records::CrashPoint;

use crate::{
    compare,
    departments::Departments,
    disk::{self, Disk},
    faults::{Fault, Faults, stage_of},
    late::Late,
    oracle,
    script::{self, Dwelling, Step},
    servers::Servers,
    stages::{BESIDE, FUSION, Stages, processes},
    tally::Tally,
};

/// What a shard has after a few of the script's steps.
const LOAD_FRAMES_MIN: u64 = 5;

/// Where the time went.
struct Times {
    last: Instant,
    parts: Vec<String>,
}

impl Times {
    fn new() -> Self {
        Self { last: Instant::now(), parts: Vec::new() }
    }

    /// What has ended just now.
    fn part(&mut self, name: &str) {
        let seconds = std::mem::replace(&mut self.last, Instant::now()).elapsed().as_secs_f64();
        self.parts.push(format!("{name} {seconds:.0}"));
    }
}

pub struct Seed<'a> {
    pub seed: u64,
    pub steps: usize,
    pub calm: bool,
    pub pair: bool,
    pub servers: &'a Servers,
    pub dir: &'a Path,
    pub program: &'a Path,
    pub project: &'a Path,
}

impl Seed<'_> {
    /// Gives what happened, in few words.
    pub async fn run(&self, tally: &mut Tally) -> Result<String> {
        let mut times = Times::new();
        let city = script::city();
        let steps = script::script(self.seed, self.steps);
        let Servers { kafka, postgres, .. } = self.servers;
        for folder in ["pipelines", "schemas"] {
            copy(&self.project.join(folder), &self.dir.join(folder))?;
        }
        let mut departments = Departments::open(self.dir, &kafka.bootstrap, postgres, &city).await?;
        self.configure(departments.config(self.dir, &kafka.bootstrap, postgres))?;
        let disk = Disk::mount(&self.dir.join("data"))?;
        times.part("sources");
        let outcome = self.with(&disk, &mut departments, &city, &steps, tally, &mut times).await;
        if outcome.is_err() {
            disk.keep()?;
        }
        Ok(format!("{}; s: {}", outcome?, times.parts.join(", ")))
    }

    fn configure(&self, mut config: String) -> Result<()> {
        config += &format!("[fusion]\nload_frames_min = {LOAD_FRAMES_MIN}\n");
        if self.pair {
            let checkpoints = self.dir.join("data/checkpoints");
            let moves = format!(
                "checkpoints = {checkpoints:?}\ncheckpoint_every = \"1s\"\nfollow = true\nsession = \"6s\"\n\
                 hand_over = \"20s\"\n"
            );
            config += &format!("{moves}[project]\ninterval = \"500ms\"\n");
            config = config.replacen("[normalise]\n", &format!("[normalise]\n{moves}"), 1);
            let (data, beside) = (self.dir.join("data"), self.dir.join("data/beside"));
            let own = format!("data = {beside:?}\nlake = {:?}", data.join("lake"));
            std::fs::write(self.dir.join(BESIDE), config.replacen(&format!("data = {data:?}"), &own, 1))?;
        }
        Ok(std::fs::write(self.dir.join("yibiao.toml"), config)?)
    }

    async fn with(
        &self,
        disk: &Disk,
        departments: &mut Departments,
        city: &[Dwelling],
        steps: &[Step],
        tally: &mut Tally,
        times: &mut Times,
    ) -> Result<String> {
        let mut stages = Stages::new(self.seed, processes(self.pair), self.program, self.project, self.dir);
        let late = Late::draw(self.seed, self.steps, stages.processes.len()).filter(|_| !self.calm);
        if late.is_some() {
            stages.hold(FUSION);
        }
        let (mut faults, mut count) = (Faults::new(self.seed, stages.processes.len()), 0);
        for stage in 0..stages.processes.len() {
            let first = Some(faults.first).filter(|first| !self.calm && stage_of(first.0) == stage);
            stages.start_armed(stage, first)?;
        }
        for (number, step) in steps.iter().enumerate() {
            if number == steps.len() / 2 {
                departments.register_late(city)?;
            }
            departments.send(step, city, &self.servers.postgres).await?;
            if let Some(late) = late.as_ref().filter(|late| late.from_step == number) {
                stages.release();
                late.begin(&mut stages, disk, tally).await?;
            }
            tokio::time::sleep(faults.ms(100..1_200)).await;
            let drawn = faults.draw().filter(|_| !self.calm);
            // A process that is to die at a point mostly gets the time to come there.
            let spared = |fault: &Fault| fault.stage().is_some_and(|stage| stages.is_armed(stage));
            let absent = |fault: &Fault| fault.stage().is_some_and(|stage| stages.is_held(stage));
            let happens = |fault: &Fault| disk.can_be_filled() || !matches!(fault, Fault::DiskFull { .. });
            let drawn = drawn.filter(happens).filter(|fault| !absent(fault));
            if let Some(fault) = drawn.filter(|fault| !spared(fault) || faults.dice.random_bool(0.3)) {
                count += 1;
                *tally.faults.entry(fault.name()).or_default() += 1;
                self.strike(fault, &mut stages, disk).await?;
            }
            stages.look_after()?;
        }
        times.part("steps");
        stages.stop()?;
        times.part("stop");
        for &point in &stages.died_at {
            *tally.points.entry(point).or_default() += 1;
        }
        stages.run_to_end()?;
        times.part("last run");
        let sent: usize = steps.iter().map(|step| step.statements.len()).sum();
        compare::all(&stages, &oracle::expected(city, steps)?)?;
        times.part("comparison");
        let loads = stages.loads();
        tally.loads += loads;
        let (died, by_themselves) = (stages.died_at.len(), stages.ended_by_themselves);
        Ok(format!(
            "{sent} records, {count} faults, {died} deaths at a point, {by_themselves} ended by themselves, {loads} loads"
        ))
    }

    async fn strike(&self, fault: Fault, stages: &mut Stages, disk: &Disk) -> Result<()> {
        let Servers { kafka, postgres, .. } = self.servers;
        match fault {
            Fault::Kill { stage, down } => {
                stages.kill(stage)?;
                tokio::time::sleep(down).await;
                stages.start(stage)
            }
            Fault::Crash { stage, point, nth } => {
                stages.kill(stage)?;
                // Only what has lost its own state comes back from a checkpoint for sure.
                if point == CrashPoint::NormaliseRestoring {
                    stages.lose_disk(stage)?;
                }
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
            Fault::Lost { stage, down } => {
                stages.kill(stage)?;
                stages.lose_disk(stage)?;
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
