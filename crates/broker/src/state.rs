//! What all connections share, and the topics in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kafka_protocol::ResponseError;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Refusal};
use crate::groups::Group;
use crate::journal::{Change, Journal, TopicEntry};
use crate::log::{Disk, Log};
use crate::settings::Settings;
use crate::{Limits, transactions};

/// This broker's id, and that of the leader of every partition.
pub(crate) const NODE_ID: i32 = 1;
/// Memory for requests and for responses is given out in units of so many bytes.
pub(crate) const MEMORY_UNIT_BYTES: usize = 1024;

/// Locks are taken in this order: `transacting`, `groups`, `topics`, a log, `journal`.
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    pub(crate) limits: Limits,
    folder: PathBuf,
    /// Held while a transaction's state and the partitions it wrote to must not part.
    pub(crate) transacting: Mutex<()>,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    pub(crate) groups: Mutex<BTreeMap<String, Group>>,
    pub(crate) journal: Mutex<Journal>,
    disk: Arc<Disk>,
    pub(crate) request_memory: Semaphore,
    pub(crate) response_memory: Semaphore,
    /// A deadline of a group or transaction is now sooner than the one waited for.
    pub(crate) sooner: Notify,
    pub(crate) stop: CancellationToken,
}

/// The logs of a topic's partitions.
pub(crate) struct Topic {
    pub(crate) partitions: Vec<Arc<Mutex<Log>>>,
}

impl Shared {
    /// Recovers a folder.
    pub(crate) fn open(folder: PathBuf, address: SocketAddr, limits: Limits) -> Result<Shared, Error> {
        let journal = Journal::open(&folder)?;
        let disk = Arc::new(Disk {
            bytes: AtomicU64::new(0),
            bytes_max: limits.disk_bytes,
            producers_max: limits.producers_per_partition_max,
        });
        let units = usize::try_from(limits.memory_bytes / 2).unwrap_or(usize::MAX) / MEMORY_UNIT_BYTES;
        let units = units.clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            address,
            limits,
            folder,
            transacting: Mutex::new(()),
            topics: RwLock::default(),
            groups: Mutex::new(Group::restore(journal.ledger())),
            journal: Mutex::new(journal),
            disk,
            request_memory: Semaphore::new(units),
            response_memory: Semaphore::new(units),
            sooner: Notify::new(),
            stop: CancellationToken::new(),
        };
        let entries = shared.journal.lock().ledger().topics.clone();
        for (name, entry) in &entries {
            let topic = shared.open_topic(name, entry, &[])?;
            shared.topics.write().insert(name.clone(), Arc::new(topic));
        }
        shared.remove_strays(&entries);
        transactions::recover(&shared);
        Ok(shared)
    }

    fn topics_folder(&self) -> PathBuf {
        self.folder.join("topics")
    }

    /// Opens the partitions of a topic after the `open` ones.
    fn open_topic(&self, name: &str, entry: &TopicEntry, open: &[Arc<Mutex<Log>>]) -> Result<Topic, Error> {
        let settings = Settings::parse(&entry.settings, &self.limits).unwrap_or_else(|refusal| {
            let reason = refusal.message.unwrap_or_default();
            tracing::warn!(topic = name, reason, "a stored setting is no longer valid; using the defaults");
            Settings::parse(&BTreeMap::new(), &self.limits)
                .expect("invariant: the default settings are valid")
        });
        let settings = Arc::new(settings);
        let mut partitions = open.to_vec();
        for partition in open.len() as i32..entry.partitions {
            let folder = self.topics_folder().join(name).join(partition.to_string());
            let start = entry.starts.get(&partition).copied().unwrap_or(0);
            let log = Log::open(folder.clone(), Arc::clone(&settings), start, Arc::clone(&self.disk))
                .map_err(Error::storage("opening the log in", folder))?;
            partitions.push(Arc::new(Mutex::new(log)));
        }
        Ok(Topic { partitions })
    }

    /// Removes folders of topics that were deleted when the broker was killed.
    fn remove_strays(&self, known: &BTreeMap<String, TopicEntry>) {
        for entry in std::fs::read_dir(self.topics_folder()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !known.contains_key(&name) {
                tracing::info!(topic = name, "removing what is left of a deleted topic");
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().get(name).cloned()
    }

    pub(crate) fn topics(&self) -> Vec<(String, Arc<Topic>)> {
        self.topics.read().iter().map(|(name, topic)| (name.clone(), Arc::clone(topic))).collect()
    }

    pub(crate) fn log(&self, topic: &str, partition: i32) -> Result<Arc<Mutex<Log>>, ResponseError> {
        let topic = self.topic(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let log = usize::try_from(partition).ok().and_then(|p| topic.partitions.get(p).cloned());
        log.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    /// Makes a topic; with `dry`, only checks that it could be made.
    pub(crate) fn create_topic(&self, name: &str, entry: TopicEntry, dry: bool) -> Result<(), Refusal> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal) {
            let text = "a topic's name has 1 to 249 letters, digits, dots, underscores and hyphens";
            return Err(Refusal::new(ResponseError::InvalidTopicException, text));
        }
        if entry.partitions < 1 {
            return Err(Refusal::new(ResponseError::InvalidPartitions, "a topic has at least one partition"));
        }
        Settings::parse(&entry.settings, &self.limits)?;
        let mut topics = self.topics.write();
        if topics.contains_key(name) {
            return Err(Refusal::new(
                ResponseError::TopicAlreadyExists,
                format!("topic {name} already exists"),
            ));
        }
        self.check_partitions(&topics, entry.partitions)?;
        if !dry {
            let topic = self.open_topic(name, &entry, &[]).map_err(storage)?;
            self.journal.lock().write(vec![Change::Topic(name.to_owned(), entry)])?;
            topics.insert(name.to_owned(), Arc::new(topic));
        }
        Ok(())
    }

    /// Gives a topic more partitions.
    pub(crate) fn grow_topic(&self, name: &str, partitions: i32, dry: bool) -> Result<(), Refusal> {
        let mut topics = self.topics.write();
        let topic = topics.get(name).cloned().ok_or(ResponseError::UnknownTopicOrPartition)?;
        let has = topic.partitions.len() as i32;
        if partitions <= has {
            let text = format!("topic {name} has {has} partitions already; it can only be given more");
            return Err(Refusal::new(ResponseError::InvalidPartitions, text));
        }
        self.check_partitions(&topics, partitions - has)?;
        if !dry {
            let mut journal = self.journal.lock();
            let mut entry = journal.ledger().topics.get(name).cloned().unwrap_or_default();
            entry.partitions = partitions;
            let grown = self.open_topic(name, &entry, &topic.partitions).map_err(storage)?;
            journal.write(vec![Change::Topic(name.to_owned(), entry)])?;
            topics.insert(name.to_owned(), Arc::new(grown));
        }
        Ok(())
    }

    /// Gives a topic other settings.
    pub(crate) fn alter_topic(
        &self,
        name: &str,
        dry: bool,
        alter: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let topics = self.topics.write();
        let topic = topics.get(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let mut entry = self.journal.lock().ledger().topics.get(name).cloned().unwrap_or_default();
        alter(&mut entry.settings)?;
        let settings = Arc::new(Settings::parse(&entry.settings, &self.limits)?);
        if !dry {
            self.journal.lock().write(vec![Change::Topic(name.to_owned(), entry)])?;
            topic.partitions.iter().for_each(|log| log.lock().settings = Arc::clone(&settings));
        }
        Ok(())
    }

    /// Deletes a topic with its records and the offsets that groups committed in it.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<(), Refusal> {
        let _transacting = self.transacting.lock();
        let mut topics = self.topics.write();
        let topic = topics.get(name).cloned().ok_or(ResponseError::UnknownTopicOrPartition)?;
        self.journal.lock().write(vec![Change::TopicDeleted(name.to_owned())])?;
        topics.remove(name);
        topic.partitions.iter().for_each(|log| log.lock().delete());
        let _ = std::fs::remove_dir(self.topics_folder().join(name));
        Ok(())
    }

    fn check_partitions(&self, topics: &BTreeMap<String, Arc<Topic>>, more: i32) -> Result<(), Refusal> {
        let has: usize = topics.values().map(|t| t.partitions.len()).sum();
        let max = self.limits.partitions_max;
        if has.saturating_add(more.unsigned_abs() as usize) > max {
            return Err(Refusal::limit(format!(
                "{more} more partitions would exceed the embedded broker's limit of {max} (it has {has})"
            )));
        }
        Ok(())
    }
}

fn storage(error: Error) -> Refusal {
    tracing::error!(%error, "embedded broker could not use its files");
    Refusal::new(ResponseError::KafkaStorageError, error.to_string())
}

/// Now, in ms since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}
