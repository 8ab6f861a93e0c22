//! `yibiao synth`: the city's files alone.

use std::path::PathBuf;

use anyhow::Result;
use yibiao_synth::{Plan, write_city};

use crate::progress::Line;

/// Write the synthetic city's files without running anything on them.
#[derive(Debug, clap::Args)]
pub struct Synth {
    #[command(flatten)]
    pub plan: PlanArgs,

    /// Where to; sources/ and truth/ are made below it.
    #[arg(long, default_value = "data/city")]
    dir: PathBuf,
}

/// How large the city is.
#[derive(Debug, Clone, clap::Args)]
pub struct PlanArgs {
    /// Rooms with a standard address.
    #[arg(long, default_value_t = Plan::default().dwellings)]
    pub dwellings: u32,

    /// Days of readings and reports.
    #[arg(long, default_value_t = Plan::default().days)]
    pub days: u32,

    /// The same seed gives the same city, byte for byte.
    #[arg(long, default_value_t = Plan::default().seed)]
    pub seed: u64,
}

impl PlanArgs {
    pub fn plan(&self) -> Plan {
        Plan { seed: self.seed, dwellings: self.dwellings, days: self.days, ..Plan::default() }
    }
}

impl Synth {
    pub fn run(self) -> Result<()> {
        let mut line = Line::default();
        let report = write_city(&self.plan.plan(), &self.dir, |step| {
            line.show(&format!("{} {}/{}", step.what, step.done, step.of));
        })?;
        line.clear();
        println!("{report}\nwritten to {}", self.dir.display());
        Ok(())
    }
}
