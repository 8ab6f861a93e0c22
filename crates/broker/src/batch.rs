//! A record batch (format 2) as it lies in requests, files and responses: its header read in place, its
//! records walked, and the two things that the broker itself writes: control markers, and batches that
//! compaction has thinned out.
//!
//! ```text
//!  0 base offset   8 length   12 leader epoch   16 magic   17 crc32c of all that follows   21 attributes
//! 23 last offset delta   27 first timestamp   35 max timestamp   43 producer id   51 producer epoch
//! 53 base sequence   57 count   61 records ...
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Decompressor, Gzip, Lz4, Snappy, Zstd};

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes before the part that the length field counts.
pub(crate) const PREFIX_BYTES: usize = 12;

const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// The fields of a batch's header that the broker looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    /// The whole batch, header included.
    pub(crate) bytes: usize,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_delta: i32,
    pub(crate) first_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when it is not the start of a batch of format 2.
    pub(crate) fn read(bytes: &[u8]) -> Option<Header> {
        let mut b = bytes.get(..HEADER_BYTES)?;
        let base_offset = b.get_i64();
        let length = usize::try_from(b.get_i32()).ok()?;
        let _leader_epoch = b.get_i32();
        let magic = b.get_i8();
        if magic != 2 || length < HEADER_BYTES - PREFIX_BYTES {
            return None;
        }
        Some(Header {
            base_offset,
            bytes: length + PREFIX_BYTES,
            crc: b.get_u32(),
            attributes: b.get_i16(),
            last_delta: b.get_i32(),
            first_timestamp: b.get_i64(),
            max_timestamp: b.get_i64(),
            producer_id: b.get_i64(),
            producer_epoch: b.get_i16(),
            base_sequence: b.get_i32(),
            count: b.get_i32(),
        })
    }

    /// The offset after the batch's last.
    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_delta) + 1
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(crate) fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.last_delta)
    }
}

/// Sequences count up to `i32::MAX` and then start again at 0.
pub(crate) fn sequence_after(sequence: i32, steps: i32) -> i32 {
    ((i64::from(sequence) + i64::from(steps)) % (i64::from(i32::MAX) + 1)) as i32
}

/// The offset after the last of several batches; `None` without any.
pub(crate) fn ends_before(mut batches: &[u8]) -> Option<i64> {
    let mut end = None;
    while let Some(header) = Header::read(batches) {
        end = Some(header.next_offset());
        batches = batches.get(header.bytes..).unwrap_or_default();
    }
    end
}

/// Whether the checksum of a whole batch holds.
pub(crate) fn checksum_holds(batch: &[u8]) -> bool {
    Header::read(batch).is_some_and(|h| h.bytes == batch.len() && crc32c::crc32c(&batch[21..]) == h.crc)
}

fn write_checksum(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Gives all records of a batch the time of their appending, in ms.
pub(crate) fn stamp_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&now_ms.to_be_bytes());
    write_checksum(batch);
}

/// The marker that ends a producer's transaction in one partition.
pub(crate) fn marker(producer_id: i64, producer_epoch: i16, commit: bool, now_ms: i64) -> Vec<u8> {
    let mut b = Vec::with_capacity(HEADER_BYTES + 17);
    b.put_i64(0);
    b.put_i32((HEADER_BYTES - PREFIX_BYTES + 17) as i32);
    b.put_i32(0);
    b.put_i8(2);
    b.put_u32(0);
    b.put_i16(TRANSACTIONAL | CONTROL);
    b.put_i32(0);
    b.put_i64(now_ms);
    b.put_i64(now_ms);
    b.put_i64(producer_id);
    b.put_i16(producer_epoch);
    b.put_i32(-1);
    b.put_i32(1);
    // One record: length, attributes, deltas, key of 4 bytes (version, type), value of 6 (version, epoch of
    // the coordinator), no headers. Lengths are zigzag varints.
    b.put_slice(&[32, 0, 0, 0, 8, 0, 0, 0, u8::from(commit), 12, 0, 0, 0, 0, 0, 0, 0]);
    write_checksum(&mut b);
    b
}

/// Whether a control batch is the marker of a commit (else of an abort).
pub(crate) fn is_commit(batch: &[u8]) -> bool {
    batch.get(HEADER_BYTES + 8) == Some(&1)
}

/// One record of a batch.
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) has_value: bool,
    /// The record as it lies in the batch, its length in front.
    pub(crate) bytes: Bytes,
}

/// The records of a whole batch, decompressed. The error says what is wrong with it.
pub(crate) fn records(batch: &[u8]) -> Result<Vec<Record>, String> {
    let header = Header::read(batch).ok_or("not a record batch of format 2")?;
    let mut body = decompress(header.attributes & 7, Bytes::copy_from_slice(&batch[HEADER_BYTES..]))?;
    let count = usize::try_from(header.count).map_err(|_| "a negative count of records")?;
    let mut records = Vec::with_capacity(count.min(body.len() / 7));
    for _ in 0..count {
        records.push(record(&header, &mut body).ok_or("a record that ends too early")?);
    }
    Ok(records)
}

fn record(header: &Header, body: &mut Bytes) -> Option<Record> {
    let whole = body.clone();
    let length = usize::try_from(varint(body)?).ok()?;
    let prefix = whole.len() - body.len();
    if body.len() < length {
        return None;
    }
    let mut b = body.split_to(length);
    b.try_get_i8().ok()?;
    let timestamp_delta = varint(&mut b)?;
    let offset_delta = varint(&mut b)?;
    let key = match varint(&mut b)? {
        -1 => None,
        n => {
            let n = usize::try_from(n).ok().filter(|n| *n <= b.len())?;
            Some(b.split_to(n))
        }
    };
    let has_value = varint(&mut b)? >= 0;
    let append_time = header.attributes & LOG_APPEND_TIME != 0;
    Some(Record {
        offset: header.base_offset + offset_delta,
        timestamp: if append_time { header.max_timestamp } else { header.first_timestamp + timestamp_delta },
        key,
        has_value,
        bytes: whole.slice(..prefix + length),
    })
}

/// A zigzag varint of up to 64 bits.
fn varint(b: &mut Bytes) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = b.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// The batch with only the records in `kept`, at their old offsets: the header keeps its range of offsets,
/// its producer and its sequence, as compaction must.
pub(crate) fn thinned(batch: &[u8], kept: &[&Record]) -> Result<BytesMut, String> {
    let mut body = BytesMut::new();
    for record in kept {
        body.put_slice(&record.bytes);
    }
    let codec = i16::from_be_bytes([batch[21], batch[22]]) & 7;
    let mut thin = BytesMut::from(&batch[..HEADER_BYTES]);
    compress(codec, &body, &mut thin)?;
    let length = (thin.len() - PREFIX_BYTES) as i32;
    thin[8..12].copy_from_slice(&length.to_be_bytes());
    thin[57..61].copy_from_slice(&(kept.len() as i32).to_be_bytes());
    write_checksum(&mut thin);
    Ok(thin)
}

fn decompress(codec: i16, mut body: Bytes) -> Result<Bytes, String> {
    let plain = match codec {
        0 => return Ok(body),
        1 => Gzip::decompress(&mut body, |b| Ok(b.copy_to_bytes(b.remaining()))),
        2 => Snappy::decompress(&mut body, |b| Ok(b.copy_to_bytes(b.remaining()))),
        3 => Lz4::decompress(&mut body, |b| Ok(b.copy_to_bytes(b.remaining()))),
        4 => Zstd::decompress(&mut body, |b| Ok(b.copy_to_bytes(b.remaining()))),
        other => return Err(format!("unknown compression codec {other}")),
    };
    plain.map_err(|error| format!("decompressing a batch: {error:#}"))
}

fn compress(codec: i16, body: &[u8], out: &mut BytesMut) -> Result<(), String> {
    macro_rules! with {
        ($codec:ty) => {
            <$codec as Compressor<BytesMut>>::compress(out, |b| {
                b.put_slice(body);
                Ok(())
            })
        };
    }
    let done = match codec {
        0 => {
            out.put_slice(body);
            Ok(())
        }
        1 => with!(Gzip),
        2 => with!(Snappy),
        3 => with!(Lz4),
        4 => with!(Zstd),
        other => return Err(format!("unknown compression codec {other}")),
    };
    done.map_err(|error| format!("compressing a batch: {error:#}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_marker_is_a_batch_of_one_control_record() {
        for commit in [true, false] {
            let batch = marker(7, 3, commit, 1_000);
            let header = Header::read(&batch).unwrap();
            assert!(checksum_holds(&batch) && header.is_control() && header.is_transactional());
            assert_eq!((header.producer_id, header.producer_epoch, header.count), (7, 3, 1));
            assert_eq!(is_commit(&batch), commit);
            let records = records(&batch).unwrap();
            assert_eq!(records[0].key.as_deref(), Some(&[0, 0, 0, u8::from(commit)][..]));
        }
    }

    #[test]
    fn sequences_start_again_after_the_largest() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
        assert_eq!(sequence_after(5, 0), 5);
    }
}
