//! Runs one connector until its source ends or it is asked to stop, and waits for sources that are away.

use tokio_util::sync::CancellationToken;
use yibiao_contracts::{Contract, Form};
use yibiao_records::Retry;
use yibiao_topics::Client;

use crate::{
    Error, Mode, Progress, SourceConfig, State, back_off::BackOff, file, http, intake::Intake, kafka,
    postgres,
};

/// What one run of a connector did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records sent to the raw topic.
    pub records: u64,
    /// Bytes of these records as sent.
    pub bytes: u64,
    /// Of these, records of which only the beginning was sent, because they were too long.
    pub truncated: u64,
    /// Of these, records that were replaced by a note, because their personal fields could not be taken out.
    pub withheld: u64,
    /// What the source gave and cannot be a record (tombstones, rows without an update time, expired records).
    pub dropped: u64,
}

/// Whether a source can give what the contract describes; asks nobody.
pub fn check(contract: &Contract, source: &SourceConfig) -> Result<(), Error> {
    let feed = || contract.feed.to_string();
    let is_json = contract.ingest.form == Form::Json;
    match source {
        SourceConfig::File(_) if matches!(contract.ingest.form, Form::Protobuf(_)) => {
            Err(Error::Form { feed: feed(), connector: "file", form: "protobuf messages" })
        }
        SourceConfig::Postgres(_) if !is_json => {
            Err(Error::Form { feed: feed(), connector: "postgres", form: "no JSON" })
        }
        SourceConfig::Http(_) if !is_json => {
            Err(Error::Form { feed: feed(), connector: "http", form: "no JSON" })
        }
        SourceConfig::Postgres(_) if contract.ingest.cursor.is_none() => {
            Err(Error::NoCursorColumns { feed: feed() })
        }
        SourceConfig::File(_) => Ok(()),
        _ if contract.ingest.full_dump.is_some() => Err(Error::NoDump { feed: feed() }),
        _ => Ok(()),
    }
}

/// Brings `source` into the raw topic of the contract's feed. The raw topic and `yibiao.cursors` must exist.
///
/// In [`Mode::Once`] it returns at the end of the source, in [`Mode::Follow`] when `shutdown` is cancelled. An
/// error is an operator's business, a defect, or a source that was away for longer than `give_up_after`.
pub async fn run(
    feed: &Contract,
    source: &SourceConfig,
    client: &Client,
    mode: Mode,
    shutdown: CancellationToken,
    progress: &Progress,
) -> Result<Summary, Error> {
    check(feed, source)?;
    progress.set(State::Starting);
    let mut back_off = BackOff::new(source.pace());
    let mut intake = Intake::new(feed, source.identity(), client, &shutdown, progress)?;
    let failed = metrics::gauge!("yibiao_source_failed", "feed" => feed.feed.to_string());
    let away = metrics::gauge!("yibiao_source_away", "feed" => feed.feed.to_string());
    failed.set(0.0);
    away.set(0.0);
    let outcome = loop {
        // A producer that a record was refused to does not recover.
        if intake.is_poisoned() {
            intake = intake.renewed(feed, client)?;
        }
        let before = intake.summary.records;
        let pulled = match source {
            SourceConfig::File(source) => file::pull(&mut intake, feed, source, mode).await,
            SourceConfig::Postgres(source) => postgres::pull(&mut intake, feed, source, mode).await,
            SourceConfig::Http(source) => http::pull(&mut intake, source, mode).await,
            SourceConfig::Kafka(source) => kafka::pull(&mut intake, feed, source, mode).await,
        };
        let error = match pulled {
            Ok(()) | Err(Error::Stopped) => break Ok(()),
            Err(error) if error.fault().retry == Retry::Never => break Err(error),
            Err(error) => error,
        };
        if intake.summary.records > before {
            back_off.reset();
        }
        if let Some(away) =
            back_off.away().filter(|away| mode == Mode::Once && *away > source.pace().give_up_after)
        {
            break Err(Error::GivenUp {
                what: source.identity(),
                detail: error.to_string(),
                waited_s: away.as_secs(),
            });
        }
        intake.source_away(&error);
        let asked = match &error {
            Error::Away { retry_after, .. } => *retry_after,
            _ => None,
        };
        if intake.pause(back_off.wait(asked)).await.is_err() {
            break Ok(());
        }
    };
    match outcome {
        Ok(()) => {
            progress.set(State::Done);
            tracing::info!(feed = %feed.feed, records = intake.summary.records, bytes = intake.summary.bytes, "connector ended");
            Ok(intake.summary)
        }
        Err(error) => {
            tracing::error!(feed = %feed.feed, %error, "connector stopped");
            metrics::counter!(
                "yibiao_errors_total",
                "stage" => "connectors", "feed" => feed.feed.to_string(), "code" => error.fault().code()
            )
            .increment(1);
            failed.set(1.0);
            away.set(0.0);
            progress.set(State::Failed(error.to_string()));
            Err(error)
        }
    }
}
