//! What is stored in place of a record that could not be read: why, its length and its hash.

use xxhash_rust::xxh3::xxh3_128;
use yibiao_records::Reason;

use crate::Reject;

const NOTE_REASONS: [&str; 5] = ["too_large", "no_columns", "bad_columns", "malformed", "undecodable"];

/// What is stored in place of a record that could not be read.
pub(super) fn note(why: &str, value: &[u8]) -> Vec<u8> {
    note_text(why, value.len(), &format!("{:032x}", xxh3_128(value)))
}

fn note_text(why: &str, length: usize, hash: &str) -> Vec<u8> {
    format!("{{\"withheld\":\"{why}\",\"length\":{length},\"hash\":\"{hash}\"}}").into_bytes()
}

/// The hash within a note; None unless the bytes are exactly one, so that nothing can hide in what looks like it.
pub(super) fn note_hash(value: &[u8]) -> Option<String> {
    if value.len() > 128 || !value.starts_with(b"{\"withheld\":\"") {
        return None;
    }
    #[derive(serde::Deserialize)]
    struct Note {
        withheld: String,
        length: usize,
        hash: String,
    }
    let found: Note = serde_json::from_slice(value).ok()?;
    let known = NOTE_REASONS.contains(&found.withheld.as_str())
        && found.hash.len() == 32
        && found.hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && note_text(&found.withheld, found.length, &found.hash) == value;
    known.then_some(found.hash)
}

/// Why the record in whose place these bytes stand was withheld; None where they are no note.
pub(crate) fn note_reason(value: &[u8]) -> Option<Reject> {
    note_hash(value)?;
    let too_large = value.starts_with(b"{\"withheld\":\"too_large\"");
    let reason = if too_large { Reason::TooLarge } else { Reason::Withheld };
    Some(Reject::new(
        reason,
        None,
        "its content was not kept; the note in its place has its length and hash".into(),
    ))
}
