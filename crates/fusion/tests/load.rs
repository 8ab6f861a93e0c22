//! A shard that is loaded at once is the shard that one batch of the same messages makes, however little memory there is.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use support::*;
use yibiao_fusion::{Applied, Applier, Incoming, Load, Rules, verify};
use yibiao_records::{Change, Fact, FactId, FeedId, PlaceId, Value};
use yibiao_tables::{
    Shard, Tables,
    shard::{Mark, Queue},
};

const SILENCE: &str = "-- rule: dry
-- title: t
-- version: 1
-- shape: silence
-- message: m
-- update_when: days
-- silent: water 3, 7
-- silent: electricity 4
--
SELECT place_id, water_days AS severity, water_days AS days FROM silent
";
const FACTS: &str = "-- rule: many_hazards
-- title: t
-- version: 1
-- shape: facts
-- message: \"{hazards}\"
-- update_when: hazards
-- evidence: hazard newest 3
--
SELECT place_id, count(*) AS severity, count(*) AS hazards FROM fact_hazard GROUP BY place_id HAVING count(*) >= 2
";

async fn rules_of(tables: &Tables) -> Rules {
    let mut texts: Vec<(String, String)> = std::fs::read_dir(pipelines().join("rules"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    texts.extend([("dry".to_owned(), SILENCE.to_owned()), ("many".to_owned(), FACTS.to_owned())]);
    let texts: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    Rules::parse(texts, tables).await.unwrap()
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

const KINDS: [&str; 8] =
    ["water", "water", "electricity", "gas", "hazard", "registration", "place_name", "dispute"];

/// Facts about few places and keys: new, corrected, moved, retracted, retracted though nobody knows them, and whole frames again.
fn history(dice: &mut Dice, frames: u64) -> Log {
    let mut log = Log::default();
    let mut said: BTreeMap<(String, String), PlaceId> = BTreeMap::new();
    for _ in 0..frames {
        if !log.frames.is_empty() && dice.below(6) == 0 {
            let again = log.frames[dice.below(log.frames.len() as u64) as usize].clone();
            log.frames.push(again);
            continue;
        }
        let kind = KINDS[dice.below(8) as usize];
        let feed: FeedId = match dice.below(3) {
            0 if kind == "water" => "utilities/other-water".parse().unwrap(),
            _ => feed_of(kind),
        };
        let mut facts = Vec::new();
        for _ in 0..=dice.below(6) {
            let key = format!("{kind} {}", dice.below(20));
            // Names are no places' facts.
            let at = if kind == "place_name" { "name" } else { "home" };
            let place = place(&format!("{at} {}", dice.below(9)));
            let day = dice.below(40) as i32;
            let known = said.get(&(feed.to_string(), key.clone())).copied();
            if let Some(before) = known.filter(|before| *before != place || dice.below(4) == 0) {
                facts.push(retraction(&feed, kind, before, &key, day, dice.below(2) == 0));
                said.remove(&(feed.to_string(), key.clone()));
            } else if known.is_none() && dice.below(9) == 0 {
                facts.push(retraction(&feed, kind, place, &key, day, true));
                continue;
            }
            if dice.below(5) > 0 {
                said.insert((feed.to_string(), key.clone()), place);
                facts.push(assertion(dice, &feed, kind, place, &key, day));
            }
        }
        log.push_from(&feed, facts);
    }
    log
}

fn assertion(
    dice: &mut Dice,
    feed: &FeedId,
    kind: &str,
    place: PlaceId,
    key: &str,
    day: i32,
) -> (String, Fact) {
    let payload = match kind {
        "hazard" => vec![
            Value::Text(["燃气隐患", "飞线充电"][dice.below(2) as usize].into()),
            Value::Int(dice.below(5) as i64),
            Value::Timestamp(at(day)),
        ],
        "registration" => vec![
            Value::Decimal(60_000),
            Value::Int(dice.below(4) as i64),
            Value::Bool(dice.below(2) == 0),
            Value::Int(dice.below(3) as i64),
        ],
        "water" | "electricity" | "gas" => vec![Value::Decimal(dice.below(20_000) as i64)],
        _ => vec![Value::Text(format!("松涛{}", dice.below(9)))],
    };
    let (kind, mut fact) = fact(kind, place, key, day, payload);
    fact.id = FactId::derive(feed, key, 0);
    fact.provisional = dice.below(5) == 0;
    (kind, fact)
}

fn retraction(
    feed: &FeedId,
    kind: &str,
    place: PlaceId,
    key: &str,
    day: i32,
    has_key: bool,
) -> (String, Fact) {
    let (kind, mut fact) = fact(kind, place, if has_key { key } else { "" }, day, Vec::new());
    fact.id = FactId::derive(feed, key, 0);
    (kind, fact)
}

async fn look_at_timers(shard: &Shard, rules: &mut Rules, mut applier: Applier) -> Applied {
    let mut total = Applied::default();
    assert!(!applier.refresh(rules).await.unwrap());
    applier.limit_timers(3);
    while applier.is_due() {
        total.add(&applier.apply(rules, &[]).await.unwrap());
    }
    assert_eq!(verify(&shard.view(), rules).await.unwrap().differences, []);
    total
}

/// All at once, and then what is due.
async fn in_one_batch(dir: &Path, messages: &[Incoming<'_>]) -> (Shard, Applied) {
    let tables = tables();
    let (shard, mut rules) = (open(dir, &tables), rules_of(&tables).await);
    let mut applier = Applier::new(&shard, 1).unwrap();
    applier.refresh(&mut rules).await.unwrap();
    applier.limit_timers(usize::MAX);
    let mut applied = applier.apply(&mut rules, messages).await.unwrap();
    applied.add(&look_at_timers(&shard, &mut rules, applier).await);
    (shard, applied)
}

async fn loaded(dir: &Path, messages: &[Incoming<'_>], memory: usize, dice: &mut Dice) -> (Shard, Applied) {
    let tables = tables();
    let mut rules = rules_of(&tables).await;
    let mut applied = {
        let shard = open(dir, &tables);
        let sorting = dir.join("sorting");
        let mut load = Load::begin(&shard, &mut rules, 1, &sorting, memory).await.unwrap();
        let mut rest = messages;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + dice.below(rest.len() as u64) as usize);
            load.read(now).unwrap();
            rest = later;
        }
        load.finish(&mut rules, |_| ControlFlow::Continue(())).await.unwrap().unwrap()
    };
    let shard = open(dir, &tables);
    let applier = Applier::new(&shard, 1).unwrap();
    applied.add(&look_at_timers(&shard, &mut rules, applier).await);
    (shard, applied)
}

/// Without its sequence; of one fact, place or warning in its order.
fn changes(shard: &Shard) -> Vec<Change> {
    let mut changes: Vec<Change> = shard.view().outbox(0).map(Result::unwrap).collect();
    assert!(changes.iter().zip(1..).all(|(change, sequence)| change.sequence == sequence));
    let id = |change: &Change| match &*change.table {
        "places" => change.place.to_string(),
        "warnings" => change.row[0].to_string(),
        _ => change.row[1].to_string(),
    };
    changes.sort_by_cached_key(|change| (change.table.clone(), change.place, id(change), change.sequence));
    changes.into_iter().map(|change| Change { sequence: 0, ..change }).collect()
}

fn marks(shard: &Shard) -> Vec<Mark> {
    let mut marks = shard.writer().unwrap().marks().unwrap();
    marks.sort();
    marks
}

fn assert_same(one: &Shard, loaded: &Shard) {
    let places = |shard: &Shard| {
        let view = shard.view();
        let places = view.places().map(|place| {
            let (place, mut state) = place.unwrap();
            // In the order in which they were raised first: those of silence come later.
            state.alarms.sort_by(|a, b| a.rule.cmp(&b.rule));
            (place, state)
        });
        places.collect::<BTreeMap<PlaceId, _>>()
    };
    let (wanted, found) = (places(one), places(loaded));
    assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (place, wanted) in wanted {
        let found = &found[&place];
        assert_eq!((wanted.facts, &wanted.row, &wanted.winners), (found.facts, &found.row, &found.winners));
        assert_eq!((&wanted.series, &wanted.alarms), (&found.series, &found.alarms));
        assert_eq!(wanted.silences, found.silences, "{place}");
    }
    let facts = |shard: &Shard| {
        let mut facts: Vec<_> = shard.view().all_facts().map(Result::unwrap).collect();
        facts.sort_by_key(|stored| (stored.fact.place, stored.kind.clone(), stored.fact.id));
        facts
    };
    assert_eq!(facts(one), facts(loaded));
    let warnings = |shard: &Shard| {
        let mut rows: Vec<_> = shard.view().rows("warnings").map(Result::unwrap).collect();
        rows.sort();
        rows
    };
    assert_eq!(warnings(one), warnings(loaded));
    assert_eq!(changes(one), changes(loaded));
    assert_eq!(marks(one), marks(loaded));
    let positions = |shard: &Shard| shard.view().positions().unwrap().into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(positions(one), positions(loaded));
    let holding = |shard: &Shard| shard.writer().unwrap().note("holding").unwrap();
    assert_eq!(holding(one), holding(loaded));
    let days = |shard: &Shard| {
        let mut days = shard.view().last_days().unwrap();
        days.sort_by_key(|last| (last.kind.clone(), last.feed.clone(), last.day));
        days
    };
    assert_eq!(days(one), days(loaded));
    let view = loaded.view();
    let mut timers = 0;
    for (place, state) in places(loaded) {
        for silence in &state.silences {
            for (queue, due) in [(Queue::Waiting, &silence.waiting), (Queue::Passed, &silence.passed)] {
                let Some(due) = due else { continue };
                assert!(view.has_timer(queue, &silence.kind, &due.feed, due.day, place).unwrap());
                timers += 1;
            }
        }
    }
    assert_eq!((view.timers_count().unwrap(), one.view().timers_count().unwrap()), (timers, timers));
}

#[tokio::test]
async fn a_shard_loaded_at_once_is_the_one_that_a_batch_of_the_same_messages_makes() {
    let (mut warned, mut timers, mut unknown, mut skipped) = (0, 0, 0, 0);
    for seed in 1..=10u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let frames = 20 + dice.below(150);
        let log = history(&mut dice, frames);
        let messages = log.incoming(0, log.frames.len());
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (one, applied) = in_one_batch(dirs[0].path(), &messages).await;
        // From a file for each fact or two to everything in memory.
        let memory = [600, 8_000, 100_000, 64 << 20][dice.below(4) as usize];
        let (shard, of_load) = loaded(dirs[1].path(), &messages, memory, &mut dice).await;
        assert_same(&one, &shard);
        assert_eq!(Applied { timers: 0, ..applied }, Applied { timers: 0, ..of_load }, "seed {seed}");
        warned += of_load.raised;
        timers += of_load.timers;
        unknown += of_load.facts_unknown;
        skipped += of_load.facts_skipped;
    }
    // What is compared must be there.
    assert!(
        warned > 20 && timers > 20 && unknown > 20 && skipped > 100,
        "{warned} {timers} {unknown} {skipped}"
    );
}
