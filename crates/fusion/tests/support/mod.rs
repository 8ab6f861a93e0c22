//! Invented places and facts, and frames of them, for the tests of this crate.
#![allow(clippy::unwrap_used, dead_code)]

use std::{path::PathBuf, sync::Arc};

use yibiao_fusion::{Applied, Applier, Incoming, Rules};
use yibiao_records::{
    Fact, FactId, FactKind, FactKinds, FeedId, FrameBuilder, FrameHeader, PlaceId, RawPosition, Statement,
    Value,
};
use yibiao_state::Options;
use yibiao_tables::{Shard, Tables};

pub mod oracle;

pub const DAY_MS: i64 = 86_400_000;
/// 2025-11-01 in Asia/Shanghai.
pub const DAY_0: i32 = 20_393;

pub fn pipelines() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../pipelines")
}

pub fn kinds() -> FactKinds {
    let mut kinds: Vec<FactKind> = Vec::new();
    for entry in std::fs::read_dir(pipelines().join("facts")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        kinds.push(serde_saphyr::from_str(&text).unwrap());
    }
    FactKinds::new(kinds)
}

pub fn tables() -> Tables {
    Tables::load(&pipelines().join("tables"), &kinds(), 4).unwrap()
}

pub async fn rules(tables: &Tables) -> Rules {
    Rules::load(&pipelines().join("rules"), tables).await.unwrap()
}

pub fn options() -> Options {
    Options { cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20, ..Options::default() }
}

pub fn open(dir: &std::path::Path, tables: &Tables) -> Shard {
    Shard::open(dir, 0, tables, &options()).unwrap()
}

pub fn place(name: &str) -> PlaceId {
    PlaceId::derive("test", name)
}

/// The middle of a day, counted from `DAY_0`.
pub fn at(day: i32) -> i64 {
    i64::from(DAY_0 + day) * DAY_MS + 4 * 3_600_000
}

pub fn feed_of(kind: &str) -> FeedId {
    match kind {
        "place" => "police/standard-addresses",
        "registration" => "police/housing-registrations",
        "water" => "utilities/water-readings",
        "electricity" => "utilities/electricity-readings",
        "gas" => "utilities/gas-readings",
        "hazard" => "grid/hazard-reports",
        "dispute" => "justice/mediation-cases",
        "organisation" => "civil-affairs/organisations",
        _ => "civil-affairs/place-names",
    }
    .parse()
    .unwrap()
}

/// A fact of the record `key`; raw position and time of recording are set by [`Log`].
pub fn fact(kind: &str, place: PlaceId, key: &str, day: i32, payload: Vec<Value>) -> (String, Fact) {
    let fact = Fact {
        statement: if payload.is_empty() { Statement::Retract } else { Statement::Assert },
        id: FactId::derive(&feed_of(kind), key, 0),
        place,
        level: "dwelling".into(),
        provisional: false,
        division_code: "320106003001".into(),
        valid_from_ms: at(day),
        valid_to_ms: None,
        recorded_at_ms: at(day) + 1000,
        source_key: key.into(),
        raw: RawPosition { offset: 0, index: 0 },
        match_reason: "exact".into(),
        confidence: 1.0,
        payload,
    };
    (kind.to_owned(), fact)
}

pub fn reading(kind: &str, place: PlaceId, day: i32, thousandths: i64) -> (String, Fact) {
    fact(kind, place, &format!("{kind}-{place}-{day}"), day, vec![Value::Decimal(thousandths)])
}

pub fn registration(place: PlaceId, rooms: i64, is_rental: bool, registered: i64) -> (String, Fact) {
    let payload = vec![
        Value::Decimal(rooms * 30_000),
        Value::Int(rooms),
        Value::Bool(is_rental),
        Value::Int(registered),
    ];
    fact("registration", place, &format!("FW{place}"), -100, payload)
}

pub fn hazard(place: PlaceId, number: u32, day: i32, category: &str, severity: i64) -> (String, Fact) {
    let payload = vec![Value::Text(category.into()), Value::Int(severity), Value::Timestamp(at(day))];
    fact("hazard", place, &format!("HZ{number}"), day, payload)
}

/// What a std topic's partition 0 holds: encoded frames in their order.
#[derive(Default, Clone)]
pub struct Log {
    pub frames: Vec<Encoded>,
    next_raw: i64,
}

#[derive(Clone)]
pub struct Encoded {
    pub topic: Arc<str>,
    pub header: Vec<u8>,
    pub value: Vec<u8>,
}

impl Log {
    /// Appends facts of one kind as one frame; the raw partition is always 0, offsets go up.
    pub fn push(&mut self, facts: Vec<(String, Fact)>) {
        let Some((kind, _)) = facts.first() else { return };
        let feed = feed_of(kind);
        self.push_from(&feed, facts);
    }

    /// As [`Log::push`], of another feed than the kind's usual one.
    pub fn push_from(&mut self, feed: &FeedId, facts: Vec<(String, Fact)>) {
        let Some((kind, _)) = facts.first().cloned() else { return };
        let kinds = kinds();
        let header = FrameHeader {
            feed: feed.to_string(),
            raw_topic: feed.raw_topic(),
            raw_partition: 0,
            contract_version: "1.0.0".into(),
            gazetteer_version: "g1".into(),
            ..Default::default()
        };
        let mut builder = FrameBuilder::new(kinds.get(&kind).unwrap().clone(), header);
        for (_, mut fact) in facts {
            fact.raw = RawPosition { offset: self.next_raw, index: 0 };
            self.next_raw += 1;
            builder.push(fact);
        }
        let (header, value) = builder.finish().unwrap().unwrap().encode().unwrap();
        self.frames.push(Encoded { topic: format!("std.{kind}").as_str().into(), header, value });
    }

    /// Facts of any kinds, a frame for each run of one kind.
    pub fn push_all(&mut self, facts: Vec<(String, Fact)>) {
        let mut run: Vec<(String, Fact)> = Vec::new();
        for fact in facts {
            if run.last().is_some_and(|last| last.0 != fact.0) {
                self.push(std::mem::take(&mut run));
            }
            run.push(fact);
        }
        self.push(run);
    }

    /// The frames from the `from`th on, as messages; offsets count by topic, as they would in a topic.
    pub fn incoming(&self, from: usize, to: usize) -> Vec<Incoming<'_>> {
        let mut offsets = std::collections::HashMap::<&str, i64>::new();
        let all = self.frames.iter().map(|frame| {
            let offset = offsets.entry(&frame.topic).or_default();
            *offset += 1;
            Incoming {
                topic: &frame.topic,
                partition: 0,
                offset: *offset - 1,
                timestamp_ms: at(100),
                header: Some(&frame.header),
                value: Some(&frame.value),
            }
        });
        all.collect::<Vec<_>>().into_iter().take(to).skip(from).collect()
    }
}

/// Applies the frames from `from` to `to` in batches of `size` frames.
pub async fn apply(
    applier: &mut Applier,
    rules: &mut Rules,
    log: &Log,
    from: usize,
    to: usize,
    size: usize,
) -> Applied {
    let mut total = Applied::default();
    for batch in log.incoming(from, to).chunks(size.max(1)) {
        total.add(&applier.apply(rules, batch).await.unwrap());
    }
    total
}

/// A cell of the place's row.
pub fn cell(shard: &Shard, place: PlaceId, column: &str) -> Value {
    let view = shard.view();
    let index = view.tables().schema("places").unwrap().column(column).unwrap();
    view.row("places", place).unwrap().map(|row| row[index].clone()).unwrap_or_default()
}

/// A cell of the place's newest warning.
pub fn warning(shard: &Shard, place: PlaceId, column: &str) -> Value {
    let view = shard.view();
    let index = view.tables().schema("warnings").unwrap().column(column).unwrap();
    view.row("warnings", place).unwrap().map(|row| row[index].clone()).unwrap_or_default()
}
