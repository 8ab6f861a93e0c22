//! `yibiao feed`: what a data engineer does with a feed before it runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use yibiao_records::FeedId;

use crate::installation::{self, Installation};

/// Look at feeds: list them, try their contracts on their samples, compare versions, profile a new sample.
#[derive(Debug, clap::Subcommand)]
pub enum Feed {
    /// The registered feeds.
    List(Pipelines),
    /// Try contracts on their samples and compare with the expected outcomes.
    Test {
        /// Only this feed, as department/feed.
        feed: Option<FeedId>,
        #[command(flatten)]
        pipelines: Pipelines,
    },
    /// What changes from one version of a contract to another; fails where a change breaks and the version does not
    /// say so.
    Diff {
        old: PathBuf,
        new: PathBuf,
        #[command(flatten)]
        pipelines: Pipelines,
    },
    #[cfg(feature = "profile")]
    /// What a department's sample (CSV or JSON lines) holds, before a contract is written for it.
    Profile {
        sample: PathBuf,
        /// Between the columns of a CSV file.
        #[arg(long, default_value = ",")]
        delimiter: char,
        /// Rows that are looked at.
        #[arg(long, default_value_t = 100_000)]
        rows: usize,
    },
}

/// Where feeds, facts, tables, rules and deliveries are declared.
#[derive(Debug, Clone, clap::Args)]
pub struct Pipelines {
    #[arg(long, default_value = "pipelines")]
    pub pipelines: PathBuf,
}

impl Feed {
    pub fn run(self) -> Result<()> {
        match self {
            Feed::List(at) => list(&Installation::load(&at.pipelines)?),
            Feed::Test { feed, pipelines } => test(&Installation::load(&pipelines.pipelines)?, feed),
            Feed::Diff { old, new, pipelines } => diff(&old, &new, &pipelines.pipelines),
            #[cfg(feature = "profile")]
            Feed::Profile { sample, delimiter, rows } => {
                let Ok(delimiter) = u8::try_from(delimiter) else {
                    bail!("the delimiter {delimiter:?} is not an ASCII character");
                };
                writeln!(std::io::stdout(), "{}", crate::profile::profile(&sample, delimiter, rows)?)?;
                Ok(())
            }
        }
    }
}

fn list(installation: &Installation) -> Result<()> {
    writeln!(std::io::stdout(), "{:<32} {:<9} {:<12} {:<11} title", "feed", "version", "becomes", "until")?;
    for contract in installation.contracts.iter() {
        writeln!(
            std::io::stdout(),
            "{:<32} {:<9} {:<12} {:<11} {}",
            contract.feed.as_str(),
            contract.version,
            contract.fact.kind,
            contract.legal.until.to_string(),
            contract.title
        )?;
    }
    Ok(())
}

fn diff(old: &Path, new: &Path, pipelines: &Path) -> Result<()> {
    let kinds = installation::kinds(pipelines)?;
    let read = |file: &Path| {
        yibiao_contracts::load_file(file, &kinds)
            .map_err(|problems| anyhow!("{}:\n{problems}", file.display()))
    };
    let (old, new) = (read(old)?, read(new)?);
    let changes = yibiao_contracts::diff(&old, &new);
    for change in &changes {
        writeln!(std::io::stdout(), "{change}")?;
    }
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    if changes.iter().any(|change| change.breaking) && major(&old.version) == major(&new.version) {
        bail!("version {} breaks what {} promised: give it a new first number", new.version, old.version);
    }
    writeln!(std::io::stdout(), "{} changes from {} to {}", changes.len(), old.version, new.version)?;
    Ok(())
}

fn test(installation: &Installation, only: Option<FeedId>) -> Result<()> {
    let mut failed = 0;
    let mut tried = 0;
    for contract in installation.contracts.iter().filter(|c| only.as_ref().is_none_or(|only| *only == c.feed))
    {
        tried += 1;
        let report = yibiao_contracts::try_sample(contract, &installation.kinds)?;
        writeln!(std::io::stdout(), "{report}")?;
        failed += usize::from(!report.is_as_expected());
    }
    match (tried, failed) {
        (0, _) => bail!("there is no such feed; `yibiao feed list` names them"),
        (_, 0) => Ok(()),
        (_, failed) => bail!("{failed} of {tried} feeds do not do what their samples expect"),
    }
}
