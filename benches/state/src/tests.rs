#![cfg(feature = "rocksdb")]
#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use super::*;
use batch::{check_whole, last_batch};
use store::{FACTS, META, PLACES, View, Write};

const CITY: City = City { places: 500 };
const BATCHES: Batches = Batches { city: CITY, touched: 50, choice: Choice::Skewed };

fn both(dir: &Path) -> [Box<dyn Store>; 2] {
    [Engine::Fjall, Engine::Rocksdb].map(|engine| {
        let name = format!("{engine:?}");
        let args =
            ["bench", "run", "--engine", &name.to_lowercase(), "--dir", dir.join(&name).to_str().unwrap()]
                .map(str::to_owned);
        let What::Run(run) = Command::parse_from(args).what else { unreachable!() };
        fs::create_dir_all(&run.dir).unwrap();
        run.open().unwrap()
    })
}

fn content(view: &dyn View) -> BTreeMap<(usize, Vec<u8>), Vec<u8>> {
    let mut found = BTreeMap::new();
    for keyspace in 0..store::KEYSPACES.len() {
        view.prefix(keyspace, b"", &mut |key, value| {
            found.insert((keyspace, key.to_vec()), value.to_vec());
            true
        })
        .unwrap();
    }
    found
}

fn silent() -> Report {
    Report { engine: "test".to_owned() }
}

#[test]
fn both_engines_hold_the_same_after_the_same_batches() {
    let dir = tempfile::tempdir().unwrap();
    let [fjall, rocks] = both(dir.path());
    for (store, how) in [(&fjall, Load::Random), (&rocks, Load::Ordered)] {
        load::load(&**store, dir.path(), CITY, how, &silent()).unwrap();
        for number in 1..30 {
            steady::BatchTimes::default().run(&**store, &BATCHES, number).unwrap();
        }
    }
    assert_eq!(content(&*fjall), content(&*rocks));
    assert_eq!(last_batch(&*fjall).unwrap(), 29);
    check_whole(&*rocks, &BATCHES, 29).unwrap();
}

#[test]
fn a_batch_that_is_there_in_part_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    for store in both(dir.path()) {
        load::load(&*store, dir.path(), CITY, Load::Ingest, &silent()).unwrap();
        let mut writes = BATCHES.writes(1);
        let left_out = writes.remove(7);
        store.commit(writes).unwrap();
        assert!(check_whole(&*store, &BATCHES, 1).is_err());
        store.commit(vec![left_out]).unwrap();
        check_whole(&*store, &BATCHES, 1).unwrap();
        store.commit(BATCHES.writes(2).into_iter().take(1).collect()).unwrap();
        assert!(check_whole(&*store, &BATCHES, 1).is_err());
    }
}

#[test]
fn a_checkpoint_opens_and_holds_what_was_there_when_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    for (at, store) in both(dir.path()).into_iter().enumerate() {
        load::load(&*store, dir.path(), CITY, Load::Ingest, &silent()).unwrap();
        store.commit(BATCHES.writes(1)).unwrap();
        let then = content(&*store);
        let to = dir.path().join(format!("checkpoint{at}"));
        store.checkpoint(&to).unwrap();
        store.commit(BATCHES.writes(2)).unwrap();
        assert_ne!(content(&*store), then);
        let limits = Limits { cache_bytes: 1 << 20, write_buffer_bytes: 8 << 20 };
        let copy: Box<dyn Store> = match at {
            0 => Box::new(fjall_store::Fjall::open(&to, &limits, &Default::default()).unwrap()),
            _ => Box::new(rocks_store::Rocks::open(&to, &limits, &Default::default()).unwrap()),
        };
        assert_eq!(content(&*copy), then);
    }
}

#[test]
fn a_closed_store_of_fjall_is_linked_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let limits = Limits { cache_bytes: 1 << 20, write_buffer_bytes: 8 << 20 };
    let open = |path: &Path| fjall_store::Fjall::open(path, &limits, &Default::default()).unwrap();
    let store = open(&from);
    load::load(&store, dir.path(), CITY, Load::Ingest, &silent()).unwrap();
    store.commit(BATCHES.writes(1)).unwrap();
    let then = content(&store);
    drop(store);
    fjall_store::link_closed(&from, &to).unwrap();
    open(&from).commit(BATCHES.writes(2)).unwrap();
    assert_eq!(content(&open(&to)), then);
}

#[test]
fn a_snapshot_and_sorted_reads_tell_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    for store in both(dir.path()) {
        let put = |key: &[u8], value: &[u8]| Write::put(FACTS, key.to_vec(), value.to_vec());
        store
            .commit(vec![put(b"a", b"1"), put(b"c", b"3"), Write::put(META, b"m".to_vec(), vec![9])])
            .unwrap();
        let before = store.snapshot();
        store.commit(vec![put(b"b", b"2"), Write::delete(FACTS, b"a".to_vec())]).unwrap();
        assert!(before.get(FACTS, b"a", &mut |value| assert_eq!(value, b"1")).unwrap());
        assert!(!before.get(FACTS, b"b", &mut |_| ()).unwrap());
        let keys: Vec<_> = [b"a", b"b", b"c", b"d"].map(|key| key.to_vec()).into();
        let mut found = Vec::new();
        store.get_sorted(FACTS, &keys, &mut |at, value| found.push((at, value.map(<[u8]>::to_vec)))).unwrap();
        assert_eq!(found, [(0, None), (1, Some(b"2".to_vec())), (2, Some(b"3".to_vec())), (3, None)]);
        assert!(!store.get(PLACES, b"a", &mut |_| ()).unwrap());
    }
}

#[test]
fn fjall_is_the_version_that_the_project_has_locked() {
    let versions = |lock: &str| -> Vec<String> {
        let after = |name: &str| lock.split(&format!("name = \"{name}\"\n")).nth(1).map(str::to_owned);
        ["fjall", "lsm-tree"].map(|name| after(name).unwrap().lines().next().unwrap().to_owned()).to_vec()
    };
    let (ours, theirs) = (include_str!("../Cargo.lock"), include_str!("../../../Cargo.lock"));
    assert_eq!(versions(ours), versions(theirs));
}
