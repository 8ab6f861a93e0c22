//! The stored bytes are protobuf messages: these, which any library reads and writes.
#![allow(clippy::unwrap_used)]

mod messages;

use std::sync::Arc;

use messages::{
    AlarmMessage, ChangeMessage, DueMessage, FactMessage, OriginMessage, PlaceMessage, SaidMessage,
    SeriesMessage, SilenceMessage,
};
use proptest::prelude::*;
use prost::Message;
use yibiao_records::{Fact, FactId, Operation, PlaceId, RawPosition, Statement, Value, cells};

use super::*;
use crate::shard::{
    names::Names,
    state::{Alarm, Daily, DailySeries, Due, Origin, PlaceState, Silence, StoredFact, Winner},
};

fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-c]{0,2}", "\\PC{0,40}"].prop_map(Arc::from)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "\\PC{0,150}".prop_map(Value::Text),
        any::<i32>().prop_map(Value::Date),
    ]
}

fn raw() -> impl Strategy<Value = RawPosition> {
    (any::<i64>(), any::<i32>()).prop_map(|(offset, index)| RawPosition { offset, index })
}

prop_compose! {
    fn stored()(
        kind in name(), feed in name(), raw_topic in name(), raw_partition in any::<i32>(),
        contract_version in name(), gazetteer_version in name(), match_reason in name(), raw in raw(),
        place in 1..i64::MAX, id in any::<[u8; 16]>(), level in name(), division_code in "[0-9]{0,12}",
        (valid_from_ms, valid_to_ms, recorded_at_ms) in any::<(i64, Option<i64>, i64)>(),
        (source_key, provisional, confidence) in ("\\PC{0,200}", any::<bool>(), 0f32..=1.0),
        payload in prop::collection::vec(value(), 0..12), asserted in any::<bool>(),
    ) -> StoredFact {
        StoredFact {
            kind, feed, raw_topic, raw_partition, contract_version, gazetteer_version,
            fact: Fact {
                statement: if asserted { Statement::Assert } else { Statement::Retract },
                id: FactId::from_bytes(id), place: PlaceId::new(place).unwrap(),
                level: level.to_string(), provisional, division_code, valid_from_ms, valid_to_ms, recorded_at_ms,
                source_key, raw, match_reason: match_reason.to_string(), confidence, payload,
            },
        }
    }
}

prop_compose! {
    fn origin()(
        kind in name(), fact in any::<[u8; 16]>(), valid_from_ms in any::<i64>(), recorded_at_ms in any::<i64>(),
        feed in name(), source_key in "\\PC{0,140}", raw_topic in name(), raw_partition in any::<i32>(), raw in raw(),
    ) -> Arc<Origin> {
        let fact = FactId::from_bytes(fact);
        Arc::new(Origin { kind, fact, valid_from_ms, recorded_at_ms, feed, source_key, raw_topic, raw_partition, raw })
    }
}

fn series() -> impl Strategy<Value = DailySeries> {
    let daily = (name(), any::<i32>(), any::<u64>(), any::<i64>())
        .prop_map(|(feed, day, facts, sum)| Daily { feed, day, facts, sum });
    (any::<i32>(), any::<u64>(), prop::collection::vec(daily, 0..80))
        .prop_map(|(floor_day, facts_before, days)| DailySeries { floor_day, facts_before, days })
}

fn due() -> impl Strategy<Value = Option<Due>> {
    prop::option::of((name(), any::<i32>()).prop_map(|(feed, day)| Due { feed, day }))
}

fn place() -> impl Strategy<Value = PlaceState> {
    let alarm = (name(), any::<u32>(), any::<bool>(), any::<i64>(), "\\PC{0,40}").prop_map(
        |(rule, ordinal, firing, severity, update_key)| Alarm { rule, ordinal, firing, severity, update_key },
    );
    let silence = (name(), prop::collection::vec((name(), any::<i32>()), 0..4), due(), due())
        .prop_map(|(kind, last, waiting, passed)| Silence { kind, last, waiting, passed });
    let won = prop::option::of((any::<prop::sample::Index>(), any::<u32>()));
    (
        (prop::collection::vec(value(), 0..40), prop::collection::vec(won, 40), any::<u64>()),
        prop::collection::vec(origin(), 1..5),
        prop::collection::vec(series(), 0..4),
        prop::collection::vec(alarm, 0..3),
        prop::collection::vec(silence, 0..3),
    )
        .prop_map(|((row, won, facts), origins, series, alarms, silences)| {
            let columns = row.iter().skip(1).zip(won);
            let winners = columns
                .map(|(value, won)| {
                    let (of, rank) = won?;
                    Some(Winner { value: value.clone(), rank, origin: of.get(&origins).clone() })
                })
                .collect();
            PlaceState { row, facts, winners, series, alarms, silences }
        })
}

fn fact_message(stored: &StoredFact, names: &Names) -> FactMessage {
    let fact = &stored.fact;
    FactMessage {
        level: fact.level.clone(),
        provisional: fact.provisional,
        division_code: fact.division_code.clone(),
        valid_from_ms: fact.valid_from_ms,
        valid_to_ms: fact.valid_to_ms,
        recorded_at_ms: fact.recorded_at_ms,
        feed: names.number_or_add(&stored.feed),
        source_key: fact.source_key.clone(),
        raw_topic: names.number_or_add(&stored.raw_topic),
        raw_partition: stored.raw_partition,
        raw_offset: fact.raw.offset,
        raw_index: fact.raw.index,
        match_reason: names.number_or_add(&fact.match_reason),
        confidence: fact.confidence,
        contract_version: names.number_or_add(&stored.contract_version),
        gazetteer_version: names.number_or_add(&stored.gazetteer_version),
        payload: cells::encode(&fact.payload),
    }
}

fn place_message(state: &PlaceState, names: &Names) -> PlaceMessage {
    let mut origins: Vec<&Arc<Origin>> = Vec::new();
    let mut winners = Vec::new();
    for winner in &state.winners {
        winners.push(winner.as_ref().map_or(0, |winner| {
            let known = origins.iter().position(|origin| *origin == &winner.origin);
            known.unwrap_or_else(|| {
                origins.push(&winner.origin);
                origins.len() - 1
            }) as u32
                + 1
        }));
    }
    let due = |due: &Due| DueMessage { feed: names.number_or_add(&due.feed), day: due.day };
    PlaceMessage {
        row: (!state.row.is_empty()).then(|| cells::encode(&state.row)),
        facts: state.facts,
        origins: origins
            .into_iter()
            .map(|origin| OriginMessage {
                kind: names.number_or_add(&origin.kind),
                fact: origin.fact.as_bytes().to_vec(),
                valid_from_ms: origin.valid_from_ms,
                recorded_at_ms: origin.recorded_at_ms,
                feed: names.number_or_add(&origin.feed),
                source_key: origin.source_key.clone(),
                raw_topic: names.number_or_add(&origin.raw_topic),
                raw_partition: origin.raw_partition,
                raw_offset: origin.raw.offset,
                raw_index: origin.raw.index,
            })
            .collect(),
        series: state
            .series
            .iter()
            .map(|series| {
                let mut before = 0i32;
                let difference =
                    |daily: &Daily| daily.day.wrapping_sub(std::mem::replace(&mut before, daily.day));
                SeriesMessage {
                    floor_day: series.floor_day,
                    facts_before: series.facts_before,
                    feeds: series.days.iter().map(|daily| names.number_or_add(&daily.feed)).collect(),
                    days: series.days.iter().map(difference).collect(),
                    facts: series.days.iter().map(|daily| daily.facts).collect(),
                    sums: series.days.iter().map(|daily| daily.sum).collect(),
                }
            })
            .collect(),
        alarms: state
            .alarms
            .iter()
            .map(|alarm| AlarmMessage {
                rule: names.number_or_add(&alarm.rule),
                ordinal: alarm.ordinal,
                firing: alarm.firing,
                severity: alarm.severity,
                update_key: alarm.update_key.clone(),
            })
            .collect(),
        winners,
        ranks: state.winners.iter().map(|winner| winner.as_ref().map_or(0, |winner| winner.rank)).collect(),
        silences: state
            .silences
            .iter()
            .map(|silence| SilenceMessage {
                kind: names.number_or_add(&silence.kind),
                feeds: silence.last.iter().map(|(feed, _)| names.number_or_add(feed)).collect(),
                days: silence.last.iter().map(|(_, day)| *day).collect(),
                waiting: silence.waiting.as_ref().map(due),
                passed: silence.passed.as_ref().map(due),
            })
            .collect(),
    }
}

fn place_bytes(state: &PlaceState, names: &Names) -> Vec<u8> {
    let (mut row, mut out) = (Vec::new(), Vec::new());
    put_row(&mut row, &state.row);
    put_place(&mut out, state, &row, names);
    out
}

proptest! {
    #[test]
    fn a_fact_is_the_message_and_is_read_back(mut stored in stored()) {
        let names = Names::default();
        let mut bytes = Vec::new();
        put_fact(&mut bytes, &stored, &names);
        prop_assert_eq!(&bytes, &fact_message(&stored, &names).encode_to_vec());
        let key = fact_key(stored.fact.place, names.number_or_add(&stored.kind), &stored.fact.id);
        // Only what stands is stored.
        stored.fact.statement = Statement::Assert;
        prop_assert_eq!(fact_from(&key, &bytes, &names).unwrap(), stored);
    }

    #[test]
    fn a_place_is_the_message_and_is_read_back(state in place()) {
        let names = Names::default();
        let bytes = place_bytes(&state, &names);
        prop_assert_eq!(&bytes, &place_message(&state, &names).encode_to_vec());
        let row = (!state.row.is_empty()).then(|| state.row.clone());
        prop_assert_eq!(place_row_from(&bytes).unwrap(), row);
        prop_assert_eq!(place_from(&bytes, &names).unwrap(), state);
    }

    #[test]
    fn a_change_is_the_message_and_is_read_back(
        stored in stored(), row in prop::collection::vec(value(), 0..20), at in any::<prop::sample::Index>(),
    ) {
        let names = Names::default();
        let operations = [Operation::Insert, Operation::Update, Operation::Delete];
        let operation = at.index(3);
        let head = ChangeHead {
            table: names.number_or_add("t"), operation: operations[operation], place: stored.fact.place,
            recorded_at_ms: stored.fact.recorded_at_ms,
        };
        let message = ChangeMessage {
            table: head.table, operation: operation as u32, place: head.place.get(),
            recorded_at_ms: head.recorded_at_ms, row: cells::encode(&row), fact: None,
        };
        let mut bytes = Vec::new();
        put_change(&mut bytes, &head, &message.row);
        prop_assert_eq!(&bytes, &message.encode_to_vec());
        prop_assert_eq!(change_from(7, &bytes, &names, |_| None).unwrap().row, row);

        let key = fact_key(stored.fact.place, names.number_or_add(&stored.kind), &stored.fact.id);
        let retracted = stored.fact.statement == Statement::Retract;
        let fact = fact_message(&stored, &names).encode_to_vec();
        let said = SaidMessage { key: key.to_vec(), retracted, fact };
        bytes.clear();
        put_fact_change(&mut bytes, &head, &key, retracted, &said.fact);
        let message = ChangeMessage { row: Vec::new(), fact: Some(said), ..message };
        prop_assert_eq!(&bytes, &message.encode_to_vec());
        let change = change_from(7, &bytes, &names, |_| Some(40)).unwrap();
        prop_assert_eq!(change.row, stored.row(40));
        prop_assert_eq!((change.sequence, change.operation, change.place), (7, head.operation, head.place));
    }

    #[test]
    fn damaged_bytes_are_an_error_or_another_place_but_no_panic(
        state in place(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let names = Names::default();
        let mut bytes = place_bytes(&state, &names);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
        }
        let theirs = PlaceMessage::decode(&bytes[..]);
        let ours = place_from(&bytes, &names);
        // What no library can read, we do not read either.
        prop_assert!(theirs.is_ok() || ours.is_err(), "{ours:?}");
    }

    #[test]
    fn changes_that_lie_together_keep_their_sequences(
        changes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..40),
        before in 0..u64::MAX / 2, skipped in 0..50u64,
    ) {
        let mut group = Vec::new();
        changes.iter().for_each(|change| put_in_group(&mut group, change));
        let last = before + changes.len() as u64;
        let read: Vec<(u64, &[u8])> =
            changes_of(last, &group, before + skipped).unwrap().map(Result::unwrap).collect();
        let numbered = (before + 1..).zip(changes.iter().map(Vec::as_slice));
        prop_assert_eq!(read, numbered.skip(skipped as usize).collect::<Vec<_>>());
    }

    #[test]
    fn a_change_that_was_stored_alone_is_read(stored in stored(), sequence in 1..u64::MAX / 2) {
        let names = Names::default();
        let place = stored.fact.place;
        // Also where its table's number is 0, which is not written.
        let table = names.number_or_add("t");
        let head = ChangeHead { table, operation: Operation::Insert, place, recorded_at_ms: 1 };
        let mut alone = Vec::new();
        put_change(&mut alone, &head, b"");
        let read: Vec<_> = changes_of(sequence, &alone, 0).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read, vec![(sequence, &alone[..])]);
        prop_assert_eq!(changes_of(sequence, &alone, sequence).unwrap().count(), 0);
    }
}
