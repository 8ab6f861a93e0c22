//! `yibiao shadow`: what the tables would be by another contract, rule or gazetteer.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use yibiao_records::FeedId;
use yibiao_topics::Client;

use crate::{
    config::Config,
    in_use::InUse,
    progress::Line,
    report,
    shadow::{
        self, Gazetteer, Name, Plan, Ready, Wanted, compare,
        folder::{self, Folder},
        plan::Asked,
        ranges::Moment,
        swap,
    },
};

/// Replay raw records by other contracts, rules, tables or another gazetteer, beside the real tables, and compare.
#[derive(Debug, clap::Subcommand)]
pub enum Shadow {
    /// Make a shadow, or go on with one that was stopped or killed. It ends by itself, at the end that the topics had when
    /// it began.
    Run(Run),
    /// Show how the shadow's tables differ from the present ones, or from another shadow's.
    Compare(Compare),
    /// The shadows of this installation.
    List {
        #[arg(long, default_value = "yibiao.toml")]
        config: PathBuf,
    },
    /// Put the shadow's tables in the place of the present ones, while all stages are stopped. The former are kept aside. Cut
    /// short, it is gone on with by the same command, and no other starts before.
    Swap {
        name: Name,
        #[arg(long, default_value = "yibiao.toml")]
        config: PathBuf,
    },
    /// Remove a shadow: its folder and its topics.
    Drop {
        name: Name,
        #[arg(long, default_value = "yibiao.toml")]
        config: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub struct Run {
    /// What it is called: small letters, digits and hyphens.
    name: Name,

    #[arg(long, default_value = "yibiao.toml")]
    config: PathBuf,

    /// The folder of contracts, tables and rules to try; that of the configuration where it is left out.
    #[arg(long)]
    pipelines: Option<PathBuf>,

    /// Only these feeds, rather than all.
    #[arg(long = "feed", value_name = "DEPARTMENT/FEED")]
    feeds: Vec<FeedId>,

    /// Only raw records of this time or later: 2025-11-03, "2025-11-03 09:30" (China's time), or with its offset.
    #[arg(long)]
    from: Option<Moment>,

    /// Only raw records before this time.
    #[arg(long)]
    to: Option<Moment>,

    /// The version of the gazetteer; the one in force where it is left out. `own`: built of the standard addresses that the
    /// shadow itself has normalised.
    #[arg(long, value_parser = gazetteer)]
    gazetteer: Option<Gazetteer>,

    /// Go on to the end that the topics have now.
    #[arg(long)]
    extend: bool,
}

#[derive(Debug, clap::Args)]
pub struct Compare {
    name: Name,

    #[arg(long, default_value = "yibiao.toml")]
    config: PathBuf,

    /// Another shadow of the same records, rather than the present tables.
    #[arg(long)]
    with: Option<Name>,

    /// The present tables hold everything up to the shadow's end: the stages have caught up. Its last records are then
    /// compared too.
    #[arg(long)]
    level: bool,

    /// Examples of each difference.
    #[arg(long, default_value_t = 3)]
    examples: usize,

    /// JSON rather than text.
    #[arg(long)]
    json: bool,
}

fn gazetteer(text: &str) -> Result<Gazetteer, String> {
    Ok(match text {
        "own" => Gazetteer::Own,
        version => Gazetteer::Version(version.to_owned()),
    })
}

impl Shadow {
    pub async fn run(self) -> Result<()> {
        match self {
            Shadow::Run(run) => run.run().await,
            Shadow::Compare(compare) => compare.run().await,
            Shadow::List { config } => list(&config),
            Shadow::Swap { name, config } => swap(&config, &name).await,
            Shadow::Drop { name, config } => drop(&config, &name).await,
        }
    }
}

impl Run {
    async fn run(self) -> Result<()> {
        let config = Config::read(&self.config)?;
        let asked = Asked { feeds: self.feeds, from: self.from, to: self.to };
        let wanted =
            Wanted { pipelines: self.pipelines, asked, gazetteer: self.gazetteer, extend: self.extend };
        let mut ready = shadow::run(config, &self.name, wanted).await?;
        writeln!(std::io::stdout(), "{}", told(&ready.plan))?;
        for feed in &ready.without_topic {
            writeln!(std::io::stdout(), "{feed} is left out: nothing was ever sent to its raw topic")?;
        }
        work(&mut ready).await?;
        if let Some(accounting) = &ready.pipeline.accounting {
            writeln!(std::io::stdout(), "{}", report::accounting(&accounting.feeds()))?;
        }
        let name = &self.name;
        writeln!(
            std::io::stdout(),
            "the shadow {name} is complete: `yibiao shadow compare {name}`, `yibiao sql --lake {}`",
            ready.pipeline.layout.lake.display()
        )?;
        Ok(())
    }
}

/// To the end of its plan, with a line of progress.
async fn work(ready: &mut Ready) -> Result<()> {
    let (progress, mut line) = (ready.progress(), Line::default());
    let worked = tokio::select! {
        worked = line.while_working(progress, ready.work()) => Some(worked),
        stopped = super::until_stopped() => { stopped?; None }
    };
    match worked {
        Some(worked) => worked,
        None => {
            ready.pipeline.stop().await?;
            bail!("stopped: `yibiao shadow run {}` goes on from here", ready.plan.name);
        }
    }
}

async fn swap(config: &Path, name: &Name) -> Result<()> {
    let config = Config::parse(config)?;
    let alone = InUse::alone(&config.data)?;
    if swap::Journal::read(&config.data)?.is_none() {
        swap::check(&config, name).await?;
        let mut ready =
            shadow::run(config.clone(), name, Wanted { extend: true, ..Wanted::default() }).await?;
        work(&mut ready).await?;
        swap::begin(&config, &alone, ready).await?;
    }
    swap::finish(&config, &alone, name).await?;
    writeln!(
        std::io::stdout(),
        "the tables of {name} are in the place of the present ones, and go on from there when the stages start; the former lie \
         in {}: delete them when nobody wants to look at them",
        swap::former(&config.data, name).display()
    )?;
    Ok(())
}

/// What it is made of, in a few lines.
fn told(plan: &Plan) -> String {
    let gazetteer = match &plan.gazetteer {
        None => "none".to_owned(),
        Some(Gazetteer::Own) => "of its own standard addresses".to_owned(),
        Some(Gazetteer::Version(version)) => version.clone(),
    };
    format!(
        "shadow {}: {} raw records of {} feeds, by {}, gazetteer {gazetteer}",
        plan.name,
        crate::progress::grouped(plan.records()),
        plan.feeds.len(),
        plan.pipelines.display(),
    )
}

impl Compare {
    async fn run(self) -> Result<()> {
        let config = Config::read(&self.config)?;
        let wanted = compare::Wanted { with: self.with, level: self.level, examples: self.examples };
        let comparison = compare::compare(&config, &self.name, &wanted).await?;
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&comparison)?)?;
        } else {
            write!(std::io::stdout(), "{comparison}")?;
        }
        Ok(())
    }
}

fn list(config: &Path) -> Result<()> {
    let config = Config::read(config)?;
    for name in folder::names(&config)? {
        let line = match Folder::read(&config, &name) {
            Ok((_, plan)) if plan.is_complete => format!("{}, complete", told(&plan)),
            Ok((_, plan)) => format!("{}, not complete: `yibiao shadow run {name}` goes on", told(&plan)),
            Err(error) => format!("shadow {name}: {error:#}"),
        };
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}

async fn drop(config: &Path, name: &Name) -> Result<()> {
    let config = Config::read(config)?;
    match folder::drop_all(&config, &Client::new(&config.kafka)?, name).await? {
        true => writeln!(std::io::stdout(), "the shadow {name} is gone, with its topics")?,
        false => writeln!(std::io::stdout(), "there is no shadow {name}")?,
    }
    Ok(())
}
