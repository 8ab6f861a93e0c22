//! How well the pipeline did, by the truth of the city. Nothing but scoring may read the truth.

mod matches;
mod silence;
mod warnings;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;

use crate::Error;
use crate::households::Kind;

pub use matches::{FeedMatch, MatchScore, matches};
pub use silence::{SilenceScore, silence};
pub use warnings::{GRACE_DAYS, WarningScore, warnings, warnings_within};

/// The truth of a city under `<dir>/truth`.
pub struct Truth {
    /// Feed id to its source keys.
    matches: HashMap<String, HashMap<String, KeyTruth>>,
    /// What may have been done to an address: `plain`, `typo`, `alias+full_width`, …
    done: Vec<String>,
    places: Vec<PlaceTruth>,
    place_at: HashMap<String, u32>,
}

/// Where the address of a source key lies, and what was done to it (an index into `Truth::done`).
#[derive(Clone, Copy)]
struct KeyTruth {
    place: u32,
    done: u32,
}

struct PlaceTruth {
    parent: u32,
    dwelling: Option<DwellingTruth>,
}

struct DwellingTruth {
    kind: Kind,
    crowded_from: Option<NaiveDate>,
    crowded_to: Option<NaiveDate>,
    /// Its water and electricity meters are not read from here on.
    silent_from: Option<NaiveDate>,
}

const NO_PLACE: u32 = u32::MAX;

impl Truth {
    /// # Errors
    /// `File` if there is no truth under `dir`, `Truth` if it is damaged.
    pub fn open(dir: &Path) -> Result<Truth, Error> {
        let mut truth =
            Truth { matches: HashMap::new(), done: Vec::new(), places: Vec::new(), place_at: HashMap::new() };
        for_each_row(&dir.join("truth/places.csv"), |[place, parent, _level]: [&str; 3]| {
            let parent = if parent.is_empty() {
                NO_PLACE
            } else {
                *truth.place_at.get(parent).ok_or("its parent is unknown")?
            };
            truth.place_at.insert(place.to_owned(), truth.places.len() as u32);
            truth.places.push(PlaceTruth { parent, dwelling: None });
            Ok(())
        })?;
        for_each_row(&dir.join("truth/dwellings.csv"), |row: [&str; 12]| {
            let at = *truth.place_at.get(row[0]).ok_or("its place is unknown")?;
            let kind = Kind::from_name(row[1]).ok_or("its kind is unknown")?;
            truth.places[at as usize].dwelling = Some(DwellingTruth {
                kind,
                crowded_from: date(row[9])?,
                crowded_to: date(row[10])?,
                silent_from: date(row[11])?,
            });
            Ok(())
        })?;
        let mut done_at: HashMap<String, u32> = HashMap::new();
        for_each_row(&dir.join("truth/matches.csv"), |[feed, key, place, done]: [&str; 4]| {
            let place = if place == "NONE" {
                NO_PLACE
            } else {
                *truth.place_at.get(place).ok_or("its place is unknown")?
            };
            let next = truth.done.len() as u32;
            let done = *done_at.entry(done.to_owned()).or_insert_with(|| {
                truth.done.push(done.to_owned());
                next
            });
            if !truth.matches.contains_key(feed) {
                truth.matches.insert(feed.to_owned(), HashMap::new());
            }
            if let Some(keys) = truth.matches.get_mut(feed) {
                keys.insert(key.to_owned(), KeyTruth { place, done });
            }
            Ok(())
        })?;
        Ok(truth)
    }

    /// The feed and the key as the truth has them; `None` if it does not know the key.
    fn known(&self, feed: &str, source_key: &str) -> Option<(&str, &str)> {
        let (feed, keys) = self.matches.get_key_value(feed)?;
        // A reading's key is its account and its day; an account stays where it is.
        let account = source_key.split(['\u{1f}', '|']).next().unwrap_or(source_key);
        let (key, _) = keys.get_key_value(source_key).or_else(|| keys.get_key_value(account))?;
        Some((feed, key))
    }

    fn contains(&self, above: u32, below: u32) -> bool {
        let mut at = self.places[below as usize].parent;
        while at != NO_PLACE {
            if at == above {
                return true;
            }
            at = self.places[at as usize].parent;
        }
        false
    }
}

fn date(cell: &str) -> Result<Option<NaiveDate>, &'static str> {
    if cell.is_empty() { Ok(None) } else { cell.parse().map(Some).map_err(|_| "its date cannot be read") }
}

fn for_each_row<const N: usize>(
    path: &Path,
    mut take: impl FnMut([&str; N]) -> Result<(), &'static str>,
) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::file("opening", path))?;
    let damaged =
        |line: usize, what: &str| Error::Truth { path: PathBuf::from(path), line, what: what.to_owned() };
    for (number, line) in BufReader::new(file).lines().enumerate().skip(1) {
        let line = line.map_err(Error::file("reading", path))?;
        let cells: Vec<&str> = line.split(',').collect();
        let cells: [&str; N] =
            cells.try_into().map_err(|_| damaged(number + 1, "it has another number of cells"))?;
        take(cells).map_err(|what| damaged(number + 1, what))?;
    }
    Ok(())
}

/// 1 where there was nothing to get wrong.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A compound with one building of four rooms.
    fn hand_made() -> (tempfile::TempDir, Truth) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(dir.path().join("truth")).unwrap();
            std::fs::write(dir.path().join("truth").join(name), text).unwrap();
        };
        write(
            "places.csv",
            "place,parent,level\nC,,compound\nB,C,building\nR1,B,dwelling\nR2,B,dwelling\nR3,B,dwelling\nR4,B,dwelling\n",
        );
        let row = |code: &str, kind: &str, from: &str, to: &str| {
            let silent = if code == "R4" { "2025-10-28" } else { "" };
            format!("{code},{kind},南京市,鼓楼区,3,0,3,2,false,{from},{to},{silent}\n")
        };
        let dwellings = [
            "head\n".to_owned(),
            row("R1", "crowded", "", ""),
            row("R2", "crowded", "2025-11-25", ""),
            row("R3", "crowded", "", "2025-11-01"),
            row("R4", "salon", "", ""),
        ];
        write("dwellings.csv", &dwellings.concat());
        write(
            "matches.csv",
            "feed,source_key,place,done\nw,100,R1,plain\nw,101,R2,plain\nw,102,R3,typo\nw,103,R4,plain\nw,900,NONE,stranger\nh,H1,B,plain\n",
        );
        let truth = Truth::open(dir.path()).unwrap();
        (dir, truth)
    }

    #[test]
    fn matches_are_counted_by_account_and_the_last_answer_counts() {
        let (_dir, truth) = hand_made();
        let resolved = [
            ("w", "100\u{1f}2025-11-01", ""),
            ("w", "100\u{1f}2025-11-02", "R1"),
            ("w", "101", "B"),
            ("w", "102", "R4"),
            ("w", "900", ""),
            ("w", "777", "R1"),
            ("h", "H1", "B"),
        ];
        let score = matches(&truth, resolved.into_iter());
        let water = &score.feeds["w"];
        assert_eq!((water.n, water.right, water.coarser, water.wrong, water.missed), (4, 1, 1, 1, 1));
        assert_eq!((water.rightly_none, water.unknown_keys), (1, 1));
        assert!((water.precision - 1.0 / 3.0).abs() < 1e-9 && (water.recall - 0.25).abs() < 1e-9);
        assert_eq!(score.feeds["h"].precision, 1.0);
        assert_eq!(
            (score.by_done["typo"].n, score.by_done["typo"].wrong, score.by_done["plain"].n),
            (1, 1, 4)
        );
        assert!(score.to_string().contains("typo"));
    }

    #[test]
    fn a_stranger_that_is_matched_is_wrong() {
        let (_dir, truth) = hand_made();
        let score = matches(&truth, [("w", "900", "R1"), ("w", "103", "no such code")].into_iter());
        assert_eq!((score.feeds["w"].wrong, score.feeds["w"].rightly_none), (2, 0));
    }

    #[test]
    fn warnings_are_right_wrong_missed_or_too_early_to_say() {
        let (_dir, truth) = hand_made();
        let as_of = "2025-11-30".parse().unwrap();
        let score = warnings(&truth, ["R1", "R2", "R4", "B"].into_iter(), as_of);
        assert_eq!((score.crowded, score.right, score.in_grace), (1, 1, 1));
        assert_eq!(score.false_alarms["salon"], 1);
        assert_eq!(score.false_alarms["not_a_dwelling"], 1);
        assert!((score.precision - 1.0 / 3.0).abs() < 1e-9);
        let score = warnings(&truth, std::iter::empty(), as_of);
        assert_eq!(score.missed["throughout"], 1);
        assert_eq!((score.precision, score.recall), (1.0, 0.0));
    }

    #[test]
    fn a_dwelling_counts_as_silent_once_the_rule_can_know() {
        let (_dir, truth) = hand_made();
        let on =
            |day: &str, warned: &[&str]| silence(&truth, warned.iter().copied(), day.parse().unwrap(), 30);
        let score = on("2025-11-30", &["R4", "R1"]);
        assert_eq!((score.silent, score.right, score.false_alarms, score.in_grace), (1, 1, 1, 0));
        assert_eq!((score.precision, score.recall), (0.5, 1.0));
        let score = on("2025-11-30", &[]);
        assert_eq!((score.silent, score.right, score.recall), (1, 0, 0.0));
        // The last reading was on the 27th of October; the clock of a feed may be some days behind.
        let score = on("2025-11-27", &["R4"]);
        assert_eq!((score.silent, score.in_grace, score.false_alarms), (0, 1, 0));
        assert_eq!(on("2025-10-20", &["R4"]).false_alarms, 1);
    }
}
