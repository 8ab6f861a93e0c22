//! What a swap refuses, before it changes anything, because it could not do it rightly.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Result, bail};
use yibiao_normalise::state::{ShardId, ShardPrefix, State};
use yibiao_records::{FactId, NextOffset, TopicPartition};
use yibiao_tables::Shard;
use yibiao_topics::Client;

use super::{Journal, PARTS, former};
use crate::{
    config::{Config, Layout},
    installation::Installation,
    shadow::{Folder, Name, Plan, plan},
};

/// All that can be told before the shadow is brought to the ends of the raw topics.
pub async fn check(config: &Config, name: &Name) -> Result<()> {
    if config.lake.is_some() || config.fusion.checkpoints.is_some() || config.normalise.checkpoints.is_some()
    {
        bail!(
            "a swap moves folders below {}: with `lake` outside it, or with shards or a normaliser that move (fusion.checkpoints, \
             normalise.checkpoints), parts of the present lie elsewhere",
            config.data.display()
        );
    }
    let (_folder, plan) = Folder::read(config, name)?;
    if !plan.asked.feeds.is_empty() || plan.asked.from.is_some() || plan.asked.to.is_some() {
        bail!(
            "the shadow {name} is of some feeds or of a time only: tables of all records can only be replaced by one without \
             --feed, --from and --to"
        );
    }
    let installation = Installation::load(&config.pipelines)?;
    pipelines(config, &plan, &plan::hash(&installation).await?)?;
    let kept = former(&config.data, name);
    if kept.exists() {
        bail!(
            "{} holds the tables that an earlier swap set aside: move or delete that folder",
            kept.display()
        );
    }
    folders(config, name)?;
    topics(&Client::new(&config.kafka)?, &installation, &plan).await?;
    present(config, &installation, &plan)
}

/// What changes places can do so by a rename: it lies in the data folder itself, on the same disk.
fn folders(config: &Config, name: &Name) -> Result<()> {
    let disk = fs::metadata(&config.data)?.dev();
    for folder in [config.data.clone(), config.data.join("shadow").join(name.as_str())] {
        for part in PARTS.map(|part| folder.join(part)) {
            let Ok(about) = fs::symlink_metadata(&part) else { continue };
            if about.is_symlink() || about.dev() != disk {
                bail!(
                    "{} is a link or lies on another disk than {}: a swap moves it, and cannot",
                    part.display(),
                    config.data.display()
                );
            }
        }
    }
    Ok(())
}

/// What made the shadow's tables must be what goes on with them.
pub fn pipelines(config: &Config, plan: &Plan, found: &str) -> Result<()> {
    if plan.pipelines_hash == found {
        return Ok(());
    }
    let (theirs, ours) = (plan.pipelines.display(), config.pipelines.display());
    bail!(
        "{ours} says something else than the shadow {} was made by: put the feeds, facts, tables and rules of {theirs} there \
         while all stages are stopped, and swap then",
        plan.name
    )
}

/// Every record that the raw topics ever had for these contracts was, or will be, read by the shadow.
async fn topics(client: &Client, installation: &Installation, plan: &Plan) -> Result<()> {
    let topics = client.topics().await?;
    for contract in installation.contracts.iter() {
        let (feed, topic) = (&contract.feed, contract.feed.raw_topic());
        for partition in 0..topics.get(&topic).copied().unwrap_or(0) as i32 {
            let marks = client.watermarks(&TopicPartition::new(topic.as_str(), partition)).await?;
            match plan.feeds.get(feed).map(|of| of.get(&partition)) {
                None if marks.high > NextOffset::START => bail!(
                    "the raw topic of {feed} is younger than the shadow {}, which does not read it: begin a new one",
                    plan.name
                ),
                Some(Some(range)) if range.to < marks.low => bail!(
                    "retention has taken records of {feed} that the shadow {} has not read yet: begin a new one",
                    plan.name
                ),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The present states are nobody's, and hold nothing that the shadow could not know.
fn present(config: &Config, installation: &Installation, plan: &Plan) -> Result<()> {
    let layout = config.layout();
    for number in 0..plan.std_partitions {
        let dir = layout.fusion.join(format!("shard-{number}"));
        if dir.exists() {
            let shard = Shard::open(&dir, number, &installation.tables, &Default::default())?;
            if shard.claims()?.epoch > 0 {
                return Err(yibiao_tables::Error::Owned { shard: number }.into());
            }
        }
    }
    if !layout.normalise.exists() {
        return Ok(());
    }
    let state = State::open(&layout.normalise, &Default::default())?;
    for (id, record) in state.shards()? {
        let Some(partitions) = plan.feeds.get(&id.feed) else {
            if record.counts.received == 0 {
                continue;
            }
            bail!(
                "the present tables know records of {}, of which the shadow {} has no contract: what comes of that feed later \
                 could not be told from what came before; keep its contract",
                id.feed,
                plan.name
            );
        };
        let from = partitions.get(&id.partition).map_or(NextOffset::START, |range| range.from);
        if from > NextOffset::START && holds_before(&state, &id, from)? {
            bail!(
                "the present tables hold facts of {} from records that have left the raw topic, which the shadow {} could not \
                 read: they would be lost",
                id.feed,
                plan.name
            );
        }
    }
    Ok(())
}

fn holds_before(state: &State, id: &ShardId, from: NextOffset) -> Result<bool> {
    for pair in state.records(ShardPrefix::new(id), FactId::from_bytes([0; 16])) {
        let (_, known) = pair?;
        if known.standing.is_some() && known.origin < from.get() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses shards that have lost their state after a swap: what the std topics hold of before it is of the former history.
pub fn states(data: &Path, shards: &[Shard]) -> Result<()> {
    let Some(swapped) = Journal::last(data)? else { return Ok(()) };
    for shard in shards.iter().filter(|shard| swapped.has_history(shard.number())) {
        if shard.view().positions()?.is_empty() {
            bail!(
                "shard {} has no state, and its std topics hold what the tables of before the swap to {} were made of: put its \
                 state back, or make a shadow of the raw topics and swap to that one",
                shard.number(),
                swapped.name
            );
        }
    }
    Ok(())
}

/// The shadow's normaliser stands at the end of all that it was to read, and was stopped in order.
pub fn has_read(layout: &Layout, plan: &Plan) -> Result<()> {
    let state = State::open(&layout.normalise, &Default::default())?;
    for (feed, partitions) in &plan.feeds {
        for (partition, range) in partitions.iter().filter(|(_, range)| !range.is_empty()) {
            let id = ShardId { feed: feed.clone(), partition: *partition };
            let record = state.shard(&id)?;
            if record.next < range.to || !record.at_rest {
                bail!(
                    "the shadow {} has read {feed} up to {} of {} in partition {partition}: `yibiao shadow run {0}`, then swap",
                    plan.name,
                    record.next,
                    range.to
                );
            }
        }
    }
    Ok(())
}
