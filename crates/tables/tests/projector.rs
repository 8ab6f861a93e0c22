//! The projector against a model, whatever crashes and however the changes are cut into commits.
#![allow(clippy::unwrap_used)]

mod model;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};
use model::{BUCKETS, ModelShard, SHARDS, layout, of};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;
use yibiao_records::{Column, ColumnType, PlaceId, Value};
use yibiao_tables::{
    Error,
    lake::{Boundary, Config, Lake, Projector},
};

async fn query(lake: &Lake, sql: &str) -> Vec<RecordBatch> {
    lake.session([]).unwrap().sql(sql).await.unwrap().collect().await.unwrap()
}

async fn count(lake: &Lake, sql: &str) -> i64 {
    query(lake, sql).await[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// place to (rooms, updated_at in ms, bucket)
async fn base(lake: &Lake) -> BTreeMap<i64, (i64, i64, i64)> {
    let mut rows = BTreeMap::new();
    for batch in query(lake, "select place_id, rooms, updated_at, bucket from places").await {
        let int = |index: usize| batch.column(index).as_primitive::<Int64Type>().clone();
        let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let cells = (int(1).value(row), times.value(row) / 1000, int(3).value(row));
            assert_eq!(rows.insert(int(0).value(row), cells), None, "a place is there once");
        }
    }
    rows
}

async fn assert_level(lake: &Lake, shards: &[ModelShard]) {
    let mut expected = BTreeMap::new();
    let (mut places, mut facts) = (BTreeSet::new(), BTreeSet::new());
    for (number, shard) in shards.iter().enumerate() {
        let state = shard.state();
        for (place, row) in &state.rows {
            let [_, _, Value::Int(rooms), Value::Timestamp(at)] = row.as_slice() else { panic!() };
            let id = PlaceId::new(*place).unwrap();
            let bucket = i64::from(id.shard(SHARDS) * BUCKETS + id.bucket(BUCKETS));
            expected.insert(*place, (*rooms, *at, bucket));
        }
        for change in &state.history {
            let key = (number as i64, change.sequence as i64);
            match change.row.as_slice() {
                [_, _, Value::Int(rooms), _] => {
                    places.insert((key, change.operation.as_str().to_owned(), *rooms))
                }
                [_, _, _, Value::Decimal(amount)] => facts.insert((key, String::new(), *amount)),
                _ => panic!(),
            };
        }
    }
    assert_eq!(base(lake).await, expected);
    let mut found = BTreeSet::new();
    for batch in query(lake, "select shard, sequence, operation, rooms from places_changes").await {
        let int = |index: usize| batch.column(index).as_primitive::<Int64Type>().clone();
        for row in 0..batch.num_rows() {
            let operation = batch.column(2).as_string::<i32>().value(row).to_owned();
            let new = found.insert(((int(0).value(row), int(1).value(row)), operation, int(3).value(row)));
            assert!(new, "a change is there once");
        }
    }
    assert_eq!(found, places);
    let mut found = BTreeSet::new();
    for batch in query(lake, "select shard, sequence, amount from fact_water").await {
        let int = |index: usize| batch.column(index).as_primitive::<Int64Type>().clone();
        let amounts = batch.column(2).as_primitive::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            let amount = amounts.value(row) as i64;
            assert!(found.insert(((int(0).value(row), int(1).value(row)), String::new(), amount)));
        }
    }
    assert_eq!(found, facts);
}

fn open(dir: &tempfile::TempDir) -> Lake {
    Lake::open(dir.path().to_str().unwrap(), layout()).unwrap()
}

fn config(changes_max: usize) -> Config {
    Config { changes_max, batch_rows: 3, base_interval: Duration::ZERO, ..Config::default() }
}

#[derive(Debug, Clone)]
enum Step {
    Put(i64, Option<i64>),
    Fact(i64, i64),
    /// Projects; the process dies at the n-th boundary if there are so many.
    Project {
        changes_max: usize,
        dies_at: Option<usize>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1i64..12, prop::option::weighted(0.8, 0i64..100)).prop_map(|(place, rooms)| Step::Put(place, rooms)),
        3 => (1i64..12, 0i64..9000).prop_map(|(place, amount)| Step::Fact(place, amount)),
        2 => (1usize..8, prop::option::weighted(0.7, 0usize..6))
            .prop_map(|(changes_max, dies_at)| Step::Project { changes_max, dies_at }),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn the_lake_equals_the_shards_wherever_the_projector_died(steps in steps()) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let shards = ModelShard::all();
            for step in steps {
                match step {
                    Step::Put(place, rooms) => of(&shards, place).put_place(place, rooms),
                    Step::Fact(place, amount) => of(&shards, place).add_fact(place, amount),
                    Step::Project { changes_max, dies_at } => {
                        let mut passed = 0;
                        let mut projector = Projector::new(open(&dir), shards.clone(), config(changes_max))
                            .with_failpoint(move |_| { passed += 1; dies_at == Some(passed - 1) });
                        match projector.project_once().await {
                            Ok(progress) => assert!(progress.is_level(), "{progress:?}"),
                            Err(Error::Failpoint(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            }
            let lake = open(&dir);
            Projector::new(lake.clone(), shards.clone(), config(1000)).project_once().await.unwrap();
            assert_level(&lake, &shards).await;
            assert!(shards.iter().all(|shard| shard.state().outbox.is_empty()), "the outbox was trimmed");
        });
    }
}

#[tokio::test]
async fn a_crash_at_each_boundary_is_hit_and_mended() {
    let hit = Arc::new(Mutex::new(BTreeSet::new()));
    for boundary in Boundary::ALL {
        let dir = tempfile::tempdir().unwrap();
        let shards = ModelShard::all();
        for place in 1..8 {
            of(&shards, place).put_place(place, Some(place));
            of(&shards, place).add_fact(place, place);
        }
        let note = hit.clone();
        let mut projector = Projector::new(open(&dir), shards.clone(), config(5)).with_failpoint(move |at| {
            if at == boundary {
                note.lock().unwrap().insert(at);
            }
            at == boundary
        });
        let error = projector.project_once().await.unwrap_err();
        assert!(matches!(error, Error::Failpoint(_)), "{error}");
        drop(projector);
        of(&shards, 3).put_place(3, None);
        let lake = open(&dir);
        Projector::new(lake.clone(), shards.clone(), config(5)).project_once().await.unwrap();
        assert_level(&lake, &shards).await;
    }
    assert_eq!(hit.lock().unwrap().len(), Boundary::ALL.len());
}

#[tokio::test]
async fn after_a_power_cut_the_lake_is_never_ahead_of_a_shard() {
    for boundary in Boundary::ALL {
        let dir = tempfile::tempdir().unwrap();
        let shards = ModelShard::all();
        let round = |rooms| {
            for place in 1..8 {
                of(&shards, place).put_place(place, Some(rooms));
            }
        };
        round(1);
        Projector::new(open(&dir), shards.clone(), config(5)).project_once().await.unwrap();
        round(2);
        let mut projector =
            Projector::new(open(&dir), shards.clone(), config(5)).with_failpoint(move |at| at == boundary);
        projector.project_once().await.unwrap_err();
        drop(projector);
        // Made after the last cycle, and nothing has seen it.
        round(3);
        shards.iter().for_each(ModelShard::lose_power);
        let lake = open(&dir);
        Projector::new(lake.clone(), shards.clone(), config(5)).project_once().await.unwrap();
        assert_level(&lake, &shards).await;
        assert!(shards.iter().all(|shard| shard.state().rows.values().all(|row| row[2] == Value::Int(2))));
    }
}

#[tokio::test]
async fn only_shards_with_news_are_synchronised_once_a_cycle() {
    let dir = tempfile::tempdir().unwrap();
    let shards = ModelShard::all();
    let shard = of(&shards, 1);
    let persisted = || shards.iter().map(|shard| shard.state().persisted).sum::<usize>();
    let mut projector = Projector::new(open(&dir), shards.clone(), config(2));
    for rooms in 0..9 {
        shard.put_place(1, Some(rooms));
    }
    projector.project_once().await.unwrap();
    assert_eq!((persisted(), shard.state().persisted), (1, 1));
    projector.project_once().await.unwrap();
    assert_eq!(persisted(), 1);
}

#[tokio::test]
async fn running_projects_what_arrives_and_ends_level() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    let config = Config { interval: Duration::from_millis(20), ..config(1000) };
    let projector = Projector::new(lake.clone(), shards.clone(), config);
    let mut progress = projector.progress();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(projector.run(shutdown.clone()));
    of(&shards, 5).put_place(5, Some(1));
    progress.wait_for(|progress| progress.changes == 1 && progress.is_level()).await.unwrap();
    assert_eq!(count(&lake, "select count(*) from places").await, 1);
    // A session that is open sees what comes later.
    let session = lake.session([]).unwrap();
    for place in 1..30 {
        of(&shards, place).put_place(place, Some(place));
    }
    shutdown.cancel();
    let last = running.await.unwrap().unwrap();
    assert!(last.is_level() && last.changes == 30, "{last:?}");
    let rows = session.sql("select count(*) from places").await.unwrap().collect().await.unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 29);
    assert_level(&lake, &shards).await;
}

#[tokio::test]
async fn a_point_lookup_reads_one_bucket_and_unwritten_tables_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    assert_eq!(count(&lake, "select count(*) from places").await, 0);
    for place in 1..60 {
        of(&shards, place).put_place(place, Some(place));
    }
    Projector::new(lake.clone(), shards, config(1000)).project_once().await.unwrap();
    let session = lake.session([]).unwrap();
    let plan = |sql: &'static str| {
        let session = session.clone();
        async move {
            let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
            arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
        }
    };
    let files = |text: &str| text.matches(".parquet").count();
    let all = plan("explain select rooms from places").await;
    let one = plan("explain select rooms from places where place_id = 7").await;
    assert!(files(&all) >= 5, "{all}");
    assert_eq!(files(&one), 1, "{one}");
    assert_eq!(count(&lake, "select rooms from places where place_id = 7").await, 7);
    assert_eq!(count(&lake, "select count(*) from places where place_id in (7, 8, 900)").await, 2);
    assert!(count(&lake, "select count(*) from catalogue where table_name = 'places'").await >= 4);
}

#[tokio::test]
async fn a_new_column_is_added_and_a_changed_type_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shards = ModelShard::all();
    of(&shards, 1).put_place(1, Some(2));
    Projector::new(open(&dir), shards.clone(), config(10)).project_once().await.unwrap();

    let mut wider = layout();
    wider.tables[0].schema.columns.push(Column::new("area_m2", ColumnType::Decimal, "面积"));
    let lake = Lake::open(dir.path().to_str().unwrap(), wider).unwrap();
    of(&shards, 1).put_place(1, Some(3));
    Projector::new(lake.clone(), shards.clone(), config(10)).project_once().await.unwrap();
    assert_eq!(count(&lake, "select rooms from places where area_m2 is null").await, 3);
    assert_eq!(count(&lake, "select count(*) from places_changes where area_m2 is null").await, 2);

    let mut other = layout();
    other.tables[0].schema.columns[2].column_type = ColumnType::Text;
    let lake = Lake::open(dir.path().to_str().unwrap(), other).unwrap();
    let error = Projector::new(lake, shards, config(10)).project_once().await.unwrap_err();
    assert!(matches!(&error, Error::Incompatible { column, .. } if column == "rooms"), "{error}");
}

#[tokio::test]
async fn a_second_projector_is_fenced_and_a_foreign_lake_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shards = ModelShard::all();
    let shard = of(&shards, 1).clone();
    let mut zombie = Projector::new(open(&dir), shards.clone(), config(10));
    shard.put_place(1, Some(1));
    zombie.project_once().await.unwrap();
    shard.put_place(1, Some(2));
    let mut second = Projector::new(open(&dir), shards.clone(), config(10))
        .with_failpoint(|boundary| boundary == Boundary::BucketsCommitted);
    second.project_once().await.unwrap_err();
    shard.put_place(1, Some(3));
    let error = zombie.project_once().await.unwrap_err();
    assert!(matches!(error, Error::OtherWriter { .. }), "{error}");
    // It has looked again, and nothing is doubled.
    zombie.project_once().await.unwrap();
    assert_level(&open(&dir), &shards).await;
    // Where the other one has trimmed as well, there is nothing to fence: the tables are asked.
    shard.put_place(1, Some(4));
    Projector::new(open(&dir), shards.clone(), config(10)).project_once().await.unwrap();
    shard.put_place(1, Some(5));
    zombie.project_once().await.unwrap();
    assert_level(&open(&dir), &shards).await;

    // The state was lost.
    let error = Projector::new(open(&dir), ModelShard::all(), config(10)).project_once().await.unwrap_err();
    assert!(matches!(error, Error::LakeAhead { .. }), "{error}");
    // The lake was lost.
    let empty = tempfile::tempdir().unwrap();
    let error = Projector::new(open(&empty), shards, config(10)).project_once().await.unwrap_err();
    assert!(matches!(error, Error::LakeBehind { .. }), "{error}");
}

#[tokio::test]
async fn maintenance_keeps_the_rows_and_leaves_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, shards) = (open(&dir), ModelShard::all());
    let config = Config { files_max: 4, retention: Duration::ZERO, ..config(10) };
    let mut projector = Projector::new(lake.clone(), shards.clone(), config);
    for round in 0..6 {
        for place in 1..5 {
            of(&shards, place).put_place(place, Some(round));
        }
        projector.project_once().await.unwrap();
    }
    projector.maintain().await.unwrap();
    of(&shards, 1).put_place(1, Some(99));
    projector.project_once().await.unwrap();
    assert_level(&lake, &shards).await;
    let parquet = |table: &str| {
        let dir = std::fs::read_dir(dir.path().join(table)).unwrap();
        dir.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "parquet")).count()
    };
    assert!(parquet("places_changes") <= 3, "{}", parquet("places_changes"));
    // What a reader missed meanwhile is all there was, as compaction replaced the files.
    let since = lake.since("places_changes", Some(0)).await.unwrap().unwrap();
    assert_eq!(since.what, yibiao_tables::lake::Selection::Everything);
}
