//! `yibiao rules`: is what was kept up to date step by step the same as a full computation?

use anyhow::{Result, bail};
use std::io::Write as _;
use yibiao_fusion::Rules as Planned;

use super::why::{Opened, StateArgs};

/// Check that the firing warnings equal a full evaluation of the rules.
#[derive(Debug, clap::Subcommand)]
pub enum Rules {
    /// Merge all rows from their facts and evaluate all rules over them, and list what differs.
    Verify(StateArgs),
}

impl Rules {
    pub async fn run(self) -> Result<()> {
        let Rules::Verify(at) = self;
        let Opened { installation, shards, .. } = at.open()?;
        let mut rules = Planned::load(&installation.rules, &installation.tables).await?;
        let (mut places, mut firing, mut due, mut differences) = (0, 0, 0, 0);
        for shard in shards {
            let verified = yibiao_fusion::verify(&shard.view(), &mut rules).await?;
            places += verified.places;
            firing += verified.firing;
            due += verified.due;
            differences += verified.differences.len();
            for difference in verified.differences {
                let place = difference.place.map_or(String::new(), |place| format!(" place {place}"));
                writeln!(
                    std::io::stdout(),
                    "shard {}{place} {}: incremental {} | full {}",
                    difference.shard,
                    difference.what,
                    difference.incremental,
                    difference.full
                )?;
            }
        }
        if due > 0 {
            writeln!(
                std::io::stdout(),
                "{due} places have a timer that is due and was not looked at yet: run the fusion stage, then verify again"
            )?;
        }
        writeln!(std::io::stdout(), "{places} places, {firing} warnings firing, {differences} differences")?;
        match differences {
            0 => Ok(()),
            _ => bail!(
                "rows or warnings differ from a full computation: please report this with the lines above"
            ),
        }
    }
}
