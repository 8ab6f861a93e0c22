//! The row of a place is a function of the set of its facts.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{DAY_MS, at, fact, kinds, oracle, place, tables};
use yibiao_fusion::merge::{Merger, Stale};
use yibiao_records::{FactId, RawPosition, Value};
use yibiao_tables::{
    Shard, Tables,
    shard::{PlaceState, StoredFact},
};

/// The last is of no place: it changes nothing, also where it lies at one.
const KINDS: [&str; 8] =
    ["place", "registration", "water", "gas", "hazard", "dispute", "organisation", "place_name"];

/// One version of one fact; None retracts.
#[derive(Debug, Clone)]
struct Version {
    day: i32,
    amount: i64,
    has_ended: bool,
    retract: bool,
    second_feed: bool,
}

/// The versions of several facts, each fact's in its own order.
fn histories() -> impl Strategy<Value = Vec<(usize, Vec<Version>)>> {
    // Days near together, and days so far apart that windows lose each other.
    let day = prop_oneof![3 => 0..40i32, 1 => 0..400i32];
    let version =
        (day, -3..9i64, prop::bool::weighted(0.1), prop::bool::weighted(0.25), prop::bool::weighted(0.2))
            .prop_map(|(day, amount, has_ended, retract, second_feed)| Version {
                day,
                amount,
                has_ended,
                retract,
                second_feed,
            });
    prop::collection::vec((0..KINDS.len(), prop::collection::vec(version, 1..4)), 1..24)
}

fn stored(number: usize, kind: &str, version: &Version, raw: i64) -> Option<StoredFact> {
    if version.retract {
        return None;
    }
    let Version { day, amount, .. } = *version;
    let text = |text: String| Value::Text(text);
    let payload = match kind {
        "water" | "gas" => vec![Value::Decimal(amount)],
        "registration" => vec![
            Value::Decimal(amount * 1000),
            if amount < 0 { Value::Null } else { Value::Int(amount) },
            Value::Bool(amount % 2 == 0),
            Value::Int(amount),
        ],
        "hazard" => {
            let category = if amount % 2 == 0 { "群租隔断" } else { "飞线充电" };
            vec![text(category.into()), Value::Int(amount), Value::Timestamp(0)]
        }
        "dispute" => vec![Value::Null; 4],
        "organisation" => vec![Value::Null; 4],
        _ => (0..17)
            .map(|n| if (n + amount) % 4 == 0 { Value::Null } else { text(format!("{n}-{amount}")) })
            .collect(),
    };
    let (_, mut fact) = fact(kind, place("p"), &format!("{kind}-{number}"), day, payload);
    fact.id = FactId::derive(&"a/b".parse().unwrap(), &number.to_string(), 0);
    fact.raw = RawPosition { offset: raw, index: 0 };
    fact.level = if amount % 2 == 0 { "dwelling".into() } else { "unit".into() };
    fact.valid_to_ms = version.has_ended.then(|| fact.recorded_at_ms - 1);
    Some(StoredFact {
        kind: kind.into(),
        feed: if version.second_feed { "other/feed".into() } else { "a/b".into() },
        raw_topic: "raw.a.b".into(),
        raw_partition: 0,
        contract_version: "1".into(),
        gazetteer_version: "1".into(),
        fact,
    })
}

type Facts = BTreeMap<usize, StoredFact>;

/// Applies the versions in the given order of facts, settling now and then, as batches do.
fn incremental(
    merger: &Merger,
    histories: &[(usize, Vec<Version>)],
    order: &[usize],
    batch: usize,
) -> (PlaceState, Facts) {
    let (mut state, mut facts, mut stale) = (PlaceState::default(), Facts::new(), Stale::default());
    let mut seen = vec![0usize; histories.len()];
    for (step, &number) in order.iter().enumerate() {
        let (kind, versions) = &histories[number];
        let version = &versions[seen[number]];
        // The raw offset belongs to the version, however it comes.
        let new = stored(number, KINDS[*kind], version, (number * 10 + seen[number]) as i64);
        seen[number] += 1;
        let old = facts.get(&number).cloned();
        merger.change(&mut state, old.as_ref(), new.as_ref(), &mut stale);
        match new {
            Some(new) => facts.insert(number, new),
            None => facts.remove(&number),
        };
        if step % batch == batch - 1 || step + 1 == order.len() {
            loop {
                merger.settle(&mut state, &mut stale);
                if stale.is_empty() {
                    break;
                }
                let all: Vec<StoredFact> = facts.values().cloned().collect();
                merger.recompute(&mut state, &all, std::mem::take(&mut stale));
            }
        }
    }
    (state, facts)
}

fn setup() -> &'static (Tables, Merger) {
    static SETUP: std::sync::OnceLock<(Tables, Merger)> = std::sync::OnceLock::new();
    SETUP.get_or_init(|| {
        let tables = tables();
        let merger = Merger::new(tables.places(), &kinds());
        (tables, merger)
    })
}

/// What a shard gives back of a place's state.
fn stored_and_read(state: &PlaceState) -> PlaceState {
    static SHARD: std::sync::OnceLock<(tempfile::TempDir, Shard)> = std::sync::OnceLock::new();
    let (_, shard) = SHARD.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let shard = Shard::open(dir.path(), 0, &setup().0, &Default::default()).unwrap();
        (dir, shard)
    });
    let mut writer = shard.writer().unwrap();
    let mut writing = writer.begin(0).unwrap();
    writing.put_place(place("p"), state);
    writing.commit().unwrap();
    writer.place(place("p")).unwrap().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_order_and_any_batches_give_the_row_of_a_computation_from_scratch(
        histories in histories(),
        seed in any::<u64>(),
        batch in 1..7usize,
    ) {
        let (tables, merger) = setup();
        let all: Vec<usize> =
            histories.iter().enumerate().flat_map(|(n, (_, versions))| vec![n; versions.len()]).collect();
        let mut shuffled = all.clone();
        let mut dice = seed | 1;
        for i in (1..shuffled.len()).rev() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(i, (dice >> 33) as usize % (i + 1));
        }
        let (one, facts) = incremental(merger, &histories, &all, 1);
        let (two, same) = incremental(merger, &histories, &shuffled, batch);
        prop_assert_eq!(&facts, &same);
        let facts: Vec<StoredFact> = facts.into_values().collect();
        let mut scratch = PlaceState::default();
        merger.from_scratch(&mut scratch, &facts);

        let row = |state: &PlaceState| merger.row(place("p"), state, 0);
        let kept = PlaceState { row: row(&two), ..two.clone() };
        prop_assert_eq!(stored_and_read(&kept), kept);
        prop_assert_eq!(row(&one), row(&scratch));
        prop_assert_eq!(row(&two), row(&scratch));
        let of_places = |stored: &StoredFact| &*stored.kind != "place_name";
        let facts: Vec<StoredFact> = facts.into_iter().filter(of_places).collect();
        if facts.is_empty() {
            prop_assert!(row(&one).is_empty());
        } else {
            let row = row(&one);
            let merged = &row[1..row.len() - 2];
            let expected = oracle::row(tables.places(), &facts);
            for ((column, found), expected) in tables.places().columns.iter().zip(merged).zip(&expected) {
                prop_assert_eq!(found, expected, "column {}", column.column.name);
            }
        }
    }
}

#[test]
fn a_latest_day_that_is_retracted_brings_the_days_before_it_back() {
    let (_, merger) = setup();
    let version = |day, amount| Version { day, amount, has_ended: false, retract: false, second_feed: false };
    let mut histories: Vec<(usize, Vec<Version>)> = (0..20).map(|day| (2, vec![version(day, 5)])).collect();
    let gone = Version { retract: true, ..version(300, 9) };
    histories.push((2, vec![version(300, 9), gone]));
    let order: Vec<usize> = (0..20).chain([20, 20]).collect();
    let (state, facts) = incremental(merger, &histories, &order, 1);
    assert_eq!(facts.len(), 20);
    let row = merger.row(place("p"), &state, 0);
    let columns = &merger.spec().columns;
    let cell = |name: &str| row[1 + columns.iter().position(|c| c.column.name == name).unwrap()].clone();
    assert_eq!(cell("water_m3_30d"), Value::Decimal(100));
    assert_eq!(cell("last_event_on"), Value::Date((at(19) + 8 * 3_600_000).div_euclid(DAY_MS) as i32));
    // What is kept does not grow with the history.
    assert!(state.series.iter().all(|series| series.days.len() <= 20));
}
