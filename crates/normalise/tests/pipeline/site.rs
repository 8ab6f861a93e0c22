//! The stage as it runs, with a broker of its own.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use prost::Message as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use yibiao_address::StandardAddress;
use yibiao_broker::Broker;
use yibiao_contracts::Contract;
use yibiao_normalise::{Accounting, Config, Editions, Error, Normaliser};
use yibiao_records::{Fact, FactKinds, Frame, NextOffset, Provenance, TopicPartition};
use yibiao_topics::{Client, ClientConfig, Layout, Outgoing};

use crate::support::{DISPUTES, ELECTRICITY, POLICE, contract, kinds, place};

const COLUMNS: &str = "地址编码,标准地址,行政区划代码,省,市,区县,街道,社区,道路,门牌号,小区名称,楼栋,单元,户室,地址级别,状态,别名,更新时间";
pub const WAIT: Duration = Duration::from_secs(30);

/// A broker with the topics of three feeds, and folders for state and gazetteer.
pub struct Site {
    pub client: Client,
    pub kinds: Arc<FactKinds>,
    pub contracts: BTreeMap<&'static str, Arc<Contract>>,
    pub dir: TempDir,
    pub broker: Option<Broker>,
}

pub struct Running {
    pub accounting: Accounting,
    pub editions: Editions,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), Error>>,
}

impl Site {
    pub async fn start() -> Self {
        Self::of([POLICE, ELECTRICITY, DISPUTES]).await
    }

    pub async fn of<const N: usize>(feeds: [&'static str; N]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(yibiao_broker::Config::new(dir.path().join("broker"))).await.unwrap();
        let client = Client::new(&ClientConfig::at(broker.bootstrap())).unwrap();
        let kinds = kinds();
        let contracts: BTreeMap<_, _> =
            feeds.into_iter().map(|feed| (feed, contract(feed, &kinds))).collect();
        let layout = Layout::default();
        let mut topics = vec![layout.cursors()];
        for contract in contracts.values() {
            topics.extend([layout.raw(&contract.feed), layout.quarantine(&contract.feed)]);
            topics.push(layout.std(&contract.fact.kind));
        }
        client.ensure(&topics).await.unwrap();
        Self { client, kinds, contracts, dir, broker: Some(broker) }
    }

    pub fn config(&self) -> Config {
        Config {
            threads: 2,
            batch_wait: Duration::from_millis(5),
            state_cache_mib: 4,
            state_write_buffer_mib: 8,
            gazetteer_check: Duration::from_millis(50),
            gazetteer_overlay_percent: 50.0,
            ..Config::default()
        }
    }

    pub fn open(&self) -> Normaliser {
        self.open_in(self.dir.path())
    }

    pub fn open_in(&self, folder: &Path) -> Normaliser {
        let contracts = self.contracts.values().cloned().collect();
        let (state, gazetteer) = (folder.join("state"), folder.join("gazetteer"));
        Normaliser::open(
            self.config(),
            contracts,
            self.kinds.clone(),
            self.client.clone(),
            &state,
            &gazetteer,
        )
        .unwrap()
    }

    pub fn run(&self) -> Running {
        Running::start(self.open())
    }

    pub async fn produce(&self, feed: &str, records: &[String], columns: Option<&str>) {
        let contract = &self.contracts[feed];
        let producer = self.client.producer().unwrap();
        let mut door = contract.door();
        let provenance = Provenance {
            feed: feed.into(),
            columns: columns.unwrap_or_default().into(),
            ..Provenance::default()
        };
        let provenance = provenance.encode_to_vec();
        for record in records {
            let admitted = door.admit(record.as_bytes(), columns.map(str::as_bytes));
            producer
                .send(Outgoing {
                    topic: &contract.feed.raw_topic(),
                    key: Some(&admitted.key),
                    value: Some(&admitted.value),
                    headers: &[("provenance", &provenance)],
                    ..Outgoing::default()
                })
                .unwrap();
        }
        producer.flush().await.unwrap();
    }

    pub async fn produce_city(&self, rows: &[StandardAddress]) {
        let ids = external_ids();
        let rows: Vec<String> = rows.iter().map(|row| standard_address(row, &ids)).collect();
        self.produce(POLICE, &rows, Some(COLUMNS)).await;
    }

    /// Everything that is in a topic now.
    pub async fn read(&self, topic: &str) -> Vec<yibiao_topics::Message> {
        let mut start = Vec::new();
        let mut count = 0;
        for partition in 0..self.client.partitions(topic).await.unwrap() as i32 {
            let tp = TopicPartition::new(topic, partition);
            count += self.client.watermarks(&tp).await.unwrap().high.get() as usize;
            start.push((tp, NextOffset::START));
        }
        let mut reader = self.client.reader("test", start).unwrap();
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.extend(reader.next_batch(1000, WAIT).await.unwrap().messages);
        }
        messages
    }

    pub async fn facts(&self, kind: &str) -> Vec<(i32, Fact)> {
        let kind = self.kinds.get(kind).unwrap();
        let mut facts = Vec::new();
        for message in self.read(&kind.std_topic()).await {
            let header = message.frame().unwrap().unwrap();
            let raw_partition = header.raw_partition;
            let frame = Frame::decode(header, message.value().unwrap(), kind).unwrap();
            facts.extend(frame.facts(kind).unwrap().into_iter().map(|fact| (raw_partition, fact)));
        }
        facts
    }
}

impl Running {
    pub fn start(normaliser: Normaliser) -> Self {
        let (accounting, editions) = (normaliser.accounting(), normaliser.editions());
        let stop = CancellationToken::new();
        let task = tokio::spawn(normaliser.run(stop.clone()));
        Self { accounting, editions, stop, task }
    }

    pub async fn received(&self, feed: &str, count: u64) {
        let feed = feed.parse().unwrap();
        let reached = self.accounting.wait_until(|feeds| {
            assert!(feeds.values().all(|account| account.counts.balances()), "{feeds:?}");
            feeds.get(&feed).is_some_and(|account| account.counts.received >= count)
        });
        tokio::select! {
            () = reached => {}
            () = tokio::time::sleep(WAIT) => {
                panic!("the stage has ended: {}; {:#?}", self.task.is_finished(), self.accounting.total())
            }
        }
    }

    pub fn outcomes(&self, feed: &str) -> [u64; 4] {
        let feeds = self.accounting.feeds();
        let counts = &feeds[&feed.parse().unwrap()].counts;
        [counts.received, counts.accepted, counts.quarantined, counts.unchanged]
    }

    pub async fn stop(self) -> Accounting {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.accounting
    }
}

pub fn external_ids() -> BTreeMap<u64, String> {
    let mut ids = BTreeMap::new();
    for compound in ["QH", "YS1", "YS2"] {
        let mut add = |id: String| ids.insert(place(&id).get() as u64, id);
        add(compound.into());
        for building in 1..=3 {
            add(format!("{compound}-{building}"));
            add(format!("{compound}-{building}-1"));
            for room in ["101", "102", "201", "301"] {
                add(format!("{compound}-{building}-1-{room}"));
            }
        }
    }
    ids
}

pub fn standard_address(row: &StandardAddress, ids: &BTreeMap<u64, String>) -> String {
    let StandardAddress { city, county, road, number, compound, building, unit, room, .. } = row;
    let level = match row.level {
        yibiao_address::Level::Compound => "小区",
        yibiao_address::Level::Building => "楼栋",
        yibiao_address::Level::Unit => "单元",
        _ => "户室",
    };
    let status = if row.status == yibiao_address::Status::Withdrawn { "注销" } else { "在用" };
    format!(
        "{},{city}{county}{road}{number}{compound}{building}{unit}{room},{},江苏省,{city},{county},,,{road},{number},{compound},{building},{unit},{room},{level},{status},,2025-11-01 08:00:00",
        ids[&row.place], row.division_code
    )
}
