//! CPU time of this process, by what its threads are for.

use std::collections::BTreeMap;

/// Seconds of CPU time since the process started, by stage.
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
    /// Reads /proc (Linux). Threads that have ended are in the process's total only, and count as other.
    pub fn now() -> Self {
        let ticks_a_second = 100.0;
        let mut stages = BTreeMap::new();
        let mut threads = 0.0;
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let Some((name, ticks)) = parse(&stat) else { continue };
            *stages.entry(stage_of(&name)).or_insert(0.0) += ticks / ticks_a_second;
            threads += ticks / ticks_a_second;
        }
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let total = parse(&stat).map_or(0.0, |(_, ticks)| ticks / ticks_a_second);
        *stages.entry("other").or_insert(0.0) += (total - threads).max(0.0);
        Self(stages)
    }

    pub fn since(&self, before: &Cpu) -> Cpu {
        let spent =
            |stage: &&'static str, seconds: &f64| seconds - before.0.get(stage).copied().unwrap_or(0.0);
        Cpu(self.0.iter().map(|(stage, seconds)| (*stage, spent(stage, seconds).max(0.0))).collect())
    }

    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }
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
        assert!(Cpu::now().total() >= 0.0);
    }
}
