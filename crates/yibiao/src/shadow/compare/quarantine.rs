//! Records that one side refused and the other did not, by feed and reason.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use serde::Serialize;
use yibiao_normalise::quarantine::Begin;
use yibiao_records::{FeedId, TopicPartition};
use yibiao_topics::{Client, Cursors, Range};

use super::sides::Sides;
use crate::shadow::Plan;

const BATCH: usize = 1_000;
const WAIT: Duration = Duration::from_secs(1);

/// Counts by reason, with examples: the raw position, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reasons {
    pub records: u64,
    pub examples: Vec<String>,
}

/// How the quarantines of one feed differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FeedQuarantine {
    pub only_shadow: BTreeMap<String, Reasons>,
    pub only_other: BTreeMap<String, Reasons>,
    /// Refused by both for different reasons: `other -> shadow`.
    pub another_reason: BTreeMap<String, Reasons>,
    pub same: u64,
    /// Refused by the shadow, later than all that the other side shows of the raw partition.
    pub ahead: u64,
}

impl FeedQuarantine {
    pub fn differences(&self) -> u64 {
        [&self.only_shadow, &self.only_other, &self.another_reason]
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(|reasons| reasons.records)
            .sum()
    }
}

/// Refused records of one feed: partition and raw offset (ascending), and the reason as a number of `reasons`.
#[derive(Default)]
struct Refused {
    records: Vec<(i32, i64, u16)>,
    reasons: Vec<Arc<str>>,
    /// What was found, of the first records of each reason.
    details: BTreeMap<(i32, i64), String>,
}

/// Compares the quarantines of every feed that the shadow has read, within what it has read. `cursors` say where the present
/// quarantines begin, where `there` is the present.
pub async fn compare(
    here: &Client,
    there: &Client,
    cursors: Option<&Cursors>,
    plan: &Plan,
    sides: &Sides,
    examples: usize,
) -> Result<BTreeMap<FeedId, FeedQuarantine>> {
    let mut feeds = BTreeMap::new();
    for (feed, ranges) in &plan.feeds {
        let shadow = Refused::read(here, &Begin::default(), feed, ranges).await?;
        let begin = match cursors {
            Some(cursors) => Begin::load(cursors, feed).await?,
            None => Begin::default(),
        };
        let other = Refused::read(there, &begin, feed, ranges).await?;
        let reached = |partition: i32| {
            let shown = sides.reached.get(&(feed.raw_topic(), partition)).copied().unwrap_or(-1);
            let refused = other.records.iter().filter(|record| record.0 == partition).map(|record| record.1);
            if sides.level { i64::MAX } else { refused.max().unwrap_or(-1).max(shown) }
        };
        let reached = ranges.keys().map(|partition| (*partition, reached(*partition))).collect();
        feeds.insert(feed.clone(), difference(&shadow, &other, &reached, examples));
    }
    Ok(feeds)
}

fn difference(
    shadow: &Refused,
    other: &Refused,
    reached: &BTreeMap<i32, i64>,
    examples: usize,
) -> FeedQuarantine {
    let mut found = FeedQuarantine::default();
    let (mut ours, mut theirs) = (shadow.records.iter().peekable(), other.records.iter().peekable());
    let at = |record: &(i32, i64, u16)| (record.0, record.1);
    loop {
        let next = match (ours.peek(), theirs.peek()) {
            (None, None) => return found,
            (Some(one), None) | (None, Some(one)) => at(one),
            (Some(one), Some(other)) => at(one).min(at(other)),
        };
        let one =
            ours.next_if(|record| at(record) == next).map(|record| &*shadow.reasons[usize::from(record.2)]);
        let two =
            theirs.next_if(|record| at(record) == next).map(|record| &*other.reasons[usize::from(record.2)]);
        let (group, reason, details) = match (one, two) {
            (Some(one), Some(two)) if one == two => {
                found.same += 1;
                continue;
            }
            (Some(_), None) if reached.get(&next.0).is_some_and(|reached| next.1 > *reached) => {
                found.ahead += 1;
                continue;
            }
            (Some(one), Some(two)) => (&mut found.another_reason, format!("{two} -> {one}"), &shadow.details),
            (Some(one), None) => (&mut found.only_shadow, one.to_owned(), &shadow.details),
            (None, Some(two)) => (&mut found.only_other, two.to_owned(), &other.details),
            (None, None) => return found,
        };
        let reasons = group.entry(reason).or_default();
        reasons.records += 1;
        if reasons.examples.len() < examples
            && let Some(detail) = details.get(&next)
        {
            reasons.examples.push(detail.clone());
        }
    }
}

/// Rejections of which the words are kept, to have some of each difference.
const DETAILS_MAX: usize = 10_000;

impl Refused {
    async fn read(
        client: &Client,
        begin: &Begin,
        feed: &FeedId,
        ranges: &BTreeMap<i32, Range>,
    ) -> Result<Self> {
        let topic = feed.quarantine_topic();
        let partitions = match client.topics().await?.get(&topic) {
            Some(partitions) => *partitions,
            None => return Ok(Self::default()),
        };
        let (mut start, mut ends) = (Vec::new(), BTreeMap::new());
        for partition in 0..partitions {
            let tp = TopicPartition::new(topic.as_str(), partition as i32);
            let marks = client.watermarks(&tp).await?;
            let first = begin.of(tp.partition).max(marks.low);
            if first < marks.high {
                ends.insert(tp.clone(), marks.high);
                start.push((tp, first));
            }
        }
        let mut refused = Self::default();
        if ends.is_empty() {
            return Ok(refused);
        }
        let mut reader = client.reader("shadow-compare", start)?;
        while !ends.is_empty() {
            let batch = reader.next_batch(BATCH, WAIT).await?;
            for message in &batch.messages {
                if let Some(rejection) = message.rejection()?
                    && ranges.get(&rejection.partition).is_some_and(|range| range.contains(rejection.offset))
                {
                    refused.add(rejection);
                }
            }
            for (tp, next) in batch.next_offsets() {
                if ends.get(&tp).is_some_and(|end| *end <= next) {
                    ends.remove(&tp);
                }
            }
        }
        // What was sent again after a death is there twice.
        refused.records.sort_unstable();
        refused.records.dedup_by_key(|record| (record.0, record.1));
        Ok(refused)
    }

    fn add(&mut self, rejection: yibiao_records::Rejection) {
        let known = self.reasons.iter().position(|reason| **reason == *rejection.reason);
        let reason = known.unwrap_or_else(|| {
            self.reasons.push(rejection.reason.as_str().into());
            self.reasons.len() - 1
        });
        self.records.push((rejection.partition, rejection.offset, reason as u16));
        if self.details.len() < DETAILS_MAX {
            let at = format!("{}[{}]@{}", rejection.topic, rejection.partition, rejection.offset);
            let field = if rejection.field.is_empty() { "" } else { ", field " };
            let detail = format!("{at}{field}{}: {}", rejection.field, rejection.detail);
            self.details.insert((rejection.partition, rejection.offset), detail);
        }
    }
}
