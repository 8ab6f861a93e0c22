//! Logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The Delta library reports a table that is not there yet as an error of its own; we make the table.
const QUIET: &str = "buoyant_kernel=off,delta_kernel=off";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging: `YIBIAO_LOG` (or `--log`) takes filters such as `info,yibiao_fusion=debug`.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_target(false).compact().init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
