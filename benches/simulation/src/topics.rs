//! Topics in memory, and what is on its way to them.
//!
//! A producer's messages to one partition are appended in their order, each when the scheduler says so. Of a producer
//! that died, what was on its way is cut off somewhere: the rest may still be appended, later than all that its
//! successor sends. A partition never has a hole in what one producer sent, as Kafka's idempotent producer sees to.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::source::Said;

/// One partition of one topic.
pub type At = (Arc<str>, i32);

#[derive(Debug)]
pub struct Message {
    pub timestamp_ms: i64,
    /// Empty: the end of a dump or an announcement, which have none.
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub about: About,
}

/// A message's headers, and what the oracle is to know of it.
#[derive(Debug)]
pub enum About {
    Raw {
        provenance: Rc<[u8]>,
        origin: Option<i64>,
        revised: bool,
        said: Rc<Said>,
    },
    /// Which gazetteer is in force behind it.
    Announced {
        header: Vec<u8>,
    },
    Frame {
        header: Vec<u8>,
    },
    Refused {
        partition: i32,
        offset: i64,
        origin: Option<i64>,
    },
}

/// What was appended, by partition; an offset is an index.
#[derive(Default)]
pub struct Topics(BTreeMap<At, Vec<Rc<Message>>>);

impl Topics {
    pub fn of(&self, at: &At) -> &[Rc<Message>] {
        self.0.get(at).map_or(&[], Vec::as_slice)
    }

    pub fn end(&self, at: &At) -> i64 {
        self.of(at).len() as i64
    }

    pub fn append(&mut self, at: &At, message: Rc<Message>) -> i64 {
        let log = self.0.entry(at.clone()).or_default();
        log.push(message);
        log.len() as i64 - 1
    }

    /// Partitions of the topics whose name begins so, that hold something.
    pub fn named(&self, prefix: &str) -> Vec<At> {
        self.0.keys().filter(|(topic, _)| topic.starts_with(prefix)).cloned().collect()
    }
}

/// What one producer sent and nobody has acknowledged.
#[derive(Default)]
pub struct Producer {
    queues: BTreeMap<At, VecDeque<Rc<Message>>>,
}

impl Producer {
    pub fn send(&mut self, at: At, message: Message) {
        self.queues.entry(at).or_default().push_back(Rc::new(message));
    }

    /// Everything that was sent is in its topic.
    pub fn is_acknowledged(&self) -> bool {
        self.queues.is_empty()
    }

    /// Takes the next message of some partition.
    pub fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<(At, Rc<Message>)> {
        if self.queues.is_empty() {
            return None;
        }
        let nth = rng.random_range(0..self.queues.len());
        let at = self.queues.keys().nth(nth)?.clone();
        let queue = self.queues.get_mut(&at)?;
        let message = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&at);
        }
        Some((at, message))
    }

    /// The sender dies: of each partition's messages, those from somewhere on are lost. How many are.
    pub fn cut(&mut self, rng: &mut ChaCha8Rng) -> usize {
        let mut lost = 0;
        for queue in self.queues.values_mut() {
            let kept = rng.random_range(0..=queue.len());
            lost += queue.len() - kept;
            queue.truncate(kept);
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        lost
    }
}
