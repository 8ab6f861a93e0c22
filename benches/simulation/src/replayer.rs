//! Quarantined records once more, as `crates/normalise/src/replay.rs` does it: back to their raw partition with the
//! offset at which they first came; how far it came is saved once everything is acknowledged.

use std::rc::Rc;

use rand_chacha::ChaCha8Rng;

use crate::{
    setup::Setup,
    topics::{About, Message, Producer, Topics},
};

#[derive(Default)]
pub struct Replayer {
    /// By feed: how far the quarantine was replayed, as it was saved last.
    done: [i64; 3],
    /// The feed that is replayed now, and up to where.
    at: Option<(usize, i64)>,
    pub producer: Producer,
}

impl Replayer {
    pub fn is_idle(&self) -> bool {
        self.at.is_none()
    }

    pub fn can_save(&self) -> bool {
        self.at.is_some() && self.producer.is_acknowledged()
    }

    pub fn save(&mut self) {
        if let Some((feed, end)) = self.at.take() {
            self.done[feed] = end;
        }
    }

    /// Sends everything that the feed's quarantine has beyond what was replayed. How many.
    pub fn send(&mut self, setup: &Setup, feed: usize, topics: &Topics, now_ms: i64) -> usize {
        let quarantine = (setup.feeds[feed].quarantine_topic.clone(), 0);
        let refused = &topics.of(&quarantine)[self.done[feed] as usize..];
        for message in refused {
            let About::Refused { partition, offset, origin } = message.about else { continue };
            let raw = (setup.feeds[feed].raw_topic.clone(), partition);
            let Some(first) = topics.of(&raw).get(offset as usize) else { continue };
            let About::Raw { provenance, said, .. } = &first.about else { continue };
            let about = About::Raw {
                provenance: provenance.clone(),
                origin: Some(origin.unwrap_or(offset)),
                revised: false,
                said: Rc::clone(said),
            };
            let (key, value) = (message.key.clone(), message.value.clone());
            self.producer.send(raw, Message { timestamp_ms: now_ms, key, value, about });
        }
        self.at = Some((feed, topics.end(&quarantine)));
        refused.len()
    }

    /// Dies before it has saved. What was on its way may still come.
    pub fn die(&mut self, rng: &mut ChaCha8Rng) -> (usize, Producer) {
        self.at = None;
        let mut producer = std::mem::take(&mut self.producer);
        (producer.cut(rng), producer)
    }
}
