//! A few hundred seeds; `yibiao-bench-simulation` runs thousands.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use yibiao_bench_simulation::{
    runner::{Report, Runner, run_many},
    setup::Setup,
    step::Event,
};

const SEEDS: u64 = 300;

fn setup() -> Arc<Setup> {
    Arc::new(Setup::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap())
}

#[test]
fn whatever_is_lost_late_repeated_or_killed_the_shards_hold_what_was_said() {
    let reports: Mutex<Vec<Report>> = Mutex::default();
    run_many(&setup(), 1, SEEDS, 2, |report| reports.lock().unwrap().push(report)).unwrap();
    let reports = reports.into_inner().unwrap();
    assert_eq!(reports.len() as u64, SEEDS);
    let failed: BTreeMap<u64, &String> =
        reports.iter().filter_map(|report| Some((report.seed, report.failure.as_ref()?))).collect();
    let first = failed.first_key_value();
    assert!(failed.is_empty(), "{} seeds differ, the first: {first:?}", failed.len());
    for event in Event::ALL {
        let times: u64 = reports.iter().filter_map(|report| report.events.get(&event)).sum();
        assert!(times > 0, "no {}", event.as_str());
    }
}

#[test]
fn a_seed_takes_the_same_steps_and_ends_the_same_whatever_ran_before() {
    let setup = setup();
    let mut used = Runner::new(setup.clone()).unwrap();
    for seed in [20, 7, 3] {
        let here = used.run(seed, true).unwrap();
        let there = Runner::new(setup.clone()).unwrap().run(seed, true).unwrap();
        assert_eq!(here.trace, there.trace, "seed {seed}");
        assert_eq!(here.ended_as, there.ended_as, "seed {seed}");
        assert!(here.trace.len() > 100 && here.ended_as.len() > 100, "seed {seed} is a trial of something");
        let other = used.run(seed + 1, true).unwrap();
        assert_ne!(here.trace, other.trace);
    }
}
