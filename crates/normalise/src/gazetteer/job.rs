//! The part of a build that only computes and writes.

use std::{collections::BTreeSet, sync::Arc};

use yibiao_address::{Divisions, Gazetteer, GazetteerBuilder, Resolver, Status};
use yibiao_records::PlaceId;
use yibiao_state::{Bytes, Snapshot, Store};

use super::{
    Ended, Folder, Report,
    build::{CHANGED, NAMES, PLACES},
    held::Standing,
    standard::Columns,
};
use crate::{Error, source::PLACE_KIND};

/// Under this key stands the version of the last whole gazetteer, beside the facts changed since.
const BASE: &[u8] = b"base";
/// Under this key stands that an overlay will not do.
pub(super) const WHOLE: &[u8] = b"whole";
/// More changed facts than this are built into a whole gazetteer, however large it is.
const OVERLAY_FACTS_MAX: usize = 100_000;

pub(super) struct Job {
    pub folder: Folder,
    pub store: Store,
    pub kept: usize,
    pub overlay_percent: f64,
    pub facts_read: u64,
}

/// What an overlay is built of.
struct Over {
    version: String,
    base: Arc<Gazetteer>,
    /// Ids of the facts changed since the base was built.
    facts: BTreeSet<Bytes>,
}

enum Plan {
    Whole,
    Overlay(Over),
    /// Nothing has changed since the base, which is in force.
    Nothing(Over),
}

/// Counts of what was taken.
#[derive(Default)]
struct Taken {
    standard_addresses: u64,
    name_changes: u64,
    refused: u64,
}

impl Job {
    /// Facts are added in the order of their ids, so that the same facts give the same version.
    pub fn run(&self, columns: &Columns) -> Result<Report, Error> {
        let snapshot = self.store.snapshot();
        match self.plan(&snapshot)? {
            Plan::Whole => self.whole(&snapshot, columns),
            Plan::Overlay(over) => self.overlay(&snapshot, over, columns),
            Plan::Nothing(over) => Ok(Report {
                file: self.folder.path_of(&over.version),
                is_new: false,
                is_overlay: false,
                facts_read: self.facts_read,
                standard_addresses: 0,
                name_changes: 0,
                refused: 0,
                built: over.base.report().clone(),
                version: over.version,
            }),
        }
    }

    /// An overlay will do for few changes, none of which takes something away: that it could only call withdrawn.
    fn plan(&self, snapshot: &Snapshot) -> Result<Plan, Error> {
        let version = snapshot.get(CHANGED, BASE)?.and_then(|v| String::from_utf8(v.to_vec()).ok());
        let Some(version) = version.filter(|version| self.folder.path_of(version).is_file()) else {
            return Ok(Plan::Whole);
        };
        if self.overlay_percent <= 0.0 || snapshot.get(CHANGED, WHOLE)?.is_some() {
            return Ok(Plan::Whole);
        }
        let mut facts = BTreeSet::new();
        for pair in snapshot.prefix(CHANGED, b"") {
            facts.extend(Some(pair?.0).filter(|key| key.len() == 16));
            if facts.len() > OVERLAY_FACTS_MAX {
                return Ok(Plan::Whole);
            }
        }
        let Ok(base) = Gazetteer::open(&self.folder.path_of(&version)) else { return Ok(Plan::Whole) };
        let share = facts.len() as f64 * 100.0 / base.report().rows.max(1) as f64;
        let is_current = self.folder.current()?.as_deref() == Some(version.as_str());
        let over = Over { version, base: Arc::new(base), facts };
        Ok(match share <= self.overlay_percent {
            _ if over.facts.is_empty() && is_current => Plan::Nothing(over),
            true if !over.facts.is_empty() => Plan::Overlay(over),
            _ => Plan::Whole,
        })
    }

    fn whole(&self, snapshot: &Snapshot, columns: &Columns) -> Result<Report, Error> {
        let mut builder = GazetteerBuilder::new(Divisions::bundled());
        let (mut taken, mut ended) = (Taken::default(), Ended::default());
        for pair in snapshot.prefix(PLACES, b"") {
            if let Some(fact) = Standing::decode(&pair?.1) {
                taken.standard_address(&fact, columns, &mut builder, &mut ended);
            }
        }
        if taken.standard_addresses == 0 {
            return Err(Error::NoStandardAddresses { kind: PLACE_KIND.to_owned() });
        }
        for pair in snapshot.prefix(NAMES, b"") {
            let change = Standing::decode(&pair?.1).and_then(|fact| columns.name_change(&fact.payload));
            if let Some(change) = change {
                builder.add_name(change);
                taken.name_changes += 1;
            }
        }
        let report = self.finish(builder, None, &ended, taken)?;
        // After the file is in force: a crash before leaves the changes to the older base, which is kept.
        let mut batch = self.store.batch();
        for pair in snapshot.prefix(CHANGED, b"") {
            batch.delete(CHANGED, pair?.0);
        }
        batch.put(CHANGED, BASE, report.version.clone().into_bytes());
        batch.commit()?;
        Ok(report)
    }

    fn overlay(&self, snapshot: &Snapshot, over: Over, columns: &Columns) -> Result<Report, Error> {
        let mut builder = GazetteerBuilder::over(Divisions::bundled(), Resolver::new(over.base));
        let mut taken = Taken::default();
        let mut ended = Ended::read(&self.folder.ended_of(&over.version))?;
        for id in over.facts {
            if let Some(fact) = snapshot.get(PLACES, id)?.as_deref().and_then(Standing::decode) {
                taken.standard_address(&fact, columns, &mut builder, &mut ended);
            }
        }
        self.finish(builder, Some(&over.version), &ended, taken)
    }

    fn finish(
        &self,
        builder: GazetteerBuilder<'_>,
        base: Option<&str>,
        ended: &Ended,
        taken: Taken,
    ) -> Result<Report, Error> {
        let unfinished = self.folder.unfinished();
        let built = builder.finish(&unfinished)?;
        let ended = ended.encode();
        let own = format!("{}-{}", built.version, Ended::hash(&ended));
        let version = base.map_or(own.clone(), |base| format!("{base}+{own}"));
        let is_new = self.folder.current()?.as_deref() != Some(version.as_str());
        self.folder.publish(&unfinished, &ended, &version, self.kept)?;
        Ok(Report {
            file: self.folder.path_of(&version),
            version,
            is_new,
            is_overlay: base.is_some(),
            facts_read: self.facts_read,
            standard_addresses: taken.standard_addresses,
            name_changes: taken.name_changes,
            refused: taken.refused,
            built,
        })
    }
}

impl Taken {
    fn standard_address(
        &mut self,
        fact: &Standing,
        columns: &Columns,
        builder: &mut GazetteerBuilder<'_>,
        ended: &mut Ended,
    ) {
        let place: PlaceId = fact.place;
        let address = columns.standard_address(place, &fact.payload);
        match address.status {
            Status::Withdrawn => ended.insert(place, fact.valid_from_ms),
            _ => ended.remove(place),
        }
        match builder.add(address) {
            Ok(()) => self.standard_addresses += 1,
            Err(error) => {
                self.refused += 1;
                tracing::warn!(%error, %place, "a standard address is not in the gazetteer");
            }
        }
    }
}
