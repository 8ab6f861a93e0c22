//! Normalises a folder of sources, as synth writes it, in memory: what becomes of each feed, by reason, and what a
//! record costs without any broker.
//!
//! ```text
//! cargo run --release -p yibiao-normalise --example normalise_sources -- <folder of sources> [records of a feed]
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message as _;
use yibiao_address::{Divisions, Gazetteer, GazetteerBuilder, Status};
use yibiao_contracts::{Contract, Form, load_dir, load_fact_kinds};
use yibiao_normalise::{
    Config, Counts, Editions, Error, GazetteerFolder,
    decode::RawRecord,
    emit::Outlet,
    gazetteer::StandardColumns,
    resolve::Places,
    same::Same,
    shard::{FrameLimits, Shard},
    source::{NAME_KIND, PLACE_KIND, PlaceSource},
    state::{ShardRecord, State},
};
use yibiao_records::{Fact, FactKinds, Frame, Provenance, Rejection, Statement};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Keeps the facts of places and names, counts the rest, and shows one example of each reason.
struct Sink {
    keep: bool,
    frames: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    sent: usize,
    examples: BTreeMap<String, Rejection>,
}

impl Outlet for Sink {
    fn frame(&mut self, _: &str, _: u32, header: &[u8], value: &[u8]) -> std::result::Result<(), Error> {
        self.sent += 1;
        self.bytes += value.len();
        if self.keep {
            self.frames.push((header.to_vec(), value.to_vec()));
        }
        Ok(())
    }

    fn quarantine(
        &mut self,
        _: &str,
        _: &RawRecord<'_>,
        rejection: &Rejection,
    ) -> std::result::Result<(), Error> {
        if !self.examples.contains_key(&rejection.reason) {
            self.examples.insert(rejection.reason.clone(), rejection.clone());
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sources = PathBuf::from(arguments.next().ok_or("which folder of sources?")?);
    let limit = arguments.next().map_or(Ok(usize::MAX), |n| n.parse())?;
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let kinds = Arc::new(load_fact_kinds(&pipelines.join("facts"))?);
    let contracts: Vec<Arc<Contract>> = load_dir(&pipelines.join("feeds"), &kinds)?.iter().cloned().collect();
    let dir = std::env::temp_dir().join(format!("normalise-sources-{}", std::process::id()));
    let run = Run { kinds, config: Config::default(), dir: dir.clone(), limit, sources };
    let outcome = run.all(&contracts);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

struct Run {
    kinds: Arc<FactKinds>,
    config: Config,
    dir: PathBuf,
    limit: usize,
    sources: PathBuf,
}

impl Run {
    fn all(&self, contracts: &[Arc<Contract>]) -> Result<()> {
        let folder = GazetteerFolder::new(self.dir.join("gazetteer"))?;
        let state = State::open(&self.dir.join("state"), &yibiao_state::Options::default())?;
        let (of_places, others): (Vec<_>, Vec<_>) = contracts
            .iter()
            .partition(|contract| [PLACE_KIND, NAME_KIND].contains(&contract.fact.kind.as_str()));
        let mut facts = BTreeMap::new();
        for contract in of_places {
            facts.insert(
                contract.fact.kind.clone(),
                self.feed(contract, contracts, &state, None, usize::MAX)?,
            );
        }
        self.build(&facts, &folder)?;
        let editions = Editions::open(folder)?;
        for contract in others {
            self.feed(contract, contracts, &state, Some(&editions), self.limit)?;
        }
        Ok(())
    }

    fn feed(
        &self,
        contract: &Arc<Contract>,
        contracts: &[Arc<Contract>],
        state: &State,
        editions: Option<&Editions>,
        limit: usize,
    ) -> Result<Vec<Fact>> {
        let records = self.records(contract, limit)?;
        if records.is_empty() {
            println!("{}: no JSON lines or CSV here", contract.feed);
            return Ok(Vec::new());
        }
        let kind = self.kinds.get(&contract.fact.kind).ok_or("no such kind")?;
        let authority = contracts.iter().find(|contract| contract.fact.kind == PLACE_KIND);
        let source = PlaceSource::new(contract, kind, authority.map(|contract| &contract.feed))?;
        let limits = FrameLimits { std_partitions: 4, facts_max: self.config.frame_facts_max };
        let mut shard = Shard::new(contract, source, &self.kinds, 0, ShardRecord::default(), limits)?;
        shard.edition = editions.and_then(|editions| editions.subscribe().borrow().clone());
        let mut places = Places::new(self.config.cache_addresses_max);
        let mut same = Same::new(self.config.cache_records_max);
        let mut sink =
            Sink { keep: editions.is_none(), frames: vec![], bytes: 0, sent: 0, examples: BTreeMap::new() };
        let mut spent = [Duration::ZERO; 3];
        for (batch, chunk) in records.chunks(self.config.batch_records_max).enumerate() {
            let first = (batch * self.config.batch_records_max) as i64;
            let borrowed =
                || chunk.iter().enumerate().map(|(index, record)| record.borrow(first + index as i64));
            let began = Instant::now();
            shard.begin(state, &same, borrowed())?;
            let judged = Instant::now();
            for record in borrowed() {
                shard.take(&record, state, &mut places, &mut sink)?;
            }
            shard.finish(&mut sink)?;
            let sent = Instant::now();
            let mut commit = state.begin();
            shard.write(&mut commit, &mut same)?;
            commit.commit()?;
            let ended = Instant::now();
            for (slot, (from, to)) in spent.iter_mut().zip([(began, judged), (judged, sent), (sent, ended)]) {
                *slot += to - from;
            }
        }
        let counts = &shard.record.counts;
        let micros = spent.map(|spent| spent.as_secs_f64() * 1e6 / counts.received as f64);
        println!(
            "{}: {} us a record (known {:.1}, judge {:.1}, commit {:.1}); {} frames of {} KiB",
            contract.feed,
            micros.iter().sum::<f64>().round(),
            micros[0],
            micros[1],
            micros[2],
            sink.sent,
            sink.bytes / sink.sent.max(1) / 1024
        );
        show(counts, &sink);
        let mut facts = Vec::new();
        for (header, value) in &sink.frames {
            facts.extend(Frame::decode(Frame::decode_header(header)?, value, kind)?.facts(kind)?);
        }
        facts.sort_by_key(|fact| fact.raw);
        Ok(facts)
    }

    fn build(&self, facts: &BTreeMap<String, Vec<Fact>>, folder: &GazetteerFolder) -> Result<()> {
        let kind = |name: &str| self.kinds.get(name).ok_or("no such kind");
        let columns = StandardColumns::new(kind(PLACE_KIND)?, kind(NAME_KIND)?)?;
        let last = |kind: &str| {
            let mut last = BTreeMap::new();
            for fact in facts.get(kind).into_iter().flatten() {
                last.insert(fact.id, fact);
            }
            last.into_values().filter(|fact| fact.statement == Statement::Assert)
        };
        let mut builder = GazetteerBuilder::new(Divisions::bundled());
        // Beside the gazetteer lies when places were withdrawn: pairs of place and moment.
        let mut ended: BTreeMap<i64, i64> = BTreeMap::new();
        for fact in last(PLACE_KIND) {
            let address = columns.standard_address(fact.place, &fact.payload);
            if address.status == Status::Withdrawn {
                ended.insert(fact.place.get(), fact.valid_from_ms);
            }
            builder.add(address)?;
        }
        last(NAME_KIND)
            .filter_map(|fact| columns.name_change(&fact.payload))
            .for_each(|name| builder.add_name(name));
        let unfinished = folder.path().join("unfinished");
        let report = builder.finish(&unfinished)?;
        let version = Gazetteer::open(&unfinished)?.version().to_owned();
        std::fs::rename(&unfinished, folder.path_of(&version))?;
        let ended: Vec<u8> =
            ended.iter().flat_map(|(place, at)| [place.to_le_bytes(), at.to_le_bytes()]).flatten().collect();
        std::fs::write(folder.path_of(&version).with_extension("ended"), ended)?;
        std::fs::write(folder.path().join("CURRENT"), &version)?;
        println!("gazetteer: {report:?}");
        Ok(())
    }

    /// Lines of all the feed's files, as a connector would have admitted them.
    fn records(&self, contract: &Contract, limit: usize) -> Result<Vec<Record>> {
        let folder = self.sources.join(contract.feed.as_str());
        let mut files: Vec<PathBuf> = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?,
            Err(_) => return Ok(Vec::new()),
        };
        files.sort();
        let mut door = contract.door();
        let mut records = Vec::new();
        for file in files {
            let bytes = std::fs::read(&file)?;
            let mut lines =
                bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let columns = match contract.ingest.form {
                Form::Csv(_) => lines.next().map(|line| line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)),
                Form::Json => None,
                _ => continue,
            };
            for line in lines.filter(|line| !line.is_empty()).take(limit - records.len().min(limit)) {
                let admitted = door.admit(line, columns);
                let provenance = Provenance {
                    feed: contract.feed.to_string(),
                    source: file.display().to_string(),
                    columns: columns.unwrap_or_default().to_vec(),
                    withheld: admitted.withheld,
                    ..Provenance::default()
                };
                let provenance = provenance.encode_to_vec();
                records.push(Record { key: admitted.key, value: admitted.value.into_owned(), provenance });
            }
        }
        Ok(records)
    }
}

struct Record {
    key: Vec<u8>,
    value: Vec<u8>,
    provenance: Vec<u8>,
}

impl Record {
    fn borrow(&self, offset: i64) -> RawRecord<'_> {
        RawRecord {
            offset,
            timestamp_ms: 0,
            key: Some(&self.key),
            value: Some(&self.value),
            provenance: Some(&self.provenance),
            origin: None,
            revised: false,
            gazetteer: None,
        }
    }
}

fn show(counts: &Counts, sink: &Sink) {
    let Counts { received, accepted, quarantined, unchanged, retracted, .. } = counts;
    println!(
        "  received {received} = accepted {accepted} + quarantined {quarantined} + unchanged {unchanged}; moved or ended {retracted}"
    );
    for (reason, count) in &counts.reasons {
        let example =
            sink.examples.get(reason).map(|rejection| format!("{}: {}", rejection.field, rejection.detail));
        println!("  {count:>8} {reason:<18} {}", example.unwrap_or_default());
    }
}
