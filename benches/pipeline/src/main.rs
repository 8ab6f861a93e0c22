//! End to end: raw bytes to fused rows and warnings, on a broker of its own (Apache Kafka, freshly started).
//!
//! ```text
//!  1. a synthetic city's records into the raw topics                     not measured
//!  2. standard addresses and names to a gazetteer                        not measured
//!  3. everything else: raw bytes ─► normalise ─► fusion ─► state, lake   records/s, per core, share of each stage
//!  4. the same feeds' later readings at half of that rate: arrival of a report ─► warning   p50, p99
//!  5. the same with hazard reports alone as the load, the dearest kind of record            p50, p99
//!  6. what was normalised already, byte for byte, to normalise alone                        records/s per core, shares
//! ```
//!
//! The broker's own CPU is not counted. Prints a table; never fails on time.

mod cpu;
mod latency;
mod later;
mod unchanged;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use cpu::{Cpu, Watch};
use latency::Load;
use unchanged::As;
use yibiao::{
    config::{Config, Serve, Stage},
    pipeline::Pipeline,
    progress::grouped,
};
use yibiao_connectors::{Mode, SourceConfig};
use yibiao_synth::{Plan, write_city};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Raw bytes to fused rows and warnings, measured on one machine in one run.
#[derive(Debug, Parser)]
struct Args {
    /// A freshly started broker: `deploy/kafka/kafka.sh start --dir /tmp/bench-kafka` prints it.
    #[arg(long)]
    bootstrap: String,

    #[arg(long, default_value_t = 20_000)]
    dwellings: u32,

    #[arg(long, default_value_t = 21)]
    days: u32,

    /// Partitions of each raw topic; the program's default otherwise.
    #[arg(long)]
    raw_partitions: Option<u32>,

    /// Partitions of each std topic, which are fusion's shards; the program's default otherwise.
    #[arg(long)]
    std_partitions: Option<u32>,

    /// Only raw bytes to fused rows: no warnings, and nothing once more.
    #[arg(long)]
    only_rows: bool,

    /// Seconds of each load under which warnings are timed.
    #[arg(long, default_value_t = 20)]
    seconds: u64,

    /// Days after those, whose readings are the load.
    #[arg(long, default_value_t = 21)]
    later_days: u32,

    /// Records that come once more, of a feed of readings and as many of a feed of full dumps; 0: none.
    #[arg(long, default_value_t = 1_000_000)]
    unchanged: u64,

    /// Only these: neither fusion nor warnings.
    #[arg(long, conflicts_with = "only_rows")]
    only_unchanged: bool,

    #[arg(long, default_value = "pipelines")]
    pipelines: PathBuf,
}

/// Feeds that are files in the city; all utilities' readings but electricity's, which need a server.
const FEEDS: [&str; 7] = [
    "police/standard-addresses",
    "police/housing-registrations",
    "civil-affairs/place-names",
    "civil-affairs/organisations",
    "justice/mediation-cases",
    "utilities/water-readings",
    "utilities/gas-readings",
];

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plan = Plan { dwellings: args.dwellings, days: args.days + args.later_days, ..Plan::default() };
    let city = dir.path().join("city");
    eprintln!("making a city of {} dwellings, {} days", grouped(args.dwellings.into()), args.days);
    write_city(&plan, &city, |_| {})?;
    let set_aside = dir.path().join("later");
    later::set_aside(&city.join("sources"), &set_aside, args.days)?;
    let topics = yibiao_topics::Layout::default();
    let topics = yibiao_topics::Layout {
        raw_partitions: args.raw_partitions.unwrap_or(topics.raw_partitions),
        std_partitions: args.std_partitions.unwrap_or(topics.std_partitions),
        ..topics
    };
    let mut config = Config {
        data: dir.path().join("data"),
        lake: None,
        pipelines: args.pipelines.clone(),
        stages: Vec::new(),
        kafka: yibiao_topics::ClientConfig::at(&args.bootstrap),
        topics,
        sources: Default::default(),
        normalise: Default::default(),
        fusion: Default::default(),
        project: Default::default(),
        serve: Serve::default(),
    };
    for feed in FEEDS {
        config.sources.insert(feed.parse()?, SourceConfig::file(city.join("sources").join(feed)));
    }

    eprintln!("filling the raw topics");
    let mut filling = Pipeline::open(config.clone(), &[Stage::Connect], Mode::Once).await?;
    filling.run_to_end().await?;
    drop(filling);

    if args.only_unchanged {
        Pipeline::open(config.clone(), &[Stage::Normalise], Mode::Once).await?.run_to_end().await?;
    } else {
        rows_and_warnings(&args, &config, &set_aside, dir.path()).await?;
    }
    if args.unchanged > 0 && !args.only_rows {
        nothing_new(&config, args.unchanged).await?;
    }
    println!("| peak memory | {} MB |", yibiao::report::peak_memory_bytes() >> 20);
    Ok(())
}

async fn rows_and_warnings(args: &Args, config: &Config, set_aside: &Path, dir: &Path) -> Result<()> {
    eprintln!("raw bytes to fused rows");
    let mut pipeline = Pipeline::open(config.clone(), &[Stage::Normalise, Stage::Fusion], Mode::Once).await?;
    let (began, watch) = (Instant::now(), Watch::start());
    pipeline.run_to_end().await?;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), watch.stop());
    let accounting = pipeline.accounting.clone().context("normalise runs here")?;
    let records = accounting.total().received as f64;
    drop(pipeline);

    println!("| raw bytes to fused row | |\n|---|---|");
    println!("| records | {} |", grouped(records as u64));
    println!("| wall time, gazetteer and last Delta commit included | {seconds:.1} s |");
    println!("| records/s on this machine | {} |", grouped((records / seconds) as u64));
    show(records, &cpu);

    if args.only_rows {
        return Ok(());
    }
    let rate = (records / seconds / 2.0) as u64;
    let readings = later::records(config, set_aside, dir).await?;
    let length = Duration::from_secs(args.seconds);
    for (round, load) in [Load::Readings(readings), Load::HazardReports].into_iter().enumerate() {
        let what = load.name();
        let measured = latency::measure(config.clone(), load, rate, length, round).await?;
        println!("| {what} at half of that rate | {}/s for {:.0} s |", grouped(rate), measured.seconds);
        println!("| warnings raised meanwhile | {} |", measured.warnings);
        println!("| a report's arrival to its warning, p50 | {:.0} ms |", measured.p50_ms);
        println!("| a report's arrival to its warning, p99 | {:.0} ms |", measured.p99_ms);
    }
    Ok(())
}

/// A process starts and what it has normalised before comes once more, and then again and again.
async fn nothing_new(config: &Config, records: u64) -> Result<()> {
    let feeds = [("utilities/water-readings", As::Repetitions), ("police/standard-addresses", As::FullDumps)];
    for (feed, as_) in feeds {
        eprintln!("records of {feed} that say nothing new");
        let [first, later] = unchanged::measure(config, feed, as_, records).await?;
        let how = match as_ {
            As::Repetitions => "repeated",
            As::FullDumps => "as full dumps",
        };
        for (when, part) in [("for the first time", first), ("again and again", later)] {
            println!("| {feed} {how} {when} | |\n|---|---|");
            println!("| records | {} |", grouped(part.records));
            println!("| wall time | {:.2} s |", part.seconds);
            show(part.records as f64, &part.cpu);
        }
    }
    Ok(())
}

fn show(records: f64, cpu: &Cpu) {
    println!("| CPU time of ours | {:.2} s |", cpu.total());
    println!("| records/s per core used | {} |", grouped((records / cpu.total()) as u64));
    for (stage, spent) in &cpu.0 {
        println!("| share: {stage} | {:.0} % |", spent * 100.0 / cpu.total());
    }
}
