//! The readings of the days after those that are measured: the load under which warnings are timed.
//!
//! They are brought to raw topics as always, but on an embedded broker, and kept in memory from there, so that they can
//! be sent to the real topics at the rate that is wanted.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use yibiao::{
    config::{Config, Stage},
    pipeline::Pipeline,
};
use yibiao_connectors::{Mode, SourceConfig};
use yibiao_records::{FeedId, TopicPartition};
use yibiao_topics::Message;

/// Feeds of readings that are files, each with the days of one of its files.
const FEEDS: [(&str, u32); 2] = [("utilities/water-readings", 1), ("utilities/gas-readings", 7)];

/// Moves the files of days after `days` from the city's sources to `later`. A file's name begins with its number.
pub fn set_aside(sources: &Path, later: &Path, days: u32) -> Result<()> {
    for (feed, days_a_file) in FEEDS {
        let into = later.join(feed);
        std::fs::create_dir_all(&into)?;
        for entry in std::fs::read_dir(sources.join(feed))? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.get(..4)?.parse::<u32>().ok());
            let number = number.with_context(|| format!("{} has no number", entry.path().display()))?;
            if number > days.div_ceil(days_a_file) {
                std::fs::rename(entry.path(), into.join(name))?;
            }
        }
    }
    Ok(())
}

/// The raw records of the files that were set aside, in the order of time.
pub async fn records(config: &Config, later: &Path, dir: &Path) -> Result<Vec<Message>> {
    let broker = yibiao_broker::Broker::start(yibiao_broker::Config::new(dir.join("broker"))).await?;
    let mut config = config.clone();
    config.kafka = yibiao_topics::ClientConfig::at(broker.bootstrap());
    config.data = dir.join("later-data");
    config.sources.clear();
    let mut topics = Vec::new();
    for (feed, _) in FEEDS {
        let id: FeedId = feed.parse()?;
        let raw = config.topics.raw(&id);
        topics.extend((0..raw.partitions as i32).map(|p| TopicPartition::new(raw.name.clone(), p)));
        config.sources.insert(id, SourceConfig::file(later.join(feed)));
    }
    let mut pipeline = Pipeline::open(config, &[Stage::Connect], Mode::Once).await?;
    pipeline.run_to_end().await?;
    let (mut start, mut wanted) = (Vec::new(), 0);
    for of in topics {
        let marks = pipeline.client.watermarks(&of).await?;
        wanted += (marks.high.get() - marks.low.get()) as usize;
        start.push((of, marks.low));
    }
    let mut reader = pipeline.client.reader("later", start)?;
    let mut records = Vec::with_capacity(wanted);
    while records.len() < wanted {
        records.extend(reader.next_batch(10_000, Duration::from_secs(1)).await?.messages);
    }
    drop(reader);
    drop(pipeline);
    broker.stop().await?;
    // Each partition gives its files in the order of days; together they are in that order by when they were read.
    records.sort_by_key(|record| record.timestamp_ms);
    Ok(records)
}
