//! How often a second something can be done, warm, on one core.

use std::time::{Duration, Instant};

/// Time in which this thread ran: machines are shared, and waiting for a core is not our speed.
struct Clock {
    start: Instant,
    start_on_core: Option<Duration>,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now(), start_on_core: on_core() }
    }

    fn elapsed(&self) -> Duration {
        let ran = || on_core()?.checked_sub(self.start_on_core?);
        ran().unwrap_or_else(|| self.start.elapsed())
    }
}

/// What Linux says; None elsewhere.
fn on_core() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(stat.split(' ').next()?.parse().ok()?))
}

/// On a machine that others keep busy a second of processor time may take minutes: it is measured for so many times
/// as long at most.
const PATIENCE: u32 = 10;

/// Items a second, where one `work` does `items`. None where there is no time or nothing to measure.
pub(crate) fn speed(items: usize, seconds: f64, mut work: impl FnMut()) -> Option<f64> {
    if seconds <= 0.0 || items == 0 {
        return None;
    }
    let limit = Duration::from_secs_f64(seconds);
    work();
    let clock = Clock::start();
    let mut rounds = 0;
    loop {
        work();
        rounds += 1;
        let elapsed = clock.elapsed();
        if elapsed >= limit || clock.start.elapsed() >= limit * PATIENCE {
            return Some((rounds * items) as f64 / elapsed.as_secs_f64());
        }
    }
}
