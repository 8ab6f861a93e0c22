//! Makes a gazetteer of the standard addresses and names that were normalised so far.
//!
//! The facts are gathered in a store of the builder's own, so that a later build reads only what is new, the topics'
//! retention does not matter, and memory does not grow with the number of places. Frames that were sent twice change
//! nothing: a fact is replaced only by one from a later raw position.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use yibiao_address::BuildReport;
use yibiao_records::{FactKind, FactKinds, Frame, NextOffset, TopicPartition};
use yibiao_state::{Keyspace, Store};
use yibiao_topics::Client;

use super::{
    Editions,
    held::{Folded, raw_position},
    job::{Job, WHOLE},
    standard::Columns,
};
use crate::{
    Config, Error,
    source::{NAME_KIND, PLACE_KIND},
};

pub(super) const PLACES: Keyspace = 0;
pub(super) const NAMES: Keyspace = 1;
const POSITIONS: Keyspace = 2;
/// Facts of places that changed since the last whole gazetteer.
pub(super) const CHANGED: Keyspace = 3;
const BATCH_FRAMES: usize = 200;
/// A broker that is away gives empty batches; reading goes on when it is back.
const WAIT: Duration = Duration::from_millis(500);

/// What a build read and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub version: String,
    /// False where it is the one that was in force already.
    pub is_new: bool,
    /// True where few changes were laid over the last whole gazetteer; what is said of the content is of the overlay.
    pub is_overlay: bool,
    pub file: PathBuf,
    /// Facts read in this build.
    pub facts_read: u64,
    /// Standard addresses and names that this build took; none where nothing has changed since the last.
    pub standard_addresses: u64,
    pub name_changes: u64,
    /// Standard addresses that could not be used.
    pub refused: u64,
    pub built: BuildReport,
}

/// The facts that gazetteers are made of.
#[derive(Debug, Clone)]
pub struct Facts(Store);

impl Facts {
    /// A copy in the folder `to`, from which a builder goes on.
    pub fn copy(&self, to: &Path) -> Result<(), Error> {
        self.0.checkpoint(to)?;
        Ok(())
    }
}

/// Builds gazetteers into the folder of `editions` and puts them in force there. One process builds.
pub struct Builder {
    editions: Editions,
    kinds: FactKinds,
    columns: Arc<Columns>,
    client: Client,
    store: Store,
    kept: usize,
    overlay_percent: f64,
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
        let store = Store::open(path, &["places", "names", "positions", "changed"], &config.state())?;
        let (editions, kinds, client) = (editions.clone(), kinds.clone(), client.clone());
        Ok(Self {
            editions,
            kinds,
            columns,
            client,
            store,
            kept: config.gazetteers_kept,
            overlay_percent: config.gazetteer_overlay_percent,
        })
    }

    pub fn facts(&self) -> Facts {
        Facts(self.store.clone())
    }

    /// Reads the topics up to the end that they have now, makes a gazetteer, and puts it in force.
    pub async fn build(&mut self) -> Result<Report, Error> {
        let facts_read = self.gather_all().await?;
        let folder = self.editions.folder();
        // Where it is announced, shards may need those before it, which only the folder has.
        let kept = match self.editions.spread().is_everywhere(folder.current()?.as_deref()) {
            true => self.kept.max(1),
            false => usize::MAX,
        };
        let job = Job {
            folder: folder.clone(),
            store: self.store.clone(),
            kept,
            overlay_percent: self.overlay_percent,
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
            is_overlay = report.is_overlay,
            facts_read,
            standard_addresses = report.standard_addresses,
            refused = report.refused,
            "gazetteer built"
        );
        Ok(report)
    }

    /// Reads the topics up to the end that they have now, and makes nothing of it yet.
    pub async fn gather_all(&self) -> Result<u64, Error> {
        let mut facts_read = 0;
        for kind in [PLACE_KIND, NAME_KIND] {
            let kind = self.kinds.get(kind).cloned().expect("invariant: both kinds were found in `new`");
            facts_read += self.gather(&kind).await?;
        }
        Ok(facts_read)
    }

    /// What was gathered came over other topics of the same names: std topics are read from here on, and no fact of a raw record
    /// that lies before its raw partition's position is taken.
    pub fn read_on_from(&self, positions: &[(TopicPartition, NextOffset)]) -> Result<(), Error> {
        let mut batch = self.store.batch();
        for (tp, next) in positions {
            batch.put(POSITIONS, tp.to_string().into_bytes(), next.get().to_le_bytes());
        }
        batch.commit()?;
        Ok(self.store.persist()?)
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
                let raw = TopicPartition::new(header.raw_topic.as_str(), header.raw_partition);
                let from = self.position(&raw)?;
                facts += folded.frame(Frame::decode(header, value, kind)?, kind, from)?;
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
                // A new name of a road changes places that no fact is about, and an overlay takes nothing away.
                let changed = if keyspace == PLACES && fact.payload.is_some() { &id[..] } else { WHOLE };
                batch.put(CHANGED, changed.to_vec(), Vec::new());
                batch.put(keyspace, id.to_vec(), fact.encode());
            }
        }
        for (tp, next) in positions {
            batch.put(POSITIONS, tp.to_string().into_bytes(), next.get().to_le_bytes());
        }
        Ok(batch.commit()?)
    }
}
