//! Changes as stored bytes that are read where they lie: each is read once, by the projection, and most of it are texts.
//!
//! What is not understood here is None, and then the reader of whole changes says what is wrong.

use yibiao_records::{FactId, Operation, PlaceId, cells, cells::CellRef};

use super::{
    Unreadable,
    change::OPERATIONS,
    text,
    wire::{Field, Fields},
};

/// Calls `take` for each field of a message.
fn each_field<'a>(message: &'a [u8], mut take: impl FnMut(u32, Field<'a>) -> Option<()>) -> Option<()> {
    for field in Fields::of(message) {
        let (tag, field) = field.ok()?;
        take(tag, field)?;
    }
    Some(())
}

/// An entry of the change log.
#[derive(Default)]
pub(in crate::shard) struct ChangeBytes<'a> {
    pub table: u32,
    operation: u32,
    place: i64,
    pub recorded_at_ms: i64,
    row: &'a [u8],
    fact: Option<SaidBytes<'a>>,
}

/// What was said of a fact, and the fact in it.
#[derive(Default)]
struct SaidBytes<'a> {
    key: &'a [u8],
    retracted: bool,
    level: &'a str,
    provisional: bool,
    division_code: &'a str,
    valid_from_ms: i64,
    valid_to_ms: Option<i64>,
    recorded_at_ms: i64,
    feed: u32,
    source_key: &'a str,
    raw_topic: u32,
    raw_partition: i64,
    raw_offset: i64,
    raw_index: i64,
    match_reason: u32,
    confidence: f32,
    contract_version: u32,
    gazetteer_version: u32,
    payload: &'a [u8],
}

impl<'a> ChangeBytes<'a> {
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut read = Self::default();
        each_field(bytes, |number, field| {
            match number {
                1 => read.table = field.u32().ok()?,
                2 => read.operation = field.u32().ok()?,
                3 => read.place = field.number().ok()? as i64,
                4 => read.recorded_at_ms = field.signed().ok()?,
                5 => read.row = field.bytes().ok()?,
                6 => read.fact = Some(SaidBytes::read(field.bytes().ok()?)?),
                _ => return None,
            }
            Some(())
        })?;
        read.is_whole().then_some(read)
    }

    fn is_whole(&self) -> bool {
        let has_key = self.fact.as_ref().is_none_or(|said| said.place().is_some() && said.id().is_some());
        self.place().is_some() && self.operation().is_some() && has_key
    }

    pub fn place(&self) -> Option<PlaceId> {
        PlaceId::new(self.place)
    }

    pub fn operation(&self) -> Option<Operation> {
        OPERATIONS.get(self.operation as usize).copied()
    }

    /// Calls `take` for each cell of the change's row; a row made of a fact has `width` of them.
    pub fn each<N: AsRef<str>>(
        &self,
        names: &[N],
        width: usize,
        take: &mut dyn FnMut(CellRef<'_>),
    ) -> Result<(), Unreadable> {
        match &self.fact {
            None => cells::each(self.row, take).map_err(text),
            Some(said) => said.each(names, width, take),
        }
    }
}

impl<'a> SaidBytes<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut read = Self::default();
        each_field(bytes, |number, field| {
            match number {
                1 => read.key = field.bytes().ok()?,
                2 => read.retracted = field.number().ok()? != 0,
                3 => read.read_fact(field.bytes().ok()?)?,
                _ => return None,
            }
            Some(())
        })?;
        Some(read)
    }

    fn read_fact(&mut self, bytes: &'a [u8]) -> Option<()> {
        each_field(bytes, |number, field| {
            match number {
                1 => self.level = field.text().ok()?,
                2 => self.provisional = field.number().ok()? != 0,
                3 => self.division_code = field.text().ok()?,
                4 => self.valid_from_ms = field.signed().ok()?,
                5 => self.valid_to_ms = Some(field.signed().ok()?),
                6 => self.recorded_at_ms = field.signed().ok()?,
                7 => self.feed = field.u32().ok()?,
                8 => self.source_key = field.text().ok()?,
                9 => self.raw_topic = field.u32().ok()?,
                10 => self.raw_partition = i64::from(field.number().ok()? as i32),
                11 => self.raw_offset = field.number().ok()? as i64,
                12 => self.raw_index = i64::from(field.number().ok()? as i32),
                13 => self.match_reason = field.u32().ok()?,
                14 => self.confidence = field.float().ok()?,
                15 => self.contract_version = field.u32().ok()?,
                16 => self.gazetteer_version = field.u32().ok()?,
                17 => self.payload = field.bytes().ok()?,
                _ => return None,
            }
            Some(())
        })
    }

    fn place(&self) -> Option<PlaceId> {
        PlaceId::new(i64::from_be_bytes(self.key.get(..8)?.try_into().ok()?))
    }

    fn kind(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.key.get(8..12)?.try_into().ok()?))
    }

    fn id(&self) -> Option<FactId> {
        Some(FactId::from_bytes(self.key.get(12..)?.try_into().ok()?))
    }

    /// As [`crate::shard::StoredFact::row`] has them.
    fn each<N: AsRef<str>>(
        &self,
        names: &[N],
        width: usize,
        take: &mut dyn FnMut(CellRef<'_>),
    ) -> Result<(), Unreadable> {
        let name = |number: u32| match names.get(number as usize) {
            Some(name) => Ok(CellRef::Text(name.as_ref())),
            None => Err(format!("the name number {number} is not stored")),
        };
        let place = self.place().ok_or("a fact's key has no place")?;
        name(self.kind().ok_or("a fact's key has no kind")?)?;
        let mut hex = [0; 32];
        let id = hex_of(&self.id().ok_or("a fact's key has no id")?, &mut hex);
        let before_payload = [
            CellRef::Text(if self.retracted { "retract" } else { "assert" }),
            CellRef::Text(id),
            CellRef::Int(place.get()),
            CellRef::Text(self.division_code),
            CellRef::Text(self.level),
            CellRef::Bool(self.provisional),
            CellRef::Timestamp(self.valid_from_ms),
            self.valid_to_ms.map_or(CellRef::Null, CellRef::Timestamp),
            CellRef::Timestamp(self.recorded_at_ms),
            name(self.feed)?,
            CellRef::Text(self.source_key),
            name(self.raw_topic)?,
            CellRef::Int(self.raw_partition),
            CellRef::Int(self.raw_offset),
            CellRef::Int(self.raw_index),
            name(self.contract_version)?,
            name(self.gazetteer_version)?,
            name(self.match_reason)?,
            CellRef::Decimal((f64::from(self.confidence) * 1000.0).round() as i64),
        ];
        let mut taken = 0;
        let mut within = |cell: CellRef<'_>| {
            taken += 1;
            if taken <= width {
                take(cell);
            }
        };
        before_payload.into_iter().for_each(&mut within);
        cells::each(self.payload, &mut within).map_err(text)?;
        // What its kind got since it was stored.
        (taken..width).for_each(|_| take(CellRef::Null));
        Ok(())
    }
}

/// As `FactId` is displayed.
fn hex_of<'h>(id: &FactId, hex: &'h mut [u8; 32]) -> &'h str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in hex.chunks_exact_mut(2).zip(id.as_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    std::str::from_utf8(hex).unwrap_or_default()
}

/// The row in a place's bytes, which begin with it; None inside where the place has no facts any more, outside where it
/// is written otherwise.
pub(in crate::shard) fn place_row_bytes(bytes: &[u8]) -> Option<Option<&[u8]>> {
    match Fields::of(bytes).next().transpose().ok()? {
        Some((1, row)) => row.bytes().ok().map(Some),
        _ => Some(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use proptest::prelude::*;
    use yibiao_records::{Change, Fact, RawPosition, Statement, Value};

    use super::super::{ChangeHead, change_from, fact_key, put_change, put_fact, put_fact_change};
    use super::*;
    use crate::shard::{names::Names, state::StoredFact};

    const WIDTH: usize = 22;

    fn row() -> impl Strategy<Value = Vec<Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Decimal),
            "\\PC{0,9}".prop_map(Value::Text),
            any::<i64>().prop_map(Value::Timestamp),
        ];
        prop::collection::vec(value, 0..6)
    }

    fn fact() -> impl Strategy<Value = StoredFact> {
        let numbers =
            (any::<i64>(), prop::option::of(any::<i64>()), any::<i64>(), any::<i32>(), any::<i32>());
        let texts = ("[ab]{0,3}", "[ab]{0,3}", "\\PC{0,9}", "[ab]{0,2}", "[ab]{0,2}");
        (any::<[u8; 16]>(), 1..i64::MAX, any::<[bool; 2]>(), numbers, texts, any::<f32>(), row()).prop_map(
            |(id, place, [retracted, provisional], numbers, texts, confidence, payload)| StoredFact {
                kind: "water".into(),
                feed: texts.3.as_str().into(),
                raw_topic: texts.4.as_str().into(),
                raw_partition: numbers.3,
                contract_version: texts.0.as_str().into(),
                gazetteer_version: texts.1.as_str().into(),
                fact: Fact {
                    statement: if retracted { Statement::Retract } else { Statement::Assert },
                    id: FactId::from_bytes(id),
                    place: PlaceId::new(place).unwrap(),
                    level: texts.0.clone(),
                    provisional,
                    division_code: texts.1.clone(),
                    valid_from_ms: numbers.0,
                    valid_to_ms: numbers.1,
                    recorded_at_ms: numbers.2,
                    source_key: texts.2,
                    raw: RawPosition { offset: numbers.0, index: numbers.4 },
                    match_reason: texts.3.clone(),
                    confidence,
                    payload,
                },
            },
        )
    }

    fn stored() -> impl Strategy<Value = (Vec<u8>, Arc<Names>)> {
        let head = (0usize..3, 1..i64::MAX, any::<i64>());
        (head, fact(), row(), any::<bool>()).prop_map(|((operation, place, at), fact, row, is_fact)| {
            let names = Arc::new(Names::default());
            let table = names.number_or_add("fact_water");
            let place = PlaceId::new(place).unwrap();
            let head = ChangeHead { table, operation: OPERATIONS[operation], place, recorded_at_ms: at };
            let (mut part, mut bytes) = (Vec::new(), Vec::new());
            if is_fact {
                put_fact(&mut part, &fact, &names);
                let key = fact_key(fact.fact.place, names.number_or_add(&fact.kind), &fact.fact.id);
                let retracted = fact.fact.statement == Statement::Retract;
                put_fact_change(&mut bytes, &head, &key, retracted, &part);
            } else {
                cells::append(&row, &mut part);
                put_change(&mut bytes, &head, &part);
            }
            (bytes, names)
        })
    }

    /// As the two readers have it; the first may have nothing to say.
    fn both(bytes: &[u8], names: &Names) -> (Option<Result<Change, String>>, Result<Change, String>) {
        let all = names.all();
        let borrowed = ChangeBytes::read(bytes).and_then(|read| {
            let table = all.get(read.table as usize)?.to_string();
            let mut row = Vec::new();
            let cells = read.each(&all, WIDTH, &mut |cell| row.push(cell.into()));
            Some(cells.map(|()| Change {
                sequence: 7,
                table,
                operation: read.operation().unwrap(),
                place: read.place().unwrap(),
                recorded_at_ms: read.recorded_at_ms,
                row,
            }))
        });
        (borrowed, change_from(7, bytes, names, |_| Some(WIDTH)))
    }

    proptest! {
        #[test]
        fn a_change_is_read_where_it_lies_as_it_is_read_whole((bytes, names) in stored()) {
            let (borrowed, whole) = both(&bytes, &names);
            prop_assert_eq!(borrowed.unwrap().unwrap(), whole.unwrap());
        }

        #[test]
        fn damaged_bytes_are_read_alike_or_not_at_all(
            (mut bytes, names) in stored(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<bool>(),
        ) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            if let (Some(borrowed), whole) = both(&bytes, &names) {
                prop_assert_eq!(borrowed.ok(), whole.ok());
            }
        }
    }
}
