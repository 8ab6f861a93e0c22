//! What all seeds share: contracts, tables, one rule, and two gazetteers that differ.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use yibiao_address::{Divisions, Gazetteer, GazetteerBuilder, Level, StandardAddress, Status};
use yibiao_contracts::{Contract, Decoded, FullDump, load_fact_kinds, load_file_on};
use yibiao_normalise::{
    Editions, GazetteerFolder,
    diff::Located,
    gazetteer::Edition,
    resolve::{Places, Question},
    source::PlaceSource,
};
use yibiao_records::{FactKinds, FeedId, PlaceId};
use yibiao_tables::Tables;

/// The feeds, in the order of [`Setup::feeds`].
pub const POLICE: usize = 0;
pub const POWER: usize = 1;
pub const JUSTICE: usize = 2;
const FEEDS: [&str; 3] =
    ["police/standard-addresses", "utilities/electricity-readings", "justice/mediation-cases"];
pub const KINDS: [&str; 3] = ["place", "electricity", "dispute"];
/// How many raw partitions each has.
pub const RAW_PARTITIONS: [i32; 3] = [1, 2, 2];
/// Those that send full dumps.
pub const DUMPED: [usize; 2] = [POLICE, JUSTICE];
/// A dump that lacks more than this share of what stands, and more than a few, is taken for a broken one.
pub const GONE_MAX_PERCENT: u8 = 50;

/// What records tell as their address, and how the two gazetteers differ in it.
pub const ADDRESSES: [&str; 9] = [
    "南京市鼓楼区上海路12号青禾新村1幢1单元101室",
    "青禾新村2-1-101",
    // Another place in the second gazetteer.
    "青禾新村1幢1单元102室",
    // Provisional in the first, standard in the second.
    "青禾新村1幢1单元103室",
    // A building that only the second has.
    "青禾新村9幢1单元101室",
    "青禾新村1幢1单元999室",
    // Withdrawn in the second.
    "青禾新村2幢1单元102室",
    // In two districts.
    "云杉花园1幢1单元101室",
    "",
];

/// Where a fact lies: what the resolver says, taken as given.
#[derive(Debug, Clone, PartialEq)]
pub struct Spot {
    pub place: PlaceId,
    pub level: String,
    pub provisional: bool,
    /// 12 digits.
    pub division_code: String,
}

pub struct Feed {
    pub contract: Contract,
    /// Another version of it, under which some records are refused.
    pub stricter: Option<Contract>,
    pub source: PlaceSource,
    pub raw_topic: Arc<str>,
    pub quarantine_topic: Arc<str>,
    pub std_topic: Arc<str>,
}

pub struct Setup {
    pub kinds: Arc<FactKinds>,
    pub tables: Tables,
    pub feeds: Vec<Feed>,
    pub editions: Vec<Arc<Edition>>,
    /// By edition, feed and address; None where it is refused.
    spots: BTreeMap<(usize, usize, usize), Option<Spot>>,
    /// The gazetteers are mapped from here.
    _dir: TempDir,
}

impl Setup {
    /// `project` is the folder that holds `pipelines`.
    pub fn new(project: &Path) -> Result<Self> {
        let pipelines = project.join("pipelines");
        let kinds = Arc::new(load_fact_kinds(&pipelines.join("facts"))?);
        let tables = Tables::load(&pipelines.join("tables"), &kinds, 2)?;
        let authority: FeedId = FEEDS[POLICE].parse()?;
        let today = "2025-11-20".parse().context("a day")?;
        let mut feeds = Vec::new();
        for (index, (name, kind)) in FEEDS.iter().zip(KINDS).enumerate() {
            let file = pipelines.join(format!("feeds/{name}.odcs.yaml"));
            let mut contract =
                load_file_on(&file, &kinds, today).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
            let full = FullDump { files: None, gone_max_percent: GONE_MAX_PERCENT };
            contract.ingest.full_dump = DUMPED.contains(&index).then_some(full);
            let columns = kinds.get(kind).context("a kind")?;
            ensure!(contract.fact.kind == kind, "{name} gives {}", contract.fact.kind);
            feeds.push(Feed {
                source: PlaceSource::new(&contract, columns, Some(&authority))?,
                raw_topic: contract.feed.raw_topic().into(),
                quarantine_topic: contract.feed.quarantine_topic().into(),
                std_topic: columns.std_topic().into(),
                stricter: (*name == FEEDS[POWER]).then(|| stricter(&contract)),
                contract,
            });
        }
        let dir = tempfile::tempdir()?;
        let versions = [publish(dir.path(), &city(false))?, publish(dir.path(), &city(true))?];
        let folder = Editions::open(GazetteerFolder::new(dir.path())?)?;
        let editions =
            versions.iter().map(|version| folder.edition(version)).collect::<Result<Vec<_>, _>>()?;
        let mut setup = Self { kinds, tables, feeds, editions, spots: BTreeMap::new(), _dir: dir };
        setup.find_spots()?;
        Ok(setup)
    }

    fn find_spots(&mut self) -> Result<()> {
        let mut places = Places::new(64);
        for (e, edition) in self.editions.iter().enumerate() {
            for feed in [POWER, JUSTICE] {
                let PlaceSource::Resolves(resolves) = &self.feeds[feed].source else { continue };
                for (a, address) in ADDRESSES.iter().enumerate() {
                    let decoded = decoded(address);
                    let question = Question::of(resolves, &decoded);
                    let (asked, from) = (question.hash(), decoded.valid_from_ms);
                    let found = places.locate(edition, resolves, &question, asked, from).ok();
                    self.spots.insert((e, feed, a), found.map(|found| spot(&found)));
                }
            }
        }
        let place = |e, a| self.spot(e, POWER, a).map(|spot| (spot.place, spot.provisional));
        let standard = |id: &str| Some((own_place(id), false));
        ensure!(place(0, 0) == standard("QH-1-101") && place(1, 0) == standard("QH-1-101"));
        ensure!(place(0, 2) == standard("QH-1-102") && place(1, 2) == standard("QH-1-102-NEW"));
        ensure!(place(0, 3).is_some_and(|(_, provisional)| provisional));
        ensure!(place(1, 3) == standard("QH-1-103"));
        ensure!(place(0, 4).is_none() && place(1, 4) == standard("QH-9-101"));
        ensure!(self.spot(0, JUSTICE, 4).is_some_and(|spot| spot.level == "compound"));
        ensure!(place(0, 5).is_some() && place(0, 5) == place(1, 5));
        ensure!(place(0, 6) == standard("QH-2-102") && place(1, 6).is_none());
        ensure!((0..2).all(|e| place(e, 7).is_none() && place(e, 8).is_none()));
        Ok(())
    }

    /// Which edition has this version.
    pub fn edition(&self, version: &str) -> Option<usize> {
        self.editions.iter().position(|edition| edition.version() == version)
    }

    pub fn spot(&self, edition: usize, feed: usize, address: usize) -> Option<&Spot> {
        self.spots.get(&(edition, feed, address)).and_then(Option::as_ref)
    }
}

impl Feed {
    /// The contract, or its stricter version.
    pub fn contract_of(&self, strict: bool) -> &Contract {
        self.stricter.as_ref().filter(|_| strict).unwrap_or(&self.contract)
    }
}

/// More than this is refused by the stricter contract, in thousandths.
pub const STRICT_MAX: i64 = 1_500;

fn stricter(contract: &Contract) -> Contract {
    let mut contract = contract.clone();
    contract.version = "1.1.0".into();
    for field in contract.fields.iter_mut().filter(|field| field.name == "kwh") {
        field.maximum = Some(STRICT_MAX);
    }
    contract
}

/// The place that the police know by this id.
pub fn own_place(external: &str) -> PlaceId {
    PlaceId::derive(FEEDS[POLICE], external)
}

fn spot(located: &Located) -> Spot {
    Spot {
        place: located.place,
        level: located.level.to_owned(),
        provisional: located.provisional,
        division_code: format!("{:012}", located.division_code),
    }
}

fn decoded(address: &str) -> Decoded {
    Decoded {
        source_key: "1".into(),
        address: (!address.is_empty()).then(|| address.to_owned()),
        place_name: None,
        city: None,
        external_place_id: None,
        valid_from_ms: 1_762_000_000_000,
        valid_to_ms: None,
        withdrawn: false,
        payload: Vec::new(),
    }
}

/// 青禾新村 with a few dwellings, and 云杉花园 in two districts.
fn city(second: bool) -> Vec<StandardAddress> {
    let mut rows = compound("QH", "鼓楼区", "320106", "上海路", "12号", "青禾新村");
    let moved = if second { "QH-1-102-NEW" } else { "QH-1-102" };
    let mut homes = vec![("QH-1-101", "1", "101"), (moved, "1", "102"), ("QH-2-101", "2", "101")];
    homes.push(("QH-2-102", "2", "102"));
    if second {
        homes.extend([("QH-1-103", "1", "103"), ("QH-9-101", "9", "101")]);
    }
    let of = rows[0].clone();
    rows.extend(homes.iter().map(|(id, building, room)| dwelling(&of, id, building, room)));
    if let Some(row) = rows.iter_mut().find(|row| second && row.place == own_place("QH-2-102").get() as u64) {
        row.status = Status::Withdrawn;
    }
    for (id, county, code) in [("YS1", "玄武区", "320102"), ("YS2", "秦淮区", "320104")] {
        let rows_of = compound(id, county, code, "珠江路", "7号", "云杉花园");
        rows.push(dwelling(&rows_of[0], &format!("{id}-1-101"), "1", "101"));
        rows.extend(rows_of);
    }
    rows
}

fn compound(
    id: &str,
    county: &str,
    code: &str,
    road: &str,
    number: &str,
    name: &str,
) -> Vec<StandardAddress> {
    vec![StandardAddress {
        place: own_place(id).get() as u64,
        level: Level::Compound,
        city: "南京市".into(),
        county: county.into(),
        division_code: code.into(),
        road: road.into(),
        number: number.into(),
        compound: name.into(),
        status: Status::InUse,
        ..StandardAddress::default()
    }]
}

fn dwelling(of: &StandardAddress, id: &str, building: &str, room: &str) -> StandardAddress {
    StandardAddress {
        place: own_place(id).get() as u64,
        level: Level::Dwelling,
        building: format!("{building}幢"),
        unit: "1单元".into(),
        room: format!("{room}室"),
        ..of.clone()
    }
}

fn publish(dir: &Path, rows: &[StandardAddress]) -> Result<String> {
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    for row in rows {
        builder.add(row.clone())?;
    }
    let unfinished = dir.join("unfinished");
    builder.finish(&unfinished)?;
    let version = Gazetteer::open(&unfinished)?.version().to_owned();
    std::fs::rename(&unfinished, dir.join(format!("gazetteer-{version}.ybg")))?;
    Ok(version)
}
