//! What queries may take: more than that goes on in files, or is refused, and nobody else's query notices.
#![allow(clippy::unwrap_used)]

mod model;

use std::{fs, path::Path};

use arrow::{array::AsArray, datatypes::Int64Type};
use datafusion::prelude::SessionContext;
use model::layout;
use yibiao_tables::{QueryLimits, lake::Lake};

const ROWS: i64 = 400_000;
/// About 110 MB of texts, of which the limit holds half.
const TEXTS: &str = "(select n, repeat('国', 90) || (n * 7919 % 400000) as text \
                      from (select unnest(range(0, 400000)) as n))";

fn lake(dir: &Path, memory_mib: usize, spill_mib: u64) -> Lake {
    let limits = QueryLimits {
        memory_bytes: memory_mib << 20,
        spill_dir: dir.join("spill"),
        spill_bytes: spill_mib << 20,
    };
    let lake = Lake::open(dir.join("lake").to_str().unwrap(), layout()).unwrap();
    lake.with_query_limits(&limits).unwrap()
}

async fn numbers(session: &SessionContext, sql: &str) -> Result<Vec<i64>, String> {
    let batches = session.sql(sql).await.unwrap().collect().await.map_err(|error| error.to_string())?;
    Ok(batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect())
}

fn files_below(dir: &Path) -> usize {
    let of = |entry: fs::DirEntry| match entry.path().is_dir() {
        true => files_below(&entry.path()),
        false => usize::from(entry.file_name() != "lock"),
    };
    fs::read_dir(dir).unwrap().map(|entry| of(entry.unwrap())).sum()
}

#[tokio::test]
async fn a_sort_that_is_larger_than_its_memory_goes_on_in_files_and_leaves_none() {
    let dir = tempfile::tempdir().unwrap();
    let sorted = format!("select n from {TEXTS} order by text");
    let small = lake(dir.path(), 64, 1000);
    let found = numbers(&small.session([]).unwrap(), &sorted).await.unwrap();
    let free = Lake::open(dir.path().join("lake").to_str().unwrap(), layout()).unwrap();
    assert_eq!(found, numbers(&free.session([]).unwrap(), &sorted).await.unwrap());
    assert_eq!(found.len() as i64, ROWS);
    assert_eq!(files_below(&dir.path().join("spill")), 0);
    // Proves that it went through files.
    let none = lake(dir.path(), 64, 0);
    let error = numbers(&none.session([]).unwrap(), &sorted).await.unwrap_err();
    assert!(error.contains("max_temp_directory_size"), "{error}");
}

#[tokio::test]
async fn a_query_that_cannot_go_on_in_files_is_refused_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path(), 32, 1000);
    let session = lake.session([]).unwrap();
    let distinct = format!("select count(distinct text) + count(distinct -n) from {TEXTS}");
    let error = numbers(&session, &distinct).await.unwrap_err();
    assert!(error.contains("Resources exhausted"), "{error}");
    assert_eq!(numbers(&session, &format!("select count(*) from {TEXTS}")).await.unwrap(), [ROWS]);
}

#[test]
fn what_a_dead_process_left_is_deleted_and_a_living_ones_folder_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("spill/0/datafusion-left");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("part"), "rows").unwrap();
    let first = lake(dir.path(), 8, 8);
    assert!(!left.exists());
    fs::create_dir_all(&left).unwrap();
    let second = lake(dir.path(), 8, 8);
    assert!(left.exists() && dir.path().join("spill/1/lock").exists());
    drop((first, second));
    lake(dir.path(), 8, 8);
    assert!(!left.exists());
}
