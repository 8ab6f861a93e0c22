//! The embedded broker: a Kafka-compatible log on loopback, in the process, for trying and for tests. Clients
//! reach it over the real protocol, so that a program has one way to topics, whether Apache Kafka or this is
//! behind it. A production build leaves it out.
//!
//! ```text
//!  clients on loopback
//!        |  server     frames in, answers out, in order; memory for both is limited
//!        v
//!     dispatch         which request, in which version, is answered by whom; shape: is it well formed
//!        |
//!        +-- produce ------------+
//!        +-- fetch  <--- wake ---+--> log --> segment     files of batches, an index beside each full one
//!        +-- topics              |     |
//!        +-- groups_api, offsets |     +--> producers     repeats, gaps, open and aborted transactions
//!        +-- transactions -------+
//!        |
//!        +--> journal          topics, offsets, groups, transactions: all that is not a record
//!     tending, compaction      time that passes: silent members, hanging transactions, old records
//! ```
//!
//! ```no_run
//! # async fn serve() -> Result<(), yibiao_broker::Error> {
//! let broker = yibiao_broker::Broker::start(yibiao_broker::Config::new("data/broker")).await?;
//! println!("bootstrap.servers={}", broker.bootstrap());
//! broker.stop().await
//! # }
//! ```
//!
//! # What it speaks
//!
//! | requests | versions | |
//! |---|---|---|
//! | Produce | 3-9 | one batch of format 2 a partition, any codec, stored as it comes; idempotent and transactional |
//! | Fetch | 4-12 | long polls woken by a write; read_committed; no fetch sessions |
//! | ListOffsets, OffsetForLeaderEpoch | 1-7, 2-4 | earliest, latest, latest time, by time |
//! | Metadata, DescribeCluster | 0-9, 0-1 | one broker with id 1; no topic ids |
//! | CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords | 2-6, 1-5, 0-3, 0-2 | one replica |
//! | DescribeConfigs, AlterConfigs, IncrementalAlterConfigs | 1-4, 0-2, 0-1 | of topics; unknown names are refused |
//! | FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup | 0-4, 0-9, 0-5, 0-4, 0-5 | the classic protocol, eager and cooperative; static members |
//! | DescribeGroups, ListGroups, DeleteGroups | 0-5, 0-4, 0-2 | |
//! | OffsetCommit, OffsetFetch, OffsetDelete | 2-8, 1-8, 0 | kept until deleted |
//! | InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn | 0-4, 0-3, 0-3, 0-3, 0-3 | |
//! | ApiVersions | 0-3 | offers exactly this |
//! | SaslHandshake | 0-1 | answered with "no" |
//!
//! To any other request, or version, the broker ends the connection and says in its log what was asked and to
//! use Apache Kafka for it; clients that look at ApiVersions first never ask.
//!
//! # What it keeps
//!
//! Everything that was acknowledged survives `kill -9` of the process: it is in the system's page cache. It is
//! written through to the disk when the broker stops, not at each write: a power cut may cost the last seconds.
//! A full segment has an index with a checksum; the last one is read through on opening, and whatever follows
//! its last sound batch is cut off. Retention and compaction go by the topic's settings, as in Kafka, but look
//! sooner where the settings ask for less than five minutes. A producer whose topic does not exist makes it, with
//! one partition and a warning, if its client allows that; consumers of librdkafka do not unless told to.
//!
//! # Limits
//!
//! [`Limits`] bounds memory, disk, connections, partitions, groups, members and producers. A reached limit is
//! answered with an error of the protocol (POLICY_VIOLATION, GROUP_MAX_SIZE_REACHED) and a warning in the log;
//! a full memory only makes clients wait.
//!
//! # What it is not
//!
//! Not replicated, not remote, not authenticated, and it will not become so: it listens on loopback only and
//! refuses anything else. No TLS, SASL, ACLs, quotas, share groups, consumer groups of the newer protocol,
//! tiered storage or transactions over several brokers.

mod batch;
mod compaction;
mod dispatch;
mod error;
mod fetch;
mod frame;
mod groups;
mod groups_api;
mod journal;
mod log;
mod member;
mod offsets;
mod produce;
mod producers;
mod segment;
mod server;
mod settings;
mod shape;
mod state;
mod tending;
mod topics;
mod transactions;

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

pub use error::Error;
use state::Shared;

/// Threads that serve; requests are short, and those that wait hold none.
const THREADS: usize = 2;

/// Where the broker keeps its files, where it listens, and how much it may use.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of its files; made if it does not exist.
    pub dir: PathBuf,
    /// A loopback address; port 0 takes any free port.
    pub listen: SocketAddr,
    /// What it may use.
    pub limits: Limits,
}

impl Config {
    /// Any free port of 127.0.0.1, with the default limits.
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        Config { dir: dir.into(), listen: (Ipv4Addr::LOCALHOST, 0).into(), limits: Limits::default() }
    }
}

/// What the broker may use. A reached limit is answered with an error of the protocol and warned of in the
/// log; only memory and connections make clients wait or come again.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Memory for requests and responses under way together, bytes. When it is taken, clients wait.
    pub memory_bytes: u64,
    /// All logs together, bytes. Beyond it Produce is refused with POLICY_VIOLATION.
    pub disk_bytes: u64,
    /// segment.bytes of topics that do not set it.
    pub segment_bytes: u64,
    /// The largest max.message.bytes that a topic may set (without one a topic takes 1 MiB, as in Kafka).
    pub message_bytes_max: u32,
    /// One request; a larger one ends the connection.
    pub request_bytes_max: usize,
    /// The records in one answer to a fetch.
    pub response_bytes_max: usize,
    /// Partitions of all topics together.
    pub partitions_max: usize,
    /// Open connections.
    pub connections_max: usize,
    /// Groups, with members or with offsets only.
    pub groups_max: usize,
    /// Members of one group.
    pub group_members_max: usize,
    /// Idempotent producers remembered by each partition; the longest silent is forgotten first.
    pub producers_per_partition_max: usize,
    /// Transactional ids.
    pub transactional_ids_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 256 << 20,
            disk_bytes: 16 << 30,
            segment_bytes: 64 << 20,
            message_bytes_max: 16 << 20,
            request_bytes_max: 64 << 20,
            response_bytes_max: 32 << 20,
            partitions_max: 4_000,
            connections_max: 1_000,
            groups_max: 2_000,
            group_members_max: 500,
            producers_per_partition_max: 1_000,
            transactional_ids_max: 2_000,
        }
    }
}

/// A running broker. Dropping it ends it at once; [`Broker::stop`] does so in order.
pub struct Broker {
    shared: Arc<Shared>,
    /// Threads of its own, so that a caller that blocks its runtime's threads does not block the broker.
    _threads: Threads,
    tasks: TaskTracker,
    _lock: File,
}

impl Broker {
    /// Recovers the folder, listens and serves.
    ///
    /// # Errors
    /// If the address is not a loopback one or is taken, if another broker uses the folder, or if the folder
    /// cannot be read and written.
    pub async fn start(config: Config) -> Result<Broker, Error> {
        if !config.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(config.listen));
        }
        fs::create_dir_all(&config.dir).map_err(Error::storage("making the folder", &config.dir))?;
        let lock = lock(&config.dir)?;
        let listen = config.listen;
        let threads = Threads::start()?;
        let tasks = TaskTracker::new();
        let tracker = tasks.clone();
        let started = threads.runtime().spawn(async move {
            let at = |source| Error::Listen { listen, source };
            let listener = TcpListener::bind(listen).await.map_err(at)?;
            let address = listener.local_addr().map_err(at)?;
            let shared = Arc::new(Shared::open(config.dir, address, config.limits)?);
            tracker.spawn(tending::expire(Arc::clone(&shared)));
            tracker.spawn(tending::tend(Arc::clone(&shared)));
            tracker.spawn(server::accept(Arc::clone(&shared), listener, tracker.clone()));
            tracing::info!(%address, "embedded broker started: for trying and tests, not for production");
            Ok(shared)
        });
        let started = started.await.unwrap_or_else(|error| Err(Error::Threads(std::io::Error::other(error))));
        Ok(Broker { shared: started?, _threads: threads, tasks, _lock: lock })
    }

    /// The address for clients' `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.shared.address.to_string()
    }

    /// Ends all connections, writes everything to the disk and lets go of the folder.
    ///
    /// # Errors
    /// If the files cannot be written to the disk; all that was acknowledged is still in them.
    pub async fn stop(self) -> Result<(), Error> {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        for (_, topic) in self.shared.topics() {
            for log in &topic.partitions {
                let mut log = log.lock();
                let folder = log.folder().to_owned();
                log.close().map_err(Error::storage("closing the log in", folder))?;
            }
        }
        self.shared.journal.lock().sync().map_err(Error::storage("writing", "journal"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// The broker's threads; gone when dropped, so that nobody writes to the folder any more.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Threads, Error> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).thread_name("broker").enable_all().build();
        runtime.map(|runtime| Threads(Some(runtime))).map_err(Error::Threads)
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("invariant: the runtime is there until the drop")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A runtime may not be waited for on a thread of another one, which the caller's may be.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join();
            drop(ended);
        }
    }
}

/// Keeps other brokers off the folder for as long as the file is open.
fn lock(dir: &std::path::Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(Error::storage("making", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(Error::storage("locking", &path)(error)),
    }
}
