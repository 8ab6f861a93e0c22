//! Who uses a data folder: any number of processes with their stages, or one that swaps the tables, alone.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

const LOCK: &str = "lock";
/// It is there from before the first until after the last change of a swap.
const JOURNAL: &str = "swap.json";

/// Held as long as the folder is used.
pub struct InUse(#[expect(dead_code, reason = "the lock goes with it")] File);

impl InUse {
    /// For stages. Refused while, and after, tables are swapped half.
    pub fn with_others(data: &Path) -> Result<Self> {
        let lock = open(data)?;
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("the tables in {} are being swapped: wait until that has ended", data.display())
            }
            Err(TryLockError::Error(error)) => return Err(error).context("locking the data folder"),
        }
        refuse_half_done(data)?;
        Ok(Self(lock))
    }

    /// For a swap. Refused while any stage runs here.
    pub fn alone(data: &Path) -> Result<Self> {
        let lock = open(data)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self(lock)),
            Err(TryLockError::WouldBlock) => bail!(
                "stages run on {}: stop every process of this installation, also those on other machines, and try again",
                data.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).context("locking the data folder"),
        }
    }
}

fn open(data: &Path) -> Result<File> {
    fs::create_dir_all(data).with_context(|| format!("making {}", data.display()))?;
    let at = data.join(LOCK);
    let mut options = fs::OpenOptions::new();
    let lock = options.create(true).truncate(false).write(true).open(&at);
    lock.with_context(|| format!("opening {}", at.display()))
}

/// Where a swap says what it does.
pub fn journal(data: &Path) -> PathBuf {
    data.join(JOURNAL)
}

/// Nothing opens a folder of which one half is the former's and one half the shadow's.
pub fn refuse_half_done(data: &Path) -> Result<()> {
    let journal = journal(data);
    if !journal.exists() {
        return Ok(());
    }
    let json: Option<serde_json::Value> =
        fs::read(&journal).ok().and_then(|json| serde_json::from_slice(&json).ok());
    let name = json.as_ref().and_then(|json| json["name"].as_str()).unwrap_or("NAME");
    bail!(
        "a swap of tables in {} was cut short: `yibiao shadow swap {name}` goes on with it, and nothing else may start \
         before it has ended",
        data.display()
    )
}
