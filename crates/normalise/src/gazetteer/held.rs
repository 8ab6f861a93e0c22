//! Facts of places and names as the builder keeps them.

use std::collections::BTreeMap;

use yibiao_records::{FactKind, Frame, NextOffset, PlaceId, Statement, Value, cells};

use crate::Error;

/// The last fact of each id within one batch.
#[derive(Default)]
pub(super) struct Folded {
    pub facts: BTreeMap<[u8; 16], Held>,
}

/// A fact as it is kept: raw offset (8), index (4), valid from (8), place (8), payload; no payload after a retraction.
pub(super) struct Held {
    pub raw: (i64, i32),
    valid_from_ms: i64,
    place: i64,
    pub payload: Option<Vec<Value>>,
}

impl Folded {
    /// Takes the facts of raw records at `from` or later.
    pub fn frame(&mut self, frame: Frame, kind: &FactKind, from: NextOffset) -> Result<u64, Error> {
        let facts = frame.facts(kind)?;
        let count = facts.len() as u64;
        for fact in facts {
            let raw = (fact.raw.offset, fact.raw.index);
            if raw.0 < from.get() {
                continue;
            }
            // A fact id always comes from one raw partition, so that its positions can be compared.
            if self.facts.get(fact.id.as_bytes()).is_some_and(|held| held.raw >= raw) {
                continue;
            }
            let payload = (fact.statement == Statement::Assert).then_some(fact.payload);
            let held = Held { raw, valid_from_ms: fact.valid_from_ms, place: fact.place.get(), payload };
            self.facts.insert(*fact.id.as_bytes(), held);
        }
        Ok(count)
    }
}

impl Held {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend(self.raw.0.to_le_bytes());
        out.extend(self.raw.1.to_le_bytes());
        out.extend(self.valid_from_ms.to_le_bytes());
        out.extend(self.place.to_le_bytes());
        if let Some(payload) = &self.payload {
            out.push(1);
            out.extend(cells::encode(payload));
        }
        out
    }
}

pub(super) fn raw_position(bytes: &[u8]) -> Option<(i64, i32)> {
    let (offset, rest) = bytes.split_first_chunk::<8>()?;
    let (index, _) = rest.split_first_chunk::<4>()?;
    Some((i64::from_le_bytes(*offset), i32::from_le_bytes(*index)))
}

/// A fact that holds.
pub(super) struct Standing {
    pub place: PlaceId,
    pub valid_from_ms: i64,
    pub payload: Vec<Value>,
}

impl Standing {
    /// None after a retraction.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (valid_from, rest) = bytes.get(12..)?.split_first_chunk::<8>()?;
        let (place, rest) = rest.split_first_chunk::<8>()?;
        let payload = cells::decode(rest.strip_prefix(&[1])?).ok()?;
        Some(Self {
            place: PlaceId::new(i64::from_le_bytes(*place))?,
            valid_from_ms: i64::from_le_bytes(*valid_from),
            payload,
        })
    }
}
