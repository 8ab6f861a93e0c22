//! `yibiao accounting`: received = accepted + quarantined + unchanged, per feed.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use yibiao_normalise::Normaliser;

use crate::{config::Config, installation::Installation, report};

/// Show what was received, accepted, quarantined and unchanged, per feed.
#[derive(Debug, clap::Args)]
pub struct Accounting {
    #[arg(long, default_value = "yibiao.toml")]
    config: PathBuf,

    /// JSON rather than a table.
    #[arg(long)]
    json: bool,
}

impl Accounting {
    /// From the state, where the stage does not run; while it runs, its status page shows the same.
    pub async fn run(self) -> Result<()> {
        let config = Config::read(&self.config)?;
        let installation = Installation::load(&config.pipelines)?;
        let layout = config.layout();
        let client = yibiao_topics::Client::new(&config.kafka)?;
        let normaliser = Normaliser::open(
            config.normalise.clone(),
            installation.contracts.iter().cloned().collect(),
            installation.kinds.clone(),
            client,
            &layout.normalise,
            &layout.gazetteer,
        );
        let normaliser = normaliser.map_err(|error| {
            anyhow::anyhow!(
                "{error} (while the stage runs, http://{}/status shows its accounting)",
                config.serve.status
            )
        })?;
        let feeds = normaliser.accounting().feeds();
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&feeds)?)?;
        } else {
            writeln!(std::io::stdout(), "{}", report::accounting(&feeds))?;
        }
        Ok(())
    }
}
