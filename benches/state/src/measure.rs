//! What the process has used, and figures as lines that can be compared.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// A line a figure: what, how much, unit; separated by tabs.
pub struct Report {
    pub engine: String,
}

impl Report {
    pub fn tell(&self, what: &str, value: f64, unit: &str) {
        println!("{}\t{what}\t{value:.3}\t{unit}", self.engine);
    }
}

/// From where on something is measured.
pub struct Since {
    at: Instant,
    cpu: Duration,
    written: u64,
}

impl Since {
    /// Peak memory is counted from here too.
    pub fn now() -> Result<Self> {
        fs::write("/proc/self/clear_refs", "5").context("resetting peak memory")?;
        Ok(Self { at: Instant::now(), cpu: cpu()?, written: written_bytes()? })
    }

    pub fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// Of all threads: the engine's too.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(cpu()? - self.cpu)
    }

    /// Handed to the system's files, whether they lie on disk yet or not.
    pub fn written(&self) -> Result<u64> {
        Ok(written_bytes()? - self.written)
    }
}

fn cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').context("/proc/self/stat has no name")?;
    let ticks = |field: usize| rest.split_whitespace().nth(field).and_then(|text| text.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).context("/proc/self/stat has no times")?;
    Ok(Duration::from_millis((ticks.0 + ticks.1) * 10))
}

fn written_bytes() -> Result<u64> {
    number_in("/proc/self/io", "wchar:")
}

pub fn peak_memory_bytes() -> Result<u64> {
    Ok(number_in("/proc/self/status", "VmHWM:")? << 10)
}

fn number_in(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse().ok());
    number.with_context(|| format!("{file} has no {name}"))
}

/// Waits until the engine's own threads have nothing to do for a second; then the store is what it will stay.
pub fn settle() -> Result<Duration> {
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < 4 {
        let before = cpu()?;
        std::thread::sleep(Duration::from_millis(250));
        quiet = if cpu()? - before <= Duration::from_millis(10) { quiet + 1 } else { 0 };
    }
    Ok(began.elapsed().saturating_sub(Duration::from_secs(1)))
}

/// Bytes that the folder's files take on disk.
pub fn disk_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += disk_bytes(&entry.path())?,
            Ok(found) => bytes += found.blocks() * 512,
            // The engine removes files while we look.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Brings the folder's files into the system's cache, so that no engine is measured by what others use of the machine.
pub fn cache(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            cache(&entry.path())?;
        } else {
            std::io::copy(&mut fs::File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

/// Takes the folder's files out of the system's cache, as after a start of the machine.
pub fn forget_cached(folder: &Path) -> Result<()> {
    use std::os::fd::AsRawFd;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            forget_cached(&entry.path())?;
            continue;
        }
        let file = fs::File::open(entry.path())?;
        file.sync_all()?;
        // SAFETY: the descriptor is open; the call only advises.
        let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        anyhow::ensure!(result == 0, "posix_fadvise failed with {result}");
    }
    Ok(())
}

/// Times of one operation, many times.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn sum(&self) -> Duration {
        self.0.iter().sum()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `share` of all were at most so long.
    pub fn quantile(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}
