//! A topic's settings: those that Kafka knows, of which some have no effect here. Unknown ones are refused.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;

use crate::Limits;
use crate::error::Refusal;

/// Kafka's own default for max.message.bytes.
const MESSAGE_BYTES: u32 = 1_048_588;

/// What the broker does by. Times are in ms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(crate) compact: bool,
    pub(crate) delete: bool,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) segment_bytes: u64,
    pub(crate) segment_ms: i64,
    pub(crate) message_bytes_max: u32,
    pub(crate) append_time: bool,
    pub(crate) dirty_ratio_min: f64,
    pub(crate) compaction_lag_min_ms: i64,
    pub(crate) compaction_lag_max_ms: i64,
    pub(crate) delete_retention_ms: i64,
}

/// Type of a setting in the protocol's DescribeConfigs.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Bool = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// Name, Kafka's default and type of every topic setting that is taken.
const KNOWN: &[(&str, &str, Kind)] = &[
    ("cleanup.policy", "delete", Kind::List),
    ("compression.type", "producer", Kind::Text),
    ("delete.retention.ms", "86400000", Kind::Long),
    ("max.compaction.lag.ms", "9223372036854775807", Kind::Long),
    ("max.message.bytes", "1048588", Kind::Int),
    ("message.timestamp.type", "CreateTime", Kind::Text),
    ("min.cleanable.dirty.ratio", "0.5", Kind::Double),
    ("min.compaction.lag.ms", "0", Kind::Long),
    ("retention.bytes", "-1", Kind::Long),
    ("retention.ms", "604800000", Kind::Long),
    ("segment.bytes", "1073741824", Kind::Int),
    ("segment.ms", "604800000", Kind::Long),
    // Taken and shown, without effect in a broker that neither replicates nor syncs each write.
    ("file.delete.delay.ms", "60000", Kind::Long),
    ("flush.messages", "9223372036854775807", Kind::Long),
    ("flush.ms", "9223372036854775807", Kind::Long),
    ("index.interval.bytes", "4096", Kind::Int),
    ("message.timestamp.after.max.ms", "9223372036854775807", Kind::Long),
    ("message.timestamp.before.max.ms", "9223372036854775807", Kind::Long),
    ("min.insync.replicas", "1", Kind::Int),
    ("preallocate", "false", Kind::Bool),
    ("segment.index.bytes", "10485760", Kind::Int),
    ("segment.jitter.ms", "0", Kind::Long),
    ("unclean.leader.election.enable", "false", Kind::Bool),
];

impl Settings {
    /// Checks the settings given for a topic, and fills in the defaults.
    pub(crate) fn parse(given: &BTreeMap<String, String>, limits: &Limits) -> Result<Settings, Refusal> {
        if let Some(name) = given.keys().find(|name| !KNOWN.iter().any(|(known, ..)| known == name)) {
            return Err(invalid(format!("unknown topic setting {name}")));
        }
        if value(given, limits, "compression.type") != "producer" {
            let text = "the embedded broker stores batches as they come: compression.type must be producer";
            return Err(invalid(text.into()));
        }
        let policy = value(given, limits, "cleanup.policy");
        let policies: Vec<&str> = policy.split(',').map(str::trim).collect();
        if policies.iter().any(|p| !["compact", "delete"].contains(p)) {
            return Err(invalid(format!("cleanup.policy={policy}: expected delete, compact or both")));
        }
        let append_time = match value(given, limits, "message.timestamp.type").as_str() {
            "CreateTime" => false,
            "LogAppendTime" => true,
            other => {
                let text = format!("message.timestamp.type={other}: expected CreateTime or LogAppendTime");
                return Err(invalid(text));
            }
        };
        let long = |name: &str, min: i64| number::<i64>(given, limits, name, min);
        let message_bytes_max = number::<u32>(given, limits, "max.message.bytes", 0)?;
        if message_bytes_max > limits.message_bytes_max {
            return Err(Refusal::limit(format!(
                "max.message.bytes={message_bytes_max} is over the embedded broker's limit of {}",
                limits.message_bytes_max
            )));
        }
        Ok(Settings {
            compact: policies.contains(&"compact"),
            delete: policies.contains(&"delete"),
            retention_ms: Some(long("retention.ms", -1)?).filter(|v| *v >= 0),
            retention_bytes: u64::try_from(long("retention.bytes", -1)?).ok(),
            segment_bytes: long("segment.bytes", 14)? as u64,
            segment_ms: long("segment.ms", 1)?,
            message_bytes_max,
            append_time,
            dirty_ratio_min: number::<f64>(given, limits, "min.cleanable.dirty.ratio", 0.0)?,
            compaction_lag_min_ms: long("min.compaction.lag.ms", 0)?,
            compaction_lag_max_ms: long("max.compaction.lag.ms", 1)?,
            delete_retention_ms: long("delete.retention.ms", 0)?,
        })
    }

    /// How often retention and compaction look at the topic, ms: every five minutes as Kafka does, sooner
    /// where the settings ask for less.
    pub(crate) fn tended_every_ms(&self) -> i64 {
        let mut every = 300_000.min(self.segment_ms);
        if self.delete {
            every = every.min(self.retention_ms.unwrap_or(every));
        }
        if self.compact {
            every = every.min(self.compaction_lag_max_ms).min(15_000);
        }
        every.max(1_000)
    }
}

/// A setting as DescribeConfigs shows it.
pub(crate) struct Shown {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) kind: Kind,
    pub(crate) is_default: bool,
}

/// All settings of a topic.
pub(crate) fn show(given: &BTreeMap<String, String>, limits: &Limits) -> impl Iterator<Item = Shown> {
    KNOWN.iter().map(move |(name, _, kind)| Shown {
        name,
        value: value(given, limits, name),
        kind: *kind,
        is_default: !given.contains_key(*name),
    })
}

fn value(given: &BTreeMap<String, String>, limits: &Limits, name: &str) -> String {
    match given.get(name) {
        Some(value) => value.clone(),
        None if name == "segment.bytes" => limits.segment_bytes.to_string(),
        None if name == "max.message.bytes" => limits.message_bytes_max.min(MESSAGE_BYTES).to_string(),
        None => {
            KNOWN.iter().find(|(known, ..)| *known == name).map_or(String::new(), |(_, v, _)| v.to_string())
        }
    }
}

fn number<T>(given: &BTreeMap<String, String>, limits: &Limits, name: &str, min: T) -> Result<T, Refusal>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let text = value(given, limits, name);
    match text.trim().parse::<T>() {
        Ok(number) if number >= min => Ok(number),
        _ => Err(invalid(format!("{name}={text}: expected a number from {min}"))),
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ResponseError::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(given: &[(&str, &str)]) -> Result<Settings, Refusal> {
        let given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Settings::parse(&given, &Limits::default())
    }

    #[test]
    fn settings_that_are_unknown_or_senseless_are_refused_by_name() {
        for (given, said) in [
            (("retention.mss", "1"), "retention.mss"),
            (("retention.ms", "soon"), "retention.ms=soon"),
            (("cleanup.policy", "shred"), "shred"),
            (("compression.type", "zstd"), "producer"),
            (("message.timestamp.type", "Never"), "Never"),
        ] {
            let refusal = parse(&[given]).unwrap_err();
            assert_eq!(refusal.error, ResponseError::InvalidConfig);
            assert!(refusal.message.unwrap().contains(said));
        }
    }

    #[test]
    fn compaction_and_deletion_may_be_combined() {
        let settings = parse(&[("cleanup.policy", "compact,delete"), ("retention.ms", "-1")]).unwrap();
        assert!(settings.compact && settings.delete && settings.retention_ms.is_none());
    }
}
