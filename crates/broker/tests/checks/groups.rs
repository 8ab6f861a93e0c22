//! Checks of consumer groups: sharing, taking over, going on after a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::Offset;

use crate::kit::*;

fn assigned(consumer: &BaseConsumer) -> Outcome<BTreeSet<i32>> {
    let assignment = consumer.assignment().map_err(on("assignment"))?;
    Ok(assignment.elements().iter().map(|e| e.partition()).collect())
}

fn numbers(records: &[Read]) -> BTreeSet<i32> {
    records.iter().map(|record| record.text().parse().unwrap()).collect()
}

/// What a member read, and which partitions it last had.
type Stay = Outcome<(Vec<Read>, BTreeSet<i32>)>;

/// A second member, on its own thread until it is told to leave.
fn second(
    target: &Target,
    topic: &str,
    settings: &[(&str, &str)],
    leave: Arc<AtomicBool>,
) -> Outcome<std::thread::JoinHandle<Stay>> {
    let consumer = target.consumer(settings)?;
    consumer.subscribe(&[topic]).map_err(on("subscribe"))?;
    Ok(std::thread::spawn(move || {
        let (mut records, mut had) = (Vec::new(), BTreeSet::new());
        while !leave.load(Ordering::Relaxed) {
            drain(&consumer, Duration::from_millis(100), usize::MAX, &mut records)?;
            let has = assigned(&consumer)?;
            if !has.is_empty() {
                had = has;
            }
        }
        if !records.is_empty() {
            consumer.commit_consumer_state(CommitMode::Sync).map_err(on("commit of the second"))?;
        }
        Ok((records, had))
    }))
}

pub fn shared(target: &Target, assignor: &str) -> Outcome {
    let (topic, group) = (target.topic("group", 4, &[])?, unique("group"));
    let producer = target.producer(&[])?;
    let write = |range: std::ops::Range<i32>| -> Outcome<()> {
        for i in range {
            producer.value(&topic, i % 4, &i.to_string())?;
        }
        producer.flush().map(drop)
    };
    let settings = [("group.id", group.as_str()), ("partition.assignment.strategy", assignor)];
    write(0..400)?;
    let first = target.consumer(&settings)?;
    first.subscribe(&[&topic]).map_err(on("subscribe"))?;
    let mut alone = Vec::new();
    drain(&first, PATIENCE, 400, &mut alone)?;
    expect("read alone", alone.len(), 400)?;
    first.commit_consumer_state(CommitMode::Sync).map_err(on("commit"))?;

    let leave = Arc::new(AtomicBool::new(false));
    let other = second(target, &topic, &settings, Arc::clone(&leave))?;
    let mut records = Vec::new();
    let took = wait_for("an even share", PATIENCE, || {
        drain(&first, Duration::from_millis(100), usize::MAX, &mut records)?;
        Ok(assigned(&first)?.len() == 2)
    })?;
    let had = assigned(&first)?;
    write(400..800)?;
    drain(&first, Duration::from_secs(3), usize::MAX, &mut records)?;
    if !records.is_empty() {
        first.commit_consumer_state(CommitMode::Sync).map_err(on("commit of the first"))?;
    }
    leave.store(true, Ordering::Relaxed);
    let (others, other_had) = other.join().unwrap()?;
    expect("shares", (had.is_disjoint(&other_had), had.union(&other_had).count()), (true, 4))?;
    let read = records.len() + others.len();
    records.extend(others);
    expect("read together", numbers(&records), (400..800).collect())?;

    wait_for("all back after the second left", PATIENCE, || {
        drain(&first, Duration::from_millis(100), usize::MAX, &mut records)?;
        Ok(assigned(&first)?.len() == 4)
    })?;
    drop(first);
    write(800..840)?;
    let third = target.consumer(&settings)?;
    third.subscribe(&[&topic]).map_err(on("subscribe"))?;
    let mut later = Vec::new();
    drain(&third, PATIENCE, 40, &mut later)?;
    expect("read after a restart", numbers(&later), (800..840).collect())?;
    let all: Vec<(i32, Offset)> = (0..4).map(|p| (p, Offset::Invalid)).collect();
    let committed = third.committed_offsets(positions(&topic, &all), SOON).map_err(on("committed"))?;
    let offsets: Vec<Offset> = committed.elements().iter().map(|e| e.offset()).collect();
    expect("committed", offsets, vec![Offset::Offset(200); 4])?;
    Ok(format!("shared within {:.1} s, {} read twice, goes on where it was", took.as_secs_f32(), read - 400))
}

pub fn listed(target: &Target) -> Outcome {
    let (topic, group) = (target.topic("listed", 1, &[])?, unique("listed"));
    let consumer = target.consumer(&[("group.id", &group)])?;
    consumer.subscribe(&[&topic]).map_err(on("subscribe"))?;
    let producer = target.producer(&[])?;
    producer.value(&topic, 0, "x")?;
    producer.flush()?;
    drain(&consumer, PATIENCE, 1, &mut Vec::new())?;
    let list = consumer.fetch_group_list(Some(&group), SOON).map_err(on("group list"))?;
    let seen = list.groups().first().ok_or("the group is not listed")?;
    expect("state and members", (seen.state(), seen.members().len()), ("Stable", 1))?;
    Ok("stable, with one member".into())
}

/// A static member that vanishes keeps its place until its session ends.
pub fn static_member(target: &Target) -> Outcome {
    let (topic, group) = (target.topic("static", 2, &[])?, unique("static"));
    let session = [("group.id", group.as_str()), ("session.timeout.ms", "6000")];
    let mut settings = session.to_vec();
    settings.push(("group.instance.id", "one"));
    let has_all = |consumer: &BaseConsumer| -> Outcome<Duration> {
        wait_for("both partitions", PATIENCE, || {
            drain(consumer, Duration::from_millis(100), usize::MAX, &mut Vec::new())?;
            Ok(assigned(consumer)?.len() == 2)
        })
    };
    let first = target.consumer(&settings)?;
    first.subscribe(&[&topic]).map_err(on("subscribe"))?;
    has_all(&first)?;
    drop(first);
    let second = target.consumer(&session)?;
    second.subscribe(&[&topic]).map_err(on("subscribe"))?;
    let took = has_all(&second)?;
    if took < Duration::from_secs(2) {
        return Err(format!("its partitions were given away after {took:?}, before its session ended"));
    }
    Ok(format!("given up after {:.1} s", took.as_secs_f32()))
}
