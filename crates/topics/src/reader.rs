//! Reading partitions: a thread polls librdkafka and hands over runs of records, copied into one arena each.
//!
//! ```text
//!  librdkafka ──poll──► thread: Arena (at most 2,048 records or 1 MiB) ──► bounded queue ──► next_batch
//!                         ▲ waits while the queue is full                    │ wakes on arrival
//!                         └──────────────────────────────────────────────────┘
//! ```
//!
//! While the broker is away batches are empty; reading goes on at the same offset when it is back.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
};
use tokio::{sync::Notify, time::Instant};
use yibiao_records::{NextOffset, TopicPartition};

use crate::{
    Batch, Client, Error, Message, Range,
    error::{passes, unknown_topic},
    health::{Health, Watch},
    message::{Arena, Lent},
};

const CHUNK_RECORDS: usize = 2048;
const CHUNK_BYTES: usize = 1 << 20;
/// How long a stopped reader's thread may take to notice.
const POLL: Duration = Duration::from_millis(100);
/// A seek is answered by librdkafka's own threads, not by the broker.
const SEEK: Duration = Duration::from_secs(5);

/// Reads a fixed set of partitions in their order.
pub struct Reader {
    name: String,
    client: Client,
    /// The thread owns the consumer, and is the one that closes it.
    consumer: Weak<BaseConsumer<Watch>>,
    shared: Arc<Shared>,
    health: Arc<Health>,
    /// The rest of a run that was longer than the last batch.
    rest: std::vec::IntoIter<Message>,
    positions: Vec<(TopicPartition, NextOffset)>,
}

struct Shared {
    queue: Mutex<Queue>,
    room: Condvar,
    arrived: Notify,
    stop: AtomicBool,
    records_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Queue {
    runs: VecDeque<(Vec<Message>, usize)>,
    records: usize,
    bytes: usize,
    commands: Vec<Command>,
    failure: Option<Error>,
    stopped: bool,
}

enum Command {
    Pause(Vec<TopicPartition>),
    Resume(Vec<TopicPartition>),
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// False when the reader was dropped.
    fn wait_for_room(&self) -> bool {
        let mut queue = self.queue();
        while !self.stop.load(Ordering::Relaxed)
            && (queue.records >= self.records_max || queue.bytes >= self.bytes_max)
        {
            queue = self.room.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        !self.stop.load(Ordering::Relaxed)
    }

    fn hand_over(&self, arena: Arena) {
        let bytes = arena.bytes();
        let run = arena.finish();
        let mut queue = self.queue();
        queue.records += run.len();
        queue.bytes += bytes;
        queue.runs.push_back((run, bytes));
        drop(queue);
        self.arrived.notify_one();
    }

    fn fail(&self, error: Error) {
        let mut queue = self.queue();
        queue.failure = Some(error);
        queue.stopped = true;
        drop(queue);
        self.arrived.notify_one();
    }
}

impl Reader {
    pub(crate) fn new(
        client: &Client,
        name: &str,
        start: Vec<(TopicPartition, NextOffset)>,
    ) -> Result<Self, Error> {
        let config = client.config();
        let health = Health::new(name);
        let consumer = BaseConsumer::from_config_and_context(&config.reader(name), Watch(health.clone()))
            .map_err(Error::config)?;
        let refused = |error: KafkaError| Error::Refused {
            doing: format!("assigning partitions to the reader {name}"),
            detail: error.to_string(),
        };
        let assigned: Vec<Assigned> =
            start.iter().map(|(tp, next)| Assigned::new(client, tp, *next)).collect();
        let mut assignment = TopicPartitionList::with_capacity(start.len());
        for assigned in assigned.iter().filter(|assigned| !assigned.is_at_end()) {
            let (topic, partition) = (&assigned.on_cluster, assigned.tp.partition);
            assignment.add_partition_offset(topic, partition, assigned.offset()).map_err(refused)?;
        }
        consumer.assign(&assignment).map_err(refused)?;

        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            room: Condvar::new(),
            arrived: Notify::new(),
            stop: AtomicBool::new(false),
            records_max: (config.queue_records as usize / 4).max(1),
            bytes_max: config.queue_bytes as usize / 4,
        });
        let consumer = Arc::new(consumer);
        let weak = Arc::downgrade(&consumer);
        let polling = Polling {
            name: name.to_owned(),
            consumer,
            shared: shared.clone(),
            health: health.clone(),
            partitions: assigned,
            last: 0,
            arena_bytes: 4096,
            arena_records: 16,
        };
        std::thread::Builder::new()
            .name(format!("read {name}"))
            .spawn(move || polling.run())
            .map_err(|error| Error::Config { detail: format!("no thread for the reader {name}: {error}") })?;
        Ok(Self {
            name: name.to_owned(),
            client: client.clone(),
            consumer: weak,
            shared,
            health,
            rest: Vec::new().into_iter(),
            positions: start,
        })
    }

    /// What has arrived, at most `max_records`, as soon as there is something; empty after `max_wait`. Dropping
    /// the future loses nothing.
    pub async fn next_batch(&mut self, max_records: usize, max_wait: Duration) -> Result<Batch, Error> {
        let deadline = Instant::now() + max_wait;
        let max_records = max_records.max(1);
        loop {
            let mut messages = Vec::new();
            self.take(&mut messages, max_records)?;
            if !messages.is_empty() {
                let batch = Batch { messages };
                self.advance(&batch);
                return Ok(batch);
            }
            if tokio::time::timeout_at(deadline, self.shared.arrived.notified()).await.is_err() {
                return Ok(Batch::default());
            }
        }
    }

    fn take(&mut self, messages: &mut Vec<Message>, max_records: usize) -> Result<(), Error> {
        messages.extend(self.rest.by_ref().take(max_records));
        let mut queue = self.shared.queue();
        while messages.len() < max_records {
            let Some((run, bytes)) = queue.runs.pop_front() else { break };
            queue.records -= run.len();
            queue.bytes -= bytes;
            if messages.is_empty() && run.len() <= max_records {
                *messages = run;
            } else {
                self.rest = run.into_iter();
                messages.extend(self.rest.by_ref().take(max_records - messages.len()));
            }
        }
        self.shared.room.notify_one();
        if messages.is_empty() && queue.stopped {
            return Err(queue.failure.take().unwrap_or_else(|| Error::Refused {
                doing: format!("reading {}", self.name),
                detail: "the reader has stopped after an error; make a new one".into(),
            }));
        }
        Ok(())
    }

    fn advance(&mut self, batch: &Batch) {
        for (tp, next) in batch.next_offsets() {
            if let Some((_, position)) = self.positions.iter_mut().find(|(assigned, _)| *assigned == tp) {
                *position = next;
            }
        }
    }

    /// Where each partition goes on after the last batch.
    pub fn positions(&self) -> &[(TopicPartition, NextOffset)] {
        &self.positions
    }

    /// How many offsets lie between the last batch and the end, by partition (asks the broker).
    pub async fn lag(&self) -> Result<Vec<(TopicPartition, u64)>, Error> {
        let mut lags = Vec::with_capacity(self.positions.len());
        for (tp, next) in &self.positions {
            let marks = self.client.watermarks(tp).await?;
            let behind = marks.high.get() - (*next).max(marks.low).get();
            lags.push((tp.clone(), u64::try_from(behind).unwrap_or(0)));
        }
        Ok(lags)
    }

    /// Stops fetching these partitions, within 100 ms. What was fetched before still comes.
    pub fn pause(&self, partitions: &[TopicPartition]) {
        self.shared.queue().commands.push(Command::Pause(partitions.to_vec()));
    }

    /// Goes on where these partitions were paused, within 100 ms.
    pub fn resume(&self, partitions: &[TopicPartition]) {
        self.shared.queue().commands.push(Command::Resume(partitions.to_vec()));
    }

    /// Shows positions to Kafka's own tools. Nothing is ever resumed from them, so a failure is only logged.
    pub fn commit_for_display(&self, positions: &[(TopicPartition, NextOffset)]) {
        // Whoever has a view works beside those whose positions are shown.
        let Some(consumer) = self.consumer.upgrade().filter(|_| self.client.view().is_none()) else { return };
        let mut list = TopicPartitionList::with_capacity(positions.len());
        let committed = positions
            .iter()
            .try_for_each(|(tp, next)| {
                list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(next.get()))
            })
            .and_then(|()| consumer.commit(&list, CommitMode::Async));
        if let Err(error) = committed {
            tracing::debug!(reader = self.name, %error, "positions are not shown");
        }
    }

    /// True while no broker can be reached.
    pub fn is_away(&self) -> bool {
        self.health.is_away()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Taking the lock orders this after the thread's check, so that the wake-up cannot be missed.
        drop(self.shared.queue());
        self.shared.room.notify_all();
    }
}

/// A partition that is read.
struct Assigned {
    tp: TopicPartition,
    on_cluster: Arc<str>,
    /// Where it goes on.
    next: NextOffset,
    /// What is seen of it, where that is not all.
    range: Option<Range>,
    /// Nothing of it is fetched any more.
    ended: bool,
}

impl Assigned {
    fn new(client: &Client, tp: &TopicPartition, next: NextOffset) -> Self {
        let view = client.view();
        let range = view.and_then(|view| view.range(tp));
        let on_cluster = view.map_or_else(|| tp.topic.clone(), |view| view.on_cluster(&tp.topic).into());
        let mut assigned = Self { tp: tp.clone(), on_cluster, next, range, ended: false };
        assigned.ended = assigned.is_at_end();
        assigned
    }

    fn is_at_end(&self) -> bool {
        self.range.is_some_and(|range| self.next >= range.to)
    }

    /// The first offset may be gone for long: it stands for the oldest record that is there, or that is seen.
    fn offset(&self) -> Offset {
        match (self.next, self.range) {
            (NextOffset::START, None) => Offset::Beginning,
            (NextOffset::START, Some(range)) => Offset::Offset(range.from.get()),
            (next, _) => Offset::Offset(next.get()),
        }
    }
}

/// The reader's thread.
struct Polling {
    name: String,
    consumer: Arc<BaseConsumer<Watch>>,
    shared: Arc<Shared>,
    health: Arc<Health>,
    partitions: Vec<Assigned>,
    /// The partition of the last record: nearly always that of the next one.
    last: usize,
    arena_bytes: usize,
    arena_records: usize,
}

impl Polling {
    fn run(mut self) {
        while self.shared.wait_for_room() {
            let commands = std::mem::take(&mut self.shared.queue().commands);
            let obeyed = commands.into_iter().try_for_each(|command| self.obey(command));
            if let Err(error) = obeyed.and_then(|()| self.poll_run()) {
                self.shared.fail(error);
                return;
            }
        }
    }

    fn obey(&self, command: Command) -> Result<(), Error> {
        let list = |partitions: &[TopicPartition]| {
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            let wanted = |assigned: &&Assigned| !assigned.ended && partitions.contains(&assigned.tp);
            for assigned in self.partitions.iter().filter(wanted) {
                list.add_partition_offset(&assigned.on_cluster, assigned.tp.partition, assigned.offset())?;
            }
            Ok(list)
        };
        let done = match command {
            Command::Pause(partitions) => list(&partitions).and_then(|list| self.consumer.pause(&list)),
            // A partition that was paused before its first fetch does not start by `resume` alone, hence the seek.
            Command::Resume(partitions) => list(&partitions).and_then(|list| {
                self.consumer.resume(&list)?;
                self.consumer.seek_partitions(list, SEEK).map(drop)
            }),
        };
        done.map_err(|error| Error::Refused {
            doing: format!("pausing or resuming partitions of the reader {}", self.name),
            detail: error.to_string(),
        })
    }

    /// Waits for one record and takes with it what is there already.
    fn poll_run(&mut self) -> Result<(), Error> {
        let consumer = self.consumer.clone();
        let Some(first) = consumer.poll(POLL) else { return Ok(()) };
        let mut arena = Arena::with_capacity(self.arena_bytes, self.arena_records);
        let mut next = Some(first);
        let mut outcome = Ok(());
        while let Some(polled) = next {
            match polled {
                Ok(message) => self.copy(&mut arena, &message),
                Err(error) => {
                    outcome = self.judge(error);
                    break;
                }
            }
            if arena.len() >= CHUNK_RECORDS || arena.bytes() >= CHUNK_BYTES {
                break;
            }
            next = consumer.poll(Duration::ZERO);
        }
        if arena.len() > 0 {
            self.health.is_back();
            self.arena_bytes = arena.bytes().clamp(4096, CHUNK_BYTES);
            self.arena_records = arena.len().max(16);
            self.shared.hand_over(arena);
        }
        outcome.and_then(|()| self.end_partitions())
    }

    /// Fetches no more of partitions whose end has come.
    fn end_partitions(&mut self) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for assigned in self.partitions.iter_mut().filter(|assigned| !assigned.ended) {
            if assigned.is_at_end() {
                assigned.ended = true;
                list.add_partition(&assigned.on_cluster, assigned.tp.partition);
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.pause(&list).map_err(|error| Error::Refused {
            doing: format!("ending partitions of the reader {}", self.name),
            detail: error.to_string(),
        })
    }

    fn copy(&mut self, arena: &mut Arena, message: &BorrowedMessage<'_>) {
        let (topic, partition) = (message.topic(), message.partition());
        let is = |of: &Assigned| of.tp.partition == partition && *of.on_cluster == *topic;
        let mut begins = arena.len() == 0;
        if !self.partitions.get(self.last).is_some_and(is) {
            // Nothing comes of what was not assigned.
            let Some(index) = self.partitions.iter().position(is) else { return };
            (self.last, begins) = (index, true);
        }
        let assigned = &mut self.partitions[self.last];
        if begins {
            // Whoever takes the run lets go of the topic's name with each record. Of one that later runs have too, both threads
            // would count the owners at once, each waiting for the other's cache.
            assigned.tp.topic = Arc::from(&*assigned.tp.topic);
        }
        if assigned.is_at_end() {
            return;
        }
        assigned.next = NextOffset::after(message.offset());
        if assigned.range.is_some_and(|range| !range.contains(message.offset())) {
            return;
        }
        arena.push(Lent {
            topic: assigned.tp.topic.clone(),
            partition,
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key(),
            value: message.payload(),
            headers: message
                .headers()
                .into_iter()
                .flat_map(|headers| headers.iter().map(|header| (header.key, header.value.unwrap_or(&[])))),
        });
    }

    /// An absence of the broker is noted and waited for; all else ends the reader.
    fn judge(&self, error: KafkaError) -> Result<(), Error> {
        let detail = error.to_string();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Err(Error::PositionGone { reader: self.name.clone(), detail })
            }
            Some(code) if unknown_topic(code) => {
                let topics: Vec<&str> =
                    self.partitions.iter().map(|assigned| &*assigned.on_cluster).collect();
                Err(Error::UnknownTopic { topic: topics.join(" or "), partition: None })
            }
            Some(code) if passes(code) => {
                self.health.event(&error, "while reading");
                Ok(())
            }
            _ => Err(Error::Refused { doing: format!("reading {}", self.name), detail }),
        }
    }
}
