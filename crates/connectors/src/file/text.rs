//! One CSV or JSON-lines file.

use std::{io::SeekFrom, time::Duration};

use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};
use yibiao_contracts::Form;

use super::{
    folder::Entry,
    mark::{FileCursor, Mark},
    split::{Cut, Shape, Splitter},
};
use crate::{
    Error,
    intake::{Found, Intake, now_ms},
};

const CHUNK: usize = 256 << 10;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What becomes of a last line without its line break.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Somebody may still be writing it.
    pub waits: bool,
    /// Nobody is, when the file has not changed for this long.
    pub settle: Duration,
}

/// Sends what lies after the mark.
pub async fn read(
    intake: &mut Intake,
    form: &Form,
    entry: &Entry,
    from: Mark,
    end: End,
    cursor: &mut FileCursor,
) -> Result<(), Error> {
    let failed = |doing: &'static str| move |source| Error::File { doing, path: entry.path.clone(), source };
    let mut reading = Reading {
        file: File::open(&entry.path).await.map_err(failed("opening"))?,
        splitter: Splitter::new(Shape::Lines, 0, 0),
        chunk: vec![0; CHUNK],
    };
    let shape = match form {
        Form::Csv(dialect) => Shape::Csv { delimiter: dialect.delimiter, quote: dialect.quote },
        _ => Shape::Lines,
    };
    let limit = intake.record_bytes_max();
    let mut begin = reading.after_bom().await.map_err(failed("reading"))?;
    let mut columns = None;
    if matches!(form, Form::Csv(_)) {
        reading.start(shape, limit, begin).await.map_err(failed("reading"))?;
        let Some((header, cut)) = reading.header(end.waits).await.map_err(failed("reading"))? else {
            return Ok(());
        };
        columns = Some(header);
        begin = cut.next;
    }
    reading.start(shape, limit, from.offset.max(begin)).await.map_err(failed("reading"))?;

    let read_before = intake.progress().snapshot();
    let (before, total) = (read_before.read_bytes, read_before.total_bytes.unwrap_or(0));
    let mut row = from.row;
    // What was noted is what was read, even where the file has changed since it was listed.
    loop {
        while let Some(cut) = reading.splitter.next_record() {
            row += 1;
            admit(intake, &reading.splitter, &cut, columns.as_deref(), entry, row).await?;
            if intake.save_is_due() {
                cursor.note(entry, cut.next, row, false).await?;
                intake.save_if_due(&*cursor).await?;
            }
        }
        let read = reading.splitter.offset().saturating_sub(from.offset);
        intake.progress().read_so_far(before + read, total);
        if intake.is_stopping() {
            return cursor.note(entry, reading.splitter.offset(), row, false).await;
        }
        if reading.more().await.map_err(failed("reading"))? == 0 {
            break;
        }
    }

    let next = reading.splitter.offset();
    intake.event_time(entry.modified_ms);
    if end.waits && now_ms() - entry.modified_ms < end.settle.as_millis() as i64 {
        return cursor.note(entry, next, row, false).await;
    }
    // The mark stays before these records, so that one that is completed later is sent whole.
    let whole_rows = row;
    while let Some(cut) = reading.splitter.last_record() {
        row += 1;
        admit(intake, &reading.splitter, &cut, columns.as_deref(), entry, row).await?;
        while let Some(cut) = reading.splitter.next_record() {
            row += 1;
            admit(intake, &reading.splitter, &cut, columns.as_deref(), entry, row).await?;
        }
    }
    cursor.note(entry, next, whole_rows, row > whole_rows).await
}

async fn admit(
    intake: &mut Intake,
    splitter: &Splitter,
    cut: &Cut,
    columns: Option<&[u8]>,
    entry: &Entry,
    row: u64,
) -> Result<(), Error> {
    let value = splitter.bytes(cut);
    intake.admit(Found { value, columns, source: &entry.name, position: row, truncated: cut.truncated }).await
}

struct Reading {
    file: File,
    splitter: Splitter,
    chunk: Vec<u8>,
}

impl Reading {
    /// Where the file begins after a byte order mark.
    async fn after_bom(&mut self) -> std::io::Result<u64> {
        let mut first = Vec::with_capacity(BOM.len());
        (&mut self.file).take(BOM.len() as u64).read_to_end(&mut first).await?;
        Ok(if first == BOM { BOM.len() as u64 } else { 0 })
    }

    async fn start(&mut self, shape: Shape, limit: usize, offset: u64) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(offset)).await?;
        self.splitter = Splitter::new(shape, limit, offset);
        Ok(())
    }

    /// The first record. None where there is none yet.
    async fn header(&mut self, waits: bool) -> std::io::Result<Option<(Vec<u8>, Cut)>> {
        let cut = loop {
            if let Some(cut) = self.splitter.next_record() {
                break cut;
            }
            if self.more().await? == 0 {
                match self.splitter.last_record() {
                    Some(cut) if !waits => break cut,
                    _ => return Ok(None),
                }
            }
        };
        Ok(Some((self.splitter.bytes(&cut).to_vec(), cut)))
    }

    async fn more(&mut self) -> std::io::Result<usize> {
        let read = self.file.read(&mut self.chunk).await?;
        self.splitter.feed(&self.chunk[..read]);
        Ok(read)
    }
}
