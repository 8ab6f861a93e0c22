//! Live tables against a model: whatever is in the lake, in the shards alone, or on the way between them.
#![allow(clippy::unwrap_used)]

mod model;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
    util::display::array_value_to_string,
};
use datafusion::{
    physical_plan::{ExecutionPlan, collect},
    prelude::SessionContext,
};
use futures::StreamExt;
use model::{ModelShard, SHARDS, layout, of};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;
use yibiao_records::PlaceId;
use yibiao_tables::{
    Live,
    lake::{Boundary, Config, Lake, Projector},
};

const PLACES: i64 = 12;

async fn batches(session: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    session.sql(sql).await.unwrap().collect().await.unwrap()
}

/// Rows as texts, sorted. A row that is there twice is there twice.
async fn rows(session: &SessionContext, sql: &str) -> Vec<String> {
    as_texts(&batches(session, sql).await)
}

fn as_texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            rows.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

struct Wanted {
    /// place, rooms
    places: BTreeSet<(i64, i64)>,
    /// id, place, severity
    warnings: BTreeSet<(String, i64, i64)>,
}

fn wanted(shards: &[ModelShard]) -> Wanted {
    let mut wanted = Wanted { places: BTreeSet::new(), warnings: BTreeSet::new() };
    for shard in shards {
        let state = shard.state();
        wanted.places.extend(state.rows.iter().map(|(place, row)| (*place, row[2].as_i64().unwrap())));
        let of = |((place, id), row): (&(i64, String), &Vec<yibiao_records::Value>)| {
            (id.clone(), *place, row[2].as_i64().unwrap())
        };
        wanted.warnings.extend(state.warnings.iter().map(of));
    }
    wanted
}

fn texts(rows: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.into_iter().collect();
    rows.sort();
    rows
}

async fn assert_live(session: &SessionContext, shards: &[ModelShard]) {
    let Wanted { places, warnings } = wanted(shards);
    assert_eq!(
        rows(session, "select place_id, rooms from places").await,
        texts(places.iter().map(|(place, rooms)| format!("{place}|{rooms}")))
    );
    // Columns without the key, in another order, with conditions that the files know something of.
    assert_eq!(
        rows(session, "select division_code, rooms from places where rooms > 4").await,
        texts(places.iter().filter(|(_, rooms)| *rooms > 4).map(|(place, rooms)| {
            format!("{}|{rooms}", if place % 3 == 0 { "320500000000" } else { "320106000000" })
        }))
    );
    assert_eq!(
        rows(session, "select count(*), sum(rooms) from places").await,
        [format!(
            "{}|{}",
            places.len(),
            match places.len() {
                0 => String::new(),
                _ => places.iter().map(|(_, rooms)| rooms).sum::<i64>().to_string(),
            }
        )]
    );
    // Sorted by a column that stands elsewhere in the files.
    let sql = "select rooms, place_id from places order by rooms desc, place_id limit 3";
    let mut highest: Vec<_> = places.iter().map(|(place, rooms)| (-rooms, *place)).collect();
    highest.sort_unstable();
    highest.truncate(3);
    assert_eq!(
        rows(session, sql).await,
        texts(highest.iter().map(|(rooms, place)| format!("{}|{place}", -rooms)))
    );
    // By statistics: no row is read.
    for (table, count) in [("places", places.len()), ("warnings", warnings.len())] {
        let sql = format!("select count(*) from {table}");
        assert_eq!(rows(session, &sql).await, [count.to_string()], "{table}");
    }
    // No column at all is wanted of these rows.
    let sql = "select count(*) from (select 1 from places limit 100)";
    assert_eq!(rows(session, sql).await, [places.len().to_string()]);
    for limit in [1, 3] {
        let found = rows(session, &format!("select place_id from places limit {limit}")).await;
        assert_eq!(found.len(), limit.min(places.len()));
        let is_there = |found: &String| places.iter().any(|(place, _)| place.to_string() == *found);
        assert!(found.iter().all(is_there));
    }
    assert_eq!(
        rows(session, "select severity, warning_id from warnings").await,
        texts(warnings.iter().map(|(id, _, severity)| format!("{severity}|{id}")))
    );
    assert_eq!(
        rows(session, "select count(*) from warnings w join places p on p.place_id = w.place_id").await,
        [warnings.iter().filter(|w| places.iter().any(|(place, _)| *place == w.1)).count().to_string()]
    );
    assert_outer_joins(session, &places, &warnings).await;
    // Straight from the shards.
    for place in [1, 2, 3] {
        let sql = format!("select place_id, rooms, bucket from places where place_id = {place}");
        let bucket = layout().bucket_of(PlaceId::new(place).unwrap());
        let here = places.iter().filter(|(at, _)| *at == place);
        assert_eq!(
            rows(session, &sql).await,
            texts(here.map(|(at, rooms)| format!("{at}|{rooms}|{bucket}")))
        );
    }
    let some = "select warning_id from warnings where place_id in (1, 2) and severity >= 2";
    let here = warnings.iter().filter(|(_, place, severity)| *place <= 2 && *severity >= 2);
    assert_eq!(rows(session, some).await, texts(here.map(|(id, ..)| id.clone())));
    // The logs have every change once.
    for (table, of) in
        [("places_changes", "places"), ("warnings_changes", "warnings"), ("fact_water", "fact_water")]
    {
        let said = rows(session, &format!("select shard, sequence from {table}")).await;
        let all = shards.iter().enumerate().flat_map(|(number, shard)| {
            let changes = shard.state().history.clone();
            let of = changes.into_iter().filter(move |change| change.table == of);
            of.map(move |change| format!("{number}|{}", change.sequence)).collect::<Vec<_>>()
        });
        assert_eq!(said, texts(all), "{table}");
    }
}

/// Conditions above outer joins of tables that have columns of the same name.
async fn assert_outer_joins(
    session: &SessionContext,
    places: &BTreeSet<(i64, i64)>,
    warnings: &BTreeSet<(String, i64, i64)>,
) {
    let has = |place: i64| warnings.iter().any(|w| w.1 == place);
    let is_place = |place: i64| places.iter().any(|p| p.0 == place);
    let of = "from places p full join warnings w on p.place_id = w.place_id";
    let lonely = places.iter().filter(|(place, _)| !has(*place)).map(|(place, _)| format!("{place}|"));
    let orphans = warnings.iter().filter(|w| !is_place(w.1)).map(|(id, ..)| format!("|{id}"));
    let unmatched = "where w.place_id is null or p.place_id is null";
    assert_eq!(
        rows(session, &format!("select p.place_id, w.warning_id {of} {unmatched}")).await,
        texts(lonely.clone().chain(orphans))
    );
    let left = of.replace("full", "left");
    assert_eq!(
        rows(session, &format!("select p.place_id, w.warning_id {left} where w.place_id is null")).await,
        texts(lonely)
    );
    for bucket in 0..3 {
        let bucket_of = |place: i64| layout().bucket_of(PlaceId::new(place).unwrap());
        let matched = places.iter().filter(|(place, _)| has(*place) && bucket_of(*place) == bucket);
        let rows_of = |place: i64| warnings.iter().filter(move |w| w.1 == place);
        let wanted = matched.flat_map(|(place, _)| rows_of(*place).map(move |w| format!("{place}|{}", w.0)));
        assert_eq!(
            rows(session, &format!("select p.place_id, w.warning_id {left} where w.bucket = {bucket}")).await,
            texts(wanted)
        );
        let right = of.replace("full", "right");
        let by_place = warnings.iter().filter(|w| is_place(w.1) && bucket_of(w.1) == bucket);
        assert_eq!(
            rows(session, &format!("select w.warning_id {right} where p.bucket = {bucket}")).await,
            texts(by_place.map(|(id, ..)| id.clone()))
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(i64, Option<i64>),
    Warn(i64, u8, Option<i64>),
    Fact(i64, i64),
    /// Projects; the process dies at the n-th boundary if there are so many.
    Project {
        changes_max: usize,
        dies_at: Option<usize>,
    },
    Ask,
    /// Plans queries, which run some steps later and see what was there when they were planned.
    Plan,
    Run,
}

/// A query that has not run yet, and what it is to give.
type Planned = (Arc<dyn ExecutionPlan>, Vec<String>);

async fn plan(session: &SessionContext, shards: &[ModelShard]) -> [Planned; 2] {
    let Wanted { places, warnings } = wanted(shards);
    let plan = async |sql: &str| session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    [
        (
            plan("select place_id, rooms from places").await,
            texts(places.iter().map(|(place, rooms)| format!("{place}|{rooms}"))),
        ),
        (
            plan("select severity, warning_id from warnings").await,
            texts(warnings.iter().map(|(id, _, severity)| format!("{severity}|{id}"))),
        ),
    ]
}

async fn run(session: &SessionContext, planned: Vec<Planned>) {
    for (plan, wanted) in planned {
        assert_eq!(as_texts(&collect(plan, session.task_ctx()).await.unwrap()), wanted);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 1..=PLACES;
    let step = prop_oneof![
        8 => (place.clone(), prop::option::weighted(0.8, 1i64..9)).prop_map(|(p, rooms)| Step::Put(p, rooms)),
        4 => (place.clone(), 0u8..3, prop::option::weighted(0.8, 1i64..5))
            .prop_map(|(p, nth, severity)| Step::Warn(p, nth, severity)),
        2 => (place, 1i64..100).prop_map(|(p, amount)| Step::Fact(p, amount)),
        3 => (1usize..12, prop::option::of(0usize..7))
            .prop_map(|(changes_max, dies_at)| Step::Project { changes_max, dies_at }),
        3 => Just(Step::Ask),
        2 => Just(Step::Plan),
        1 => Just(Step::Run),
    ];
    prop::collection::vec(step, 1..40)
}

fn config(changes_max: usize) -> Config {
    Config { changes_max, batch_rows: 3, base_interval: Duration::ZERO, ..Config::default() }
}

fn open(dir: &tempfile::TempDir) -> Lake {
    Lake::open(dir.path().to_str().unwrap(), layout()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn live_tables_are_what_the_shards_hold(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (lake, shards) = (open(&dir), ModelShard::all());
            let session = lake.live_session(Live::new(shards.clone()), []).unwrap();
            let mut planned = Vec::new();
            for step in steps {
                match step {
                    Step::Put(place, rooms) => of(&shards, place).put_place(place, rooms),
                    Step::Warn(place, nth, severity) => of(&shards, place).put_warning(place, nth, severity),
                    Step::Fact(place, amount) => of(&shards, place).add_fact(place, amount),
                    Step::Project { changes_max, dies_at } => {
                        let mut left = dies_at;
                        let dies = move |_: Boundary| match left.as_mut() {
                            Some(0) => true,
                            Some(left) => { *left -= 1; false }
                            None => false,
                        };
                        let mut projector =
                            Projector::new(lake.clone(), shards.clone(), config(changes_max)).with_failpoint(dies);
                        let _ = projector.project_once().await;
                    }
                    Step::Ask => assert_live(&session, &shards).await,
                    Step::Plan => planned.extend(plan(&session, &shards).await),
                    Step::Run => run(&session, std::mem::take(&mut planned)).await,
                }
            }
            run(&session, planned).await;
            assert_live(&session, &shards).await;
        });
    }
}

/// Rounds of one more room for each place in order: at any moment each shard is a staircase.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_sees_each_shard_at_one_moment_while_it_is_written_and_projected() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    let session = lake.live_session(Live::new(shards.clone()), []).unwrap();
    let stop = CancellationToken::new();
    let often = Config { interval: Duration::from_millis(5), ..config(1_000) };
    let projecting =
        tokio::spawn(Projector::new(lake.clone(), shards.clone(), often).run(stop.child_token()));
    let writing = {
        let (stop, shards) = (stop.clone(), shards.clone());
        tokio::task::spawn_blocking(move || {
            let mut round = 0;
            while !stop.is_cancelled() {
                round += 1;
                for place in 1..=PLACES {
                    of(&shards, place).put_place(place, Some(round));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let mut last = 0;
    for _ in 0..40 {
        let mut by_shard = vec![Vec::new(); SHARDS as usize];
        for batch in batches(&session, "select place_id, rooms from places order by place_id").await {
            let int = |index: usize| batch.column(index).as_primitive::<Int64Type>().clone();
            for row in 0..batch.num_rows() {
                let place = PlaceId::new(int(0).value(row)).unwrap();
                by_shard[place.shard(SHARDS) as usize].push(int(1).value(row));
            }
        }
        for rooms in &by_shard {
            assert!(rooms.windows(2).all(|two| two[0] >= two[1]), "{rooms:?}");
            assert!(rooms.first().zip(rooms.last()).is_none_or(|(first, end)| first - end <= 1), "{rooms:?}");
        }
        let now = by_shard[0].first().copied().unwrap_or(0);
        assert!(now >= last, "it never goes back: {now} after {last}");
        last = now;
    }
    assert!(last > 0);
    stop.cancel();
    writing.await.unwrap();
    projecting.await.unwrap().unwrap();
    assert_live(&session, &shards).await;
}

#[tokio::test]
async fn a_lake_too_far_behind_is_shown_alone_until_it_has_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    let live = Live::new(shards.clone()).with_changes_max(20);
    let session = lake.live_session(live, []).unwrap();
    of(&shards, 1).put_place(1, Some(1));
    Projector::new(lake.clone(), shards.clone(), config(100)).project_once().await.unwrap();
    for rooms in 2..=30 {
        of(&shards, 1).put_place(1, Some(rooms));
    }
    let rooms = "select rooms from places";
    assert_eq!(rows(&session, rooms).await, ["1"]);
    Projector::new(lake.clone(), shards.clone(), config(100)).project_once().await.unwrap();
    assert_eq!(rows(&session, rooms).await, ["30"]);
    of(&shards, 1).put_place(1, Some(31));
    assert_eq!(rows(&session, rooms).await, ["31"]);
    // Again, and what was known of the file while it was read stays true.
    for rooms in 32..=60 {
        of(&shards, 1).put_place(1, Some(rooms));
    }
    assert_eq!(rows(&session, rooms).await, ["30"]);
    assert_eq!(rows(&session, "select count(*) from places").await, ["1"]);
    Projector::new(lake.clone(), shards.clone(), config(100)).project_once().await.unwrap();
    assert_live(&session, &shards).await;
}

/// More of them than are kept by themselves: they are put together, and so are those that were put together.
#[tokio::test]
async fn rows_that_come_and_go_in_many_small_batches_are_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    let session = lake.live_session(Live::new(shards.clone()), []).unwrap();
    for round in 0..240i64 {
        let (place, nth) = (1 + round % PLACES, (round / PLACES % 8) as u8);
        let severity = (round % 7 != 3).then_some(round);
        of(&shards, place).put_warning(place, nth, severity);
        let warnings = wanted(&shards).warnings;
        assert_eq!(
            rows(&session, "select severity, warning_id from warnings").await,
            texts(warnings.iter().map(|(id, _, severity)| format!("{severity}|{id}"))),
            "round {round}"
        );
        let count = rows(&session, "select count(*) from warnings").await;
        assert_eq!(count, [warnings.len().to_string()], "round {round}");
        if round == 110 || round == 190 {
            Projector::new(lake.clone(), shards.clone(), config(1_000)).project_once().await.unwrap();
        }
    }
}

/// Who asks for a long scan and reads it slowly holds up nobody: no change, no projection, no other query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_scan_that_is_running() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    let session = lake.live_session(Live::new(shards.clone()), []).unwrap();
    let project = async || {
        Projector::new(lake.clone(), shards.clone(), config(1_000)).project_once().await.unwrap();
    };
    let sql = "select place_id, rooms from places";
    (1..=PLACES).for_each(|place| of(&shards, place).put_place(place, Some(place)));
    project().await;
    of(&shards, 1).put_place(1, Some(7));
    let before = rows(&session, sql).await;
    let mut scan = session.sql(sql).await.unwrap().execute_stream().await.unwrap();
    let mut read = vec![scan.next().await.unwrap().unwrap()];
    let others = async {
        for rooms in 20..25 {
            (1..=PLACES).for_each(|place| of(&shards, place).put_place(place, Some(rooms)));
            assert_live(&session, &shards).await;
            project().await;
            of(&shards, 2).put_place(2, None);
            assert_live(&session, &shards).await;
        }
    };
    // They would wait for ever.
    tokio::time::timeout(Duration::from_secs(600), others).await.unwrap();
    while let Some(batch) = scan.next().await {
        read.push(batch.unwrap());
    }
    assert_eq!(as_texts(&read), before);
}

#[tokio::test]
async fn shards_that_come_and_go_show_what_they_hold_or_what_the_lake_has_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    let number = PlaceId::new(1).unwrap().shard(SHARDS) as usize;
    let others: Vec<_> = (0..shards.len()).filter(|at| *at != number).map(|at| shards[at].clone()).collect();
    let live = Live::new(others.clone());
    let session = lake.live_session(live.clone(), []).unwrap();
    let (rooms, one) =
        ("select rooms from places where rooms > 0", "select rooms from places where place_id = 1");
    of(&shards, 1).put_place(1, Some(5));
    assert!(rows(&session, rooms).await.is_empty() && rows(&session, one).await.is_empty());
    live.show(shards.clone());
    assert_eq!(
        (rows(&session, rooms).await, rows(&session, one).await),
        (vec!["5".into()], vec!["5".into()])
    );
    Projector::new(lake.clone(), shards.clone(), config(100)).project_once().await.unwrap();
    of(&shards, 1).put_place(1, Some(6));
    assert_eq!(rows(&session, rooms).await, ["6"]);
    live.show(others);
    assert_eq!(
        (rows(&session, rooms).await, rows(&session, one).await),
        (vec!["5".into()], vec!["5".into()])
    );
}

#[tokio::test]
async fn a_plan_leaves_out_what_is_superseded_and_reads_one_place_from_its_shard() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    let session = lake.live_session(Live::new(shards.clone()), []).unwrap();
    let plan = async |sql: &str| rows(&session, &format!("explain {sql}")).await.join("\n");
    for place in 1..=PLACES {
        of(&shards, place).put_place(place, Some(place));
    }
    Projector::new(lake.clone(), shards.clone(), config(100)).project_once().await.unwrap();
    let level = plan("select sum(rooms) from places").await;
    assert!(!level.contains("WithoutExec") && !level.contains("UnionExec"), "{level}");
    of(&shards, 1).put_place(1, Some(7));
    let behind = plan("select sum(rooms) from places where rooms > 0").await;
    assert!(behind.contains("WithoutExec: rows=1") && behind.contains("UnionExec"), "{behind}");
    assert!(behind.contains("predicate=rooms@"), "the files' statistics are used: {behind}");
    let count = plan("select count(*) from places").await;
    assert!(!count.contains(".parquet") && !count.contains("AggregateExec"), "{count}");
    let point = plan("select rooms from places where place_id = 1").await;
    assert!(!point.contains(".parquet"), "{point}");
}
