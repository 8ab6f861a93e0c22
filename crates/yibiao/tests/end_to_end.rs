//! The program as its users run it: processes, a broker, files, an HTTP interface; killed and started again.
#![allow(clippy::unwrap_used)]

#[path = "end_to_end/canaries.rs"]
mod canaries;
#[path = "end_to_end/follower.rs"]
mod follower;
#[path = "end_to_end/running.rs"]
mod running;
#[path = "../../tables/tests/store/mod.rs"]
mod store;
#[path = "end_to_end/world.rs"]
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use follower::Follower;
use running::Series;
use serde_json::Value;
use store::Trouble;
use world::{Kafka, World};
use yibiao_records::CrashPoint;
use yibiao_serve::metrics::{CATALOGUE, STAGES};

/// What the tables end as: everything but when and from which offset it was recorded.
const PLACES: &str = "select place_id, external_id, level, status, division_code, address, area_m2, rooms, is_rental, \
     registered_count, water_m3_30d, electricity_kwh_30d, gas_m3_30d, hazards_90d from places order by place_id";
/// The message of a warning says what the numbers were when it was last updated, which depends on the batches.
const FIRING: &str =
    "select rule, place_id, severity from warnings where state <> 'cleared' order by rule, place_id";
/// Changes that the logs name more than once.
const TWICE: &str = "select shard, sequence, count(*) as n from (select shard, sequence from places_changes union all \
     select shard, sequence from warnings_changes) group by 1, 2 having count(*) > 1";

/// What a run ended with, by which another one is judged.
struct End {
    places: Value,
    firing: Value,
}

impl End {
    fn of(world: &World) -> Self {
        Self { places: world.sql(PLACES), firing: world.sql(FIRING) }
    }

    fn places(&self) -> usize {
        self.places.as_array().unwrap().len()
    }

    /// The same tables, whose change logs name each change once, whoever wrote them.
    fn is_that_of(&self, world: &World) {
        assert_eq!(world.sql(PLACES), self.places);
        assert_eq!(world.sql(FIRING), self.firing);
        assert_eq!(world.sql(TWICE), serde_json::json!([]));
    }
}

#[test]
fn killed_again_and_again_it_ends_in_the_same_tables() {
    let undisturbed = World::new(Kafka::Embedded);
    undisturbed.run_to_end();
    let places = undisturbed.sql(PLACES);
    let firing = undisturbed.sql(FIRING);
    assert!(places.as_array().unwrap().len() > 300, "the city has places: {places}");
    assert!(undisturbed.accounting_balances());

    let killed = World::new(Kafka::Embedded);
    let mut kills = 0;
    // Later and later, so that every stage is met at work.
    for wait in [700, 1500, 2500, 4000, 6000] {
        kills += u32::from(killed.run_and_kill_after(Duration::from_millis(wait)));
    }
    assert!(kills >= 2, "the program was killed at work {kills} times");
    killed.run_to_end();
    assert_eq!(killed.sql(PLACES), places);
    assert_eq!(killed.sql(FIRING), firing);
    assert!(killed.accounting_balances());
    killed.rules_verify();
}

/// The lake has had changes, there is no checkpoint yet, and the shards are gone: whoever takes them has to make the batches
/// again of which the tail tells.
fn lost_with_nothing_but_a_tail(kafka: Kafka) -> World {
    let world = World::new(kafka);
    world.with_checkpoints();
    world.refuse_checkpoints();
    world.run_to_death_at(CrashPoint::ProjectChangesCommitted);
    assert!(world.lose_the_shards());
    world.accept_checkpoints();
    world
}

#[test]
fn a_machine_that_is_lost_again_and_again_is_replaced_from_checkpoint_and_tail() {
    let undisturbed = World::new(Kafka::Embedded);
    undisturbed.run_to_end();
    let end = End::of(&undisturbed);

    let moved = lost_with_nothing_but_a_tail(Kafka::Embedded);
    for point in
        [CrashPoint::FusionCommitted, CrashPoint::ProjectBucketsCommitted, CrashPoint::ProjectTrimmed]
    {
        moved.run_to_death_at(point);
        assert!(moved.lose_the_shards());
    }
    moved.run_to_end();
    assert!(moved.tails_made_again() >= 1, "no tail was made again");
    end.is_that_of(&moved);
    moved.rules_verify();
    // Stopped in order, it leaves a last checkpoint: a new machine has nothing to make again, and all of the state.
    assert!(moved.lose_the_shards());
    moved.run_to_end();
    assert_eq!(moved.sql(PLACES), end.places);
    moved.rules_verify();
}

#[test]
fn lost_tables_are_loaded_at_once_from_the_std_topics_whatever_dies_meanwhile() {
    let world = World::new(Kafka::Embedded);
    world.run_to_end();
    let end = End::of(&world);
    assert!(end.firing.as_array().is_some_and(|firing| !firing.is_empty()), "something is warned of");
    assert_eq!(world.loads_done(), 0, "frames that come one by one are applied in batches");

    world.lose_shards_and_lake();
    for point in CrashPoint::LOAD {
        world.run_to_death_at_the(1, point);
    }
    assert_eq!(world.loads_done(), 0);
    world.run_to_end();
    // One was in place when the process died last, or two that were loaded beside each other.
    assert!((2..=3).contains(&world.loads_done()), "{} loads", world.loads_done());
    end.is_that_of(&world);
    assert!(world.accounting_balances());
    world.rules_verify();
}

#[test]
fn shards_that_move_are_loaded_at_once_whatever_dies_or_is_lost_meanwhile() {
    let world = World::new(Kafka::Embedded);
    world.run_to_end();
    let end = End::of(&world);
    world.with_checkpoints();
    world.lose_shards_and_lake();
    // The same machine goes on, and then another one each time.
    for is_lost in [false, true] {
        let before = world.loads_done();
        for point in CrashPoint::LOAD.into_iter().chain(CrashPoint::LOAD_OWNED) {
            world.run_to_death_at_the(1, point);
            assert!(!is_lost || world.lose_the_shards(), "{point:?}");
        }
        world.run_to_end();
        assert!(world.loads_done() > before);
        assert_eq!(world.tails_made_again(), 0, "a load is in no tail");
        end.is_that_of(&world);
        world.rules_verify();
        // Wherever it goes next, it has all of it.
        assert!(world.lose_the_shards());
        world.run_to_end();
        assert_eq!(world.sql(PLACES), end.places);
        world.lose_checkpoints();
        if !is_lost {
            world.lose_shards_and_lake();
        }
    }
}

#[test]
fn shards_follow_their_group_from_process_to_process() {
    let undisturbed = World::new(Kafka::Embedded);
    undisturbed.run_to_end();
    let end = End::of(&undisturbed);

    let world = World::new(Kafka::Embedded);
    world.with_checkpoints();
    let reads = world.reads();
    let mut first = Follower::start(&world, "first");
    first.until("it has all", |held| held == [0, 1, 2, 3]);
    let mut second = Follower::start(&world, "second");
    second.until("it has half", |held| held.len() == 2);
    first.until("it has half", |held| held.len() == 2);
    first.kill();
    second.until("it has those of the dead", |held| held == [0, 1, 2, 3]);
    first.start_again(&world);
    first.until("it has half again", |held| held.len() == 2);
    // A sleeper that is passed over, and works on when it wakes up.
    second.signal("STOP");
    first.until("it has those of the sleeper", |held| held == [0, 1, 2, 3]);
    second.forget();
    second.signal("CONT");
    second.until("it is back", |held| held.len() == 2);
    first.until("it has let go", |held| held.len() == 2);
    // In order: nobody waits for the session.
    second.stop();
    first.until("it has all at the end", |held| held == [0, 1, 2, 3]);
    world.until_places(end.places());
    first.stop();
    reads.stop();

    world.run_to_end();
    end.is_that_of(&world);
    world.rules_verify();
}

#[test]
fn a_machine_that_normalises_is_lost_again_and_again_and_replaced_from_its_checkpoint() {
    let undisturbed = World::new(Kafka::Embedded);
    undisturbed.run_to_end();
    let end = End::of(&undisturbed);

    let moved = World::new(Kafka::Embedded);
    moved.with_moving_normaliser();
    let points = [
        CrashPoint::NormaliseSent,
        CrashPoint::GazetteerInForce,
        CrashPoint::NormaliseAcknowledged,
        CrashPoint::NormaliseCommitted,
    ];
    for (nth, point) in [(2, points[0]), (1, points[1]), (4, points[0]), (5, points[2]), (6, points[3])] {
        moved.run_to_death_at_the(nth, point);
        assert!(moved.lose_the_normaliser(), "{point:?}");
    }
    for point in CrashPoint::NORMALISER_OWNED {
        moved.run_to_death_at_the(1, point);
        // Another machine comes, or the same one.
        if matches!(point, CrashPoint::NormaliseCheckpointed | CrashPoint::NormaliseAnnounced) {
            assert!(moved.lose_the_normaliser(), "{point:?}");
        }
    }
    moved.run_to_end();
    assert!(moved.normalisers_restored() >= 4, "{} came back", moved.normalisers_restored());
    end.is_that_of(&moved);
    assert!(moved.accounting_balances());
    moved.rules_verify();
    // Stopped in order, it leaves a last checkpoint: a new machine has nothing to judge again, and all of the state.
    assert!(moved.lose_the_normaliser());
    moved.run_to_end();
    assert_eq!(moved.sql(PLACES), end.places);
    assert!(moved.accounting_balances());
}

#[test]
fn the_normaliser_follows_its_group_from_process_to_process() {
    const HAS: &str = "the normaliser is this process's";
    let undisturbed = World::new(Kafka::Embedded);
    undisturbed.run_to_end();
    let end = End::of(&undisturbed);

    let world = World::new(Kafka::Embedded);
    world.with_moving_normaliser();
    let mut first = Follower::normaliser(&world, "first");
    first.until_it_says(HAS);
    let others = Follower::others(&world);
    let mut second = Follower::normaliser(&world, "second");
    first.until_it_says("checkpoint made");
    std::thread::sleep(Duration::from_secs(2));
    first.kill();
    second.until_it_says(HAS);
    first.start_again(&world);
    // A sleeper that is passed over, and goes on when it wakes up: what it sends is what the other has sent.
    std::thread::sleep(Duration::from_secs(2));
    second.signal("STOP");
    first.until_it_says(HAS);
    second.forget();
    second.signal("CONT");
    second.until_it_says("this process lets go of the normaliser");
    // In order: nobody waits for the session.
    second.forget();
    first.stop();
    second.until_it_says(HAS);
    world.until_places(end.places());
    second.stop();
    others.stop();

    world.run_to_end();
    end.is_that_of(&world);
    assert!(world.accounting_balances());
    world.rules_verify();
}

#[test]
fn in_an_object_store_that_is_away_at_times_a_killed_process_is_followed_by_another() {
    let Some(world) = World::in_object_store(Kafka::Embedded) else { return };
    let undisturbed = World::new(Kafka::Embedded);
    undisturbed.run_to_end();
    let end = End::of(&undisturbed);

    world.with_checkpoints();
    world.with_moving_normaliser();
    let reads = world.reads();
    let mut first = Follower::start(&world, "first");
    first.until("it has all", |held| held == [0, 1, 2, 3]);
    let mut second = Follower::start(&world, "second");
    second.until("it has half", |held| held.len() == 2);
    world.store().way().meets(Trouble::Away);
    std::thread::sleep(Duration::from_secs(5));
    world.store().way().meets(Trouble::AnswersLost(5));
    first.kill();
    second.until("it has those of the dead", |held| held == [0, 1, 2, 3]);
    world.until_places(end.places());
    second.stop();
    reads.stop();

    // On a third machine, from what lies in the store.
    assert!(world.lose_the_normaliser());
    world.run_to_end();
    assert_eq!(world.normalisers_restored(), 1);
    assert!(world.accounting_balances());
    assert_eq!(world.store().way().trouble(), Trouble::AnswersLost(0), "answers were lost");
    end.is_that_of(&world);
    world.rules_verify();
    world.read_with_python();
    let absent =
        world.command(&["sql", "--lake", "s3://absent/lake", "select 1 from places"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&absent.stderr).contains("the bucket is not there: make it"),
        "{absent:?}"
    );
}

#[test]
fn apache_kafka_and_the_embedded_broker_end_in_the_same_tables() {
    if std::env::var_os("YIBIAO_KAFKA").is_none() {
        eprintln!("SKIPPED: set YIBIAO_KAFKA (scripts/test does) to run this on Apache Kafka");
        return;
    }
    let embedded = World::new(Kafka::Embedded);
    embedded.run_to_end();
    let apache = lost_with_nothing_but_a_tail(Kafka::Apache);
    apache.run_and_kill_after(Duration::from_millis(5000));
    apache.run_to_end();
    assert_eq!(apache.sql(PLACES), embedded.sql(PLACES));
    assert_eq!(apache.sql(FIRING), embedded.sql(FIRING));
    assert!(apache.tails_made_again() >= 1, "no tail was made again");
    apache.rules_verify();
}

#[test]
fn what_metrics_shows_is_what_the_catalogue_says() {
    let world = World::new(Kafka::Embedded);
    let running = world.run_on();
    let is_there = |name: &str, series: &BTreeSet<Series>| series.iter().any(|series| series.name == name);
    let series = running.metrics_when(|series| {
        let missing =
            CATALOGUE.iter().filter(|described| described.always && !is_there(described.name, series));
        missing.map(|described| described.name).collect()
    });
    let known: BTreeMap<_, _> =
        CATALOGUE.iter().map(|described| (described.name, described.labels)).collect();
    for Series { name, labels } in &series {
        let of = known.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the catalogue"));
        let unknown = labels.keys().find(|label| !of.contains(&label.as_str()));
        assert_eq!(unknown, None, "a label of {name} that is not in the catalogue");
    }
    let up = series.iter().filter(|series| series.name == "yibiao_stage_up");
    let mut stages: BTreeSet<_> = up.map(|series| series.labels["stage"].as_str()).collect();
    stages.extend(["serve", "checkpoint"]); // this run has all but these
    assert_eq!(stages, STAGES.iter().copied().collect());
}

#[test]
fn no_identifier_of_a_person_reaches_any_topic_or_table() {
    let world = World::new(Kafka::Embedded);
    assert!(
        world.sources_contain("CANARY-"),
        "the departments' files hold canaries, or this test sees nothing"
    );
    world.run_to_end();
    world.assert_absent_everywhere("CANARY-");
}

#[test]
fn a_city_sees_its_own_area_only_and_python_reads_what_we_wrote() {
    let world = World::new(Kafka::Embedded);
    world.run_to_end();
    for (centre, area) in [("nanjing", "3201"), ("suzhou", "3205"), ("jiangsu", "32")] {
        let rows = world.sql_at(
            &format!("deliveries/{centre}"),
            "select substr(division_code, 1, 4) as area, count(*) as n from places group by 1",
        );
        let rows = rows.as_array().unwrap().clone();
        assert!(!rows.is_empty(), "{centre} received places");
        assert!(rows.iter().all(|row| row["area"].as_str().unwrap().starts_with(area)), "{centre}: {rows:?}");
    }
    world.read_with_python();
}
