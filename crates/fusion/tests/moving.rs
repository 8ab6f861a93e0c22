//! Shards that move: what was made after a checkpoint is made again exactly, and whoever lost a shard writes no more.
#![allow(clippy::unwrap_used)]

#[path = "../../tables/tests/store/mod.rs"]
mod store;
mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow::{array::AsArray, util::pretty::pretty_format_batches};
use proptest::prelude::*;
use store::Store;
use support::*;
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard, OnceCell},
};
use yibiao_fusion::{Applier, Incoming, Rules, replay, verify};
use yibiao_records::{Change, NextOffset, Value};
use yibiao_tables::{
    Error, Lake, Projector, Shard, Tables,
    checkpoint::{Checkpointer, Checkpoints, Claims, Subject, acquire},
    lake::{ChangeSource, Layout},
    objects::{self, Limits, Settings},
    shard::BatchEnd,
};

/// Planned once: it takes seconds.
async fn planned(tables: &Tables) -> MutexGuard<'static, Rules> {
    static PLANNED: OnceCell<Mutex<Rules>> = OnceCell::const_new();
    PLANNED.get_or_init(async || Mutex::new(rules(tables).await)).await.lock().await
}

/// What all processes share.
#[derive(Clone)]
struct World {
    dir: PathBuf,
    /// Where checkpoints and lake lie: the folder, or an object store.
    shared: String,
    tables: Tables,
    log: Log,
}

impl World {
    fn lake(&self) -> Lake {
        Lake::open(&format!("{}/lake", self.shared), Layout::new(&self.tables, 1)).unwrap()
    }

    /// Facts of few places that contradict each other, hazards that raise and clear warnings, and long silences.
    fn new(dir: &Path, facts: &[(u8, i32, i64)]) -> Self {
        Self::sharing(dir.to_str().unwrap(), dir, facts)
    }

    fn sharing(shared: &str, dir: &Path, facts: &[(u8, i32, i64)]) -> Self {
        let mut log = Log::default();
        for (number, (place, day, amount)) in facts.iter().enumerate() {
            let place = support::place(&format!("place {}", place % 7));
            log.push(vec![match amount % 4 {
                0 => registration(place, 1 + amount % 3, amount % 5 > 1, amount % 9),
                1 => reading("water", place, day * 4, amount * 40),
                2 => reading("electricity", place, day * 4, amount * 400),
                _ => hazard(place, number as u32 / 2, day % 20, "群租隔断", 1 + amount % 4),
            }]);
        }
        Self { dir: dir.to_path_buf(), shared: shared.to_owned(), tables: tables(), log }
    }

    /// The shard, taken by a process on the machine of this name.
    async fn machine(&self, name: &str) -> Result<Machine, Error> {
        let checkpoints = Checkpoints::open(&format!("{}/checkpoints", self.shared))?;
        let shards = [(0, self.dir.join(name).join("shard-0"))];
        let taken = acquire(&checkpoints, &self.lake(), &shards, &self.tables, &options()).await?;
        let [shard] = taken.try_into().unwrap();
        let mut rules = planned(&self.tables).await;
        let mut applier = Applier::new(&shard, 1).unwrap();
        // Whatever is configured, the tail is made as it was.
        applier.limit_timers(7);
        let tail = shard.take_tail();
        replay::check(&applier, &rules, &tail).unwrap();
        for end in &tail {
            let messages = self.of_batch(&applier, end);
            replay::again(&mut applier, &mut rules, end, &messages).await.unwrap();
        }
        applier.refresh(&mut rules).await.unwrap();
        applier.limit_timers(1);
        let checkpointer = Checkpointer::new(vec![shard.clone()], std::time::Duration::ZERO, 2);
        let projector = Projector::new(self.lake(), vec![shard.clone()], Default::default());
        Ok(Machine { shard, applier, checkpointer, projector, tail: tail.len(), made: 0 })
    }

    /// What the batch with this end read, topic after topic in another order than at first.
    fn of_batch(&self, applier: &Applier, end: &BatchEnd) -> Vec<Incoming<'_>> {
        let mut messages = Vec::new();
        for (of, next) in end.positions.iter().rev() {
            let from = applier.position(of).unwrap_or(NextOffset::START);
            let all = self.log.incoming(0, self.log.frames.len()).into_iter();
            messages.extend(all.filter(|message| {
                *message.topic == of.topic && (from.get()..next.get()).contains(&message.offset)
            }));
        }
        messages
    }
}

/// One process with its state.
struct Machine {
    shard: Shard,
    applier: Applier,
    checkpointer: Checkpointer,
    projector: Projector<Shard>,
    /// How many batches it made again when it began.
    tail: usize,
    /// How many it has made since.
    made: usize,
}

impl Machine {
    /// How many frames of the log it has, all topics together.
    fn frames(&self) -> usize {
        self.applier.positions().map(|(_, next)| next.get() as usize).sum()
    }

    /// Applies frames in the order of the log, in batches of `size`, up to `to` of them.
    async fn go_on(&mut self, world: &World, to: usize, size: usize) {
        let rest = world.log.incoming(self.frames(), to);
        for batch in rest.chunks(size.max(1)) {
            self.apply(world, batch).await;
        }
    }

    /// As the stage does when no message comes.
    async fn look_at_timers(&mut self, world: &World) {
        while self.applier.is_due() {
            self.apply(world, &[]).await;
        }
    }

    async fn apply(&mut self, world: &World, batch: &[Incoming<'_>]) {
        self.applier.apply(&mut *planned(&world.tables).await, batch).await.unwrap();
        self.made += 1;
    }

    async fn announce(&self) {
        ChangeSource::announce(&self.shard, &self.shard.view()).await.unwrap();
    }

    fn changes(&self) -> Vec<Change> {
        self.shard.view().outbox(0).collect::<Result<_, _>>().unwrap()
    }

    fn rows(&self, table: &str) -> Vec<Vec<Value>> {
        self.shard.view().rows(table).map(Result::unwrap).collect()
    }
}

fn facts(max: usize) -> impl Strategy<Value = Vec<(u8, i32, i64)>> {
    prop::collection::vec((any::<u8>(), 0i32..20, 0i64..1000), 8..max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 30, ..ProptestConfig::default() })]
    /// `checkpoint` of the frames are in the checkpoint, `announced` in the tail, the rest is lost with the machine.
    #[test]
    fn a_restored_shard_has_the_change_log_of_one_that_was_never_interrupted(
        facts in facts(60), cuts in prop::collection::vec(1usize..9, 1..12),
        checkpoint in 0.0..1.0f64, announced in 0.0..1.0f64,
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let world = World::new(dir.path(), &facts);
            let batches: Vec<usize> = cuts.iter().cycle().scan(0, |at, size| {
                let from = *at;
                *at = (from + size).min(facts.len());
                (from < facts.len()).then_some(*at)
            }).collect();
            let at = |share: f64| (share * batches.len() as f64) as usize;
            let checkpoint = at(checkpoint);
            let announced = checkpoint + ((batches.len() - checkpoint) as f64 * announced) as usize;
            let mut first = world.machine("a").await.unwrap();
            let (mut expected, mut tail) = ((Vec::new(), Vec::new(), Vec::new()), 0..0);
            for (number, to) in batches.iter().enumerate() {
                if number == checkpoint {
                    first.checkpointer.all().await.unwrap();
                    tail.start = first.made;
                }
                if number % 3 == 0 && number <= announced {
                    first.announce().await;
                }
                if number == announced {
                    first.announce().await;
                    expected = (first.changes(), first.rows("places"), first.rows("warnings"));
                    tail.end = first.made;
                }
                first.go_on(&world, *to, facts.len()).await;
                first.look_at_timers(&world).await;
            }
            if announced == batches.len() {
                first.announce().await;
                expected = (first.changes(), first.rows("places"), first.rows("warnings"));
                tail.end = first.made;
            }
            let mut second = world.machine("b").await.unwrap();
            assert_eq!(second.tail, tail.len());
            assert_eq!((second.changes(), second.rows("places"), second.rows("warnings")), expected);
            second.go_on(&world, facts.len(), 5).await;
            second.look_at_timers(&world).await;
            assert_eq!(second.applier.holding(), first.applier.holding());
            let verified = verify(&second.shard.view(), &mut *planned(&world.tables).await).await.unwrap();
            assert_eq!(verified.differences, []);
        });
    }
}

/// The change logs in the lake, folded and whole, as text.
async fn in_lake(world: &World) -> BTreeMap<&'static str, String> {
    let session = world.lake().session([]).unwrap();
    let mut found = BTreeMap::new();
    for (name, sql) in [
        ("places", "select * from places order by place_id"),
        ("warnings", "select * from warnings order by warning_id"),
        ("places_changes", "select * from places_changes order by sequence"),
        ("water", "select * from fact_water order by sequence"),
        ("hazard", "select * from fact_hazard order by sequence"),
    ] {
        let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
        found.insert(name, pretty_format_batches(&batches).unwrap().to_string());
    }
    let all = "select sequence from places_changes union all select sequence from warnings_changes \
               union all select sequence from fact_water union all select sequence from fact_hazard \
               union all select sequence from fact_registration union all select sequence from fact_electricity \
               order by sequence";
    let mut sequences = Vec::new();
    for batch in session.sql(all).await.unwrap().collect().await.unwrap() {
        let column = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
        sequences.extend(column.values().iter().copied());
    }
    assert!(sequences.iter().copied().eq(1..=sequences.len() as i64), "each change once: {sequences:?}");
    found
}

fn some_facts(count: i64) -> Vec<(u8, i32, i64)> {
    (0..count).map(|n| ((n * 5 % 13) as u8, (n * 7 % 20) as i32, n * 37 % 991)).collect()
}

/// What is in the lake where nothing ever happens; batches of four frames.
async fn undisturbed(dir: &Path, facts: &[(u8, i32, i64)]) -> BTreeMap<&'static str, String> {
    let world = World::new(dir, facts);
    let mut machine = world.machine("a").await.unwrap();
    machine.go_on(&world, facts.len(), 4).await;
    machine.projector.project_once().await.unwrap();
    in_lake(&world).await
}

/// The shard is taken by another machine at the `at`th boundary that the first one's projector comes to: after its check,
/// and before it commits. Gives how many boundaries there were, and what became of the first one.
async fn taken_at(world: &World, at: usize) -> (usize, Result<(), Error>) {
    let mut first = world.machine("a").await.unwrap();
    first.go_on(world, 16, 4).await;
    first.projector.project_once().await.unwrap();
    first.checkpointer.all().await.unwrap();
    first.go_on(world, 40, 4).await;
    let passed = Arc::new(AtomicUsize::new(0));
    let (counted, other, runtime) = (passed.clone(), world.clone(), Handle::current());
    let config = yibiao_tables::lake::Config { changes_max: 25, ..Default::default() };
    let mut zombie =
        Projector::new(world.lake(), vec![first.shard.clone()], config).with_failpoint(move |_| {
            if counted.fetch_add(1, Ordering::Relaxed) == at {
                // It sleeps here, as if it were paused, while another process takes the shard and goes on.
                let (other, runtime) = (other.clone(), runtime.clone());
                std::thread::spawn(move || {
                    runtime.block_on(async {
                        let mut second = other.machine("b").await.unwrap();
                        second.go_on(&other, 52, 4).await;
                        second.projector.project_once().await.unwrap();
                    });
                })
                .join()
                .unwrap();
            }
            false
        });
    let ended = zombie.project_once().await.map(drop);
    // What it does afterwards has no effect either, whatever it is.
    if passed.load(Ordering::Relaxed) > at {
        let zombie = first.projector.project_once().await.unwrap_err();
        assert!(matches!(zombie, Error::Revoked { of: Subject::Shard(0), epoch: 1 }), "{zombie}");
        first.go_on(world, 44, 1).await;
        let zombie = first.checkpointer.all().await.unwrap_err();
        assert!(matches!(zombie, Error::Revoked { of: Subject::Shard(0), epoch: 1 }), "{zombie}");
    }
    (passed.load(Ordering::Relaxed), ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_that_wakes_up_between_its_check_and_its_commit_writes_nothing() {
    zombies(1, |_, dir| dir.to_str().unwrap().to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_writes_nothing_to_an_object_store_either() {
    let Some(store) = Store::start("zombies") else { return };
    objects::register("zombies", &Settings::new(store.variables(), Limits::default())).unwrap();
    zombies(5, |at, _| format!("s3://zombies/taken/{at}")).await;
}

/// For every `step`th boundary, in a place that `shared` names.
async fn zombies(step: usize, shared: impl Fn(usize, &Path) -> String) {
    let facts = some_facts(60);
    let dir = tempfile::tempdir().unwrap();
    let expected = undisturbed(dir.path(), &facts).await;
    let mut revoked = 0;
    for at in (0..).step_by(step) {
        let dir = tempfile::tempdir().unwrap();
        let world = World::sharing(&shared(at, dir.path()), dir.path(), &facts);
        let (boundaries, ended) = taken_at(&world, at).await;
        match &ended {
            Err(Error::Revoked { of: Subject::Shard(0), epoch: 1 }) => revoked += 1,
            // It was through already.
            ended => assert!(ended.is_ok() && at + 2 >= boundaries, "at {at} of {boundaries}: {ended:?}"),
        }
        let mut third = world.machine("c").await.unwrap();
        third.go_on(&world, facts.len(), 4).await;
        third.projector.project_once().await.unwrap();
        assert_eq!(in_lake(&world).await, expected, "taken at boundary {at}");
        if at >= boundaries {
            break;
        }
    }
    assert!(revoked >= 8 / step, "{revoked}");
}

#[tokio::test]
async fn a_state_is_kept_where_nobody_else_had_the_shard_and_set_aside_where_somebody_had() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), &some_facts(30));
    let mut a = world.machine("a").await.unwrap();
    a.go_on(&world, 10, 3).await;
    drop(a);
    // Neither in a checkpoint nor in the lake, but here.
    let mut a = world.machine("a").await.unwrap();
    assert_eq!((a.frames(), a.tail), (10, 0));
    a.checkpointer.all().await.unwrap();
    a.go_on(&world, 20, 3).await;
    a.announce().await;
    a.go_on(&world, 23, 3).await;
    drop(a);
    let b = world.machine("b").await.unwrap();
    assert_eq!((b.frames(), b.tail), (20, 4));
    drop(b);
    // Starts that die when they have taken the epoch, before they have noted that in their state: one where the state is the
    // newest, twice, and later one where it is not.
    dies_of_taking(&world, dir.path(), "b", "died").await;
    dies_of_taking(&world, dir.path(), "b", "died again").await;
    let mut b = world.machine("b").await.unwrap();
    assert_eq!((b.frames(), b.tail), (20, 0));
    b.go_on(&world, 25, 5).await;
    b.announce().await;
    drop(b);
    dies_of_taking(&world, dir.path(), "a", "died of it too").await;
    let a = world.machine("a").await.unwrap();
    assert_eq!((a.frames(), a.tail), (25, 5));
    assert!(dir.path().join("a/shard-0.superseded").exists());
}

async fn dies_of_taking(world: &World, dir: &Path, machine: &str, claim: &str) {
    let shard = open(&dir.join(machine).join("shard-0"), &world.tables);
    let checkpoints = Checkpoints::open(dir.join("checkpoints").to_str().unwrap()).unwrap();
    let note = |claims: &Claims, claim: &str| shard.note_claim(claims, claim);
    let claims = Some(shard.claims().unwrap());
    checkpoints.take_for(Subject::Shard(0), claims, claim, note).await.unwrap();
}

#[tokio::test]
async fn what_a_revoked_owner_adds_to_the_checkpoints_afterwards_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path(), &some_facts(40));
    let mut a = world.machine("a").await.unwrap();
    a.go_on(&world, 12, 4).await;
    a.projector.project_once().await.unwrap();
    a.checkpointer.all().await.unwrap();
    let folder = dir.path().join("checkpoints/shard-0");
    let mut b = world.machine("b").await.unwrap();
    b.go_on(&world, 21, 3).await;
    b.announce().await;
    // The owner before had passed its check: its checkpoint and its part of the tail come late. Both speak of batches that
    // the lake never saw.
    a.go_on(&world, 40, 7).await;
    let (taken, hidden) = (folder.join("owner-0000000002.json"), folder.join("hidden"));
    std::fs::rename(&taken, &hidden).unwrap();
    a.checkpointer.all().await.unwrap();
    a.announce().await;
    std::fs::rename(&hidden, &taken).unwrap();
    assert!(folder.join("checkpoint-0000000001-0000000002.json").exists());
    assert!(folder.join(format!("tail/{:010}-{:020}-{:020}.json", 1, 4, 7)).exists());
    drop((a, b));
    let c = world.machine("c").await.unwrap();
    assert_eq!((c.frames(), c.tail), (21, 3));
}
