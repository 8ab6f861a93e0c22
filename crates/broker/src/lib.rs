//! The embedded broker.

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
mod offsets;
mod produce;
mod producers;
mod segment;
mod server;
mod settings;
mod state;
mod tending;
mod topics;
mod transactions;

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

pub use error::Error;
use state::Shared;

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
    threads: Option<Runtime>,
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
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("broker")
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let tasks = TaskTracker::new();
        let tracker = tasks.clone();
        let started = threads.spawn(async move {
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
        match started {
            Ok(shared) => Ok(Broker { shared, threads: Some(threads), tasks, _lock: lock }),
            Err(error) => {
                threads.shutdown_background();
                Err(error)
            }
        }
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
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
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
