//! Full dumps: what stands and is missing in one is there no longer.
//!
//! ```text
//!  records of dump 7 ──► their fact ids, as lists in the state, with each batch
//!  its end ──► survey: how much of what stands is missing? ── too much, or not all known ──► quarantine, nothing else
//!                └─ step by step: a retraction for each missing record, and how far it has come, in one commit
//! ```
//!
//! An unchanged record costs 16 bytes here and no more. The end of a dump that has ended, or of an older one, which a
//! connector sends again after a crash, changes nothing. The order of retractions is that of fact ids, so that a
//! repetition after a crash gives them the same positions.
//!
//! A dump of which every key was read has said anew all that there is ([`Whole`]): what was refused before its end, and is
//! not of it, is not to come true by a replay.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use yibiao_contracts::FullDump;
use yibiao_records::{FactId, Reason};

use crate::{
    Error,
    decode::Refusal,
    diff::Known,
    state::{RecordKey, ShardPrefix, State},
};

/// Fact ids of a dump that are in memory at a time while it is compared: 16 MiB.
const WINDOW_FACTS: u64 = 1 << 20;
/// So few missing records are never too many.
const FEW: u64 = 10;

/// The newest dump of which a shard has read something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    pub number: u64,
    /// Lists of fact ids in the state, and facts in them; a record that came twice may count twice.
    pub lists: u32,
    pub seen: u64,
    /// Records whose key cannot be read: which known records they are is not known.
    pub nameless: u64,
    /// Jumps in the raw offsets: records that retention took away before they were read.
    pub gaps: u64,
    /// Its end was dealt with.
    pub ended: bool,
    /// How far the retractions have come.
    pub sweep: Option<Sweep>,
}

/// The last dump that came to its end and was whole: it has said anew all that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    pub number: u64,
    /// The raw offset of its end.
    pub end: i64,
}

impl Whole {
    /// Whether the dump has said otherwise of what first came at `origin`, within a dump of this number, and never stood: it
    /// is gone, or another version of it is in the dump.
    pub fn outdates(&self, number: u64, origin: i64) -> bool {
        number != self.number && origin < self.end
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The last fact that was retracted, as 32 hexadecimal digits.
    after: Option<String>,
    pub gone: u64,
}

impl Sweep {
    pub fn passed(&mut self, fact: FactId) {
        self.after = Some(fact.to_string());
        self.gone += 1;
    }

    fn from(&self) -> FactId {
        let after = self.after.as_deref().and_then(|text| u128::from_str_radix(text, 16).ok());
        FactId::from_bytes(after.map_or(0, |after| after.saturating_add(1)).to_be_bytes())
    }
}

/// How a dump compares with what stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    pub standing: u64,
    pub missing: u64,
}

impl Dump {
    pub fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Whether it is known of each record whether it was there.
    pub fn is_whole(&self) -> bool {
        self.gaps == 0 && self.nameless == 0
    }

    /// Why nothing may follow from this dump's end.
    pub fn refusal(&self, found: Survey, agreed: &FullDump) -> Option<Refusal> {
        let Survey { standing, missing } = found;
        if missing == 0 {
            return None;
        }
        let detail = if self.gaps > 0 {
            "部分记录在读取前已过保留期 (records were gone from the raw topic before they were read)"
                .to_owned()
        } else if self.nameless > 0 {
            format!("{} 条记录主键无法识别 (records without a readable key)", self.nameless)
        } else if missing > FEW && missing * 100 > standing * u64::from(agreed.gone_max_percent) {
            format!("{standing} 条有效记录中缺失 {missing} 条 ({missing} of {standing} are missing)")
        } else {
            return None;
        };
        Some(Refusal::new(Reason::DumpIncomplete, None, detail))
    }

    /// Counts what stands, and what of it this dump does not have.
    pub fn survey(&self, state: &State, shard: ShardPrefix) -> Result<Survey, Error> {
        let mut found = Survey::default();
        self.compare(state, shard, standing(state, shard, FIRST), |_, _, seen| {
            found.standing += 1;
            found.missing += u64::from(!seen);
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The next records that stand and are missing, at most so many.
    pub fn missing(
        &self,
        state: &State,
        shard: ShardPrefix,
        sweep: &Sweep,
        most: usize,
    ) -> Result<Vec<(RecordKey, Known)>, Error> {
        let mut missing = Vec::new();
        self.compare(state, shard, standing(state, shard, sweep.from()), |key, known, seen| {
            if !seen {
                missing.push((key, known));
            }
            if missing.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(missing)
    }

    /// The records that wait for another gazetteer and are missing.
    pub fn missing_waiting(&self, state: &State, shard: ShardPrefix) -> Result<Vec<RecordKey>, Error> {
        let mut missing = Vec::new();
        self.compare(state, shard, state.waiting(shard, FIRST), |key, _, seen| {
            if !seen {
                missing.push(key);
            }
            ControlFlow::Continue(())
        })?;
        Ok(missing)
    }

    /// Each record, and whether the dump has it. Fact ids are hashes: windows of equal width hold about equally many.
    fn compare<T>(
        &self,
        state: &State,
        shard: ShardPrefix,
        records: impl Iterator<Item = Result<(RecordKey, T), Error>>,
        mut each: impl FnMut(RecordKey, T, bool) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let windows = u128::from(self.seen / WINDOW_FACTS + 1);
        let window_of = |fact: &[u8; 16]| {
            let [high, ..] = fact.as_chunks::<8>().0 else { return 0 };
            (u128::from(u64::from_be_bytes(*high)) * windows) >> 64
        };
        let mut window = None;
        let mut seen: Vec<[u8; 16]> = Vec::new();
        for record in records {
            let (key, record) = record?;
            let fact = *key.fact().as_bytes();
            let now = window_of(&fact);
            if window != Some(now) {
                window = Some(now);
                seen.clear();
                for list in 0..self.lists {
                    let bytes = state.seen(shard, self.number, list)?;
                    seen.extend(bytes.as_chunks().0.iter().filter(|fact| window_of(fact) == now));
                }
                seen.sort_unstable();
            }
            if each(key, record, seen.binary_search(&fact).is_ok()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

const FIRST: FactId = FactId::from_bytes([0; 16]);

/// The records that stand, from this one on.
fn standing(
    state: &State,
    shard: ShardPrefix,
    from: FactId,
) -> impl Iterator<Item = Result<(RecordKey, Known), Error>> + '_ {
    let stands = |(_, known): &(RecordKey, Known)| known.standing.is_some();
    state.records(shard, from).filter(move |record| record.as_ref().map_or(true, stands))
}
