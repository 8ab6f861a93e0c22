//! CPU time of this process, by what its threads are for.

use std::{
    collections::BTreeMap,
    sync::mpsc::{self, RecvTimeoutError},
    thread::JoinHandle,
    time::Duration,
};

/// Seconds of CPU time, by stage.
#[derive(Debug, Clone, Default)]
pub struct Cpu(pub BTreeMap<&'static str, f64>);

/// What a thread is for, by its name.
fn stage_of(thread: &str) -> &'static str {
    match thread {
        name if name.starts_with("normalise") => "normalise: decode, resolve, diff, frames",
        name if name.starts_with("fusion") => "fusion: merge, rules, state",
        name if name.starts_with("fjall") || name.starts_with("lsm") => "state store: flush and compaction",
        name if name.starts_with("rdk") || name.starts_with("read ") => "topics: consume and produce",
        name if name.starts_with("tokio") => "projection to Delta, connectors and all else async",
        _ => "other",
    }
}

impl Cpu {
    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }
}

/// Watches this process's threads until it is asked, because a thread that has ended is in the process's total only.
pub struct Watch {
    stop: mpsc::Sender<()>,
    watcher: JoinHandle<BTreeMap<String, (&'static str, f64)>>,
    before: BTreeMap<String, (&'static str, f64)>,
    total_before: f64,
}

/// Threads live for seconds; what they spend after the last look counts as other.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of /proc; fixed on Linux.
const TICKS_A_SECOND: f64 = 100.0;

impl Watch {
    pub fn start() -> Self {
        let before = threads();
        let (stop, stopped) = mpsc::channel();
        let watcher = std::thread::spawn(move || {
            let mut seen = threads();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
                seen.extend(threads());
            }
            seen.extend(threads());
            seen
        });
        Self { stop, watcher, before, total_before: total() }
    }

    /// What each stage has spent since the start.
    pub fn stop(self) -> Cpu {
        drop(self.stop);
        let seen = self.watcher.join().expect("the watcher does not panic");
        let mut stages = BTreeMap::new();
        for (thread, (stage, seconds)) in seen {
            let before = self.before.get(&thread).map_or(0.0, |(_, seconds)| *seconds);
            *stages.entry(stage).or_insert(0.0) += (seconds - before).max(0.0);
        }
        let known: f64 = stages.values().sum();
        *stages.entry("other").or_insert(0.0) += (total() - self.total_before - known).max(0.0);
        Cpu(stages)
    }
}

/// Every thread of this process: what it is for, and its CPU seconds. Empty where there is no /proc.
fn threads() -> BTreeMap<String, (&'static str, f64)> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            let (name, ticks) = parse(&stat)?;
            Some((task.file_name().to_string_lossy().into_owned(), (stage_of(&name), ticks / TICKS_A_SECOND)))
        })
        .collect()
}

fn total() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    parse(&stat).map_or(0.0, |(_, ticks)| ticks / TICKS_A_SECOND)
}

/// The thread's name and its user and system ticks.
fn parse(stat: &str) -> Option<(String, f64)> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some((name.to_owned(), ticks))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stat_line_gives_name_and_ticks() {
        let line = "7 (a (b) c) R 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(parse(line).unwrap(), ("a (b) c".to_owned(), 200.0));
        assert!(Watch::start().stop().total() >= 0.0);
    }
}
