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
