//! From moments to offsets: which part of each raw partition a shadow reads.
//!
//! A moment is compared with the times that the raw records carry, which is when the connector sent them. As Kafka has it, a
//! range begins with the first record in the partition that is not older than its beginning, and ends before the first that
//! is not older than its end.

use std::{collections::BTreeMap, fmt, str::FromStr};

use anyhow::{Result, bail};
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeZone, Utc};
use serde::{Deserialize, Serialize};
use yibiao_records::{FeedId, TopicPartition};
use yibiao_topics::{Client, Range};

/// China's time, in which a moment without an offset is read.
const CHINA_S: i32 = 8 * 3600;

/// A moment as an operator writes it: `2025-11-03`, `2025-11-03 09:30`, `2025-11-03T09:30:00+08:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(DateTime<Utc>);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(exact) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self(exact.to_utc()));
        }
        let at = |format| NaiveDateTime::parse_from_str(text, format).ok();
        let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        let local = at("%Y-%m-%d %H:%M").or_else(|| at("%Y-%m-%d %H:%M:%S")).or_else(day);
        let china = FixedOffset::east_opt(CHINA_S).expect("eight hours are an offset");
        local.and_then(|local| china.from_local_datetime(&local).single()).map(|at| Self(at.to_utc())).ok_or_else(
            || format!("'{text}' is no moment: write 2025-11-03, \"2025-11-03 09:30\" (China's time) or 2025-11-03T09:30:00+08:00"),
        )
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let china = FixedOffset::east_opt(CHINA_S).expect("eight hours are an offset");
        self.0.with_timezone(&china).format("%Y-%m-%d %H:%M:%S").fmt(f)
    }
}

/// What a feed's raw partitions hold of a time, up to the end that they have now.
pub async fn of_feed(
    client: &Client,
    feed: &FeedId,
    from: Option<Moment>,
    to: Option<Moment>,
) -> Result<BTreeMap<i32, Range>> {
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        bail!("the range ends ({to}) before it begins ({from})");
    }
    let topic = feed.raw_topic();
    let mut partitions = BTreeMap::new();
    for partition in 0..client.partitions(&topic).await? as i32 {
        let of = TopicPartition::new(topic.as_str(), partition);
        let marks = client.watermarks(&of).await?;
        let mut range = Range { from: marks.low, to: marks.high };
        // What came after the watermarks were asked for is not in the range, whatever its time.
        if let Some(from) = from {
            let first = client.offset_at(&of, from.0.timestamp_millis()).await?;
            range.from = first.unwrap_or(marks.high).clamp(marks.low, marks.high);
        }
        if let Some(to) = to {
            let first = client.offset_at(&of, to.0.timestamp_millis()).await?;
            range.to = first.unwrap_or(marks.high).clamp(range.from, marks.high);
        }
        partitions.insert(partition, range);
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_china() {
        let at = |text: &str| text.parse::<Moment>().unwrap();
        assert_eq!(at("2025-11-03"), at("2025-11-03T00:00:00+08:00"));
        assert_eq!(at("2025-11-03 09:30"), at("2025-11-03T01:30:00Z"));
        assert_eq!(at("2025-11-03").to_string(), "2025-11-03 00:00:00");
        assert!("3.11.2025".parse::<Moment>().is_err());
    }
}
