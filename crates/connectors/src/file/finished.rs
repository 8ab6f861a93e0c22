//! The files that were read to their end, noted so briefly that every file of a large folder can be.
//!
//! ```text
//!  [0, "320102-2025-11-03.csv", 81920, 1762128000000]     bytes shared with the name before, the rest, size, time
//!  [16, "4.csv", 81412, 1762214400000]
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::folder::Entry;

/// A file as it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    pub modified_ms: i64,
}

impl Stamp {
    pub fn of(entry: &Entry) -> Self {
        Self { size: entry.size, modified_ms: entry.modified_ms }
    }
}

/// Files by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finished(pub BTreeMap<String, Stamp>);

type Line<'a> = (usize, std::borrow::Cow<'a, str>, u64, i64);

impl Serialize for Finished {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = "";
        serializer.collect_seq(self.0.iter().map(|(name, stamp)| -> Line<'_> {
            let shared = shared(before, name);
            before = name;
            (shared, name[shared..].into(), stamp.size, stamp.modified_ms)
        }))
    }
}

impl<'de> Deserialize<'de> for Finished {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut files = BTreeMap::new();
        let mut before = String::new();
        for (shared, rest, size, modified_ms) in Vec::<Line<'_>>::deserialize(deserializer)? {
            let begin = before.get(..shared).ok_or_else(|| D::Error::custom("a name has no beginning"))?;
            let name = format!("{begin}{rest}");
            files.insert(name.clone(), Stamp { size, modified_ms });
            before = name;
        }
        Ok(Self(files))
    }
}

/// How many bytes of whole characters two names begin with together.
fn shared(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_come_back_as_they_were_and_ten_thousand_of_them_are_small() {
        let mut finished = Finished::default();
        for name in ["", "水表.csv", "水电.csv", "水表2025-1.csv", "a", "ab", "b"] {
            finished.0.insert(name.into(), Stamp { size: 7, modified_ms: -1 });
        }
        let text = serde_json::to_string(&finished).unwrap();
        assert_eq!(serde_json::from_str::<Finished>(&text).unwrap(), finished);
        for n in 0..10_000 {
            let name = format!("水表-3201{:02}-{:06}.csv", n % 12, n);
            finished.0.insert(name, Stamp { size: 81_920 + n, modified_ms: 1_762_128_000_000 + n as i64 });
        }
        let text = serde_json::to_string(&finished).unwrap();
        assert!(text.len() < 450_000, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Finished>(&text).unwrap(), finished);
    }

    #[test]
    fn a_spoiled_list_is_an_error_and_no_panic() {
        for text in ["[[3,\"x\",1,1]]", "[[0,\"表\",1,1],[1,\"x\",1,1]]"] {
            assert!(serde_json::from_str::<Finished>(text).is_err());
        }
    }
}
