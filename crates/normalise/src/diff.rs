//! What a record changes, given what is known of it: a pure decision.
//!
//! | known of this source record | it now says                | outcome              | facts                        |
//! |-----------------------------|----------------------------|----------------------|------------------------------|
//! | nothing                     | something                  | accepted             | assert                       |
//! | nothing                     | that it holds no longer    | unchanged            |                              |
//! | it holds                    | the same, at the same place| unchanged            |                              |
//! | it holds                    | something else, same place | accepted             | assert                       |
//! | it holds                    | something at another place | accepted             | retract (old), assert (new)  |
//! | it holds                    | that it holds no longer    | accepted             | retract                      |
//! | it holds no longer          | something                  | accepted             | assert                       |
//! | it holds no longer          | that it holds no longer    | unchanged            |                              |
//! | a version of later origin   | anything (a replay)        | unchanged            |                              |
//!
//! A quarantined record never comes here: what its source said before stays.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;
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
        let mut hash = Xxh3::new();
        hash.update(&self.located.place.get().to_le_bytes());
        hash.update(self.located.level.as_bytes());
        hash.update(&[u8::from(self.located.provisional)]);
        hash.update(&self.located.division_code.to_le_bytes());
        hash.update(&self.valid_from_ms.to_le_bytes());
        hash.update(&self.valid_to_ms.unwrap_or(i64::MAX).to_le_bytes());
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
            hash.update(&[tag]);
            hash.update(&number.to_le_bytes());
            if let Value::Text(text) = value {
                hash.update(text.as_bytes());
            }
        }
        hash.digest128()
    }
}

/// What is known of one source record: its last accepted version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Of the bytes and of the contract's version.
    pub content: u128,
    /// Of what it says ([`Claim::hash`]); 0 where it holds no longer.
    pub said: u128,
    /// False: it holds no longer.
    pub holds: bool,
    pub place: PlaceId,
    pub level: &'static str,
    pub provisional: bool,
    pub division_code: u64,
    /// Short name of the gazetteer that placed it: one found only provisionally is looked up again under a newer.
    pub gazetteer: u32,
    /// The raw offset at which this version first came, before any replay.
    pub origin: i64,
    /// The kind of its facts.
    pub kind: Arc<str>,
}

/// A record's circumstances.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    pub content: u128,
    pub gazetteer: u32,
    pub origin: i64,
    pub kind: &'a Arc<str>,
}

/// What becomes of it. Both facts have the record's fact id; a retraction comes first.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The known version stays; `refreshed` where its bytes differ though they say the same.
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

/// Whether a record can be told to be unchanged by its bytes alone, before it is decoded.
pub fn is_same(known: &Known, version: Version<'_>) -> bool {
    known.content == version.content
        && !(known.holds && known.provisional && known.gazetteer != version.gazetteer)
}

/// Whether a replayed record is older than what is known: a later version was accepted since it was quarantined.
pub fn is_superseded(known: &Known, version: Version<'_>) -> bool {
    version.origin < known.origin
}

/// What a record changes.
pub fn diff(known: Option<&Known>, said: Said, version: Version<'_>) -> Decision {
    let standing = known.filter(|known| known.holds);
    match (said, standing) {
        (Said::Ended { .. }, None) => {
            // What it is to end is not there, but the bytes are worth remembering, if the record is known.
            let refreshed = known.map(|known| Known {
                content: version.content,
                origin: version.origin,
                ..known.clone()
            });
            Decision::Unchanged { refreshed }
        }
        (Said::Ended { at_ms }, Some(known)) => Decision::Changed {
            retract: Some(retraction(known, at_ms, "withdrawn")),
            assert: None,
            known: Known {
                content: version.content,
                said: 0,
                holds: false,
                origin: version.origin,
                ..known.clone()
            },
        },
        (Said::Holds(claim), standing) => {
            let said = claim.hash();
            let now = Known {
                content: version.content,
                said,
                holds: true,
                place: claim.located.place,
                level: claim.located.level,
                provisional: claim.located.provisional,
                division_code: claim.located.division_code,
                gazetteer: version.gazetteer,
                origin: version.origin,
                kind: version.kind.clone(),
            };
            let same_kind = standing.is_some_and(|known| known.kind == *version.kind);
            if same_kind && standing.is_some_and(|known| known.said == said) {
                return Decision::Unchanged { refreshed: Some(now) };
            }
            let retract = standing
                .filter(|known| known.place != now.place || !same_kind)
                .map(|known| retraction(known, claim.valid_from_ms, "moved"));
            Decision::Changed { retract, assert: Some(claim), known: now }
        }
    }
}

fn retraction(known: &Known, at_ms: i64, because: &'static str) -> Retraction {
    Retraction {
        kind: known.kind.clone(),
        place: known.place,
        level: known.level,
        provisional: known.provisional,
        division_code: known.division_code,
        at_ms,
        because,
    }
}

#[cfg(test)]
mod tests;
