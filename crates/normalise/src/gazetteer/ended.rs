//! When standard addresses were withdrawn. The gazetteer knows that they were; a record of an earlier day is about a
//! place that was still there.

use std::{collections::BTreeMap, fs, io, path::Path};

use xxhash_rust::xxh3::xxh3_64;
use yibiao_records::PlaceId;

use super::folder::failed;
use crate::Error;

const ENTRY: usize = 16;

/// Withdrawn places, each with the moment (event time, ms) from which it is no more. Few beside all places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended(BTreeMap<PlaceId, i64>);

impl Ended {
    pub fn insert(&mut self, place: PlaceId, at_ms: i64) {
        self.0.insert(place, at_ms);
    }

    /// Of a place that is in use after all.
    pub(super) fn remove(&mut self, place: PlaceId) {
        self.0.remove(&place);
    }

    /// None where the moment is not known.
    pub fn at_ms(&self, place: PlaceId) -> Option<i64> {
        self.0.get(&place).copied()
    }

    /// The file's content: place and moment, 8 bytes each, little-endian, in the order of places.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|(place, at_ms)| [place.get().to_le_bytes(), at_ms.to_le_bytes()])
            .flatten()
            .collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8]| Some(i64::from_le_bytes(bytes.try_into().ok()?));
        let entries = bytes.chunks(ENTRY).map(|entry| {
            let (place, at_ms) = entry.split_at_checked(8)?;
            Some((PlaceId::new(number(place)?)?, number(at_ms)?))
        });
        entries.collect::<Option<_>>().map(Self)
    }

    /// Part of the version: eight hexadecimal digits.
    pub(super) fn hash(encoded: &[u8]) -> String {
        format!("{:08x}", xxh3_64(encoded) as u32)
    }

    /// Empty where there is no such file: of no withdrawal the moment is known then.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        match fs::read(path) {
            Ok(bytes) => Self::decode(&bytes).ok_or_else(|| Error::Damaged {
                path: path.to_path_buf(),
                what: "withdrawn places".to_owned(),
                detail: format!("its {} bytes are no pairs of place and moment", bytes.len()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed("reading", path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_come_back_as_they_were_and_damage_is_noticed() {
        let mut ended = Ended::default();
        ended.insert(PlaceId::derive("x", "1"), -5);
        ended.insert(PlaceId::derive("x", "2"), i64::MAX);
        let bytes = ended.encode();
        assert_eq!(Ended::decode(&bytes), Some(ended));
        assert_eq!(Ended::decode(&bytes[..20]), None);
        assert_eq!(Ended::decode(&[0; 16]), None, "no place has the id 0");
    }
}
