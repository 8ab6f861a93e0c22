//! Checkpoints and lake in an object store: the same as in folders, whatever becomes of requests and answers.
#![allow(clippy::unwrap_used)]

mod model;
mod store;

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::util::pretty::pretty_format_batches;
use model::{ModelShard, SHARDS, layout};
use store::{Store, Trouble};
use tokio_util::sync::CancellationToken;
use yibiao_records::{FactKinds, Operation, Party, PlaceId, Retry, Value};
use yibiao_state::Options;
use yibiao_tables::{
    Error, Lake, Projector, Shard, Tables,
    checkpoint::{Checkpointer, Checkpoints, acquire},
    lake::{Boundary, Config, Layout},
    objects::{self, Limits, Settings},
    shard::PlaceState,
};

/// Who is away is given up soon.
const SHORT: Limits = Limits {
    connect_timeout: Duration::from_secs(2),
    timeout: Duration::from_secs(10),
    retries_max: 1,
    retry_timeout: Duration::from_secs(2),
};

/// A store with a bucket of this name, to which this process knows the way.
fn store(bucket: &str) -> Option<Store> {
    let store = Store::start(bucket)?;
    objects::register(bucket, &Settings::new(store.variables(), SHORT)).unwrap();
    Some(store)
}

fn lake(location: &str) -> Lake {
    Lake::open(location, layout()).unwrap()
}

fn projector(lake: &Lake, shards: &[ModelShard]) -> Projector<ModelShard> {
    let config = Config { changes_max: 7, batch_rows: 3, base_interval: Duration::ZERO, ..Config::default() };
    Projector::new(lake.clone(), shards.to_vec(), config)
}

/// Rows and facts of places that come, change and go.
fn change(shards: &[ModelShard], round: i64) {
    for place in 1..12 {
        let shard = &shards[PlaceId::new(place).unwrap().shard(SHARDS) as usize];
        let goes = (place + round) % 5 == 0;
        shard.put_place(place, (!goes).then_some(round * 10 + place));
        shard.add_fact(place, round * 100 + place);
        shard.put_warning(place, 0, (place % 2 == 0).then_some(round % 3));
    }
}

/// All that is in a lake, as text.
async fn contents(lake: &Lake) -> Vec<String> {
    let session = lake.session([]).unwrap();
    let mut found = Vec::new();
    for sql in [
        "select * from places order by place_id",
        "select * from warnings order by warning_id",
        "select * from places_changes order by shard, sequence",
        "select * from warnings_changes order by shard, sequence",
        "select * from fact_water order by shard, sequence",
    ] {
        let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
        found.push(pretty_format_batches(&batches).unwrap().to_string());
    }
    found
}

/// The same changes in a folder, where nothing happens.
async fn undisturbed(dir: &Path, rounds: i64) -> Vec<String> {
    let lake = lake(dir.to_str().unwrap());
    let shards = ModelShard::all();
    for round in 0..rounds {
        change(&shards, round);
    }
    projector(&lake, &shards).project_once().await.unwrap();
    contents(&lake).await
}

#[tokio::test]
async fn a_store_without_put_if_absent_is_refused_before_anything_is_taken() {
    let Some(store) = store("condition") else { return };
    let checkpoints = Checkpoints::open("s3://condition/checkpoints").unwrap();
    let lake = lake("s3://condition/lake");
    for trouble in [Trouble::ConditionIgnored, Trouble::ConditionUnknown] {
        store.way().meets(trouble);
        for refused in [checkpoints.prove().await, lake.prove().await] {
            let error = refused.unwrap_err();
            assert!(error.to_string().contains("no put-if-absent (If-None-Match: *)"), "{error}");
            assert_eq!((error.fault().party, error.fault().retry), (Party::Operator, Retry::Never));
        }
        // Also where nobody has asked before.
        assert!(checkpoints.take(0, "claim").await.is_err());
        assert!(lake.fence(&[(0, 1)]).await.is_err());
    }
    store.way().meets(Trouble::None);
    checkpoints.prove().await.unwrap();
    let (owner, _) = checkpoints.take(0, "claim").await.unwrap();
    assert_eq!(owner.epoch(), 1, "nothing was taken before");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_to_whoever_reads_or_writes() {
    let Some(store) = store("there") else { return };
    objects::register("absent", &Settings::new(store.variables(), SHORT)).unwrap();
    let written = Checkpoints::open("s3://absent/checkpoints").unwrap().prove().await.unwrap_err();
    let read = lake("s3://absent/lake").latest("places").await.unwrap_err();
    assert_eq!(written.fault().retry, Retry::Never);
    for error in [written, read] {
        assert!(error.to_string().contains("the bucket is not there: make it"), "{error}");
    }
    // A bucket with no lake in it is one to which nothing was written yet.
    assert!(lake("s3://there/lake").latest("places").await.unwrap().is_none());
    let nameless = Lake::open("s3:///lake", layout()).unwrap_err();
    assert!(nameless.to_string().contains("s3://bucket/prefix"), "{nameless}");
}

#[tokio::test]
async fn of_takers_at_once_exactly_one_gets_each_epoch_also_where_answers_are_lost() {
    let Some(store) = store("takers") else { return };
    let checkpoints = Checkpoints::open("s3://takers/checkpoints").unwrap();
    checkpoints.prove().await.unwrap();
    for (round, lost) in [0, 3].into_iter().enumerate() {
        store.way().meets(Trouble::AnswersLost(lost));
        let claims: Vec<_> = (0..6).map(|number| format!("{round} {number}")).collect();
        let taking = claims.iter().map(|claim| checkpoints.take(0, claim));
        let taken = futures::future::join_all(taking).await.into_iter().map(Result::unwrap);
        let epochs: BTreeSet<_> = taken.map(|(owner, _)| owner.epoch()).collect();
        let first = round as u64 * 6 + 1;
        assert_eq!(epochs, (first..first + 6).collect(), "each has one of its own, and none was passed over");
        assert_eq!(store.way().trouble(), Trouble::AnswersLost(0), "answers were lost");
    }
}

#[tokio::test]
async fn a_lake_in_an_object_store_is_that_of_a_folder_for_us_and_for_python() {
    let Some(store) = store("same") else { return };
    let dir = tempfile::tempdir().unwrap();
    let expected = undisturbed(&dir.path().join("lake"), 5).await;
    let lake = lake("s3://same/a/lake");
    let shards = ModelShard::all();
    for round in 0..5 {
        change(&shards, round);
        projector(&lake, &shards).project_once().await.unwrap();
    }
    assert_eq!(contents(&lake).await, expected);
    // Compaction, vacuum and checkpoints of the log change nothing.
    let mut last = projector(&lake, &shards);
    last.maintain().await.unwrap();
    assert_eq!(contents(&Lake::open("s3://same/a/lake", layout()).unwrap()).await, expected);

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_with_python.py");
    let read = |lake: &str| {
        let mut command = Command::new(std::env::var_os("YIBIAO_PYTHON").unwrap());
        command.arg(script).arg(lake).args(["places", "places_changes", "warnings", "fact_water"]);
        let output = command.envs(store.variables()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        // The version differs: there were more commits here.
        text.lines()
            .map(|line| {
                line.split('\t')
                    .enumerate()
                    .filter(|(at, _)| *at != 1)
                    .map(|(_, cell)| cell.to_owned())
                    .collect()
            })
            .collect()
    };
    let (theirs, here): (Vec<Vec<String>>, Vec<Vec<String>>) =
        (read(dir.path().join("lake").to_str().unwrap()), read("s3://same/a/lake"));
    assert_eq!(here, theirs);
    assert_eq!(here.len(), 4);
}

#[tokio::test]
async fn answers_that_are_lost_neither_lose_nor_double_a_change_nor_look_like_another_writer() {
    let Some(store) = store("answers") else { return };
    let dir = tempfile::tempdir().unwrap();
    let expected = undisturbed(dir.path(), 6).await;
    let lake = lake("s3://answers/lake");
    lake.prove().await.unwrap();
    let shards = ModelShard::all();
    let mut projector = projector(&lake, &shards);
    for round in 0..6 {
        change(&shards, round);
        store.way().meets(Trouble::AnswersLost(2));
        projector.project_once().await.unwrap();
        assert_eq!(store.way().trouble(), Trouble::AnswersLost(0), "answers were lost");
    }
    assert_eq!(contents(&lake).await, expected);
}

#[tokio::test]
async fn commits_that_arrive_after_they_were_given_up_count_once() {
    let Some(store) = store("late").map(Arc::new) else { return };
    let dir = tempfile::tempdir().unwrap();
    let expected = undisturbed(dir.path(), 3).await;
    // Before the tables are asked how far they are, or between that and the next commit.
    for arrives_within in [false, true] {
        let lake = lake(&format!("s3://late/{arrives_within}"));
        let shards = ModelShard::all();
        change(&shards, 0);
        projector(&lake, &shards).project_once().await.unwrap();
        change(&shards, 1);
        store.way().meets(Trouble::PutsHeld);
        let error = projector(&lake, &shards).project_once().await.unwrap_err();
        assert_eq!(error.fault().retry, Retry::Later, "{error}");
        store.way().meets(Trouble::None);
        change(&shards, 2);
        let late = Arc::new(AtomicUsize::new(0));
        if arrives_within {
            let (way, arrived) = (store.clone(), late.clone());
            let mut meets = projector(&lake, &shards).with_failpoint(move |boundary| {
                if boundary == Boundary::ChangesWritten {
                    arrived.fetch_add(way.way().let_go(), Ordering::SeqCst);
                }
                false
            });
            let error = meets.project_once().await.unwrap_err();
            assert!(error.to_string().contains("came late: look again"), "{error}");
            assert_eq!(error.fault().retry, Retry::Later, "{error}");
        } else {
            late.fetch_add(store.way().let_go(), Ordering::SeqCst);
        }
        assert_eq!(late.load(Ordering::SeqCst), 1, "one put came late");
        projector(&lake, &shards).project_once().await.unwrap();
        assert_eq!(contents(&lake).await, expected);
    }
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_loses_nothing() {
    let Some(store) = store("away") else { return };
    let dir = tempfile::tempdir().unwrap();
    let expected = undisturbed(dir.path(), 8).await;
    let lake = lake("s3://away/lake");
    let shards = ModelShard::all();
    let config = Config { interval: Duration::ZERO, base_interval: Duration::ZERO, ..Config::default() };
    let projector = Projector::new(lake.clone(), shards.clone(), config);
    let (mut progress, shutdown) = (projector.progress(), CancellationToken::new());
    let running = tokio::spawn(projector.run(shutdown.clone()));
    for round in 0..8 {
        // Away in the midst of a round, and for longer than all retries of a request.
        if round % 3 == 1 {
            store.way().meets(Trouble::Away);
        }
        change(&shards, round);
        if round % 3 == 1 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert!(!running.is_finished());
            store.way().meets(Trouble::None);
        }
        let sum: u64 = shards.iter().map(|shard| shard.state().sequence).sum();
        let level = |progress: &yibiao_tables::lake::Progress| {
            progress.shards.iter().map(|shard| shard.based).sum::<u64>() == sum
        };
        tokio::time::timeout(Duration::from_secs(120), progress.wait_for(level)).await.unwrap().unwrap();
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(contents(&lake).await, expected);
}

#[tokio::test]
async fn who_cannot_reach_the_store_is_told_so_and_may_try_again() {
    let Some(store) = store("reach") else { return };
    store.way().meets(Trouble::Away);
    let began = Instant::now();
    let error = Checkpoints::open("s3://reach/checkpoints").unwrap().prove().await.unwrap_err();
    assert!(matches!(error, Error::Object { .. }), "{error}");
    assert_eq!(error.fault().retry, Retry::Later);
    assert!(began.elapsed() < Duration::from_secs(100), "retries have an end");
}

/// Shard 0, with its state in a folder of this machine.
async fn take(bucket: &str, tables: &Tables, machine: &Path) -> Shard {
    let checkpoints = Checkpoints::open(&format!("s3://{bucket}/checkpoints")).unwrap();
    let lake = Lake::open(&format!("s3://{bucket}/lake"), Layout::new(tables, 1)).unwrap();
    let shards = [(0, machine.join("shard-0"))];
    acquire(&checkpoints, &lake, &shards, tables, &Options::default()).await.unwrap().remove(0)
}

fn put(shard: &Shard, batch: i64) {
    let mut writer = shard.writer().unwrap();
    let mut writing = writer.begin(batch).unwrap();
    for place in batch * 10 + 1..batch * 10 + 11 {
        let row = vec![Value::Text(format!("{batch}"))];
        writing.put_place(PlaceId::new(place).unwrap(), &PlaceState { row, ..PlaceState::default() });
    }
    writing.change(&"places".into(), Operation::Insert, PlaceId::new(batch * 10 + 1).unwrap(), &[]);
    writing.commit().unwrap();
}

#[tokio::test]
async fn a_checkpoint_that_was_given_up_and_came_late_is_followed_by_the_next_and_another_machine_goes_on() {
    let Some(store) = store("moved") else { return };
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let kinds = std::fs::read_dir(pipelines.join("facts")).unwrap().map(|entry| {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        serde_saphyr::from_str::<yibiao_records::FactKind>(&text).unwrap()
    });
    let kinds = FactKinds::new(kinds);
    let (dir, tables) = (tempfile::tempdir().unwrap(), Tables::load(&pipelines.join("tables"), &kinds, 4));
    let tables = tables.unwrap();
    let shard = take("moved", &tables, &dir.path().join("a")).await;
    let mut checkpoints = Checkpointer::new(vec![shard.clone()], Duration::ZERO, 2);
    put(&shard, 0);
    store.way().meets(Trouble::PutsHeld);
    let error = checkpoints.all().await.unwrap_err();
    assert_eq!(error.fault().retry, Retry::Later, "{error}");
    store.way().meets(Trouble::AnswersLost(1));
    assert_eq!(store.way().let_go(), 1, "the manifest came late");
    put(&shard, 1);
    checkpoints.all().await.unwrap();
    assert_eq!(store.way().trouble(), Trouble::AnswersLost(0), "an answer was lost");
    let expected: Vec<_> = shard.view().places().collect::<Result<_, _>>().unwrap();
    assert_eq!(expected.len(), 20);
    // Its process and its machine are gone.
    drop((shard, checkpoints));
    let next = take("moved", &tables, &dir.path().join("b")).await;
    assert_eq!(next.view().places().collect::<Result<Vec<_>, _>>().unwrap(), expected);
    assert_eq!(next.view().last_batch().unwrap(), 2);
}
