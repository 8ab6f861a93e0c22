//! How right the address resolver is on labelled sets, where it errs and why, and how fast it is on one core.
//!
//! ```text
//!  *_dev.jsonl, *_test.jsonl   labelled spans    ─► county.full, county.bare, door, spans.f1
//!  pairs_ccks*.jsonl           labelled pairs    ─► pairs.macro_f1
//!  resolve_queries.tsv         linked queries    ─► resolve.linked, resolve.precision, resolve.none
//! ```
//! The measures are those of the project's scorer in Python, to the last digit. Speed is measured within the
//! process, warm, each set as often as fits into the time given. Prints tables; never fails on a figure.

mod errors;
mod labelled;
mod names;
mod pairs;
mod places;
mod speed;

use anyhow::{Context, Result, bail};
use clap::Parser;
use errors::Errors;
use std::path::{Path, PathBuf};

/// Scores the resolver on the labelled sets of a folder, and sorts what went wrong by its cause.
#[derive(Debug, Parser)]
struct Args {
    /// Holds any of *_dev.jsonl, *_test.jsonl, pairs_ccks*.jsonl, resolve_queries.tsv with resolve_places.tsv.
    folder: PathBuf,

    /// Print so many errors of each cause.
    #[arg(long, default_value_t = 0)]
    errors: usize,

    /// Only sets whose file name contains this.
    #[arg(long, default_value = "")]
    only: String,

    /// Only errors whose measure, element or kind contains this.
    #[arg(long, default_value = "")]
    cause: String,

    /// Also the sets for training, *_train.jsonl.
    #[arg(long)]
    train: bool,

    /// The places to resolve against [default: resolve_places.tsv in the folder].
    #[arg(long)]
    places: Option<PathBuf>,

    /// For how long each speed is measured; 0 does not measure it.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// One line of the table.
struct Score {
    set: String,
    measure: &'static str,
    value: f64,
    n: usize,
    /// Addresses a second on one core.
    speed: Option<f64>,
}

impl Score {
    fn print(&self) {
        let speed = self.speed.map_or_else(String::new, |speed| format!("{speed:10.0}/s"));
        println!("{:26} {:18} {:.4}  n={:<6} {speed}", self.set, self.measure, self.value, self.n);
    }
}

enum Set {
    Labelled,
    Pairs,
    Queries,
}

fn kind(file: &str, train: bool) -> Option<Set> {
    let endings: &[&str] =
        if train { &["_dev.jsonl", "_test.jsonl", "_train.jsonl"] } else { &["_dev.jsonl", "_test.jsonl"] };
    match file {
        _ if file.starts_with("pairs_") => Some(Set::Pairs),
        "resolve_queries.tsv" => Some(Set::Queries),
        _ if endings.iter().any(|ending| file.ends_with(ending)) => Some(Set::Labelled),
        _ => None,
    }
}

fn files(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut found = false;
    for file in files(&args.folder)?.into_iter().filter(|file| file.contains(&args.only)) {
        let Some(kind) = kind(&file, args.train) else { continue };
        found = true;
        let path = args.folder.join(&file);
        let set = file.rsplit_once('.').map_or(file.as_str(), |(stem, _)| stem);
        let mut errors = Errors::default();
        let scores = match kind {
            Set::Labelled => labelled::score(&path, set, args.seconds, &mut errors)?,
            Set::Pairs => pairs::score(&path, set, args.seconds, &mut errors)?,
            Set::Queries => {
                let places = args.places.clone().unwrap_or_else(|| args.folder.join("resolve_places.tsv"));
                places::score(&path, &places, args.seconds, &mut errors)?
            }
        };
        scores.iter().for_each(Score::print);
        if args.errors > 0 {
            errors.print(set, args.errors, &args.cause);
        }
    }
    if !found {
        bail!("{} holds no labelled set whose name contains {:?}", args.folder.display(), args.only);
    }
    Ok(())
}
