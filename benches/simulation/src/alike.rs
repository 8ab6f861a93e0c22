//! Whoever judges a raw record, and how often: what is said of it is the same.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use anyhow::{Context, Result, ensure};
use yibiao_records::{Fact, Frame};

use crate::{
    setup::Setup,
    topics::{About, Topics},
};

/// What a frame says beside its facts: contract and gazetteer.
type By = (String, String);

/// How many facts were said again, in other frames than before.
pub fn said(setup: &Setup, topics: &Topics) -> Result<u64> {
    let (mut known, mut again) = (HashMap::new(), 0);
    for feed in &setup.feeds {
        let kind = setup.kinds.get(&feed.contract.fact.kind).context("a kind")?;
        let mut frames = HashSet::new();
        for at in topics.named(&feed.std_topic) {
            for message in topics.of(&at) {
                let About::Frame { header } = &message.about else { continue };
                let value = message.value.as_deref().context("a frame's facts")?;
                if !frames.insert((at.1, header, value)) {
                    continue;
                }
                let header = Frame::decode_header(header)?;
                let by: By = (header.contract_version.clone(), header.gazetteer_version.clone());
                let (topic, partition) = (header.raw_topic.clone(), header.raw_partition);
                for fact in Frame::decode(header, value, kind)?.facts(kind)? {
                    match known.entry((topic.clone(), partition, fact.raw.offset, fact.raw.index)) {
                        Entry::Vacant(entry) => drop(entry.insert((at.1, by.clone(), fact))),
                        Entry::Occupied(entry) => {
                            again += 1;
                            same(entry.get(), &(at.1, by.clone(), fact))?;
                        }
                    }
                }
            }
        }
    }
    Ok(again)
}

/// In the same std partition, too.
fn same(one: &(i32, By, Fact), other: &(i32, By, Fact)) -> Result<()> {
    ensure!(one == other, "of one raw record it was said {one:?}, and {other:?}");
    Ok(())
}
