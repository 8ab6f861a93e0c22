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
