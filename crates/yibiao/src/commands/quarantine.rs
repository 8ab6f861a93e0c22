//! `yibiao quarantine`: look at what was not accepted, and send it again once it can be resolved.

use std::io::Write as _;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use yibiao_normalise::quarantine::Begin;
use yibiao_records::{FeedId, Reason, TopicPartition};
use yibiao_topics::Client;

use crate::config::Config;

/// Messages that are asked for at once.
const BATCH: usize = 1_000;
const WAIT: Duration = Duration::from_secs(1);

/// Look at quarantined records, and send them again once they can be resolved.
#[derive(Debug, clap::Subcommand)]
pub enum Quarantine {
    /// Count by reason, with examples and what to do about each.
    Show {
        /// department/feed
        feed: FeedId,
        #[arg(long, default_value = "yibiao.toml")]
        config: PathBuf,
        /// Examples of each reason.
        #[arg(long, default_value_t = 2)]
        examples: usize,
    },
    /// Send records to the feed's raw topic again, each once. They count as received once more.
    Replay {
        /// department/feed
        feed: FeedId,
        #[arg(long, default_value = "yibiao.toml")]
        config: PathBuf,
        /// Only records with these reasons, such as address_not_found; all where none is given.
        #[arg(long, value_delimiter = ',', value_parser = reason)]
        reasons: Vec<Reason>,
    },
}

fn reason(code: &str) -> Result<Reason, String> {
    Reason::from_code(code).ok_or_else(|| {
        let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        format!("there is no such reason; there are {}", codes.join(", "))
    })
}

impl Quarantine {
    pub async fn run(self) -> Result<()> {
        match self {
            Quarantine::Show { feed, config, examples } => {
                let client = Client::new(&Config::read(&config)?.kafka)?;
                show(&client, &feed, examples).await
            }
            Quarantine::Replay { feed, config, reasons } => {
                let client = Client::new(&Config::read(&config)?.kafka)?;
                let replayed = yibiao_normalise::replay(&client, &feed, &reasons).await?;
                writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&replayed)?)?;
                Ok(())
            }
        }
    }
}

#[derive(Default)]
struct Group {
    count: u64,
    examples: Vec<String>,
}

async fn show(client: &Client, feed: &FeedId, examples: usize) -> Result<()> {
    let topic = feed.quarantine_topic();
    let begin = Begin::load(&client.cursors()?, feed).await?;
    let mut start = Vec::new();
    let mut ends = BTreeMap::new();
    for partition in
        0..client.partitions(&topic).await.with_context(|| format!("{feed} has no quarantine"))?
    {
        let tp = TopicPartition::new(topic.as_str(), partition as i32);
        let marks = client.watermarks(&tp).await?;
        let first = begin.of(tp.partition).max(marks.low);
        if first < marks.high {
            ends.insert(tp.clone(), marks.high);
            start.push((tp, first));
        }
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    if !ends.is_empty() {
        let mut reader = client.reader("quarantine-show", start)?;
        while !ends.is_empty() {
            let batch = reader.next_batch(BATCH, WAIT).await?;
            for message in &batch.messages {
                let Some(rejection) = message.rejection()? else { continue };
                let group = groups.entry(rejection.reason).or_default();
                group.count += 1;
                if group.examples.len() < examples {
                    let at = format!("{}[{}]@{}", rejection.topic, rejection.partition, rejection.offset);
                    let field = if rejection.field.is_empty() { "" } else { ", field " };
                    group.examples.push(format!("{at}{field}{}: {}", rejection.field, rejection.detail));
                }
            }
            for (tp, next) in batch.next_offsets() {
                if ends.get(&tp).is_some_and(|end| *end <= next) {
                    ends.remove(&tp);
                }
            }
        }
    }
    if groups.is_empty() {
        writeln!(std::io::stdout(), "nothing of {feed} is in quarantine")?;
    }
    for (code, group) in groups {
        let (chinese, mend) =
            Reason::from_code(&code).map_or(("", ""), |reason| (reason.chinese(), reason.mend()));
        writeln!(std::io::stdout(), "{:>8}  {code} {chinese}\n          to do: {mend}", group.count)?;
        for example in group.examples {
            writeln!(std::io::stdout(), "          {example}")?;
        }
    }
    Ok(())
}
