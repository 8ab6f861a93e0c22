//! Made-up facts as frames, as the normaliser would send them.

use std::sync::Arc;

use anyhow::{Context, Result};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use yibiao_fusion::Incoming;
use yibiao_records::{
    Fact, FactId, FactKinds, FeedId, FrameBuilder, FrameHeader, PlaceId, RawPosition, Statement, Value,
};

use crate::steps::BATCH_FACTS;

const FRAME_FACTS: usize = 1_000;
const DAY_MS: i64 = 86_400_000;
/// 2025-11-01.
const DAY_0: i64 = 20_393;

/// The place with this number; ids say nothing about it.
pub fn place(number: u64) -> PlaceId {
    PlaceId::derive("police/standard-addresses", &number.to_string())
}

/// One std topic's partition, and where it ends.
pub struct Sender {
    kinds: FactKinds,
    kind: &'static str,
    feed: FeedId,
    topic: Arc<str>,
    next: i64,
    next_raw: i64,
}

/// A message of a std topic.
pub struct Frame {
    topic: Arc<str>,
    offset: i64,
    header: Vec<u8>,
    value: Vec<u8>,
}

impl Frame {
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming {
            topic: &self.topic,
            partition: 0,
            offset: self.offset,
            timestamp_ms: (DAY_0 + 40) * DAY_MS,
            header: Some(&self.header),
            value: Some(&self.value),
        }
    }
}

impl Sender {
    pub fn new(kinds: &FactKinds, kind: &'static str, feed: &str, next: i64, next_raw: i64) -> Result<Self> {
        let topic = kinds.get(kind).context("a kind")?.std_topic().into();
        Ok(Self { kinds: kinds.clone(), kind, feed: feed.parse()?, topic, next, next_raw })
    }

    /// Frames of these facts, of at most a thousand each.
    fn send(&mut self, facts: Vec<Fact>) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        let mut facts = facts.into_iter().peekable();
        while facts.peek().is_some() {
            let header = FrameHeader {
                feed: self.feed.to_string(),
                raw_topic: self.feed.raw_topic(),
                raw_partition: 0,
                contract_version: "1.0.0".into(),
                gazetteer_version: "g1".into(),
                ..Default::default()
            };
            let mut builder = FrameBuilder::new(self.kinds.get(self.kind).context("a kind")?.clone(), header);
            for mut fact in facts.by_ref().take(FRAME_FACTS) {
                fact.raw = RawPosition { offset: self.next_raw, index: 0 };
                self.next_raw += 1;
                builder.push(fact);
            }
            let (header, value) = builder.finish()?.context("a frame")?.encode()?;
            frames.push(Frame { topic: self.topic.clone(), offset: self.next, header, value });
            self.next += 1;
        }
        Ok(frames)
    }

    /// The standard addresses of these places.
    pub fn addresses(&mut self, numbers: std::ops::Range<u64>) -> Result<Vec<Frame>> {
        let facts = numbers.map(|number| self.address(number)).collect();
        self.send(facts)
    }

    fn address(&self, number: u64) -> Fact {
        let (compound, building, unit, room) =
            (number / 400, number / 40 % 10 + 1, number / 10 % 4 + 1, number % 10 * 100 + 101);
        let text = |text: String| Value::Text(text);
        let address = format!("江苏省南京市鼓楼区云栖路{compound}号青禾新村{building}幢{unit}单元{room}室");
        let payload = vec![
            text(format!("{number:016}")),
            text(address),
            text("dwelling".into()),
            text("in_use".into()),
            Value::Null,
            text("江苏省".into()),
            text("南京市".into()),
            text("鼓楼区".into()),
            Value::Null,
            Value::Null,
            text("云栖路".into()),
            text(format!("{compound}号")),
            text("青禾新村".into()),
            text(format!("{building}幢")),
            text(format!("{unit}单元")),
            text(format!("{room}室")),
            text("320106".into()),
        ];
        self.fact(place(number), number.to_string(), DAY_0 - 100, payload)
    }

    /// A reading of each of these places on one day.
    pub fn readings(
        &mut self,
        numbers: impl Iterator<Item = u64>,
        day: i64,
        dice: &mut ChaCha8Rng,
    ) -> Result<Vec<Frame>> {
        let facts = numbers.map(|number| {
            let amount = Value::Decimal(dice.random_range(50..900));
            self.fact(place(number), format!("W{number}-{day}"), DAY_0 + day, vec![amount])
        });
        let facts = facts.collect();
        self.send(facts)
    }

    /// A batch of readings of random places out of so many, on one day.
    pub fn random_readings(&mut self, places: u64, day: i64, dice: &mut ChaCha8Rng) -> Result<Vec<Frame>> {
        let numbers: Vec<u64> = (0..BATCH_FACTS / 4).map(|_| dice.random_range(0..places)).collect();
        self.readings(numbers.into_iter(), day, dice)
    }

    fn fact(&self, place: PlaceId, source_key: String, day: i64, payload: Vec<Value>) -> Fact {
        let at = day * DAY_MS + DAY_MS / 6;
        Fact {
            statement: Statement::Assert,
            id: FactId::derive(&self.feed, &source_key, 0),
            place,
            level: "dwelling".into(),
            provisional: false,
            division_code: "320106003001".into(),
            valid_from_ms: at,
            valid_to_ms: None,
            recorded_at_ms: at + 1_000,
            source_key,
            raw: RawPosition { offset: 0, index: 0 },
            match_reason: "exact".into(),
            confidence: 1.0,
            payload,
        }
    }
}
