//! All contracts of a folder, and all fact kinds.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{NaiveDate, Utc};
use yibiao_records::{FactKind, FactKinds, FeedId};

use crate::{Error, Problems, contract::Contract, problem::Sink, read};

const SUFFIX: &str = ".odcs.yaml";

/// The contracts of an installation, by feed.
#[derive(Debug, Clone, Default)]
pub struct Contracts(BTreeMap<FeedId, Arc<Contract>>);

impl Contracts {
    pub fn get(&self, feed: &FeedId) -> Option<&Arc<Contract>> {
        self.0.get(feed)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Contract>> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads `<feeds>/<department>/<feed>.odcs.yaml`. Every problem of every file at once.
pub fn load_dir(feeds: &Path, kinds: &FactKinds) -> Result<Contracts, Problems> {
    load_dir_on(feeds, kinds, Utc::now().date_naive())
}

/// The same on another day: permissions end.
pub fn load_dir_on(feeds: &Path, kinds: &FactKinds, today: NaiveDate) -> Result<Contracts, Problems> {
    let mut problems = Problems::default();
    let mut contracts = BTreeMap::new();
    let mut files = Vec::new();
    for department in entries(feeds, &mut problems) {
        if department.is_dir() {
            files.extend(
                entries(&department, &mut problems).into_iter().filter(|path| name(path).ends_with(SUFFIX)),
            );
        } else if name(&department).ends_with(SUFFIX) {
            Sink::new(&department, &mut problems).report(
                0,
                "the contract lies in no department's folder",
                "move it to <department>/<feed>.odcs.yaml",
            );
        }
    }
    if files.is_empty() && problems.is_empty() {
        Sink::new(feeds, &mut problems).report(
            0,
            "there are no contracts",
            "add <department>/<feed>.odcs.yaml, or check the folder",
        );
    }
    for file in files {
        if let Some(contract) = load_into(&file, kinds, today, &mut problems) {
            contracts.insert(contract.feed.clone(), Arc::new(contract));
        }
    }
    problems.sort();
    if problems.is_empty() { Ok(Contracts(contracts)) } else { Err(problems) }
}

/// Reads one contract; its feed follows from the last two parts of its path.
pub fn load_file(file: &Path, kinds: &FactKinds) -> Result<Contract, Problems> {
    load_file_on(file, kinds, Utc::now().date_naive())
}

/// The same on another day.
pub fn load_file_on(file: &Path, kinds: &FactKinds, today: NaiveDate) -> Result<Contract, Problems> {
    let mut problems = Problems::default();
    let contract = load_into(file, kinds, today, &mut problems);
    problems.sort();
    contract.ok_or(problems)
}

fn load_into(file: &Path, kinds: &FactKinds, today: NaiveDate, problems: &mut Problems) -> Option<Contract> {
    let mut sink = Sink::new(file, problems);
    let department = file.parent().map(name).unwrap_or_default();
    let feed = name(file).strip_suffix(SUFFIX).unwrap_or_default().to_owned();
    let feed: FeedId = match format!("{department}/{feed}").parse() {
        Ok(feed) => feed,
        Err(error) => {
            sink.report(
                0,
                format!("the path names no feed: {error}"),
                "name it <department>/<feed>.odcs.yaml, in lower-case letters, digits and '-'",
            );
            return None;
        }
    };
    match std::fs::read_to_string(file) {
        Ok(text) => read::contract(file, &text, &feed, kinds, today, problems),
        Err(error) => {
            sink.report(
                0,
                format!("it cannot be read: {error}"),
                "check that it is there, readable and UTF-8",
            );
            None
        }
    }
}

/// Reads all fact kinds of a folder: `pipelines/facts/<name>.yaml`.
pub fn load_fact_kinds(facts: &Path) -> Result<FactKinds, Error> {
    let read = |path: &Path| -> Result<FactKind, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
        let kind: FactKind = serde_saphyr::from_str(&text)
            .map_err(|error| Error::FactKind { path: path.into(), detail: error.to_string() })?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if kind.name != stem {
            return Err(Error::FactKind {
                path: path.into(),
                detail: format!("it is named '{}'; name it as its file", kind.name),
            });
        }
        Ok(kind)
    };
    let listed = std::fs::read_dir(facts).map_err(|source| Error::Read { path: facts.into(), source })?;
    let mut paths: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    Ok(FactKinds::new(paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?))
}

fn entries(folder: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    match std::fs::read_dir(folder) {
        Ok(listed) => paths.extend(listed.filter_map(|entry| Some(entry.ok()?.path()))),
        Err(error) => Sink::new(folder, problems).report(
            0,
            format!("the folder cannot be read: {error}"),
            "check the path",
        ),
    }
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
