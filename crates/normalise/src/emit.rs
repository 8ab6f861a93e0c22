//! What leaves the stage: frames of facts to `std.<kind>`, refused records to quarantine.

use std::{collections::BTreeMap, sync::Arc};

use yibiao_records::{
    Fact, FactId, FactKind, FactKinds, FrameBuilder, FrameHeader, RawPosition, Rejection, Statement, Value,
};

use crate::{
    Error,
    decode::{RawRecord, Refusal},
    diff::{Claim, Retraction},
};

/// Takes what a shard sends; the broker in earnest, a list in tests.
pub trait Outlet {
    /// A frame to one partition of `std.<kind>`.
    fn frame(&mut self, topic: &str, partition: u32, header: &[u8], value: &[u8]) -> Result<(), Error>;
    /// A refused record to the feed's quarantine, as it came.
    fn quarantine(&mut self, topic: &str, record: &RawRecord<'_>, rejection: &Rejection)
    -> Result<(), Error>;
}

/// Collects one shard's facts of one batch into frames, by kind and std partition.
#[derive(Debug)]
pub struct Frames {
    header: FrameHeader,
    std_partitions: u32,
    facts_max: usize,
    /// By kind and std partition. A shard's facts are all of one kind, save where a contract changed it.
    open: BTreeMap<(Arc<str>, u32), Open>,
}

/// A frame that is being filled.
#[derive(Debug)]
struct Open {
    builder: FrameBuilder,
    /// Of the texts in it, about.
    bytes: usize,
}

/// A frame is sent before its texts are longer than this, so that no message comes near the broker's limit.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// A record's identity as its facts carry it.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub fact: FactId,
    pub source_key: &'a str,
    pub offset: i64,
    pub recorded_at_ms: i64,
}

impl Frames {
    pub fn new(std_partitions: u32, facts_max: usize) -> Self {
        Self {
            header: FrameHeader::default(),
            std_partitions,
            facts_max: facts_max.max(1),
            open: BTreeMap::new(),
        }
    }

    /// What the next frames have in common; called between batches, when no frame is open.
    pub fn begin(&mut self, header: FrameHeader) {
        if self.header != header {
            self.open.clear();
            self.header = header;
        }
    }

    pub fn retract(
        &mut self,
        retraction: &Retraction,
        origin: Origin<'_>,
        index: i32,
        kinds: &FactKinds,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let fact = Fact {
            statement: Statement::Retract,
            id: origin.fact,
            place: retraction.place,
            level: retraction.level.to_owned(),
            provisional: retraction.provisional,
            division_code: format!("{:012}", retraction.division_code),
            valid_from_ms: retraction.at_ms,
            valid_to_ms: None,
            recorded_at_ms: origin.recorded_at_ms,
            source_key: origin.source_key.to_owned(),
            raw: RawPosition { offset: origin.offset, index },
            match_reason: retraction.because.to_owned(),
            confidence: 1.0,
            payload: Vec::new(),
        };
        self.push(&retraction.kind, fact, kinds, outlet)
    }

    pub fn assert(
        &mut self,
        kind: &Arc<str>,
        claim: Claim,
        origin: Origin<'_>,
        index: i32,
        kinds: &FactKinds,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let located = claim.located;
        let fact = Fact {
            statement: Statement::Assert,
            id: origin.fact,
            place: located.place,
            level: located.level.to_owned(),
            provisional: located.provisional,
            division_code: format!("{:012}", located.division_code),
            valid_from_ms: claim.valid_from_ms,
            valid_to_ms: claim.valid_to_ms,
            recorded_at_ms: origin.recorded_at_ms,
            source_key: origin.source_key.to_owned(),
            raw: RawPosition { offset: origin.offset, index },
            match_reason: located.match_reason.to_owned(),
            confidence: located.confidence,
            payload: claim.payload,
        };
        self.push(kind, fact, kinds, outlet)
    }

    /// Sends the frames that are not full. Afterwards nothing is open.
    pub fn finish(&mut self, outlet: &mut impl Outlet) -> Result<(), Error> {
        for ((kind, partition), open) in &mut self.open {
            send(open, kind, *partition, outlet)?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        kind: &Arc<str>,
        fact: Fact,
        kinds: &FactKinds,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let partition = fact.place.shard(self.std_partitions);
        let open = match self.open.entry((kind.clone(), partition)) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let columns: Arc<FactKind> = kinds.get(kind).cloned().ok_or_else(|| Error::UnknownKind {
                    feed: self.header.feed.clone(),
                    kind: kind.to_string(),
                })?;
                entry.insert(Open { builder: FrameBuilder::new(columns, self.header.clone()), bytes: 0 })
            }
        };
        open.bytes += text_bytes(&fact);
        open.builder.push(fact);
        if open.builder.len() >= self.facts_max || open.bytes >= FRAME_BYTES_MAX {
            send(open, kind, partition, outlet)?;
        }
        Ok(())
    }
}

fn text_bytes(fact: &Fact) -> usize {
    fact.source_key.len() + fact.payload.iter().filter_map(Value::as_text).map(str::len).sum::<usize>()
}

fn send(open: &mut Open, kind: &str, partition: u32, outlet: &mut impl Outlet) -> Result<(), Error> {
    open.bytes = 0;
    let Some(frame) = open.builder.finish()? else { return Ok(()) };
    let (header, value) = frame.encode()?;
    outlet.frame(&format!("std.{kind}"), partition, &header, &value)
}

/// What travels with a refused record.
pub fn rejection(header: &FrameHeader, record: &RawRecord<'_>, refusal: &Refusal) -> Rejection {
    Rejection {
        feed: header.feed.clone(),
        reason: refusal.reason.code().to_owned(),
        field: refusal.field.clone().unwrap_or_default(),
        detail: clipped(&refusal.detail),
        topic: header.raw_topic.clone(),
        partition: header.raw_partition,
        offset: record.offset,
        contract_version: header.contract_version.clone(),
        gazetteer_version: header.gazetteer_version.clone(),
        rejected_at_ms: record.timestamp_ms,
    }
}

/// A header has a limit, whatever a record holds.
const DETAIL_CHARACTERS: usize = 400;

fn clipped(detail: &str) -> String {
    match detail.char_indices().nth(DETAIL_CHARACTERS) {
        Some((at, _)) => format!("{}…", &detail[..at]),
        None => detail.to_owned(),
    }
}
