//! The first load: at once, or in batches as everything else.

use std::{ops::ControlFlow, path::Path};

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use yibiao_fusion::Load;
use yibiao_tables::{
    Lake, Projector,
    lake::{Config, Layout},
};

use crate::{
    Args,
    facts::{Frame, Sender},
    measure::{Spent, Watch},
    steps::{BATCH_FACTS, Bench, parts},
};

type Senders<'a> = (&'a mut Sender, &'a mut Sender);

pub fn lake(bench: &Bench, dir: &Path) -> Result<Lake> {
    Ok(Lake::open(&dir.join("lake").to_string_lossy(), Layout::new(&bench.tables, 1))?)
}

/// What is loaded: places, how many facts each of them has, and who sends them.
pub struct MadeUp<'a> {
    pub places: u64,
    pub facts_a_place: u64,
    pub senders: Senders<'a>,
    pub dice: &'a mut ChaCha8Rng,
}

impl MadeUp<'_> {
    /// The first of each part that is made up at once.
    fn parts(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.places).step_by(BATCH_FACTS as usize)
    }

    /// Frames of the next so many places, from `from` on: their addresses, and a reading of each on the last days.
    fn frames(&mut self, from: u64) -> Result<Vec<Frame>> {
        let range = from..(from + BATCH_FACTS).min(self.places);
        let mut frames = self.senders.0.addresses(range.clone())?;
        for day in 0..self.facts_a_place.saturating_sub(1) as i64 {
            frames.extend(self.senders.1.readings(range.clone(), -day, self.dice)?);
        }
        Ok(frames)
    }
}

/// As the stage loads an empty shard; without reading from a broker.
pub async fn at_once(args: &Args, dir: &Path, mut made_up: MadeUp<'_>) -> Result<Spent> {
    let (_, _, shard, mut rules) = parts(args, dir, 1).await?;
    let memory_max = args.load_memory_mib << 20;
    let sorting = dir.join("sorting");
    let mut load = Load::begin(&shard, &mut rules, 1, &sorting, memory_max).await?;
    // Made-up facts cost as much as reading them: only the latter counts.
    let mut read = Spent::default();
    for from in made_up.parts() {
        let frames = made_up.frames(from)?;
        let messages: Vec<_> = frames.iter().map(Frame::incoming).collect();
        let watch = Watch::start();
        load.read(&messages)?;
        read += watch.spent();
    }
    let watch = Watch::start();
    load.finish(&mut rules, |_| ControlFlow::Continue(())).await?.context("nobody stopped it")?;
    drop(shard);
    let merged = watch.spent();
    println!(
        "reading and sorting {:.1} s, merging and writing {:.1} s of processor time",
        read.cpu, merged.cpu
    );
    std::fs::remove_dir_all(sorting)?;
    read += merged;
    Ok(read)
}

/// And what was projected meanwhile.
pub async fn in_batches(args: &Args, dir: &Path, mut made_up: MadeUp<'_>) -> Result<(Spent, Spent)> {
    let mut bench = Bench::open(args, dir, 1).await?;
    let mut projector = Projector::new(lake(&bench, dir)?, vec![bench.shard.clone()], Config::default());
    let (mut loaded, mut projected) = (Spent::default(), Spent::default());
    for from in made_up.parts() {
        let frames = made_up.frames(from)?;
        let watch = Watch::start();
        bench.apply(&frames).await?;
        loaded += watch.spent();
        // Else the change log would be larger than all else.
        if (from / BATCH_FACTS + 1).is_multiple_of(args.project_every.div_ceil(BATCH_FACTS)) {
            let watch = Watch::start();
            projector.project_once().await?;
            projected += watch.spent();
            eprintln!("{} places are there", from + BATCH_FACTS);
        }
    }
    Ok((loaded, projected))
}
