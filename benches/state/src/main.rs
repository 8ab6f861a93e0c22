//! Which storage engine for the state of a fusion shard? README.md says how to run this, docs/adr/0002-state-store.md
//! what came out.
//!
//! ```text
//!  rows ── load ──► store (fjall | RocksDB) ── space, reads, steady batches, checkpoint, restart ──► a line a figure
//! ```

mod batch;
mod checkpoint;
mod compare;
mod fjall_store;
mod load;
mod measure;
mod reads;
mod restart;
#[cfg(feature = "rocksdb")]
mod rocks_store;
mod rows;
mod steady;
mod store;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::{Parser, Subcommand};

use batch::{Batches, Choice};
use load::Load;
use measure::{Report, disk_bytes};
use rows::City;
use store::{Limits, Store};

#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measures one engine.
    Run(Box<Run>),
    /// Makes a table of what several runs printed: medians, and how often the first engine's figure the second's is.
    Compare { files: Vec<PathBuf> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    Fjall,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

#[derive(clap::Args, Debug, Clone)]
pub struct Run {
    #[arg(long, value_enum)]
    engine: Engine,
    /// An empty folder for stores; what is in `store` and `checkpoint` below it is removed.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value_t = 10_000_000)]
    places: u64,
    /// Each fills a store anew; all else is measured on the last.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ordered,ingest,random")]
    load: Vec<Load>,
    /// Of each choice of places.
    #[arg(long, default_value_t = 200)]
    batches: u64,
    /// Places touched by a batch.
    #[arg(long, default_value_t = 5000)]
    touched: u64,
    #[arg(long, default_value_t = 3)]
    kills: u32,
    #[arg(long)]
    no_checkpoint: bool,
    /// As a fusion shard has it (crates/yibiao/src/pipeline.rs).
    #[arg(long, default_value_t = 32)]
    cache_mib: u64,
    #[arg(long, default_value_t = 16)]
    write_buffer_mib: u64,
    /// What differs from crates/state, such as `block_kib=8,lz4_from=0,hits`.
    #[arg(long, default_value = "")]
    fjall: fjall_store::Tuning,
    /// What differs from how RocksDB is set up here, such as `block_kib=8,zstd_last`.
    #[cfg(feature = "rocksdb")]
    #[arg(long, default_value = "")]
    rocksdb: rocks_store::Tuning,
    /// The engine's name in the report.
    #[arg(long)]
    name: Option<String>,
    /// For the writer that is killed.
    #[arg(long, hide = true)]
    write_until_killed: bool,
}

impl Run {
    fn folder(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn open(&self) -> Result<Box<dyn Store>> {
        self.open_at(&self.folder())
    }

    fn open_at(&self, path: &Path) -> Result<Box<dyn Store>> {
        let limits =
            Limits { cache_bytes: self.cache_mib << 20, write_buffer_bytes: self.write_buffer_mib << 20 };
        Ok(match self.engine {
            Engine::Fjall => Box::new(fjall_store::Fjall::open(path, &limits, &self.fjall)?),
            #[cfg(feature = "rocksdb")]
            Engine::Rocksdb => Box::new(rocks_store::Rocks::open(path, &limits, &self.rocksdb)?),
        })
    }

    fn report(&self) -> Report {
        let engine = match self.engine {
            Engine::Fjall => "fjall",
            #[cfg(feature = "rocksdb")]
            Engine::Rocksdb => "RocksDB",
        };
        Report { engine: self.name.clone().unwrap_or_else(|| engine.to_owned()) }
    }
}

fn main() -> Result<()> {
    match Command::parse().what {
        What::Compare { files } => compare::compare(&files),
        What::Run(run) => {
            let batches = |choice| Batches {
                city: City { places: run.places },
                touched: run.touched.min(run.places / 2),
                choice,
            };
            if run.write_until_killed {
                return restart::write_until_killed(&run, &batches(Choice::Uniform));
            }
            measure_all(&run, &batches(Choice::Uniform), &batches(Choice::Skewed))
        }
    }
}

fn measure_all(run: &Run, uniform: &Batches, skewed: &Batches) -> Result<()> {
    let (report, folder, city) = (run.report(), run.folder(), uniform.city);
    load::nothing(city, &report)?;
    for how in &run.load {
        for made in [folder.clone(), run.dir.join("checkpoint")] {
            if made.exists() {
                fs::remove_dir_all(made)?;
            }
        }
        fs::create_dir_all(&run.dir)?;
        let store = run.open()?;
        load::load(&*store, &folder, city, *how, &report)?;
    }
    let store = run.open()?;
    measure::cache(&folder)?;
    reads::reads(&*store, city, &report)?;
    let mut next = batch::last_batch(&*store)? + 1;
    for batches in [uniform, skewed] {
        steady::steady(&*store, &folder, batches, next..next + run.batches, &report)?;
        next += run.batches;
    }
    // What follows is checked against uniform batches.
    steady::BatchTimes::default().run(&*store, uniform, next)?;
    next += 1;
    if !run.no_checkpoint {
        checkpoint::checkpoint(&*store, run, uniform, next, &report)?;
    }
    match run.engine {
        Engine::Fjall => checkpoint::closed(store, run, uniform, &report)?,
        #[cfg(feature = "rocksdb")]
        Engine::Rocksdb => drop(store),
    }
    restart::restart(run, uniform, run.kills, &report)?;
    report.tell("on disk at the end", disk_bytes(&folder)? as f64 / 1e6, "MB");
    Ok(())
}
