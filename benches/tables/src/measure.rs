//! Time, processor time and memory of this process.

use std::time::Instant;

/// Of Linux; fixed there.
const TICKS_A_SECOND: f64 = 100.0;

/// From one moment to another.
pub struct Watch {
    began: Instant,
    cpu: f64,
}

/// Seconds of the clock and of the processor.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub seconds: f64,
    pub cpu: f64,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.seconds += more.seconds;
        self.cpu += more.cpu;
    }
}

impl Watch {
    pub fn start() -> Self {
        Self { began: Instant::now(), cpu: cpu_seconds() }
    }

    pub fn spent(&self) -> Spent {
        Spent { seconds: self.began.elapsed().as_secs_f64(), cpu: cpu_seconds() - self.cpu }
    }
}

/// Of all threads, also those that have ended.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold spaces; user and system time are the 12th and 13th after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

/// The largest that was resident, MB.
pub fn peak_mb() -> f64 {
    status_mb("VmHWM:")
}

/// What is resident, MB.
pub fn resident_mb() -> f64 {
    status_mb("VmRSS:")
}

fn status_mb(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1_024.0
}

/// Of the values at this share of their order; they are sorted here.
pub fn at(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}
