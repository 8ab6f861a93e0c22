//! What changes when records come again, move, end, or come late.

use yibiao_normalise::shard::contract_hash;
use yibiao_records::{Reason, Statement};

use crate::support::{Bench, ELECTRICITY, Raw, city, place, publish, reading};

const A: &str = "南京市鼓楼区上海路12号青禾新村1幢1单元101室";
const B: &str = "南京市鼓楼区上海路12号青禾新村1幢1单元201室";
const DAY: &str = "2025-11-03";

#[test]
fn a_full_dump_sent_twice_yields_only_unchanged() {
    let mut bench = Bench::new(ELECTRICITY);
    let dump: Vec<Raw> =
        (1..=28).map(|day| bench.json(&reading("E1", A, &format!("2025-11-{day:02}"), "3.5"))).collect();
    bench.send(&dump);
    assert_eq!(bench.outcomes(), [28, 28, 0, 0]);
    let sent = bench.sent.in_order(&bench.kinds).len();
    bench.send(&dump);
    bench.restart();
    bench.send(&dump);
    assert_eq!(bench.outcomes(), [84, 28, 0, 56]);
    assert_eq!(bench.sent.in_order(&bench.kinds).len(), sent);
}

#[test]
fn a_record_that_says_the_same_in_other_bytes_is_unchanged() {
    let mut bench = Bench::new(ELECTRICITY);
    let first = bench.json(&reading("E1", A, DAY, "3.5"));
    let spaced = bench.json(&reading("E1", A, DAY, "3.50").replace(",", " , "));
    let other_text = bench.json(&reading("E1", "青禾新村1-1-101", DAY, "3.5"));
    bench.send(&[first.clone(), spaced, other_text.clone(), other_text]);
    assert_eq!(bench.outcomes(), [4, 1, 0, 3]);
}

#[test]
fn a_record_that_moves_is_retracted_at_the_old_place_and_asserted_at_the_new() {
    for batch_size in [1, 3] {
        let mut bench = Bench::new(ELECTRICITY);
        let versions = [
            bench.json(&reading("E1", A, DAY, "3.5")),
            bench.json(&reading("E1", B, DAY, "3.5")),
            bench.json(&reading("E1", B, DAY, "4.5")),
        ];
        for batch in versions.chunks(batch_size) {
            bench.send(batch);
        }
        let (a, b) = (place("QH-1-1-101"), place("QH-1-1-201"));
        let (assert, retract) = (Statement::Assert, Statement::Retract);
        assert_eq!(
            bench.sent.statements(&bench.kinds),
            [(assert, a), (retract, a), (assert, b), (assert, b)]
        );
        let facts = bench.sent.in_order(&bench.kinds);
        assert!(facts.iter().all(|fact| fact.id == facts[0].id && fact.level == "dwelling"));
        assert_eq!((facts[1].raw.offset, facts[1].raw.index, facts[2].raw.index), (1, 0, 1));
        assert_eq!(facts[2].recorded_at_ms, 1_700_000_000_001, "the raw topic's time, not the clock");
        assert_eq!(bench.outcomes(), [3, 3, 0, 0]);
    }
}

#[test]
fn a_version_that_cannot_be_accepted_leaves_what_was_said_before() {
    let mut bench = Bench::new(ELECTRICITY);
    let good = bench.json(&reading("E1", A, DAY, "3.5"));
    let bad = bench.json(&reading("E1", "云杉花园1幢1单元101室", DAY, "3.5"));
    bench.send(&[good.clone(), bad, good]);
    assert_eq!(bench.outcomes(), [3, 1, 1, 1]);
    assert_eq!(bench.sent.in_order(&bench.kinds).len(), 1);
}

#[test]
fn a_tombstone_retracts_and_the_record_may_come_back() {
    let mut bench = Bench::new(ELECTRICITY);
    let raw = bench.json(&reading("E1", A, DAY, "3.5"));
    let gone = Raw::tombstone(&raw);
    bench.send(&[gone.clone(), raw.clone(), gone.clone(), gone, raw]);
    let kinds: Vec<_> = bench.sent.in_order(&bench.kinds).iter().map(|fact| fact.statement).collect();
    assert_eq!(kinds, [Statement::Assert, Statement::Retract, Statement::Assert]);
    assert_eq!(bench.outcomes(), [5, 3, 0, 2]);
}

#[test]
fn a_replayed_older_version_does_not_undo_a_later_one() {
    let mut bench = Bench::new(ELECTRICITY);
    let older = bench.json(&reading("E1", "云杉花园1幢1单元101室", DAY, "3.5"));
    let later = bench.json(&reading("E1", A, DAY, "4.5"));
    let untouched = bench.json(&reading("E2", "云杉花园1幢1单元101室", DAY, "1"));
    bench.send(&[older.clone(), untouched.clone(), later]);
    assert_eq!(bench.reasons(), [Reason::AddressAmbiguous, Reason::AddressAmbiguous]);
    // 秦淮区's compound is withdrawn from the standard addresses, so that the address tells one place.
    let rows: Vec<_> = city().into_iter().filter(|row| row.county != "秦淮区").collect();
    publish(&bench.gazetteer_dir(), &rows);
    bench.take_edition();
    bench.send(&[Raw { origin: Some(0), ..older }, Raw { origin: Some(1), ..untouched }]);
    assert_eq!(bench.outcomes(), [5, 2, 2, 1]);
    let last = bench.sent.in_order(&bench.kinds).pop().unwrap();
    assert_eq!((last.place, last.raw.offset), (place("YS1-1-1-101"), 4));
}

#[test]
fn a_contract_edited_without_a_new_version_reads_records_anew() {
    let mut bench = Bench::new(ELECTRICITY);
    let raw = bench.json(&reading("E1", A, DAY, "3.5"));
    bench.send(std::slice::from_ref(&raw));
    let mut contract = yibiao_contracts::Contract::clone(&bench.contract);
    let kwh = contract.field("kwh").unwrap();
    contract.fields[kwh].maximum = Some(3_000);
    bench.take_contract(contract.clone());
    bench.send(std::slice::from_ref(&raw));
    assert_eq!(bench.reasons(), [Reason::OutOfRange]);

    contract.fields[kwh].maximum = Some(4_000);
    bench.take_contract(contract);
    bench.send(&[raw.clone(), raw]);
    assert_eq!(bench.outcomes(), [4, 1, 1, 2]);
}

#[test]
fn where_a_contract_lies_does_not_count_but_what_it_says_does() {
    for feed in [ELECTRICITY, "grid/hazard-reports"] {
        let first = crate::support::contract(feed, &crate::support::kinds());
        let again = crate::support::contract(feed, &crate::support::kinds());
        let mut moved = yibiao_contracts::Contract::clone(&again);
        moved.file = "elsewhere.odcs.yaml".into();
        if let yibiao_contracts::Form::Protobuf(schema) = &mut moved.ingest.form {
            schema.file = "elsewhere.proto".into();
        }
        assert_eq!(contract_hash(&first), contract_hash(&again));
        assert_eq!(contract_hash(&first), contract_hash(&moved));
        moved.ingest.nulls.push("未知".into());
        assert_ne!(contract_hash(&first), contract_hash(&moved));
    }
}

/// Two places in 云杉花园, of which there are two in the city until 秦淮区's is withdrawn.
const NAMESAKE: &str = "云杉花园1幢1单元101室";

/// The cause of `address_ambiguous` is repaired.
fn one_namesake_remains(bench: &mut Bench) {
    let rows: Vec<_> = city().into_iter().filter(|row| row.county != "秦淮区").collect();
    publish(&bench.gazetteer_dir(), &rows);
    bench.take_edition();
}

#[test]
fn a_replay_does_not_undo_what_was_said_again_after_it() {
    for batch_size in [1, 3] {
        let mut bench = Bench::new(ELECTRICITY);
        let good = bench.json(&reading("E1", A, DAY, "3.5"));
        let refused = bench.json(&reading("E1", NAMESAKE, DAY, "4.5"));
        for batch in [good.clone(), refused.clone(), good.clone()].chunks(batch_size) {
            bench.send(batch);
        }
        assert_eq!(bench.outcomes(), [3, 1, 1, 1]);
        bench.restart();
        one_namesake_remains(&mut bench);
        bench.send(&[Raw { origin: Some(1), ..refused }]);
        assert_eq!(bench.outcomes(), [4, 1, 1, 2]);
        assert_eq!(bench.sent.statements(&bench.kinds), [(Statement::Assert, place("QH-1-1-101"))]);
    }
}

#[test]
fn a_replay_that_nothing_was_said_after_is_accepted() {
    let mut bench = Bench::new(ELECTRICITY);
    let good = bench.json(&reading("E1", A, DAY, "3.5"));
    let refused = bench.json(&reading("E1", NAMESAKE, DAY, "4.5"));
    bench.send(&[good.clone(), good, refused.clone()]);
    one_namesake_remains(&mut bench);
    bench.send(&[Raw { origin: Some(2), ..refused }]);
    assert_eq!(bench.outcomes(), [4, 2, 1, 1]);
    assert_eq!(bench.sent.in_order(&bench.kinds).pop().unwrap().place, place("YS1-1-1-101"));
}

#[test]
fn a_replayed_version_that_is_said_again_outlives_the_others_in_quarantine() {
    let mut bench = Bench::new(ELECTRICITY);
    let first = bench.json(&reading("E1", NAMESAKE, DAY, "1"));
    let second = bench.json(&reading("E1", NAMESAKE, DAY, "2"));
    bench.send(&[first.clone(), second.clone()]);
    one_namesake_remains(&mut bench);
    // Only the first is replayed; its source says it again; then the second is replayed too.
    bench.send(&[Raw { origin: Some(0), ..first.clone() }, first, Raw { origin: Some(1), ..second }]);
    assert_eq!(bench.outcomes(), [5, 1, 2, 2]);
}

#[test]
fn a_record_that_was_only_ever_refused_stays_withdrawn() {
    let mut bench = Bench::new(ELECTRICITY);
    let refused = bench.json(&reading("E1", NAMESAKE, DAY, "1"));
    let gone = Raw::tombstone(&refused);
    bench.send(&[refused.clone(), gone.clone()]);
    bench.restart();
    one_namesake_remains(&mut bench);
    bench.send(&[Raw { origin: Some(0), ..refused.clone() }]);
    assert_eq!(bench.outcomes(), [3, 0, 1, 2]);
    assert!(bench.sent.frames.is_empty());
    bench.send(&[refused, gone]);
    assert_eq!(bench.outcomes(), [5, 2, 1, 2], "it may still come for the first time");
}

#[test]
fn a_room_that_only_a_newer_gazetteer_knows_moves_from_its_provisional_place() {
    let mut bench = Bench::new(ELECTRICITY);
    let raw = bench.json(&reading("E1", "南京市鼓楼区上海路12号青禾新村1幢1单元301室", DAY, "3.5"));
    let settled = bench.json(&reading("E2", A, DAY, "3.5"));
    bench.send(&[raw.clone(), settled.clone()]);
    let first = bench.sent.in_order(&bench.kinds)[0].clone();
    assert!(first.provisional && first.place.get() >> 62 == 1 && first.level == "dwelling");
    bench.send(std::slice::from_ref(&raw));
    assert_eq!(bench.outcomes(), [3, 2, 0, 1]);

    let mut rows = city();
    let neighbour = rows.iter().find(|row| row.place == place("QH-1-1-201").get() as u64).unwrap().clone();
    let new = place("QH-1-1-301");
    rows.push(yibiao_address::StandardAddress {
        place: new.get() as u64, room: "301室".into(), ..neighbour
    });
    let version = publish(&bench.gazetteer_dir(), &rows);
    bench.take_edition();
    bench.send(&[raw, settled]);
    assert_eq!(bench.outcomes(), [5, 3, 0, 2]);
    let facts = bench.sent.in_order(&bench.kinds);
    assert_eq!((facts[2].statement, facts[2].place), (Statement::Retract, first.place));
    assert_eq!((facts[3].statement, facts[3].place, facts[3].provisional), (Statement::Assert, new, false));
    assert_eq!(bench.shard.record.gazetteer_version.as_deref(), Some(version.as_str()));
}

#[test]
fn the_same_record_is_not_refused_because_a_newer_gazetteer_has_no_answer() {
    let mut bench = Bench::new(ELECTRICITY);
    let stands = bench.json(&reading("E1", A, DAY, "3.5"));
    let refused = bench.json(&reading("E1", NAMESAKE, DAY, "3.5"));
    bench.send(&[stands.clone(), refused.clone()]);
    assert_eq!(bench.outcomes(), [2, 1, 1, 0]);
    let without: Vec<_> = city().into_iter().filter(|row| row.compound != "青禾新村").collect();
    publish(&bench.gazetteer_dir(), &without);
    bench.take_edition();
    bench.send(std::slice::from_ref(&stands));
    assert_eq!(bench.outcomes(), [3, 1, 1, 1]);
    // It counts as said again all the same: what was refused before it does not come true.
    one_namesake_remains(&mut bench);
    bench.send(&[Raw { origin: Some(1), ..refused }]);
    assert_eq!(bench.outcomes(), [4, 1, 1, 2]);
}

#[test]
fn a_record_of_a_day_before_the_place_was_withdrawn_is_accepted() {
    let mut bench = Bench::new(ELECTRICITY);
    let gone = "南京市鼓楼区上海路12号青禾新村2幢1单元102室";
    let day = |day: &str| bench.json(&reading("E1", gone, day, "1"));
    let (before, after) = (day("2025-11-02"), day("2025-11-04"));
    let version = publish(&bench.gazetteer_dir(), &city());
    // 2025-11-03T00:00:00Z
    let entry = [place("QH-2-1-102").get().to_le_bytes(), 1_762_128_000_000i64.to_le_bytes()].concat();
    std::fs::write(bench.gazetteer_dir().join(format!("gazetteer-{version}.ended")), entry).unwrap();
    bench.reopen_editions();
    bench.send(&[before, after]);
    assert_eq!(bench.reasons(), [Reason::PlaceWithdrawn]);
    let rejection = &bench.sent.refused[0];
    assert!(rejection.offset == 1 && rejection.detail.contains("自 2025-11-03"), "{}", rejection.detail);
    assert_eq!(bench.sent.in_order(&bench.kinds)[0].place, place("QH-2-1-102"));
}
