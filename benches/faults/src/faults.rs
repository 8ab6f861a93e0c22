//! What goes wrong, from a seed.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{servers::BROKERS, stages::STAGES};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// kill -9, and a start after some time.
    Kill { stage: usize, down: Duration },
    /// A process that stands still, longer than others wait for it, and wakes up.
    Pause { stage: usize, time: Duration },
    /// A broker that is killed or stopped, and comes back. Two others go on.
    Broker { broker: usize, hard: bool, down: Duration },
    /// The departments' database is away.
    Database { down: Duration },
}

impl Fault {
    pub fn draw(dice: &mut ChaCha8Rng) -> Option<Fault> {
        let ms = |dice: &mut ChaCha8Rng, range: std::ops::Range<u64>| Duration::from_millis(dice.random_range(range));
        let stage = dice.random_range(0..STAGES.len());
        Some(match dice.random_range(0..100) {
            0..45 => Fault::Kill { stage, down: ms(dice, 0..1_500) },
            45..60 => Fault::Pause { stage, time: ms(dice, 200..8_000) },
            60..75 => Fault::Broker {
                broker: dice.random_range(0..BROKERS),
                hard: dice.random_bool(0.6),
                down: ms(dice, 500..5_000),
            },
            75..82 => Fault::Database { down: ms(dice, 100..2_000) },
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill { .. } => "kill",
            Fault::Pause { .. } => "pause",
            Fault::Broker { hard: true, .. } => "broker killed",
            Fault::Broker { .. } => "broker stopped",
            Fault::Database { .. } => "database away",
        }
    }
}
