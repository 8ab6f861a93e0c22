//! What a client sees of a cluster where it works beside another installation: some topics as far as it may read them,
//! and topics of its own in place of all others.
//!
//! | topic, as the client names it | on the cluster | may be |
//! |---|---|---|
//! | `raw.police.addresses`, a source | the same | read, within its range; never written, made or deleted |
//! | `std.place`, any other | `shadow.trial.std.place` | read and written |
//!
//! Whoever uses the client does not notice: names, positions and headers are as they would be without a view.

use std::{borrow::Cow, collections::BTreeMap};

use yibiao_records::{NextOffset, TopicPartition};

use crate::Error;

/// The part of a partition that is read: from an offset (inclusive) up to another (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Range {
    pub from: NextOffset,
    pub to: NextOffset,
}

impl Range {
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    pub fn contains(&self, offset: i64) -> bool {
        (self.from.get()..self.to.get()).contains(&offset)
    }

    /// How many offsets it has.
    pub fn len(&self) -> u64 {
        u64::try_from(self.to.get() - self.from.get()).unwrap_or(0)
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct View {
    prefix: String,
    sources: BTreeMap<String, BTreeMap<i32, Range>>,
}

impl View {
    /// Topics of its own begin with `prefix` on the cluster; of the sources' partitions those that are not named are empty.
    pub fn new(
        prefix: impl Into<String>,
        sources: impl IntoIterator<Item = (TopicPartition, Range)>,
    ) -> Self {
        let mut by_topic: BTreeMap<String, BTreeMap<i32, Range>> = BTreeMap::new();
        for (tp, range) in sources {
            by_topic.entry(tp.topic.to_string()).or_default().insert(tp.partition, range);
        }
        Self { prefix: prefix.into(), sources: by_topic }
    }

    /// What the cluster calls this topic.
    pub(crate) fn on_cluster<'a>(&self, topic: &'a str) -> Cow<'a, str> {
        match self.sources.contains_key(topic) {
            true => Cow::Borrowed(topic),
            false => Cow::Owned(format!("{}{topic}", self.prefix)),
        }
    }

    /// What the client calls this topic of the cluster; None where it does not see it.
    pub(crate) fn name_of<'a>(&self, on_cluster: &'a str) -> Option<&'a str> {
        match self.sources.contains_key(on_cluster) {
            true => Some(on_cluster),
            false => on_cluster.strip_prefix(&self.prefix),
        }
    }

    /// What is seen of a source's partition. Where that is nothing it begins and ends at 0, as one that was never written to.
    pub(crate) fn range(&self, of: &TopicPartition) -> Option<Range> {
        let partitions = self.sources.get(&*of.topic)?;
        let nothing = Range { from: NextOffset::START, to: NextOffset::START };
        Some(partitions.get(&of.partition).copied().filter(|range| !range.is_empty()).unwrap_or(nothing))
    }

    /// The name on the cluster of a topic that is to be changed.
    pub(crate) fn to_change<'a>(&self, topic: &'a str, doing: &str) -> Result<Cow<'a, str>, Error> {
        match self.sources.contains_key(topic) {
            true => Err(Error::ReadOnly { doing: doing.to_owned(), topic: topic.to_owned() }),
            false => Ok(self.on_cluster(topic)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_keep_their_names_and_everything_else_lies_apart() {
        let range = Range { from: NextOffset::after(2), to: NextOffset::after(8) };
        let source = TopicPartition::new("raw.a.b", 1);
        let view = View::new("shadow.x.", [(source.clone(), range)]);
        assert_eq!(view.on_cluster("raw.a.b"), "raw.a.b");
        assert_eq!(view.on_cluster("std.water"), "shadow.x.std.water");
        assert_eq!(view.name_of("shadow.x.std.water"), Some("std.water"));
        assert_eq!(view.name_of("std.water"), None, "what others own is not seen");
        assert_eq!(view.name_of("raw.a.c"), None);
        assert_eq!(view.range(&source), Some(range));
        let other = TopicPartition::new("raw.a.b", 0);
        assert!(view.range(&other).is_some_and(|range| range.is_empty() && range.to == NextOffset::START));
        assert_eq!(view.range(&TopicPartition::new("std.water", 0)), None);
        assert!(view.to_change("raw.a.b", "sending").is_err());
    }
}
