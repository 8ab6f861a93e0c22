//! Ctrl-C: everything that was started ends, wherever a seed stands.
//!
//! Brokers and PostgreSQL leave the process group, and their parents are gone. So whatever is started carries a mark of this run
//! in its environment, which its own children inherit.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

const MARK: &str = "YIBIAO_FAULTS_RUN";
/// As after Ctrl-C in a shell.
const INTERRUPTED: i32 = 130;

static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// A command whose process ends with this one. None is started any more once this one is to end.
pub fn command(program: impl AsRef<OsStr>) -> Result<Command> {
    ensure!(!is_ending(), "interrupted");
    let mut command = Command::new(program);
    command.env(MARK, mark());
    Ok(command)
}

pub fn is_ending() -> bool {
    IS_ENDING.load(Ordering::Acquire)
}

/// Of this run: a process's id comes again.
fn mark() -> &'static str {
    static OF_THIS: OnceLock<String> = OnceLock::new();
    OF_THIS.get_or_init(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        format!("{}-{}", std::process::id(), now.map_or(0, |now| now.as_nanos()))
    })
}

/// Waits for Ctrl-C or SIGTERM; ends everything, takes `remove` away, says its last words, and ends the process.
pub async fn on_interrupt(root: PathBuf, remove: bool, last_words: impl FnOnce()) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("interrupted: ending what was started");
    end_everything(&root);
    if remove {
        let _ = fs::remove_dir_all(&root);
    }
    last_words();
    std::process::exit(INTERRUPTED)
}

fn end_everything(root: &Path) {
    IS_ENDING.store(true, Ordering::Release);
    // What was about to be started when the flag was set is there the second time.
    let mut quiet = 0;
    while quiet < 3 {
        let marked = marked();
        quiet = if marked.is_empty() { quiet + 1 } else { 0 };
        let pids = marked.iter().map(u32::to_string);
        let _ = Command::new("kill").arg("-KILL").args(pids).stderr(std::process::Stdio::null()).status();
        std::thread::sleep(Duration::from_millis(50));
    }
    for mounted in mounts(root) {
        let _ = Command::new("umount").arg("-l").arg(mounted).status();
    }
}

/// Living processes with the mark of this run.
fn marked() -> Vec<u32> {
    let wanted = format!("{MARK}={}", mark());
    let has_mark = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(has_mark).collect()
}

/// File systems that are mounted below a folder.
fn mounts(root: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    points.filter(|point| point.starts_with(root)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_has_started_is_ended_too() -> Result<()> {
        // The shell ends at once; what it started goes on without a parent.
        let output = command("sh")?.args(["-c", "sleep 600 >/dev/null 2>&1 & echo $!"]).output()?;
        let pid: u32 = String::from_utf8(output.stdout)?.trim().parse()?;
        assert!(marked().contains(&pid), "{pid} is not among {:?}", marked());
        end_everything(Path::new("/nowhere"));
        assert!(!marked().contains(&pid));
        assert!(command("sh").is_err(), "nothing is started any more");
        Ok(())
    }
}
