//! What reaches a centre, and what never does.
#![allow(clippy::unwrap_used)]

#[path = "delivery/scene.rs"]
mod scene;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{array::AsArray, datatypes::Int64Type};
use chrono::{DateTime, Utc};
use scene::{CANARY, NANJING, SUZHOU, Scene, grant, layout};
use yibiao_broker::{Broker, Config as BrokerConfig};
use yibiao_delivery::{Audit, CentreReport, Config, Error, Grant};
use yibiao_tables::Lake;
use yibiao_topics::{Client, ClientConfig, NextOffset, TopicPartition};

fn total(reports: &[CentreReport], centre: &str) -> (u64, u64, u64, u64) {
    let report = reports.iter().find(|report| report.centre == centre).unwrap();
    assert_eq!(report.trouble, None);
    let total = report.total();
    assert_eq!(total.read, total.delivered + total.filtered + total.repeated, "{report:?}");
    (total.read, total.delivered, total.filtered, total.repeated)
}

/// Whether any file below `dir` holds `needle`, in the clear. Parquet is compressed, so tables are read as well.
fn holds(dir: &Path, needle: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    })
}

#[tokio::test]
async fn a_centre_gets_its_own_area_once_and_nothing_personal() {
    let mut scene = Scene::new();
    scene.write_grant("nanjing", &grant("nanjing", "3201", ""));
    scene.write_grant("jiangsu", &grant("jiangsu", "32", ""));
    scene.put(&[(1, NANJING, 2), (2, SUZHOU, 3), (3, NANJING, 4)]).await;
    let mut delivery = scene.delivery(None).unwrap();
    let reports = delivery.deliver_once().await;
    // Three changes and three base rows were read.
    assert_eq!(total(&reports, "nanjing"), (6, 4, 2, 0));
    assert_eq!(total(&reports, "jiangsu"), (6, 6, 0, 0));
    assert_eq!(scene.base("nanjing").await, BTreeMap::from([(1, 2), (3, 4)]));

    // Again: nothing new. Then one place moves away, and one changes.
    assert_eq!(total(&delivery.deliver_once().await, "nanjing"), (6, 4, 2, 0));
    scene.put(&[(1, SUZHOU, 2), (3, NANJING, 5)]).await;
    scene.warn(&[("w1", 3, NANJING), ("w2", 2, SUZHOU)]).await;
    drop(delivery);
    // A new process goes on where the old one stopped.
    let mut delivery = scene.delivery(None).unwrap();
    delivery.deliver_once().await;
    assert_eq!(scene.base("nanjing").await, BTreeMap::from([(3, 5)]));
    assert_eq!(scene.base("jiangsu").await, BTreeMap::from([(1, 2), (2, 3), (3, 5)]));
    assert_eq!(scene.changes("nanjing", "places_changes").await, [1, 3, 5]);
    assert_eq!(scene.changes("jiangsu", "places_changes").await, [1, 2, 3, 4, 5]);
    assert_eq!(scene.changes("nanjing", "warnings_changes").await, [6]);

    // Nothing personal: not as a column, not in JSON.
    let lake = Lake::open(scene.path("out/jiangsu").to_str().unwrap(), layout()).unwrap();
    let session = lake.session([]).unwrap();
    for table in ["places", "places_changes", "warnings_changes"] {
        let delta = lake.latest(table).await.unwrap().unwrap();
        let frame = session.sql(&format!("select * from {table}")).await.unwrap();
        assert!(frame.schema().field_with_unqualified_name("landlord_phone").is_err(), "{table}");
        let batches = frame.collect().await.unwrap();
        let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        assert!(!text.contains(CANARY) && !text.contains("landlord_phone"), "{text}");
        assert!(delta.version().is_some());
    }
    assert!(!holds(&scene.path("out"), CANARY));
    assert!(!holds(&scene.path("out"), "landlord_phone"));
    drop(delivery);
    assert!(Audit::verify(&scene.path("audit.jsonl")).unwrap() >= 7);
}

#[tokio::test]
async fn a_centres_tables_are_maintained_and_nothing_is_lost_or_delivered_twice() {
    let mut scene = Scene::new();
    scene.write_grant("nanjing", &grant("nanjing", "3201", ""));
    let often = || Config {
        maintain_interval: Duration::ZERO,
        files_max: 3,
        retention: Duration::ZERO,
        ..Config::default()
    };
    let mut delivery = scene.delivery_with(None, often()).unwrap();
    for rooms in 1..=9 {
        scene.put(&[(1, NANJING, rooms), (3, NANJING, rooms)]).await;
        total(&delivery.deliver_once().await, "nanjing");
    }
    let out = scene.path("out/nanjing");
    let files = |table: &str| {
        let table = out.join(table);
        assert!(table.join("_delta_log/_last_checkpoint").exists(), "no checkpoint in {}", table.display());
        parquet_files(&table)
    };
    // Nine commits of a file for each of two shards, and a bucket that was rewritten nine times.
    assert!(files("places_changes") <= 3, "{}", files("places_changes"));
    assert_eq!(files("places"), 2);
    drop(delivery);
    // A new process finds the positions in what is left.
    scene.put(&[(1, NANJING, 10)]).await;
    let reports = scene.delivery_with(None, often()).unwrap().deliver_once().await;
    let (_, delivered, _, repeated) = total(&reports, "nanjing");
    assert_eq!((delivered, repeated), (2, 0));
    assert_eq!(scene.base("nanjing").await, BTreeMap::from([(1, 10), (3, 9)]));
    assert_eq!(scene.changes("nanjing", "places_changes").await, (1..=19).collect::<Vec<_>>());

    // By default it happens at an interval only.
    scene.put(&[(1, NANJING, 11)]).await;
    let before = files("places");
    scene.delivery(None).unwrap().deliver_once().await;
    assert_eq!(files("places"), before + 1);
}

/// Data files below `dir`, whether or not a version names them.
fn parquet_files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: PathBuf| match path.is_dir() {
        true if path.ends_with("_delta_log") => 0,
        true => parquet_files(&path),
        false => usize::from(path.extension().is_some_and(|extension| extension == "parquet")),
    };
    entries.map(count).sum()
}

#[tokio::test]
async fn another_area_or_other_columns_are_delivered_anew_wholly() {
    let mut scene = Scene::new();
    scene.put(&[(1, NANJING, 2), (2, SUZHOU, 3)]).await;
    for (area, base, changes) in [
        ("3201", vec![(1, 2)], vec![1]),
        ("32", vec![(1, 2), (2, 3)], vec![1, 2]),
        ("3205", vec![(2, 3)], vec![2]),
        // As it once was, which says nothing of what is there now.
        ("3201", vec![(1, 2)], vec![1]),
    ] {
        scene.write_grant("nanjing", &grant("nanjing", area, ""));
        // Twice, as the second process finds the fingerprint of the first.
        for _ in 0..2 {
            let reports = scene.delivery(None).unwrap().deliver_once().await;
            total(&reports, "nanjing");
            assert_eq!(scene.base("nanjing").await, base.iter().copied().collect(), "{area}");
            assert_eq!(scene.changes("nanjing", "places_changes").await, changes, "{area}");
        }
    }
    let narrow = grant("nanjing", "3201", "")
        .replace("name: places\n", "name: places\n    columns: [place_id, division_code]\n");
    scene.write_grant("nanjing", &narrow);
    assert_eq!(total(&scene.delivery(None).unwrap().deliver_once().await, "nanjing"), (4, 2, 2, 0));
    let lake = Lake::open(scene.path("out/nanjing").to_str().unwrap(), layout()).unwrap();
    let session = lake.session([]).unwrap();
    for table in ["places", "places_changes"] {
        let sql = format!("select count(*), count(rooms) from {table}");
        let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
        let cell = |index: usize| batches[0].column(index).as_primitive::<Int64Type>().value(0);
        assert_eq!((cell(0), cell(1)), (1, 0), "{table}");
    }
    // Nothing has changed: nothing is read.
    assert_eq!(total(&scene.delivery(None).unwrap().deliver_once().await, "nanjing"), (0, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_that_was_built_anew_is_delivered_anew_and_so_are_its_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(folder.path())).await.unwrap();
    let client = Client::new(&ClientConfig::at(broker.bootstrap())).unwrap();
    let mut scene = Scene::new();
    scene.write_grant("nanjing", &grant("nanjing", "3201", "  warnings_topic: true\n"));
    for rooms in 1..5 {
        scene.put(&[(1, NANJING, rooms), (3, NANJING, rooms)]).await;
    }
    scene.warn(&[("w1", 3, NANJING), ("w2", 5, NANJING)]).await;
    scene.warn(&[("-w1", 3, NANJING), ("w9", 2, SUZHOU), ("w3", 3, NANJING)]).await;
    let reports = scene.delivery(Some(client.clone())).unwrap().deliver_once().await;
    assert_eq!(reports[0].total().sent, 4);

    // Its versions and sequences are lower than those that the centre has, and mean something else.
    std::fs::remove_dir_all(scene.path("lake")).unwrap();
    scene.lake = Lake::open(scene.path("lake").to_str().unwrap(), layout()).unwrap();
    scene.sequence = 0;
    scene.places.clear();
    scene.put(&[(3, NANJING, 9)]).await;
    scene.warn(&[("w3", 3, NANJING)]).await;
    let reports = scene.delivery(Some(client.clone())).unwrap().deliver_once().await;
    // w2 was told as firing, and nobody knows it any more; w1 was told as cleared, w9 never, w3 is known.
    assert_eq!((total(&reports, "nanjing"), reports[0].total().sent), ((3, 3, 0, 0), 2));
    assert_eq!(scene.base("nanjing").await, BTreeMap::from([(3, 9)]));
    assert_eq!(scene.changes("nanjing", "places_changes").await, [1]);
    assert_eq!(scene.changes("nanjing", "warnings_changes").await, [2]);
    let topic = "centre.nanjing.warnings";
    let told = messages(&client, topic).await;
    assert_eq!(told.len(), 6);
    let of =
        |id: &str| told.iter().filter(|(key, _)| key == id).map(|(_, json)| json.clone()).collect::<Vec<_>>();
    let w2 = of("w2");
    let cleared = w2.iter().find(|json| json["state"] == "cleared").unwrap();
    assert_eq!((w2.len(), &cleared["place_id"], &cleared["operation"]), (2, &5.into(), &"update".into()));
    assert!(cleared["recorded_at"].as_str() > w2[0]["recorded_at"].as_str(), "{w2:?}");
    assert_eq!(
        cleared["recorded_at"].as_str().map(str::len),
        of("w3")[0]["recorded_at"].as_str().map(str::len),
        "a time is written as ever: {cleared} {:?}",
        of("w3")
    );
    assert!(!cleared.to_string().contains(CANARY), "{cleared}");
    assert_eq!((of("w1").len(), of("w9").len(), of("w3").len()), (2, 0, 2));
    let audit = std::fs::read_to_string(scene.path("audit.jsonl")).unwrap();
    assert_eq!(audit.matches("does not know these warnings").count(), 1, "{audit}");

    // And it goes on from there.
    scene.put(&[(5, NANJING, 1)]).await;
    scene.warn(&[("w4", 5, NANJING)]).await;
    let reports = scene.delivery(Some(client.clone())).unwrap().deliver_once().await;
    assert_eq!((total(&reports, "nanjing").1, reports[0].total().sent), (3, 1));
    assert_eq!(scene.base("nanjing").await, BTreeMap::from([(3, 9), (5, 1)]));
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_lake_does_not_know_any_more_is_cleared_once_and_only_in_the_area() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(folder.path())).await.unwrap();
    let client = Client::new(&ClientConfig::at(broker.bootstrap())).unwrap();
    let mut scene = Scene::new();
    let topic = "centre.nanjing.warnings";
    scene.write_grant("nanjing", &grant("nanjing", "32", "  warnings_topic: true\n"));
    scene.warn(&[("w1", 3, NANJING), ("w2", 2, SUZHOU)]).await;
    scene.delivery(Some(client.clone())).unwrap().deliver_once().await;
    let table = scene.path("out/nanjing/warnings_changes");
    let kept = scene.path("kept");
    copy(&table, &kept);

    // Another lake, and another area, of which 苏州 is no part; the commit is lost twice.
    std::fs::remove_dir_all(scene.path("lake")).unwrap();
    scene.lake = Lake::open(scene.path("lake").to_str().unwrap(), layout()).unwrap();
    scene.sequence = 0;
    scene.warn(&[("w4", 3, NANJING)]).await;
    scene.write_grant("nanjing", &grant("nanjing", "3201", "  warnings_topic: true\n"));
    for (round, sent) in [(0, 2), (1, 0), (2, 0)] {
        std::fs::remove_dir_all(&table).unwrap();
        copy(&kept, &table);
        let reports = scene.delivery(Some(client.clone())).unwrap().deliver_once().await;
        assert_eq!(reports[0].total().sent, sent, "round {round}");
    }
    let told = messages(&client, topic).await;
    let states = |id: &str| {
        let of = told.iter().filter(|(key, _)| key == id);
        let mut states: Vec<_> = of.map(|(_, json)| json["state"].as_str().unwrap().to_owned()).collect();
        states.sort();
        states
    };
    assert_eq!(states("w1"), ["cleared", "raised"]);
    assert_eq!(states("w2"), ["raised"], "of another area nothing is said any more");
    assert_eq!(states("w4"), ["raised"]);
    // It was committed at last: nothing is cleared again.
    let reports = scene.delivery(Some(client.clone())).unwrap().deliver_once().await;
    assert_eq!(reports[0].total().sent, 0);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn an_ended_grant_is_refused_with_its_date_and_the_refusal_is_entered() {
    let mut scene = Scene::new();
    scene.write_grant("nanjing", &grant("nanjing", "3201", "").replace("2099-12-31", "2026-06-30"));
    scene.put(&[(1, NANJING, 2)]).await;
    let at = |text: &str| -> Arc<dyn Fn() -> DateTime<Utc> + Send + Sync> {
        let at: DateTime<Utc> = text.parse().unwrap();
        Arc::new(move || at)
    };
    // 23:59 in China on the last day; then the next morning there, which is the same day in UTC.
    let mut delivery = scene.delivery(None).unwrap().with_clock(at("2026-06-30T15:59:00Z"));
    assert_eq!(total(&delivery.deliver_once().await, "nanjing").1, 2);
    drop(delivery);
    scene.put(&[(3, NANJING, 2)]).await;
    let mut delivery = scene.delivery(None).unwrap().with_clock(at("2026-06-30T16:01:00Z"));
    let reports = delivery.deliver_once().await;
    let trouble = reports[0].trouble.clone().unwrap();
    assert!(trouble.contains("2026-06-30") && trouble.contains("nanjing.yaml"), "{trouble}");
    assert_eq!(reports[0].total().read, 0);
    assert_eq!(scene.base("nanjing").await.len(), 1);
    let audit = std::fs::read_to_string(scene.path("audit.jsonl")).unwrap();
    assert!(audit.lines().last().unwrap().contains("refused"), "{audit}");
}

#[tokio::test]
async fn without_a_sound_audit_log_nothing_is_delivered() {
    let mut scene = Scene::new();
    scene.write_grant("nanjing", &grant("nanjing", "3201", ""));
    scene.put(&[(1, NANJING, 2)]).await;
    scene.delivery(None).unwrap().deliver_once().await;
    let text = std::fs::read_to_string(scene.path("audit.jsonl")).unwrap();
    std::fs::write(scene.path("audit.jsonl"), text.replacen("nanjing", "suzhou", 1)).unwrap();
    let error = scene.delivery(None).err().unwrap();
    assert!(matches!(error, Error::AuditBroken { line: 1, .. }), "{error}");
    std::fs::remove_file(scene.path("audit.jsonl")).unwrap();
    std::fs::create_dir(scene.path("audit.jsonl")).unwrap();
    let error = scene.delivery(None).err().unwrap();
    assert!(matches!(error, Error::AuditUnwritable { .. }), "{error}");
}

#[test]
fn all_problems_of_all_grants_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    write("a.yaml", grant("a", "3201", "").replace("- name: warnings", "- name: people"));
    write(
        "b.yaml",
        grant("b", "nan", "")
            .replace("name: places\n", "name: places\n    columns: [rooms, landlord_phone]\n"),
    );
    write("c.yaml", grant("c", "32", "surprise: yes\n"));
    write(
        "d.yaml",
        grant("d", "32", "  warnings_topic: true\n").replace("purposes: [房屋安全]", "purposes: []"),
    );
    let error = Grant::load_dir(dir.path(), &layout()).unwrap_err();
    let Error::Grants { problems } = &error else { panic!("{error}") };
    let text = error.to_string();
    for part in ["people", "area 'nan'", "landlord_phone is personal", "surprise", "no purpose"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(problems.len(), 5, "{text}");
}

#[test]
fn the_centres_of_the_project_are_well_described_in_form() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/deliveries");
    for centre in ["jiangsu", "nanjing", "suzhou"] {
        let text = std::fs::read_to_string(dir.join(format!("{centre}.yaml"))).unwrap();
        // The tables are those of the installation, which are not known here.
        match Grant::parse(&format!("{centre}.yaml"), &text, &layout()) {
            Ok(grant) => assert_eq!(grant.id, centre),
            Err(problems) => {
                assert!(problems.iter().all(|p| p.what.contains("does not exist")), "{problems:?}")
            }
        }
    }
}

async fn messages(client: &Client, topic: &str) -> Vec<(String, serde_json::Value)> {
    let partitions = client.partitions(topic).await.unwrap();
    let mut left = BTreeMap::new();
    for partition in 0..partitions as i32 {
        let tp = TopicPartition::new(topic, partition);
        let high = client.watermarks(&tp).await.unwrap().high;
        if high > NextOffset::START {
            left.insert(partition, high);
        }
    }
    let start = left.keys().map(|partition| (TopicPartition::new(topic, *partition), NextOffset::START));
    let mut found = Vec::new();
    if left.is_empty() {
        return found;
    }
    let mut reader = client.reader("test", start.collect()).unwrap();
    while !left.is_empty() {
        let batch = reader.next_batch(100, Duration::from_millis(100)).await.unwrap();
        for (tp, next) in batch.next_offsets() {
            if left.get(&tp.partition).is_some_and(|high| next >= *high) {
                left.remove(&tp.partition);
            }
        }
        for message in &batch.messages {
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            found.push((key, serde_json::from_slice(message.value().unwrap()).unwrap()));
        }
    }
    found.sort_by_key(|(_, json)| json["sequence"].as_i64());
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_reach_the_topic_once_even_if_the_process_died_before_its_commit() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(folder.path())).await.unwrap();
    let client = Client::new(&ClientConfig::at(broker.bootstrap())).unwrap();
    let mut scene = Scene::new();
    scene.write_grant("nanjing", &grant("nanjing", "3201", "  warnings_topic: true\n"));
    scene.warn(&[("w1", 3, NANJING), ("w2", 2, SUZHOU), ("w3", 5, NANJING)]).await;
    let mut delivery = scene.delivery(Some(client.clone())).unwrap();
    let reports = delivery.deliver_once().await;
    assert_eq!(reports[0].total().sent, 2);
    let topic = "centre.nanjing.warnings";
    let sent = messages(&client, topic).await;
    assert_eq!(sent.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["w1", "w3"]);
    assert_eq!(sent[0].1["evidence"]["area_m2"], 40);
    assert!(!sent[0].1.to_string().contains(CANARY));
    drop(delivery);

    // The commit of the second round is lost: the centre's table goes back, the topic does not.
    scene.warn(&[("w1", 3, NANJING), ("w4", 7, NANJING)]).await;
    let table = scene.path("out/nanjing/warnings_changes");
    let kept = scene.path("kept");
    copy(&table, &kept);
    scene.delivery(Some(client.clone())).unwrap().deliver_once().await;
    assert_eq!(messages(&client, topic).await.len(), 4);
    std::fs::remove_dir_all(&table).unwrap();
    copy(&kept, &table);
    let reports = scene.delivery(Some(client.clone())).unwrap().deliver_once().await;
    assert_eq!((reports[0].total().delivered, reports[0].total().sent), (2, 0));
    assert_eq!(messages(&client, topic).await.len(), 4);
    assert_eq!(scene.changes("nanjing", "warnings_changes").await, [1, 3, 4, 5]);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn running_delivers_what_the_projector_writes_until_it_is_told_to_stop() {
    let mut scene = Scene::new();
    scene.write_grant("nanjing", &grant("nanjing", "3201", ""));
    scene.put(&[(1, NANJING, 2)]).await;
    let delivery = scene.delivery(None).unwrap();
    let mut progress = delivery.progress();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(delivery.run(shutdown.clone()));
    progress.wait_for(|reports| reports[0].total().delivered == 2).await.unwrap();
    scene.put(&[(3, NANJING, 2)]).await;
    progress.wait_for(|reports| reports[0].total().delivered == 4).await.unwrap();
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(scene.base("nanjing").await.len(), 2);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
