//! Where the normaliser moves between processes: which gazetteer is in force stands in the raw topics.
//!
//! ```text
//!  a gazetteer ─► Custodian::found (a copy of state and gazetteers that counts, and an epoch) ─► raw[p] "epoch version", of every
//!                                                                                              feed with addresses
//!  a shard reads raw[p] ─► behind that record it resolves by that version, unless a higher epoch has spoken before
//! ```
//!
//! So what a raw partition becomes depends on nothing but the partition: whoever judges it again from an earlier state,
//! here or elsewhere, later or at the same time, sends the same facts in the same positions, which fusion takes once
//! (docs/adr/0015). Nobody has to be kept from sending.
//!
//! What is announced was copied before, under an epoch that names the copy, so that every later owner has the
//! gazetteer. What somebody announces under an earlier epoch counts only until a later one speaks.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use yibiao_records::{CrashPoint, TopicPartition, fault::Retry};
use yibiao_topics::{Client, Outgoing};

use crate::{
    Error,
    decode::GAZETTEER,
    gazetteer::{Edition, Editions},
};

/// After a fault of the store that may pass.
pub(crate) const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// Who keeps the normaliser's state where others find it.
#[async_trait]
pub trait Custodian: Send + Sync {
    /// Copies the state as it is now, with the gazetteers, and takes the next epoch, which names that copy: whoever has the
    /// normaliser later goes on from it, or from a later one.
    ///
    /// # Errors
    /// Somebody else has the normaliser; a store that is away.
    async fn found(&self) -> Result<u64, Error>;
}

/// What a record says that only tells which gazetteer is in force behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement<'a> {
    pub epoch: u64,
    pub version: &'a str,
}

impl<'a> Announcement<'a> {
    /// None where it cannot be read.
    pub fn parse(header: &'a [u8]) -> Option<Self> {
        let (epoch, version) = std::str::from_utf8(header).ok()?.split_once(' ')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-');
        let epoch = epoch.parse().ok()?;
        (!version.is_empty() && version.chars().all(is_name)).then_some(Self { epoch, version })
    }
}

impl std::fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.epoch, self.version)
    }
}

/// How far the last announcement has come. Cheap to clone; all clones share it.
#[derive(Debug, Clone, Default)]
pub struct Spread(Arc<Mutex<Option<Spreading>>>);

#[derive(Debug)]
struct Spreading {
    epoch: u64,
    version: String,
    /// Shards that have not read it.
    left: usize,
}

impl Spread {
    /// From here on gazetteers are announced: until the first was, shards may need any that is there.
    pub(crate) fn begin(&self) {
        *self.lock() = Some(Spreading { epoch: 0, version: String::new(), left: usize::MAX });
    }

    /// No shard needs any.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    fn began(&self, epoch: u64, version: &str, shards: usize) {
        *self.lock() = Some(Spreading { epoch, version: version.to_owned(), left: shards });
    }

    /// A shard has read the announcement of this epoch, and committed that.
    pub(crate) fn passed(&self, epoch: u64) {
        if let Some(spreading) = self.lock().as_mut().filter(|spreading| spreading.epoch == epoch) {
            spreading.left = spreading.left.saturating_sub(1);
        }
    }

    /// Whether no shard needs another gazetteer than this one; always, where nothing is announced.
    pub(crate) fn is_everywhere(&self, version: Option<&str>) -> bool {
        let spreading = self.lock();
        spreading.as_ref().is_none_or(|last| last.left == 0 && Some(&*last.version) == version)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Spreading>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Tells the raw partitions which gazetteer is in force.
#[derive(Clone)]
pub(crate) struct Announcer {
    pub client: Client,
    pub editions: Editions,
    pub custodian: Arc<dyn Custodian>,
    /// Of all feeds whose addresses are resolved.
    pub partitions: Vec<TopicPartition>,
}

impl Announcer {
    /// Under an epoch whose copy has this gazetteer.
    pub async fn announce(&self, epoch: u64, edition: &Edition) -> Result<(), Error> {
        let version = edition.version();
        self.editions.spread().began(epoch, version, self.partitions.len());
        let producer = self.client.producer()?;
        let said = Announcement { epoch, version }.to_string();
        for raw in &self.partitions {
            producer.ready().await?;
            producer.send(Outgoing {
                topic: &raw.topic,
                partition: u32::try_from(raw.partition).ok(),
                key: None,
                value: None,
                headers: &[(GAZETTEER, said.as_bytes())],
                timestamp_ms: None,
            })?;
        }
        producer.flush().await?;
        CrashPoint::NormaliseAnnounced.pass();
        tracing::info!(epoch, version, partitions = self.partitions.len(), "gazetteer announced");
        Ok(())
    }

    /// Announces each gazetteer that comes into force after `told`, until the stop.
    pub async fn run(self, mut told: String, stop: CancellationToken) -> Result<(), Error> {
        let mut editions = self.editions.subscribe();
        loop {
            let current = editions.borrow_and_update().clone();
            if let Some(current) = current.filter(|current| current.version() != told) {
                let announced = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    announced = self.found_and_announce(&current) => announced,
                };
                match announced {
                    Err(error) if error.fault().retry == Retry::Later => {
                        tracing::warn!(%error, retry_in = ?PAUSE, "a gazetteer could not be announced");
                        tokio::select! {
                            () = stop.cancelled() => return Ok(()),
                            () = tokio::time::sleep(PAUSE) => continue,
                        }
                    }
                    announced => announced?,
                }
                current.version().clone_into(&mut told);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = editions.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn found_and_announce(&self, edition: &Edition) -> Result<(), Error> {
        let epoch = self.custodian.found().await?;
        self.announce(epoch, edition).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_announcement_is_read_as_it_was_said_and_nothing_else_is() {
        let said = Announcement { epoch: 12, version: "0a1b-4e5f+2c3d-6071" };
        assert_eq!(Announcement::parse(said.to_string().as_bytes()), Some(said));
        for other in ["", "12", "12 ", " 0a1b", "x 0a1b", "12 ../0a1b", "12 0a 1b", "-1 0a"] {
            assert_eq!(Announcement::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Announcement::parse(&[0xff, b' ', b'a']), None);
    }

    #[test]
    fn a_gazetteer_is_everywhere_once_every_shard_has_read_of_it() {
        let spread = Spread::default();
        assert!(spread.is_everywhere(None) && spread.is_everywhere(Some("a")));
        spread.begin();
        assert!(!spread.is_everywhere(Some("a")));
        spread.began(3, "a", 2);
        spread.passed(3);
        assert!(!spread.is_everywhere(Some("a")));
        // Read once more, of an earlier epoch.
        spread.passed(2);
        assert!(!spread.is_everywhere(Some("a")));
        spread.passed(3);
        assert!(spread.is_everywhere(Some("a")));
        // A newer one was built, and is not announced yet.
        assert!(!spread.is_everywhere(Some("b")));
    }
}
