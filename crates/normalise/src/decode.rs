//! From a raw record to what its contract reads in it.

use yibiao_contracts::{Decoded, Decoder};
use yibiao_records::Reason;
use yibiao_topics::Message;

use crate::announce::Announcement;

/// The header of a replayed record: the raw offset, in decimal, at which it first came.
pub const ORIGIN: &str = "origin";

/// The header of a record that is asked again because another gazetteer answers otherwise; its `origin` is there too.
pub const REVISED: &str = "revised";

/// The header of a record that only says which gazetteer is in force behind it, see [`crate::announce`].
pub const GAZETTEER: &str = "gazetteer";

/// A raw record as this stage sees it: borrowed from the reader's batch.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    pub offset: i64,
    /// The raw topic's time, ms since the epoch. The stage has no clock of its own: a repetition gives the same facts.
    pub timestamp_ms: i64,
    /// The source's primary key.
    pub key: Option<&'a [u8]>,
    /// None: the source record is gone.
    pub value: Option<&'a [u8]>,
    /// The encoded header.
    pub provenance: Option<&'a [u8]>,
    /// Of a replayed record: where it first came.
    pub origin: Option<i64>,
    /// It came before, and is asked again by another gazetteer.
    pub revised: bool,
    /// The header [`GAZETTEER`].
    pub gazetteer: Option<&'a [u8]>,
}

impl<'a> RawRecord<'a> {
    pub fn of(message: &'a Message) -> Self {
        let mut record = Self {
            offset: message.offset,
            timestamp_ms: message.timestamp_ms.max(0),
            key: message.key(),
            value: message.value(),
            provenance: None,
            origin: None,
            revised: false,
            gazetteer: None,
        };
        for (name, value) in message.headers() {
            if name == b"provenance" {
                record.provenance = Some(value);
            } else if name == ORIGIN.as_bytes() {
                record.origin = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            } else if name == REVISED.as_bytes() {
                record.revised = true;
            } else if name == GAZETTEER.as_bytes() {
                record.gazetteer = Some(value);
            }
        }
        record
    }

    /// The dump whose end this is, if it is one.
    pub fn ends_dump(&self) -> Option<u64> {
        let provenance = self.provenance.filter(|_| self.key.is_none() && self.value.is_none())?;
        let view = ProvenanceView::scan(provenance);
        view.ends_dump.then_some(view.dump)
    }

    /// What it announces, if it says nothing else.
    pub fn announces(&self) -> Option<Announcement<'a>> {
        Announcement::parse(self.gazetteer.filter(|_| self.key.is_none() && self.value.is_none())?)
    }

    /// Where this version first came.
    pub fn first_offset(&self) -> i64 {
        self.origin.unwrap_or(self.offset)
    }
}

/// Why a record is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub field: Option<String>,
    /// What was found and what would decide, in the users' language.
    pub detail: String,
}

impl Refusal {
    pub fn new(reason: Reason, field: Option<&str>, detail: impl Into<String>) -> Self {
        Self { reason, field: field.map(str::to_owned), detail: detail.into() }
    }
}

/// Reads a record by its contract. `value` is the record's bytes: a tombstone does not come here.
pub fn decode(decoder: &mut Decoder, record: &RawRecord<'_>, value: &[u8]) -> Result<Decoded, Refusal> {
    let provenance = record.provenance.map(ProvenanceView::scan).unwrap_or_default();
    if provenance.withheld {
        let detail = "记录无法解析，个人信息字段无法剔除，内容未留存 (unreadable, so that its personal fields could not be dropped)";
        return Err(Refusal::new(Reason::Withheld, None, detail));
    }
    if provenance.truncated {
        let detail = format!(
            "记录超过长度上限，仅留存开头 {} 字节 (longer than the limit, only its beginning was kept)",
            value.len()
        );
        return Err(Refusal::new(Reason::TooLarge, None, detail));
    }
    decoder.decode(value, provenance.columns).map_err(|reject| Refusal {
        reason: reject.reason,
        field: reject.field,
        detail: reject.detail,
    })
}

/// The few fields of a [`yibiao_records::Provenance`] that decoding needs, read in place: a full decode would
/// copy the file's header row for every record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProvenanceView<'a> {
    pub columns: Option<&'a [u8]>,
    pub truncated: bool,
    pub withheld: bool,
    /// 0: of none.
    pub dump: u64,
    pub ends_dump: bool,
}

impl<'a> ProvenanceView<'a> {
    /// What can be read of it; a header that is cut short gives what stood before the cut.
    pub fn scan(encoded: &'a [u8]) -> Self {
        let mut view = Self::default();
        let mut rest = encoded;
        while let Some((field, wire)) = varint(&mut rest).map(|tag| (tag >> 3, tag & 7)) {
            match wire {
                0 => match (field, varint(&mut rest)) {
                    (6, Some(flag)) => view.truncated = flag != 0,
                    (7, Some(flag)) => view.withheld = flag != 0,
                    (8, Some(number)) => view.dump = number,
                    (9, Some(flag)) => view.ends_dump = flag != 0,
                    _ => {}
                },
                2 => {
                    let length = varint(&mut rest).and_then(|length| usize::try_from(length).ok());
                    let Some((bytes, after)) = length.and_then(|length| rest.split_at_checked(length)) else {
                        break;
                    };
                    rest = after;
                    if field == 5 {
                        view.columns = Some(bytes);
                    }
                }
                1 | 5 => {
                    let Some(after) = rest.get(if wire == 1 { 8 } else { 4 }..) else { break };
                    rest = after;
                }
                _ => break,
            }
        }
        view
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use yibiao_records::Provenance;

    use super::*;

    #[test]
    fn the_scan_sees_what_a_full_decode_sees() {
        for (columns, truncated, withheld) in [
            ("户号,用水地址", false, false),
            ("", true, false),
            ("a;b", false, true),
            (&"列".repeat(300), true, true),
        ] {
            let provenance = Provenance {
                feed: "utilities/water-readings".into(),
                source: "water-0001.csv".into(),
                position: 70_000,
                fetched_at_ms: 1_762_128_000_000,
                columns: columns.as_bytes().to_vec(),
                truncated,
                withheld,
                dump: if truncated { u64::MAX } else { 0 },
                ends_dump: withheld,
            };
            let encoded = provenance.encode_to_vec();
            let columns = (!columns.is_empty()).then_some(columns.as_bytes());
            assert_eq!(
                ProvenanceView::scan(&encoded),
                ProvenanceView { columns, truncated, withheld, dump: provenance.dump, ends_dump: withheld }
            );
            for cut in 0..encoded.len() {
                ProvenanceView::scan(&encoded[..cut]);
            }
        }
        assert_eq!(ProvenanceView::scan(&[0xff; 40]), ProvenanceView::default());
    }
}
