//! One file a command.

pub mod accounting;
pub mod address;
#[cfg(feature = "embedded-broker")]
pub mod broker;
pub mod check;
#[cfg(feature = "embedded-broker")]
pub mod demo;
pub mod feed;
pub mod gazetteer;
pub mod quarantine;
pub mod rules;
pub mod run;
pub mod shadow;
pub mod sql;
pub mod synth;
pub mod why;

use anyhow::Result;

/// Waits for the terminal's interrupt or the service manager's request to end.
pub async fn until_stopped() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
