//! Columns whose value is that of one fact.

use std::cmp::Ordering;

use yibiao_tables::{
    shard::{StoredFact, Winner},
    spec::{Merge, MergedColumn},
};

use super::{given, has_ended};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Settled,
    /// The winner is gone or fell back; which fact comes next only all facts can tell.
    Stale,
}

/// The fact as a candidate for the column.
fn candidate(merged: &MergedColumn, stored: &StoredFact) -> Option<Winner> {
    if has_ended(stored) {
        return None;
    }
    let found =
        merged.sources.iter().enumerate().find_map(|(rank, source)| Some((rank, given(source, stored)?)));
    let (rank, value) = found?;
    Some(Winner {
        value: value.into_owned(),
        rank: rank as u32,
        kind: stored.kind.clone(),
        fact: stored.fact.id,
        valid_from_ms: stored.fact.valid_from_ms,
        recorded_at_ms: stored.fact.recorded_at_ms,
        feed: stored.feed.clone(),
        source_key: stored.fact.source_key.clone(),
        raw_topic: stored.raw_topic.clone(),
        raw_partition: stored.raw_partition,
        raw: stored.fact.raw,
    })
}

/// Greater is better. Total over facts: two different facts are never equal, so order of arrival cannot matter.
fn compare(merge: Merge, a: &Winner, b: &Winner) -> Ordering {
    let by_rule = match merge {
        Merge::SourceOrder => b.rank.cmp(&a.rank),
        Merge::Max => a.value.cmp(&b.value),
        Merge::Min => b.value.cmp(&a.value),
        Merge::Latest | Merge::EventDay | Merge::Series { .. } => Ordering::Equal,
    };
    by_rule.then_with(|| freshness(a).cmp(&freshness(b)))
}

fn freshness(winner: &Winner) -> impl Ord + '_ {
    let Winner { valid_from_ms, recorded_at_ms, feed, raw_topic, raw_partition, raw, kind, fact, .. } =
        winner;
    (valid_from_ms, recorded_at_ms, feed, raw_topic, raw_partition, raw, kind, fact)
}

pub(super) fn change(
    merged: &MergedColumn,
    winner: &mut Option<Winner>,
    old: Option<&StoredFact>,
    new: Option<&StoredFact>,
) -> Outcome {
    let candidate = new.and_then(|stored| candidate(merged, stored));
    let was_winner = match (&*winner, old) {
        (Some(winner), Some(old)) => winner.fact == old.fact.id && winner.kind == old.kind,
        _ => false,
    };
    match (&*winner, candidate) {
        (None, candidate) => *winner = candidate,
        (Some(present), Some(candidate)) if compare(merged.merge, &candidate, present) != Ordering::Less => {
            *winner = Some(candidate);
        }
        _ if was_winner => return Outcome::Stale,
        _ => {}
    }
    Outcome::Settled
}

pub(super) fn best(merged: &MergedColumn, facts: &[StoredFact]) -> Option<Winner> {
    if matches!(merged.merge, Merge::EventDay | Merge::Series { .. }) {
        return None;
    }
    facts.iter().filter_map(|stored| candidate(merged, stored)).max_by(|a, b| compare(merged.merge, a, b))
}
