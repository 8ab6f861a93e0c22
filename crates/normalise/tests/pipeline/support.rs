//! One shard without a broker: what it sends is kept in a list.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use prost::Message as _;
use tempfile::TempDir;
use yibiao_address::{Divisions, Gazetteer, GazetteerBuilder, Level, StandardAddress, Status};
use yibiao_contracts::{Contract, load_dir, load_fact_kinds};
use yibiao_normalise::{
    Config, Editions, Error, GazetteerFolder,
    decode::RawRecord,
    emit::Outlet,
    resolve::Places,
    same::Same,
    shard::{FrameLimits, Shard},
    source::PlaceSource,
    state::{ShardId, ShardPrefix, State},
};
use yibiao_records::{
    Fact, FactId, FactKinds, FeedId, Frame, PlaceId, Provenance, Reason, Rejection, Statement,
};

pub const STD_PARTITIONS: u32 = 4;
pub const POLICE: &str = "police/standard-addresses";
pub const ELECTRICITY: &str = "utilities/electricity-readings";
pub const DISPUTES: &str = "justice/mediation-cases";

pub fn pipelines() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines")
}

pub fn kinds() -> Arc<FactKinds> {
    Arc::new(load_fact_kinds(&pipelines().join("facts")).unwrap())
}

pub fn contracts(kinds: &FactKinds) -> Vec<Arc<Contract>> {
    load_dir(&pipelines().join("feeds"), kinds).unwrap().iter().cloned().collect()
}

pub fn contract(feed: &str, kinds: &FactKinds) -> Arc<Contract> {
    contracts(kinds).into_iter().find(|contract| contract.feed.as_str() == feed).unwrap()
}

/// A raw record, as a connector would have written it.
#[derive(Debug, Clone)]
pub struct Raw {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub provenance: Provenance,
    pub origin: Option<i64>,
    pub revised: bool,
}

impl Raw {
    pub fn new(contract: &Contract, value: impl AsRef<[u8]>, columns: Option<&[u8]>) -> Self {
        let value = value.as_ref();
        let admitted = contract.door().admit(value, columns);
        let provenance = Provenance {
            feed: contract.feed.to_string(),
            source: "test".into(),
            columns: columns.unwrap_or_default().to_vec(),
            withheld: admitted.withheld,
            ..Provenance::default()
        };
        Self {
            key: admitted.key,
            value: Some(admitted.value.into_owned()),
            provenance,
            origin: None,
            revised: false,
        }
    }

    /// As a record of this full dump.
    pub fn within(mut self, dump: u64) -> Self {
        self.provenance.dump = dump;
        self
    }

    pub fn tombstone(of: &Raw) -> Self {
        Self { value: None, ..of.clone() }
    }
}

/// What a shard sent.
#[derive(Debug, Default)]
pub struct Sent {
    pub frames: Vec<(String, u32, Vec<u8>, Vec<u8>)>,
    pub refused: Vec<Rejection>,
}

impl Outlet for Sent {
    fn frame(&mut self, topic: &str, partition: u32, header: &[u8], value: &[u8]) -> Result<(), Error> {
        self.frames.push((topic.to_owned(), partition, header.to_vec(), value.to_vec()));
        Ok(())
    }

    fn quarantine(&mut self, _: &str, _: &RawRecord<'_>, rejection: &Rejection) -> Result<(), Error> {
        self.refused.push(rejection.clone());
        Ok(())
    }
}

impl Sent {
    /// The facts of each std partition, in their order.
    pub fn facts(&self, kinds: &FactKinds) -> BTreeMap<u32, Vec<Fact>> {
        let mut facts: BTreeMap<u32, Vec<Fact>> = BTreeMap::new();
        for (topic, partition, header, value) in &self.frames {
            let header = Frame::decode_header(header).unwrap();
            assert_eq!(*topic, format!("std.{}", header.kind));
            let kind = kinds.get(&header.kind).unwrap();
            let frame = Frame::decode(header, value, kind).unwrap();
            for fact in frame.facts(kind).unwrap() {
                assert_eq!(fact.place.shard(STD_PARTITIONS), *partition, "a fact lies in its place's shard");
                facts.entry(*partition).or_default().push(fact);
            }
        }
        facts
    }

    /// All facts by raw position.
    pub fn in_order(&self, kinds: &FactKinds) -> Vec<Fact> {
        let mut facts: Vec<Fact> = self.facts(kinds).into_values().flatten().collect();
        facts.sort_by_key(|fact| fact.raw);
        facts
    }

    pub fn statements(&self, kinds: &FactKinds) -> Vec<(Statement, PlaceId)> {
        self.in_order(kinds).iter().map(|fact| (fact.statement, fact.place)).collect()
    }
}

/// The only partition of one feed.
pub struct Bench {
    pub contract: Arc<Contract>,
    pub kinds: Arc<FactKinds>,
    pub state: State,
    pub editions: Editions,
    pub shard: Shard,
    pub sent: Sent,
    pub next: i64,
    pub same: Same,
    places: Places,
    config: Config,
    dir: TempDir,
}

impl Bench {
    pub fn new(feed: &str) -> Self {
        Self::of(contract(feed, &kinds()))
    }

    pub fn of(contract: Arc<Contract>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        publish(&dir.path().join("gazetteer"), &city());
        let kinds = kinds();
        let config = Config {
            state_cache_mib: 4,
            state_write_buffer_mib: 8,
            cache_records_max: 1_000,
            ..Config::default()
        };
        let state = open_state(dir.path());
        let editions = Editions::open(GazetteerFolder::new(dir.path().join("gazetteer")).unwrap()).unwrap();
        let shard = open_shard(&contract, &kinds, &state, &editions, &config);
        let places = Places::new(config.cache_addresses_max);
        let same = Same::new(config.cache_records_max);
        Self {
            contract,
            kinds,
            state,
            editions,
            shard,
            sent: Sent::default(),
            next: 0,
            same,
            places,
            config,
            dir,
        }
    }

    /// Remembers so many records from here on, and none of those that came.
    pub fn remember(&mut self, records_max: usize) {
        self.config.cache_records_max = records_max;
        self.same = Same::new(records_max);
    }

    pub fn gazetteer_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("gazetteer")
    }

    /// The newest edition is taken at this batch boundary.
    pub fn take_edition(&mut self) {
        self.editions.refresh().unwrap();
        self.shard.edition = self.editions.subscribe().borrow().clone();
    }

    /// As a process that starts now sees the folder.
    pub fn reopen_editions(&mut self) {
        self.editions = Editions::open(GazetteerFolder::new(self.gazetteer_dir()).unwrap()).unwrap();
        self.shard.edition = self.editions.subscribe().borrow().clone();
    }

    /// One batch; committed unless the crash comes before.
    pub fn batch(&mut self, first: i64, records: &[Raw], commits: bool) {
        let encoded: Vec<Vec<u8>> = records.iter().map(|raw| raw.provenance.encode_to_vec()).collect();
        let borrowed: Vec<RawRecord<'_>> = records
            .iter()
            .zip(&encoded)
            .enumerate()
            .map(|(index, (raw, provenance))| RawRecord {
                offset: first + index as i64,
                timestamp_ms: 1_700_000_000_000 + first + index as i64,
                key: Some(&raw.key),
                value: raw.value.as_deref(),
                provenance: Some(provenance),
                origin: raw.origin,
                revised: raw.revised,
                gazetteer: None,
            })
            .collect();
        self.shard.begin(&self.state, &self.same, borrowed.iter().copied()).unwrap();
        for record in &borrowed {
            self.shard.take(record, &self.state, &mut self.places, &mut self.sent).unwrap();
        }
        self.shard.finish(&mut self.sent).unwrap();
        if commits {
            let mut commit = self.state.begin();
            self.shard.write(&mut commit, &mut self.same).unwrap();
            commit.commit().unwrap();
        }
        self.next = first + records.len() as i64;
    }

    /// The end of a full dump, as a connector tells it: step by step, each committed. Dies before the commit of the step
    /// with this number, from 0.
    pub fn end_dump(&mut self, dump: u64, dies_at: Option<usize>) {
        let provenance = Provenance { dump, ends_dump: true, ..Provenance::default() }.encode_to_vec();
        let end = RawRecord {
            offset: self.next,
            timestamp_ms: 1_700_000_000_000 + self.next,
            key: None,
            value: None,
            provenance: Some(&provenance),
            origin: None,
            revised: false,
            gazetteer: None,
        };
        for step in 0.. {
            self.shard.begin(&self.state, &self.same, std::iter::empty()).unwrap();
            let done = self.shard.end_dump(&end, &self.state, &mut self.sent).unwrap();
            self.shard.finish(&mut self.sent).unwrap();
            if dies_at == Some(step) {
                return self.restart();
            }
            let mut commit = self.state.begin();
            self.shard.write(&mut commit, &mut self.same).unwrap();
            commit.commit().unwrap();
            if done {
                break;
            }
        }
        self.next += 1;
    }

    /// Records one batch after another, as they come.
    pub fn send(&mut self, records: &[Raw]) {
        self.batch(self.next, records, true);
    }

    /// Forgets what was not committed, as a restart does.
    pub fn restart(&mut self) {
        self.shard = open_shard(&self.contract, &self.kinds, &self.state, &self.editions, &self.config);
        self.remember(self.config.cache_records_max);
        self.next = self.shard.record.next.get();
    }

    /// As a restart with another contract.
    pub fn take_contract(&mut self, contract: Contract) {
        self.contract = contract.into();
        self.restart();
    }

    /// The reasons of what was refused, after checking that the accounts balance.
    pub fn reasons(&self) -> Vec<Reason> {
        let counts = &self.shard.record.counts;
        assert!(counts.balances(), "{counts:?}");
        assert_eq!(counts.received as i64, self.next);
        assert_eq!(counts.quarantined as usize, self.sent.refused.len());
        self.sent.refused.iter().map(|rejection| Reason::from_code(&rejection.reason).unwrap()).collect()
    }

    /// How many records wait for another gazetteer.
    pub fn waiting(&self) -> usize {
        let shard = ShardPrefix::new(&self.shard.id);
        self.state.waiting(shard, FactId::from_bytes([0; 16])).count()
    }

    pub fn outcomes(&self) -> [u64; 4] {
        let counts = &self.shard.record.counts;
        [counts.received, counts.accepted, counts.quarantined, counts.unchanged]
    }

    pub fn json(&self, value: &str) -> Raw {
        Raw::new(&self.contract, value, None)
    }
}

fn open_state(dir: &Path) -> State {
    let options =
        yibiao_state::Options { cache_bytes: 4 << 20, write_buffer_bytes: 8 << 20, ..Default::default() };
    State::open(&dir.join("state"), &options).unwrap()
}

fn open_shard(
    contract: &Arc<Contract>,
    kinds: &Arc<FactKinds>,
    state: &State,
    editions: &Editions,
    config: &Config,
) -> Shard {
    let authority: FeedId = POLICE.parse().unwrap();
    let kind = kinds.get(&contract.fact.kind).unwrap();
    let source = PlaceSource::new(contract, kind, Some(&authority)).unwrap();
    let record = state.shard(&ShardId { feed: contract.feed.clone(), partition: 0 }).unwrap();
    let limits = FrameLimits { std_partitions: STD_PARTITIONS, facts_max: config.frame_facts_max };
    let mut shard = Shard::new(contract, source, kinds, 0, record, limits).unwrap();
    shard.edition = editions.subscribe().borrow().clone();
    shard
}

/// An electricity reading.
pub fn reading(meter: &str, address: &str, day: &str, kwh: &str) -> String {
    format!(
        r#"{{"meter_no":"{meter}","service_address":"{address}","reading_date":"{day}","kwh":{kwh},"updated_at":"2025-11-04T08:00:00"}}"#
    )
}

pub fn dispute(case: &str, address: &str) -> String {
    format!(
        r#"{{"case_no":"{case}","category":"邻里纠纷","accepted_at":"2025-11-03T09:00:00","closed_at":null,"address":"{address}","outcome":null}}"#
    )
}

pub fn place(external_id: &str) -> PlaceId {
    PlaceId::derive(POLICE, external_id)
}

/// 青禾新村 with two buildings, and 云杉花园 twice, in two districts.
pub fn city() -> Vec<StandardAddress> {
    let mut rows = Vec::new();
    let compounds = [
        ("QH", "鼓楼区", "320106", "上海路", "12号", "青禾新村"),
        ("YS1", "玄武区", "320102", "珠江路", "7号", "云杉花园"),
        ("YS2", "秦淮区", "320104", "太平南路", "9号", "云杉花园"),
    ];
    for (id, county, code, road, number, compound) in compounds {
        let row = |external: String, level, building: &str, unit: &str, room: &str| StandardAddress {
            place: place(&external).get() as u64,
            level,
            city: "南京市".into(),
            county: county.into(),
            division_code: code.into(),
            road: road.into(),
            number: number.into(),
            compound: compound.into(),
            building: building.into(),
            unit: unit.into(),
            room: room.into(),
            status: if external == "QH-2-1-102" { Status::Withdrawn } else { Status::InUse },
            ..StandardAddress::default()
        };
        rows.push(row(id.into(), Level::Compound, "", "", ""));
        for building in 1..=2 {
            let b = format!("{building}幢");
            rows.push(row(format!("{id}-{building}"), Level::Building, &b, "", ""));
            rows.push(row(format!("{id}-{building}-1"), Level::Unit, &b, "1单元", ""));
            for room in ["101", "102", "201"] {
                let external = format!("{id}-{building}-1-{room}");
                rows.push(row(external, Level::Dwelling, &b, "1单元", &format!("{room}室")));
            }
        }
    }
    rows
}

/// Writes a gazetteer and puts it in force, as another process would.
pub fn publish(dir: &Path, rows: &[StandardAddress]) -> String {
    std::fs::create_dir_all(dir).unwrap();
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    rows.iter().cloned().for_each(|row| builder.add(row).unwrap());
    let unfinished = dir.join("unfinished");
    builder.finish(&unfinished).unwrap();
    let version = Gazetteer::open(&unfinished).unwrap().version().to_owned();
    std::fs::rename(&unfinished, dir.join(format!("gazetteer-{version}.ybg"))).unwrap();
    std::fs::write(dir.join("CURRENT"), &version).unwrap();
    version
}
