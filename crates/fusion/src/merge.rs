//! Many facts of a place become one row: pure functions, no I/O.
//!
//! ```text
//!  fact changed ──► Merger::change ──► winners and daily figures of the place, and what is stale in them
//!                                         │ stale: Merger::recompute over all facts of the place
//!                                         ▼
//!                                   Merger::row ──► the row, with its sources
//! ```
//!
//! The row is a function of the set of facts: however they came, in whatever order, early, late, twice or
//! corrected, the same facts give the same row. [`Merger::from_scratch`] is that function; the incremental path
//! is held against it.

mod row;
mod series;
mod sources;
mod winner;

use std::{collections::HashMap, sync::Arc};

use yibiao_records::{FactKinds, PlaceId, Value};
use yibiao_tables::{
    shard::{Origin, PlaceState, StoredFact},
    spec::{FactField, Measure, Merge, PlacesSpec, Source},
};

/// What must be computed again from all facts of the place.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stale {
    columns: Vec<usize>,
    series: Vec<usize>,
}

impl Stale {
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.series.is_empty()
    }

    fn column(&mut self, column: usize) {
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
    }
}

/// Which columns and series facts of one kind can touch.
#[derive(Debug, Default, Clone)]
struct Touches {
    columns: Vec<usize>,
    series: Vec<usize>,
}

/// The specification, made ready for merging.
#[derive(Debug, Clone)]
pub struct Merger {
    spec: Arc<PlacesSpec>,
    by_kind: HashMap<Arc<str>, Touches>,
}

impl Merger {
    pub fn new(spec: &Arc<PlacesSpec>, kinds: &FactKinds) -> Self {
        let by_kind = kinds
            .iter()
            .filter(|kind| !spec.placeless.contains(&kind.name))
            .map(|kind| {
                let reads = |sources: &[Source]| {
                    sources.iter().any(|source| source.kind.as_deref().is_none_or(|name| name == kind.name))
                };
                let wins = |merge: Merge| {
                    matches!(merge, Merge::SourceOrder | Merge::Latest | Merge::Max | Merge::Min)
                };
                let columns = spec.columns.iter().enumerate();
                let series = spec.series.iter().enumerate();
                let touches = Touches {
                    columns: columns
                        .filter(|(_, c)| wins(c.merge) && reads(&c.sources))
                        .map(|(i, _)| i)
                        .collect(),
                    series: series.filter(|(_, s)| reads(&s.sources)).map(|(i, _)| i).collect(),
                };
                (Arc::from(kind.name.as_str()), touches)
            })
            .collect();
        Self { spec: spec.clone(), by_kind }
    }

    pub fn spec(&self) -> &Arc<PlacesSpec> {
        &self.spec
    }

    /// Whether facts of this kind are merged into a row.
    pub fn merges(&self, kind: &str) -> bool {
        self.by_kind.contains_key(kind)
    }

    fn prepare(&self, state: &mut PlaceState) {
        state.winners.resize(self.spec.columns.len(), None);
        state.series.resize_with(self.spec.series.len(), Default::default);
    }

    /// One fact of the place becomes `new`, where before it was `old` (the same fact, its former version).
    pub fn change(
        &self,
        state: &mut PlaceState,
        old: Option<&StoredFact>,
        new: Option<&StoredFact>,
        stale: &mut Stale,
    ) {
        self.prepare(state);
        let Some(kind) = new.or(old).map(|stored| &stored.kind) else { return };
        let Some(touches) = self.by_kind.get(kind) else { return };
        state.facts = (state.facts + u64::from(new.is_some())).saturating_sub(u64::from(old.is_some()));
        // One for all columns that the fact wins.
        let origin = new.filter(|_| !touches.columns.is_empty()).map(|new| Arc::new(Origin::of(new)));
        let offer = new.zip(origin.as_ref());
        for &column in &touches.columns {
            let merged = &self.spec.columns[column];
            if winner::change(merged, &mut state.winners[column], old, offer) == winner::Outcome::Stale {
                stale.column(column);
            }
        }
        for &index in &touches.series {
            let spec = &self.spec.series[index];
            if let Some(old) = old {
                series::take(spec, &mut state.series[index], old);
            }
            if let Some(new) = new {
                series::add(spec, &mut state.series[index], new);
            }
        }
    }

    /// After the changes of a batch: finds the series whose kept days do not reach back far enough any more, and
    /// forgets days that no window reaches. Call again after [`Merger::recompute`], until nothing is stale.
    pub fn settle(&self, state: &mut PlaceState, stale: &mut Stale) {
        self.prepare(state);
        let event_day = series::event_day(&self.spec, state);
        for (index, spec) in self.spec.series.iter().enumerate() {
            if series::is_stale(spec, &state.series[index], event_day) {
                stale.series.push(index);
            }
        }
        if stale.is_empty() {
            for (spec, kept) in self.spec.series.iter().zip(&mut state.series) {
                series::forget(spec, kept, event_day);
            }
        }
    }

    /// Computes what is stale from all facts of the place.
    pub fn recompute(&self, state: &mut PlaceState, facts: &[StoredFact], stale: Stale) {
        let facts = self.merged(facts);
        let with_origins = with_origins(&facts);
        for column in stale.columns {
            let merged = &self.spec.columns[column];
            state.winners[column] = winner::best(merged, &with_origins);
        }
        for index in stale.series {
            state.series[index] = series::of(&self.spec.series[index], &facts);
        }
    }

    /// The facts that make up rows: others may lie at a place, and say nothing of it.
    fn merged<'a>(&self, facts: &'a [StoredFact]) -> Vec<&'a StoredFact> {
        facts.iter().filter(|stored| self.merges(&stored.kind)).collect()
    }

    /// The state of a place with these facts, and no others; alarms are kept as they are in `state`.
    pub fn from_scratch(&self, state: &mut PlaceState, facts: &[StoredFact]) {
        state.winners.clear();
        state.series.clear();
        self.prepare(state);
        let facts = self.merged(facts);
        state.facts = facts.len() as u64;
        let with_origins = with_origins(&facts);
        for (index, merged) in self.spec.columns.iter().enumerate() {
            state.winners[index] = winner::best(merged, &with_origins);
        }
        for (index, spec) in self.spec.series.iter().enumerate() {
            state.series[index] = series::of(spec, &facts);
        }
        self.settle(state, &mut Stale::default());
    }

    /// The row; empty where the place has no facts. `updated_at_ms` is what its last column will say.
    pub fn row(&self, place: PlaceId, state: &PlaceState, updated_at_ms: i64) -> Vec<Value> {
        if state.facts == 0 {
            return Vec::new();
        }
        row::of(&self.spec, place, state, updated_at_ms)
    }

    /// Whether two rows say the same; when they were updated is not part of it.
    pub fn same(&self, a: &[Value], b: &[Value]) -> bool {
        let content = |row: &[Value]| row.len().saturating_sub(1);
        a.len() == b.len() && a[..content(a)] == b[..content(b)]
    }

    /// The days that a measure looks at, first and last.
    pub(crate) fn span(&self, measure: Measure, state: &PlaceState) -> Option<(i32, i32)> {
        series::span(measure, self.event_day(state))
    }

    /// The latest day that any windowed column counts.
    pub fn event_day(&self, state: &PlaceState) -> Option<i32> {
        series::event_day(&self.spec, state)
    }
}

fn with_origins<'a>(facts: &[&'a StoredFact]) -> Vec<(&'a StoredFact, Arc<Origin>)> {
    facts.iter().map(|stored| (*stored, Arc::new(Origin::of(stored)))).collect()
}

/// The value that a source takes of a fact; None where it does not take this fact, or finds null.
pub(crate) fn given<'a>(source: &Source, stored: &'a StoredFact) -> Option<std::borrow::Cow<'a, Value>> {
    use std::borrow::Cow::{Borrowed, Owned};
    let fact = &stored.fact;
    let is_meant = source.kind.as_deref().is_none_or(|kind| *kind == *stored.kind)
        && (source.feeds.is_empty() || source.feeds.iter().any(|feed| *feed.as_str() == *stored.feed))
        && source.only.iter().all(|(index, text)| {
            fact.payload.get(*index).is_some_and(|value| match value {
                Value::Text(found) => found == text,
                other => other.to_string() == *text,
            })
        });
    if !is_meant {
        return None;
    }
    let value = match source.field {
        FactField::Payload(index) => Borrowed(fact.payload.get(index)?),
        FactField::Level => Owned(Value::Text(fact.level.clone())),
        FactField::Provisional => Owned(Value::Bool(fact.provisional)),
        FactField::DivisionCode => Owned(Value::Text(fact.division_code.clone())),
        FactField::Itself => Owned(Value::Int(0)),
    };
    (!value.is_null() && value.as_text() != Some("")).then_some(value)
}

/// Whether the fact had ended already when it was recorded: it says nothing of what is now.
fn has_ended(stored: &StoredFact) -> bool {
    stored.fact.valid_to_ms.is_some_and(|to| to <= stored.fact.recorded_at_ms)
}
