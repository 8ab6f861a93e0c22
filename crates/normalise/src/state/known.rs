//! What is known of a record, as bytes.

use std::sync::Arc;

use yibiao_records::PlaceId;

use crate::diff::{Known, LEVELS, Standing};

/// 1: without what was asked and from when it holds.
const FORMS: [u8; 2] = [1, 2];
const FORM: u8 = 2;
const HOLDS: u8 = 1;
const PROVISIONAL: u8 = 2;
const CHALLENGED: u8 = 4;
/// Form, flags, level, content, said, place, division, gazetteer, origin, and of what stands also what was asked and from
/// when it holds; the kind's name follows. Where the record does not hold, what stands is left zero.
const FIXED: usize = 3 + 16 + 16 + 8 + 8 + 4 + 8;
const ASKED: usize = 16 + 8;

pub fn encode(known: &Known) -> Vec<u8> {
    let challenged = if known.challenged { CHALLENGED } else { 0 };
    let mut out = Vec::with_capacity(FIXED + known.standing.as_ref().map_or(0, |it| ASKED + it.kind.len()));
    let Some(standing) = &known.standing else {
        out.extend([FORM, challenged, 0]);
        out.extend(known.content.to_le_bytes());
        out.extend([0; 16 + 8 + 8 + 4]);
        out.extend(known.origin.to_le_bytes());
        return out;
    };
    let level = LEVELS
        .iter()
        .position(|level| *level == standing.level)
        .expect("invariant: a level is one of LEVELS");
    let provisional = if standing.provisional { PROVISIONAL } else { 0 };
    out.extend([FORM, HOLDS | provisional | challenged, level as u8]);
    out.extend(known.content.to_le_bytes());
    out.extend(standing.said.to_le_bytes());
    out.extend(standing.place.get().to_le_bytes());
    out.extend(standing.division_code.to_le_bytes());
    out.extend(standing.gazetteer.to_le_bytes());
    out.extend(known.origin.to_le_bytes());
    out.extend(standing.asked.to_le_bytes());
    out.extend(standing.valid_from_ms.to_le_bytes());
    out.extend(standing.kind.as_bytes());
    out
}

/// A kind that is `kind` is not copied.
pub fn decode(bytes: &[u8], kind: Option<&Arc<str>>) -> Option<Known> {
    fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (head, tail) = rest.split_first_chunk::<N>()?;
        *rest = tail;
        Some(*head)
    }
    let rest = &mut &bytes[..];
    let [form, flags, level] = take::<3>(rest)?;
    if !FORMS.contains(&form) {
        return None;
    }
    let content = u128::from_le_bytes(take(rest)?);
    let said = u128::from_le_bytes(take(rest)?);
    let place = i64::from_le_bytes(take(rest)?);
    let division_code = u64::from_le_bytes(take(rest)?);
    let gazetteer = u32::from_le_bytes(take(rest)?);
    let origin = i64::from_le_bytes(take(rest)?);
    let standing = if flags & HOLDS == 0 {
        None
    } else {
        let (asked, valid_from_ms) = match form {
            FORM => (u128::from_le_bytes(take(rest)?), i64::from_le_bytes(take(rest)?)),
            _ => (0, 0),
        };
        Some(Standing {
            said,
            asked,
            valid_from_ms,
            place: PlaceId::new(place)?,
            level: LEVELS.get(usize::from(level)).copied()?,
            provisional: flags & PROVISIONAL != 0,
            division_code,
            gazetteer,
            kind: match kind.filter(|kind| kind.as_bytes() == *rest) {
                Some(kind) => kind.clone(),
                None => Arc::from(std::str::from_utf8(rest).ok()?),
            },
        })
    };
    Some(Known { content, origin, challenged: flags & CHALLENGED != 0, standing })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_known_comes_back_as_it_was(
            (content, said, place, division_code) in (any::<u128>(), any::<u128>(), 1i64.., any::<u64>()),
            (asked, valid_from_ms) in (any::<u128>(), any::<i64>()),
            (level, holds, provisional, gazetteer, origin, challenged) in
                (0..LEVELS.len(), any::<bool>(), any::<bool>(), any::<u32>(), any::<i64>(), any::<bool>()),
            kind in "[a-z_]{1,12}",
        ) {
            let standing = Standing {
                said, provisional, gazetteer, division_code, asked, valid_from_ms,
                place: PlaceId::new(place).unwrap(),
                level: LEVELS[level],
                kind: kind.as_str().into(),
            };
            let known = Known { content, origin, challenged, standing: holds.then_some(standing) };
            let bytes = encode(&known);
            // As an older program wrote it.
            let mut old = bytes.clone();
            old[0] = 1;
            if holds {
                old.drain(FIXED..FIXED + ASKED);
            }
            let mut without = known.clone();
            without.standing.iter_mut().for_each(|standing| (standing.asked, standing.valid_from_ms) = (0, 0));
            prop_assert_eq!(decode(&old, None), Some(without));
            prop_assert_eq!(decode(&bytes, Some(&Arc::from("water"))), Some(known.clone()));
            prop_assert_eq!(decode(&bytes, Some(&Arc::from(kind.as_str()))), Some(known));
            prop_assert_eq!(decode(&bytes[..FIXED - 1], None), None);
        }
    }
}
