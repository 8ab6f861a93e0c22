//! The disk of the program's data: it fills up, and a power cut tears the last write.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::ending::command;

/// More than the data of a seed takes: some megabytes, and 64 for each shard that is being copied for a checkpoint, as a journal's
/// copy is not sparse.
const SIZE: &str = "size=768m";
const BALLAST: &str = "ballast";

/// A file system of its own in memory, which can be filled.
pub struct Disk {
    folder: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Without the right to mount the folder is an ordinary one, and never fills up.
    pub fn mount(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mounted = command("mount")?.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(folder).output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        Ok(Self { folder: folder.to_owned(), is_mounted })
    }

    pub fn can_be_filled(&self) -> bool {
        self.is_mounted
    }

    /// Not a byte is left.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = fs::File::create(self.folder.join(BALLAST))?;
        let block = vec![0x5a; 1 << 20];
        for size in [block.len(), 4096, 1] {
            while ballast.write_all(&block[..size]).is_ok() {}
        }
        Ok(())
    }

    pub fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.folder.join(BALLAST))?)
    }

    /// What lies there outlives it.
    pub fn keep(&self) -> Result<()> {
        if self.is_mounted {
            let kept = self.folder.with_extension("kept");
            let status = Command::new("cp").arg("-a").arg(&self.folder).arg(&kept).status()?;
            anyhow::ensure!(status.success(), "copying to {} failed", kept.display());
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazily: a process that is still ending may have a file open.
            let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        }
    }
}

/// Appends the beginning of a write that was not ended to the journal of every state store below `folder`. How many.
pub fn tear_last_write(folder: &Path, bytes: usize) -> Result<u32> {
    let mut torn = 0;
    let Ok(entries) = fs::read_dir(folder) else { return Ok(torn) };
    let mut journals: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            torn += tear_last_write(&path, bytes)?;
        } else if path.extension().is_some_and(|extension| extension == "jnl") {
            journals.push(path);
        }
    }
    let number = |path: &PathBuf| {
        path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok())
    };
    if let Some(newest) = journals.into_iter().max_by_key(number) {
        let whole = fs::read(&newest).with_context(|| newest.display().to_string())?;
        // A write begins as the first one did.
        let beginning = &whole[..bytes.min(whole.len() / 2)];
        fs::OpenOptions::new().append(true).open(&newest)?.write_all(beginning)?;
        torn += u32::from(!beginning.is_empty());
    }
    Ok(torn)
}
