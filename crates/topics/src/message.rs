//! Records as they were read: many in one piece of memory.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use yibiao_records::{FrameHeader, NextOffset, Provenance, Rejection, TopicPartition};

use crate::Error;

/// The names of the headers.
pub mod header {
    pub const PROVENANCE: &str = "provenance";
    pub const REJECTION: &str = "rejection";
    pub const FRAME: &str = "frame";
}

/// Records in the order in which each partition gave them.
#[derive(Debug, Default)]
pub struct Batch {
    pub messages: Vec<Message>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Where to go on after this batch: one entry for each partition that is in it.
    pub fn next_offsets(&self) -> Vec<(TopicPartition, NextOffset)> {
        let mut next: Vec<(TopicPartition, NextOffset)> = Vec::new();
        for message in &self.messages {
            let after = message.next_offset();
            // The last entry is nearly always the right one: a partition's records come in runs.
            match next.iter_mut().rev().find(|(tp, _)| {
                tp.partition == message.partition
                    && (Arc::ptr_eq(&tp.topic, &message.topic) || tp.topic == message.topic)
            }) {
                Some((_, offset)) => *offset = (*offset).max(after),
                None => next.push((message.topic_partition(), after)),
            }
        }
        next
    }
}

/// Where a part of a record lies in the arena; absent parts (a null key or value) are told from empty ones.
type Part = Option<Range<u32>>;

/// One record. Cloning is cheap; its bytes live as long as any record of the same arena.
#[derive(Clone)]
pub struct Message {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// When it was made, by its producer's clock (ms since the epoch, UTC); -1 where none was given.
    pub timestamp_ms: i64,
    arena: Bytes,
    key: Part,
    value: Part,
    headers: Range<u32>,
}

impl Message {
    pub fn key(&self) -> Option<&[u8]> {
        self.part(&self.key)
    }

    /// None is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.part(&self.value)
    }

    /// The value without a copy.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value.as_ref().map(|range| self.arena.slice(range.start as usize..range.end as usize))
    }

    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }

    /// The position after this record.
    pub fn next_offset(&self) -> NextOffset {
        NextOffset::after(self.offset)
    }

    /// The last header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().filter(|(found, _)| *found == name.as_bytes()).last().map(|(_, value)| value)
    }

    /// All headers, as (name, value).
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.arena[self.headers.start as usize..self.headers.end as usize];
        std::iter::from_fn(move || {
            let (lengths, after) = rest.split_at_checked(8)?;
            let length = |bytes: &[u8]| {
                u32::from_le_bytes(bytes.try_into().expect("invariant: a length has four bytes")) as usize
            };
            let (name, after) = after.split_at(length(&lengths[..4]));
            let (value, after) = after.split_at(length(&lengths[4..]));
            rest = after;
            Some((name, value))
        })
    }

    /// Where a raw record came from. None where the header is missing.
    pub fn provenance(&self) -> Result<Option<Provenance>, Error> {
        self.decode(header::PROVENANCE)
    }

    /// Why a record is in quarantine. None where the header is missing.
    pub fn rejection(&self) -> Result<Option<Rejection>, Error> {
        self.decode(header::REJECTION)
    }

    /// What the facts of a frame have in common. None where the header is missing.
    pub fn frame(&self) -> Result<Option<FrameHeader>, Error> {
        self.decode(header::FRAME)
    }

    fn decode<M: prost::Message + Default>(&self, name: &'static str) -> Result<Option<M>, Error> {
        self.header(name).map(M::decode).transpose().map_err(|error| Error::Header {
            header: name,
            topic: self.topic.to_string(),
            partition: self.partition,
            offset: self.offset,
            detail: error.to_string(),
        })
    }

    fn part(&self, part: &Part) -> Option<&[u8]> {
        part.as_ref().map(|range| &self.arena[range.start as usize..range.end as usize])
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

/// Collects records into one arena.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    /// Without their bytes, until these lie where they stay.
    records: Vec<Message>,
}

/// One record as the client library lends it.
pub(crate) struct Lent<'a, H> {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: H,
}

impl Arena {
    pub(crate) fn with_capacity(bytes: usize, records: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), records: Vec::with_capacity(records) }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push<'h>(&mut self, lent: Lent<'_, impl Iterator<Item = (&'h str, &'h [u8])>>) {
        let key = self.copy(lent.key);
        let value = self.copy(lent.value);
        let start = self.bytes.len() as u32;
        for (name, header) in lent.headers {
            self.bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(header);
        }
        self.records.push(Message {
            topic: lent.topic,
            partition: lent.partition,
            offset: lent.offset,
            timestamp_ms: lent.timestamp_ms,
            arena: Bytes::new(),
            key,
            value,
            headers: start..self.bytes.len() as u32,
        });
    }

    fn copy(&mut self, part: Option<&[u8]>) -> Part {
        let part = part?;
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(part);
        Some(start..self.bytes.len() as u32)
    }

    pub(crate) fn finish(mut self) -> Vec<Message> {
        let arena = Bytes::from(self.bytes);
        self.records.iter_mut().for_each(|record| record.arena = arena.clone());
        self.records
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prost::Message as _;

    use super::*;

    fn lent<'a>(
        offset: i64,
        key: Option<&'a [u8]>,
        headers: Vec<(&'a str, &'a [u8])>,
    ) -> Lent<'a, std::vec::IntoIter<(&'a str, &'a [u8])>> {
        let headers = headers.into_iter();
        Lent { topic: "t".into(), partition: 0, offset, timestamp_ms: 7, key, value: key, headers }
    }

    #[test]
    fn parts_come_back_and_null_is_not_empty() {
        let provenance = Provenance { feed: "a/b".into(), ..Default::default() };
        let encoded = provenance.encode_to_vec();
        let mut arena = Arena::default();
        arena.push(lent(0, None, vec![]));
        arena.push(lent(1, Some(b""), vec![("provenance", b"\xff"), ("provenance", &encoded), ("x", b"")]));
        arena.push(lent(2, Some("户号".as_bytes()), vec![("provenance", b"\xff")]));
        let messages = arena.finish();
        assert_eq!((messages[0].key(), messages[0].value(), messages[0].header("x")), (None, None, None));
        assert_eq!((messages[1].key(), messages[1].header("x")), (Some(&b""[..]), Some(&b""[..])));
        assert_eq!(messages[1].provenance().unwrap().unwrap(), provenance);
        assert_eq!(messages[1].headers().count(), 3);
        assert_eq!(messages[2].value_bytes().unwrap(), "户号".as_bytes());
        assert!(messages[2].provenance().unwrap_err().to_string().contains("offset 2"));
        let batch = Batch { messages };
        assert_eq!(batch.next_offsets(), [(TopicPartition::new("t", 0), NextOffset::after(2))]);
    }
}
