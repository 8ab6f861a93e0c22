#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn kind() -> Arc<str> {
    "water".into()
}

fn located(place: i64) -> Located {
    Located {
        place: PlaceId::new(place).unwrap(),
        level: "dwelling",
        provisional: false,
        division_code: 320_106_000_000,
        match_reason: "exact",
        confidence: 1.0,
    }
}

fn claim(place: i64, amount: i64) -> Claim {
    Claim {
        located: located(place),
        valid_from_ms: 0,
        valid_to_ms: None,
        payload: vec![Value::Decimal(amount)],
    }
}

fn version(kind: &Arc<str>, content: u128, origin: i64) -> Version<'_> {
    Version { content, gazetteer: 1, origin, replayed: false, asked: 0, kind }
}

#[test]
fn the_table_of_cases_holds() {
    let kind = kind();
    let says = |known: Option<&Known>, said: Said| {
        let decision = diff(known, said, version(&kind, 9, 9));
        match decision {
            Decision::Unchanged { .. } => "unchanged".to_owned(),
            Decision::Changed { retract, assert, .. } => {
                let retract = retract.map(|fact| format!("{}@{} ", fact.because, fact.place));
                let assert = assert.map(|claim| format!("assert@{}", claim.located.place));
                retract.unwrap_or_default() + &assert.unwrap_or_default()
            }
        }
    };
    let learnt = |said: Said, known: Option<&Known>| match diff(known, said, version(&kind, 1, 1)) {
        Decision::Changed { known, .. } => known,
        other => panic!("{other:?}"),
    };
    let holds = learnt(Said::Holds(claim(1, 5)), None);
    let ended = learnt(Said::Ended { at_ms: 3 }, Some(&holds));
    let end = || Said::Ended { at_ms: 7 };
    assert_eq!(says(None, Said::Holds(claim(1, 5))), "assert@1");
    assert_eq!(says(None, end()), "unchanged");
    assert_eq!(says(Some(&holds), Said::Holds(claim(1, 5))), "unchanged");
    assert_eq!(says(Some(&holds), Said::Holds(claim(1, 6))), "assert@1");
    assert_eq!(says(Some(&holds), Said::Holds(claim(2, 5))), "moved@1 assert@2");
    assert_eq!(says(Some(&holds), end()), "withdrawn@1 ");
    assert_eq!(says(Some(&ended), Said::Holds(claim(1, 5))), "assert@1");
    assert_eq!(says(Some(&ended), end()), "unchanged");
}

#[test]
fn a_contract_that_changes_the_kind_retracts_the_fact_of_the_old_kind() {
    let (water, gas): (Arc<str>, Arc<str>) = ("water".into(), "gas".into());
    let Decision::Changed { known, .. } = diff(None, Said::Holds(claim(1, 5)), version(&water, 1, 1)) else {
        panic!()
    };
    let decision = diff(Some(&known), Said::Holds(claim(1, 5)), version(&gas, 2, 2));
    let Decision::Changed { retract: Some(retract), assert: Some(_), known } = decision else { panic!() };
    assert_eq!((&*retract.kind, &*known.standing.unwrap().kind), ("water", "gas"));
}

#[test]
fn a_place_found_only_provisionally_is_looked_up_again_under_another_gazetteer() {
    let kind = kind();
    let mut said = claim(1, 5);
    said.located.provisional = true;
    let Decision::Changed { known, .. } = diff(None, Said::Holds(said), version(&kind, 1, 1)) else {
        panic!()
    };
    assert!(is_same(&known, version(&kind, 1, 2)));
    assert!(!is_same(&known, Version { gazetteer: 2, ..version(&kind, 1, 2) }));
    let mut settled = known;
    settled.standing.as_mut().unwrap().provisional = false;
    assert!(is_same(&settled, Version { gazetteer: 2, ..version(&kind, 1, 2) }));
}

#[test]
fn a_repetition_is_remembered_only_after_another_version_was_refused() {
    let kind = kind();
    let Decision::Changed { known, .. } = diff(None, Said::Holds(claim(1, 5)), version(&kind, 1, 5)) else {
        panic!()
    };
    assert_eq!(said_again(&known, version(&kind, 1, 6)), None);
    assert_eq!(refused(&known, version(&kind, 2, 4)), None, "older than what is known");
    let challenged = refused(&known, version(&kind, 2, 10)).unwrap();
    assert_eq!((challenged.origin, &challenged.standing), (5, &known.standing));
    assert_eq!(refused(&challenged, version(&kind, 2, 11)), None, "known already");
    let renewed = said_again(&challenged, version(&kind, 1, 20)).unwrap();
    assert_eq!(renewed, Known { origin: 20, ..known });
    assert_eq!(said_again(&renewed, version(&kind, 1, 30)), None);
    assert!(is_superseded(&renewed, version(&kind, 2, 10)));
}

#[test]
fn a_repetition_that_is_remembered_is_placed_by_the_gazetteer_of_its_day() {
    let kind = kind();
    let Decision::Changed { known, .. } = diff(None, Said::Holds(claim(1, 5)), version(&kind, 1, 5)) else {
        panic!()
    };
    let again = Version { gazetteer: 2, ..version(&kind, 1, 20) };
    assert!(is_same(&known, again));
    let challenged = refused(&known, version(&kind, 2, 10)).unwrap();
    assert!(!is_same(&challenged, again), "its origin is renewed: the first is superseded");
    assert!(is_same(&challenged, version(&kind, 1, 20)));
}

#[test]
fn what_ended_before_it_ever_held_is_remembered() {
    let kind = kind();
    let decision = diff(None, Said::Ended { at_ms: 3 }, version(&kind, 1, 20));
    let Decision::Unchanged { refreshed: Some(known) } = decision else { panic!("{decision:?}") };
    assert_eq!(known, Known { content: 1, origin: 20, challenged: false, standing: None });
}

#[test]
fn how_an_address_was_matched_is_no_change() {
    let mut typo = claim(1, 5);
    (typo.located.match_reason, typo.located.confidence) = ("typo", 0.8);
    assert_eq!(typo.hash(), claim(1, 5).hash());
    let mut null = claim(1, 5);
    null.payload = vec![Value::Null];
    assert_ne!(null.hash(), claim(1, 0).hash());
}

/// One source record's history: at a place with an amount, or ended.
fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => (1i64..4, 0i64..3).prop_map(|(place, amount)| Said::Holds(claim(place, amount))),
        1 => Just(Said::Ended { at_ms: 1 }),
    ]
}

proptest! {
    /// Whoever applies the facts in their order holds what the last version said, at one place only.
    #[test]
    fn facts_applied_in_order_leave_what_was_said_last(history in prop::collection::vec(said(), 0..30)) {
        let kind = kind();
        let mut known: Option<Known> = None;
        let mut held: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        for (offset, said) in history.iter().enumerate() {
            let version = version(&kind, offset as u128 + 1, offset as i64);
            match diff(known.as_ref(), said.clone(), version) {
                Decision::Unchanged { refreshed } => known = refreshed.or(known),
                Decision::Changed { retract, assert, known: now } => {
                    if let Some(retract) = retract {
                        prop_assert!(held.remove(&retract.place.get()).is_some(), "nothing to retract");
                    }
                    if let Some(claim) = assert {
                        held.insert(claim.located.place.get(), claim.payload);
                    }
                    known = Some(now);
                }
            }
            prop_assert!(held.len() <= 1);
        }
        let last = match history.last() {
            Some(Said::Holds(claim)) => vec![(claim.located.place.get(), claim.payload.clone())],
            _ => vec![],
        };
        prop_assert_eq!(held.into_iter().collect::<Vec<_>>(), last);
    }
}

/// States keep it: fed piece by piece, as by earlier programs, it is the same.
#[test]
fn the_hash_of_a_claim_is_that_of_its_parts_in_order() {
    for text in ["", "正常", &"表".repeat(400)] {
        let claim = Claim { payload: vec![Value::Text(text.into()), Value::Null], ..claim(7, 0) };
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for part in [&7i64.to_le_bytes()[..], b"dwelling", &[0], &320_106_000_000u64.to_le_bytes()] {
            hash.update(part);
        }
        for number in [0, i64::MAX] {
            hash.update(&number.to_le_bytes());
        }
        hash.update(&[6]);
        hash.update(&(text.len() as i64).to_le_bytes());
        hash.update(text.as_bytes());
        hash.update(&[0]);
        hash.update(&0i64.to_le_bytes());
        assert_eq!(claim.hash(), hash.digest128());
    }
}
