//! Warnings that rise because nothing happened: feeds' clocks, timers, their limit, and what a restart leaves.
#![allow(clippy::unwrap_used)]

mod support;

use support::*;
use yibiao_fusion::{Applier, Rules, verify, why};
use yibiao_records::{Fact, Value};
use yibiao_tables::{Shard, Tables, shard::LastDay};

/// Water that is silent for three or six days, at any place.
const QUIET: &str = "-- rule: quiet
-- title: 无读数
-- version: 1
-- shape: silence
-- message: \"{water_days}\"
-- update_when: water_days
-- silent: water 3, 6
-- evidence: water newest 1
--
SELECT place_id, CASE WHEN water_days >= 6 THEN 2 ELSE 1 END AS severity, water_days, water_last_on FROM silent
";

async fn parsed(tables: &Tables, files: &[(&'static str, &str)]) -> Rules {
    let files = files.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    Rules::parse(files, tables).await.unwrap()
}

struct Bench {
    shard: Shard,
    applier: Applier,
    rules: Rules,
    log: Log,
    done: usize,
}

impl Bench {
    async fn new(dir: &std::path::Path, rules: &[(&'static str, &str)]) -> Self {
        let tables = tables();
        let shard = open(dir, &tables);
        let mut rules = parsed(&tables, rules).await;
        let mut applier = Applier::new(&shard, 1).unwrap();
        applier.refresh(&mut rules).await.unwrap();
        Self { shard, applier, rules, log: Log::default(), done: 0 }
    }

    /// Applies the facts in one batch, and then whatever timers are due.
    async fn say(&mut self, facts: Vec<(String, Fact)>) {
        self.batch(facts).await;
        self.drain().await;
    }

    async fn batch(&mut self, facts: Vec<(String, Fact)>) {
        self.log.push_all(facts);
        let to = self.log.frames.len();
        self.applier.apply(&mut self.rules, &self.log.incoming(self.done, to)).await.unwrap();
        self.done = to;
    }

    /// How many batches without messages it took.
    async fn drain(&mut self) -> usize {
        for batches in 0..100 {
            if !self.applier.is_due() {
                return batches;
            }
            self.applier.apply(&mut self.rules, &[]).await.unwrap();
        }
        panic!("timers are due for ever");
    }

    async fn verified(&mut self) {
        let verified = verify(&self.shard.view(), &mut self.rules).await.unwrap();
        assert_eq!((verified.differences, verified.due), (vec![], 0));
    }

    /// Dies, and is opened again with what it committed.
    async fn restart(self, rules: &[(&'static str, &str)]) -> Self {
        let Self { shard, applier, log, done, .. } = self;
        drop(applier);
        let mut rules = parsed(shard.tables(), rules).await;
        let mut applier = Applier::new(&shard, 1).unwrap();
        applier.refresh(&mut rules).await.unwrap();
        Self { shard, applier, rules, log, done }
    }

    fn of(&self, name: &str, column: &str) -> String {
        warning(&self.shard, place(name), column).to_string()
    }
}

const QUIET_ONLY: [(&str, &str); 1] = [("quiet.sql", QUIET)];

/// Five meters that report on each of these days, so that the feed's clock goes on.
fn others(kind: &str, days: std::ops::Range<i32>) -> Vec<(String, Fact)> {
    days.flat_map(|day| (0..5).map(move |n| reading(kind, place(&format!("other {n}")), day, 100))).collect()
}

#[tokio::test]
async fn silence_raises_a_warning_which_grows_clears_when_the_meter_speaks_and_is_reopened_with_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), &QUIET_ONLY).await;
    bench.say(others("water", 0..3)).await;
    bench.say(vec![reading("water", place("a"), 0, 100)]).await;
    assert_eq!(bench.of("a", "state"), "");
    bench.say(others("water", 3..4)).await;
    assert_eq!((bench.of("a", "state"), bench.of("a", "severity")), ("raised".into(), "1".into()));
    assert_eq!(warning(&bench.shard, place("a"), "raised_at"), Value::Timestamp(at(3) - 12 * 3_600_000));
    let evidence: serde_json::Value = serde_json::from_str(&bench.of("a", "evidence")).unwrap();
    assert_eq!(evidence["numbers"]["water_last_on"], "2025-11-01");
    assert_eq!(evidence["thresholds"]["water_silent_days"], serde_json::json!([3, 6]));
    assert_eq!(evidence["facts"]["water"].as_array().unwrap().len(), 1);
    let behind = why(&bench.shard.view(), "warnings", place("a"), "message").unwrap();
    assert_eq!(behind.facts, [evidence]);
    let first = bench.of("a", "warning_id");

    bench.say(others("water", 4..6)).await;
    assert_eq!(bench.of("a", "state"), "raised");
    bench.say(others("water", 6..7)).await;
    assert_eq!((bench.of("a", "state"), bench.of("a", "severity")), ("updated".into(), "2".into()));
    bench.verified().await;

    bench.say(vec![reading("water", place("a"), 6, 100)]).await;
    assert_eq!(bench.of("a", "state"), "cleared");
    bench.say(others("water", 7..12)).await;
    assert_eq!(bench.of("a", "state"), "raised");
    assert_eq!(bench.of("a", "previous"), first);
    assert_eq!(bench.applier.holding().firing, 1);
    bench.verified().await;
}

#[tokio::test]
async fn a_feed_that_is_down_or_ahead_at_a_few_places_raises_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), &QUIET_ONLY).await;
    // Of 60 places, with a quorum of 3.
    let all = |day| (0..60).map(move |n| reading("water", place(&format!("home {n}")), day, 100)).collect();
    bench.say(all(0)).await;
    // Water stands still while electricity goes on; two meters are ahead by weeks, one says so before it can be known.
    bench.say(others("electricity", 0..40)).await;
    bench.say((0..2).map(|n| reading("water", place(&format!("home {n}")), 30, 100)).collect()).await;
    let (kind, mut early) = reading("water", place("home 2"), 3_000, 100);
    early.recorded_at_ms = at(1);
    bench.say(vec![(kind, early)]).await;
    assert_eq!(bench.applier.holding().firing, 0);
    bench.verified().await;
    // A third one is a quorum: the feed has reached the 30th day. Those who spoke then, or that day, are not silent.
    bench.say(vec![reading("water", place("home 3"), 30, 100)]).await;
    assert_eq!(bench.applier.holding().firing, 57);
    bench.verified().await;
    // Its record was wrong: the clock falls back, and so do the warnings.
    let mut wrong = reading("water", place("home 3"), 30, 100);
    wrong.1.statement = yibiao_records::Statement::Retract;
    bench.say(vec![wrong]).await;
    assert_eq!(bench.applier.holding().firing, 0);
    assert_eq!(bench.of("home 9", "state"), "cleared");
    bench.verified().await;
    // It comes again: so does the day, and what was due on it.
    bench.say(vec![reading("water", place("home 3"), 30, 100)]).await;
    assert_eq!(bench.applier.holding().firing, 57);
    bench.verified().await;
}

#[tokio::test]
async fn each_feed_of_a_kind_has_its_own_clock() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), &QUIET_ONLY).await;
    let away = "utilities/other-water".parse().unwrap();
    bench.log.push_from(&away, (0..4).map(|n| reading("water", place(&format!("away {n}")), 0, 1)).collect());
    bench.say(vec![reading("water", place("a"), 0, 100)]).await;
    bench.say(others("water", 0..10)).await;
    assert_eq!((bench.of("a", "state"), bench.of("away 0", "state")), ("raised".into(), String::new()));
    assert_eq!(bench.applier.holding().firing, 1);
    bench.verified().await;
}

#[tokio::test]
async fn so_many_timers_fire_in_one_batch_and_the_rest_in_the_next_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), &QUIET_ONLY).await;
    let silent: Vec<String> = (0..10).map(|n| format!("silent {n}")).collect();
    bench.say(silent.iter().map(|name| reading("water", place(name), 0, 100)).collect()).await;
    bench.say(others("water", 1..2)).await;
    bench.applier.limit_timers(3);
    bench.batch(others("water", 3..4)).await;
    assert!(bench.applier.is_due());
    assert_eq!(bench.applier.holding().firing, 3);
    let verified = verify(&bench.shard.view(), &mut bench.rules).await.unwrap();
    assert_eq!((verified.differences, verified.due), (vec![], 7));

    let mut bench = bench.restart(&QUIET_ONLY).await;
    bench.applier.limit_timers(3);
    assert!(bench.applier.is_due());
    let applied = bench.applier.apply(&mut bench.rules, &[]).await.unwrap();
    assert_eq!((applied.timers, applied.raised, bench.applier.holding().firing), (3, 3, 6));
    assert_eq!(bench.drain().await, 2);
    assert_eq!(bench.applier.holding().firing, 10);
    bench.verified().await;
    // Nothing is left to do: a batch without messages finds nothing.
    let applied = bench.applier.apply(&mut bench.rules, &[]).await.unwrap();
    assert_eq!((applied.timers, applied.changes), (0, 0));
}

#[tokio::test]
async fn a_place_that_speaks_every_day_is_looked_at_once_in_so_many_days_and_never_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), &QUIET_ONLY).await;
    let mut timers = 0;
    for day in 0..30 {
        bench.log.push_all(others("water", day..day + 1));
        let to = bench.log.frames.len();
        let applied =
            bench.applier.apply(&mut bench.rules, &bench.log.incoming(bench.done, to)).await.unwrap();
        bench.done = to;
        timers += applied.timers;
        assert!(!bench.applier.is_due());
    }
    // Five places, each once in three days.
    assert_eq!(timers, 5 * 9);
    assert_eq!(bench.shard.view().timers_count().unwrap(), 5);
    bench.verified().await;
}

#[tokio::test]
async fn a_rule_that_comes_later_finds_the_silence_and_one_that_goes_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), &[]).await;
    bench.say(others("water", 0..10)).await;
    bench.say(vec![reading("water", place("a"), 5, 100)]).await;
    assert_eq!(bench.shard.view().timers_count().unwrap(), 0);
    let mut bench = bench.restart(&QUIET_ONLY).await;
    bench.drain().await;
    assert_eq!(bench.of("a", "state"), "raised");
    bench.verified().await;
    // Other days: the one who fell silent four days ago is not silent enough.
    let ten = QUIET.replace("water 3, 6", "water 10");
    let mut bench = bench.restart(&[("quiet.sql", &ten)]).await;
    bench.drain().await;
    assert_eq!(bench.of("a", "state"), "cleared");
    bench.verified().await;
    let mut bench = bench.restart(&QUIET_ONLY).await;
    bench.drain().await;
    assert_eq!(bench.applier.holding().firing, 1);
    let mut bench = bench.restart(&[]).await;
    assert!(!bench.applier.is_due());
    assert_eq!(bench.applier.holding().firing, 0);
    assert_eq!(bench.shard.view().timers_count().unwrap(), 0);
    assert_eq!(bench.shard.view().last_days().unwrap(), []);
    bench.verified().await;
}

#[tokio::test]
async fn a_death_while_clocks_and_timers_are_made_anew_begins_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path(), &QUIET_ONLY).await;
    bench.say(others("water", 0..10)).await;
    bench.say((0..3).map(|n| reading("water", place(&format!("silent {n}")), n, 100)).collect()).await;
    let timers = bench.shard.view().timers_count().unwrap();
    let Bench { shard, applier, rules, log, done } = bench;
    drop(applier);
    let mut writer = shard.writer().unwrap();
    let mut writing = writer.begin(0).unwrap();
    writing.note("silences", "unfinished");
    // What the pass that died had made of one place.
    let (_, state) = shard.view().places().next().unwrap().unwrap();
    let feed = state.silences[0].last[0].0.clone();
    writing.put_last_day(&LastDay { kind: "water".into(), feed, day: DAY_0 + 99, places: 1 });
    writing.commit().unwrap();
    drop(writer);
    let applier = Applier::new(&shard, 1).unwrap();
    let mut bench = Bench { shard, applier, rules, log, done }.restart(&QUIET_ONLY).await;
    bench.drain().await;
    assert_eq!(bench.shard.view().timers_count().unwrap(), timers);
    assert_eq!(bench.applier.holding().firing, 3);
    bench.verified().await;
}

#[tokio::test]
async fn a_let_dwelling_whose_meters_are_both_silent_is_worth_a_look_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let rule = std::fs::read_to_string(pipelines().join("rules/silent_meters.sql")).unwrap();
    let mut bench = Bench::new(dir.path(), &[("silent_meters.sql", &rule)]).await;
    bench.say(others("water", 0..1)).await;
    bench.say(others("electricity", 0..1)).await;
    for (name, is_rental, registered) in
        [("let", true, 0), ("lived in", false, 2), ("nobody", false, 0), ("one meter", true, 1)]
    {
        let home = place(name);
        bench
            .say(vec![
                registration(home, 2, is_rental, registered),
                reading("water", home, 0, 100),
                reading("electricity", home, 0, 900),
            ])
            .await;
    }
    bench.say(others("water", 29..31)).await;
    assert_eq!(bench.applier.holding().firing, 0);
    bench.say(vec![reading("electricity", place("one meter"), 20, 900)]).await;
    bench.say(others("electricity", 29..31)).await;
    for (name, state) in [("let", "raised"), ("lived in", "raised"), ("nobody", ""), ("one meter", "")] {
        assert_eq!(bench.of(name, "state"), state, "{name}");
    }
    let message = bench.of("let", "message");
    assert!(message.contains("已满30天") && message.contains("2025-11-01"), "{message}");
    bench.verified().await;
    // The registration is corrected: nobody lives there, and it is not let.
    bench.say(vec![registration(place("let"), 2, false, 0)]).await;
    assert_eq!(bench.of("let", "state"), "cleared");
    bench.say(others("water", 90..91)).await;
    bench.say(others("electricity", 90..91)).await;
    assert_eq!(
        (bench.of("lived in", "state"), bench.of("lived in", "severity")),
        ("updated".into(), "2".into())
    );
    bench.verified().await;
}

#[tokio::test]
async fn what_a_rule_of_silence_may_not_do_is_refused_with_the_reason() {
    let tables = tables();
    let front = |shape: &str, silent: &str| {
        format!("-- rule: r\n-- title: t\n-- version: 1\n-- shape: {shape}\n-- message: m\n{silent}--\n")
    };
    for (shape, silent, sql, expected) in [
        (
            "silence",
            "-- silent: water 3\n",
            "SELECT place_id, 1 AS severity FROM places",
            "does not read the table silent",
        ),
        (
            "silence",
            "-- silent: fire 3\n",
            "SELECT place_id, 1 AS severity FROM silent",
            "there is no kind of fact fire",
        ),
        (
            "silence",
            "-- silent: place_name 3\n",
            "SELECT place_id, 1 AS severity FROM silent",
            "facts of place_name are at no place",
        ),
        (
            "silence",
            "-- silent: water 3\n",
            "SELECT place_id, 1 AS severity FROM silent WHERE water_last_on < current_date",
            "is a rule of shape 'silence'",
        ),
        (
            "silence",
            "-- silent: water 3\n",
            "SELECT a.place_id, 1 AS severity FROM silent a JOIN silent b ON a.water_days = b.water_days",
            "joins otherwise than on place_id",
        ),
        ("facts", "", "SELECT place_id, 1 AS severity FROM silent", "silent"),
    ] {
        let text = front(shape, silent) + sql;
        let told = Rules::parse(vec![("r.sql", text)], &tables).await.err().map(|error| error.to_string());
        let told = told.unwrap_or_else(|| panic!("accepted: {sql}"));
        assert!(told.contains(expected), "{sql}: {told}");
    }
}
