//! What goes wrong, from a seed.

use std::{ops::Range, time::Duration};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use yibiao_records::CrashPoint;

use crate::{
    servers::BROKERS,
    stages::{BOTH_BESIDE, CONNECT, FUSION, NORMALISE},
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// kill -9 at any moment, and a start after some time.
    Kill { stage: usize, down: Duration },
    /// A death between two writes, the nth time that the process comes by there.
    Crash { stage: usize, point: CrashPoint, nth: u32 },
    /// A process that stands still, longer than others wait for it, and wakes up.
    Pause { stage: usize, time: Duration },
    /// A broker that is killed or stopped, and comes back. Two others go on.
    Broker { broker: usize, hard: bool, down: Duration },
    /// kill -9 in the middle of a write to the state: its beginning lies in the journal.
    Torn { stage: usize, bytes: usize },
    /// The disk of the program's data is full for some time.
    DiskFull { time: Duration },
    /// The departments' database is away.
    Database { down: Duration },
    /// One of two is stopped in order, and comes back.
    Restart { stage: usize, down: Duration },
    /// kill -9, and the machine's disk is gone with it: another one is started.
    Lost { stage: usize, down: Duration },
}

/// Draws the faults of one seed.
pub struct Faults {
    pub dice: ChaCha8Rng,
    /// How many processes there are.
    processes: usize,
    points: Vec<CrashPoint>,
    /// Points are taken in turn, so that some seeds together meet each of them.
    next: usize,
    /// Where a process dies that is started at the beginning: most is going on then.
    pub first: (CrashPoint, u32),
}

impl Faults {
    pub fn new(seed: u64, processes: usize) -> Self {
        // A normaliser moves only where two normalise.
        let moves = CrashPoint::NORMALISER_OWNED.into_iter().filter(|_| processes > BOTH_BESIDE);
        let points: Vec<CrashPoint> = CrashPoint::STAGES.into_iter().chain(moves).collect();
        let next = seed as usize * 4 % points.len();
        let mut dice = ChaCha8Rng::seed_from_u64(seed ^ 0xfa17);
        let point = CrashPoint::STAGES[seed as usize % CrashPoint::STAGES.len()];
        let first = (point, nth(point, &mut dice));
        Self { dice, processes, points, next, first }
    }

    pub fn ms(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.dice.random_range(range))
    }

    pub fn draw(&mut self) -> Option<Fault> {
        let stage = self.dice.random_range(0..self.processes);
        let pair = self.processes > BOTH_BESIDE;
        Some(match self.dice.random_range(0..100) {
            0..6 if pair => Fault::Lost { stage: stage.max(NORMALISE), down: self.ms(0..1_500) },
            0..14 => Fault::Kill { stage, down: self.ms(0..1_500) },
            // The connectors have no state of their own.
            14..20 => Fault::Torn { stage: stage.max(NORMALISE), bytes: self.dice.random_range(1..60) },
            20..60 => {
                let point = self.points[self.next];
                self.next = (self.next + 1) % self.points.len();
                let nth = nth(point, &mut self.dice);
                let both = pair && stage_of(point) != CONNECT && !point.as_str().starts_with("deliver");
                let stage = if both && self.dice.random_bool(0.5) { BOTH_BESIDE } else { stage_of(point) };
                Fault::Crash { stage, point, nth }
            }
            // Past the session of a group's member, now and then.
            60..70 if pair => Fault::Pause { stage, time: self.ms(200..16_000) },
            60..70 => Fault::Pause { stage, time: self.ms(200..8_000) },
            70..82 => Fault::Broker {
                broker: self.dice.random_range(0..BROKERS),
                hard: self.dice.random_bool(0.6),
                down: self.ms(500..5_000),
            },
            82..87 => Fault::Database { down: self.ms(100..2_000) },
            87..94 => Fault::DiskFull { time: self.ms(200..4_000) },
            _ if pair => Fault::Restart { stage: stage.max(NORMALISE), down: self.ms(0..3_000) },
            _ => return None,
        })
    }
}

impl Fault {
    /// The stage whose process it ends.
    pub fn stage(&self) -> Option<usize> {
        match *self {
            Fault::Kill { stage, .. }
            | Fault::Torn { stage, .. }
            | Fault::Crash { stage, .. }
            | Fault::Restart { stage, .. }
            | Fault::Lost { stage, .. } => Some(stage),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill { .. } => "killed",
            Fault::Crash { .. } => "armed to die at a point",
            Fault::Pause { .. } => "paused",
            Fault::Broker { hard: true, .. } => "brokers killed",
            Fault::Broker { .. } => "brokers stopped",
            Fault::Torn { .. } => "killed within a write",
            Fault::DiskFull { .. } => "disk full",
            Fault::Database { .. } => "database away",
            Fault::Restart { .. } => "stopped in order",
            Fault::Lost { .. } => "killed and their disk lost",
        }
    }
}

/// A gazetteer is mostly built once, and a normaliser comes back once in a process.
fn nth(point: CrashPoint, dice: &mut ChaCha8Rng) -> u32 {
    let once = point.as_str().starts_with("gazetteer") || CrashPoint::NORMALISER_OWNED.contains(&point);
    if once { 1 } else { dice.random_range(1..4) }
}

/// The stage whose process comes by a point.
pub fn stage_of(point: CrashPoint) -> usize {
    match point.as_str().split('-').next() {
        Some("connect") => CONNECT,
        Some("normalise" | "gazetteer") => NORMALISE,
        _ => FUSION,
    }
}
