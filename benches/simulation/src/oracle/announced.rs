//! By which gazetteer each record is resolved where the normaliser moves: what stands in its partition says so.

use anyhow::{Context, Result};

use crate::{
    machines::First,
    normaliser::Switches,
    setup::{JUSTICE, POWER, RAW_PARTITIONS, Setup},
    topics::{About, Topics},
};

/// An announcement counts until one of a higher epoch has stood in the partition. Also how many did not. `first` is what was
/// in force before.
pub fn switches(setup: &Setup, topics: &Topics, first: &First) -> Result<(Switches, u64)> {
    let (mut switches, mut late) = (Switches::new(), 0);
    for feed in [POWER, JUSTICE] {
        for partition in 0..RAW_PARTITIONS[feed] {
            let mut of: Vec<(i64, usize)> =
                first.get(&(feed, partition)).map(|first| (0, *first)).into_iter().collect();
            let mut highest = 0;
            for (offset, message) in (0..).zip(topics.of(&(setup.feeds[feed].raw_topic.clone(), partition))) {
                let About::Announced { header } = &message.about else { continue };
                let (epoch, version) =
                    std::str::from_utf8(header)?.split_once(' ').context("an epoch and a version")?;
                let epoch: u64 = epoch.parse()?;
                if epoch < highest {
                    late += 1;
                    continue;
                }
                highest = epoch;
                let edition = setup.edition(version).context("an edition of the setup")?;
                if of.last().is_none_or(|(_, last)| *last != edition) {
                    of.push((offset + 1, edition));
                }
            }
            switches.insert((feed, partition), of);
        }
    }
    Ok((switches, late))
}
