//! The stage: threads, each with its reader and its shards.
//!
//! ```text
//!  std.<kind>[p] ──► Reader ──► thread (shards p, q, …): split by shard, Applier::apply ──► commit
//!                    one a thread            │ after the write: offsets for display, progress, metrics
//! ```

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;
use yibiao_records::{FactKinds, NextOffset, TopicPartition};
use yibiao_tables::Shard;
use yibiao_topics::{Client, Message, Reader};

use crate::{
    Error,
    batch::{Applied, Applier, Incoming},
    config::Config,
    progress::Progress,
    replay::replay,
    rules::Rules,
};

/// The fusion stage, opened: state, rules and topics are there, nothing is read yet.
pub struct Fusion {
    config: Config,
    client: Client,
    groups: Vec<Group>,
    progress: Progress,
}

/// What one thread does.
struct Group {
    appliers: BTreeMap<i32, Applier>,
    rules: Rules,
    assigned: BTreeMap<i32, Vec<TopicPartition>>,
}

impl Fusion {
    /// Takes the right to write the shards, plans the rules in `rules_dir`, makes again what was made of the shards after
    /// their checkpoints, and brings rows and warnings up to the present specification and rules. `kinds` says which std topics there are.
    pub async fn open(
        config: Config,
        shards: Vec<Shard>,
        kinds: &FactKinds,
        rules_dir: &Path,
        client: Client,
        std_partitions: u32,
    ) -> Result<Self, Error> {
        let threads = config.threads_for(shards.len());
        let mut dealt: Vec<Vec<Shard>> = vec![Vec::new(); threads];
        for (index, shard) in shards.into_iter().enumerate() {
            dealt[index % threads].push(shard);
        }
        let progress = Progress::new();
        let mut groups = Vec::new();
        for shards in dealt {
            let Some(first) = shards.first() else { continue };
            let mut rules = Rules::load(rules_dir, first.tables()).await?;
            let (mut appliers, mut assigned) = (BTreeMap::new(), BTreeMap::new());
            for shard in &shards {
                let partition = shard.number() as i32;
                let mut applier = Applier::new(shard, std_partitions)?;
                replay(&mut applier, &mut rules, &client, &config).await?;
                applier.limit_timers(config.batch_timers_max);
                applier.refresh(&mut rules).await?;
                let topics: Vec<TopicPartition> =
                    kinds.iter().map(|kind| TopicPartition::new(kind.std_topic(), partition)).collect();
                progress.update(&applier, &topics, &Applied::default());
                appliers.insert(partition, applier);
                assigned.insert(partition, topics);
            }
            groups.push(Group { appliers, rules, assigned });
        }
        Ok(Self { config, client, groups, progress })
    }

    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Runs until `shutdown`, or until the first error of any thread; all threads have ended when it returns.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        if self.groups.is_empty() {
            // Without shards there is nothing to do, and nothing wrong.
            shutdown.cancelled().await;
        }
        let mut ends = Vec::new();
        for (index, group) in self.groups.into_iter().enumerate() {
            let reader = group.reader(&self.client).await?;
            let (sender, end) = tokio::sync::oneshot::channel();
            let thread = Thread {
                config: self.config.clone(),
                progress: self.progress.clone(),
                shutdown: shutdown.child_token(),
                group,
                reader,
            };
            std::thread::Builder::new()
                .name(format!("fusion-{index}"))
                .spawn(move || {
                    // Whoever waits is gone only when the process ends.
                    let _ = sender.send(thread.main());
                })
                .map_err(Error::Thread)?;
            ends.push(end);
        }
        let mut first = Ok(());
        let mut ends: futures::stream::FuturesUnordered<_> = ends.into_iter().collect();
        while let Some(end) = futures::StreamExt::next(&mut ends).await {
            let end = end.unwrap_or_else(|_| Err(Error::Panic("see its message above".into())));
            if let Err(error) = &end {
                metrics::counter!("yibiao_errors_total", "stage" => "fusion", "code" => error.fault().code())
                    .increment(1);
                tracing::error!(%error, "the fusion stage stops");
            }
            if end.is_err() || !shutdown.is_cancelled() {
                shutdown.cancel();
            }
            if first.is_ok() {
                first = end;
            }
        }
        first
    }
}

impl Group {
    /// Reads on where the state stands.
    async fn reader(&self, client: &Client) -> Result<Reader, Error> {
        let mut start = Vec::new();
        for (partition, topics) in &self.assigned {
            for of in topics {
                let low = client.watermarks(of).await?.low;
                let next = self.appliers[partition].position(of);
                match next {
                    Some(next) if next < low => {
                        let (topic, partition) = (of.topic.to_string(), of.partition);
                        return Err(Error::Gap { topic, partition, next: next.get(), low: low.get() });
                    }
                    None if low > NextOffset::START => {
                        tracing::warn!(topic = %of.topic, partition, %low, "the topic's beginning is gone: reading what is left");
                    }
                    _ => {}
                }
                start.push((of.clone(), next.unwrap_or(low)));
            }
        }
        let shards: Vec<String> = self.assigned.keys().map(i32::to_string).collect();
        Ok(client.reader(&format!("fusion-{}", shards.join("-")), start)?)
    }
}

struct Thread {
    config: Config,
    progress: Progress,
    shutdown: CancellationToken,
    group: Group,
    reader: Reader,
}

impl Thread {
    fn main(mut self) -> Result<(), Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        runtime.block_on(self.run())
    }

    async fn run(&mut self) -> Result<(), Error> {
        loop {
            // Timers that are due do not wait for a message.
            let is_due = self.group.appliers.values().any(Applier::is_due);
            let wait = if is_due { Duration::ZERO } else { self.config.batch_wait };
            let batch = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                batch = self.reader.next_batch(self.config.batch_records_max, wait) => batch?,
            };
            if batch.is_empty() {
                self.look_at_timers().await?;
                continue;
            }
            metrics::counter!("yibiao_received_records_total", "stage" => "fusion")
                .increment(batch.len() as u64);
            let mut by_shard: BTreeMap<i32, Vec<&Message>> = BTreeMap::new();
            for message in &batch.messages {
                by_shard.entry(message.partition).or_default().push(message);
            }
            for (partition, messages) in by_shard {
                self.apply(partition, &messages).await?;
            }
            self.reader.commit_for_display(&batch.next_offsets());
        }
    }

    /// One batch without messages for each shard that has timers due.
    async fn look_at_timers(&mut self) -> Result<(), Error> {
        for (partition, applier) in &mut self.group.appliers {
            if applier.is_due() {
                let applied = applier.apply(&mut self.group.rules, &[]).await?;
                self.progress.update(applier, &self.group.assigned[partition], &applied);
                measure(&applied, i64::MAX);
            }
        }
        Ok(())
    }

    async fn apply(&mut self, partition: i32, messages: &[&Message]) -> Result<(), Error> {
        let Some(applier) = self.group.appliers.get_mut(&partition) else { return Ok(()) };
        let mut incoming = Vec::with_capacity(messages.len());
        let (mut facts, mut oldest_ms) = (0, i64::MAX);
        for (index, message) in messages.iter().enumerate() {
            // An unreadable header is the applier's to report.
            facts += message.frame().ok().flatten().map_or(0, |header| header.facts as usize);
            oldest_ms = oldest_ms.min(message.timestamp_ms);
            incoming.push(of(message));
            if facts >= self.config.batch_facts_max || index + 1 == messages.len() {
                let applied = applier.apply(&mut self.group.rules, &incoming).await?;
                incoming.clear();
                facts = 0;
                let assigned = &self.group.assigned[&partition];
                self.progress.update(applier, assigned, &applied);
                measure(&applied, oldest_ms);
            }
        }
        Ok(())
    }
}

pub(crate) fn of(message: &Message) -> Incoming<'_> {
    let topic: &Arc<str> = &message.topic;
    Incoming {
        topic,
        partition: message.partition,
        offset: message.offset,
        timestamp_ms: message.timestamp_ms,
        header: message.header(yibiao_topics::message::header::FRAME),
        value: message.value(),
    }
}

pub(crate) fn measure(applied: &Applied, oldest_ms: i64) {
    use metrics::{counter, gauge};
    counter!("yibiao_sent_records_total", "stage" => "fusion").increment(applied.changes);
    counter!("yibiao_applied_facts_total", "stage" => "fusion").increment(applied.facts);
    counter!("yibiao_due_timers_total", "stage" => "fusion").increment(applied.timers);
    for (reason, count) in [
        ("frame_applied_before", applied.frames_skipped),
        ("fact_applied_before", applied.facts_skipped),
        ("retraction_of_unknown_fact", applied.facts_unknown),
    ] {
        counter!("yibiao_dropped_records_total", "stage" => "fusion", "reason" => reason).increment(count);
    }
    for (state, count) in
        [("raised", applied.raised), ("updated", applied.updated), ("cleared", applied.cleared)]
    {
        counter!("yibiao_warnings_total", "stage" => "fusion", "state" => state).increment(count);
    }
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    if oldest_ms > 0 && oldest_ms < i64::MAX {
        gauge!("yibiao_event_lag_seconds", "stage" => "fusion").set((now - oldest_ms).max(0) as f64 / 1000.0);
    }
}
