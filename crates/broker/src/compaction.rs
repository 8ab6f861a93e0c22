//! Compaction: of the sealed segments of a log only the last record of each key is kept. The segments are
//! rewritten beside the old ones while the log goes on being written and read, and put in place at once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::batch::{self, Header, Record};
use crate::log::{FileReader, Log};
use crate::producers::Producers;
use crate::segment::{Facts, read_batch};
use crate::settings::Settings;

/// Bytes of keys that one pass keeps in memory; what lies behind is left to the next pass.
const KEYS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What one pass needs to know of a segment.
struct Source {
    base: i64,
    facts: Facts,
    file: std::sync::Arc<File>,
}

/// Compacts a log if enough of it has come since the last time.
pub(crate) fn compact(log: &Mutex<Log>, now_ms: i64) -> io::Result<()> {
    let Some((sources, settings, producers, start)) = plan(&mut log.lock(), now_ms)? else { return Ok(()) };
    let mut keys = Keys { latest: HashMap::new(), bytes: 0, producers: &producers, start, end: 0 };
    for source in &sources {
        if !keys.gather(source)? {
            break;
        }
        keys.end = source.facts.end;
    }
    // Segments that fit into one are written into one; each group takes the place of its segments.
    let mut group: Vec<&Source> = Vec::new();
    let mut bytes = 0;
    for source in sources.iter().filter(|s| s.facts.end <= keys.end) {
        if !group.is_empty() && bytes + source.facts.bytes > settings.segment_bytes {
            keys.rewrite(log, &group, &settings, now_ms)?;
            (group, bytes) = (Vec::new(), 0);
        }
        bytes += source.facts.bytes;
        group.push(source);
    }
    if group.is_empty() { Ok(()) } else { keys.rewrite(log, &group, &settings, now_ms) }
}

type Plan = (Vec<Source>, std::sync::Arc<Settings>, Producers, i64);

/// The segments to go over: all sealed ones, if the part that is new since the last time is large or old
/// enough, or if records without a value have been kept for long enough.
fn plan(log: &mut Log, now_ms: i64) -> io::Result<Option<Plan>> {
    let settings = std::sync::Arc::clone(&log.settings);
    if !settings.compact || log.is_deleted() {
        return Ok(None);
    }
    let (stable, start) = (log.stable_end(), log.start);
    let sealed = log.segments.len() - 1;
    let fit = log.segments[..sealed].iter().take_while(|s| {
        s.facts.end <= stable
            && s.facts.max_timestamp <= now_ms.saturating_sub(settings.compaction_lag_min_ms)
    });
    let fit = fit.count();
    let facts = || log.segments[..fit].iter().map(|s| &s.facts);
    let total: u64 = facts().map(|f| f.bytes).sum();
    let dirty: u64 = facts().filter(|f| f.compacted_at.is_none()).map(|f| f.bytes).sum();
    let oldest = facts().filter(|f| f.compacted_at.is_none() && f.bytes > 0).map(|f| f.opened_at).min();
    let late = oldest.is_some_and(|at| now_ms.saturating_sub(at) > settings.compaction_lag_max_ms);
    let stale = facts().any(|f| f.tombstones && tombstones_go(f, &settings, now_ms));
    if !late && !stale && (dirty == 0 || (dirty as f64) < settings.dirty_ratio_min * total as f64) {
        return Ok(None);
    }
    let mut sources = Vec::new();
    for segment in &mut log.segments[..fit] {
        sources.push(Source { base: segment.base, facts: segment.facts.clone(), file: segment.handle()? });
    }
    Ok(Some((sources, settings, log.producers.clone(), start)))
}

/// Whether readers have had the time to see the records without a value that an earlier pass left.
fn tombstones_go(facts: &Facts, settings: &Settings, now_ms: i64) -> bool {
    facts.compacted_at.is_some_and(|at| now_ms.saturating_sub(at) > settings.delete_retention_ms)
}

struct Keys<'a> {
    /// The last offset of each key.
    latest: HashMap<Bytes, i64>,
    bytes: usize,
    producers: &'a Producers,
    start: i64,
    /// The offset after the last record that the pass goes over.
    end: i64,
}

impl Keys<'_> {
    /// Takes in the keys of a segment; false when they are too many.
    fn gather(&mut self, source: &Source) -> io::Result<bool> {
        each_batch(source, |header, batch| {
            if header.is_control() {
                return Ok(true);
            }
            for record in batch::records(batch).map_err(io::Error::other)? {
                if let Some(key) = record.key.as_ref().filter(|_| !self.is_void(header, &record)) {
                    let key = Bytes::copy_from_slice(key);
                    self.bytes += key.len() + 64;
                    if let Some(_before) = self.latest.insert(key, record.offset) {
                        self.bytes -= record.key.map_or(0, |k| k.len()) + 64;
                    }
                }
            }
            Ok(self.bytes <= KEYS_BYTES_MAX)
        })
    }

    fn is_void(&self, header: &Header, record: &Record) -> bool {
        header.is_transactional() && self.producers.is_void(header.producer_id, record.offset)
    }

    fn keeps(&self, header: &Header, record: &Record, tombstones_go: bool) -> bool {
        let latest = record.key.as_ref().and_then(|key| self.latest.get(key));
        record.offset >= self.start
            && !self.is_void(header, record)
            && latest.is_none_or(|latest| *latest <= record.offset)
            // The very last stays, so that a reader who is before it still comes to the end.
            && (record.has_value || !tombstones_go || record.offset + 1 == self.end)
    }

    /// Writes what is kept of some segments into one file, and puts it in their place.
    fn rewrite(
        &self,
        log: &Mutex<Log>,
        group: &[&Source],
        settings: &Settings,
        now_ms: i64,
    ) -> io::Result<()> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        let staged = log.lock().folder().join(format!("{:020}.new", first.base));
        let mut file = BufWriter::new(File::create(&staged)?);
        let mut facts = Facts::rewritten(first.facts.opened_at, first.base, now_ms);
        for source in group {
            let go = tombstones_go(&source.facts, settings, now_ms);
            each_batch(source, |header, batch| {
                let records = batch::records(batch).map_err(io::Error::other)?;
                let kept: Vec<&Record> =
                    records.iter().filter(|r| header.is_control() || self.keeps(header, r, go)).collect();
                if kept.len() == records.len() {
                    file.write_all(batch)?;
                    facts.note(header);
                } else if !kept.is_empty() {
                    let thin = batch::thinned(batch, &kept).map_err(io::Error::other)?;
                    file.write_all(&thin)?;
                    facts.note(&Header { bytes: thin.len(), ..*header });
                }
                facts.tombstones |= kept.iter().any(|r| !r.has_value && !header.is_control());
                Ok(true)
            })?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        facts.end = last.facts.end;
        put_in_place(&mut log.lock(), group, &staged, facts)
    }
}

fn put_in_place(log: &mut Log, group: &[&Source], staged: &std::path::Path, facts: Facts) -> io::Result<()> {
    let found = log.segments.iter().position(|s| s.base == group[0].base).filter(|i| {
        let segments = log.segments.get(*i..i + group.len()).unwrap_or_default();
        segments.len() == group.len() && segments.iter().zip(group).all(|(s, g)| s.facts.end == g.facts.end)
    });
    // Retention or a deletion of the topic may have come first.
    let Some(i) = found.filter(|_| !log.is_deleted()) else { return fs::remove_file(staged) };
    let before: u64 = group.iter().map(|s| s.facts.bytes).sum();
    let after = facts.bytes;
    let producers = log.segments[i + group.len() - 1].sealed_producers().unwrap_or_default();
    log.segments[i].replace(staged, facts, &producers)?;
    for segment in log.segments.drain(i + 1..i + group.len()) {
        segment.delete();
    }
    log.disk.bytes.fetch_sub(before - after.min(before), std::sync::atomic::Ordering::Relaxed);
    tracing::debug!(path = %log.segments[i].path().display(), before_bytes = before, after_bytes = after, "compacted");
    Ok(())
}

/// Gives each batch of a segment to `f`, until it returns false; says whether it reached the end.
fn each_batch(source: &Source, mut f: impl FnMut(&Header, &[u8]) -> io::Result<bool>) -> io::Result<bool> {
    let file = std::sync::Arc::clone(&source.file);
    let mut reader =
        BufReader::with_capacity(1 << 18, FileReader { file, position: 0, end: source.facts.bytes });
    let mut batch = Vec::new();
    while read_batch(&mut reader, &mut batch)? {
        let header = Header::read(&batch).expect("invariant: a batch that was read has a header");
        if !f(&header, &batch)? {
            return Ok(false);
        }
    }
    Ok(true)
}
