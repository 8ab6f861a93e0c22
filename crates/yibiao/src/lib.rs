//! The `yibiao` program: configuration, wiring, commands. What the stages do is in their own crates. It is a library
//! too, so that benchmarks wire the stages as the program does.
//!
//! ```text
//!  main ─► commands/*  one file a command
//!              │
//!              ▼
//!          pipeline    wires the stages that a configuration names, and knows when all is drained
//! ```

mod commands;
pub mod config;
mod gauges;
pub mod in_use;
pub mod installation;
pub mod pipeline;
#[cfg(feature = "profile")]
mod profile;
pub mod progress;
pub mod report;
mod resolve_address;
pub mod shadow;
pub mod status;
mod telemetry;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fuses the records of many departments onto one standard address (一标多实).
#[derive(Debug, Parser)]
#[command(name = "yibiao", version, about, max_term_width = 100)]
struct Cli {
    /// What is logged, such as `info` or `warn,yibiao_fusion=debug`. `run` and `broker` tell what they do; all other
    /// commands only warn.
    #[arg(long, global = true, env = "YIBIAO_LOG")]
    log: Option<String>,

    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: telemetry::LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a synthetic city, run everything on it in this process, and report.
    #[cfg(feature = "embedded-broker")]
    Demo(commands::demo::Demo),
    /// Run stages against Apache Kafka, as a configuration says.
    Run(commands::run::Run),
    /// Check contracts, tables, rules, deliveries and the configuration; lists every problem at once.
    Check(commands::check::Check),
    /// Look at feeds: list them, try their contracts on their samples, profile a new sample.
    #[command(subcommand)]
    Feed(commands::feed::Feed),
    /// Build or describe the gazetteer.
    #[command(subcommand)]
    Gazetteer(commands::gazetteer::Gazetteer),
    /// Parse, resolve, explain and compare addresses.
    #[command(subcommand)]
    Address(commands::address::Address),
    /// Query the fused tables.
    Sql(commands::sql::Sql),
    /// Lead a fused cell back to the source record that it came from.
    Why(commands::why::Why),
    /// Check that the firing warnings equal a full evaluation of the rules.
    #[command(subcommand)]
    Rules(commands::rules::Rules),
    /// Show what was received, accepted, quarantined and unchanged, per feed.
    Accounting(commands::accounting::Accounting),
    /// Look at quarantined records, and send them again once they can be resolved.
    #[command(subcommand)]
    Quarantine(commands::quarantine::Quarantine),
    /// Replay raw records by other contracts, rules, tables or another gazetteer beside the real tables, and compare.
    #[command(subcommand)]
    Shadow(commands::shadow::Shadow),
    /// Write the synthetic city's files without running anything on them.
    Synth(commands::synth::Synth),
    /// Run the embedded broker alone. For trying and testing only.
    #[cfg(feature = "embedded-broker")]
    Broker(commands::broker::Serve),
}

/// The program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed pipe (`| head`) is the reader's wish, not a failure.
            if let Some(io) = error.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::BrokenPipe
            {
                return ExitCode::SUCCESS;
            }
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let filter = match (&cli.log, &cli.command) {
        (Some(filter), _) => filter,
        (None, Command::Run(_)) => "warn,yibiao=info",
        #[cfg(feature = "embedded-broker")]
        (None, Command::Broker(_)) => "warn,yibiao=info",
        (None, _) => "warn",
    };
    telemetry::start(filter, cli.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.command {
        #[cfg(feature = "embedded-broker")]
        Command::Demo(demo) => runtime.block_on(demo.run()),
        Command::Run(run) => runtime.block_on(run.run()),
        Command::Check(check) => runtime.block_on(check.run()),
        Command::Feed(feed) => feed.run(),
        Command::Gazetteer(gazetteer) => runtime.block_on(gazetteer.run()),
        Command::Address(address) => address.run(),
        Command::Sql(sql) => runtime.block_on(sql.run()),
        Command::Why(why) => why.run(),
        Command::Rules(rules) => runtime.block_on(rules.run()),
        Command::Accounting(accounting) => runtime.block_on(accounting.run()),
        Command::Quarantine(quarantine) => runtime.block_on(quarantine.run()),
        Command::Shadow(shadow) => runtime.block_on(shadow.run()),
        Command::Synth(synth) => synth.run(),
        #[cfg(feature = "embedded-broker")]
        Command::Broker(serve) => runtime.block_on(serve.run()),
    }
}
