//! Columns whose value is that of one fact.

use std::{borrow::Cow, cmp::Ordering, sync::Arc};

use yibiao_records::Value;
use yibiao_tables::{
    shard::{Origin, StoredFact, Winner},
    spec::{Merge, MergedColumn},
};

use super::{given, has_ended};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Settled,
    /// The winner is gone or fell back; which fact comes next only all facts can tell.
    Stale,
}

/// The value that the fact has for the column, and the rank of the source that takes it.
fn offered<'a>(merged: &MergedColumn, stored: &'a StoredFact) -> Option<(u32, Cow<'a, Value>)> {
    if has_ended(stored) {
        return None;
    }
    let mut sources = merged.sources.iter().enumerate();
    sources.find_map(|(rank, source)| Some((rank as u32, given(source, stored)?)))
}

/// What a fact offers, or what has won: the parts that decide.
struct Contender<'a> {
    rank: u32,
    value: &'a Value,
    origin: &'a Origin,
}

impl<'a> From<&'a Winner> for Contender<'a> {
    fn from(winner: &'a Winner) -> Self {
        Self { rank: winner.rank, value: &winner.value, origin: &winner.origin }
    }
}

/// Greater is better. Total over facts: two different facts are never equal, so order of arrival cannot matter.
fn compare(merge: Merge, a: &Contender<'_>, b: &Contender<'_>) -> Ordering {
    let by_rule = match merge {
        Merge::SourceOrder => b.rank.cmp(&a.rank),
        Merge::Max => a.value.cmp(b.value),
        Merge::Min => b.value.cmp(a.value),
        Merge::Latest | Merge::EventDay | Merge::Series { .. } => Ordering::Equal,
    };
    by_rule.then_with(|| freshness(a.origin).cmp(&freshness(b.origin)))
}

fn freshness(origin: &Origin) -> impl Ord + '_ {
    let Origin { valid_from_ms, recorded_at_ms, feed, raw_topic, raw_partition, raw, kind, fact, .. } =
        origin;
    (valid_from_ms, recorded_at_ms, feed, raw_topic, raw_partition, raw, kind, fact)
}

/// A fact changes from `old` to `new`, whose origin is given with it.
pub(super) fn change(
    merged: &MergedColumn,
    winner: &mut Option<Winner>,
    old: Option<&StoredFact>,
    new: Option<(&StoredFact, &Arc<Origin>)>,
) -> Outcome {
    let offer = new.and_then(|(stored, origin)| Some((offered(merged, stored)?, origin)));
    let was_winner = match (&*winner, old) {
        (Some(winner), Some(old)) => winner.origin.fact == old.fact.id && winner.origin.kind == old.kind,
        _ => false,
    };
    let wins = offer.as_ref().is_some_and(|((rank, value), origin)| {
        let offer = Contender { rank: *rank, value, origin };
        winner.as_ref().is_none_or(|winner| compare(merged.merge, &offer, &winner.into()) != Ordering::Less)
    });
    match offer {
        Some(((rank, value), origin)) if wins => {
            *winner = Some(Winner { value: value.into_owned(), rank, origin: origin.clone() });
        }
        _ if was_winner => return Outcome::Stale,
        _ => {}
    }
    Outcome::Settled
}

/// Of all facts of the place, each with its origin, the one that wins.
pub(super) fn best(merged: &MergedColumn, facts: &[(&StoredFact, Arc<Origin>)]) -> Option<Winner> {
    if matches!(merged.merge, Merge::EventDay | Merge::Series { .. }) {
        return None;
    }
    let mut winner = None;
    for (stored, origin) in facts.iter() {
        change(merged, &mut winner, None, Some((stored, origin)));
    }
    winner
}
