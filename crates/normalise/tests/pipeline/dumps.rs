//! What follows from the end of a full dump.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;
use yibiao_contracts::{Contract, FullDump};
use yibiao_records::{FactId, Reason, Statement};

use crate::support::{Bench, ELECTRICITY, Raw, contract, kinds, place, reading};

const A: &str = "南京市鼓楼区上海路12号青禾新村1幢1单元101室";
const DAY: &str = "2025-11-03";

fn bench(gone_max_percent: u8) -> Bench {
    let mut contract: Contract = (*contract(ELECTRICITY, &kinds())).clone();
    contract.ingest.full_dump = Some(FullDump { files: None, gone_max_percent });
    Bench::of(Arc::new(contract))
}

fn meters(bench: &Bench, numbers: impl IntoIterator<Item = u32>, dump: u64) -> Vec<Raw> {
    let raw = |n| bench.json(&reading(&format!("E{n}"), A, DAY, "3.5")).within(dump);
    numbers.into_iter().map(raw).collect()
}

/// The facts that stand, by replaying what was sent as a receiver would that skips what it has.
fn standing(bench: &Bench) -> BTreeSet<FactId> {
    let mut standing = BTreeSet::new();
    let mut before = None;
    for fact in bench.sent.in_order(&bench.kinds) {
        if before.replace(fact.raw) == Some(fact.raw) {
            continue;
        }
        match fact.statement {
            Statement::Assert => assert!(standing.insert(fact.id) || fact.place == place("QH-1-1-101")),
            Statement::Retract => assert!(standing.remove(&fact.id), "what is retracted stood"),
        }
    }
    standing
}

#[test]
fn what_is_missing_in_a_full_dump_is_retracted_once_and_may_come_back() {
    let mut bench = bench(20);
    bench.send(&meters(&bench, 0..50, 1));
    bench.end_dump(1, None);
    assert_eq!(bench.outcomes(), [51, 50, 0, 1]);
    bench.send(&meters(&bench, 3..50, 2));
    bench.end_dump(2, None);
    assert_eq!(bench.outcomes(), [99, 51, 0, 48]);
    assert_eq!(standing(&bench).len(), 47);
    let retracted = bench.sent.in_order(&bench.kinds).split_off(50);
    assert!(retracted.iter().all(|fact| fact.match_reason == "missing_in_dump" && fact.raw.offset == 98));
    // The connector died after it had told the end, and sends the last records and the end again.
    bench.send(&meters(&bench, 40..50, 2));
    bench.end_dump(2, None);
    assert_eq!(standing(&bench).len(), 47);
    bench.send(&meters(&bench, 0..50, 3));
    bench.end_dump(3, None);
    assert_eq!(standing(&bench).len(), 50);
    assert_eq!(bench.reasons(), []);
}

#[test]
fn a_dump_that_lacks_too_much_or_has_a_record_without_a_key_retracts_nothing_and_says_why() {
    let mut bench = bench(20);
    bench.send(&meters(&bench, 0..50, 1));
    bench.end_dump(1, None);
    bench.send(&meters(&bench, 11..50, 2));
    bench.end_dump(2, None);
    let mut nameless = meters(&bench, 1..50, 3);
    nameless.push(Raw::new(&bench.contract, "{\"meter_no\":", None).within(3));
    bench.send(&nameless);
    bench.end_dump(3, None);
    assert_eq!(bench.reasons(), [Reason::DumpIncomplete, Reason::Malformed, Reason::DumpIncomplete]);
    assert!(bench.sent.refused[0].detail.contains("11 of 50 are missing"), "{:?}", bench.sent.refused[0]);
    assert!(bench.sent.refused[2].detail.contains("without a readable key"));
    assert_eq!(standing(&bench).len(), 50);
    bench.send(&meters(&bench, 1..50, 4));
    bench.end_dump(4, None);
    assert_eq!(standing(&bench).len(), 49, "the next dump settles it");
}

#[test]
fn records_that_were_lost_before_they_were_read_make_a_dump_incomplete() {
    let mut bench = bench(100);
    bench.send(&meters(&bench, 0..5, 1));
    bench.end_dump(1, None);
    bench.send(&meters(&bench, 0..2, 2));
    let after_a_gap = bench.next + 7;
    let last = meters(&bench, [4], 2);
    bench.batch(after_a_gap, &last, true);
    bench.end_dump(2, None);
    assert_eq!(standing(&bench).len(), 5);
    assert_eq!(bench.shard.record.counts.reasons["dump_incomplete"], 1);
}

#[test]
fn a_dump_of_which_a_partition_has_nothing_still_ends_there() {
    let mut bench = bench(100);
    bench.send(&meters(&bench, 0..5, 1));
    bench.end_dump(1, None);
    bench.end_dump(2, None);
    assert_eq!(standing(&bench).len(), 0);
}

#[test]
fn a_death_at_any_step_of_many_retractions_repeats_the_same_ones() {
    let mut bench = bench(100);
    bench.send(&meters(&bench, 0..25_000, 1));
    bench.end_dump(1, None);
    bench.send(&meters(&bench, 0..100, 2));
    for step in [0, 1, 1, 0] {
        bench.end_dump(2, Some(step));
    }
    bench.end_dump(2, None);
    assert_eq!(standing(&bench).len(), 100);
    assert_eq!(bench.shard.record.counts.retracted, 24_900);
    assert!(bench.state.seen_lists().unwrap() == 0, "lists of dumps that ended are not kept");
}

/// A reading that its feed's contract refuses, until it is repaired.
fn refused(bench: &Bench, number: u32, dump: u64) -> Raw {
    bench.json(&reading(&format!("E{number}"), A, DAY, "-3.5")).within(dump)
}

fn replayed(raw: Raw, origin: i64) -> Raw {
    Raw { origin: Some(origin), ..raw }
}

#[test]
fn what_was_refused_before_a_dump_that_lacks_it_does_not_come_true_by_a_replay() {
    let mut bench = bench(100);
    let first = [refused(&bench, 1, 1), refused(&bench, 2, 1)];
    bench.send(&first);
    bench.end_dump(1, None);
    let second = [refused(&bench, 2, 2)];
    bench.send(&second);
    bench.end_dump(2, None);
    bench.restart();
    let mut contract = (*bench.contract).clone();
    let kwh = contract.fields.iter_mut().find(|field| field.name == "kwh").unwrap();
    kwh.minimum = None;
    bench.take_contract(contract);
    let [gone, old] = first;
    let [held] = second;
    bench.send(&[replayed(gone, 0), replayed(old, 1)]);
    assert_eq!(standing(&bench).len(), 0, "one is gone, of the other the dump has a later version");
    bench.send(&[replayed(held, 3)]);
    assert_eq!(standing(&bench).len(), 1, "what the last dump has may come true");
    let late = refused(&bench, 1, 0);
    bench.send(&[late]);
    assert_eq!(standing(&bench).len(), 2, "and so may what is said after it");
    assert_eq!(bench.outcomes(), [9, 2, 3, 4]);
}

#[test]
fn what_waits_for_a_gazetteer_goes_on_waiting_where_a_key_of_the_dump_was_not_read() {
    let mut bench = bench(100);
    let nowhere = reading("E7", "青禾新村99幢1单元101室", DAY, "3.5");
    bench.send(&[bench.json(&nowhere).within(1)]);
    assert_eq!(bench.waiting(), 1);
    bench.send(&[Raw::new(&bench.contract, "{\"meter_no\":", None).within(2)]);
    bench.end_dump(2, None);
    assert_eq!(bench.waiting(), 1, "it may be the one without a key");
    bench.end_dump(3, None);
    assert_eq!(bench.waiting(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    /// Records of the dump that is coming in, one batch; with a crash before its commit, then again.
    Records(Vec<u32>, bool),
    End(bool),
    /// A record outside of any dump: a change in between, or what a connector sent that was paused.
    Other(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (proptest::collection::vec(0..12u32, 0..8), any::<bool>()).prop_map(|(n, dies)| Step::Records(n, dies)),
        2 => any::<bool>().prop_map(Step::End),
        1 => (0..12u32).prop_map(Step::Other),
    ];
    proptest::collection::vec(step, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn after_each_dump_stands_what_it_had_and_what_is_not_of_dumps(steps in steps()) {
        let mut bench = bench(100);
        let (mut dump, mut of_dump) = (1, BTreeSet::new());
        let mut stands: BTreeMap<FactId, u32> = BTreeMap::new();
        let id = |n: &u32| FactId::derive(&ELECTRICITY.parse().unwrap(), &format!("E{n}\u{1f}{DAY}"), 0);
        for step in steps {
            match step {
                Step::Records(numbers, dies) => {
                    let records = meters(&bench, numbers.iter().copied(), dump);
                    if dies {
                        bench.batch(bench.next, &records, false);
                        bench.restart();
                    }
                    bench.send(&records);
                    stands.extend(numbers.iter().map(|n| (id(n), *n)));
                    of_dump.extend(numbers);
                }
                Step::End(dies) => {
                    if dies {
                        bench.end_dump(dump, Some(0));
                    }
                    bench.end_dump(dump, None);
                    stands.retain(|_, n| of_dump.contains(n));
                    of_dump.clear();
                    dump += 1;
                }
                Step::Other(n) => {
                    bench.send(&meters(&bench, [n], 0));
                    stands.insert(id(&n), n);
                }
            }
            prop_assert_eq!(standing(&bench), stands.keys().copied().collect::<BTreeSet<_>>());
        }
        prop_assert!(bench.shard.record.counts.balances());
    }
}
