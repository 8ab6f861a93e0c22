//! Whatever facts come, in which batches, with which deaths in between: the warnings of silence that stand, once no timer is
//! due, are those that a naive computation over all facts gives.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::*;
use yibiao_fusion::{Applier, Rules, verify};
use yibiao_records::{Fact, FeedId, PlaceId, Statement, Value};
use yibiao_tables::Shard;

const WATER: &str = "-- rule: dry
-- title: t
-- version: 1
-- shape: silence
-- message: m
-- update_when: days
-- silent: water 3, 7
--
SELECT place_id, water_days AS severity, water_days AS days FROM silent
";
/// Both kinds, the place's row, and facts of a third kind.
const BOTH: &str = "-- rule: dark_and_dry
-- title: t
-- version: 1
-- shape: silence
-- message: m
-- silent: water 2
-- silent: electricity 4
--
SELECT places.place_id, 1 AS severity
FROM places JOIN silent USING (place_id)
LEFT JOIN (SELECT place_id, count(*) AS hazards FROM fact_hazard GROUP BY place_id) AS h ON h.place_id = places.place_id
WHERE water_days >= 2 AND electricity_days >= 4 AND NOT provisional AND hazards IS NULL
";

/// What was said last under each key of each feed: kind, place, event day, day of recording.
type Said = BTreeMap<(String, String), (String, PlaceId, i32, i32)>;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

fn quorum_day(mut last: Vec<i32>) -> Option<i32> {
    last.sort_unstable();
    let quorum = 3.max(last.len().div_ceil(20));
    last.len().checked_sub(quorum).map(|index| last[index])
}

/// Last day at each place, by kind and feed.
fn last_days(said: &Said) -> BTreeMap<(String, String, PlaceId), i32> {
    let mut last = BTreeMap::new();
    for ((feed, _), (kind, place, day, recorded)) in said {
        let entry = last.entry((kind.clone(), feed.clone(), *place)).or_insert(i32::MIN);
        *entry = (*entry).max(*day.min(recorded));
    }
    last
}

/// By rule and place: the severity.
fn expected(said: &Said) -> BTreeMap<(String, PlaceId), i64> {
    let last = last_days(said);
    let clock = |kind: &str, feed: &str| {
        let of = last.iter().filter(|((k, f, _), _)| k == kind && f == feed);
        quorum_day(of.map(|(_, day)| *day).collect())
    };
    let quiet = |kind: &str, place: PlaceId| {
        let of = last.iter().filter(|((k, _, p), _)| k == kind && *p == place);
        let (day, feed) = of.map(|((_, feed, _), day)| (*day, feed.clone())).max()?;
        Some(clock(kind, &feed)? - day)
    };
    let mut firing = BTreeMap::new();
    for place in said.values().map(|(_, place, ..)| *place).collect::<BTreeSet<_>>() {
        let (water, power) = (quiet("water", place), quiet("electricity", place));
        if let Some(days) = water.filter(|days| *days >= 3) {
            firing.insert(("dry".to_owned(), place), if days >= 7 { 7 } else { 3 });
        }
        let of_place = |kind: &str| said.values().any(|(k, p, ..)| k == kind && *p == place);
        if water >= Some(2) && power >= Some(4) && !of_place("hazard") {
            firing.insert(("dark_and_dry".to_owned(), place), 1);
        }
    }
    firing
}

fn standing(shard: &Shard) -> BTreeMap<(String, PlaceId), i64> {
    let view = shard.view();
    let schema = view.tables().schema("warnings").unwrap();
    let column = |name: &str| schema.column(name).unwrap();
    let (rule, at, state, severity) =
        (column("rule"), column("place_id"), column("state"), column("severity"));
    let rows =
        view.rows("warnings").map(Result::unwrap).filter(|row| row[state].as_text() != Some("cleared"));
    let one = |row: Vec<Value>| {
        let place = PlaceId::new(row[at].as_i64().unwrap()).unwrap();
        ((row[rule].as_text().unwrap().to_owned(), place), row[severity].as_i64().unwrap())
    };
    rows.map(one).collect()
}

/// Something said: new, the same key again (another day, another place, gone), late, or dated in the future.
fn draw(dice: &mut Dice, said: &mut Said, today: i32) -> (FeedId, Vec<(String, Fact)>) {
    let kind = ["water", "water", "electricity", "electricity", "hazard"][dice.below(5) as usize];
    let feed: FeedId = match dice.below(3) {
        0 if kind == "water" => "utilities/other-water".parse().unwrap(),
        _ => feed_of(kind),
    };
    let home = place(&format!("home {}", dice.below(12)));
    let keys: Vec<String> =
        said.keys().filter(|(of, _)| *of == feed.as_str()).map(|(_, key)| key.clone()).collect();
    let key = match keys.len() as u64 {
        known if known > 0 && dice.below(4) == 0 => keys[dice.below(known) as usize].clone(),
        _ => format!("{kind}{}", dice.below(1 << 40)),
    };
    let day = match dice.below(12) {
        0 => today + 1_000,
        1..=3 => today - dice.below(15) as i32,
        _ => today,
    };
    let payload = match kind {
        "hazard" => vec![Value::Text("其他".into()), Value::Int(1), Value::Timestamp(at(day))],
        _ => vec![Value::Decimal(100)],
    };
    let mut facts = Vec::new();
    let index = (feed.to_string(), key.clone());
    let said_before = said.get(&index).cloned();
    let is_gone = said_before.is_some() && dice.below(2) == 0;
    if let Some((_, before, ..)) = said_before.filter(|(_, before, ..)| is_gone || *before != home) {
        let (_, mut gone) = fact(kind, before, &key, day, payload.clone());
        gone.statement = Statement::Retract;
        facts.push((kind.to_owned(), gone));
        said.remove(&index);
    }
    if !is_gone {
        let (kind, mut new) = fact(kind, home, &key, day, payload);
        new.recorded_at_ms = at(today) + 1000;
        facts.push((kind.clone(), new));
        said.insert(index, (kind, home, DAY_0 + day, DAY_0 + today));
    }
    (feed, facts)
}

async fn drain(applier: &mut Applier, rules: &mut Rules) {
    for _ in 0..1000 {
        if !applier.is_due() {
            return;
        }
        applier.apply(rules, &[]).await.unwrap();
    }
    panic!("timers are due for ever");
}

async fn run(seed: u64) -> (u64, u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let dir = tempfile::tempdir().unwrap();
    let tables = tables();
    let shard = open(dir.path(), &tables);
    let files = vec![("dry.sql", WATER.to_owned()), ("both.sql", BOTH.to_owned())];
    let mut rules = Rules::parse(files, &tables).await.unwrap();
    let mut applier = Applier::new(&shard, 1).unwrap();
    applier.refresh(&mut rules).await.unwrap();
    let (mut log, mut said, mut today, mut done) = (Log::default(), Said::new(), 0, 0);
    let (mut cleared, mut raised) = (0, 0);
    for _ in 0..40 {
        for _ in 0..=dice.below(12) {
            let (feed, facts) = draw(&mut dice, &mut said, today);
            for fact in facts {
                log.push_from(&feed, vec![fact]);
            }
            today += i32::from(dice.below(5) == 0);
        }
        applier.limit_timers(1 + dice.below(4) as usize);
        for batch in log.incoming(done, log.frames.len()).chunks(1 + dice.below(6) as usize) {
            let applied = applier.apply(&mut rules, batch).await.unwrap();
            (raised, cleared) = (raised + applied.raised, cleared + applied.cleared);
            if dice.below(8) == 0 {
                drop(applier);
                applier = Applier::new(&shard, 1).unwrap();
                applier.refresh(&mut rules).await.unwrap();
                applier.limit_timers(1 + dice.below(3) as usize);
            }
        }
        done = log.frames.len();
        // Also with timers that are due the rest is right.
        let verified = verify(&shard.view(), &mut rules).await.unwrap();
        assert_eq!(verified.differences, [], "seed {seed}, day {today}");
        if dice.below(3) == 0 {
            drain(&mut applier, &mut rules).await;
            assert_eq!(standing(&shard), expected(&said), "seed {seed}, day {today}");
        }
    }
    drain(&mut applier, &mut rules).await;
    assert_eq!(standing(&shard), expected(&said), "seed {seed}");
    let verified = verify(&shard.view(), &mut rules).await.unwrap();
    assert_eq!((verified.differences, verified.due), (vec![], 0), "seed {seed}");
    (raised, cleared)
}

#[tokio::test]
async fn the_warnings_that_stand_are_those_of_a_naive_computation() {
    let (mut raised, mut cleared) = (0, 0);
    for seed in 1..=6 {
        let (up, down) = run(seed).await;
        (raised, cleared) = (raised + up, cleared + down);
    }
    assert!(raised > 100 && cleared > 100, "{raised} raised, {cleared} cleared");
}
