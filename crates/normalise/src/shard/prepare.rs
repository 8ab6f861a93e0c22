//! What is told of a batch's records before any of them is judged: which they are, and what they say, as hashes.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};
use yibiao_contracts::{Contract, Form};
use yibiao_records::FactId;

use super::Shard;
use crate::{
    decode::{ProvenanceView, RawRecord},
    same::Same,
    state::RecordKey,
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    offset: i64,
    /// None: its source tells no key.
    pub key: Option<RecordKey>,
    pub content: u128,
    /// 0: of none.
    pub dump: u64,
    /// It is remembered to say what it said last. That holds as long as nothing is known of it in this batch.
    pub same: bool,
}

impl Shard {
    /// Prepares the batch, and lists the keys of what is not remembered: of these the state is read.
    pub(super) fn prepare<'a>(&mut self, same: &Same, records: impl Iterator<Item = RawRecord<'a>>) {
        self.prepared.clear();
        self.prepared_next = 0;
        self.keys.clear();
        for record in records {
            let mut prepared = self.prepared(&record);
            if let Some(key) = prepared.key {
                let is_ordinary = record.origin.is_none() && !record.revised;
                prepared.same = is_ordinary && same.is(key, prepared.content);
                if !prepared.same {
                    self.keys.push(key);
                }
            }
            self.prepared.push(prepared);
        }
    }

    /// Of the next record of the batch.
    pub(super) fn next_prepared(&mut self, record: &RawRecord<'_>) -> Prepared {
        match self.prepared.get(self.prepared_next) {
            Some(prepared) if prepared.offset == record.offset => {
                self.prepared_next += 1;
                *prepared
            }
            _ => self.prepared(record),
        }
    }

    fn prepared(&mut self, record: &RawRecord<'_>) -> Prepared {
        let provenance = record.provenance.map(ProvenanceView::scan).unwrap_or_default();
        let told = record.key.and_then(|key| std::str::from_utf8(key).ok());
        Prepared {
            offset: record.offset,
            key: told.map(|told| RecordKey::new(self.prefix, FactId::derive(&self.id.feed, told, 0))),
            content: self.content_hash(record, &provenance),
            dump: provenance.dump,
            same: false,
        }
    }

    /// Of the bytes and of what gives them their meaning: the header row and the contract.
    fn content_hash(&mut self, record: &RawRecord<'_>, provenance: &ProvenanceView<'_>) -> u128 {
        let columns = provenance.columns.unwrap_or_default();
        let value = record.value.unwrap_or_default();
        let bytes = &mut self.hashed;
        bytes.clear();
        bytes.extend_from_slice(&self.contract_hash.to_le_bytes());
        bytes.push(u8::from(record.value.is_some()));
        bytes.extend_from_slice(&(columns.len() as u64).to_le_bytes());
        bytes.extend_from_slice(columns);
        bytes.extend_from_slice(value);
        let hash = xxh3_128(bytes);
        if bytes.capacity() > HASHED_KEPT {
            *bytes = Vec::new();
        }
        hash
    }

    /// [`Prepared::content`] of a record that is not of a batch.
    pub(super) fn content_of(&mut self, record: &RawRecord<'_>) -> u128 {
        self.content_hash(record, &record.provenance.map(ProvenanceView::scan).unwrap_or_default())
    }
}

/// What is kept to write a record's bytes together; longer ones are rare.
const HASHED_KEPT: usize = 64 << 10;

/// Of everything in a contract by which its records are read: a contract that was edited without a new version reads
/// them anew. Where its files lie does not count. It may differ between releases of this program, which costs one
/// decoding of what comes again.
pub fn contract_hash(contract: &Contract) -> u128 {
    let mut ingest = contract.ingest.clone();
    ingest.full_dump = None;
    if let Form::Protobuf(schema) = &mut ingest.form {
        schema.file.clear();
    }
    let Contract { version, place, fact, privacy, fields, .. } = contract;
    let mut hash = Xxh3::new();
    hash.update(format!("{:?}", (version, ingest, place, fact, privacy, fields)).as_bytes());
    if let Some(message) = &contract.message {
        hash.update(message.full_name().as_bytes());
        hash.update(&message.parent_pool().encode_to_vec());
    }
    hash.digest128()
}
