//! How a shadow's tables differ from the present ones, or from another shadow's.
//!
//! What is compared is what both have read. Each fact says from which raw record it came, so this is exact for facts:
//!
//! | a fact, by its id | is |
//! |---|---|
//! | the present table's last statement within the shadow's ranges, the shadow's last | compared |
//! | the present's last statement came before the ranges, and the shadow has none | outside: the shadow did not read it |
//! | the shadow's last statement is later than any that the present has of this raw partition and shard | ahead: the present tables may not have come so far; compared with `--level` |
//!
//! A row of `places` is merged from many facts, and warnings follow from rows: they are compared for places of which
//! neither side knows a fact that the other has not read.

mod quarantine;
mod shown;
mod sides;
mod tables;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::Serialize;
use yibiao_records::FeedId;
use yibiao_topics::{Client, Range};

pub use quarantine::{FeedQuarantine, Reasons};
pub use tables::{Cells, Example, TableDifference};

use super::{Folder, Gazetteer, Name, Plan, plan};
use crate::{config::Config, installation::Installation};
use sides::Sides;

/// What the operator asked for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// None: the present tables.
    pub with: Option<Name>,
    /// The present tables hold everything up to the shadow's end.
    pub level: bool,
    /// Examples of each difference.
    pub examples: usize,
}

/// What differs, and what was compared.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub shadow: Name,
    /// `present`, or the other shadow.
    pub with: String,
    pub gazetteer: Option<Gazetteer>,
    /// What the shadow has read.
    pub read: BTreeMap<FeedId, BTreeMap<i32, Range>>,
    /// What this comparison does not say, and why.
    pub notes: Vec<String>,
    /// Rows, warnings and quarantined records that differ, all together.
    pub differences: u64,
    /// Facts by kind, then places.
    pub tables: Vec<TableDifference>,
    /// Warnings that stand, by rule.
    pub warnings: BTreeMap<String, TableDifference>,
    pub quarantine: BTreeMap<FeedId, FeedQuarantine>,
}

/// Compares the tables of a complete shadow. Reads both lakes and the quarantines; changes nothing.
pub async fn compare(config: &Config, name: &Name, wanted: &Wanted) -> Result<Comparison> {
    let client = Client::new(&config.kafka)?;
    let (_folder, plan) = complete(config, name)?;
    let other = wanted.with.as_ref().map(|other| complete(config, other)).transpose()?;
    if let Some((_, other)) = &other
        && other.feeds != plan.feeds
    {
        bail!(
            "the shadows {name} and {} have not read the same records: make both with the same --feed, --from and --to, and \
             `--extend` the one that ended earlier",
            other.name
        );
    }
    let here = Side::shadow(config, &client, &plan).await?;
    let there = match &other {
        Some((_, other)) => Side::shadow(config, &client, other).await?,
        None => Side::present(config, &client)?,
    };
    let level = wanted.level || other.is_some();
    let sides = Sides::open(&here, &there, &plan, level).await?;
    let mut tables = tables::facts(&sides, wanted.examples).await?;
    tables.push(tables::places(&sides, wanted.examples).await?);
    let warnings = tables::warnings(&sides, wanted.examples).await?;
    let cursors = if other.is_none() { Some(client.cursors()?) } else { None };
    let (ours, theirs) = (&here.client, &there.client);
    let quarantine =
        quarantine::compare(ours, theirs, cursors.as_ref(), &plan, &sides, wanted.examples).await?;
    let rows = tables.iter().chain(warnings.values()).map(TableDifference::differences);
    let refused = quarantine.values().map(FeedQuarantine::differences);
    let mut comparison = Comparison {
        shadow: name.clone(),
        with: wanted.with.as_ref().map_or_else(|| "present".to_owned(), ToString::to_string),
        gazetteer: plan.gazetteer.clone(),
        differences: rows.chain(refused).sum(),
        notes: Vec::new(),
        read: plan.feeds.clone(),
        tables,
        warnings,
        quarantine,
    };
    comparison.notes = notes(&plan, &comparison, &sides);
    Ok(comparison)
}

fn complete(config: &Config, name: &Name) -> Result<(Folder, Plan)> {
    let (folder, plan) = Folder::read(config, name)?;
    if !plan.is_complete {
        bail!("the shadow {name} is not complete: `yibiao shadow run {name}` goes on with it");
    }
    Ok((folder, plan))
}

/// Tables and quarantines of one side.
struct Side {
    installation: Installation,
    lake: std::path::PathBuf,
    client: Client,
    shards: u32,
}

impl Side {
    async fn shadow(config: &Config, client: &Client, plan: &Plan) -> Result<Self> {
        let installation = Installation::load(&plan.pipelines)?;
        // Its tables have the columns that these pipelines say.
        plan.check_pipelines(&plan::hash(&installation).await?)?;
        let folder = config.data.join("shadow").join(plan.name.as_str());
        let lake = crate::config::Layout::new(&folder).lake;
        Ok(Self { installation, lake, client: client.seeing(plan.view())?, shards: plan.std_partitions })
    }

    fn present(config: &Config, client: &Client) -> Result<Self> {
        let installation = Installation::load(&config.pipelines)?;
        let (lake, shards) = (config.layout().lake, config.topics.std_partitions);
        Ok(Self { installation, lake, client: client.clone(), shards })
    }
}

/// What a reader of the figures must know.
fn notes(plan: &Plan, comparison: &Comparison, sides: &Sides) -> Vec<String> {
    let mut notes = Vec::new();
    let rows = |of: fn(&TableDifference) -> u64| comparison.tables.iter().map(of).sum::<u64>();
    let (outside, ahead) = (rows(|table| table.outside), rows(|table| table.ahead));
    if outside > 0 {
        notes.push(format!(
            "{outside} facts came from records that the shadow has not read, and are not compared"
        ));
    }
    if ahead > 0 {
        notes.push(format!(
            "{ahead} facts are later than all that the present tables show of their raw partition and shard, and are not \
             compared: where the stages have caught up, --level compares them"
        ));
    }
    if sides.excluded > 0 {
        notes.push(format!(
            "{} places are left out of places and warnings, because one side knows facts of them from records that the other \
             has not read{}",
            sides.excluded,
            if comparison.with == "present" {
                "; compare with a second shadow of the same records (--with) to see them"
            } else {
                ""
            }
        ));
    }
    let expired = plan.asked.from.is_none()
        && plan.feeds.values().flat_map(BTreeMap::values).any(|range| range.from.get() > 0);
    if expired {
        notes.push(
            "the oldest records have left the raw topics: what only they said is not in the shadow"
                .to_owned(),
        );
    }
    for table in &sides.only_one {
        notes.push(table.clone());
    }
    notes
}
