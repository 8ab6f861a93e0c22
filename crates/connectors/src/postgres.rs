//! A PostgreSQL table, read by its update time and key.
//!
//! ```text
//!  cycle:  rows with  updated >= low - overlap   in the order (updated, key), a page at a time
//!  next    low = the newest update time that was read, but not after this cycle's start
//! ```
//!
//! - A transaction that commits late is seen because each cycle starts `overlap` before the last one's newest row,
//!   and never after that cycle's own start. What is read twice is not sent twice by the same process.
//! - Rows with the same update time are told apart by their key, so a page may end between them.
//! - A row whose update time lies in the future is sent, and does not move `low` past the present.
//! - Rows without an update time or key can never be read; they are counted and told.
//! - Deleted rows leave no trace in such a table; the source must mark them instead.
//!
//! Each page costs the source a look into an index on (updated, key); without one, a scan of the table.
//!
//! Rows are rendered as JSON by the server, so that numbers and times arrive as they are; only columns that the
//! contract keeps are selected.

pub mod session;
pub mod statement;

use std::collections::HashMap;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;
use xxhash_rust::xxh3::xxh3_64;
use yibiao_contracts::{Contract, Form};

use crate::{
    Error, Mode, PostgresSource, State,
    intake::{Found, Intake},
};
use session::Session;
use statement::Statements;

/// Rows that are remembered as sent; beyond, some are sent twice.
const REMEMBERED: usize = 200_000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct PostgresCursor {
    /// Where the next cycle begins, before the overlap is taken off. Times are texts in the column's own type.
    low: Option<String>,
    /// Within a cycle: the last row's update time and key.
    scan: Option<(String, String)>,
    /// Within a cycle: when it began, and the newest update time that is not in the future.
    began: Option<String>,
    newest: Option<String>,
    rows: u64,
}

/// Runs cycle after cycle; one in [`Mode::Once`].
pub async fn pull(
    intake: &mut Intake,
    contract: &Contract,
    source: &PostgresSource,
    mode: Mode,
) -> Result<(), Error> {
    if contract.ingest.form != Form::Json {
        return Err(Error::Form { feed: contract.feed.to_string(), connector: "postgres", form: "no JSON" });
    }
    let mut cursor: PostgresCursor = intake.resume().await?.unwrap_or_default();
    let session = intake.unless_stopped(Session::open(source, contract.ingest.zone_minutes)).await?;
    let columns = intake.unless_stopped(session.columns()).await?;
    let statements = Statements::new(contract, source, &columns, intake.record_bytes_max())?;
    intake.source_answers();
    match intake.unless_stopped(session.count(&statements.unreadable)).await {
        Ok(0) => {}
        Ok(rows) => {
            tracing::error!(feed = %intake.feed, rows, "rows without update time or key can never be read, ask the department to fill them");
            intake.dropped("no_update_time", rows);
        }
        Err(Error::Stopped) => return Err(Error::Stopped),
        // On a large table without an index this takes longer than a query may.
        Err(error) => {
            tracing::warn!(feed = %intake.feed, %error, "rows without update time or key were not counted")
        }
    }
    let mut sent = HashMap::new();
    loop {
        let saved = cursor.clone();
        cycle(intake, &session, &statements, source, &mut cursor, &mut sent).await?;
        if cursor != saved {
            intake.save(&cursor).await?;
        }
        if mode == Mode::Once || intake.is_stopping() {
            return Ok(());
        }
        intake.progress().set(State::Waiting);
        intake.pause(source.pace.poll).await?;
    }
}

async fn cycle(
    intake: &mut Intake,
    session: &Session,
    statements: &Statements,
    source: &PostgresSource,
    cursor: &mut PostgresCursor,
    sent: &mut HashMap<String, u64>,
) -> Result<(), Error> {
    if cursor.scan.is_none() {
        cursor.began = match &statements.now {
            Some(now) => Some(intake.unless_stopped(session.text(now, &[])).await?),
            None => None,
        };
        cursor.newest = None;
    }
    loop {
        let rows = page(intake, session, statements, source, cursor, sent).await?;
        if rows < source.page as usize {
            break;
        }
        intake.save_if_due(&*cursor).await?;
        if intake.is_stopping() {
            return Ok(());
        }
    }
    if let Some(newest) = cursor.newest.take() {
        cursor.low = Some(match cursor.began.take() {
            Some(began) => intake.unless_stopped(session.text(&statements.least, &[&newest, &began])).await?,
            None => newest,
        });
    }
    (cursor.scan, cursor.began) = (None, None);
    Ok(())
}

/// Sends one page as it streams in; the number of its rows.
async fn page(
    intake: &mut Intake,
    session: &Session,
    statements: &Statements,
    source: &PostgresSource,
    cursor: &mut PostgresCursor,
    sent: &mut HashMap<String, u64>,
) -> Result<usize, Error> {
    let (statement, parameters): (&str, Vec<&str>) = match (&cursor.scan, &cursor.low) {
        (Some((updated, key)), _) => (&statements.after, vec![updated, key]),
        (None, Some(low)) => (&statements.from, vec![low]),
        (None, None) => (&statements.all, vec![]),
    };
    let parameters: Vec<&(dyn ToSql + Sync)> =
        parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
    let rows = intake.unless_stopped(session.rows(statement, &parameters)).await?;
    let mut rows = std::pin::pin!(rows);
    intake.progress().set(State::Reading(source.table.clone()));
    let (mut count, mut last, mut newest_ms) = (0, None, None);
    let failed = |error| session.failed("reading", error);
    while let Some(row) = intake.unless_stopped(async { rows.try_next().await.map_err(failed) }).await? {
        let get = |column: usize| row.try_get::<_, String>(column).map_err(failed);
        let (json, updated, key) = (get(0)?, get(1)?, get(2)?);
        let is_past: bool = row.try_get(3).map_err(failed)?;
        let updated_ms: Option<i64> = row.try_get(4).map_err(failed)?;
        count += 1;
        if is_past {
            cursor.newest = Some(updated.clone());
            newest_ms = updated_ms.or(newest_ms);
        }
        let print = xxh3_64(json.as_bytes());
        if sent.get(&key) != Some(&print) {
            cursor.rows += 1;
            let (value, position) = (json.as_bytes(), cursor.rows);
            intake
                .admit(Found { value, columns: None, source: session.name(), position, truncated: false })
                .await?;
            if sent.len() >= REMEMBERED {
                sent.clear();
            }
            sent.insert(key.clone(), print);
        }
        last = Some((updated, key));
    }
    if let Some(newest_ms) = newest_ms {
        intake.event_time(newest_ms);
    }
    cursor.scan = last.or(cursor.scan.take());
    Ok(count)
}
