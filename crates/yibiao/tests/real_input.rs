//! Real compounds of Jiangsu as the standard addresses, and what another source calls them as a department's feed:
//! files, a broker, the program as a process, and the facts in the lake.
#![allow(clippy::unwrap_used)]

#[path = "real_input/installation.rs"]
mod installation;
#[path = "real_input/records.rs"]
mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use installation::Installation;
use records::{Query, Records};
use yibiao_records::PlaceId;

const STANDARD_ADDRESSES: &str = "police/standard-addresses";

/// Shares from 0 to 1.
struct Floor {
    right: f64,
    precise: f64,
    refused: f64,
}

#[test]
fn real_addresses_come_to_their_compounds_through_the_whole_pipeline() {
    let records = match Records::read() {
        Ok(records) => records,
        Err(folder) => {
            eprintln!("SKIPPED: no real addresses in {}; set YIBIAO_SHARED_DATA", folder.display());
            return;
        }
    };
    let start = Instant::now();
    let disputes = records.disputes();
    let installation = Installation::new(&[
        (STANDARD_ADDRESSES, &records.standard_addresses()),
        ("housing/named-compounds", &disputes),
        ("housing/bare-addresses", &disputes),
    ]);
    println!("{}ran for {:?}", installation.run_once(), start.elapsed());

    let known =
        installation.sql("select count(distinct place_id) as places, count(*) as forms from fact_place");
    assert_eq!(known[0]["forms"], records.compounds.len(), "every surface form is a fact");
    let ids: BTreeSet<&str> = records.compounds.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(known[0]["places"], ids.len(), "surface forms of one compound are one place");

    let floors = [
        ("housing/named-compounds", Floor { right: 0.9, precise: 0.9, refused: 0.9 }),
        ("housing/bare-addresses", Floor { right: 0.1, precise: 0.8, refused: 0.9 }),
    ];
    for (feed, floor) in floors {
        let score = score(&installation, feed, &records.queries);
        println!("{feed}: {score}");
        assert!(score.right() >= floor.right, "{feed}: right {:.4} < {}", score.right(), floor.right);
        assert!(
            score.precise() >= floor.precise,
            "{feed}: precise {:.4} < {}",
            score.precise(),
            floor.precise
        );
        assert!(
            score.refused() >= floor.refused,
            "{feed}: refused {:.4} < {}",
            score.refused(),
            floor.refused
        );
    }
}

/// What became of the queries: accepted or not, and by which match reason or reason of the quarantine.
#[derive(Default)]
struct Score(BTreeMap<(Outcome, String), Tally>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Accepted,
    Quarantined,
}

#[derive(Default, Clone, Copy)]
struct Tally {
    /// Queries whose compound is among the standard addresses, and those of them that came to it.
    known: usize,
    right: usize,
    /// Queries whose compound is not.
    unknown: usize,
}

impl Score {
    fn sum(&self, outcome: Option<Outcome>, of: impl Fn(&Tally) -> usize) -> f64 {
        let kept = self.0.iter().filter(|((o, _), _)| outcome.is_none_or(|outcome| outcome == *o));
        kept.map(|(_, tally)| of(tally)).sum::<usize>() as f64
    }

    fn right(&self) -> f64 {
        self.sum(None, |t| t.right) / self.sum(None, |t| t.known)
    }

    fn precise(&self) -> f64 {
        self.sum(None, |t| t.right) / self.sum(Some(Outcome::Accepted), |t| t.known + t.unknown)
    }

    fn refused(&self) -> f64 {
        self.sum(Some(Outcome::Quarantined), |t| t.unknown) / self.sum(None, |t| t.unknown)
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [right, precise, refused] = [self.right(), self.precise(), self.refused()];
        writeln!(f, "right {right:.4}, precise {precise:.4}, refused {refused:.4}")?;
        for ((outcome, reason), Tally { known, right, unknown }) in &self.0 {
            let asked = known + unknown;
            match outcome {
                Outcome::Accepted => {
                    let share = *right as f64 / asked as f64;
                    let wrong = asked - right;
                    writeln!(
                        f,
                        "  {reason:18} {asked:5}  right {right:5}  wrong {wrong:4}  top-1 {share:.3}"
                    )?;
                }
                Outcome::Quarantined => writeln!(
                    f,
                    "  {reason:18} {asked:5}  quarantined: {unknown} are not among the standard addresses, {known} are"
                )?,
            }
        }
        Ok(())
    }
}

fn score(installation: &Installation, feed: &str, queries: &[Query]) -> Score {
    let facts = installation.sql(&format!(
        "select source_key, place_id, match_reason from fact_dispute where feed = '{feed}' and statement = 'assert'"
    ));
    let mut answers = BTreeMap::new();
    for fact in &facts {
        let answer = (fact["place_id"].as_i64().unwrap(), fact["match_reason"].as_str().unwrap());
        let earlier = answers.insert(fact["source_key"].as_str().unwrap(), answer);
        assert!(earlier.is_none(), "{feed}: two facts of {}", fact["source_key"]);
    }
    let quarantined = installation.quarantined(feed);
    assert_eq!(answers.len() + quarantined.len(), queries.len(), "{feed}: every record has one outcome");

    let mut score = Score::default();
    for (number, query) in queries.iter().enumerate() {
        let key = number.to_string();
        let gold = query.gold.as_deref().map(|id| PlaceId::derive(STANDARD_ADDRESSES, id).get());
        let (outcome, reason, place) = match answers.get(key.as_str()) {
            Some(&(place, reason)) => (Outcome::Accepted, reason, Some(place)),
            None => (Outcome::Quarantined, quarantined[&key].as_str(), None),
        };
        let tally = score.0.entry((outcome, reason.to_owned())).or_default();
        match gold {
            Some(gold) => {
                tally.known += 1;
                tally.right += usize::from(place == Some(gold));
            }
            None => tally.unknown += 1,
        }
    }
    score
}
