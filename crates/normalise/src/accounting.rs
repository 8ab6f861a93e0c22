//! received = accepted + quarantined + unchanged, per feed, at any moment.
//!
//! Counts are part of the state: they are committed with the positions that they count up to, so they balance after
//! a crash too. What is shown here is what was committed last.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use yibiao_records::{FeedId, NextOffset, Reason};

use crate::state::{ShardId, ShardRecord};

/// What became of records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub received: u64,
    pub accepted: u64,
    pub quarantined: u64,
    pub unchanged: u64,
    /// Facts sent; an accepted record sends one or two.
    pub asserted: u64,
    pub retracted: u64,
    /// Quarantined records by the code of their reason.
    pub reasons: BTreeMap<String, u64>,
}

impl Counts {
    /// Every received record has exactly one outcome, and every quarantined one a reason.
    pub fn balances(&self) -> bool {
        self.received == self.accepted + self.quarantined + self.unchanged
            && self.quarantined == self.reasons.values().sum::<u64>()
    }

    pub fn quarantine(&mut self, reason: Reason) {
        self.quarantined += 1;
        match self.reasons.get_mut(reason.code()) {
            Some(count) => *count += 1,
            None => {
                self.reasons.insert(reason.code().to_owned(), 1);
            }
        }
    }

    pub fn add(&mut self, other: &Counts) {
        self.received += other.received;
        self.accepted += other.accepted;
        self.quarantined += other.quarantined;
        self.unchanged += other.unchanged;
        self.asserted += other.asserted;
        self.retracted += other.retracted;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
    }

    /// What came since `before`, which is an earlier state of the same counts.
    pub fn since(&self, before: &Counts) -> Counts {
        let earlier = |reason: &str| before.reasons.get(reason).copied().unwrap_or(0);
        Counts {
            received: self.received - before.received,
            accepted: self.accepted - before.accepted,
            quarantined: self.quarantined - before.quarantined,
            unchanged: self.unchanged - before.unchanged,
            asserted: self.asserted - before.asserted,
            retracted: self.retracted - before.retracted,
            reasons: self
                .reasons
                .iter()
                .map(|(reason, count)| (reason.clone(), count - earlier(reason)))
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }
}

/// One raw partition of a feed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionAccount {
    pub partition: i32,
    pub next: NextOffset,
    /// The end of the partition when it was last asked for.
    pub end: Option<NextOffset>,
    pub contract_version: Option<String>,
    pub gazetteer_version: Option<String>,
    /// The gazetteer by which all that was known has been asked again: what it answers otherwise lies in the raw topic.
    pub revised_by: Option<String>,
}

impl PartitionAccount {
    /// Records that wait; None where the end is not known yet.
    pub fn lag(&self) -> Option<u64> {
        self.end.map(|end| u64::try_from(end.get() - self.next.get()).unwrap_or(0))
    }
}

/// One feed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FeedAccount {
    pub counts: Counts,
    pub partitions: Vec<PartitionAccount>,
    /// The feed does not start before there is a gazetteer.
    pub waits_for_gazetteer: bool,
}

impl FeedAccount {
    /// Records that wait, over all partitions; None where one's end is not known yet.
    pub fn lag(&self) -> Option<u64> {
        self.partitions.iter().map(PartitionAccount::lag).sum()
    }
}

/// The accounts of all feeds, readable at any moment. Cheap to clone; all clones show the same.
#[derive(Debug, Clone)]
pub struct Accounting(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    /// The number of commits, to wait on.
    commits: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Books {
    shards: BTreeMap<ShardId, ShardRecord>,
    ends: BTreeMap<ShardId, NextOffset>,
    /// The change of gazetteer after which all was asked again.
    revised: BTreeMap<ShardId, String>,
    waiting: BTreeMap<FeedId, bool>,
}

impl Books {
    fn is_revised(&self, id: &ShardId, record: &ShardRecord) -> bool {
        self.revised.get(id) == record.revision().as_ref()
    }
}

impl Accounting {
    pub(crate) fn new(shards: BTreeMap<ShardId, ShardRecord>) -> Self {
        let books = Books { shards, ..Books::default() };
        Self(Arc::new(Shared { books: Mutex::new(books), commits: watch::Sender::new(0) }))
    }

    /// All feeds as they were committed last.
    pub fn feeds(&self) -> BTreeMap<FeedId, FeedAccount> {
        let books = self.books();
        let mut feeds: BTreeMap<FeedId, FeedAccount> = BTreeMap::new();
        for feed in books.waiting.keys() {
            feeds.entry(feed.clone()).or_default();
        }
        for (id, record) in &books.shards {
            let feed = feeds.entry(id.feed.clone()).or_default();
            feed.counts.add(&record.counts);
            feed.partitions.push(PartitionAccount {
                partition: id.partition,
                next: record.next,
                end: books.ends.get(id).copied(),
                contract_version: record.contract_version.clone(),
                gazetteer_version: record.gazetteer_version.clone(),
                revised_by: record.gazetteer_version.clone().filter(|_| books.is_revised(id, record)),
            });
        }
        for (feed, account) in &mut feeds {
            account.waits_for_gazetteer = books.waiting.get(feed).copied().unwrap_or(false);
        }
        feeds
    }

    /// All feeds together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.books().shards.values().for_each(|record| total.add(&record.counts));
        total
    }

    /// The number of commits so far: `changed().await` wakes after the next one.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// Returns when what was committed fulfils the condition.
    pub async fn wait_until(&self, condition: impl Fn(&BTreeMap<FeedId, FeedAccount>) -> bool) {
        let mut commits = self.commits();
        loop {
            commits.borrow_and_update();
            if condition(&self.feeds()) {
                return;
            }
            if commits.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn committed<'a>(&self, shards: impl Iterator<Item = (&'a ShardId, &'a ShardRecord)>) {
        let mut books = self.books();
        for (id, record) in shards {
            books.shards.insert(id.clone(), record.clone());
        }
        drop(books);
        self.0.commits.send_modify(|commits| *commits += 1);
    }

    pub(crate) fn end_is(&self, id: &ShardId, end: NextOffset) {
        let mut books = self.books();
        books.ends.insert(id.clone(), end);
        books.shards.entry(id.clone()).or_default();
    }

    /// The change of gazetteer that a shard has committed, and the gazetteer, if after it not all was asked again.
    pub(crate) fn to_be_revised(&self, id: &ShardId) -> Option<(String, String)> {
        let books = self.books();
        let record = books.shards.get(id).filter(|record| !books.is_revised(id, record))?;
        record.revision().zip(record.gazetteer_version.clone())
    }

    pub(crate) fn revised(&self, id: &ShardId, revision: String) {
        self.books().revised.insert(id.clone(), revision);
        self.touch();
    }

    pub(crate) fn waits(&self, feed: &FeedId, waits: bool) {
        self.books().waiting.insert(feed.clone(), waits);
    }

    /// Wakes those who wait on commits, after an end or a wait became known.
    pub(crate) fn touch(&self) {
        self.0.commits.send_modify(|_| ());
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
