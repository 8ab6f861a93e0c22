//! What an operator sets about the fusion stage.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits and sizes. Batches are as large as what has arrived, up to the limits, and as small as one frame when
/// little comes: so nothing waits, and under load the cost of a write is shared by many facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Frames taken from the topics at once.
    pub batch_records_max: usize,
    /// Facts in one atomic write. More are split.
    pub batch_facts_max: usize,
    /// Places that are looked at in one write because nothing happened there for as long as a rule says. The others
    /// wait for the next one, which comes also when no message does.
    pub batch_timers_max: usize,
    /// How long an idle thread waits before it looks whether it should stop.
    #[serde(with = "yibiao_topics::duration")]
    pub batch_wait: Duration,
    /// A shard without any state whose std topics hold at least so many frames is loaded at once, before anything else: far
    /// cheaper than in batches. 0: never.
    pub load_frames_min: u64,
    /// Memory that loading takes for sorting, of all shards together, MiB. What does not fit waits in files beside the shards.
    pub load_memory_mib: u64,
    /// Where the shards' checkpoints lie: a folder or `s3://bucket/prefix`. With it shards may move to another process or
    /// machine; without it all of them stay with this one.
    pub checkpoints: Option<String>,
    /// The least time between two checkpoints of a shard.
    #[serde(with = "yibiao_topics::duration")]
    pub checkpoint_every: Duration,
    /// Checkpoints of a shard that are kept; at least two.
    pub checkpoints_kept: usize,
    /// The shards of this process; all where none is named. Others need `checkpoints`.
    pub shards: Vec<u32>,
    /// Instead of `shards`: a consumer group deals them out among the processes that follow it. Needs `checkpoints`.
    pub follow: bool,
    /// A process that the group has not heard of for so long is out, and the others get its shards.
    #[serde(with = "yibiao_topics::duration")]
    pub session: Duration,
    /// How long a process may take to let go of shards in order. Then the others get them anyway.
    #[serde(with = "yibiao_topics::duration")]
    pub hand_over: Duration,
    /// Threads; shards are dealt out to them. 0: as many as there are cores, at most one a shard.
    pub threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_records_max: 256,
            batch_facts_max: 16_384,
            batch_timers_max: 1024,
            batch_wait: Duration::from_secs(1),
            load_frames_min: 1_000,
            load_memory_mib: 256,
            checkpoints: None,
            checkpoint_every: Duration::from_secs(300),
            checkpoints_kept: 3,
            shards: Vec::new(),
            follow: false,
            session: Duration::from_secs(15),
            hand_over: Duration::from_secs(60),
            threads: 0,
        }
    }
}

impl Config {
    pub(crate) fn threads_for(&self, shards: usize) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = if self.threads == 0 { cores } else { self.threads };
        wanted.clamp(1, shards.max(1))
    }
}
