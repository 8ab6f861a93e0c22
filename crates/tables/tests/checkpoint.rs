//! Checkpoints: only what is new travels, what is not needed goes, and what is damaged is refused.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use yibiao_records::{FactKinds, PlaceId, Value};
use yibiao_state::Options;
use yibiao_tables::{
    Error, Lake, Shard, Tables,
    checkpoint::{Checkpointer, Checkpoints, Manifest, Subject, acquire, manifest::hash},
    lake::Layout,
    shard::PlaceState,
};

fn tables() -> Tables {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let kinds = fs::read_dir(pipelines.join("facts")).unwrap().map(|entry| {
        serde_saphyr::from_str::<yibiao_records::FactKind>(
            &fs::read_to_string(entry.unwrap().path()).unwrap(),
        )
        .unwrap()
    });
    let kinds = FactKinds::new(kinds);
    Tables::load(&pipelines.join("tables"), &kinds, 4).unwrap()
}

struct World {
    dir: tempfile::TempDir,
    tables: Tables,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), tables: tables() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    async fn take(&self, machine: &str, number: u32) -> Result<Shard, Error> {
        let checkpoints = Checkpoints::open(self.path("checkpoints").to_str().unwrap())?;
        let lake = Lake::open(self.path("lake").to_str().unwrap(), Layout::new(&self.tables, 2))?;
        let dir = self.path(machine).join(format!("shard-{number}"));
        let options = Options { write_buffer_bytes: 8 << 20, ..Options::default() };
        let taken = acquire(&checkpoints, &lake, &[(number, dir)], &self.tables, &options).await?;
        Ok(taken[0].clone())
    }

    fn objects(&self, under: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("checkpoints").join(under)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

/// Batches of places with 5 kB each, so that memtables become tables.
fn fill(shard: &Shard, batches: std::ops::Range<u64>) {
    let mut writer = shard.writer().unwrap();
    let table: Arc<str> = "places".into();
    for batch in batches {
        let mut writing = writer.begin(batch as i64).unwrap();
        for row in 0..200 {
            let place = PlaceId::new((batch * 200 + row + 1) as i64).unwrap();
            let text = format!("{batch} {row} ").repeat(800);
            let state = PlaceState { row: vec![Value::Text(text)], ..PlaceState::default() };
            writing.put_place(place, &state);
        }
        writing.change(&table, yibiao_records::Operation::Insert, PlaceId::new(1).unwrap(), &[]);
        writing.commit().unwrap();
    }
}

fn checkpointer(shard: &Shard) -> Checkpointer {
    Checkpointer::new(vec![shard.clone()], Duration::ZERO, 2)
}

fn bytes(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

#[tokio::test]
async fn only_new_tables_travel_the_last_checkpoints_stay_and_what_they_do_not_need_goes() {
    let world = World::new();
    let shard = world.take("a", 0).await.unwrap();
    let mut checkpoints = checkpointer(&shard);
    fill(&shard, 0..40);
    checkpoints.all().await.unwrap();
    let first = world.objects("shard-0/files");
    assert!(bytes(&first) > 15_000_000, "{}", bytes(&first));
    fill(&shard, 40..41);
    checkpoints.all().await.unwrap();
    // Nothing has changed since, so nothing is made.
    checkpoints.all().await.unwrap();
    let second = world.objects("shard-0/files");
    let new: Vec<_> = second.iter().filter(|file| !first.contains(file)).cloned().collect();
    assert!(bytes(&new) < bytes(&first) / 2 && !new.is_empty(), "{} of {}", bytes(&new), bytes(&first));
    for batch in 41..45 {
        fill(&shard, batch..batch + 1);
        checkpoints.all().await.unwrap();
    }
    let names = world.objects("shard-0");
    let manifests: Vec<_> = names
        .iter()
        .filter(|name| name.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-"))
        .collect();
    assert_eq!(manifests.len(), 2, "{manifests:?}");
    let mut needed = std::collections::BTreeSet::new();
    for manifest in manifests {
        let manifest = read(manifest);
        needed.extend(
            manifest.files.into_iter().map(|file| world.path("checkpoints/shard-0").join(file.object)),
        );
    }
    assert_eq!(world.objects("shard-0/files"), needed.into_iter().collect::<Vec<_>>());
    // What the next owner finds is the whole state.
    let expected: Vec<_> = shard.view().places().collect::<Result<_, _>>().unwrap();
    drop((shard, checkpoints));
    let next = world.take("b", 0).await.unwrap();
    assert_eq!(next.view().places().collect::<Result<Vec<_>, _>>().unwrap(), expected);
    assert_eq!((next.view().last_batch().unwrap(), next.view().last_sequence()), (45, 45));
}

fn read(manifest: &Path) -> Manifest {
    let bytes = fs::read(manifest).unwrap();
    let shard = manifest.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let shard: u32 = shard.strip_prefix("shard-").unwrap().parse().unwrap();
    Manifest::from_bytes(&bytes, shard.into(), &format!("format 2, shard {shard}, 4 buckets")).unwrap()
}

/// A checkpoint of shard 0 and one of shard 1.
async fn two_shards() -> World {
    let world = World::new();
    for number in 0..2 {
        let shard = world.take("a", number).await.unwrap();
        fill(&shard, 0..2);
        checkpointer(&shard).all().await.unwrap();
    }
    world
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to)
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

/// What is said of a copy of the world where something is done to the checkpoint of shard 0.
async fn refused(before: &World, spoil: impl FnOnce(&World, &Path, Manifest)) -> String {
    let world = World::new();
    copy(before.dir.path(), world.dir.path());
    let manifest = world.path("checkpoints/shard-0/checkpoint-0000000001-0000000001.json");
    spoil(&world, &manifest, read(&manifest));
    let error = world.take("b", 0).await.unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    assert!(!world.path("b/shard-0").exists(), "nothing is left that looks like a state");
    error.to_string()
}

/// The object of the largest file.
fn largest(world: &World, manifest: &Manifest) -> PathBuf {
    let file = manifest.files.iter().max_by_key(|file| file.bytes).unwrap();
    world.path("checkpoints/shard-0").join(&file.object)
}

#[tokio::test]
async fn damaged_partial_and_foreign_checkpoints_are_refused_with_what_is_wrong() {
    let world = two_shards().await;
    let flipped = refused(&world, |world, _, manifest| {
        let object = largest(world, &manifest);
        let mut bytes = fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(object, bytes).unwrap();
    });
    assert!(flipped.await.contains("is damaged: its checksum differs"));
    let short = refused(&world, |world, _, manifest| {
        let object = largest(world, &manifest);
        let bytes = fs::read(&object).unwrap();
        fs::write(object, &bytes[..bytes.len() - 7]).unwrap();
    });
    assert!(short.await.contains("bytes, and should have"));
    let missing = refused(&world, |world, _, manifest| fs::remove_file(largest(world, &manifest)).unwrap());
    assert!(missing.await.contains("is missing"));
    let torn = refused(&world, |_, path, _| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(torn.await.contains("it ends before its checksum"));
    let changed = refused(&world, |_, path, _| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("\"batch\":2", "\"batch\":3")).unwrap();
    });
    assert!(changed.await.contains("its checksum does not fit its content"));
    let foreign = refused(&world, |world, path, _| {
        let other = world.path("checkpoints/shard-1").join(path.file_name().unwrap());
        fs::copy(other, path).unwrap();
    });
    assert!(foreign.await.contains("it is of shard 1"));
    let newer = refused(&world, |_, path, mut manifest| {
        manifest.format = 9;
        fs::write(path, manifest.to_bytes()).unwrap();
    });
    assert!(newer.await.contains("it has format 9"));
    let outside = refused(&world, |_, path, mut manifest| {
        manifest.files[0].path = "../../outside".into();
        fs::write(path, manifest.to_bytes()).unwrap();
    });
    assert!(outside.await.contains("a file outside of the state"));
    let swapped = refused(&world, |_, path, mut manifest| {
        manifest.files[0].xxh3 = hash(b"something else");
        fs::write(path, manifest.to_bytes()).unwrap();
    });
    assert!(swapped.await.contains("is damaged"));
}

#[tokio::test]
async fn where_the_newest_checkpoint_is_deleted_the_one_before_is_taken() {
    let world = World::new();
    let shard = world.take("a", 0).await.unwrap();
    let mut checkpoints = checkpointer(&shard);
    for batch in 0..2 {
        fill(&shard, batch..batch + 1);
        checkpoints.all().await.unwrap();
    }
    fs::remove_file(world.path("checkpoints/shard-0/checkpoint-0000000001-0000000002.json")).unwrap();
    let next = world.take("b", 0).await.unwrap();
    assert_eq!(next.view().last_batch().unwrap(), 1);
}

#[tokio::test]
async fn a_state_is_not_used_with_another_place_for_checkpoints() {
    let world = World::new();
    drop(world.take("a", 0).await.unwrap());
    fs::rename(world.path("checkpoints"), world.path("elsewhere")).unwrap();
    let error = world.take("a", 0).await.unwrap_err();
    assert!(
        matches!(error, Error::OtherCheckpoints { of: Subject::Shard(0), state: 1, store: 0 }),
        "{error}"
    );
    assert!(world.path("a/shard-0").exists());
}

#[tokio::test]
async fn an_owner_takes_the_next_epoch_only_where_nobody_else_has() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(dir.path().to_str().unwrap()).unwrap();
    let (first, _) = checkpoints.take(3, "a").await.unwrap();
    let second = first.renew("b").await.unwrap();
    assert_eq!((second.epoch(), second.base_epoch()), (2, None));
    assert!(matches!(first.renew("c").await, Err(Error::Revoked { of: Subject::Shard(3), epoch: 1 })));
    let (third, before) = checkpoints.take(3, "d").await.unwrap();
    assert_eq!((third.epoch(), before.epoch, &*before.claim), (3, 2, "b"));
    assert!(matches!(second.renew("e").await, Err(Error::Revoked { of: Subject::Shard(3), epoch: 2 })));
}
