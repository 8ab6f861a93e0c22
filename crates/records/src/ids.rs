//! Names of feeds, places and facts.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// A name that cannot be one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    #[error("feed id '{0}' is not of the form department/feed (lower-case letters, digits and '-')")]
    Feed(String),
    #[error("place id '{0}' is not a positive whole number")]
    Place(String),
}

/// `department/feed`, such as `utilities/water-readings`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeedId(Arc<str>);

impl FeedId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn department(&self) -> &str {
        self.0.split_once('/').expect("a feed id has one slash").0
    }

    pub fn feed(&self) -> &str {
        self.0.split_once('/').expect("a feed id has one slash").1
    }

    /// `raw.utilities.water-readings`
    pub fn raw_topic(&self) -> String {
        format!("raw.{}.{}", self.department(), self.feed())
    }

    /// `quarantine.utilities.water-readings`
    pub fn quarantine_topic(&self) -> String {
        format!("quarantine.{}.{}", self.department(), self.feed())
    }
}

impl FromStr for FeedId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let word = |w: &str| {
            !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match s.split_once('/') {
            Some((department, feed)) if word(department) && word(feed) => Ok(Self(s.into())),
            _ => Err(IdError::Feed(s.to_owned())),
        }
    }
}

impl TryFrom<String> for FeedId {
    type Error = IdError;
    fn try_from(s: String) -> Result<Self, IdError> {
        s.parse()
    }
}

impl From<FeedId> for String {
    fn from(id: FeedId) -> String {
        id.0.to_string()
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place's stable surrogate: positive, 62 bits, so that it is a BIGINT in every table and bit 62 stays
/// free for the address crate's provisional places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlaceId(i64);

impl PlaceId {
    /// None unless `id` is positive.
    pub fn new(id: i64) -> Option<Self> {
        (id > 0).then_some(Self(id))
    }

    /// The id of the place that `authority` (a feed) calls `external_id`. Two ids of 150 million collide with a
    /// probability of about 0.2 %; the gazetteer's build refuses such a pair.
    pub fn derive(authority: &str, external_id: &str) -> Self {
        let mut text = Vec::with_capacity(authority.len() + 1 + external_id.len());
        text.extend_from_slice(authority.as_bytes());
        text.push(0x1f);
        text.extend_from_slice(external_id.as_bytes());
        Self(((xxh3_64(&text) & ((1 << 62) - 1)).max(1)) as i64)
    }

    pub fn get(self) -> i64 {
        self.0
    }

    /// The shard (and std partition) that holds this place's facts. Splitting by a mixed hash keeps shards
    /// even whatever the ids look like.
    pub fn shard(self, shards: u32) -> u32 {
        (self.mixed() % u64::from(shards)) as u32
    }

    /// The bucket of the base tables in which this place's row lies, within its shard.
    pub fn bucket(self, buckets: u32) -> u32 {
        ((self.mixed() >> 32) % u64::from(buckets)) as u32
    }

    fn mixed(self) -> u64 {
        xxh3_64(&self.0.to_be_bytes())
    }
}

impl fmt::Display for PlaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PlaceId {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        s.parse().ok().and_then(Self::new).ok_or_else(|| IdError::Place(s.to_owned()))
    }
}

/// The identity of one fact: the same source record states the same fact again, whatever it says this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FactId([u8; 16]);

impl FactId {
    /// The `index`th fact of the record that `feed` knows by `source_key`.
    pub fn derive(feed: &FeedId, source_key: &str, index: u32) -> Self {
        let (feed, key, index) = (feed.as_str().as_bytes(), source_key.as_bytes(), index.to_be_bytes());
        let parts = [feed, &[0x1f], key, &[0x1f], &index];
        let length = parts.iter().map(|part| part.len()).sum();
        // Nearly all keys are short: it is derived for every record, and then needs no memory of its own.
        let (mut short, mut long) = ([0; 128], Vec::new());
        let text = match short.get_mut(..length) {
            Some(text) => text,
            None => {
                long.resize(length, 0);
                &mut long[..]
            }
        };
        let mut rest = &mut text[..];
        for part in parts {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        Self(xxh3_128(text).to_be_bytes())
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for FactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_fact_id_is_the_hash_of_its_parts_however_long_the_key_is() {
        let feed: FeedId = "a/b".parse().unwrap();
        for length in [0, 1, 118, 119, 120, 121, 4_000] {
            let key = "k".repeat(length);
            let text = [b"a/b\x1f", key.as_bytes(), b"\x1f", &7u32.to_be_bytes()].concat();
            assert_eq!(FactId::derive(&feed, &key, 7).as_bytes(), &xxh3_128(&text).to_be_bytes());
        }
    }

    #[test]
    fn a_feed_id_has_a_department_and_a_feed() {
        let id: FeedId = "utilities/water-readings".parse().unwrap();
        assert_eq!((id.department(), id.feed()), ("utilities", "water-readings"));
        assert_eq!(id.raw_topic(), "raw.utilities.water-readings");
        for bad in ["", "water", "Utilities/water", "a/b/c", "a/", "/b", "水/气"] {
            assert!(bad.parse::<FeedId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn derived_ids_are_positive_stable_and_leave_bit_62_free() {
        let id = PlaceId::derive("police/standard-addresses", "3201060010001");
        assert_eq!(id, PlaceId::derive("police/standard-addresses", "3201060010001"));
        for n in 0..10_000 {
            let id = PlaceId::derive("x", &n.to_string()).get();
            assert!(id > 0 && id < 1 << 62);
        }
    }

    #[test]
    fn shards_and_buckets_are_even() {
        let mut counts = [[0u32; 8]; 4];
        for n in 0..32_000 {
            let id = PlaceId::derive("x", &n.to_string());
            counts[id.shard(4) as usize][id.bucket(8) as usize] += 1;
        }
        assert!(counts.iter().flatten().all(|&c| (800..1200).contains(&c)), "{counts:?}");
    }
}
