//! Timers in event time, and how far each feed has come: what a warning needs that rises because nothing happened.
//!
//! | key | value | |
//! |---|---|---|
//! | `w` kind feed day place | | waits: nothing changes at the place before the feed's clock reaches the day |
//! | `p` kind feed day place | | passed: the clock has reached the day; it changes again if the clock falls below it |
//! | `d` kind feed day | how many | places of which the feed spoke on this day last |
//!
//! In the order of days, so that a clock that moves meets the places that are due and no others.

use std::sync::Arc;

use yibiao_records::PlaceId;

use super::{Shard, TIMERS_KEYSPACE, View, Writer, Writing, codec, names::Names};
use crate::Error;

/// Which of the two orders a timer stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Waiting,
    Passed,
}

pub(super) const DAYS: u8 = b'd';
const KIND: std::ops::Range<usize> = 1..5;
const FEED: std::ops::Range<usize> = 5..9;
const DAY: std::ops::Range<usize> = 9..13;
const PLACE: std::ops::Range<usize> = 13..21;

/// How many keys one batch deletes.
const CLEARED_MAX: usize = 8192;

impl Queue {
    pub(super) fn letter(self) -> u8 {
        match self {
            Queue::Waiting => b'w',
            Queue::Passed => b'p',
        }
    }
}

/// How many places a feed spoke of on a day last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDay {
    pub kind: Arc<str>,
    pub feed: Arc<str>,
    pub day: i32,
    pub places: u64,
}

/// Days before 1970 come before the others.
fn ordered(day: i32) -> [u8; 4] {
    (day as u32 ^ (1 << 31)).to_be_bytes()
}

fn number(key: &[u8], at: std::ops::Range<usize>) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(at)?.try_into().ok()?))
}

fn day_of(key: &[u8]) -> Option<i32> {
    Some((number(key, DAY)? ^ (1 << 31)) as i32)
}

fn place_of(key: &[u8]) -> Option<PlaceId> {
    PlaceId::new(i64::from_be_bytes(key.get(PLACE)?.try_into().ok()?))
}

/// A key as the table above has it.
pub(super) fn timer_key(
    names: &Names,
    letter: u8,
    kind: &Arc<str>,
    feed: &Arc<str>,
    day: i32,
    place: Option<PlaceId>,
) -> Vec<u8> {
    let mut key = vec![letter];
    key.extend(names.number_or_add(kind).to_be_bytes());
    key.extend(names.number_or_add(feed).to_be_bytes());
    key.extend(ordered(day));
    key.extend(place.into_iter().flat_map(|place| place.get().to_be_bytes()));
    key
}

impl Shard {
    /// None where the kind or the feed was never heard of.
    fn timer_prefix(&self, letter: u8, kind: &str, feed: &str) -> Option<Vec<u8>> {
        let names = &self.inner.names;
        let mut key = vec![letter];
        key.extend(names.number(kind)?.to_be_bytes());
        key.extend(names.number(feed)?.to_be_bytes());
        Some(key)
    }

    fn last_day(&self, key: &[u8], value: &[u8]) -> Result<LastDay, Error> {
        let names = &self.inner.names;
        let read = || {
            Some(LastDay {
                kind: names.name(number(key, KIND)?)?,
                feed: names.name(number(key, FEED)?)?,
                day: day_of(key)?,
                places: codec::be_u64(value).ok()?,
            })
        };
        read().ok_or_else(|| self.corrupt("last day", "wrong length or unknown name".into()))
    }
}

impl Writer {
    /// Of every feed: on which days it spoke of how many places last.
    pub fn last_days(&self) -> Result<Vec<LastDay>, Error> {
        let pairs = self.shard.inner.store.prefix(TIMERS_KEYSPACE, [DAYS]);
        pairs
            .map(|pair| {
                let (key, value) = pair?;
                self.shard.last_day(&key, &value)
            })
            .collect()
    }

    /// The first `max` timers whose day lies between, both included, as they were before this batch.
    pub fn timers(
        &self,
        queue: Queue,
        kind: &str,
        feed: &str,
        days: std::ops::RangeInclusive<i32>,
        max: usize,
    ) -> Result<Vec<(i32, PlaceId)>, Error> {
        let Some(prefix) = self.shard.timer_prefix(queue.letter(), kind, feed) else { return Ok(Vec::new()) };
        let mut from = prefix.clone();
        from.extend(ordered(*days.start()));
        let mut found = Vec::new();
        for pair in self.shard.inner.store.from(TIMERS_KEYSPACE, from).take(max) {
            let (key, _) = pair?;
            let read = day_of(&key).zip(place_of(&key));
            if !key.starts_with(&prefix) {
                break;
            }
            let (day, place) =
                read.ok_or_else(|| self.shard.corrupt("timer", "wrong length or no place".into()))?;
            if day > *days.end() {
                break;
            }
            found.push((day, place));
        }
        Ok(found)
    }

    /// Forgets all timers and last days, in several batches.
    pub fn clear_timers(&mut self) -> Result<(), Error> {
        let store = self.shard.inner.store.clone();
        let snapshot = store.snapshot();
        let mut batch = store.batch();
        for pair in snapshot.prefix(TIMERS_KEYSPACE, b"") {
            batch.delete(TIMERS_KEYSPACE, pair?.0);
            if batch.len() == CLEARED_MAX {
                std::mem::replace(&mut batch, store.batch()).commit()?;
            }
        }
        Ok(batch.commit()?)
    }
}

impl Writing<'_> {
    fn names(&self) -> &Names {
        &self.writer.shard.inner.names
    }

    pub fn put_timer(&mut self, queue: Queue, kind: &Arc<str>, feed: &Arc<str>, day: i32, place: PlaceId) {
        let key = timer_key(self.names(), queue.letter(), kind, feed, day, Some(place));
        self.batch.put(TIMERS_KEYSPACE, key, b"".as_slice());
    }

    pub fn delete_timer(&mut self, queue: Queue, kind: &Arc<str>, feed: &Arc<str>, day: i32, place: PlaceId) {
        let key = timer_key(self.names(), queue.letter(), kind, feed, day, Some(place));
        self.batch.delete(TIMERS_KEYSPACE, key);
    }

    /// How many places the feed spoke of on this day last.
    pub fn put_last_day(&mut self, last: &LastDay) {
        let key = timer_key(self.names(), DAYS, &last.kind, &last.feed, last.day, None);
        match last.places {
            0 => self.batch.delete(TIMERS_KEYSPACE, key),
            places => self.batch.put(TIMERS_KEYSPACE, key, places.to_be_bytes().to_vec()),
        }
    }
}

impl View {
    /// As [`Writer::last_days`].
    pub fn last_days(&self) -> Result<Vec<LastDay>, Error> {
        let pairs = self.snapshot.prefix(TIMERS_KEYSPACE, [DAYS]);
        pairs
            .map(|pair| {
                let (key, value) = pair?;
                self.shard.last_day(&key, &value)
            })
            .collect()
    }

    pub fn has_timer(
        &self,
        queue: Queue,
        kind: &str,
        feed: &str,
        day: i32,
        place: PlaceId,
    ) -> Result<bool, Error> {
        let Some(mut key) = self.shard.timer_prefix(queue.letter(), kind, feed) else { return Ok(false) };
        key.extend(ordered(day));
        key.extend(place.get().to_be_bytes());
        Ok(self.snapshot.get(TIMERS_KEYSPACE, key)?.is_some())
    }

    /// How many timers there are, waiting and passed.
    pub fn timers_count(&self) -> Result<u64, Error> {
        let mut count = 0;
        for queue in [Queue::Waiting, Queue::Passed] {
            for pair in self.snapshot.prefix(TIMERS_KEYSPACE, [queue.letter()]) {
                pair?;
                count += 1;
            }
        }
        Ok(count)
    }
}
