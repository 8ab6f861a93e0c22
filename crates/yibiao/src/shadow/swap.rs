//! A shadow's tables in the place of the present ones (docs/adr/0012-a-swap-is-a-journal-and-renames.md).
//!
//! ```text
//!  check ─► extend to the ends of all raw topics ─► journal ─► hand over ─► quarantine ─► state, gazetteer, lake ─► drop ─► end
//!  (refuses)  (the shadow's own run)                   │       marks,       copied,        present -> former/NAME    the
//!                                                      │       positions    begin noted    shadow/NAME -> present    shadow
//!                                                      └── from here on it only goes on: every step may be repeated, and
//!                                                          nothing else opens the folder until the journal is gone
//! ```
//!
//! In reading order: [`check`] what is refused; [`journal`] what is noted; [`hand_over`] how the shadow's states are made those
//! of the real topics; this file, the steps.

mod check;
mod hand_over;
mod journal;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use yibiao_normalise::quarantine;
use yibiao_records::CrashPoint;
use yibiao_topics::{Client, TopicSpec};

use super::{Folder, Name, Ready, folder, plan};
use crate::{
    config::{Config, Layout},
    in_use::InUse,
    installation::Installation,
};

pub use check::{check, states};
use journal::sync;
pub use journal::{Journal, former};

/// What changes places, below the data folder, in this order: as long as the first was not moved, nothing was.
const PARTS: [&str; 3] = ["state", "gazetteer", "lake"];

/// Notes everything that the steps need, of a shadow that has read the raw topics to their ends. From here on the swap is
/// [finished](finish), whatever dies.
pub async fn begin(config: &Config, _alone: &InUse, ready: Ready) -> Result<()> {
    let Ready { folder, plan, mut pipeline, .. } = ready;
    pipeline.stop().await?;
    drop(pipeline);
    if !plan.is_complete {
        bail!("the shadow {} is not complete", plan.name);
    }
    let (client, layout) = (Client::new(&config.kafka)?, folder.layout());
    let installation = Installation::load(&config.pipelines)?;
    let shadow = config.data.join("shadow").join(plan.name.as_str());
    if let Some(part) = PARTS.iter().find(|part| !shadow.join(part).exists()) {
        bail!("the shadow {} has no folder {part}: it has read nothing that could be swapped", plan.name);
    }
    client.ensure(&topics(config, &installation)).await.context("making the topics")?;
    check::has_read(&layout, &plan)?;
    hand_over::gather(config, &layout, &installation, &client.seeing(plan.view())?).await?;
    let journal = Journal {
        name: plan.name.clone(),
        begun_at: Utc::now(),
        std_ends: journal::std_ends(&client, &installation.kinds, plan.std_partitions).await?,
    };
    journal.write(&config.data)?;
    CrashPoint::SwapJournalled.pass();
    Ok(())
}

/// Carries out what the journal says and was not done yet.
pub async fn finish(config: &Config, _alone: &InUse, name: &Name) -> Result<()> {
    let journal = Journal::read(&config.data)?.context("no swap was begun")?;
    if journal.name != *name {
        bail!("a swap to the shadow {0} was cut short: go on with `yibiao shadow swap {0}`", journal.name);
    }
    let client = Client::new(&config.kafka)?;
    let shadow = config.data.join("shadow").join(name.as_str());
    // It is the first to be moved.
    if shadow.join(PARTS[0]).exists() {
        let (_folder, plan) = Folder::read(config, name)?;
        let installation = Installation::load(&config.pipelines)?;
        check::pipelines(config, &plan, &plan::hash(&installation).await?)?;
        let own = client.seeing(plan.view())?;
        hand_over::hand_over(config, &Layout::new(&shadow), &installation, &own, &plan, &journal)?;
        CrashPoint::SwapHandedOver.pass();
        let cursors = client.cursors()?;
        for feed in plan.feeds.keys() {
            quarantine::replace(&client, &cursors, feed, &own).await?;
            CrashPoint::SwapQuarantined.pass();
        }
    }
    exchange(&shadow, &config.data, &former(&config.data, name))?;
    folder::drop_all(config, &client, name).await?;
    CrashPoint::SwapDropped.pass();
    journal.end(&config.data)
}

/// Moves each part of `to` to `aside`, and that of `from` in its place. What is not in `from` any more was moved.
fn exchange(from: &Path, to: &Path, aside: &Path) -> Result<()> {
    fs::create_dir_all(aside).with_context(|| format!("making {}", aside.display()))?;
    for part in PARTS {
        let (new, present, former) = (from.join(part), to.join(part), aside.join(part));
        if !new.exists() {
            continue;
        }
        if present.exists() {
            if former.exists() {
                bail!(
                    "{} was set aside already, and {} is there again: another program has made it; move it away, and go on",
                    former.display(),
                    present.display()
                );
            }
            rename(&present, &former)?;
            CrashPoint::SwapSetAside.pass();
        }
        rename(&new, &present)?;
        CrashPoint::SwapMoved.pass();
    }
    Ok(())
}

/// On the disk, in both folders, before anything else.
fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("moving {} to {}", from.display(), to.display()))?;
    from.parent().into_iter().chain(to.parent()).try_for_each(sync)
}

/// What the steps write to, where nothing ran by these pipelines yet.
fn topics(config: &Config, installation: &Installation) -> Vec<TopicSpec> {
    let of = &config.topics;
    let feeds = installation.contracts.iter().map(|contract| of.quarantine(&contract.feed));
    let std = installation.kinds.iter().map(|kind| of.std(&kind.name));
    feeds.chain(std).chain([of.cursors()]).collect()
}
