//! What the stage shows: one function an event, writing log and metrics together.

use yibiao_records::FeedId;

use crate::{Error, accounting::Counts};

const STAGE: &str = "normalise";

/// A batch was committed; `counts` are its own.
pub fn committed(feed: &FeedId, counts: &Counts, newest_ms: i64) {
    let feed = || feed.to_string();
    metrics::counter!("yibiao_received_records_total", "stage" => STAGE, "feed" => feed())
        .increment(counts.received);
    metrics::counter!("yibiao_sent_records_total", "stage" => STAGE, "feed" => feed())
        .increment(counts.asserted + counts.retracted);
    if counts.unchanged > 0 {
        metrics::counter!("yibiao_dropped_records_total", "stage" => STAGE, "feed" => feed(), "reason" => "unchanged")
            .increment(counts.unchanged);
    }
    for (reason, count) in &counts.reasons {
        metrics::counter!("yibiao_dropped_records_total", "stage" => STAGE, "feed" => feed(), "reason" => reason.clone())
            .increment(*count);
    }
    let lag_ms = chrono::Utc::now().timestamp_millis() - newest_ms;
    metrics::gauge!("yibiao_event_lag_seconds", "stage" => STAGE, "feed" => feed())
        .set(lag_ms as f64 / 1000.0);
}

/// Records that a newer gazetteer answers otherwise were sent to their shard once more; `expired` of them have left the
/// raw topic.
pub fn revised(feed: &FeedId, partition: i32, version: &str, sent: u64, expired: u64) {
    for (outcome, records) in [("sent", sent), ("expired", expired)] {
        metrics::counter!("yibiao_revised_records_total", "stage" => STAGE, "feed" => feed.to_string(), "outcome" => outcome)
            .increment(records);
    }
    if expired > 0 {
        tracing::warn!(%feed, partition, version, expired, "records that another gazetteer answers otherwise have left the raw topic: they stay where they were until they come again");
    }
    tracing::info!(%feed, partition, version, sent, "records are asked again by another gazetteer");
}

/// A thread ended by an error: data waits until the stage is started again.
pub fn failed(worker: &str, error: &Error) {
    metrics::counter!("yibiao_errors_total", "stage" => STAGE, "code" => error.fault().code()).increment(1);
    tracing::error!(%error, worker, "normalising stopped");
}

/// The producer's queue is full because the broker is away or slow: sending goes on waiting.
pub fn waits_for_broker(topic: &str) {
    metrics::counter!("yibiao_errors_total", "stage" => STAGE, "code" => "outside_away").increment(1);
    tracing::warn!(topic, "the broker takes no records, waiting for it");
}

/// `CURRENT` names a gazetteer that cannot be opened; told once.
pub fn gazetteer_unusable(error: &Error) {
    metrics::counter!("yibiao_errors_total", "stage" => STAGE, "code" => error.fault().code()).increment(1);
    tracing::warn!(%error, "the gazetteer in force stays as it was");
}
