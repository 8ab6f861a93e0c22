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

/// Small memtables, so that flushes and compactions are at work all the time.
fn busy(path: &Path) -> Store {
    let options = Options { write_buffer_bytes: 8 << 20, ..Options::default() };
    Store::open(path, &["rows", "positions"], &options).unwrap()
}

/// Set when it is dropped, also where a test fails.
struct Sets<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_copy_made_while_batches_and_compactions_go_on_is_the_store_at_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = busy(&dir.path().join("store"));
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let key = |batch: u64, row: u64| (batch.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ row).to_be_bytes();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // 1 MB a batch of rows that come again: memtables are flushed and tables replaced.
            for batch in 0.. {
                if is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let mut writes = store.batch();
                for row in 0..200 {
                    writes.put(ROWS, key(batch % 50, row), vec![batch as u8; 5_000]);
                }
                writes.put(POSITIONS, b"last", batch.to_be_bytes());
                writes.commit().unwrap();
            }
        });
        let _ends = Sets(&is_done);
        let mut earlier = None;
        for number in 0..8 {
            let to = dir.path().join(format!("copy-{number}"));
            let told = store.checkpoint(&to).unwrap().get(POSITIONS, b"last").unwrap();
            let copy = busy(&to);
            let last = copy.get(POSITIONS, b"last").unwrap();
            assert_eq!(last, told);
            assert!(last >= earlier);
            if let Some(last) = &last {
                let last = u64::from_be_bytes(last[..].try_into().unwrap());
                for batch in last.saturating_sub(49)..=last {
                    for row in 0..200 {
                        let value = copy.get(ROWS, key(batch % 50, row)).unwrap().unwrap();
                        assert_eq!((value.len(), value[0]), (5_000, batch as u8), "{batch} of {last}");
                    }
                }
            }
            earlier = last;
            // What happens to a copy does not reach the store.
            drop(copy);
            std::fs::remove_dir_all(to).unwrap();
        }
    });
}

#[test]
fn a_copy_of_a_small_store_is_small_and_goes_on_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (at, to) = (dir.path().join("store"), dir.path().join("copy"));
    let store = open(&at);
    for value in [b"1", b"2"] {
        let mut batch = store.batch();
        batch.put(ROWS, b"a", value);
        batch.commit().unwrap();
    }
    store.checkpoint(&to).unwrap();
    let error = store.checkpoint(&to).map(drop).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    let bytes: u64 =
        std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 100_000, "{bytes} bytes beside the tables");
    let copy = open(&to);
    let mut batch = copy.batch();
    batch.put(ROWS, b"a", b"3");
    batch.commit().unwrap();
    drop(copy);
    assert_eq!(open(&to).get(ROWS, b"a").unwrap().as_deref(), Some(&b"3"[..]));
    assert_eq!(store.get(ROWS, b"a").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn runs_of_several_keyspaces_are_there_after_a_move_and_batches_go_on_over_them() {
    let dir = tempfile::tempdir().unwrap();
    let (at, to) = (dir.path().join("loading"), dir.path().join("store"));
    {
        let store = open(&at);
        let mut runs = [store.run(ROWS).unwrap(), store.run(POSITIONS).unwrap()];
        for row in 0..20_000u32 {
            for run in &mut runs {
                run.put(row.to_be_bytes(), vec![row as u8; 100]).unwrap();
            }
        }
        assert!(matches!(runs[0].put(3u32.to_be_bytes(), b"".as_slice()), Err(Error::Order { .. })));
        assert_eq!(store.get(ROWS, 7u32.to_be_bytes()).unwrap(), None);
        for run in runs {
            run.finish().unwrap();
        }
        let mut batch = store.batch();
        batch.put(ROWS, 7u32.to_be_bytes(), b"after".as_slice());
        batch.commit().unwrap();
        store.persist().unwrap();
    }
    std::fs::rename(&at, &to).unwrap();
    let check = |store: &Store, seven: &[u8]| {
        assert_eq!(store.prefix(ROWS, b"").count(), 20_000);
        assert_eq!(store.get(POSITIONS, 9u32.to_be_bytes()).unwrap().as_deref(), Some(&[9u8; 100][..]));
        assert_eq!(store.get(ROWS, 7u32.to_be_bytes()).unwrap().as_deref(), Some(seven));
    };
    let store = open(&to);
    check(&store, b"after");
    let mut batch = store.batch();
    batch.put(ROWS, 7u32.to_be_bytes(), b"later".as_slice());
    batch.commit().unwrap();
    drop(store);
    check(&open(&to), b"later");
}

fn bytes_below(folder: &Path) -> u64 {
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }
    };
    std::fs::read_dir(folder).unwrap().map(of).sum()
}

/// Where nothing were compressed, this would be 3 MB.
#[test]
fn a_run_takes_less_disk_than_what_is_in_it_where_rows_are_alike() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let mut run = store.run(ROWS).unwrap();
    for row in 0..10_000u32 {
        let value =
            format!("{row:05} 江苏省南京市鼓楼区云栖路１２号和风雅居２５幢２单元４０２室，出租，正常；")
                .repeat(3);
        run.put(row.to_be_bytes(), value.into_bytes()).unwrap();
    }
    run.finish().unwrap();
    let bytes = bytes_below(&store.path().join("keyspaces"));
    assert!((100_000..1_500_000).contains(&bytes), "{bytes}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn pairs_come_out_in_the_order_of_keys_and_of_one_key_as_they_went_in(
        pairs in prop::collection::vec((prop::collection::vec(0u8..3, 0..11), 0usize..40), 0..600), memory in 30usize..40_000) {
        let dir = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(dir.path().join("sort"), memory).unwrap();
        for (number, (key, length)) in pairs.iter().enumerate() {
            sorter.push(key, &[&number.to_be_bytes(), &vec![7; *length]]).unwrap();
        }
        let mut model: Vec<(Vec<u8>, usize, usize)> =
            pairs.into_iter().enumerate().map(|(number, (key, length))| (key, number, length)).collect();
        model.sort();
        let mut sorted = sorter.sorted().unwrap();
        for (key, number, length) in model {
            let (found, value) = sorted.next().unwrap().unwrap();
            prop_assert_eq!(found, &key[..]);
            prop_assert_eq!(&value[..8], &number.to_be_bytes()[..]);
            prop_assert_eq!(value.len(), 8 + length);
        }
        prop_assert!(sorted.next().unwrap().is_none());
        prop_assert_eq!(std::fs::read_dir(dir.path().join("sort")).unwrap().count(), 0);
    }
}
