//! A shard that is a few maps: what the projector is compared with.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;
use yibiao_records::{Change, Column, ColumnType, Operation, PlaceId, TableSchema, Value};
use yibiao_tables::{
    Error,
    lake::{ChangeSource, ChangeView, Fused, Layout},
};

pub const SHARDS: u32 = 2;
pub const BUCKETS: u32 = 3;

pub fn layout() -> Layout {
    let places = TableSchema {
        name: "places".into(),
        columns: vec![
            Column::new("place_id", ColumnType::Int, "地点"),
            Column::new("division_code", ColumnType::Text, "行政区划代码"),
            Column::new("rooms", ColumnType::Int, "房间数"),
            Column::new("updated_at", ColumnType::Timestamp, "更新时间"),
        ],
    };
    let water = TableSchema {
        name: "fact_water".into(),
        columns: vec![
            Column::new("place_id", ColumnType::Int, "地点"),
            Column::new("division_code", ColumnType::Text, "行政区划代码"),
            Column::new("recorded_at", ColumnType::Timestamp, "记录时间"),
            Column::new("amount", ColumnType::Decimal, "用水量"),
        ],
    };
    let warnings = TableSchema {
        name: "warnings".into(),
        columns: vec![
            Column::new("warning_id", ColumnType::Text, "预警编号"),
            Column::new("place_id", ColumnType::Int, "地点"),
            Column::new("severity", ColumnType::Int, "等级"),
        ],
    };
    Layout {
        tables: vec![
            Fused { schema: places, title: "地点融合表".into(), keyed: true },
            Fused { schema: warnings, title: "预警".into(), keyed: true },
            Fused { schema: water, title: "用水".into(), keyed: false },
        ],
        shards: SHARDS,
        buckets_per_shard: BUCKETS,
    }
}

#[derive(Default, Clone)]
pub struct State {
    pub sequence: u64,
    pub trimmed: u64,
    pub outbox: BTreeMap<u64, Change>,
    /// Never trimmed.
    pub history: Vec<Change>,
    pub rows: BTreeMap<i64, Vec<Value>>,
    /// By place and id.
    pub warnings: BTreeMap<(i64, String), Vec<Value>>,
    /// What is on disk.
    pub durable: Option<Box<State>>,
    /// How often it was asked to synchronise.
    pub persisted: usize,
}

#[derive(Clone)]
pub struct ModelShard {
    number: u32,
    state: Arc<Mutex<State>>,
    sender: Arc<watch::Sender<u64>>,
}

impl ModelShard {
    pub fn all() -> Vec<ModelShard> {
        (0..SHARDS)
            .map(|number| ModelShard {
                number,
                state: Arc::default(),
                sender: Arc::new(watch::Sender::new(0)),
            })
            .collect()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Everything that was not synchronised is lost.
    pub fn lose_power(&self) {
        let mut state = self.state();
        let durable = state.durable.take().map(|durable| *durable).unwrap_or_default();
        *state = durable;
        self.sender.send_replace(state.sequence);
    }

    fn change(&self, table: &str, operation: Operation, place: PlaceId, row: Vec<Value>) {
        let mut state = self.state();
        state.sequence += 1;
        let change = Change {
            sequence: state.sequence,
            table: table.into(),
            operation,
            place,
            recorded_at_ms: 1_700_000_000_000 + state.sequence as i64,
            row,
        };
        state.outbox.insert(change.sequence, change.clone());
        state.history.push(change);
        self.sender.send_replace(state.sequence);
    }

    /// Sets or, with None, deletes a place's row.
    pub fn put_place(&self, place: i64, rooms: Option<i64>) {
        let id = PlaceId::new(place).unwrap();
        assert_eq!(id.shard(SHARDS), self.number);
        let before = self.state().rows.get(&place).cloned();
        match (rooms, before) {
            (Some(rooms), before) => {
                let row = vec![
                    Value::Int(place),
                    Value::Text(if place % 3 == 0 { "320500000000" } else { "320106000000" }.into()),
                    Value::Int(rooms),
                    Value::Timestamp(1_700_000_000_000 + rooms),
                ];
                self.state().rows.insert(place, row.clone());
                let operation = if before.is_some() { Operation::Update } else { Operation::Insert };
                self.change("places", operation, id, row);
            }
            (None, Some(row)) => {
                self.state().rows.remove(&place);
                self.change("places", Operation::Delete, id, row);
            }
            (None, None) => {}
        }
    }

    /// Sets or, with None, deletes one of a place's warnings.
    pub fn put_warning(&self, place: i64, nth: u8, severity: Option<i64>) {
        let id = PlaceId::new(place).unwrap();
        let key = (place, format!("W{place}-{nth}"));
        let before = self.state().warnings.get(&key).cloned();
        match (severity, before) {
            (Some(severity), before) => {
                let row = vec![Value::Text(key.1.clone()), Value::Int(place), Value::Int(severity)];
                self.state().warnings.insert(key, row.clone());
                let operation = if before.is_some() { Operation::Update } else { Operation::Insert };
                self.change("warnings", operation, id, row);
            }
            (None, Some(row)) => {
                self.state().warnings.remove(&key);
                self.change("warnings", Operation::Delete, id, row);
            }
            (None, None) => {}
        }
    }

    pub fn add_fact(&self, place: i64, amount: i64) {
        let id = PlaceId::new(place).unwrap();
        let row = vec![
            Value::Int(place),
            Value::Text("320106000000".into()),
            Value::Timestamp(1_700_000_000_000),
            Value::Decimal(amount),
        ];
        self.change("fact_water", Operation::Insert, id, row);
    }
}

/// The shard of a place.
pub fn of(shards: &[ModelShard], place: i64) -> &ModelShard {
    &shards[PlaceId::new(place).unwrap().shard(SHARDS) as usize]
}

pub struct ModelView {
    state: State,
}

impl ChangeSource for ModelShard {
    type View = ModelView;

    fn number(&self) -> u32 {
        self.number
    }

    fn view(&self) -> ModelView {
        let mut state = self.state().clone();
        state.history.clear();
        state.durable = None;
        ModelView { state }
    }

    fn persist(&self) -> Result<(), Error> {
        let mut state = self.state();
        state.persisted += 1;
        let now = State { durable: None, ..state.clone() };
        state.durable = Some(Box::new(now));
        Ok(())
    }

    fn trim_outbox(&self, through: u64) -> Result<(), Error> {
        let mut state = self.state();
        assert!(through <= state.sequence);
        state.trimmed = state.trimmed.max(through);
        state.outbox.retain(|sequence, _| *sequence > through);
        Ok(())
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.sender.subscribe()
    }
}

impl ModelView {
    fn current(&self, table: &str) -> Box<dyn Iterator<Item = (i64, &Vec<Value>)> + '_> {
        match table {
            "places" => Box::new(self.state.rows.iter().map(|(place, row)| (*place, row))),
            "warnings" => Box::new(self.state.warnings.iter().map(|((place, _), row)| (*place, row))),
            other => panic!("{other} is not keyed"),
        }
    }
}

impl ChangeView for ModelView {
    fn last_sequence(&self) -> u64 {
        self.state.sequence
    }

    fn outbox(&self, after: u64) -> Box<dyn Iterator<Item = Result<Change, Error>> + '_> {
        Box::new(self.state.outbox.range(after + 1..).map(|(_, change)| Ok(change.clone())))
    }

    fn bucket_rows<'a>(
        &'a self,
        table: &'a str,
        bucket: u32,
    ) -> Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + 'a> {
        let here = move |place: &i64| PlaceId::new(*place).unwrap().bucket(BUCKETS) == bucket;
        Box::new(self.current(table).filter(move |(place, _)| here(place)).map(|(_, row)| Ok(row.clone())))
    }

    fn rows_at<'a>(
        &'a self,
        table: &'a str,
        place: PlaceId,
    ) -> Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + 'a> {
        let here = move |at: &i64| *at == place.get();
        Box::new(self.current(table).filter(move |(at, _)| here(at)).map(|(_, row)| Ok(row.clone())))
    }
}
