//! A source's connector: sends its script, and saves how far it came once everything is acknowledged. Before it tells
//! the end of a full dump it has done so for all of the dump.

use rand_chacha::ChaCha8Rng;

use crate::{
    setup::{RAW_PARTITIONS, Setup},
    source::{self, Record, What},
    topics::{About, Message, Producer},
};

pub struct Connector {
    script: Vec<Record>,
    next: usize,
    /// The cursor, as it was saved last.
    saved: usize,
    pub producer: Producer,
}

impl Connector {
    pub fn new(script: Vec<Record>) -> Self {
        Self { script, next: 0, saved: 0, producer: Producer::default() }
    }

    pub fn has_more(&self) -> bool {
        self.next < self.script.len()
    }

    pub fn can_send(&self) -> bool {
        let ends_dump = |record: &Record| matches!(record.said.what, What::EndsDump);
        self.script.get(self.next).is_some_and(|next| !ends_dump(next) || self.saved == self.next)
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

    /// Sends the next record, or the end of a dump to every partition. Which it was.
    pub fn send(&mut self, setup: &Setup, now_ms: i64) -> Option<&Record> {
        let record = self.script.get(self.next)?;
        self.next += 1;
        let feed = record.said.feed;
        let partitions = match record.said.what {
            What::EndsDump => 0..RAW_PARTITIONS[feed],
            _ => record.partition..record.partition + 1,
        };
        let provenance = source::provenance(setup, &record.said);
        for partition in partitions {
            let about = About::Raw {
                provenance: provenance.clone(),
                origin: None,
                revised: false,
                said: record.said.clone(),
            };
            let (key, value) = (record.key.clone(), record.value.clone());
            let message = Message { timestamp_ms: now_ms, key, value, about };
            self.producer.send((setup.feeds[feed].raw_topic.clone(), partition), message);
        }
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
