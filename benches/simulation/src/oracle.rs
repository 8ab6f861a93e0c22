//! What must stand in the end, from the raw topics alone: plain maps, and no code of the stages.
//!
//! Of each key the last statement counts, by the offset at which it first came, of those that were not refused. Two
//! things come from elsewhere: from which offset on a shard resolved by which gazetteer, and where that finds an
//! address.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
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
    /// Where it first came, or came again.
    first_offset: i64,
    by: By,
    claim: Option<Claim>,
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
            let mut keys = BTreeMap::new();
            let raw = topics.of(&(setup.feeds[feed].raw_topic.clone(), partition));
            for (offset, message) in (0..).zip(raw) {
                let edition = in_force(editions, offset);
                let by = By { edition, strict: in_force(contracts, offset) == Some(1) };
                if edition.is_none() && feed != POLICE {
                    bail!("offset {offset} of feed {feed} was read without a gazetteer");
                }
                one(setup, &mut expected, &mut keys, partition, offset, by, message)?;
            }
        }
    }
    Ok(expected)
}

fn one(
    setup: &Setup,
    expected: &mut Expected,
    keys: &mut BTreeMap<String, Last>,
    partition: i32,
    offset: i64,
    by: By,
    message: &Message,
) -> Result<()> {
    let About::Raw { origin, said, .. } = &message.about else { bail!("no raw record") };
    let first_offset = origin.unwrap_or(offset);
    let now = Last { value: message.value.clone(), first_offset, by, claim: None };
    let outcome = outcome(setup, keys, said, now, origin.is_some());
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
            let claim = keys.get(&said.key).and_then(|last| last.claim.clone());
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

/// Takes what is `said` into `keys`.
fn outcome(
    setup: &Setup,
    keys: &mut BTreeMap<String, Last>,
    said: &Said,
    now: Last,
    replayed: bool,
) -> Outcome {
    let last = keys.get_mut(&said.key);
    if replayed && last.as_ref().is_some_and(|last| now.first_offset < last.first_offset) {
        return Outcome::Superseded;
    }
    if let Some(last) = last {
        let provisional = last.claim.as_ref().is_some_and(|claim| claim.spot.provisional);
        let same_contract = said.feed != POWER || last.by.strict == now.by.strict;
        if last.value == now.value && same_contract && (!provisional || last.by.edition == now.by.edition) {
            last.first_offset = last.first_offset.max(now.first_offset);
            return Outcome::Unchanged;
        }
    }
    let claim = match &said.what {
        // A tombstone has the key of what it ends, whatever that said.
        _ if now.value.is_none() => None,
        What::Gone => None,
        What::Broken => return Outcome::Refused,
        What::Holds { payload, .. }
            if said.feed == POWER && now.by.strict && payload[0] > Value::Decimal(STRICT_MAX) =>
        {
            return Outcome::Refused;
        }
        What::Holds { lies, valid_from_ms, payload } => {
            let spot = match lies {
                Lies::Here(spot) => Some(spot),
                Lies::At(address) => {
                    now.by.edition.and_then(|edition| setup.spot(edition, said.feed, *address))
                }
            };
            let Some(spot) = spot.cloned() else { return Outcome::Refused };
            Some(Claim { spot, valid_from_ms: *valid_from_ms, payload: payload.clone() })
        }
    };
    let before = keys.get(&said.key).and_then(|last| last.claim.clone());
    let outcome = match (&before, &claim) {
        (before, claim) if before == claim => Outcome::Unchanged,
        (Some(_), None) => Outcome::Accepted { asserts: false, retracts: true },
        (Some(before), Some(claim)) => {
            Outcome::Accepted { asserts: true, retracts: before.spot.place != claim.spot.place }
        }
        (None, _) => Outcome::Accepted { asserts: true, retracts: false },
    };
    keys.insert(said.key.clone(), Last { claim, ..now });
    outcome
}

/// The sources' own view: everything of a script came, and the last that came of each key, replays aside, is the
/// last that the script says of it.
pub fn is_said(setup: &Setup, topics: &Topics, connectors: &[Connector]) -> Result<()> {
    for (feed, connector) in connectors.iter().enumerate() {
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        let mut came = BTreeSet::new();
        for partition in 0..RAW_PARTITIONS[feed] {
            for message in topics.of(&(setup.feeds[feed].raw_topic.clone(), partition)) {
                if let About::Raw { origin: None, said, .. } = &message.about {
                    last.insert(&said.key, said.number);
                    came.insert(said.number);
                }
            }
        }
        for record in connector.script() {
            if !came.contains(&record.said.number) {
                bail!("record {} of feed {feed} never came", record.said.number);
            }
        }
        let script = connector.script().iter().map(|record| (record.said.key.as_str(), record.said.number));
        if last != script.collect() {
            bail!("the raw topic of feed {feed} does not end as its source does");
        }
    }
    Ok(())
}
