//! What must stand in the end, from the raw topics alone: plain maps, and no code of the stages.
//!
//! Of each key the last statement counts, by the offset at which it first came, of those that were not refused. Two
//! things come from elsewhere: from which offset on a shard resolved by which gazetteer ([`announced`], where the normaliser
//! moves), and where that finds an address. In the end nothing may be left that the last gazetteer answers otherwise: neither what stands, nor the last
//! statement that was refused because of its address and has nothing after it.
//!
//! Where a full dump ends ([`dumps`]), it has said all that there is: what is not in it is gone, and what was refused before
//! it comes too late.

pub mod announced;
mod dumps;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use yibiao_records::Value;

use crate::{
    connector::Connector,
    normaliser::Switches,
    setup::{POLICE, POWER, RAW_PARTITIONS, STRICT_MAX, Setup, Spot},
    source::{Lies, Said, What},
    topics::{About, Message, Topics},
};

#[derive(Debug, Default)]
pub struct Expected {
    /// By feed and source key.
    pub facts: BTreeMap<(usize, String), Stands>,
    /// By feed and raw partition.
    pub counts: BTreeMap<(usize, i32), Counts>,
    /// By feed: partition and offset of what was refused.
    pub refused: BTreeMap<usize, BTreeSet<(i32, i64)>>,
    /// Replayed records after which their source said something else.
    pub superseded: u64,
    pub dumps: dumps::Told,
}

/// A fact that stands, and the record that last asserted it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stands {
    pub claim: Claim,
    pub partition: i32,
    pub offset: i64,
    pub index: i32,
    pub recorded_at_ms: i64,
    pub edition: Option<usize>,
    pub strict: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub spot: Spot,
    pub valid_from_ms: i64,
    pub payload: Vec<Value>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub received: u64,
    pub accepted: u64,
    pub quarantined: u64,
    pub unchanged: u64,
    pub asserted: u64,
    pub retracted: u64,
}

/// What one key said last.
struct Last {
    value: Option<Vec<u8>>,
    /// Where it came last.
    first_offset: i64,
    /// Where it came, repetitions aside, unless something else may have been said in between.
    since: i64,
    /// Another version was refused since, or this one came by a replay: the next repetition counts as said then.
    is_doubtful: bool,
    by: By,
    claim: Option<Claim>,
    /// One of the addresses, where it has one.
    address: Option<usize>,
}

/// What one raw partition said.
#[derive(Default)]
struct Partition {
    keys: BTreeMap<String, Last>,
    /// By key: the last statement that was refused because of its address, with nothing after it.
    waiting: BTreeMap<String, Waits>,
    dumps: dumps::Dumps,
}

struct Waits {
    first_offset: i64,
    address: usize,
    /// By the stricter contract it is refused anyhow.
    is_strict: bool,
}

/// What it was read and placed by.
#[derive(Clone, Copy)]
struct By {
    edition: Option<usize>,
    strict: bool,
}

/// What one record is to do.
enum Outcome {
    Superseded,
    Unchanged,
    Refused,
    Accepted { asserts: bool, retracts: bool },
}

pub fn expected(
    setup: &Setup,
    topics: &Topics,
    editions: &Switches,
    contracts: &Switches,
) -> Result<Expected> {
    let mut expected = Expected::default();
    for (feed, partitions) in RAW_PARTITIONS.iter().enumerate() {
        for partition in 0..*partitions {
            let in_force = |switches: &Switches, offset: i64| {
                let switches = switches.get(&(feed, partition))?;
                switches.iter().rev().find(|(from, _)| *from <= offset).map(|(_, which)| *which)
            };
            let mut told = Partition::default();
            let raw = topics.of(&(setup.feeds[feed].raw_topic.clone(), partition));
            for (offset, message) in (0..).zip(raw) {
                let edition = in_force(editions, offset);
                let by = By { edition, strict: in_force(contracts, offset) == Some(1) };
                let is_record = matches!(message.about, About::Raw { .. });
                if edition.is_none() && feed != POLICE && is_record {
                    bail!("offset {offset} of feed {feed} was read without a gazetteer");
                }
                one(setup, &mut expected, &mut told, partition, offset, by, message)?;
            }
            if let Some(last) = editions.get(&(feed, partition)).and_then(|switches| switches.last()) {
                // A contract that refuses a record now may have let it in, and the other way about.
                let any_contract = contracts.get(&(feed, partition)).is_some_and(|of| !of.is_empty());
                told.is_settled(setup, feed, last.1, any_contract)?;
            }
        }
    }
    Ok(expected)
}

fn one(
    setup: &Setup,
    expected: &mut Expected,
    told: &mut Partition,
    partition: i32,
    offset: i64,
    by: By,
    message: &Message,
) -> Result<()> {
    let (origin, revised, said) = match &message.about {
        About::Raw { origin, revised, said, .. } => (origin, revised, said),
        About::Announced { .. } => return Ok(()),
        _ => bail!("no raw record"),
    };
    let first_offset = origin.unwrap_or(offset);
    let address = match &said.what {
        What::Holds { lies: Lies::At(address), .. } => Some(*address),
        _ => None,
    };
    let now = Last {
        value: message.value.clone(),
        first_offset,
        since: first_offset,
        is_doubtful: origin.is_some(),
        by,
        claim: None,
        address,
    };
    if matches!(said.what, What::EndsDump) {
        told.end_dump(expected, said, partition, (offset, origin.is_some()));
        return Ok(());
    }
    if origin.is_none() {
        told.dumps.see(said);
    }
    let outcome = told.outcome(setup, said, now, (origin.is_some(), *revised))?;
    let counts = expected.counts.entry((said.feed, partition)).or_default();
    counts.received += 1;
    match outcome {
        Outcome::Superseded => {
            counts.unchanged += 1;
            expected.superseded += 1;
        }
        Outcome::Unchanged => counts.unchanged += 1,
        Outcome::Refused => {
            counts.quarantined += 1;
            expected.refused.entry(said.feed).or_default().insert((partition, offset));
        }
        Outcome::Accepted { asserts, retracts } => {
            counts.accepted += 1;
            counts.asserted += u64::from(asserts);
            counts.retracted += u64::from(retracts);
            let key = (said.feed, said.key.clone());
            let claim = told.keys.get(&said.key).and_then(|last| last.claim.clone());
            let stands = claim.map(|claim| Stands {
                claim,
                partition,
                offset,
                index: i32::from(retracts),
                recorded_at_ms: message.timestamp_ms,
                edition: by.edition,
                strict: by.strict && said.feed == POWER,
            });
            match stands {
                Some(stands) => drop(expected.facts.insert(key, stands)),
                None => drop(expected.facts.remove(&key)),
            }
        }
    }
    Ok(())
}

impl Partition {
    /// Takes what is `said`.
    fn outcome(&mut self, setup: &Setup, said: &Said, now: Last, came: (bool, bool)) -> Result<Outcome> {
        let (first_offset, address, by) = (now.first_offset, now.address, now.by);
        let (outcome, because_of_address) = self.judge(setup, said, now, came)?;
        if let (Outcome::Refused, Some(last)) = (&outcome, self.keys.get_mut(&said.key)) {
            last.is_doubtful |= last.since < first_offset;
        }
        match outcome {
            Outcome::Refused if because_of_address => {
                let waits =
                    Waits { first_offset, address: address.unwrap_or_default(), is_strict: too_much(said) };
                let before = self.waiting.get(&said.key).map_or(-1, |waits| waits.first_offset);
                if before <= first_offset && by.edition.is_some() {
                    self.waiting.insert(said.key.clone(), waits);
                }
            }
            Outcome::Refused => {}
            _ => self.waiting.retain(|key, waits| *key != said.key || waits.first_offset > first_offset),
        }
        Ok(outcome)
    }

    /// Also whether it was refused because of its address.
    fn judge(
        &mut self,
        setup: &Setup,
        said: &Said,
        now: Last,
        (replayed, revised): (bool, bool),
    ) -> Result<(Outcome, bool)> {
        let stands = self.keys.get(&said.key).is_some_and(|last| last.claim.is_some());
        if replayed && !stands && self.dumps.is_outdated(said, now.first_offset) {
            return Ok((Outcome::Superseded, false));
        }
        let last = self.keys.get_mut(&said.key);
        if let Some(last) = last {
            if replayed && now.first_offset < last.since {
                return Ok((Outcome::Superseded, false));
            }
            let is_old = now.first_offset < last.first_offset && now.value != last.value;
            ensure!(!is_old, "{} is taken after it was said otherwise", now.first_offset);

            let provisional = last.claim.as_ref().is_some_and(|claim| claim.spot.provisional);
            let same_contract = said.feed != POWER || last.by.strict == now.by.strict;
            let is_news = last.is_doubtful && last.since < now.first_offset;
            let same_answer = !revised && (!(provisional || is_news) || last.by.edition == now.by.edition);
            let is_placed = match (&last.claim, last.address, now.by.edition) {
                (Some(_), Some(address), Some(edition)) => setup.spot(edition, said.feed, address).is_some(),
                _ => true,
            };
            if last.value == now.value && same_contract && (same_answer || !is_placed) {
                last.first_offset = last.first_offset.max(now.first_offset);
                if is_news {
                    (last.since, last.is_doubtful) = (now.first_offset, replayed);
                }
                return Ok((Outcome::Unchanged, false));
            }
        }
        let claim = match &said.what {
            // A tombstone has the key of what it ends, whatever that said.
            _ if now.value.is_none() => None,
            What::Gone | What::EndsDump => None,
            What::Broken => return Ok((Outcome::Refused, false)),
            What::Holds { .. } if now.by.strict && too_much(said) => return Ok((Outcome::Refused, false)),
            What::Holds { lies, valid_from_ms, payload } => {
                let spot = match lies {
                    Lies::Here(spot) => Some(spot),
                    Lies::At(address) => {
                        now.by.edition.and_then(|edition| setup.spot(edition, said.feed, *address))
                    }
                };
                let Some(spot) = spot.cloned() else { return Ok((Outcome::Refused, true)) };
                Some(Claim { spot, valid_from_ms: *valid_from_ms, payload: payload.clone() })
            }
        };
        let before = self.keys.get(&said.key).and_then(|last| last.claim.clone());
        let outcome = match (&before, &claim) {
            (before, claim) if before == claim => Outcome::Unchanged,
            (Some(_), None) => Outcome::Accepted { asserts: false, retracts: true },
            (Some(before), Some(claim)) => {
                Outcome::Accepted { asserts: true, retracts: before.spot.place != claim.spot.place }
            }
            (None, _) => Outcome::Accepted { asserts: true, retracts: false },
        };
        let address = now.address.filter(|_| claim.is_some());
        let said_last = self.keys.get(&said.key).filter(|last| last.value == now.value);
        let first_offset = said_last.map_or(now.first_offset, |last| last.first_offset.max(now.first_offset));
        self.keys.insert(said.key.clone(), Last { claim, address, first_offset, ..now });
        Ok((outcome, false))
    }

    /// Nothing is left that this edition answers otherwise.
    fn is_settled(&self, setup: &Setup, feed: usize, edition: usize, any_contract: bool) -> Result<()> {
        for (key, last) in &self.keys {
            let (Some(claim), Some(address)) = (&last.claim, last.address) else { continue };
            let exempt = any_contract && feed == POWER && claim.payload[0] > Value::Decimal(STRICT_MAX);
            let now = setup.spot(edition, feed, address);
            ensure!(
                exempt || now.is_none_or(|now| *now == claim.spot),
                "{key} of feed {feed} stands at {:?}, and gazetteer {edition} says {now:?}",
                claim.spot
            );
        }
        for (key, waits) in &self.waiting {
            let now = setup.spot(edition, feed, waits.address);
            let exempt = any_contract && waits.is_strict;
            ensure!(
                exempt || now.is_none(),
                "{key} of feed {feed} was refused at {}, and gazetteer {edition} says {now:?}",
                waits.first_offset
            );
        }
        Ok(())
    }
}

/// More than the stricter contract lets in.
fn too_much(said: &Said) -> bool {
    match &said.what {
        What::Holds { payload, .. } => said.feed == POWER && payload[0] > Value::Decimal(STRICT_MAX),
        _ => false,
    }
}

/// The sources' own view: everything of a script came, and the last that came of each key, replays aside, is the
/// last that the script says of it.
pub fn is_said(setup: &Setup, topics: &Topics, connectors: &[Connector]) -> Result<()> {
    for (feed, connector) in connectors.iter().enumerate() {
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        let mut came = BTreeSet::new();
        let ends_dump = |said: &Said| matches!(said.what, What::EndsDump);
        for partition in 0..RAW_PARTITIONS[feed] {
            for message in topics.of(&(setup.feeds[feed].raw_topic.clone(), partition)) {
                if let About::Raw { origin: None, said, .. } = &message.about {
                    last.insert(&said.key, said.number);
                    came.insert((partition, said.number));
                }
            }
        }
        for record in connector.script() {
            let partitions = match ends_dump(&record.said) {
                true => 0..RAW_PARTITIONS[feed],
                false => record.partition..record.partition + 1,
            };
            for partition in partitions {
                let number = record.said.number;
                ensure!(came.contains(&(partition, number)), "record {number} of feed {feed} never came");
            }
        }
        let script = connector.script().iter().map(|record| (record.said.key.as_str(), record.said.number));
        if last != script.collect() {
            bail!("the raw topic of feed {feed} does not end as its source does");
        }
    }
    Ok(())
}
