//! Protobuf's wire format, without messages in between: what a shard keeps of facts and places is written and read for every
//! record. The messages themselves stand in the tests, against which both ways are held.

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::Unreadable;

/// A field that has its default is not written, but where the functions below say otherwise.
pub(super) fn put_number(out: &mut Vec<u8>, tag: u32, number: u64) {
    if number != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(number, out);
    }
}

/// An `int32` or `int64`.
pub(super) fn put_int(out: &mut Vec<u8>, tag: u32, number: i64) {
    put_number(out, tag, number as u64);
}

/// A `sint32` or `sint64`.
pub(super) fn put_signed(out: &mut Vec<u8>, tag: u32, number: i64) {
    put_number(out, tag, zigzag(number));
}

/// A `sint64` that is there, also where it is 0.
pub(super) fn put_some_signed(out: &mut Vec<u8>, tag: u32, number: i64) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(zigzag(number), out);
}

pub(super) fn put_float(out: &mut Vec<u8>, tag: u32, number: f32) {
    if number != 0.0 {
        encode_key(tag, WireType::ThirtyTwoBit, out);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// A `string` or `bytes`.
pub(super) fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_some_bytes(out, tag, bytes);
    }
}

/// `bytes` that are there, also where they are empty.
pub(super) fn put_some_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A message, or bytes, that `body` appends; it is there also where it is empty.
pub(super) fn put_nested(out: &mut Vec<u8>, tag: u32, body: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, out);
    let at = out.len();
    out.push(0);
    body(out);
    let length = out.len() - at - 1;
    let more = encoded_len_varint(length as u64) - 1;
    if more > 0 {
        out.resize(out.len() + more, 0);
        out.copy_within(at + 1..at + 1 + length, at + 1 + more);
    }
    encode_varint(length as u64, &mut &mut out[at..=at + more]);
}

/// A packed list of varints.
pub(super) fn put_packed(out: &mut Vec<u8>, tag: u32, numbers: impl ExactSizeIterator<Item = u64>) {
    if numbers.len() > 0 {
        put_nested(out, tag, |out| numbers.for_each(|number| encode_varint(number, out)));
    }
}

pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The value of a field as it stands in the bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64,
}

impl<'a> Field<'a> {
    pub fn number(self) -> Result<u64, Unreadable> {
        match self {
            Field::Number(number) => Ok(number),
            _ => Err("a field is not a number".into()),
        }
    }

    pub fn u32(self) -> Result<u32, Unreadable> {
        // As protobuf reads a 32-bit field: what is beyond is cut off.
        self.number().map(|number| number as u32)
    }

    pub fn signed(self) -> Result<i64, Unreadable> {
        self.number().map(unzigzag)
    }

    pub fn bytes(self) -> Result<&'a [u8], Unreadable> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err("a field is not bytes".into()),
        }
    }

    pub fn text(self) -> Result<&'a str, Unreadable> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text is not UTF-8".into())
    }

    pub fn float(self) -> Result<f32, Unreadable> {
        match self {
            Field::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err("a field is not a float".into()),
        }
    }

    /// Appends the numbers of a list, packed or one by one.
    pub fn append<T>(self, list: &mut Vec<T>, of: impl Fn(u64) -> T) -> Result<(), Unreadable> {
        let mut left = match self {
            Field::Number(number) => {
                list.push(of(number));
                return Ok(());
            }
            _ => self.bytes()?,
        };
        // At least one byte a number, so that damaged bytes ask for no more memory than they are.
        list.reserve(left.iter().filter(|byte| **byte < 0x80).count());
        while !left.is_empty() {
            list.push(of(varint(&mut left)?));
        }
        Ok(())
    }
}

/// The fields of a message, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn read(&mut self) -> Result<(u32, Field<'a>), Unreadable> {
        let key = varint(&mut self.0)?;
        let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag > 0).ok_or("a field has no tag")?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut self.0)?),
            1 => {
                self.take(8)?;
                Field::Fixed64
            }
            2 => {
                let length = varint(&mut self.0)?;
                Field::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => {
                let bytes = self.take(4)?;
                Field::Fixed32(u32::from_le_bytes(bytes.try_into().map_err(|_| "a field is cut off")?))
            }
            _ => return Err("a field has an unknown form".into()),
        };
        Ok((tag, field))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("a field is cut off")?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = &[];
        }
        Some(read)
    }
}

fn varint(left: &mut &[u8]) -> Result<u64, Unreadable> {
    match left {
        [byte, rest @ ..] if *byte < 0x80 => {
            *left = rest;
            Ok(u64::from(*byte))
        }
        _ => prost::encoding::decode_varint(left).map_err(super::text),
    }
}
