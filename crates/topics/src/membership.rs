//! Belonging to a consumer group for what it says, not for what it reads: which partitions of one topic are this process's.
//!
//! ```text
//!             assigned ─► given grows                                    given ─► whoever does the work
//!  the group ─┤                                              librdkafka
//!             revoked ──► given shrinks; the group is answered when none of them is held ◄─ held ┘
//! ```
//!
//! The group's word is advice: a process that was paused does not hear it in time, and whoever acts on it needs a fence of
//! its own. Partitions are dealt out cooperatively: those that stay are not touched, and those that move are given to
//! nobody until the member that has them has answered. It may take `hand_over` for that; then the group gets them anyway.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    bindings::rd_kafka_resp_err_t as Response,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use tokio::sync::watch;

use crate::{
    Client, Error,
    health::{Health, Watch},
};

/// How soon a stop, or that nothing is held any more, is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long the broker may take to hear that a member leaves. It notices by itself after the session.
const LEAVE: Duration = Duration::from_secs(5);

/// A group and the topic whose partitions it deals out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// Nothing is read from it.
    pub topic: String,
    /// Who is silent for longer is out, and its partitions go to the others.
    pub session: Duration,
    /// How long a member may hold what was revoked.
    pub hand_over: Duration,
}

/// This process as a member of a group, until it is dropped.
pub struct Membership {
    given: watch::Receiver<BTreeSet<u32>>,
    held: watch::Sender<BTreeSet<u32>>,
    stop: Arc<AtomicBool>,
    failure: Arc<Mutex<Option<Error>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Membership {
    pub(crate) fn join(client: &Client, group: &Group) -> Result<Self, Error> {
        let health = Health::new(&group.name);
        let (given, given_receiver) = watch::channel(BTreeSet::new());
        let (held, held_receiver) = watch::channel(BTreeSet::new());
        let stop = Arc::new(AtomicBool::new(false));
        let member = Member {
            watch: Watch(health),
            group: group.clone(),
            given,
            held: held_receiver,
            stop: stop.clone(),
            revoked: Mutex::default(),
        };
        let consumer = BaseConsumer::from_config_and_context(&client.config().member(group), member)
            .map_err(Error::config)?;
        let doing = format!("joining the group {}", group.name);
        consumer
            .subscribe(&[&group.topic])
            .map_err(|error| Error::Refused { doing: doing.clone(), detail: error.to_string() })?;
        let failure = Arc::new(Mutex::new(None));
        let failed = failure.clone();
        let thread = std::thread::Builder::new()
            .name(format!("member of {}", group.name))
            .spawn(move || {
                if let Err(detail) = attend(&consumer) {
                    *failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) =
                        Some(Error::Refused { doing, detail });
                }
            })
            .map_err(|error| Error::Config { detail: format!("no thread for a group's member: {error}") })?;
        Ok(Self { given: given_receiver, held, stop, failure, thread: Some(thread) })
    }

    /// What this process should have now.
    pub fn given(&self) -> BTreeSet<u32> {
        self.given.borrow().clone()
    }

    /// Returns when [`Membership::given`] is another; an error when the group refuses this process.
    pub async fn changed(&mut self) -> Result<(), Error> {
        if self.given.changed().await.is_ok() {
            return Ok(());
        }
        let failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        Err(failure.unwrap_or_else(|| Error::Refused {
            doing: "belonging to a group".into(),
            detail: "its thread has ended, see the messages above".into(),
        }))
    }

    /// Says what this process works on. What was revoked and is not among it goes to others.
    pub fn hold(&self, held: BTreeSet<u32>) {
        self.held.send_replace(held);
    }

    /// Leaves the group, which deals out at once then. A broker that is away is not waited for.
    pub async fn leave(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        let left = tokio::task::spawn_blocking(move || thread.join());
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            tracing::warn!(
                "the group could not be told that this process leaves: it notices after the session"
            );
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Until the member is to stop; then the consumer's end leaves the group.
fn attend(consumer: &BaseConsumer<Member>) -> Result<(), String> {
    let member = consumer.context();
    while !member.stop.load(Ordering::Relaxed) {
        match consumer.poll(POLL) {
            Some(Err(error)) if is_final(&error) => return Err(error.to_string()),
            Some(Err(error)) => member.watch.0.event(&error, "in the group"),
            // Nothing is read, and nothing is written to the topic.
            Some(Ok(_)) | None => {}
        }
        member.answer(consumer);
    }
    Ok(())
}

/// What asking again does not change.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::InvalidSessionTimeout
                | RDKafkaErrorCode::InconsistentGroupProtocol
                | RDKafkaErrorCode::InvalidGroupId
        )
    )
}

/// The callbacks of one member; all of them are called by its thread.
struct Member {
    watch: Watch,
    group: Group,
    given: watch::Sender<BTreeSet<u32>>,
    held: watch::Receiver<BTreeSet<u32>>,
    stop: Arc<AtomicBool>,
    revoked: Mutex<Option<Revoked>>,
}

/// What the group waits for.
struct Revoked {
    partitions: TopicPartitionList,
    until: Instant,
}

fn numbers(partitions: &TopicPartitionList) -> BTreeSet<u32> {
    partitions.elements().iter().filter_map(|of| u32::try_from(of.partition()).ok()).collect()
}

impl Member {
    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let new = numbers(partitions);
        tracing::info!(group = self.group.name, partitions = ?new, "assigned");
        let done = consumer.incremental_assign(partitions).and_then(|()| consumer.pause(partitions));
        self.check(done);
        self.give(|given| given.extend(new));
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let gone = numbers(partitions);
        let lost = consumer.assignment_lost();
        tracing::info!(group = self.group.name, partitions = ?gone, lost, "revoked");
        self.give(|given| given.retain(|number| !gone.contains(number)));
        let revoked =
            Revoked { partitions: partitions.clone(), until: Instant::now() + self.group.hand_over };
        *self.revoked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(revoked);
        // What is lost others may have already. At the end nothing is held any more, or nobody is there to say so.
        if lost || self.stop.load(Ordering::Relaxed) {
            self.give_up(consumer);
        }
    }

    /// Each round of the group comes here, also where nothing is another.
    fn give(&self, change: impl FnOnce(&mut BTreeSet<u32>)) {
        self.given.send_if_modified(|given| {
            let before = given.clone();
            change(given);
            *given != before
        });
    }

    /// Answers the group once what it revoked is not held any more.
    fn answer(&self, consumer: &BaseConsumer<Self>) {
        let revoked = self.revoked.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(Revoked { partitions, until }) = &*revoked else { return };
        let is_free = numbers(partitions).is_disjoint(&self.held.borrow());
        if !is_free && Instant::now() < *until {
            return;
        }
        if !is_free {
            let (within, partitions) = (self.group.hand_over, numbers(partitions));
            tracing::warn!(?within, ?partitions, "handing over takes too long: others may take them now");
        }
        drop(revoked);
        self.give_up(consumer);
    }

    fn give_up(&self, consumer: &BaseConsumer<Self>) {
        let revoked = self.revoked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(Revoked { partitions, .. }) = revoked {
            self.check(consumer.incremental_unassign(&partitions));
        }
    }

    fn check(&self, done: KafkaResult<()>) {
        if let Err(error) = done {
            tracing::warn!(group = self.group.name, %error, "the client did not follow its group");
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.watch.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: Response, partitions: &mut TopicPartitionList) {
        match what {
            Response::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, partitions),
            // Also where the group failed: it is joined anew then.
            _ => self.revoked(consumer, partitions),
        }
    }
}
