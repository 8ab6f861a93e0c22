//! One fusion shard with its live tables, at size: the real applier, state store, projection and SQL, without a broker.
//!
//! ```text
//!  1. first load: an address and a reading of each place              facts/s/core, memory, disk
//!  2. more readings of random places, in batches                      processor time a record, also with 10 and 100 rules
//!  3. projection of everything to a lake, now and then during 1 and after 2   time
//!  4. recent changes that the lake does not have: queries             live against the base alone
//!  5. one place, by SQL and straight from the store                   p50, p99
//!  6. a long scan again and again while batches are projected         times of both
//!  7. kill -9, and again until a batch is committed                   time
//! ```
//!
//! Prints a table; never fails on time.

mod analyst;
mod facts;
mod load;
mod measure;
mod queries;
mod restart;
mod steps;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A fusion shard and its live tables at size, measured in one run.
#[derive(Debug, Clone, Parser)]
pub struct Args {
    /// Places of the shard; several sizes one after the other.
    #[arg(long, default_values_t = [100_000u64, 1_000_000])]
    places: Vec<u64>,
    /// Facts that each place has after the first load: its address, and readings; several one after the other.
    #[arg(long, default_values_t = [2u64])]
    facts_a_place: Vec<u64>,
    /// Where the states and lakes lie while it runs; a folder of its own in the system's temporary folder otherwise.
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, default_value = "pipelines")]
    pipelines: PathBuf,
    /// The state store's cache, as the pipeline has it.
    #[arg(long, default_value_t = 32)]
    cache_mib: u64,
    /// The state store's memtables, as the pipeline has them.
    #[arg(long, default_value_t = 16)]
    memtables_mib: u64,
    /// Buckets of the base tables.
    #[arg(long, default_value_t = 64)]
    buckets: u32,
    /// Load in batches, as everything else is applied, and not at once.
    #[arg(long)]
    batches: bool,
    /// Memory for sorting what is loaded at once, as the stage has it.
    #[arg(long, default_value_t = 256)]
    load_memory_mib: usize,
    /// Nothing after the first load.
    #[arg(long)]
    first_load_only: bool,
    /// Nothing after the readings of random places, with one rule.
    #[arg(long)]
    readings_only: bool,
    /// Places after which a first load in batches is projected each time.
    #[arg(long, default_value_t = 1_000_000)]
    project_every: u64,
    /// Recent changes that only the shard has.
    #[arg(long, default_value_t = 200_000)]
    recent: u64,
    /// Opens the shard in this folder and applies batches until it is killed: the part of the restart.
    #[arg(long, hide = true)]
    restart: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(dir) = &args.restart {
        return restart::child(&args, dir).await;
    }
    let sizes =
        args.places.iter().flat_map(|places| args.facts_a_place.iter().map(move |facts| (*places, *facts)));
    for (places, facts) in sizes {
        let temporary = tempfile::tempdir()?;
        let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_owned()).join(places.to_string());
        std::fs::create_dir_all(&dir)?;
        println!("\n# {places} places, {facts} facts each");
        steps::run(&args, &dir, places, facts).await?;
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}
