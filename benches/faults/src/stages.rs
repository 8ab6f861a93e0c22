//! The program's stages as processes of their own.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use yibiao_records::{CrashPoint, crash::CRASH_AT};

use crate::{ending, servers::signal};

/// What a process that aborts dies of.
const SIGABRT: i32 = 6;
const SIGTERM: i32 = 15;

/// One of the program's processes.
pub struct Process {
    /// In logs.
    pub name: &'static str,
    pub stages: &'static str,
    config: &'static str,
    /// Where it keeps its state, below the seed's data.
    pub state: &'static str,
    /// What is gone where its disk is lost.
    pub disk: &'static [&'static str],
}

const fn process(
    name: &'static str,
    config: &'static str,
    state: &'static str,
    disk: &'static [&'static str],
) -> Process {
    Process { name, stages: name, config, state, disk }
}

pub const CONNECT: usize = 0;
pub const NORMALISE: usize = 1;
pub const FUSION: usize = 2;
/// Normalises and fuses too, where two do.
pub const BOTH_BESIDE: usize = 3;

static PROCESSES: [Process; 4] = [
    process("connect", "yibiao.toml", "state", &[]),
    process("normalise", "yibiao.toml", "state/normalise", &["state/normalise", "gazetteer"]),
    process("fusion,deliver", "yibiao.toml", "state/fusion", &["state/fusion"]),
    process("normalise,fusion", BESIDE, "beside/state", &["beside"]),
];

/// The configuration of the process that does again what two others do.
pub const BESIDE: &str = "beside.toml";

/// With two that normalise and two that fuse, or one of each.
pub fn processes(pair: bool) -> &'static [Process] {
    &PROCESSES[..if pair { 4 } else { 3 }]
}
/// A run to the end that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(240);
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// The program, its configuration, and which stages run.
pub struct Stages {
    seed: u64,
    pub processes: &'static [Process],
    program: PathBuf,
    project: PathBuf,
    dir: PathBuf,
    running: Vec<Option<Child>>,
    /// From this one on they are not to run yet.
    held_from: usize,
    /// By stage: where its process is to die.
    armed: Vec<Option<CrashPoint>>,
    /// Where processes died.
    pub died_at: Vec<CrashPoint>,
    /// Processes that ended without being made to.
    pub ended_by_themselves: u32,
}

impl Stages {
    pub fn new(seed: u64, processes: &'static [Process], program: &Path, project: &Path, dir: &Path) -> Self {
        let running = processes.iter().map(|_| None).collect();
        let (armed, held_from) = (vec![None; processes.len()], processes.len());
        let (program, project, dir) = (program.to_owned(), project.to_owned(), dir.to_owned());
        Self {
            seed,
            processes,
            program,
            project,
            dir,
            running,
            held_from,
            armed,
            died_at: Vec::new(),
            ended_by_themselves: 0,
        }
    }

    fn config(&self) -> PathBuf {
        self.dir.join("yibiao.toml")
    }

    fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = ending::command(&self.program)?;
        command.current_dir(&self.project).args(args).stdin(Stdio::null());
        Ok(command)
    }

    pub fn start(&mut self, stage: usize) -> Result<()> {
        self.start_armed(stage, None)
    }

    /// A stage that dies when it comes by `at` the nth time.
    pub fn start_armed(&mut self, stage: usize, at: Option<(CrashPoint, u32)>) -> Result<()> {
        if self.running[stage].is_some() || self.is_held(stage) {
            return Ok(());
        }
        let crash = at.map_or(String::new(), |(point, nth)| format!("{}:{nth}", point.as_str()));
        self.armed[stage] = at.map(|(point, _)| point);
        let child = self
            .command(&[
                "run",
                "--metrics",
                "127.0.0.1:0",
                "--log",
                LOG,
                "--stages",
                self.processes[stage].stages,
                "--config",
            ])?
            .arg(self.dir.join(self.processes[stage].config))
            .env(CRASH_AT, crash)
            .stdout(Stdio::null())
            .stderr(self.log(self.processes[stage].name)?)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        self.running[stage] = Some(child);
        Ok(())
    }

    /// Those from this one on do not run before [`Stages::release`], whoever starts them.
    pub fn hold(&mut self, from: usize) {
        self.held_from = from;
    }

    pub fn is_held(&self, stage: usize) -> bool {
        stage >= self.held_from
    }

    pub fn release(&mut self) {
        self.held_from = self.processes.len();
    }

    /// Its disk is gone, after its death.
    pub fn lose_disk(&self, stage: usize) -> Result<()> {
        for folder in self.processes[stage].disk {
            match fs::remove_dir_all(self.dir.join("data").join(folder)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Those that do not run.
    pub fn start_all(&mut self) -> Result<()> {
        (0..self.processes.len()).try_for_each(|stage| self.start(stage))
    }

    /// How many shards were loaded at once, all runs together.
    pub fn loads(&self) -> usize {
        let names = self.processes.iter().map(|process| process.name).chain(["once"]);
        let logs = names.map(|name| fs::read_to_string(self.dir.join(format!("{name}.log"))));
        logs.flatten().map(|log| log.matches(LOADED).count()).sum()
    }

    fn log(&self, name: &str) -> Result<fs::File> {
        let path = self.dir.join(format!("{name}.log"));
        Ok(fs::OpenOptions::new().create(true).append(true).open(path)?)
    }

    /// Starts again what ended by itself, as a supervisor would.
    pub fn look_after(&mut self) -> Result<()> {
        for (stage, Process { name, .. }) in self.processes.iter().enumerate() {
            if let Some(child) = &mut self.running[stage]
                && let Some(status) = child.try_wait()?
            {
                match self.armed[stage].filter(|_| status.signal() == Some(SIGABRT)) {
                    Some(point) => self.died_at.push(point),
                    None => {
                        let (seed, words) = (self.seed, last_words(&self.dir, name));
                        eprintln!("  seed {seed}: {name} ended by itself: {status}: {words}");
                        self.ended_by_themselves += 1;
                    }
                }
                self.running[stage] = None;
                self.start(stage)?;
            }
        }
        Ok(())
    }

    /// Is the stage's process on its way to a death?
    pub fn is_armed(&self, stage: usize) -> bool {
        self.running[stage].is_some() && self.armed[stage].is_some()
    }

    pub fn kill(&mut self, stage: usize) -> Result<()> {
        if let Some(mut child) = self.running[stage].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// STOP and CONT: the process sees the time jump.
    pub fn signal(&self, stage: usize, name: &str) -> Result<()> {
        match &self.running[stage] {
            Some(child) => signal(&child.id().to_string(), name),
            None => Ok(()),
        }
    }

    /// Asks all to stop, which they must do by themselves.
    pub fn stop(&mut self) -> Result<()> {
        self.stop_some(0..self.processes.len())
    }

    /// Some of them.
    pub fn stop_some(&mut self, some: std::ops::Range<usize>) -> Result<()> {
        for child in self.running[some.clone()].iter().flatten() {
            signal(&child.id().to_string(), "TERM")?;
        }
        for stage in some {
            let Some(mut child) = self.running[stage].take() else { continue };
            match wait(&mut child, STOPS_WITHIN)? {
                // One that has only just been started does not listen yet, and may simply end.
                Some(status) if status.success() || status.signal() == Some(SIGTERM) => {}
                Some(status) if status.signal() == Some(SIGABRT) && self.armed[stage].is_some() => {
                    self.died_at.extend(self.armed[stage]);
                }
                // It met the full disk before it heard of the stop.
                Some(_) if met_full_disk(&last_words(&self.dir, self.processes[stage].name)) => {
                    self.ended_by_themselves += 1;
                }
                Some(status) => bail!("{} stopped with {status}", self.processes[stage].name),
                None => {
                    child.kill()?;
                    child.wait()?;
                    bail!("{} did not stop within {STOPS_WITHIN:?}", self.processes[stage].name);
                }
            }
        }
        Ok(())
    }

    /// All stages in one process, to the end of what was sent.
    pub fn run_to_end(&self) -> Result<()> {
        let mut child = self
            .command(&["run", "--once", "--metrics", "127.0.0.1:0", "--log", LOG, "--config"])?
            .arg(self.config())
            .stdout(Stdio::null())
            .stderr(self.log("once")?)
            .spawn()?;
        match wait(&mut child, PATIENCE)? {
            Some(status) => ensure!(status.success(), "the last run failed with {status}, see once.log"),
            None => {
                child.kill()?;
                child.wait()?;
                bail!("the last run did not end within {PATIENCE:?}");
            }
        }
        Ok(())
    }

    /// Rows of a query over the tables in `folder` of the data.
    pub fn sql(&self, folder: &str, query: &str) -> Result<Vec<Value>> {
        let lake = self.dir.join("data").join(folder);
        let output = self
            .command(&["sql", "--format", "json", "--log", "error", "--lake"])?
            .arg(lake)
            .arg(query)
            .output()?;
        ensure!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(|| format!("reading the answer of {query}"))
    }

    /// A command that must succeed; gives what it says.
    pub fn say(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args)?.arg("--config").arg(self.config()).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const LOG: &str = "warn,yibiao_fusion::load=info";
/// What it says when a shard was loaded at once.
const LOADED: &str = "the first load is done";
/// What the program says where its disk is full, or may be.
const DISK_FULL: [&str; 2] = ["is the disk full?", "StorageFull"];

fn met_full_disk(words: &str) -> bool {
    DISK_FULL.iter().any(|full| words.contains(full))
}

/// The end of a stage's log.
fn last_words(dir: &Path, stage: &str) -> String {
    let log = fs::read_to_string(dir.join(format!("{stage}.log"))).unwrap_or_default();
    log.lines().last().unwrap_or_default().to_owned()
}

/// None where it runs longer than `time`.
fn wait(child: &mut Child, time: Duration) -> Result<Option<std::process::ExitStatus>> {
    let until = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
