//! What is remembered of records saves reading the state, and changes nothing else.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use yibiao_contracts::{Contract, FullDump};
use yibiao_normalise::state::State;
use yibiao_records::{Fact, Rejection};

use crate::support::{Bench, ELECTRICITY, Raw, city, contract, kinds, place, publish, reading};

const ADDRESSES: [&str; 5] = [
    "南京市鼓楼区上海路12号青禾新村1幢1单元101室",
    "青禾新村2-1-201",
    // Found only provisionally, and ambiguous.
    "南京市鼓楼区上海路12号青禾新村1幢1单元999室",
    "云杉花园1幢1单元101室",
    // Of the second gazetteer alone.
    "青禾新村3-1-101",
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Says {
        meter: u8,
        address: usize,
        kwh: u8,
    },
    Gone(u8),
    Unreadable(u8),
    /// The record before so many is replayed, or asked again.
    Replayed {
        back: usize,
        revised: bool,
    },
    /// Everything before is committed, or lost by a crash.
    Batch {
        crash: bool,
    },
    OtherGazetteer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u8..5, 0..ADDRESSES.len(), 0u8..2)
            .prop_map(|(meter, address, kwh)| Step::Says { meter, address, kwh }),
        1 => (0u8..5).prop_map(Step::Gone),
        1 => (0u8..5).prop_map(Step::Unreadable),
        2 => (1usize..20, any::<bool>()).prop_map(|(back, revised)| Step::Replayed { back, revised }),
        4 => prop::bool::weighted(0.2).prop_map(|crash| Step::Batch { crash }),
        1 => Just(Step::OtherGazetteer),
    ];
    prop::collection::vec(step, 1..80)
}

/// The facts, the refusals, the accounts, and all that is in the state.
type Outcome = (BTreeMap<u32, Vec<Fact>>, Vec<Rejection>, [u64; 4], Vec<(Vec<u8>, Vec<u8>)>);

/// What becomes of the steps where so many records are remembered.
fn outcome(steps: &[Step], remembered: usize) -> Outcome {
    let mut bench = Bench::new(ELECTRICITY);
    bench.remember(remembered);
    let mut others = city();
    let mut more: Vec<_> = others.iter().filter(|row| row.building == "2幢").cloned().collect();
    for row in &mut more {
        row.building = "3幢".into();
        row.place = place(&format!("more-{}", row.place)).get() as u64;
    }
    others.extend(more);
    let mut gazetteers = [others, city()].into_iter().cycle();
    let mut raw: Vec<Raw> = Vec::new();
    for step in steps {
        let says = |meter: u8, address: usize, kwh: &str| {
            bench.json(&reading(&format!("E{meter}"), ADDRESSES[address], "2025-11-03", kwh))
        };
        match *step {
            Step::Says { meter, address, kwh } => raw.push(says(meter, address, &kwh.to_string())),
            Step::Gone(meter) => raw.push(Raw::tombstone(&says(meter, 0, "1"))),
            Step::Unreadable(meter) => raw.push(says(meter, 0, "-1")),
            Step::Replayed { back, revised } => {
                let Some(index) = raw.len().checked_sub(back) else { continue };
                let origin = raw[index].origin.or(Some(index as i64));
                raw.push(Raw { origin, revised, ..raw[index].clone() });
            }
            Step::Batch { crash } => take(&mut bench, &raw, crash),
            Step::OtherGazetteer => {
                take(&mut bench, &raw, false);
                publish(&bench.gazetteer_dir(), &gazetteers.next().unwrap());
                bench.take_edition();
            }
        }
    }
    take(&mut bench, &raw, false);
    bench.reasons();
    let pairs = bench.state.store().pairs().map(Result::unwrap);
    let state = pairs.map(|(space, key, value)| ([&[space as u8], &*key].concat(), value.to_vec())).collect();
    (bench.sent.facts(&bench.kinds), bench.sent.refused.clone(), bench.outcomes(), state)
}

/// A batch of what was not taken yet.
fn take(bench: &mut Bench, raw: &[Raw], crash: bool) {
    let first = bench.next;
    let (facts, refused) = (bench.sent.frames.len(), bench.sent.refused.len());
    bench.batch(first, &raw[first as usize..], !crash);
    if crash {
        // What was sent is sent again, in another batch: it is compared then.
        bench.sent.frames.truncate(facts);
        bench.sent.refused.truncate(refused);
        bench.restart();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn records_have_the_same_outcomes_however_many_are_remembered(steps in steps()) {
        let none = outcome(&steps, 0);
        prop_assert_eq!(&outcome(&steps, 3), &none);
        prop_assert_eq!(&outcome(&steps, 1_000), &none);
    }
}

fn empty(dir: &std::path::Path) -> State {
    State::open(dir, &yibiao_state::Options::default()).unwrap()
}

#[test]
fn a_record_that_is_remembered_is_not_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(ELECTRICITY);
    let [same, other] =
        ["E1", "E2"].map(|meter| bench.json(&reading(meter, ADDRESSES[0], "2025-11-03", "1")));
    bench.send(&[same.clone(), other.clone()]);
    // Nothing is known here: whoever reads it takes the record for a new one.
    bench.state = empty(dir.path());
    bench.send(&[same, other]);
    assert_eq!(bench.outcomes(), [4, 2, 0, 2]);
}

#[test]
fn a_repetition_is_remembered_and_a_provisional_place_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(ELECTRICITY);
    let [same, provisional] = [("E1", 0), ("E2", 2)]
        .map(|(meter, at)| bench.json(&reading(meter, ADDRESSES[at], "2025-11-03", "1")));
    bench.send(&[same.clone(), provisional.clone()]);
    bench.restart();
    bench.send(&[same.clone(), provisional.clone()]);
    assert_eq!(bench.outcomes(), [4, 2, 0, 2]);
    bench.state = empty(dir.path());
    bench.send(&[same, provisional]);
    assert_eq!(bench.outcomes(), [6, 3, 0, 3], "what another gazetteer may place is read");
}

#[test]
fn a_record_that_changes_and_changes_back_is_told_each_time() {
    let mut bench = Bench::new(ELECTRICITY);
    let [a, b] = ["1", "2"].map(|kwh| bench.json(&reading("E1", ADDRESSES[0], "2025-11-03", kwh)));
    for raw in [&a, &a, &b, &a, &b, &b] {
        bench.send(std::slice::from_ref(raw));
    }
    assert_eq!(bench.outcomes(), [6, 4, 0, 2]);
    // The same within one batch.
    bench.send(&[b.clone(), a.clone(), b.clone(), b.clone()]);
    assert_eq!(bench.outcomes(), [10, 6, 0, 4]);
}

#[test]
fn what_is_not_remembered_any_more_is_told_when_it_comes_back() {
    let mut bench = Bench::new(ELECTRICITY);
    let [a, provisional] = [0, 2].map(|at| bench.json(&reading("E1", ADDRESSES[at], "2025-11-03", "1")));
    for raw in [&a, &a, &provisional, &a] {
        bench.send(std::slice::from_ref(raw));
    }
    assert_eq!(bench.outcomes(), [4, 3, 0, 1]);
}

#[test]
fn what_a_dump_withdrew_is_new_when_it_comes_back_as_it_was() {
    let mut contract: Contract = (*contract(ELECTRICITY, &kinds())).clone();
    contract.ingest.full_dump = Some(FullDump { files: None, gone_max_percent: 100 });
    let mut bench = Bench::of(Arc::new(contract));
    let dump = |number: u64, meters: std::ops::Range<u8>, bench: &mut Bench| {
        let raw = |n| bench.json(&reading(&format!("E{n}"), ADDRESSES[0], "2025-11-03", "1")).within(number);
        bench.send(&meters.map(raw).collect::<Vec<_>>());
        bench.end_dump(number, None);
    };
    dump(1, 0..4, &mut bench);
    dump(2, 0..4, &mut bench);
    assert_eq!(bench.outcomes(), [10, 4, 0, 6]);
    // Its end counts as accepted.
    dump(3, 1..4, &mut bench);
    assert_eq!(bench.outcomes(), [14, 5, 0, 9]);
    dump(4, 0..4, &mut bench);
    assert_eq!(bench.outcomes(), [19, 6, 0, 13]);
}
