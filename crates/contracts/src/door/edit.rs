//! A record's bytes with parts taken out or replaced; every other byte stays.

use std::ops::Range;

use crate::row::json::Member;

/// None where nothing changes.
pub(super) fn edited(value: &[u8], edits: &[(Range<usize>, Vec<u8>)]) -> Option<Vec<u8>> {
    if edits.iter().all(|(range, new)| value[range.clone()] == new[..]) {
        return None;
    }
    let mut result = Vec::with_capacity(value.len());
    let mut at = 0;
    for (range, new) in edits {
        result.extend_from_slice(&value[at..range.start]);
        result.extend_from_slice(new);
        at = range.end;
    }
    result.extend_from_slice(&value[at..]);
    Some(result)
}

/// The object's text with its changed members; what lies between the kept ones stays.
pub(super) fn rebuild(text: &str, members: &[Member<'_>], changes: &[Option<String>]) -> String {
    let mut result = String::with_capacity(text.len());
    let open = text.find('{').map_or(0, |at| at + 1);
    result.push_str(&text[..open]);
    let (mut end, mut first, mut cut) = (open, true, false);
    for (member, change) in members.iter().zip(changes) {
        let before = &text[end..member.range.start];
        end = member.range.end;
        let value = match change {
            Some(value) if value.is_empty() => {
                cut = true;
                continue;
            }
            Some(value) => value.as_str(),
            None => member.raw,
        };
        // Before a member stand white space, a comma unless it is the first, its name and a colon.
        let orphaned = first && cut;
        result.push_str(if orphaned {
            before.trim_start_matches([',', ' ', '\t', '\r', '\n'])
        } else {
            before
        });
        result.push_str(value);
        first = false;
    }
    result.push_str(&text[end..]);
    result
}
