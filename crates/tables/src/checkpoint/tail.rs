//! The tail: where the batches ended that the lake may have and a checkpoint has not.
//!
//! | tail object of epoch e | says |
//! |---|---|
//! | `from` to `to` | the ends of these batches; whatever earlier epochs say of batches from `from` on does not count |
//! | `to` = `from` - 1, empty | epoch e has begun here |

use std::{collections::BTreeMap, sync::atomic::Ordering};

use super::{Folder, Owner};
use crate::{Error, shard::BatchEnd};

/// Batches in one object.
const ENDS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    epoch: u64,
    from: u64,
    to: u64,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("tail/")?.strip_suffix(".json")?.split('-').map(str::parse);
        let mut number = || parts.next()?.ok();
        Some(Self { epoch: number()?, from: number()?, to: number()? })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tail/{:010}-{:020}-{:020}.json", self.epoch, self.from, self.to)
    }
}

impl Folder {
    async fn tails(&self) -> Result<Vec<Name>, Error> {
        let names = self.names(Some("tail")).await?;
        let mut tails: Vec<_> = names.iter().filter_map(|name| Name::parse(name)).collect();
        tails.sort();
        Ok(tails)
    }

    async fn ends(&self, name: Name) -> Result<Vec<BatchEnd>, Error> {
        let name = name.to_string();
        let bytes = self.get(&name).await?.ok_or_else(|| self.damaged(&name, "it is gone"))?;
        serde_json::from_slice(&bytes).map_err(|error| self.damaged(&name, error.to_string()))
    }
}

impl Owner {
    /// Closes the tail for the owners before, and gives the ends of all batches after `after` that are to be made again.
    /// After the lake was fenced: all that they have brought into it is in the tail then.
    pub async fn take_over_tail(&self, after: u64) -> Result<Vec<BatchEnd>, Error> {
        let (mut ends, mut last) = (BTreeMap::new(), 0);
        for name in self.folder.tails().await?.into_iter().filter(|name| name.epoch < self.epoch()) {
            // Said by a later epoch, or once more by the same one.
            ends.split_off(&name.from);
            last = name.to;
            if name.to > after {
                ends.extend(self.folder.ends(name).await?.into_iter().map(|end| (end.batch, end)));
            }
        }
        let tail: Vec<BatchEnd> = ends.split_off(&(after + 1)).into_values().collect();
        let wanted = after + 1..=last;
        if !wanted.clone().eq(tail.iter().map(|end| end.batch)) {
            return Err(Error::Tail {
                of: self.subject(),
                what: format!("batches {wanted:?} are wanted, and not all of them are there"),
            });
        }
        let begin = Name { epoch: self.epoch(), from: last + 1, to: last };
        self.folder.put(&begin.to_string(), b"[]".to_vec()).await?;
        self.tailed.store(last, Ordering::Release);
        Ok(tail)
    }

    /// Adds the ends, which follow those that are there.
    pub async fn append_tail(&self, ends: &[BatchEnd]) -> Result<(), Error> {
        for ends in ends.chunks(ENDS_MAX) {
            let (Some(first), Some(last)) = (ends.first(), ends.last()) else { continue };
            if first.batch != self.tailed() + 1 {
                return Err(Error::Tail {
                    of: self.subject(),
                    what: format!("batch {} cannot follow batch {}", first.batch, self.tailed()),
                });
            }
            let name = Name { epoch: self.epoch(), from: first.batch, to: last.batch };
            let bytes = serde_json::to_vec(ends).expect("ends of batches are JSON");
            self.folder.put(&name.to_string(), bytes).await?;
            self.tailed.store(last.batch, Ordering::Release);
        }
        Ok(())
    }

    /// Forgets batches that every kept checkpoint has. The newest object stays: it tells where this epoch goes on.
    pub(super) async fn prune_tail(&self, through: u64) -> Result<(), Error> {
        let tails = self.folder.tails().await?;
        let newest = tails.iter().rfind(|name| name.epoch == self.epoch()).copied();
        for name in tails.into_iter().filter(|name| name.epoch <= self.epoch()) {
            if name.to <= through && Some(name) != newest {
                self.folder.delete(&name.to_string()).await?;
            }
        }
        Ok(())
    }
}
