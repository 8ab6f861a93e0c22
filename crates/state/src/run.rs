//! The first content of a keyspace as one sorted run: past journal and memtables, straight into the store's tables.

use crate::{Bytes, Error, Keyspace, Store};

type Step<'a> = Box<dyn FnMut(Option<(Bytes, Bytes)>) -> fjall::Result<()> + 'a>;

/// Pairs in rising order of their keys, which nobody sees before [`Run::finish`]. Dropped before that it leaves tables that
/// belong to nothing: a store that is loaded is worth nothing until all its runs are finished.
pub struct Run<'a> {
    store: &'a Store,
    /// The engine does not name its type: a pair is written, None finishes.
    step: Step<'a>,
    last: Option<Bytes>,
}

impl Store {
    /// Begins a run into this keyspace, to which nothing else is written meanwhile.
    pub fn run(&self, keyspace: Keyspace) -> Result<Run<'_>, Error> {
        let ingestion = self.keyspaces[keyspace].start_ingestion().map_err(|source| self.writing(source))?;
        let mut ingestion = Some(ingestion);
        let step: Step<'_> = Box::new(move |pair| match (pair, &mut ingestion) {
            (Some((key, value)), Some(ingestion)) => ingestion.write(key, value),
            (None, ingestion) => ingestion.take().map_or(Ok(()), |ingestion| ingestion.finish()),
            (Some(_), None) => Ok(()),
        });
        Ok(Run { store: self, step, last: None })
    }

    pub(crate) fn writing(&self, source: fjall::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }
}

impl Run<'_> {
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), Error> {
        let key = key.into();
        // The engine would panic.
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(Error::Order { path: self.store.path.clone() });
        }
        self.last = Some(key.clone());
        (self.step)(Some((key, value.into()))).map_err(|source| self.store.writing(source))
    }

    /// Writes the run's tables, synchronised to disk.
    pub fn finish(mut self) -> Result<(), Error> {
        (self.step)(None).map_err(|source| self.store.writing(source))
    }
}
