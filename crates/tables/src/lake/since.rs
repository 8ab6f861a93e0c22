//! What a reader that comes again has to read: the versions of a table since its last visit.

use std::collections::BTreeSet;

use deltalake::{kernel::Action, logstore::get_actions};

use super::{Lake, layout::BUCKET};
use crate::Error;

/// What a table gained after a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// The version up to which this speaks.
    pub version: u64,
    pub what: Selection,
}

/// Which part of a table to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    Nothing,
    /// The first visit, or so long ago that the log's entries are gone.
    Everything,
    /// Data files that were added, by their paths in the log.
    Files(Vec<String>),
    /// Buckets of a base table that were rewritten; they are read as they are at the version.
    Buckets(BTreeSet<i64>),
}

impl Lake {
    /// What `table` gained after version `after`; None if nothing was written to it yet. Compaction adds
    /// nothing.
    pub async fn since(&self, table: &str, after: Option<u64>) -> Result<Option<Since>, Error> {
        let Some(delta) = self.latest(table).await? else { return Ok(None) };
        let failed = |source| Error::Delta {
            doing: "reading the log of",
            table: table.to_owned(),
            source: Box::new(source),
        };
        let version = delta.version().unwrap_or(0);
        let Some(after) = after else { return Ok(Some(Since { version, what: Selection::Everything })) };
        let (mut files, mut buckets) = (BTreeSet::new(), BTreeSet::new());
        let log = delta.log_store();
        for commit in after + 1..=version {
            let Some(bytes) = log.read_commit_entry(commit).await.map_err(failed)? else {
                tracing::info!(table, after, commit, "the log's entry is gone, so everything is read");
                return Ok(Some(Since { version, what: Selection::Everything }));
            };
            for action in get_actions(commit, &bytes).map_err(failed)? {
                let values = match action {
                    Action::Add(add) if add.data_change => {
                        files.insert(add.path);
                        Some(add.partition_values)
                    }
                    Action::Remove(remove) if remove.data_change => remove.partition_values,
                    // A new file was compacted away before it was read.
                    Action::Remove(remove) if files.contains(&remove.path) => {
                        return Ok(Some(Since { version, what: Selection::Everything }));
                    }
                    _ => None,
                };
                let bucket = values.as_ref().and_then(|values| values.get(BUCKET)?.as_ref());
                buckets.extend(bucket.and_then(|bucket| bucket.parse::<i64>().ok()));
            }
        }
        let files: Vec<_> = files.into_iter().collect();
        let what = match (files.is_empty(), buckets.is_empty()) {
            (_, false) => Selection::Buckets(buckets),
            (false, true) => Selection::Files(files),
            (true, true) => Selection::Nothing,
        };
        Ok(Some(Since { version, what }))
    }
}
