//! The log of one partition: segments in order of offset, the last of which is written. Batches are stored
//! as the producer sent them; only the base offset and the leader epoch in front of the checksummed part are
//! filled in.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::batch::{self, HEADER_BYTES, Header};
use crate::error::Refusal;
use crate::producers::{Producers, Verdict};
use crate::segment::{Segment, read_batch};
use crate::settings::Settings;

/// Bytes of all logs together, held against the limit.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) bytes: AtomicU64,
    pub(crate) bytes_max: u64,
    pub(crate) producers_max: usize,
}

#[derive(Debug)]
pub(crate) struct Log {
    folder: PathBuf,
    pub(crate) settings: Arc<Settings>,
    /// In order of offset, never empty; the last one is written.
    pub(crate) segments: Vec<Segment>,
    /// The first offset that is still to be read.
    pub(crate) start: i64,
    pub(crate) producers: Producers,
    pub(crate) disk: Arc<Disk>,
    /// Fetches that wait for the next write.
    waiting: Vec<Weak<Notify>>,
    /// When retention and compaction last looked at it.
    pub(crate) tended_at: Instant,
    deleted: bool,
}

/// Where a batch was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// ms; -1 where the records keep their own times.
    pub(crate) append_time: i64,
}

/// A stretch of a file to read from, good even if the segment is deleted meanwhile.
#[derive(Debug)]
pub(crate) struct Span {
    file: Arc<File>,
    position: u64,
    end: u64,
    /// The offset after this file's last.
    pub(crate) next_offset: i64,
}

impl Log {
    /// Opens what lies in the folder, which need not exist. `start` is the offset below which records were
    /// deleted by request.
    pub(crate) fn open(
        folder: PathBuf,
        settings: Arc<Settings>,
        start: i64,
        disk: Arc<Disk>,
    ) -> io::Result<Log> {
        let mut bases = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("log") => bases.extend(path.file_stem().and_then(|s| s.to_str()?.parse::<i64>().ok())),
                Some("new") => fs::remove_file(&path)?,
                _ => {}
            }
        }
        bases.sort_unstable();
        let mut producers = Producers::default();
        let mut segments: Vec<Segment> = Vec::new();
        for base in bases {
            if segments.last().is_some_and(|s| base < s.facts.end) {
                // Compaction had merged it into the one before, and was killed before it could remove it.
                Segment::new(&folder, base).delete();
                continue;
            }
            if segments.is_empty() {
                // What the producers did before is known, though their batches may be deleted.
                producers = Segment::new(&folder, base).producers_before().unwrap_or_default();
            }
            segments.push(Segment::open(&folder, base, &mut producers, disk.producers_max)?);
        }
        if segments.is_empty() {
            segments.push(Segment::new(&folder, start));
        }
        let bytes = segments.iter().map(|s| s.facts.bytes).sum();
        disk.bytes.fetch_add(bytes, Ordering::Relaxed);
        let start = start.max(segments[0].base);
        let (waiting, tended_at) = (Vec::new(), Instant::now());
        let mut log =
            Log { folder, settings, segments, start, producers, disk, waiting, tended_at, deleted: false };
        if log.end() < start {
            log.segments.push(Segment::new(&log.folder, start));
        }
        Ok(log)
    }

    /// The offset after the last record: the high-water mark, as nothing is replicated.
    pub(crate) fn end(&self) -> i64 {
        self.active().facts.end
    }

    /// The offset up to which all transactions have ended.
    pub(crate) fn stable_end(&self) -> i64 {
        self.producers.first_open().unwrap_or_else(|| self.end())
    }

    /// Appends one batch of a producer.
    pub(crate) fn append(&mut self, batch: &Bytes, now_ms: i64) -> Result<Appended, Refusal> {
        let header = Header::read(batch).filter(|h| h.bytes == batch.len());
        let header = header.ok_or_else(|| {
            Refusal::new(ResponseError::InvalidRecord, "expected exactly one record batch of format 2")
        })?;
        if !batch::checksum_holds(batch) {
            return Err(ResponseError::CorruptMessage.into());
        }
        if header.is_control() || header.count < 1 || header.last_delta != header.count - 1 {
            let text = "a batch must hold records, numbered without gaps, and no control records";
            return Err(Refusal::new(ResponseError::InvalidRecord, text));
        }
        if batch.len() > self.settings.message_bytes_max as usize {
            let max = self.settings.message_bytes_max;
            let text =
                format!("a batch of {} bytes is over this topic's max.message.bytes={max}", batch.len());
            return Err(Refusal::new(ResponseError::MessageTooLarge, text));
        }
        if self.settings.compact {
            let records = batch::records(batch).map_err(|e| Refusal::new(ResponseError::InvalidRecord, e))?;
            if records.iter().any(|r| r.key.is_none()) {
                let text = "a compacted topic takes only records with a key";
                return Err(Refusal::new(ResponseError::InvalidRecord, text));
            }
        }
        let append_time = if self.settings.append_time { now_ms } else { -1 };
        if let Verdict::Repeated(base_offset) = self.producers.judge(&header)? {
            return Ok(Appended { base_offset, append_time });
        }
        let used = self.disk.bytes.load(Ordering::Relaxed) + batch.len() as u64;
        if used > self.disk.bytes_max {
            return Err(Refusal::limit(format!(
                "the embedded broker's disk limit of {} bytes is reached: raise it, delete topics or shorten \
                 their retention.ms and retention.bytes",
                self.disk.bytes_max
            )));
        }
        let stamped = self.settings.append_time.then(|| {
            let mut stamped = batch.to_vec();
            batch::stamp_append_time(&mut stamped, now_ms);
            stamped
        });
        let header = self.write(stamped.as_deref().unwrap_or(batch), now_ms)?;
        self.producers.appended(&header, self.disk.producers_max);
        Ok(Appended { base_offset: header.base_offset, append_time })
    }

    /// Ends the transaction that a producer has open here, if it has one.
    pub(crate) fn end_transaction(
        &mut self,
        id: i64,
        epoch: i16,
        commit: bool,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        if self.deleted || !self.producers.open().iter().any(|(open, _)| *open == id) {
            return Ok(());
        }
        let header = self.write(&batch::marker(id, epoch, commit, now_ms), now_ms)?;
        self.producers.ended(&header, commit);
        Ok(())
    }

    fn write(&mut self, batch: &[u8], now_ms: i64) -> Result<Header, Refusal> {
        if self.deleted {
            return Err(ResponseError::UnknownTopicOrPartition.into());
        }
        if self.active().facts.bytes + batch.len() as u64 > self.settings.segment_bytes {
            self.roll()?;
        }
        let mut front = [0u8; 16];
        front.copy_from_slice(&batch[..16]);
        front[..8].copy_from_slice(&self.end().to_be_bytes());
        front[12..].fill(0);
        let mut header = Header::read(batch).expect("invariant: the batch's header was read before");
        header.base_offset = self.end();
        self.active_mut().append(&[&front, &batch[16..]], &header, now_ms)?;
        self.disk.bytes.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.wake();
        Ok(header)
    }

    /// Seals the segment that is written and begins the next, whose file is made at once: when all others are
    /// deleted, its name still says where the log goes on.
    pub(crate) fn roll(&mut self) -> io::Result<()> {
        if self.active().facts.bytes == 0 {
            return Ok(());
        }
        let producers = self.producers.clone();
        let mut next = Segment::new(&self.folder, self.end());
        next.begin(&producers)?;
        self.active_mut().seal(&producers)?;
        self.segments.push(next);
        Ok(())
    }

    /// Writes all to the disk and leaves an index, so that the next start need not read the segment.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        if self.deleted || self.active().facts.bytes == 0 {
            return Ok(());
        }
        self.active_mut().handle()?.sync_data()?;
        let producers = self.producers.clone();
        self.active_mut().seal(&producers)
    }

    /// Where to read a batch with `offset` or, where compaction left none, the next one.
    pub(crate) fn span(&mut self, offset: i64) -> io::Result<Option<Span>> {
        let i = self.segments.partition_point(|s| s.facts.end <= offset);
        match self.segments[i..].iter_mut().find(|s| s.facts.bytes > 0) {
            Some(segment) => {
                let (position, end) = (segment.position_before(offset), segment.facts.bytes);
                Ok(Some(Span { file: segment.handle()?, position, end, next_offset: segment.facts.end }))
            }
            None => Ok(None),
        }
    }

    /// Bytes from the batch with `offset` on, about.
    pub(crate) fn bytes_from(&self, offset: i64) -> u64 {
        let i = self.segments.partition_point(|s| s.facts.end <= offset);
        let later: u64 = self.segments[i..].iter().map(|s| s.facts.bytes).sum();
        later - self.segments.get(i).map_or(0, |s| s.position_before(offset))
    }

    /// The first record at `timestamp` or later: its time and offset.
    pub(crate) fn find_time(&mut self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        let start = self.start;
        for segment in self.segments.iter_mut().filter(|s| s.facts.max_timestamp >= timestamp) {
            let position = segment.position_before_time(timestamp);
            let end = segment.facts.bytes;
            let mut reader = BufReader::new(FileReader { file: segment.handle()?, position, end });
            let mut batch = Vec::new();
            while read_batch(&mut reader, &mut batch)? {
                let header = Header::read(&batch).filter(|h| h.max_timestamp >= timestamp && !h.is_control());
                let found = header.and_then(|_| batch::records(&batch).ok()).and_then(|records| {
                    records.into_iter().find(|r| r.timestamp >= timestamp && r.offset >= start)
                });
                if let Some(record) = found {
                    return Ok(Some((record.timestamp, record.offset)));
                }
            }
        }
        Ok(None)
    }

    /// The largest time of a record, and the first record that has it.
    pub(crate) fn latest_time(&mut self) -> io::Result<Option<(i64, i64)>> {
        match self.segments.iter().map(|s| s.facts.max_timestamp).max() {
            Some(latest) if latest >= 0 => self.find_time(latest),
            _ => Ok(None),
        }
    }

    /// Removes the oldest segments that lie wholly before `offset`, and has readers begin there.
    pub(crate) fn delete_before(&mut self, offset: i64) -> io::Result<()> {
        self.start = self.start.max(offset.min(self.end()));
        if self.active().facts.end <= self.start {
            self.roll()?;
        }
        let keep = self.segments.partition_point(|s| s.facts.end <= self.start).min(self.segments.len() - 1);
        for segment in self.segments.drain(..keep) {
            segment.delete();
            self.disk.bytes.fetch_sub(segment.facts.bytes, Ordering::Relaxed);
        }
        self.producers.forget_before(self.start);
        Ok(())
    }

    /// Removes all of it; appends to it fail from now on.
    pub(crate) fn delete(&mut self) {
        self.deleted = true;
        self.disk.bytes.fetch_sub(self.segments.iter().map(|s| s.facts.bytes).sum(), Ordering::Relaxed);
        self.segments.iter_mut().for_each(Segment::rest);
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.folder.display(), "could not remove a partition's folder");
        }
        self.wake();
    }

    /// Has `waiter` notified at the next write.
    pub(crate) fn wait(&mut self, waiter: &Arc<Notify>) {
        self.waiting.retain(|w| w.strong_count() > 0);
        self.waiting.push(Arc::downgrade(waiter));
    }

    fn wake(&mut self) {
        for waiter in self.waiting.drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.notify_one();
            }
        }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn active(&self) -> &Segment {
        self.segments.last().expect("invariant: a log has at least one segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("invariant: a log has at least one segment")
    }
}

impl Span {
    /// Whole batches from the one with `offset` on, as they lie in the file: below `upper`, and within
    /// `bytes_max` unless the first alone is larger. Empty when the file has none.
    pub(crate) fn read(&self, offset: i64, upper: i64, bytes_max: usize) -> io::Result<Bytes> {
        let mut position = self.position;
        let mut front = [0u8; HEADER_BYTES];
        // Find the batch. Its neighbours in the index are a few batches apart, so few headers are read.
        let first = loop {
            if position + HEADER_BYTES as u64 > self.end {
                return Ok(Bytes::new());
            }
            self.file.read_exact_at(&mut front, position)?;
            let header = Header::read(&front).ok_or_else(damaged)?;
            if header.next_offset() > offset {
                break header;
            }
            position += header.bytes as u64;
        };
        if first.base_offset >= upper {
            return Ok(Bytes::new());
        }
        let length = bytes_max.max(first.bytes).min((self.end - position) as usize);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, position)?;
        let mut whole = 0;
        while let Some(header) = Header::read(&bytes[whole..]) {
            if header.base_offset >= upper || whole + header.bytes > bytes.len() {
                break;
            }
            whole += header.bytes;
        }
        bytes.truncate(whole);
        Ok(Bytes::from(bytes))
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a batch header in the middle of a log segment is damaged")
}

/// Reads a stretch of a file that others read too.
pub(crate) struct FileReader {
    pub(crate) file: Arc<File>,
    pub(crate) position: u64,
    pub(crate) end: u64,
}

impl io::Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min((self.end - self.position) as usize);
        let n = self.file.read_at(&mut buffer[..length], self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
