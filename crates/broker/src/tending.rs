//! What the broker does by itself: it removes silent members and hanging transactions when their time is up,
//! and looks after the logs (segments of age, retention, compaction).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::log::Log;
use crate::state::{Shared, now_ms};
use crate::{compaction, groups_api, transactions};

/// How often the logs are looked through for any that are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Removes members and transactions whose time is up, as each comes up.
pub(crate) async fn expire(shared: Arc<Shared>) {
    loop {
        let next = [groups_api::expire(&shared), transactions::expire(&shared)].into_iter().flatten().min();
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = shared.sooner.notified() => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// Looks after the logs.
pub(crate) async fn tend(shared: Arc<Shared>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = shared.stop.cancelled() => return,
        }
        let looking = Arc::clone(&shared);
        let looked = tokio::task::spawn_blocking(move || {
            for (name, topic) in looking.topics() {
                for (partition, log) in topic.partitions.iter().enumerate() {
                    if let Err(error) = tend_log(log) {
                        tracing::error!(%error, topic = name, partition, "could not look after a log");
                    }
                }
            }
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "looking after the logs failed");
        }
    }
}

fn tend_log(log: &Mutex<Log>) -> io::Result<()> {
    {
        let mut log = log.lock();
        let every = Duration::from_millis(log.settings.tended_every_ms() as u64);
        if log.is_deleted() || log.tended_at.elapsed() < every {
            return Ok(());
        }
        log.tended_at = Instant::now();
        retain(&mut log, now_ms())?;
    }
    compaction::compact(log, now_ms())
}

/// Seals a segment of age, and deletes the oldest ones as the settings say.
pub(crate) fn retain(log: &mut Log, now_ms: i64) -> io::Result<()> {
    let settings = Arc::clone(&log.settings);
    let active = &log.active().facts;
    let expired = |max_timestamp: i64| {
        settings.delete && settings.retention_ms.is_some_and(|ms| max_timestamp < now_ms.saturating_sub(ms))
    };
    let aged = now_ms.saturating_sub(active.opened_at) >= settings.segment_ms;
    if aged || expired(active.max_timestamp) {
        log.roll()?;
    }
    let mut bytes: u64 = log.segments.iter().map(|s| s.facts.bytes).sum();
    let mut start = log.start;
    let sealed = log.segments.len() - 1;
    let stable = log.stable_end();
    for segment in &log.segments[..sealed] {
        let rest = bytes - segment.facts.bytes;
        let over = settings.delete && settings.retention_bytes.is_some_and(|max| rest >= max);
        // What an open transaction wrote stays until it ends.
        if !(over || expired(segment.facts.max_timestamp)) || segment.facts.end > stable {
            break;
        }
        bytes = rest;
        start = segment.facts.end;
    }
    if start > log.start {
        tracing::debug!(path = %log.folder().display(), from = log.start, to = start, "retention deletes records");
        log.delete_before(start)?;
    }
    log.segments.iter_mut().for_each(crate::segment::Segment::rest);
    Ok(())
}
