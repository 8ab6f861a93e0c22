//! Makes a gazetteer of the standard addresses and names that were normalised so far.
//!
//! The facts are gathered in a store of the builder's own, so that a later build reads only what is new, the topics'
//! retention does not matter, and memory does not grow with the number of places. Frames that were sent twice change
//! nothing: a fact is replaced only by one from a later raw position.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;
use yibiao_address::{BuildReport, Divisions, GazetteerBuilder, Status};
use yibiao_records::{
    FactKind, FactKinds, Frame, NextOffset, PlaceId, Statement, TopicPartition, Value, cells,
};
use yibiao_state::{Keyspace, Store};
use yibiao_topics::Client;

use super::{Editions, Ended, Folder, standard::Columns};
use crate::{
    Config, Error,
    source::{NAME_KIND, PLACE_KIND},
};

const PLACES: Keyspace = 0;
const NAMES: Keyspace = 1;
const POSITIONS: Keyspace = 2;
const BATCH_FRAMES: usize = 200;
/// A broker that is away gives empty batches; reading goes on when it is back.
const WAIT: Duration = Duration::from_millis(500);

/// What a build read and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub version: String,
    /// False where it is the one that was in force already.
    pub is_new: bool,
    pub file: PathBuf,
    /// Facts read in this build.
    pub facts_read: u64,
    /// Standard addresses and names that the gazetteer was made of.
    pub standard_addresses: u64,
    pub name_changes: u64,
    /// Standard addresses that could not be used.
    pub refused: u64,
    pub built: BuildReport,
}

/// Builds gazetteers into the folder of `editions` and puts them in force there. One process builds.
pub struct Builder {
    editions: Editions,
    kinds: FactKinds,
    columns: Arc<Columns>,
    client: Client,
    store: Store,
    kept: usize,
}

impl Builder {
    /// # Errors
    /// Fact kinds without the columns of standard addresses and names; a folder that another process builds in.
    pub fn new(
        editions: &Editions,
        kinds: &FactKinds,
        client: &Client,
        config: &Config,
    ) -> Result<Self, Error> {
        let kind = |name: &str| {
            kinds
                .get(name)
                .ok_or_else(|| Error::UnknownKind { feed: "the gazetteer".to_owned(), kind: name.to_owned() })
        };
        let columns = Arc::new(Columns::new(kind(PLACE_KIND)?, kind(NAME_KIND)?)?);
        let path = editions.folder().path().join("facts");
        let store = Store::open(path, &["places", "names", "positions"], &config.state())?;
        let (editions, kinds, client) = (editions.clone(), kinds.clone(), client.clone());
        Ok(Self { editions, kinds, columns, client, store, kept: config.gazetteers_kept })
    }

    /// Reads the topics up to the end that they have now, makes a gazetteer, and puts it in force.
    pub async fn build(&mut self) -> Result<Report, Error> {
        let mut facts_read = 0;
        for kind in [PLACE_KIND, NAME_KIND] {
            let kind = self.kinds.get(kind).cloned().expect("invariant: both kinds were found in `new`");
            facts_read += self.gather(&kind).await?;
        }
        let job = Job {
            folder: self.editions.folder().clone(),
            store: self.store.clone(),
            kept: self.kept,
            facts_read,
        };
        let columns = self.columns.clone();
        let report = tokio::task::spawn_blocking(move || job.run(&columns))
            .await
            .map_err(|_| Error::Panicked { name: "building a gazetteer".to_owned() })??;
        self.editions.refresh()?;
        tracing::info!(
            version = report.version,
            is_new = report.is_new,
            facts_read,
            standard_addresses = report.standard_addresses,
            refused = report.refused,
            "gazetteer built"
        );
        Ok(report)
    }

    /// Brings the store up to the end that the kind's topic has now.
    async fn gather(&self, kind: &FactKind) -> Result<u64, Error> {
        let topic = kind.std_topic();
        let partitions = match self.client.partitions(&topic).await {
            // An installation may do without names of roads and compounds, but not without standard addresses.
            Err(yibiao_topics::Error::UnknownTopic { .. }) if kind.name == NAME_KIND => return Ok(0),
            partitions => partitions?,
        };
        let mut start = Vec::new();
        let mut ends: BTreeMap<i32, NextOffset> = BTreeMap::new();
        for partition in 0..partitions as i32 {
            let tp = TopicPartition::new(topic.as_str(), partition);
            let marks = self.client.watermarks(&tp).await?;
            let next = self.position(&tp)?;
            if next < marks.high && marks.low < marks.high {
                ends.insert(partition, marks.high);
                start.push((tp, next));
            }
        }
        let mut facts = 0;
        if ends.is_empty() {
            return Ok(facts);
        }
        let mut reader = self.client.reader("gazetteer", start)?;
        while !ends.is_empty() {
            let batch = reader.next_batch(BATCH_FRAMES, WAIT).await?;
            let mut folded = Folded::default();
            for message in &batch.messages {
                let (Some(header), Some(value)) = (message.frame()?, message.value()) else { continue };
                facts += folded.frame(Frame::decode(header, value, kind)?, kind)?;
            }
            let next = batch.next_offsets();
            self.write(kind, folded, &next)?;
            for (tp, next) in next {
                if ends.get(&tp.partition).is_some_and(|end| *end <= next) {
                    ends.remove(&tp.partition);
                }
            }
        }
        Ok(facts)
    }

    fn position(&self, tp: &TopicPartition) -> Result<NextOffset, Error> {
        let next = self.store.get(POSITIONS, tp.to_string())?;
        let next = next.and_then(|bytes| Some(i64::from_le_bytes((*bytes).try_into().ok()?)));
        Ok(next.and_then(NextOffset::new).unwrap_or(NextOffset::START))
    }

    fn write(
        &self,
        kind: &FactKind,
        folded: Folded,
        positions: &[(TopicPartition, NextOffset)],
    ) -> Result<(), Error> {
        if positions.is_empty() {
            return Ok(());
        }
        let keyspace = if kind.name == PLACE_KIND { PLACES } else { NAMES };
        let mut batch = self.store.batch();
        for (id, fact) in folded.facts {
            let held = self.store.get(keyspace, id)?;
            if held.as_deref().and_then(raw_position).is_none_or(|held| held < fact.raw) {
                batch.put(keyspace, id.to_vec(), fact.encode());
            }
        }
        for (tp, next) in positions {
            batch.put(POSITIONS, tp.to_string().into_bytes(), next.get().to_le_bytes());
        }
        Ok(batch.commit()?)
    }
}

/// The last fact of each id within one batch.
#[derive(Default)]
struct Folded {
    facts: BTreeMap<[u8; 16], Held>,
}

/// A fact as it is kept: raw offset (8), index (4), valid from (8), place (8), payload; no payload after a retraction.
struct Held {
    raw: (i64, i32),
    valid_from_ms: i64,
    place: i64,
    payload: Option<Vec<Value>>,
}

impl Folded {
    fn frame(&mut self, frame: Frame, kind: &FactKind) -> Result<u64, Error> {
        let facts = frame.facts(kind)?;
        let count = facts.len() as u64;
        for fact in facts {
            let raw = (fact.raw.offset, fact.raw.index);
            // A fact id always comes from one raw partition, so that its positions can be compared.
            if self.facts.get(fact.id.as_bytes()).is_some_and(|held| held.raw >= raw) {
                continue;
            }
            let payload = (fact.statement == Statement::Assert).then_some(fact.payload);
            let held = Held { raw, valid_from_ms: fact.valid_from_ms, place: fact.place.get(), payload };
            self.facts.insert(*fact.id.as_bytes(), held);
        }
        Ok(count)
    }
}

impl Held {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend(self.raw.0.to_le_bytes());
        out.extend(self.raw.1.to_le_bytes());
        out.extend(self.valid_from_ms.to_le_bytes());
        out.extend(self.place.to_le_bytes());
        if let Some(payload) = &self.payload {
            out.push(1);
            out.extend(cells::encode(payload));
        }
        out
    }
}

fn raw_position(bytes: &[u8]) -> Option<(i64, i32)> {
    let (offset, rest) = bytes.split_first_chunk::<8>()?;
    let (index, _) = rest.split_first_chunk::<4>()?;
    Some((i64::from_le_bytes(*offset), i32::from_le_bytes(*index)))
}

/// A fact that holds.
struct Standing {
    place: PlaceId,
    valid_from_ms: i64,
    payload: Vec<Value>,
}

impl Standing {
    /// None after a retraction.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (valid_from, rest) = bytes.get(12..)?.split_first_chunk::<8>()?;
        let (place, rest) = rest.split_first_chunk::<8>()?;
        let payload = cells::decode(rest.strip_prefix(&[1])?).ok()?;
        Some(Self {
            place: PlaceId::new(i64::from_le_bytes(*place))?,
            valid_from_ms: i64::from_le_bytes(*valid_from),
            payload,
        })
    }
}

/// The part of a build that only computes and writes.
struct Job {
    folder: Folder,
    store: Store,
    kept: usize,
    facts_read: u64,
}

impl Job {
    /// Facts are added in the order of their ids, so that the same facts give the same version.
    fn run(&self, columns: &Columns) -> Result<Report, Error> {
        let mut builder = GazetteerBuilder::new(Divisions::bundled());
        let (mut standard_addresses, mut name_changes, mut refused) = (0u64, 0u64, 0u64);
        let mut ended = Ended::default();
        let snapshot = self.store.snapshot();
        for pair in snapshot.prefix(PLACES, b"") {
            let Some(Standing { place, valid_from_ms, payload }) = Standing::decode(&pair?.1) else {
                continue;
            };
            let address = columns.standard_address(place, &payload);
            if address.status == Status::Withdrawn {
                ended.insert(place, valid_from_ms);
            }
            match builder.add(address) {
                Ok(()) => standard_addresses += 1,
                Err(error) => {
                    refused += 1;
                    tracing::warn!(%error, %place, "a standard address is not in the gazetteer");
                }
            }
        }
        if standard_addresses == 0 {
            return Err(Error::NoStandardAddresses { kind: PLACE_KIND.to_owned() });
        }
        for pair in snapshot.prefix(NAMES, b"") {
            let change = Standing::decode(&pair?.1).and_then(|fact| columns.name_change(&fact.payload));
            if let Some(change) = change {
                builder.add_name(change);
                name_changes += 1;
            }
        }
        let unfinished = self.folder.unfinished();
        let built = builder.finish(&unfinished)?;
        let ended = ended.encode();
        let version = format!("{}-{}", built.version, Ended::hash(&ended));
        let is_new = self.folder.current()?.as_deref() != Some(version.as_str());
        self.folder.publish(&unfinished, &ended, &version, self.kept)?;
        Ok(Report {
            file: self.folder.path_of(&version),
            version,
            is_new,
            facts_read: self.facts_read,
            standard_addresses,
            name_changes,
            refused,
            built,
        })
    }
}
