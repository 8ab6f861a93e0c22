//! Changes as stored bytes that are read where they lie: each is read once, by the projection, and most of it are texts.

use yibiao_records::{FactId, Operation, PlaceId, cells, cells::CellRef};

use super::{Unreadable, change::OPERATIONS, fact_key_parts, not_stored, text, wire::Fields};

/// An entry of the change log.
pub(in crate::shard) struct ChangeBytes<'a> {
    pub table: u32,
    pub operation: Operation,
    pub place: PlaceId,
    pub recorded_at_ms: i64,
    row: &'a [u8],
    fact: Option<SaidBytes<'a>>,
}

/// What was said of a fact, and the fact in it.
struct SaidBytes<'a> {
    place: PlaceId,
    kind: u32,
    id: FactId,
    retracted: bool,
    fact: FactBytes<'a>,
}

/// A fact as it is stored.
#[derive(Default)]
struct FactBytes<'a> {
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
    pub fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let (mut table, mut operation, mut place, mut recorded_at_ms) = (0, 0, 0, 0);
        let (mut row, mut said): (&[u8], _) = (&[], None);
        for field in Fields::of(bytes) {
            let (tag, field) = field?;
            match tag {
                1 => table = field.u32()?,
                2 => operation = field.u32()?,
                3 => place = field.number()? as i64,
                4 => recorded_at_ms = field.signed()?,
                5 => row = field.bytes()?,
                6 => said = Some(field.bytes()?),
                _ => {}
            }
        }
        Ok(Self {
            table,
            operation: *OPERATIONS.get(operation as usize).ok_or("a change's operation is unknown")?,
            place: PlaceId::new(place).ok_or("a change has no place")?,
            recorded_at_ms,
            row,
            fact: said.map(SaidBytes::read).transpose()?,
        })
    }

    /// Calls `take` for each cell of the change's row; a row made of a fact has `width` of them.
    pub fn each<N: AsRef<str>>(
        &self,
        names: &[N],
        width: impl FnOnce() -> Result<usize, Unreadable>,
        take: &mut dyn FnMut(CellRef<'_>),
    ) -> Result<(), Unreadable> {
        match &self.fact {
            None => cells::each(self.row, take).map_err(text),
            Some(said) => said.each(names, width()?, take),
        }
    }
}

impl<'a> SaidBytes<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let (mut key, mut retracted, mut fact): (&[u8], _, &[u8]) = (&[], false, &[]);
        for field in Fields::of(bytes) {
            let (tag, field) = field?;
            match tag {
                1 => key = field.bytes()?,
                2 => retracted = field.number()? != 0,
                3 => fact = field.bytes()?,
                _ => {}
            }
        }
        let (place, kind, id) = fact_key_parts(key)?;
        Ok(Self { place, kind, id, retracted, fact: FactBytes::read(fact)? })
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
            None => Err(not_stored(number)),
        };
        name(self.kind)?;
        let (fact, mut hex) = (&self.fact, [0; 32]);
        let before_payload = [
            CellRef::Text(if self.retracted { "retract" } else { "assert" }),
            CellRef::Text(hex_of(&self.id, &mut hex)),
            CellRef::Int(self.place.get()),
            CellRef::Text(fact.division_code),
            CellRef::Text(fact.level),
            CellRef::Bool(fact.provisional),
            CellRef::Timestamp(fact.valid_from_ms),
            fact.valid_to_ms.map_or(CellRef::Null, CellRef::Timestamp),
            CellRef::Timestamp(fact.recorded_at_ms),
            name(fact.feed)?,
            CellRef::Text(fact.source_key),
            name(fact.raw_topic)?,
            CellRef::Int(fact.raw_partition),
            CellRef::Int(fact.raw_offset),
            CellRef::Int(fact.raw_index),
            name(fact.contract_version)?,
            name(fact.gazetteer_version)?,
            name(fact.match_reason)?,
            CellRef::Decimal((f64::from(fact.confidence) * 1000.0).round() as i64),
        ];
        let mut taken = 0;
        let mut within = |cell: CellRef<'_>| {
            taken += 1;
            if taken <= width {
                take(cell);
            }
        };
        before_payload.into_iter().for_each(&mut within);
        cells::each(fact.payload, &mut within).map_err(text)?;
        // What its kind got since it was stored.
        (taken..width).for_each(|_| take(CellRef::Null));
        Ok(())
    }
}

impl<'a> FactBytes<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let mut read = Self::default();
        for field in Fields::of(bytes) {
            let (tag, field) = field?;
            match tag {
                1 => read.level = field.text()?,
                2 => read.provisional = field.number()? != 0,
                3 => read.division_code = field.text()?,
                4 => read.valid_from_ms = field.signed()?,
                5 => read.valid_to_ms = Some(field.signed()?),
                6 => read.recorded_at_ms = field.signed()?,
                7 => read.feed = field.u32()?,
                8 => read.source_key = field.text()?,
                9 => read.raw_topic = field.u32()?,
                10 => read.raw_partition = i64::from(field.number()? as i32),
                11 => read.raw_offset = field.number()? as i64,
                12 => read.raw_index = i64::from(field.number()? as i32),
                13 => read.match_reason = field.u32()?,
                14 => read.confidence = field.float()?,
                15 => read.contract_version = field.u32()?,
                16 => read.gazetteer_version = field.u32()?,
                17 => read.payload = field.bytes()?,
                _ => {}
            }
        }
        Ok(read)
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

    /// A change, and its bytes.
    fn stored() -> impl Strategy<Value = (Change, Vec<u8>, Arc<Names>)> {
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
            let change = Change {
                sequence: 7,
                table: "fact_water".into(),
                operation: head.operation,
                place,
                recorded_at_ms: at,
                row: if is_fact { fact.row(WIDTH) } else { row },
            };
            (change, bytes, names)
        })
    }

    proptest! {
        #[test]
        fn a_change_is_read_as_it_was_made((change, bytes, names) in stored()) {
            prop_assert_eq!(change_from(7, &bytes, &names, |_| Some(WIDTH)), Ok(change));
        }

        #[test]
        fn damaged_bytes_are_some_change_or_an_error(
            (_, mut bytes, names) in stored(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<bool>(),
        ) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            if let Ok(change) = change_from(7, &bytes, &names, |_| Some(WIDTH)) {
                prop_assert_eq!(change.sequence, 7);
            }
        }

        #[test]
        fn a_field_of_a_later_version_is_passed_over((change, mut bytes, names) in stored()) {
            super::super::wire::put_number(&mut bytes, 9, 1);
            prop_assert_eq!(change_from(7, &bytes, &names, |_| Some(WIDTH)), Ok(change));
        }
    }
}
