//! Files: CSV, JSON lines and workbooks, in a folder of ordered files or alone.
//!
//! [`folder`] which files there are and in which order; [`mark`] how far each was read, and whether it is still the
//! same file; [`dump`] the end of a full dump; [`finished`] those that were read to their end; [`split`] bytes to records; [`text`] one CSV or
//! JSON-lines file; [`xlsx`] one workbook.

pub mod dump;
pub mod finished;
pub mod folder;
pub mod mark;
pub mod split;
pub mod text;
pub mod xlsx;

use std::path::PathBuf;

use yibiao_contracts::{Contract, Form};

use crate::{
    Error, FileSource, Mode, State,
    intake::{Intake, now_ms},
};
use folder::{Entry, Suffixes};
use mark::{FileCursor, Todo};

/// All files of a folder are listed at each look, and named in the cursor; with more, that becomes a burden.
const MANY: usize = 10_000;

/// Reads what is there, and in [`Mode::Follow`] looks for more at the source's pace.
pub async fn pull(
    intake: &mut Intake,
    contract: &Contract,
    source: &FileSource,
    mode: Mode,
) -> Result<(), Error> {
    let suffixes = match &contract.ingest.form {
        Form::Csv(_) => Suffixes(&["csv", "txt", "tsv"]),
        Form::Json => Suffixes(&["jsonl", "ndjson", "json"]),
        Form::Xlsx(_) => Suffixes(&["xlsx", "xlsm"]),
        Form::Protobuf(_) => {
            let feed = contract.feed.to_string();
            return Err(Error::Form { feed, connector: "file", form: "protobuf messages" });
        }
    };
    let mut cursor: FileCursor = intake.resume().await?.unwrap_or_default();
    let mut were_many = false;
    loop {
        let entries = list(source.path.clone(), suffixes).await?;
        intake.source_answers();
        let are_many = entries.len() > MANY;
        if are_many && !were_many {
            tracing::warn!(feed = %intake.feed, files = entries.len(), "the folder holds very many files, move old ones that were read to another folder");
        }
        were_many = are_many;
        cursor.forget_absent(&entries);
        let total = entries.iter().map(|entry| entry.size).sum();
        let mut read: u64 = entries.iter().map(|entry| cursor.read_of(entry)).sum();
        intake.progress().read_so_far(read, total);
        for (index, entry) in entries.iter().enumerate() {
            let is_last = index + 1 == entries.len();
            let before = cursor.read_of(entry);
            read_entry(intake, contract, source, mode, &mut cursor, entry, is_last).await?;
            read = read.saturating_sub(before) + cursor.read_of(entry);
            intake.progress().read_so_far(read, total);
            // The next full dump begins when this one has ended.
            if intake.is_stopping() || cursor.dumps.number(entry) > 0 {
                break;
            }
        }
        if cursor.unsaved {
            intake.save(&cursor).await?;
            cursor.unsaved = false;
        }
        if mode == Mode::Once || intake.is_stopping() {
            return Ok(());
        }
        intake.progress().set(State::Waiting);
        intake.pause(source.pace.poll).await?;
    }
}

async fn read_entry(
    intake: &mut Intake,
    contract: &Contract,
    source: &FileSource,
    mode: Mode,
    cursor: &mut FileCursor,
    entry: &Entry,
    is_last: bool,
) -> Result<(), Error> {
    let is_dump =
        contract.ingest.full_dump.as_ref().is_some_and(|dump| {
            dump.files.as_ref().is_none_or(|pattern| folder::matches(pattern, &entry.name))
        });
    let age_ms = now_ms() - entry.modified_ms;
    let is_settled = mode == Mode::Once || !is_last || age_ms >= source.settle.as_millis() as i64;
    let may_end = is_dump && is_settled;
    let todo = cursor.todo(entry).await?;
    let from = match todo {
        Todo::Nothing if may_end => return dump::end(intake, cursor, entry).await,
        Todo::Nothing => return Ok(()),
        Todo::Continue(mark) => mark,
        Todo::Anew { replaced } => {
            if is_dump {
                cursor.dumps.begin(entry);
            }
            if replaced {
                tracing::warn!(feed = %intake.feed, file = entry.name, "a file that was read has changed, reading it again from its beginning");
            }
            mark::Mark::default()
        }
    };
    intake.within_dump(cursor.dumps.number(entry));
    intake.progress().set(State::Reading(entry.name.clone()));
    match &contract.ingest.form {
        Form::Xlsx(sheet) => {
            let end = text::End { waits: mode == Mode::Follow, settle: source.settle };
            xlsx::read(intake, sheet, entry, end, cursor).await?;
        }
        form => {
            let end = text::End { waits: mode == Mode::Follow && is_last, settle: source.settle };
            text::read(intake, form, entry, from, end, cursor).await?;
        }
    }
    if may_end && !intake.is_stopping() { dump::end(intake, cursor, entry).await } else { Ok(()) }
}

async fn list(path: PathBuf, suffixes: Suffixes) -> Result<Vec<Entry>, Error> {
    tokio::task::spawn_blocking(move || folder::list(&path, suffixes))
        .await
        .map_err(|_| Error::Panicked { doing: "listing files".into() })?
}
