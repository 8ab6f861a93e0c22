//! The normaliser goes on elsewhere, from a copy of its state, also while the one before still runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use yibiao_address::{StandardAddress, Status};
use yibiao_normalise::{
    Custodian, Error, GazetteerBuilder, GazetteerFacts, GazetteerFolder, Normaliser, announce::Announcement,
    state::State,
};
use yibiao_records::{Fact, PlaceId, RawPosition, Statement};
use yibiao_topics::Outgoing;

use crate::{
    site::{Running, Site, WAIT},
    support::{Bench, ELECTRICITY, POLICE, city, place, publish, reading},
};

const A: &str = "南京市鼓楼区上海路12号青禾新村1幢1单元101室";

/// Keeps copies in a folder; epochs are counted for all who share it.
struct Copies {
    dir: PathBuf,
    epochs: Arc<AtomicU64>,
    of: Mutex<Option<(State, GazetteerFolder, Option<GazetteerFacts>)>>,
}

impl Copies {
    fn new(site: &Site, epochs: &Arc<AtomicU64>) -> Arc<Self> {
        let dir = site.dir.path().join("copies");
        std::fs::create_dir_all(&dir).unwrap();
        Arc::new(Self { dir, epochs: epochs.clone(), of: Mutex::default() })
    }

    fn copy(&self, epoch: u64) -> Result<(), Error> {
        let of = self.of.lock().unwrap();
        let (state, gazetteers, facts) = of.as_ref().unwrap();
        let to = self.dir.join(epoch.to_string());
        std::fs::create_dir(&to).unwrap();
        gazetteers.copy(&to.join("gazetteer"))?;
        facts.iter().try_for_each(|facts| facts.copy(&to.join("gazetteer/facts")))?;
        state.copy(&to.join("state"))?;
        Ok(())
    }
}

#[async_trait]
impl Custodian for Copies {
    async fn found(&self) -> Result<u64, Error> {
        let epoch = self.epochs.fetch_add(1, Ordering::AcqRel) + 1;
        self.copy(epoch).map(|()| epoch)
    }
}

/// A process of its own, as far as its folders go.
struct Owner {
    running: Running,
    builder: GazetteerBuilder,
}

impl Owner {
    fn start(site: &Site, folder: &Path, epochs: &Arc<AtomicU64>) -> Self {
        Self::start_with(site, folder, epochs, |normaliser| normaliser)
    }

    fn start_with(
        site: &Site,
        folder: &Path,
        epochs: &Arc<AtomicU64>,
        hook: impl FnOnce(Normaliser) -> Normaliser,
    ) -> Self {
        let normaliser = hook(site.open_in(folder));
        let builder =
            GazetteerBuilder::new(&normaliser.editions(), &site.kinds, &site.client, &site.config()).unwrap();
        let copies = Copies::new(site, epochs);
        let folder = normaliser.editions().folder().clone();
        *copies.of.lock().unwrap() = Some((normaliser.state(), folder, Some(builder.facts())));
        Self { running: Running::start(normaliser.kept_by(copies)), builder }
    }

    /// Until all that the raw topic holds was judged.
    async fn has_read(&self, site: &Site, feed: &str) {
        let topic = site.contracts[feed].feed.raw_topic();
        let mut ends = BTreeMap::new();
        for partition in 0..site.client.partitions(&topic).await.unwrap() as i32 {
            let of = yibiao_records::TopicPartition::new(topic.as_str(), partition);
            ends.insert(partition, site.client.watermarks(&of).await.unwrap().high);
        }
        let feed = feed.parse().unwrap();
        let reached = self.running.accounting.wait_until(|feeds| {
            let next = |partition: &i32| {
                let account = feeds.get(&feed)?;
                account.partitions.iter().find(|of| of.partition == *partition).map(|of| of.next)
            };
            ends.iter().all(|(partition, end)| end.get() == 0 || next(partition) >= Some(*end))
        });
        if tokio::time::timeout(WAIT, reached).await.is_err() {
            panic!("ended: {}; {:#?}", self.running.task.is_finished(), self.running.accounting.feeds());
        }
    }

    /// Whether every partition that was read is resolved by this gazetteer.
    async fn resolves_by(&self, version: &str) {
        let feed = ELECTRICITY.parse().unwrap();
        let reached = self.running.accounting.wait_until(|feeds| {
            let mut partitions = feeds.get(&feed).into_iter().flat_map(|account| &account.partitions);
            partitions.all(|of| of.gazetteer_version.as_deref() == Some(version))
        });
        if tokio::time::timeout(WAIT, reached).await.is_err() {
            panic!("ended: {}; {:#?}", self.running.task.is_finished(), self.running.accounting.feeds());
        }
    }
}

fn newest_copy(site: &Site) -> PathBuf {
    let copies = std::fs::read_dir(site.dir.path().join("copies")).unwrap();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u64>().ok();
    copies.map(|entry| entry.unwrap().path()).max_by_key(number).unwrap()
}

/// Brings a copy to where another owner opens it; copies stay as they are.
fn restore(copy: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").arg(copy).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Facts by where they came from, after checking that whoever said one said the same.
async fn agreed(site: &Site) -> BTreeMap<(i32, RawPosition), Fact> {
    let mut agreed = BTreeMap::new();
    for (partition, fact) in site.facts("electricity").await {
        let said: &Fact = agreed.entry((partition, fact.raw)).or_insert_with(|| fact.clone());
        assert_eq!(*said, fact);
    }
    agreed
}

fn standing(facts: &BTreeMap<(i32, RawPosition), Fact>) -> BTreeMap<String, PlaceId> {
    let mut standing = BTreeMap::new();
    for fact in facts.values() {
        let meter = fact.source_key.split('\u{1f}').next().unwrap().to_owned();
        match fact.statement {
            Statement::Assert => drop(standing.insert(meter, fact.place)),
            Statement::Retract => assert_eq!(standing.remove(&meter), Some(fact.place)),
        }
    }
    standing
}

fn readings(meters: std::ops::Range<u32>) -> Vec<String> {
    meters.map(|meter| reading(&format!("E{meter}"), A, "2025-11-03", "3.5")).collect()
}

/// The flat at A gets another number of the police: facts move to it.
fn renumbered() -> [StandardAddress; 2] {
    let at = |of: &str| place(of).get() as u64;
    let old = city().into_iter().find(|row| row.place == at("QH-1-1-101")).unwrap();
    let new = StandardAddress { place: at("QH-1-1-102"), ..old.clone() };
    [StandardAddress { status: Status::Withdrawn, ..old }, new]
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_judge_the_same_records_at_the_same_time_say_the_same() {
    let site = Site::of([POLICE, ELECTRICITY]).await;
    let epochs = Arc::new(AtomicU64::new(0));
    let folders = ["first", "second"].map(|name| site.dir.path().join(name));
    // Before there is a gazetteer: what waits is resolved by the first.
    site.produce(ELECTRICITY, &readings(0..100), None).await;
    let mut first = Owner::start(&site, &folders[0], &epochs);
    site.produce_city(&city()).await;
    first.has_read(&site, POLICE).await;
    let version = first.builder.build().await.unwrap().version;
    first.has_read(&site, ELECTRICITY).await;
    first.resolves_by(&version).await;

    // The second begins where the first was when its gazetteer was copied: nothing of these readings was judged.
    restore(&newest_copy(&site), &folders[1]);
    let mut second = Owner::start(&site, &folders[1], &epochs);
    site.produce(ELECTRICITY, &readings(100..200), None).await;
    second.has_read(&site, ELECTRICITY).await;
    first.has_read(&site, ELECTRICITY).await;
    let facts = agreed(&site).await;
    assert_eq!(facts.len(), 200);
    assert!(facts.values().all(|fact| fact.place == place("QH-1-1-101")));
    let said = site.facts("electricity").await.len();
    assert_eq!(said, 400, "each was said by both");

    // What the first announces from now on is of the past.
    let late = Announcement { epoch: 1, version: "0000" }.to_string();
    announce(&site, &late).await;
    site.produce_city(&renumbered()).await;
    second.has_read(&site, POLICE).await;
    let version = second.builder.build().await.unwrap().version;
    second.resolves_by(&version).await;
    site.produce(ELECTRICITY, &readings(200..300), None).await;
    let moved = second
        .running
        .accounting
        .wait_until(|feeds| feeds[&ELECTRICITY.parse().unwrap()].counts.retracted == 200);
    tokio::time::timeout(WAIT, moved).await.unwrap();
    second.has_read(&site, ELECTRICITY).await;
    let facts = agreed(&site).await;
    let stands = standing(&facts);
    assert_eq!(stands.len(), 300);
    assert!(stands.values().all(|at| *at == place("QH-1-1-102")));

    // The first has no such gazetteer: it ends, and says so.
    let ended = tokio::time::timeout(WAIT, first.running.task).await.unwrap().unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains(&version), "{error}");
    second.running.stop().await;
}

async fn announce(site: &Site, said: &str) {
    let raw = site.contracts[ELECTRICITY].feed.raw_topic();
    let producer = site.client.producer().unwrap();
    for partition in 0..site.client.partitions(&raw).await.unwrap() {
        let headers = [("gazetteer", said.as_bytes())];
        let record =
            Outgoing { topic: &raw, partition: Some(partition), headers: &headers, ..Outgoing::default() };
        producer.send(record).unwrap();
    }
    producer.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_comes_back_from_its_copy_across_a_change_of_the_gazetteer() {
    let site = Site::of([POLICE, ELECTRICITY]).await;
    let epochs = Arc::new(AtomicU64::new(0));
    let folders = ["first", "second"].map(|name| site.dir.path().join(name));
    let mut owner = Owner::start(&site, &folders[0], &epochs);
    site.produce_city(&city()).await;
    owner.has_read(&site, POLICE).await;
    owner.builder.build().await.unwrap();
    site.produce(ELECTRICITY, &readings(0..50), None).await;
    owner.has_read(&site, ELECTRICITY).await;
    // From this copy on: half of the readings under the first gazetteer, half under the second.
    let copied = site.dir.path().join("copied");
    restore(&newest_copy(&site), &copied);
    site.produce(ELECTRICITY, &readings(50..100), None).await;
    owner.has_read(&site, ELECTRICITY).await;
    site.produce_city(&renumbered()).await;
    owner.has_read(&site, POLICE).await;
    let version = owner.builder.build().await.unwrap().version;
    owner.resolves_by(&version).await;
    site.produce(ELECTRICITY, &readings(100..150), None).await;
    owner.has_read(&site, ELECTRICITY).await;
    let feed = ELECTRICITY.parse().unwrap();
    let moved = owner.running.accounting.wait_until(|feeds| feeds[&feed].counts.retracted == 100);
    tokio::time::timeout(WAIT, moved).await.unwrap();
    owner.running.stop().await;
    let before = agreed(&site).await;

    // The newest copy has the second gazetteer, the state is older: only the gazetteers are taken of the newest.
    let newest = newest_copy(&site);
    std::fs::create_dir(&folders[1]).unwrap();
    restore(&copied.join("state"), &folders[1].join("state"));
    restore(&newest.join("gazetteer"), &folders[1].join("gazetteer"));
    let owner = Owner::start(&site, &folders[1], &epochs);
    owner.has_read(&site, ELECTRICITY).await;
    owner.resolves_by(&version).await;
    let after = agreed(&site).await;
    assert_eq!(after, before, "what is said once more is the same, and nothing else is said");
    let stands = standing(&after);
    assert_eq!(stands.len(), 150);
    assert!(stands.values().all(|at| *at == place("QH-1-1-102")));
    owner.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_the_state_was_copied() {
    struct Away;
    #[async_trait]
    impl Custodian for Away {
        async fn found(&self) -> Result<u64, Error> {
            Err(Error::Custody { source: "the store is away".into(), fault: yibiao_records::Fault::OUTSIDE })
        }
    }
    let site = Site::of([POLICE, ELECTRICITY]).await;
    site.produce_city(&city()).await;
    let stop = CancellationToken::new();
    let error = site.open().kept_by(Arc::new(Away)).run(stop).await.unwrap_err();
    assert_eq!(error.to_string(), "the store is away");
    assert!(site.facts("place").await.is_empty());
}

#[test]
fn an_announcement_counts_until_a_later_epoch_has_spoken_and_is_counted_as_nothing() {
    let mut bench = Bench::new(ELECTRICITY);
    let first = bench.editions.subscribe().borrow().clone().unwrap();
    publish(&bench.gazetteer_dir(), &city()[..8]);
    bench.editions.refresh().unwrap();
    let second = bench.editions.subscribe().borrow().clone().unwrap();
    let (editions, received) = (bench.editions.clone(), bench.shard.record.counts.received);
    bench.shard.edition = None;
    assert!(bench.shard.take_first_edition(&first) && !bench.shard.take_first_edition(&second));
    let mut offset = bench.shard.record.next.get();
    let mut pass = |epoch, version: &str, moves: bool| {
        let mut edition = |version: &str| editions.edition(version);
        let said = moves.then_some((Announcement { epoch, version }, &mut edition as _));
        let took = bench.shard.pass_announcement(offset, said);
        offset += 1;
        assert_eq!(bench.shard.record.next.get(), offset);
        took.map(|took| (took, bench.shard.record.gazetteer_version.clone().unwrap()))
    };
    let (a, b) = (first.version().to_owned(), second.version().to_owned());
    assert_eq!(pass(3, &a, true).unwrap(), (false, a.clone()));
    assert_eq!(pass(2, &b, true).unwrap(), (false, a.clone()), "of an earlier epoch");
    assert_eq!(pass(4, &b, false).unwrap(), (false, a.clone()), "the normaliser does not move");
    assert_eq!(pass(3, &b, true).unwrap(), (true, b.clone()));
    assert_eq!(pass(5, &a, true).unwrap(), (true, a));
    assert!(pass(6, "0123", true).is_err(), "nobody has it");
    assert_eq!(bench.shard.record.counts.received, received);
}
