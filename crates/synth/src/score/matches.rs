//! Matches of addresses to places, against the truth.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;

use super::{NO_PLACE, Truth, ratio};

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
