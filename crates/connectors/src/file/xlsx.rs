//! One workbook: a row becomes a JSON object of header to cell text.
//!
//! Rows are streamed from the sheet; only the workbook's shared texts are in memory as a whole. A workbook that
//! cannot be read (truncated, not a workbook, without the sheet) gives one record with its first bytes, which the
//! decoder quarantines, and the feed goes on with the next file.

use std::{fs::File, io::BufReader, path::PathBuf};

use calamine::{DataRef, ExcelDateTime, Reader, Xlsx};
use tokio::{io::AsyncReadExt, sync::mpsc};
use yibiao_contracts::contract::Sheet;

use super::{folder::Entry, mark::FileCursor, text::End};
use crate::{
    Error,
    intake::{Found, Intake, now_ms},
};

/// Rows between the thread that reads and the task that sends.
const QUEUE: usize = 256;
/// A larger workbook is not opened: its shared texts would have to be in memory.
const WORKBOOK_BYTES_MAX: u64 = 512 << 20;
/// What of an unreadable workbook goes to quarantine.
const EVIDENCE_BYTES: u64 = 16 << 10;

struct Row {
    /// As the workbook counts, from 1.
    number: u64,
    json: String,
}

/// Sends all rows.
pub async fn read(
    intake: &mut Intake,
    sheet: &Sheet,
    entry: &Entry,
    end: End,
    cursor: &mut FileCursor,
) -> Result<(), Error> {
    let (rows, mut received) = mpsc::channel(QUEUE);
    let (path, sheet, size) = (entry.path.clone(), sheet.clone(), entry.size);
    let reading = tokio::task::spawn_blocking(move || read_rows(path, size, &sheet, &rows));
    let mut last = 0;
    while let Some(Row { number, json }) = received.recv().await {
        last = number;
        let value = json.as_bytes();
        intake
            .admit(Found { value, columns: None, source: &entry.name, position: number, truncated: false })
            .await?;
    }
    let outcome = reading.await.map_err(|_| Error::Panicked { doing: format!("reading {}", entry.name) })?;
    if let Err(detail) = outcome {
        let still_written = end.waits && now_ms() - entry.modified_ms < end.settle.as_millis() as i64;
        if still_written {
            tracing::debug!(feed = %intake.feed, file = entry.name, detail, "the workbook cannot be read yet");
            return Ok(());
        }
        tracing::error!(feed = %intake.feed, file = entry.name, detail, rows_read = last, "the workbook cannot be read, ask the department to send it again");
        metrics::counter!(
            "yibiao_errors_total",
            "stage" => "connectors", "feed" => intake.feed.to_string(), "code" => "outside_bad_input"
        )
        .increment(1);
        let evidence = first_bytes(entry).await?;
        let source = &entry.name;
        intake
            .admit(Found { value: &evidence, columns: None, source, position: last + 1, truncated: true })
            .await?;
    }
    intake.event_time(entry.modified_ms);
    cursor.note_whole(entry, last);
    Ok(())
}

async fn first_bytes(entry: &Entry) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::File { doing: "reading", path: entry.path.clone(), source };
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(&entry.path).await.map_err(failed)?;
    file.take(EVIDENCE_BYTES).read_to_end(&mut bytes).await.map_err(failed)?;
    Ok(bytes)
}

/// Errors are texts: all of them end in the same way.
fn read_rows(path: PathBuf, size: u64, sheet: &Sheet, rows: &mpsc::Sender<Row>) -> Result<(), String> {
    if size > WORKBOOK_BYTES_MAX {
        return Err(format!("{size} bytes are over the limit of {WORKBOOK_BYTES_MAX}"));
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut workbook: Xlsx<_> = Xlsx::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let mut cells = workbook.worksheet_cells_reader(&sheet.name).map_err(|error| error.to_string())?;
    let header_row = sheet.header_row.saturating_sub(1);
    let mut header: Vec<Option<String>> = Vec::new();
    let mut row: Vec<Option<String>> = Vec::new();
    let mut current = None;
    loop {
        let cell = cells.next_cell().map_err(|error| error.to_string())?;
        let at = cell.as_ref().map(|cell| cell.get_position().0);
        if current.is_some() && at != current {
            let finished = std::mem::take(&mut row);
            match current {
                Some(number) if number == header_row => header = finished,
                Some(number) if number > header_row && finished.iter().any(Option::is_some) => {
                    let json = to_json(&header, &finished);
                    let sent = rows.blocking_send(Row { number: u64::from(number) + 1, json });
                    if sent.is_err() {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        let Some(cell) = cell else { break };
        current = at;
        let column = cell.get_position().1 as usize;
        // Formatting alone makes cells; what is empty makes no row longer.
        if let Some(text) = to_text(cell.get_value()) {
            if row.len() <= column {
                row.resize(column + 1, None);
            }
            row[column] = Some(text);
        }
    }
    if header.is_empty() {
        return Err(format!("the sheet {} has no header in row {}", sheet.name, sheet.header_row));
    }
    Ok(())
}

/// All columns of the header are there, empty ones as "". A value without a header gets its column's letters as a
/// name, which no contract knows.
fn to_json(header: &[Option<String>], row: &[Option<String>]) -> String {
    let mut json = String::from("{");
    for column in 0..header.len().max(row.len()) {
        let name = header.get(column).and_then(Option::as_deref);
        let value = row.get(column).and_then(Option::as_deref);
        let name = match (name, value) {
            (Some(name), _) => name.to_owned(),
            (None, Some(_)) => letters(column),
            (None, None) => continue,
        };
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&quoted(&name));
        json.push(':');
        json.push_str(&quoted(value.unwrap_or_default()));
    }
    json.push('}');
    json
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("invariant: a text can always be written as JSON")
}

fn letters(mut column: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'A' + (column % 26) as u8);
        if column < 26 {
            break;
        }
        column = column / 26 - 1;
    }
    letters.iter().rev().map(|letter| *letter as char).collect()
}

/// None for an empty cell.
fn to_text(value: &DataRef<'_>) -> Option<String> {
    let text = match value {
        DataRef::Empty => return None,
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => number_text(*number),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            text.trim().to_owned()
        }
        DataRef::SharedString(text) => text.trim().to_owned(),
        DataRef::Bool(value) => value.to_string(),
        DataRef::DateTime(time) => time_text(time),
        DataRef::Error(error) => error.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

/// Excel keeps 15 significant digits; what a binary fraction has beyond them is noise.
fn number_text(number: f64) -> String {
    let rounded: f64 = format!("{number:.14e}").parse().unwrap_or(number);
    rounded.to_string()
}

/// `2025-11-03`, `2025-11-03 08:30:00`, or of a time alone `08:30:00`.
fn time_text(time: &ExcelDateTime) -> String {
    if time.is_duration() {
        let seconds = (time.as_f64() * 86_400.0).round() as i64;
        return format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    }
    // To the nearest second: 08:30 is a fraction of a day that binary numbers only come near to.
    let nearest = (time.as_f64() * 86_400.0).round() / 86_400.0 + 1e-9;
    let serial = ExcelDateTime::new(nearest, calamine::ExcelDateTimeType::DateTime, is_1904(time));
    let (year, month, day, hour, minute, second, _) = serial.to_ymd_hms_milli();
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    match (time.as_f64() < 1.0, hour, minute, second) {
        (true, ..) => clock,
        (false, 0, 0, 0) => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:04}-{month:02}-{day:02} {clock}"),
    }
}

/// The epoch is not told, but the two differ in what they make of day 1.
fn is_1904(time: &ExcelDateTime) -> bool {
    let kind = calamine::ExcelDateTimeType::DateTime;
    *time == ExcelDateTime::new(time.as_f64(), kind, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lose_binary_noise_and_keep_their_digits() {
        for (number, text) in [
            (0.1 + 0.2, "0.3"),
            (12.0, "12"),
            (-3.5, "-3.5"),
            (20_251_103.0, "20251103"),
            (1e-7, "0.0000001"),
        ] {
            assert_eq!(number_text(number), text);
        }
    }

    #[test]
    fn dates_are_iso_and_times_are_exact_to_the_second() {
        let text = |serial: f64| {
            time_text(&ExcelDateTime::new(serial, calamine::ExcelDateTimeType::DateTime, false))
        };
        assert_eq!(text(45964.0), "2025-11-03");
        assert_eq!(text(45964.0 + 8.5 / 24.0), "2025-11-03 08:30:00");
        assert_eq!(text(8.5 / 24.0), "08:30:00");
        assert_eq!(
            time_text(&ExcelDateTime::new(1.5, calamine::ExcelDateTimeType::TimeDelta, false)),
            "36:00:00"
        );
        assert_eq!(
            time_text(&ExcelDateTime::new(44502.0, calamine::ExcelDateTimeType::DateTime, true)),
            "2025-11-03"
        );
    }

    #[test]
    fn columns_have_letters_as_in_the_workbook() {
        assert_eq!([0, 25, 26, 701, 702].map(letters), ["A", "Z", "AA", "ZZ", "AAA"]);
    }
}
