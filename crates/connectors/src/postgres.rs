//! A PostgreSQL table, read by its update time and key.
//!
//! ```text
//!  cycle N:  rows in the order (updated, key), a page at a time, from the earlier of
//!            - floor(N-1) = the start of cycle N-1 by the database's clock, less the overlap
//!            - what comes after the last (updated, key) that was read
//! ```
//!
//! - A transaction may commit up to `overlap` after the time that it wrote: what it wrote before floor(N-1) was there
//!   for cycle N-1 to see, and what it wrote later is asked for again. So a row is asked for until it is older than
//!   the overlap, and not again. What is read twice is not sent twice by the same process.
//! - Rows with the same update time are told apart by their key, so a page may end between them.
//! - A row whose update time lies in the future is sent, and hides nothing that comes before it.
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
use yibiao_contracts::Contract;

use crate::{
    Error, Mode, PostgresSource, State,
    intake::{Found, Intake},
};
use session::Session;
use statement::Statements;

/// Rows within the overlap that are remembered as sent (about 40 MB); what is beyond is sent in each cycle until it
/// is older than the overlap.
const REMEMBERED: usize = 800_000;

/// Times are texts in the column's own type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PostgresCursor {
    start: Start,
    /// The newest row that is not in the future: update time and key.
    newest: Option<(String, String)>,
    /// Within a cycle: the last row's update time and key.
    scan: Option<(String, String)>,
    /// Within a cycle: when it began, less the overlap.
    floor: Option<String>,
    rows: u64,
}

/// Where the next cycle begins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Start {
    #[default]
    Beginning,
    /// With the rows of this update time.
    From(String),
    /// After the row with this update time and key.
    After(String, String),
}

/// Which rows within the overlap were sent, as hashes of key and content.
#[derive(Default)]
struct Sent {
    last_cycle: HashMap<u64, u64>,
    this_cycle: HashMap<u64, u64>,
    told: bool,
}

impl Sent {
    fn is_known(&self, key: &str, json: &str) -> bool {
        let key = xxh3_64(key.as_bytes());
        let print = self.this_cycle.get(&key).or_else(|| self.last_cycle.get(&key));
        print == Some(&xxh3_64(json.as_bytes()))
    }

    /// False where there was no room for it.
    fn remember(&mut self, key: &str, json: &str) -> bool {
        let key = xxh3_64(key.as_bytes());
        let has_room = self.this_cycle.len() < REMEMBERED || self.this_cycle.contains_key(&key);
        if has_room {
            self.this_cycle.insert(key, xxh3_64(json.as_bytes()));
        }
        has_room
    }

    /// What was not seen in this cycle will not be asked for in the next.
    fn end_cycle(&mut self) {
        self.last_cycle = std::mem::take(&mut self.this_cycle);
    }
}

/// Runs cycle after cycle; one in [`Mode::Once`].
pub async fn pull(
    intake: &mut Intake,
    contract: &Contract,
    source: &PostgresSource,
    mode: Mode,
) -> Result<(), Error> {
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
    let mut sent = Sent::default();
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
    sent: &mut Sent,
) -> Result<(), Error> {
    let floor = match (&cursor.scan, &cursor.floor) {
        (Some(_), Some(floor)) => floor.clone(),
        _ => intake.unless_stopped(session.text(&statements.floor, &[])).await?,
    };
    cursor.floor = Some(floor.clone());
    loop {
        let rows = page(intake, session, statements, source, &floor, cursor, sent).await?;
        if rows < source.page as usize {
            break;
        }
        intake.save_if_due(&*cursor).await?;
        if intake.is_stopping() {
            return Ok(());
        }
    }
    if let Some((updated, key)) = &cursor.newest {
        let is_old = intake.unless_stopped(session.text(&statements.is_before, &[updated, &floor])).await?;
        cursor.start =
            if is_old == "true" { Start::After(updated.clone(), key.clone()) } else { Start::From(floor) };
    }
    (cursor.scan, cursor.floor) = (None, None);
    sent.end_cycle();
    Ok(())
}

/// Sends one page as it streams in; the number of its rows.
async fn page(
    intake: &mut Intake,
    session: &Session,
    statements: &Statements,
    source: &PostgresSource,
    floor: &str,
    cursor: &mut PostgresCursor,
    sent: &mut Sent,
) -> Result<usize, Error> {
    let (statement, parameters): (&str, Vec<&str>) = match (&cursor.scan, &cursor.start) {
        (Some((updated, key)), _) | (None, Start::After(updated, key)) => {
            (&statements.after, vec![floor, updated, key])
        }
        (None, Start::From(updated)) => (&statements.from, vec![floor, updated]),
        (None, Start::Beginning) => (&statements.all, vec![floor]),
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
        let comes_again: bool = row.try_get(4).map_err(failed)?;
        let updated_ms: Option<i64> = row.try_get(5).map_err(failed)?;
        count += 1;
        if is_past {
            cursor.newest = Some((updated.clone(), key.clone()));
            newest_ms = updated_ms.or(newest_ms);
        }
        if !sent.is_known(&key, &json) {
            cursor.rows += 1;
            let (value, position) = (json.as_bytes(), cursor.rows);
            intake
                .admit(Found { value, columns: None, source: session.name(), position, truncated: false })
                .await?;
        }
        if comes_again && !sent.remember(&key, &json) && !std::mem::replace(&mut sent.told, true) {
            tracing::warn!(feed = %intake.feed, rows = REMEMBERED, "more rows than can be remembered were updated within the overlap, the others are sent again until they are older; a shorter overlap helps");
        }
        last = Some((updated, key));
    }
    if let Some(newest_ms) = newest_ms {
        intake.event_time(newest_ms);
    }
    cursor.scan = last.or(cursor.scan.take());
    Ok(count)
}
