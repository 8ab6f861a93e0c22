//! What a record changes, given what is known of it: a pure decision.
//!
//! | known of this source record | it now says                | outcome              | facts                        |
//! |-----------------------------|----------------------------|----------------------|------------------------------|
//! | nothing                     | something                  | accepted             | assert                       |
//! | nothing                     | that it holds no longer    | unchanged, remembered|                              |
//! | it holds                    | the same, at the same place| unchanged            |                              |
//! | it holds                    | something else, same place | accepted             | assert                       |
//! | it holds                    | something at another place | accepted             | retract (old), assert (new)  |
//! | it holds                    | that it holds no longer    | accepted             | retract                      |
//! | it holds no longer          | something                  | accepted             | assert                       |
//! | it holds no longer          | that it holds no longer    | unchanged            |                              |
//! | a version of later origin   | anything (a replay)        | unchanged            |                              |
//!
//! A quarantined record never comes here: what its source said before stays. But it may be replayed later, so the
//! known record is marked [`challenged`](Known::challenged): if its source says the known version again after the
//! quarantined one, that counts as said then ([`said_again`]), and the replay changes nothing.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;
use yibiao_records::{PlaceId, Value};

/// The depths of places, in the words of the facts.
pub const LEVELS: [&str; 10] = [
    "province",
    "city",
    "county",
    "township",
    "community",
    "compound",
    "building",
    "unit",
    "dwelling",
    "name",
];

/// The level of this name, if there is one.
pub fn level_named(name: &str) -> Option<&'static str> {
    LEVELS.into_iter().find(|level| *level == name)
}

/// Where a record's fact lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Located {
    pub place: PlaceId,
    /// One of [`LEVELS`].
    pub level: &'static str,
    /// The standard addresses do not have this place.
    pub provisional: bool,
    /// 12 digits as a number.
    pub division_code: u64,
    pub match_reason: &'static str,
    /// 0 to 1.
    pub confidence: f32,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Holds(Claim),
    /// It holds no longer, from this moment (event time, ms) on.
    Ended {
        at_ms: i64,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub located: Located,
    pub valid_from_ms: i64,
    pub valid_to_ms: Option<i64>,
    pub payload: Vec<Value>,
}

impl Claim {
    /// Equal for claims that say the same of the same place. How the address was matched does not count.
    pub fn hash(&self) -> u128 {
        // In one piece: fed piece by piece, it would begin by filling a state of half a kilobyte.
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&self.located.place.get().to_le_bytes());
        bytes.extend_from_slice(self.located.level.as_bytes());
        bytes.push(u8::from(self.located.provisional));
        bytes.extend_from_slice(&self.located.division_code.to_le_bytes());
        bytes.extend_from_slice(&self.valid_from_ms.to_le_bytes());
        bytes.extend_from_slice(&self.valid_to_ms.unwrap_or(i64::MAX).to_le_bytes());
        for value in &self.payload {
            let (tag, number) = match value {
                Value::Null => (0, 0),
                Value::Bool(v) => (1, i64::from(*v)),
                Value::Int(v) => (2, *v),
                Value::Decimal(v) => (3, *v),
                Value::Date(v) => (4, i64::from(*v)),
                Value::Timestamp(v) => (5, *v),
                Value::Text(v) => (6, v.len() as i64),
            };
            bytes.push(tag);
            bytes.extend_from_slice(&number.to_le_bytes());
            if let Value::Text(text) = value {
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        xxh3_128(&bytes)
    }
}

/// What is known of one source record: its last version that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Of the bytes and of the contract that reads them.
    pub content: u128,
    /// The raw offset at which this version came, before any replay. An ordinary repetition leaves it as it is,
    /// so that a full dump writes nothing.
    pub origin: i64,
    /// After `origin` another version was refused, or may have been: a repetition renews `origin`.
    pub challenged: bool,
    /// None: it holds no longer, or never did.
    pub standing: Option<Standing>,
}

/// What a source record says as long as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// [`Claim::hash`].
    pub said: u128,
    pub place: PlaceId,
    pub level: &'static str,
    pub provisional: bool,
    pub division_code: u64,
    /// Short name of the gazetteer that placed it: one found only provisionally is looked up again under a newer.
    pub gazetteer: u32,
    /// The hash of what was asked of the gazetteer; 0: nothing was, or an older program asked.
    pub asked: u128,
    /// Event time, ms.
    pub valid_from_ms: i64,
    /// The kind of its facts.
    pub kind: Arc<str>,
}

/// A record's circumstances.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    pub content: u128,
    pub gazetteer: u32,
    pub origin: i64,
    /// It comes from quarantine: later versions may lie there still.
    pub replayed: bool,
    /// What was asked of the gazetteer; 0: nothing.
    pub asked: u128,
    pub kind: &'a Arc<str>,
}

impl Version<'_> {
    /// What is known once this version is taken.
    fn known(self, standing: Option<Standing>) -> Known {
        Known { content: self.content, origin: self.origin, challenged: self.replayed, standing }
    }
}

/// What becomes of it. Both facts have the record's fact id; a retraction comes first.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The known version stays; `refreshed` where its bytes differ though they say the same, and where there was
    /// nothing to end.
    Unchanged {
        refreshed: Option<Known>,
    },
    Changed {
        retract: Option<Retraction>,
        assert: Option<Claim>,
        known: Known,
    },
}

/// Where a fact holds no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retraction {
    pub kind: Arc<str>,
    pub place: PlaceId,
    pub level: &'static str,
    pub provisional: bool,
    pub division_code: u64,
    /// Event time, ms.
    pub at_ms: i64,
    /// `moved` or `withdrawn`.
    pub because: &'static str,
}

/// Whether a record can be told to be unchanged by its bytes alone, before it is decoded. Not where another gazetteer
/// placed it and either it was found only provisionally, or this repetition renews its origin: then what is on its
/// way to be asked again comes too late ([`is_superseded`]).
pub fn is_same(known: &Known, version: Version<'_>) -> bool {
    let is_to_be_placed = |standing: &Standing| {
        standing.gazetteer != version.gazetteer && (standing.provisional || renews(known, version))
    };
    known.content == version.content && !known.standing.as_ref().is_some_and(is_to_be_placed)
}

/// Whether the known content changes nothing when it comes again, under any gazetteer: [`is_same`], and nothing is to be
/// remembered of it.
pub fn is_settled(known: &Known) -> bool {
    !known.challenged && !known.standing.as_ref().is_some_and(|standing| standing.provisional)
}

/// What to remember where a record is said to be the same by its bytes: nothing, unless it was challenged.
pub fn said_again(known: &Known, version: Version<'_>) -> Option<Known> {
    renews(known, version).then(|| version.known(known.standing.clone()))
}

fn renews(known: &Known, version: Version<'_>) -> bool {
    known.challenged && version.origin > known.origin
}

/// What to remember where a version of this record was refused: nothing, if that is known already.
pub fn refused(known: &Known, version: Version<'_>) -> Option<Known> {
    let news = !known.challenged && version.origin > known.origin;
    news.then(|| Known { challenged: true, ..known.clone() })
}

/// Whether a replayed record is older than what is known: a later version was accepted since it was quarantined.
pub fn is_superseded(known: &Known, version: Version<'_>) -> bool {
    version.origin < known.origin
}

/// What a record changes.
pub fn diff(known: Option<&Known>, said: Said, version: Version<'_>) -> Decision {
    let standing = known.and_then(|known| known.standing.as_ref());
    match (said, standing) {
        // What it is to end is not there. That is remembered also of an unknown record: a version of it that was
        // refused before must not come true by a replay.
        (Said::Ended { .. }, None) => Decision::Unchanged { refreshed: Some(version.known(None)) },
        (Said::Ended { at_ms }, Some(standing)) => Decision::Changed {
            retract: Some(retraction(standing, at_ms, "withdrawn")),
            assert: None,
            known: version.known(None),
        },
        (Said::Holds(claim), standing) => {
            let now = Standing {
                said: claim.hash(),
                place: claim.located.place,
                level: claim.located.level,
                provisional: claim.located.provisional,
                division_code: claim.located.division_code,
                gazetteer: version.gazetteer,
                asked: version.asked,
                valid_from_ms: claim.valid_from_ms,
                kind: version.kind.clone(),
            };
            if standing.is_some_and(|standing| standing.kind == now.kind && standing.said == now.said) {
                return Decision::Unchanged { refreshed: Some(version.known(Some(now))) };
            }
            let retract = standing
                .filter(|standing| standing.place != now.place || standing.kind != now.kind)
                .map(|standing| retraction(standing, claim.valid_from_ms, "moved"));
            Decision::Changed { retract, assert: Some(claim), known: version.known(Some(now)) }
        }
    }
}

fn retraction(standing: &Standing, at_ms: i64, because: &'static str) -> Retraction {
    Retraction {
        kind: standing.kind.clone(),
        place: standing.place,
        level: standing.level,
        provisional: standing.provisional,
        division_code: standing.division_code,
        at_ms,
        because,
    }
}

#[cfg(test)]
mod tests;
