//! The same input gives the same facts, however it is cut into batches and wherever a crash comes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use yibiao_records::{Fact, Rejection};

use crate::support::{Bench, ELECTRICITY, Raw, reading};

const ADDRESSES: [&str; 5] = [
    "南京市鼓楼区上海路12号青禾新村1幢1单元101室",
    "青禾新村2-1-201",
    "南京市玄武区珠江路7号云杉花园1幢1单元102室",
    "南京市鼓楼区上海路12号青禾新村1幢1单元999室",
    "云杉花园1幢1单元101室",
];

#[derive(Debug, Clone)]
struct Step {
    meter: u8,
    address: usize,
    kwh: u8,
    gone: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..4, 0usize..ADDRESSES.len(), 0u8..2, prop::bool::weighted(0.1));
    prop::collection::vec(
        step.prop_map(|(meter, address, kwh, gone)| Step { meter, address, kwh, gone }),
        1..40,
    )
}

fn records(bench: &Bench, steps: &[Step]) -> Vec<Raw> {
    steps
        .iter()
        .map(|step| {
            let kwh = step.kwh.to_string();
            let raw = bench.json(&reading(
                &format!("E{}", step.meter),
                ADDRESSES[step.address],
                "2025-11-03",
                &kwh,
            ));
            if step.gone { Raw::tombstone(&raw) } else { raw }
        })
        .collect()
}

type Outcome = (BTreeMap<u32, Vec<Fact>>, Vec<Rejection>, [u64; 4]);

fn outcome(bench: &Bench) -> Outcome {
    bench.reasons();
    (bench.sent.facts(&bench.kinds), bench.sent.refused.clone(), bench.outcomes())
}

/// What a shard downstream keeps: of each raw position the first that came, in order.
fn without_repetitions(facts: BTreeMap<u32, Vec<Fact>>) -> BTreeMap<u32, Vec<Fact>> {
    facts
        .into_iter()
        .map(|(partition, facts)| {
            let mut kept: Vec<Fact> = Vec::new();
            for fact in facts {
                if kept.last().is_none_or(|last| last.raw < fact.raw) {
                    kept.push(fact);
                } else {
                    let first = kept.iter().find(|kept| kept.raw == fact.raw);
                    assert_eq!(first, Some(&fact), "a repetition says the same");
                }
            }
            (partition, kept)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn batches_of_any_size_give_the_same_facts_in_the_same_order(steps in steps(), sizes in prop::collection::vec(1usize..12, 1..8)) {
        let mut whole = Bench::new(ELECTRICITY);
        let records = records(&whole, &steps);
        whole.send(&records);
        let mut parts = Bench::new(ELECTRICITY);
        let mut rest = &records[..];
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            parts.send(batch);
            rest = after;
        }
        prop_assert_eq!(outcome(&whole), outcome(&parts));
        prop_assert_eq!(&whole.shard.record, &parts.shard.record);
    }

    #[test]
    fn a_crash_before_a_commit_repeats_the_same_facts(steps in steps(), crashes in prop::collection::vec(any::<bool>(), 1..12)) {
        let mut calm = Bench::new(ELECTRICITY);
        let records = records(&calm, &steps);
        calm.send(&records);
        let mut troubled = Bench::new(ELECTRICITY);
        let mut crashes = crashes.into_iter();
        let mut size = 0;
        while (troubled.next as usize) < records.len() {
            // Batches after a crash are cut elsewhere.
            size = size % 7 + 1;
            let first = troubled.next as usize;
            let batch = &records[first..(first + size).min(records.len())];
            let crash = crashes.next().unwrap_or(false);
            troubled.batch(first as i64, batch, !crash);
            if crash {
                troubled.restart();
                prop_assert_eq!(troubled.next as usize, first);
            }
        }
        let repeated = without_repetitions(troubled.sent.facts(&troubled.kinds));
        prop_assert_eq!(repeated, calm.sent.facts(&calm.kinds));
        prop_assert_eq!(&troubled.shard.record, &calm.shard.record);
    }
}
