//! A shadow's states go on with the real topics.
//!
//! | state | has read | goes on |
//! |---|---|---|
//! | normalise | the raw topics themselves | where it stands |
//! | gazetteer's facts | the shadow's std topics, all of them | at the real ones' ends |
//! | fusion, each shard | the shadow's std topics, all of them | at the real ones' ends, with marks as high as the shadow has read |
//!
//! A frame that the former normaliser sent, and that comes only now, is of raw records that the shadow has read: it lies at or
//! below the marks, whichever shard and kind it is for, and is skipped. So it is by the gazetteer's builder.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use yibiao_normalise::{Editions, GazetteerBuilder, GazetteerFolder};
use yibiao_records::{RawPosition, TopicPartition};
use yibiao_tables::{Shard, shard::MarkKey};
use yibiao_topics::{Client, NextOffset};

use super::Journal;
use crate::{
    config::{Config, Layout},
    installation::Installation,
    pipeline::GAZETTEER_KINDS,
    shadow::Plan,
};

/// Brings the builder's store to the end of the shadow's own topics: a shadow builds once, or not at all.
pub async fn gather(
    config: &Config,
    layout: &Layout,
    installation: &Installation,
    own: &Client,
) -> Result<()> {
    let topics = own.topics().await?;
    for topic in GAZETTEER_KINDS.map(|kind| format!("std.{kind}")) {
        for partition in 0..topics.get(&topic).copied().unwrap_or(0) as i32 {
            let marks = own.watermarks(&TopicPartition::new(topic.as_str(), partition)).await?;
            if marks.low > NextOffset::START {
                bail!(
                    "retention has taken standard addresses from the shadow's topics (topics.std_retention): the gazetteer \
                     could not be built of them; drop the shadow, and begin anew"
                );
            }
        }
    }
    builder(config, layout, installation, own)?.gather_all().await?;
    Ok(())
}

fn builder(
    config: &Config,
    layout: &Layout,
    installation: &Installation,
    own: &Client,
) -> Result<GazetteerBuilder> {
    let editions = Editions::open(GazetteerFolder::new(&layout.gazetteer)?)?;
    Ok(GazetteerBuilder::new(&editions, &installation.kinds, own, &config.normalise)?)
}

/// May be repeated: it always says the same.
pub fn hand_over(
    config: &Config,
    layout: &Layout,
    installation: &Installation,
    own: &Client,
    plan: &Plan,
    journal: &Journal,
) -> Result<()> {
    let ends = journal.ends();
    let read = plan.feeds.iter().flat_map(|(feed, partitions)| {
        let topic: Arc<str> = feed.raw_topic().into();
        partitions
            .iter()
            .map(move |(partition, range)| (TopicPartition::new(topic.clone(), *partition), range.to))
    });
    let positions: Vec<_> = ends.iter().cloned().chain(read).collect();
    builder(config, layout, installation, own)?.read_on_from(&positions)?;
    let marks = marks(installation, plan);
    for number in 0..plan.std_partitions {
        let dir = layout.fusion.join(format!("shard-{number}"));
        let shard = Shard::open(&dir, number, &installation.tables, &yibiao_state::Options::default())
            .with_context(|| format!("opening the shadow's shard {number}"))?;
        let mut writer = shard.writer()?;
        let mut writing = writer.begin(0)?;
        for (key, raw) in &marks {
            writing.mark(key, *raw);
        }
        for (of, end) in ends.iter().filter(|(of, _)| of.partition == number as i32) {
            writing.position(of, *end);
        }
        writing.commit()?;
        shard.persist()?;
    }
    Ok(())
}

/// Of every raw partition, for every kind: by the former contract a feed may have been of another.
fn marks(installation: &Installation, plan: &Plan) -> Vec<(MarkKey, RawPosition)> {
    let mut marks = Vec::new();
    for (feed, partitions) in &plan.feeds {
        let raw_topic: Arc<str> = feed.raw_topic().into();
        for (partition, range) in partitions.iter().filter(|(_, range)| range.to > NextOffset::START) {
            let raw = RawPosition { offset: range.to.get() - 1, index: i32::MAX };
            for kind in installation.kinds.iter() {
                let std_topic: Arc<str> = kind.std_topic().into();
                let key = MarkKey { std_topic, raw_topic: raw_topic.clone(), raw_partition: *partition };
                marks.push((key, raw));
            }
        }
    }
    marks
}
