//! What one partition knows of its producers: the last batches of each, by which a repeated one is
//! recognised and a gap refused, and which transactions are open or were aborted. It is made from the
//! batches alone, so that a restart can make it again.

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

use crate::batch::{Header, sequence_after};

/// Batches a producer that are recognised when they come again; clients keep at most five under way.
const BATCHES_KEPT: usize = 5;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Producers {
    known: BTreeMap<i64, Producer>,
    aborted: Vec<Aborted>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Sequenced>,
    /// Offset of the first record of the open transaction.
    open_from: Option<i64>,
    /// Offset after the last batch, by which the longest silent producer is forgotten first.
    last_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sequenced {
    first: i32,
    last: i32,
    base_offset: i64,
}

/// A transaction that was aborted: its records from `first_offset` to its marker at `last_offset` are void.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// It is here already, at this offset.
    Repeated(i64),
}

impl Producers {
    /// Judges a batch of an idempotent producer by its epoch and sequence.
    pub(crate) fn judge(&self, batch: &Header) -> Result<Verdict, ResponseError> {
        let Some(producer) = self.known.get(&batch.producer_id).filter(|_| batch.producer_id >= 0) else {
            // Unknown, perhaps because retention removed all that it wrote: any sequence is a start.
            return Ok(Verdict::Append);
        };
        if batch.producer_epoch < producer.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        let last = producer.batches.back().filter(|_| batch.producer_epoch == producer.epoch);
        let Some(last) = last else {
            let first = batch.base_sequence == 0;
            return if first { Ok(Verdict::Append) } else { Err(ResponseError::OutOfOrderSequenceNumber) };
        };
        let again = |b: &&Sequenced| b.first == batch.base_sequence && b.last == batch.last_sequence();
        if let Some(again) = producer.batches.iter().find(again) {
            return Ok(Verdict::Repeated(again.base_offset));
        }
        if batch.base_sequence == sequence_after(last.last, 1) {
            return Ok(Verdict::Append);
        }
        let older = producer.batches.front().is_some_and(|b| batch.last_sequence() < b.first);
        Err(if older {
            ResponseError::DuplicateSequenceNumber
        } else {
            ResponseError::OutOfOrderSequenceNumber
        })
    }

    /// Takes note of a batch that was appended; at most `producers_max` idle producers are remembered.
    pub(crate) fn appended(&mut self, batch: &Header, producers_max: usize) {
        if batch.producer_id < 0 {
            return;
        }
        if !self.known.contains_key(&batch.producer_id) && self.known.len() >= producers_max {
            let idle = self.known.iter().filter(|(_, p)| p.open_from.is_none());
            if let Some(oldest) = idle.min_by_key(|(_, p)| p.last_offset).map(|(id, _)| *id) {
                self.known.remove(&oldest);
            }
        }
        let producer = self.known.entry(batch.producer_id).or_default();
        if batch.producer_epoch != producer.epoch {
            producer.batches.clear();
            producer.epoch = batch.producer_epoch;
        }
        if producer.batches.len() == BATCHES_KEPT {
            producer.batches.pop_front();
        }
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        producer.batches.push_back(Sequenced { first, last, base_offset: batch.base_offset });
        producer.last_offset = batch.next_offset();
        if batch.is_transactional() && producer.open_from.is_none() {
            producer.open_from = Some(batch.base_offset);
        }
    }

    /// Takes note of a marker: the producer's transaction ends here.
    pub(crate) fn ended(&mut self, marker: &Header, commit: bool) {
        let producer = self.known.entry(marker.producer_id).or_default();
        if marker.producer_epoch > producer.epoch {
            producer.epoch = marker.producer_epoch;
            producer.batches.clear();
        }
        producer.last_offset = marker.next_offset();
        if let Some(first_offset) = producer.open_from.take().filter(|_| !commit) {
            let (producer_id, last_offset) = (marker.producer_id, marker.base_offset);
            self.aborted.push(Aborted { producer_id, first_offset, last_offset });
        }
    }

    /// Where the earliest open transaction begins: readers of committed records stop there.
    pub(crate) fn first_open(&self) -> Option<i64> {
        self.known.values().filter_map(|p| p.open_from).min()
    }

    /// Producers with an open transaction, and their epochs.
    pub(crate) fn open(&self) -> Vec<(i64, i16)> {
        self.known.iter().filter(|(_, p)| p.open_from.is_some()).map(|(id, p)| (*id, p.epoch)).collect()
    }

    /// Aborted transactions with records in `from..to`.
    pub(crate) fn aborted(&self, from: i64, to: i64) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter().filter(move |a| a.last_offset >= from && a.first_offset < to)
    }

    /// Whether a record was written in a transaction that was aborted.
    pub(crate) fn is_void(&self, producer_id: i64, offset: i64) -> bool {
        self.aborted(offset, offset + 1).any(|a| a.producer_id == producer_id)
    }

    /// Forgets aborted transactions that lie before the log's start.
    pub(crate) fn forget_before(&mut self, start: i64) {
        self.aborted.retain(|a| a.last_offset >= start);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn batch(epoch: i16, sequence: i32, count: i32, offset: i64) -> Header {
        Header {
            base_offset: offset,
            bytes: 100,
            crc: 0,
            attributes: 0,
            last_delta: count - 1,
            first_timestamp: 0,
            max_timestamp: 0,
            producer_id: 9,
            producer_epoch: epoch,
            base_sequence: sequence,
            count,
        }
    }

    #[test]
    fn a_repeated_batch_is_recognised_and_a_gap_refused() {
        let mut producers = Producers::default();
        for i in 0..8 {
            let b = batch(0, i * 10, 10, i64::from(i) * 10);
            assert_eq!(producers.judge(&b), Ok(Verdict::Append));
            producers.appended(&b, 10);
        }
        assert_eq!(producers.judge(&batch(0, 70, 10, 0)), Ok(Verdict::Repeated(70)));
        assert_eq!(producers.judge(&batch(0, 30, 10, 0)), Ok(Verdict::Repeated(30)));
        assert_eq!(producers.judge(&batch(0, 0, 10, 0)), Err(ResponseError::DuplicateSequenceNumber));
        assert_eq!(producers.judge(&batch(0, 90, 10, 0)), Err(ResponseError::OutOfOrderSequenceNumber));
    }

    #[test]
    fn a_new_epoch_starts_at_sequence_zero_and_fences_the_old() {
        let mut producers = Producers::default();
        producers.appended(&batch(3, 0, 1, 0), 10);
        assert_eq!(producers.judge(&batch(4, 5, 1, 0)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(producers.judge(&batch(4, 0, 1, 0)), Ok(Verdict::Append));
        producers.appended(&batch(4, 0, 1, 1), 10);
        assert_eq!(producers.judge(&batch(3, 1, 1, 0)), Err(ResponseError::InvalidProducerEpoch));
    }

    #[test]
    fn the_longest_silent_producer_is_forgotten_first() {
        let mut producers = Producers::default();
        for id in 0..5 {
            producers.appended(&Header { producer_id: id, ..batch(0, 0, 1, id) }, 3);
        }
        assert_eq!(producers.known.keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
    }
}
