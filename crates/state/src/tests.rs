#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ROWS: Keyspace = 0;
const POSITIONS: Keyspace = 1;

fn open(path: &Path) -> Store {
    Store::open(path, &["rows", "positions"], &Options::default()).unwrap()
}

#[test]
fn a_batch_is_there_whole_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let mut batch = store.batch();
        batch.put(ROWS, b"a", b"1");
        batch.put(POSITIONS, b"p", b"7");
        batch.commit().unwrap();
        let mut lost = store.batch();
        lost.put(ROWS, b"b", b"2");
        drop(lost);
    }
    let store = open(dir.path());
    assert_eq!(store.get(ROWS, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(POSITIONS, b"p").unwrap().as_deref(), Some(&b"7"[..]));
    assert_eq!(store.get(ROWS, b"b").unwrap(), None);
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    let error = Store::open(dir.path(), &["rows"], &Options::default()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

#[test]
fn a_snapshot_does_not_see_later_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = store.snapshot();
    let mut batch = store.batch();
    batch.put(ROWS, b"a", b"1");
    batch.commit().unwrap();
    assert_eq!(before.get(ROWS, b"a").unwrap(), None);
    assert_eq!(before.prefix(ROWS, b"").count(), 0);
    assert!(store.snapshot().get(ROWS, b"a").unwrap().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_store_is_an_ordered_map(batches in prop::collection::vec(
        prop::collection::vec((prop::collection::vec(0u8..4, 1..4), prop::option::of(any::<u8>())), 1..20), 1..8)) {
        let dir = tempfile::tempdir().unwrap();
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let store = open(dir.path());
        for writes in batches {
            // One write a key: the order of two within one batch is not part of the promise tested here.
            let writes: BTreeMap<_, _> = writes.into_iter().collect();
            let mut batch = store.batch();
            for (key, value) in writes {
                match value {
                    Some(value) => { batch.put(ROWS, key.clone(), vec![value]); model.insert(key, vec![value]); }
                    None => { batch.delete(ROWS, key.clone()); model.remove(&key); }
                }
            }
            batch.commit().unwrap();
        }
        let found: Vec<_> = store.prefix(ROWS, b"").map(|p| p.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        prop_assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>());
        let tail: Vec<_> = store.from(ROWS, [2u8]).map(|p| p.unwrap().0.to_vec()).collect();
        prop_assert_eq!(tail, model.range(vec![2u8]..).map(|(k, _)| k.clone()).collect::<Vec<_>>());
    }
}

/// What is there of a store after each step in which it is made: a death may come between any two.
#[test]
fn a_store_whose_making_was_cut_short_is_made_anew() {
    type Cut = fn(&Path);
    let cuts: [(&str, Cut); 7] = [
        ("the folder alone", |path| fs::remove_dir_all(path).and_then(|()| fs::create_dir(path)).unwrap()),
        ("no version, no keyspaces", |path| {
            fs::remove_file(path.join("version")).unwrap();
            empty(&path.join("keyspaces"));
        }),
        ("no journal either", |path| {
            fs::remove_file(path.join("version")).unwrap();
            fs::remove_file(path.join("0.jnl")).unwrap();
            fs::remove_dir_all(path.join("keyspaces")).unwrap();
        }),
        ("an empty version, no keyspaces", |path| {
            fs::write(path.join("version"), b"").unwrap();
            empty(&path.join("keyspaces"));
        }),
        ("a version, no keyspaces", |path| empty(&path.join("keyspaces"))),
        ("the first keyspace not begun", |path| empty(&path.join("keyspaces/1"))),
        ("the first keyspace without its tables", |path| {
            empty(&path.join("keyspaces/1"));
            fs::create_dir(path.join("keyspaces/1/tables")).unwrap();
        }),
    ];
    for (what, cut) in cuts {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        cut(dir.path());
        let store = Store::open(dir.path(), &["rows", "positions"], &Options::default());
        let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut batch = store.batch();
        batch.put(ROWS, b"a", b"1");
        batch.commit().unwrap();
        drop(store);
        assert_eq!(open(dir.path()).get(ROWS, b"a").unwrap().as_deref(), Some(&b"1"[..]), "{what}");
    }
}

fn empty(folder: &Path) {
    fs::remove_dir_all(folder).and_then(|()| fs::create_dir(folder)).unwrap();
}

#[test]
fn nothing_is_taken_away_from_whoever_makes_the_store_now() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("0.jnl"), b"").unwrap();
    let lock = fs::File::create(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let error = Store::open(dir.path(), &["rows"], &Options::default()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(dir.path().join("0.jnl").exists());
}

#[test]
fn memtables_stay_within_what_was_asked_for_while_much_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { write_buffer_bytes: 8 << 20, ..Options::default() };
    let store = Store::open(dir.path(), &["rows"], &options).unwrap();
    let (mut most, value) = (0, vec![7u8; 4 << 10]);
    for n in 0..200u32 {
        let mut batch = store.batch();
        for row in 0..100u32 {
            batch.put(ROWS, (n * 100 + row).to_be_bytes(), value.clone());
        }
        batch.commit().unwrap();
        most = most.max(store.database.write_buffer_size());
    }
    assert!(most <= store.memtables_max_bytes, "{most} bytes of {}", store.memtables_max_bytes);
}
