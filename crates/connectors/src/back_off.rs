//! How long to wait before the next attempt.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant},
};

use crate::Pace;

/// Doubles up to a limit. Half of each wait is random, so that many connectors do not knock at once.
#[derive(Debug)]
pub(crate) struct BackOff {
    next: Duration,
    first: Duration,
    max: Duration,
    since: Option<Instant>,
}

impl BackOff {
    pub(crate) fn new(pace: &Pace) -> Self {
        let first = pace.back_off.max(Duration::from_millis(1));
        Self { next: first, first, max: pace.back_off_max.max(first), since: None }
    }

    /// The wait after another failure; `at_least` is what the source itself asked for.
    pub(crate) fn wait(&mut self, at_least: Option<Duration>) -> Duration {
        self.since.get_or_insert_with(Instant::now);
        let half = self.next / 2;
        self.next = (self.next * 2).min(self.max);
        let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        (half + half.mul_f64(random)).max(at_least.unwrap_or_default().min(self.max))
    }

    /// How long the source has been away.
    pub(crate) fn away(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_the_limit() {
        let pace = Pace {
            back_off: Duration::from_millis(100),
            back_off_max: Duration::from_millis(1000),
            ..Pace::default()
        };
        let mut back_off = BackOff::new(&pace);
        for full in [100, 200, 400, 800, 1000, 1000] {
            let wait = back_off.wait(None).as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        assert_eq!(back_off.wait(Some(Duration::from_secs(9))), Duration::from_secs(1));
        back_off.reset();
        assert!(back_off.wait(None) <= Duration::from_millis(100) && back_off.away().is_some());
    }
}
