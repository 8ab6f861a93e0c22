//! Those that fuse begin late: much lies in their topics, which they load at once, and something goes wrong while they do.

use std::{ops::Range, time::Duration};

use anyhow::Result;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use yibiao_records::CrashPoint;

use crate::{
    disk::Disk,
    stages::{FUSION, Stages},
    tally::Tally,
};

/// As often as others are drawn from.
const SHARE: f64 = 1.0 / 3.0;
/// A process that has not come by its point until then has nothing to load any more.
const COMES_WITHIN: Duration = Duration::from_secs(6);
/// Those of every load, then those of one of a shard that moves.
const POINTS: [CrashPoint; 6] = {
    let ([a, b, c, d], [e, f]) = (CrashPoint::LOAD, CrashPoint::LOAD_OWNED);
    [a, b, c, d, e, f]
};
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What goes wrong with one of the processes that load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mishap {
    /// It dies where one of its shards comes by the point, the nth of them.
    Dies { stage: usize, point: CrashPoint, nth: u32 },
    /// kill -9, so long after its start.
    Killed { stage: usize, after: Duration },
    /// It stands still, so long after its start, past the session: the other one has its shards when it wakes up and goes on.
    Paused { stage: usize, after: Duration, time: Duration },
    /// The disk is full for some time, from so long after its start.
    DiskFull { stage: usize, after: Duration, time: Duration },
}

impl Mishap {
    fn name(self) -> &'static str {
        match self {
            Mishap::Dies { .. } => "armed to die while they load",
            Mishap::Killed { .. } => "killed while they load",
            Mishap::Paused { .. } => "paused while they load",
            Mishap::DiskFull { .. } => "disk full while they load",
        }
    }
}

/// When they begin, and what goes wrong then, one after the other.
#[derive(Debug, PartialEq)]
pub struct Late {
    pub from_step: usize,
    mishaps: Vec<Mishap>,
}

impl Late {
    /// None in most seeds. By dice of its own, so that what else goes wrong in a seed does not depend on it.
    pub fn draw(seed: u64, steps: usize, processes: usize) -> Option<Self> {
        let mut dice = ChaCha8Rng::seed_from_u64(seed ^ 0x10ad);
        if !dice.random_bool(SHARE) {
            return None;
        }
        let from_step = dice.random_range(steps / 2..steps.max(1));
        let mishaps = (0..dice.random_range(1..4)).map(|_| mishap(&mut dice, FUSION..processes));
        Some(Self { from_step, mishaps: mishaps.collect() })
    }

    /// Starts those that fuse, and lets everything go wrong that was drawn.
    pub async fn begin(&self, stages: &mut Stages, disk: &Disk, tally: &mut Tally) -> Result<()> {
        for &mishap in &self.mishaps {
            if matches!(mishap, Mishap::DiskFull { .. }) && !disk.can_be_filled() {
                continue;
            }
            *tally.faults.entry(mishap.name()).or_default() += 1;
            strike(mishap, stages, disk).await?;
        }
        stages.start_all()
    }
}

async fn strike(mishap: Mishap, stages: &mut Stages, disk: &Disk) -> Result<()> {
    match mishap {
        Mishap::Dies { stage, point, nth } => {
            stages.kill(stage)?;
            stages.start_armed(stage, Some((point, nth)))?;
            stages.start_all()?;
            let until = std::time::Instant::now() + COMES_WITHIN;
            while stages.is_armed(stage) && std::time::Instant::now() < until {
                tokio::time::sleep(LOOK_EVERY).await;
                stages.look_after()?;
            }
            Ok(())
        }
        Mishap::Killed { stage, after } => {
            stages.start_all()?;
            tokio::time::sleep(after).await;
            stages.kill(stage)
        }
        Mishap::Paused { stage, after, time } => {
            stages.kill(stage)?;
            stages.start_all()?;
            tokio::time::sleep(after).await;
            stages.signal(stage, "STOP")?;
            tokio::time::sleep(time).await;
            stages.signal(stage, "CONT")
        }
        Mishap::DiskFull { stage, after, time } => {
            stages.kill(stage)?;
            stages.start_all()?;
            tokio::time::sleep(after).await;
            disk.fill()?;
            tokio::time::sleep(time).await;
            disk.make_room()?;
            stages.look_after()
        }
    }
}

fn mishap(dice: &mut ChaCha8Rng, stages: Range<usize>) -> Mishap {
    // Where two fuse, shards move.
    let pair = stages.len() > 1;
    let stage = dice.random_range(stages);
    let mut ms = |range: Range<u64>| Duration::from_millis(dice.random_range(range));
    let (after, full, asleep) = (ms(100..2_500), ms(200..3_000), ms(6_500..14_000));
    match dice.random_range(0..10) {
        0..6 => {
            let points = &POINTS[..if pair { POINTS.len() } else { CrashPoint::LOAD.len() }];
            let point = points.choose(dice).copied().unwrap_or(CrashPoint::LoadRead);
            Mishap::Dies { stage, point, nth: dice.random_range(1..3) }
        }
        6 => Mishap::Killed { stage, after },
        7 if pair => Mishap::Paused { stage, after, time: asleep },
        7 => Mishap::Killed { stage, after },
        _ => Mishap::DiskFull { stage, after, time: full },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_seeds_begins_late_and_together_they_meet_everything() {
        let late: Vec<Late> = (1..=300).filter_map(|seed| Late::draw(seed, 10, 4)).collect();
        assert!((60..140).contains(&late.len()), "{}", late.len());
        assert!(late.iter().all(|late| (5..10).contains(&late.from_step)));
        let all: Vec<Mishap> = late.into_iter().flat_map(|late| late.mishaps).collect();
        for point in POINTS {
            assert!(all.iter().any(|m| matches!(m, Mishap::Dies { point: at, .. } if *at == point)));
        }
        assert!(all.iter().any(|m| matches!(m, Mishap::Killed { .. })));
        assert!(all.iter().any(|m| matches!(m, Mishap::Paused { .. })));
        assert!(all.iter().any(|m| matches!(m, Mishap::DiskFull { .. })));
        assert_eq!(Late::draw(7, 10, 4), Late::draw(7, 10, 4));
    }
}
