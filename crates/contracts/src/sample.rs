//! A feed's unit test: its sample goes through the door and the decoder, and every record's outcome is compared
//! with the expected one.
//!
//! ```text
//!  <feed>.sample.csv|jsonl|xlsx|binpb ──► records ── Door ── Decoder ──► outcomes ─┐
//!  <feed>.expected.yaml ─────────────────────────────────────────────────► expected ┴─► SampleReport
//! ```
//!
//! The expected file:
//!
//! ```yaml
//! never_stored: [32010620000101001X]     # texts that may come past the door in no record
//! records:                               # in the order of the sample
//!   - accepted:
//!       key: [W0001, 2025-11-03]         # also: address, place_name, city, external_place_id,
//!       valid_from: 2025-11-03           #       valid_to, withdrawn
//!       payload: { amount: 0.35 }        # columns of the fact kind; null for none
//!   - rejected: out_of_range             # a reason's code
//!     field: 用水量（吨）                  # may be left out
//! ```

mod expected;
mod source;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use yibiao_records::FactKinds;

use crate::{Contract, Decoded, Error, Reject};
pub use source::{SampleRecord, read_records};

/// What became of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleReport {
    pub sample: PathBuf,
    /// None where the feed has no expected outcomes: then nothing was compared.
    pub expected: Option<PathBuf>,
    pub records: Vec<Tried>,
    /// What concerns no single record.
    pub mismatches: Vec<String>,
}

/// One record of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Row, line or message, from 1, the header row not counted.
    pub position: usize,
    pub outcome: Result<Decoded, Reject>,
    /// How the outcome differs from the expected one, in words.
    pub mismatches: Vec<String>,
}

impl SampleReport {
    pub fn is_as_expected(&self) -> bool {
        self.mismatches.is_empty() && self.records.iter().all(|record| record.mismatches.is_empty())
    }

    pub fn accepted(&self) -> usize {
        self.records.iter().filter(|record| record.outcome.is_ok()).count()
    }
}

impl fmt::Display for SampleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected = self.records.len() - self.accepted();
        write!(f, "{}: {} accepted, {rejected} rejected", self.sample.display(), self.accepted())?;
        for mismatch in &self.mismatches {
            write!(f, "\n  {mismatch}")?;
        }
        for record in &self.records {
            for mismatch in &record.mismatches {
                write!(f, "\n  record {}: {mismatch}", record.position)?;
            }
        }
        Ok(())
    }
}

/// Tries the sample that lies beside the contract.
pub fn try_sample(contract: &Contract, kinds: &FactKinds) -> Result<SampleReport, Error> {
    let folder = contract.file.parent().unwrap_or(Path::new("."));
    let sample = source::beside(folder, contract)?;
    let expected = folder.join(format!("{}.expected.yaml", contract.feed.feed()));
    try_files(contract, kinds, &sample, expected.is_file().then_some(expected.as_path()))
}

/// Tries any sample of the feed, with or without expected outcomes.
pub fn try_files(
    contract: &Contract,
    kinds: &FactKinds,
    sample: &Path,
    expected: Option<&Path>,
) -> Result<SampleReport, Error> {
    let records = read_records(contract, sample)?;
    let kind = kinds.get(&contract.fact.kind);
    let kind = kind.ok_or_else(|| Error::UnknownKind {
        feed: contract.feed.to_string(),
        kind: contract.fact.kind.clone(),
    })?;
    let wanted = expected.map(expected::Expected::read).transpose()?;
    let (mut door, mut decoder) = (contract.door(), contract.decoder(kinds)?);
    let mut report = SampleReport {
        sample: sample.to_path_buf(),
        expected: expected.map(Path::to_path_buf),
        records: Vec::with_capacity(records.len()),
        mismatches: Vec::new(),
    };
    for (index, record) in records.iter().enumerate() {
        let admitted = door.admit(&record.value, record.columns.as_deref());
        let outcome = decoder.decode(&admitted.value, admitted.columns.as_deref());
        let mut mismatches = Vec::new();
        if let Some(wanted) = &wanted {
            wanted.compare(index, &outcome, kind, contract.ingest.zone_minutes, &mut mismatches);
            wanted.search(&admitted, &outcome, &mut mismatches);
        }
        if let Ok(decoded) = &outcome
            && decoded.source_key.as_bytes() != admitted.key
        {
            mismatches.push("the door and the decoder give it different keys".into());
        }
        report.records.push(Tried { position: index + 1, outcome, mismatches });
    }
    if let Some(wanted) = &wanted
        && wanted.len() != records.len()
    {
        report.mismatches.push(format!(
            "the sample has {} records, {} are expected; give every record its outcome",
            records.len(),
            wanted.len()
        ));
    }
    Ok(report)
}
