//! A source's connector: sends its script, and saves how far it came once everything is acknowledged.

use std::rc::Rc;

use rand_chacha::ChaCha8Rng;

use crate::{
    setup::Feed,
    source::Record,
    topics::{About, Message, Producer},
};

pub struct Connector {
    script: Vec<Record>,
    provenance: Rc<[u8]>,
    next: usize,
    /// The cursor, as it was saved last.
    saved: usize,
    pub producer: Producer,
}

impl Connector {
    pub fn new(script: Vec<Record>, provenance: Rc<[u8]>) -> Self {
        Self { script, provenance, next: 0, saved: 0, producer: Producer::default() }
    }

    pub fn has_more(&self) -> bool {
        self.next < self.script.len()
    }

    pub fn can_save(&self) -> bool {
        self.saved < self.next && self.producer.is_acknowledged()
    }

    /// Whether a death would cost anything.
    pub fn is_at_work(&self) -> bool {
        self.saved < self.next
    }

    pub fn save(&mut self) {
        self.saved = self.next;
    }

    pub fn script(&self) -> &[Record] {
        &self.script
    }

    /// Sends the next record. Which it was.
    pub fn send(&mut self, feed: &Feed, now_ms: i64) -> Option<&Record> {
        let record = self.script.get(self.next)?;
        self.next += 1;
        let about = About::Raw {
            provenance: self.provenance.clone(),
            origin: None,
            revised: false,
            said: record.said.clone(),
        };
        let (key, value) = (record.key.clone(), record.value.clone());
        let message = Message { timestamp_ms: now_ms, key, value, about };
        self.producer.send((feed.raw_topic.clone(), record.partition), message);
        Some(record)
    }

    /// Dies, and goes on at the cursor. Of what was on its way, some is lost, and the rest comes before anything newer:
    /// the broker does not take an older producer's records once the new one has begun.
    pub fn die(&mut self, rng: &mut ChaCha8Rng) -> (usize, Producer) {
        let mut producer = std::mem::take(&mut self.producer);
        let lost = producer.cut(rng);
        self.next = self.saved;
        (lost, producer)
    }
}
