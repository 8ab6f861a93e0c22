//! Full dumps: each file holds all records that there are, and its end is told to those who read the raw topic.
//!
//! ```text
//!  file ── records, each with the dump's number ──► acknowledged, cursor saved ── end ──► every partition
//! ```
//!
//! A dump keeps its number over a crash, so that what is sent again belongs to the same one. Its end is told when the file
//! has been read whole, and a later file is there or nobody has written to it for a while; one that is replaced before is
//! never ended.

use serde::{Deserialize, Serialize};

use super::{folder::Entry, mark::FileCursor};
use crate::{
    Error,
    intake::{Intake, now_ms},
};

/// Which dump is being read, and the number of the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dumps {
    open: Option<Dump>,
    last: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Dump {
    file: String,
    number: u64,
}

impl Dumps {
    pub fn is_unused(&self) -> bool {
        *self == Self::default()
    }

    /// A file that is gone has no end.
    pub fn forget_unless(&mut self, is_there: impl Fn(&str) -> bool) -> bool {
        let before = self.open.is_some();
        self.open = self.open.take().filter(|dump| is_there(&dump.file));
        before && self.open.is_none()
    }

    /// The file is read from its beginning.
    pub fn begin(&mut self, entry: &Entry) {
        self.last = (self.last + 1).max(now_ms().max(0) as u64);
        self.open = Some(Dump { file: entry.name.clone(), number: self.last });
    }

    /// The number of the file's dump; 0 where that has ended: what was added to the file since belongs to none.
    pub fn number(&self, entry: &Entry) -> u64 {
        self.open.as_ref().filter(|dump| dump.file == entry.name).map_or(0, |dump| dump.number)
    }
}

/// Ends the file's dump, if it is open and the file was read whole.
pub async fn end(intake: &mut Intake, cursor: &mut FileCursor, entry: &Entry) -> Result<(), Error> {
    let number = cursor.dumps.number(entry);
    let Some(records) = cursor.rows_read(entry).filter(|_| number > 0 && entry.is_as_listed()) else {
        return Ok(());
    };
    intake.save(&*cursor).await?;
    intake.end_dump(number, &entry.name, records).await?;
    cursor.dumps.open = None;
    intake.save(&*cursor).await?;
    cursor.unsaved = false;
    tracing::info!(feed = %intake.feed, file = entry.name, records, "a full dump was read to its end");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_keeps_its_number_and_a_later_one_has_a_larger_even_if_the_clock_goes_back() {
        let entry = |name: &str| Entry { name: name.into(), path: "x".into(), size: 5, modified_ms: 1 };
        let mut dumps = Dumps { open: None, last: u64::MAX / 2 };
        dumps.begin(&entry("a.csv"));
        let first = dumps.number(&entry("a.csv"));
        assert_eq!(first, u64::MAX / 2 + 1);
        assert_eq!(dumps.number(&entry("b.csv")), 0);
        dumps.begin(&entry("b.csv"));
        assert_eq!((dumps.number(&entry("a.csv")), dumps.number(&entry("b.csv"))), (0, first + 1));
    }
}
