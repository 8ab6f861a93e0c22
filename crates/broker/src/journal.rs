//! All that must survive a restart and is not a record: topics, offsets, groups, transactions. Each change
//! is one checksummed entry at the end of a file, applied to the [`Ledger`] in memory; when the file has grown
//! it is written anew from the ledger.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::frame;

/// The file is written anew when it is this much larger than what the ledger takes.
const SLACK_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) cluster_id: String,
    pub(crate) next_producer_id: i64,
    pub(crate) topics: BTreeMap<String, TopicEntry>,
    pub(crate) offsets: BTreeMap<String, GroupOffsets>,
    pub(crate) memberships: BTreeMap<String, Membership>,
    pub(crate) transactions: BTreeMap<String, Transaction>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TopicEntry {
    pub(crate) partitions: i32,
    pub(crate) settings: BTreeMap<String, String>,
    /// Per partition, the offset below which records were deleted.
    pub(crate) starts: BTreeMap<i32, i64>,
}

/// Committed offsets of a group by topic and partition.
pub(crate) type GroupOffsets = BTreeMap<String, BTreeMap<i32, Committed>>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Option<String>,
}

/// A group as it was when its members last agreed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) members: BTreeMap<String, MemberEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberEntry {
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) session_ms: u64,
    pub(crate) rebalance_ms: u64,
    pub(crate) protocols: Vec<(String, Vec<u8>)>,
    pub(crate) assignment: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transaction {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) timeout_ms: i64,
    pub(crate) state: TransactionState,
    pub(crate) started_at: i64,
    pub(crate) partitions: BTreeMap<String, std::collections::BTreeSet<i32>>,
    /// Offsets to be committed with it, by group; a group is entered before its offsets come.
    pub(crate) offsets: BTreeMap<String, GroupOffsets>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TransactionState {
    /// Nothing is open; how the last one ended.
    Idle {
        committed: Option<bool>,
    },
    Ongoing,
    /// Decided, but not yet marked in all partitions.
    Ending {
        commit: bool,
    },
}

/// One change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Change {
    Everything(Box<Ledger>),
    Topic(String, TopicEntry),
    TopicDeleted(String),
    Start(String, i32, i64),
    NextProducerId(i64),
    /// Offsets of a group; `None` removes one.
    Offsets(String, BTreeMap<String, BTreeMap<i32, Option<Committed>>>),
    Membership(String, Membership),
    GroupDeleted(String),
    Transaction(String, Transaction),
}

impl Ledger {
    /// Applies one change.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Everything(ledger) => *self = *ledger,
            Change::Topic(name, entry) => {
                self.topics.insert(name, entry);
            }
            Change::TopicDeleted(name) => {
                self.topics.remove(&name);
                for offsets in self.offsets.values_mut() {
                    offsets.remove(&name);
                }
                for transaction in self.transactions.values_mut() {
                    transaction.partitions.remove(&name);
                }
            }
            Change::Start(name, partition, offset) => {
                if let Some(topic) = self.topics.get_mut(&name) {
                    topic.starts.insert(partition, offset);
                }
            }
            Change::NextProducerId(next) => self.next_producer_id = next,
            Change::Offsets(group, topics) => {
                let group = self.offsets.entry(group).or_default();
                for (topic, partitions) in topics {
                    let known = group.entry(topic).or_default();
                    for (partition, committed) in partitions {
                        match committed {
                            Some(committed) => known.insert(partition, committed),
                            None => known.remove(&partition),
                        };
                    }
                }
            }
            Change::Membership(group, membership) => {
                self.memberships.insert(group, membership);
            }
            Change::GroupDeleted(group) => {
                self.offsets.remove(&group);
                self.memberships.remove(&group);
            }
            Change::Transaction(id, transaction) => {
                self.transactions.insert(id, transaction);
            }
        }
    }
}

pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    rewrite_at_bytes: u64,
    ledger: Ledger,
}

impl Journal {
    /// Reads the journal of a folder, or begins one. An unfinished last entry is cut off.
    pub(crate) fn open(folder: &Path) -> Result<Journal, Error> {
        let path = folder.join("journal");
        let contents = match fs::read(&path) {
            Ok(contents) => contents,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::storage("reading", &path)(error)),
        };
        let mut ledger = Ledger { cluster_id: new_cluster_id(), ..Ledger::default() };
        let mut rest = &contents[..];
        while let Some(body) = frame::body(rest) {
            let changes: Vec<Change> = serde_json::from_slice(body)
                .map_err(|error| Error::Journal { path: path.clone(), detail: error.to_string() })?;
            changes.into_iter().for_each(|change| ledger.apply(change));
            rest = &rest[body.len() + 8..];
        }
        if !rest.is_empty() {
            tracing::warn!(path = %path.display(), cut_bytes = rest.len(), "cut an unfinished entry off the journal");
        }
        let (file, bytes) = rewrite(&path, &ledger).map_err(Error::storage("writing", &path))?;
        Ok(Journal { path, file, bytes, rewrite_at_bytes: 2 * bytes + SLACK_BYTES, ledger })
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes the changes as one entry, all or none of which survives, and applies them.
    pub(crate) fn write(&mut self, changes: Vec<Change>) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let entry = frame::encode(&changes);
        if let Err(error) = self.file.write_all(&entry) {
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += entry.len() as u64;
        changes.into_iter().for_each(|change| self.ledger.apply(change));
        if self.bytes > self.rewrite_at_bytes {
            (self.file, self.bytes) = rewrite(&self.path, &self.ledger)?;
            self.rewrite_at_bytes = 2 * self.bytes + SLACK_BYTES;
        }
        Ok(())
    }

    /// Has the file written to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn rewrite(path: &Path, ledger: &Ledger) -> io::Result<(File, u64)> {
    let staged = path.with_extension("new");
    let entry = frame::encode(&vec![Change::Everything(Box::new(ledger.clone()))]);
    let mut file = File::create(&staged)?;
    file.write_all(&entry)?;
    file.sync_data()?;
    fs::rename(&staged, path)?;
    Ok((OpenOptions::new().append(true).open(path)?, entry.len() as u64))
}

fn new_cluster_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("yibiao-{:016x}", random())
}
