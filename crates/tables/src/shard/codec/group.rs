//! The change log's entries: changes that follow each other in a batch lie together, so that they are put, read and
//! forgotten at once. An entry's key is the sequence of its last change; its value is a message with a change in each field 15.
//! Before there were groups, a change was an entry's value itself, in which there is no field 15.

use super::{
    Unreadable,
    wire::{Fields, put_some_bytes},
};

/// An entry that has so many bytes is full.
pub(in crate::shard) const GROUP_BYTES: usize = 16 << 10;

const CHANGE: u32 = 15;
/// With which each change of a group begins: its tag, and that bytes follow.
const MARK: u8 = (CHANGE << 3) as u8 | 2;

pub(in crate::shard) fn put_in_group(group: &mut Vec<u8>, change: &[u8]) {
    put_some_bytes(group, CHANGE, change);
}

/// The changes of an entry with their sequences, those after sequence `after`.
pub(in crate::shard) fn changes_of(
    last: u64,
    value: &[u8],
    after: u64,
) -> Result<impl Iterator<Item = Result<(u64, &[u8]), Unreadable>>, Unreadable> {
    let is_group = value.first() == Some(&MARK);
    let count = if is_group { Fields::of(value).count() as u64 } else { 1 };
    let first = (last + 1).checked_sub(count).ok_or("an entry has more changes than its sequence tells")?;
    let single = (!is_group).then_some(Ok(value));
    let many = Fields::of(if is_group { value } else { &[] }).map(|field| match field? {
        (CHANGE, field) => field.bytes(),
        _ => Err("an entry of the change log has an unknown field".into()),
    });
    let changes = single.into_iter().chain(many).zip(first..);
    let wanted = changes.filter(move |(_, sequence)| *sequence > after);
    Ok(wanted.map(|(change, sequence)| Ok((sequence, change?))))
}
