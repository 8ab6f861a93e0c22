//! How fast one shard applies facts: `cargo run --release -p yibiao-fusion --example apply -- [places] [days]`.
//!
//! Daily readings of three utilities for many dwellings come in frames of 1,000 facts, through dedup, merge, all
//! rules of pipelines/rules, and the atomic write; on one thread, in one shard, in a temporary folder.

use std::{path::Path, sync::Arc, time::Instant};

use yibiao_fusion::{Applied, Applier, Incoming, Rules};
use yibiao_records::{
    Fact, FactId, FactKind, FactKinds, FeedId, FrameBuilder, FrameHeader, PlaceId, RawPosition, Statement,
    Value,
};
use yibiao_tables::{Shard, Tables};

type Failure = Box<dyn std::error::Error>;

const FRAME_FACTS: usize = 1000;
const FRAMES_A_BATCH: usize = 16;
const DAY_MS: i64 = 86_400_000;

struct Source {
    kind: Arc<FactKind>,
    feed: FeedId,
    topic: Arc<str>,
    next_raw: i64,
    next_offset: i64,
}

impl Source {
    fn new(kinds: &FactKinds, kind: &str, feed: &str) -> Result<Self, Failure> {
        let kind = kinds.get(kind).ok_or("a fact kind is missing")?.clone();
        Ok(Self { topic: kind.std_topic().into(), kind, feed: feed.parse()?, next_raw: 0, next_offset: 0 })
    }

    fn fact(&mut self, place: usize, key: &str, at_ms: i64, payload: Vec<Value>) -> Fact {
        self.next_raw += 1;
        Fact {
            statement: Statement::Assert,
            id: FactId::derive(&self.feed, key, 0),
            place: PlaceId::derive("bench", &place.to_string()),
            level: "dwelling".into(),
            provisional: false,
            division_code: "320106003001".into(),
            valid_from_ms: at_ms,
            valid_to_ms: None,
            recorded_at_ms: at_ms,
            source_key: key.into(),
            raw: RawPosition { offset: self.next_raw, index: 0 },
            match_reason: "exact".into(),
            confidence: 1.0,
            payload,
        }
    }
}

/// A frame as a topic holds it.
type Encoded = (Arc<str>, i64, Vec<u8>, Vec<u8>);

fn frames(source: &mut Source, facts: Vec<Fact>) -> Result<Vec<Encoded>, Failure> {
    let mut encoded = Vec::new();
    for facts in facts.chunks(FRAME_FACTS) {
        let header = FrameHeader {
            feed: source.feed.to_string(),
            raw_topic: source.feed.raw_topic(),
            ..Default::default()
        };
        let mut builder = FrameBuilder::new(source.kind.clone(), header);
        facts.iter().cloned().for_each(|fact| builder.push(fact));
        if let Some(frame) = builder.finish()? {
            let (header, value) = frame.encode()?;
            encoded.push((source.topic.clone(), source.next_offset, header, value));
            source.next_offset += 1;
        }
    }
    Ok(encoded)
}

async fn apply(applier: &mut Applier, rules: &mut Rules, frames: &[Encoded]) -> Result<Applied, Failure> {
    let mut total = Applied::default();
    for batch in frames.chunks(FRAMES_A_BATCH) {
        let incoming: Vec<Incoming<'_>> = batch
            .iter()
            .map(|(topic, offset, header, value)| Incoming {
                topic,
                partition: 0,
                offset: *offset,
                timestamp_ms: 0,
                header: Some(header),
                value: Some(value),
            })
            .collect();
        total.add(&applier.apply(rules, &incoming).await?);
    }
    Ok(total)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let places = arguments.next().transpose()?.unwrap_or(20_000);
    let days = arguments.next().transpose()?.unwrap_or(20);
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let mut kinds: Vec<FactKind> = Vec::new();
    for entry in std::fs::read_dir(pipelines.join("facts"))? {
        kinds.push(serde_saphyr::from_str(&std::fs::read_to_string(entry?.path())?)?);
    }
    let kinds = FactKinds::new(kinds);
    let tables = Tables::load(&pipelines.join("tables"), &kinds, 16)?;
    let dir = tempfile::tempdir()?;
    let shard = Shard::open(dir.path(), 0, &tables, &yibiao_state::Options::default())?;
    let mut rules = Rules::load(&pipelines.join("rules"), &tables).await?;
    let mut applier = Applier::new(&shard, 1)?;
    applier.refresh(&mut rules).await?;

    let mut registrations = Source::new(&kinds, "registration", "police/housing-registrations")?;
    let facts = (0..places).map(|n| {
        let payload =
            vec![Value::Decimal(60_000), Value::Int(2), Value::Bool(n % 5 == 0), Value::Int(n as i64 % 4)];
        registrations.fact(n, &format!("FW{n}"), 0, payload)
    });
    let facts: Vec<Fact> = facts.collect();
    let first = frames(&mut registrations, facts)?;
    report("registrations", places, apply(&mut applier, &mut rules, &first)).await?;

    let mut meters = vec![
        Source::new(&kinds, "water", "utilities/water-readings")?,
        Source::new(&kinds, "electricity", "utilities/electricity-readings")?,
        Source::new(&kinds, "gas", "utilities/gas-readings")?,
    ];
    let mut seconds = 0.0;
    for day in 0..days {
        let mut frames_of_day = Vec::new();
        for source in &mut meters {
            let at_ms = (20_000 + day as i64) * DAY_MS;
            let amount = 300 + 100 * (day as i64 % 5);
            let facts: Vec<Fact> = (0..places)
                .map(|n| source.fact(n, &format!("{n}-{day}"), at_ms, vec![Value::Decimal(amount)]))
                .collect();
            frames_of_day.extend(frames(source, facts)?);
        }
        let begun = Instant::now();
        apply(&mut applier, &mut rules, &frames_of_day).await?;
        let took = begun.elapsed().as_secs_f64();
        seconds += took;
        println!("day {day:>3}: {:>9.0} facts/s", (3 * places) as f64 / took);
        // As the projector does: what is in the lake is forgotten.
        shard.trim_outbox(shard.view().last_sequence())?;
        if day + 1 == days {
            report("the last day again", 3 * places, apply(&mut applier, &mut rules, &frames_of_day)).await?;
        }
    }
    println!(
        "readings: {:.0} facts/s over {days} days, {} places, {} firing, {} MB on disk",
        (3 * places * days) as f64 / seconds,
        applier.holding().places,
        applier.holding().firing,
        shard.disk_bytes()? >> 20
    );
    Ok(())
}

async fn report(
    what: &str,
    facts: usize,
    work: impl Future<Output = Result<Applied, Failure>>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let applied = work.await?;
    println!("{what}: {:.0} facts/s, {applied:?}", facts as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}
