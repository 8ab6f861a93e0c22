//! How well the pipeline did, by the truth of the city. Nothing but scoring may read the truth.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use chrono::{Days, NaiveDate};
use serde::Serialize;

use crate::Error;
use crate::households::Kind;

/// A rental that became or ceased to be crowded within so many days of the day of scoring may be warned of or not:
/// a window of readings cannot know yet.
pub const GRACE_DAYS: u64 = 14;

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
        for_each_row(&dir.join("truth/dwellings.csv"), |row: [&str; 11]| {
            let at = *truth.place_at.get(row[0]).ok_or("its place is unknown")?;
            let kind = Kind::from_name(row[1]).ok_or("its kind is unknown")?;
            truth.places[at as usize].dwelling =
                Some(DwellingTruth { kind, crowded_from: date(row[9])?, crowded_to: date(row[10])? });
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

/// How one feed's addresses were matched. Counted by account (meters) or record (the others), the last answer of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FeedMatch {
    /// Accounts or records whose truth is known and that lie at a standard address.
    pub n: u64,
    pub right: u64,
    /// Matched to a place that contains the right one, such as its building.
    pub coarser: u64,
    /// Matched to another place, or to a place though it lies at none.
    pub wrong: u64,
    /// At a standard address, and not matched.
    pub missed: u64,
    /// At no standard address, and rightly not matched.
    pub rightly_none: u64,
    /// Answers under a key that the truth does not know (they are not counted elsewhere).
    pub unknown_keys: u64,
    /// right / (right + coarser + wrong)
    pub precision: f64,
    /// right / n
    pub recall: f64,
}

/// The matches of all feeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MatchScore {
    /// By feed id.
    pub feeds: BTreeMap<String, FeedMatch>,
    /// By what was done to the address: `typo`, `alias`, `former_county`, …; `plain` if nothing. An address to which
    /// two things were done counts under both.
    pub by_done: BTreeMap<String, FeedMatch>,
}

/// Scores matches: (feed id, source key, 地址编码 of the matched place or "" where there was no match).
///
/// Keys of meters are accounts, with or without `\u{1f}<day>` behind. Keys of the truth that are not among `resolved`
/// count as missed.
pub fn matches<'a>(
    truth: &Truth,
    resolved: impl Iterator<Item = (impl AsRef<str>, &'a str, &'a str)>,
) -> MatchScore {
    let mut score = MatchScore::default();
    let mut answers: HashMap<&str, HashMap<&str, Option<u32>>> = HashMap::new();
    for (feed, key, matched) in resolved {
        let feed = feed.as_ref();
        match truth.known(feed, key) {
            Some((feed, key)) => {
                // A code that is no place's is wrong wherever it lies.
                let answer =
                    (!matched.is_empty()).then(|| truth.place_at.get(matched).copied().unwrap_or(NO_PLACE));
                answers.entry(feed).or_default().insert(key, answer);
            }
            None => score.feeds.entry(feed.to_owned()).or_default().unknown_keys += 1,
        }
    }
    let mut by_done = vec![FeedMatch::default(); truth.done.len()];
    for (feed, keys) in &truth.matches {
        let it = score.feeds.entry(feed.clone()).or_default();
        let answers = answers.get(feed.as_str());
        for (key, known) in keys {
            let answer = answers.and_then(|answers| answers.get(key.as_str()).copied().flatten());
            for counts in [&mut *it, &mut by_done[known.done as usize]] {
                counts.count(truth, known.place, answer);
            }
        }
    }
    for (names, counts) in truth.done.iter().zip(&by_done) {
        for name in names.split('+') {
            score.by_done.entry(name.to_owned()).or_default().add(counts);
        }
    }
    score.feeds.values_mut().chain(score.by_done.values_mut()).for_each(FeedMatch::settle);
    score
}

impl FeedMatch {
    fn count(&mut self, truth: &Truth, place: u32, answer: Option<u32>) {
        self.n += u64::from(place != NO_PLACE);
        match answer {
            None if place == NO_PLACE => self.rightly_none += 1,
            None => self.missed += 1,
            Some(at) if place != NO_PLACE && at == place => self.right += 1,
            Some(at) if at != NO_PLACE && place != NO_PLACE && truth.contains(at, place) => self.coarser += 1,
            Some(_) => self.wrong += 1,
        }
    }

    fn add(&mut self, other: &FeedMatch) {
        self.n += other.n;
        self.right += other.right;
        self.coarser += other.coarser;
        self.wrong += other.wrong;
        self.missed += other.missed;
        self.rightly_none += other.rightly_none;
        self.unknown_keys += other.unknown_keys;
    }

    fn settle(&mut self) {
        self.precision = ratio(self.right, self.right + self.coarser + self.wrong);
        self.recall = ratio(self.right, self.n);
    }
}

/// 1 where there was nothing to get wrong.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

impl MatchScore {
    /// All feeds together.
    pub fn total(&self) -> FeedMatch {
        let mut total = FeedMatch::default();
        self.feeds.values().for_each(|it| total.add(it));
        total.settle();
        total
    }
}

impl fmt::Display for MatchScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = |f: &mut fmt::Formatter<'_>, name: &str| {
            let (n, precision, recall) = ("n", "precision", "recall");
            writeln!(
                f,
                "{name:<32}{n:>9}{precision:>11}{recall:>9}{:>9}{:>9}{:>9}",
                "coarser", "wrong", "missed"
            )
        };
        let line = |f: &mut fmt::Formatter<'_>, name: &str, it: &FeedMatch| {
            let (precision, recall) = (it.precision * 100.0, it.recall * 100.0);
            let (n, coarser, wrong, missed) = (it.n, it.coarser, it.wrong, it.missed);
            writeln!(f, "{name:<32}{n:>9}{precision:>10.1}%{recall:>8.1}%{coarser:>9}{wrong:>9}{missed:>9}")
        };
        head(f, "feed")?;
        for (name, it) in &self.feeds {
            line(f, name, it)?;
        }
        line(f, "all", &self.total())?;
        head(f, "what was done to the address")?;
        for (name, it) in &self.by_done {
            line(f, name, it)?;
        }
        Ok(())
    }
}

/// How well warnings of crowded rentals hit, on one day.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WarningScore {
    /// Crowded on the day, and for more than the days of grace.
    pub crowded: u64,
    /// Of these, warned.
    pub right: u64,
    /// Turned within the days of grace: warned or not, both is right.
    pub in_grace: u64,
    /// Warned, and not crowded: by what the dwelling truly is. `not_a_dwelling` for other places.
    pub false_alarms: BTreeMap<String, u64>,
    /// Crowded, and not warned: by how the crowd came to be (`throughout` or `begun_within`).
    pub missed: BTreeMap<String, u64>,
    pub precision: f64,
    pub recall: f64,
}

/// Scores the 地址编码 of the places that are warned of on a day, with [`GRACE_DAYS`].
pub fn warnings<'a>(truth: &Truth, warned: impl Iterator<Item = &'a str>, as_of: NaiveDate) -> WarningScore {
    warnings_within(truth, warned, as_of, GRACE_DAYS)
}

/// The same with other days of grace: as many as the rule's window is long.
pub fn warnings_within<'a>(
    truth: &Truth,
    warned: impl Iterator<Item = &'a str>,
    as_of: NaiveDate,
    grace_days: u64,
) -> WarningScore {
    let mut score = WarningScore::default();
    let mut is_warned = vec![false; truth.places.len()];
    for code in warned {
        match truth.place_at.get(code) {
            Some(&at) if truth.places[at as usize].dwelling.is_some() => is_warned[at as usize] = true,
            _ => *score.false_alarms.entry("not_a_dwelling".to_owned()).or_default() += 1,
        }
    }
    for (place, is_warned) in truth.places.iter().zip(is_warned) {
        let Some(dwelling) = &place.dwelling else { continue };
        match (dwelling.standing(as_of, grace_days), is_warned) {
            (Standing::Turning, _) => score.in_grace += 1,
            (Standing::Crowded, true) => {
                score.crowded += 1;
                score.right += 1;
            }
            (Standing::Crowded, false) => {
                score.crowded += 1;
                let since = if dwelling.crowded_from.is_some() { "begun_within" } else { "throughout" };
                *score.missed.entry(since.to_owned()).or_default() += 1;
            }
            (Standing::Quiet, true) => {
                *score.false_alarms.entry(dwelling.kind.name().to_owned()).or_default() += 1
            }
            (Standing::Quiet, false) => {}
        }
    }
    let false_alarms: u64 = score.false_alarms.values().sum();
    score.precision = ratio(score.right, score.right + false_alarms);
    score.recall = ratio(score.right, score.crowded);
    score
}

enum Standing {
    Quiet,
    Crowded,
    /// It turned too short a time ago.
    Turning,
}

impl DwellingTruth {
    fn standing(&self, as_of: NaiveDate, grace_days: u64) -> Standing {
        if self.kind != Kind::Crowded {
            return Standing::Quiet;
        }
        let settled = as_of.checked_sub_days(Days::new(grace_days)).unwrap_or(as_of);
        match (self.crowded_from, self.crowded_to) {
            (Some(from), _) if from > as_of => Standing::Quiet,
            (Some(from), _) if from > settled => Standing::Turning,
            (_, Some(to)) if to < settled => Standing::Quiet,
            (_, Some(to)) if to < as_of => Standing::Turning,
            _ => Standing::Crowded,
        }
    }
}

impl fmt::Display for WarningScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        writeln!(
            f,
            "crowded rentals: precision {:.1}%, recall {:.1}% ({} of {} found; {} turned too lately to say)",
            self.precision * 100.0,
            self.recall * 100.0,
            self.right,
            self.crowded,
            self.in_grace
        )?;
        writeln!(f, "  false alarms: {}", list(&self.false_alarms))?;
        write!(f, "  missed: {}", list(&self.missed))
    }
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
            format!("{code},{kind},南京市,鼓楼区,3,0,3,2,false,{from},{to}\n")
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
}
