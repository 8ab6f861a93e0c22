//! What an operator sets about this stage.

use std::time::Duration;

use serde::Deserialize;
use yibiao_state::{Durability, Options};

/// The limits and speeds of normalising. Every one has a default that fits 2 cores and 2 GB.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Threads that decode and resolve; partitions are divided among them. 0: one a core.
    pub threads: usize,
    /// A batch ends at this many records,
    pub batch_records_max: usize,
    /// or this long after its first record. Longer: larger frames and fewer commits; shorter: sooner.
    #[serde(with = "yibiao_topics::duration")]
    pub batch_wait: Duration,
    /// Facts in one frame.
    pub frame_facts_max: usize,
    /// Addresses whose places each thread remembers: departments send the same ones every day.
    pub cache_addresses_max: usize,
    /// Records of which each thread remembers what they said last, so that a repetition is told without reading the state: 22
    /// bytes each once they are used, in whole dumps best as many as a thread's partitions have. 0: none.
    pub cache_records_max: usize,
    /// How often the gazetteer folder is looked at for what another process published.
    #[serde(with = "yibiao_topics::duration")]
    pub gazetteer_check: Duration,
    /// A gazetteer is first built when no standard address or name has come for this long: not in the middle of a dump.
    #[serde(with = "yibiao_topics::duration")]
    pub gazetteer_settled: Duration,
    /// And later ones when none has come for this long, which is also the least time between two.
    #[serde(with = "yibiao_topics::duration")]
    pub gazetteer_pause: Duration,
    /// Gazetteers that stay on disk after a newer one: a restart ends what it began under the old one.
    pub gazetteers_kept: usize,
    /// Up to this share of the standard addresses changed since the last whole gazetteer, in percent, only an overlay is
    /// built. 0: always a whole one.
    pub gazetteer_overlay_percent: f64,
    /// Block cache of the state store, MiB.
    pub state_cache_mib: u64,
    /// Memtables of one keyspace of the state store, MiB.
    pub state_write_buffer_mib: u64,
    /// Synchronise the state to disk at every commit: a power cut then costs no repetition.
    pub state_synchronised: bool,
    /// Where checkpoints of the normaliser lie: a folder or `s3://bucket/prefix`. With it another process or machine may take
    /// it over; without it, it stays with this one.
    pub checkpoints: Option<String>,
    /// The least time between two checkpoints.
    #[serde(with = "yibiao_topics::duration")]
    pub checkpoint_every: Duration,
    /// Checkpoints that are kept; at least two.
    pub checkpoints_kept: usize,
    /// A consumer group gives the normaliser to one of the processes that follow it, and to another when that one is away.
    /// Needs `checkpoints`.
    pub follow: bool,
    /// A process that the group has not heard of for so long is out, and another gets the normaliser.
    #[serde(with = "yibiao_topics::duration")]
    pub session: Duration,
    /// How long a process may take to let go of it in order. Then another gets it anyway.
    #[serde(with = "yibiao_topics::duration")]
    pub hand_over: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            batch_records_max: 5_000,
            batch_wait: Duration::from_millis(50),
            frame_facts_max: 1_000,
            cache_addresses_max: 100_000,
            cache_records_max: 1_000_000,
            gazetteer_check: Duration::from_secs(1),
            gazetteer_settled: Duration::from_secs(5),
            gazetteer_pause: Duration::from_secs(60),
            gazetteers_kept: 3,
            gazetteer_overlay_percent: 1.0,
            state_cache_mib: 32,
            state_write_buffer_mib: 32,
            state_synchronised: false,
            checkpoints: None,
            checkpoint_every: Duration::from_secs(300),
            checkpoints_kept: 3,
            follow: false,
            session: Duration::from_secs(15),
            hand_over: Duration::from_secs(60),
        }
    }
}

impl Config {
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// Of the state store.
    pub fn state(&self) -> Options {
        Options {
            cache_bytes: self.state_cache_mib << 20,
            write_buffer_bytes: self.state_write_buffer_mib << 20,
            durability: if self.state_synchronised { Durability::Machine } else { Durability::Process },
        }
    }
}
