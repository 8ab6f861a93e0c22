//! What the broker writes for itself (journal entries, indexes): a length, a checksum, then JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Encodes one value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    serde_json::to_writer(&mut bytes, value).expect("invariant: the broker's own state has string keys only");
    let length = (bytes.len() - 8) as u32;
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Decodes the value at the start of `bytes`, and says how many bytes it took. `None` when it is incomplete,
/// its checksum does not hold or it is something else.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, usize)> {
    let body = body(bytes)?;
    Some((serde_json::from_slice(body).ok()?, body.len() + 8))
}

/// The body of the frame at the start of `bytes`, if it is whole and its checksum holds.
pub(crate) fn body(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let body = bytes.get(8..8 + length)?;
    (crc32c::crc32c(body) == crc).then_some(body)
}
