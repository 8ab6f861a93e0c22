//! A lake of two tables that tests write to as fusion does, and the centres' tables that are made of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use arrow::{array::AsArray, datatypes::Int64Type};
use tempfile::TempDir;
use yibiao_delivery::{Config, Delivery, Error};
use yibiao_records::{Column, ColumnType, TableSchema, Value};
use yibiao_tables::{
    Lake,
    lake::{Commit, Fused, Layout, batch},
};
use yibiao_topics::Client;

/// In every cell that must not leave.
pub const CANARY: &str = "13900000000";

fn column(name: &str, column_type: ColumnType) -> Column {
    Column::new(name, column_type, name)
}

pub fn layout() -> Layout {
    use ColumnType::{Int, Text};
    let mut phone = column("landlord_phone", Text);
    phone.personal = true;
    let places = vec![
        column("place_id", Int),
        column("division_code", Text),
        column("rooms", Int),
        phone,
        column("sources", Text),
    ];
    let warnings = vec![
        column("warning_id", Text),
        column("place_id", Int),
        column("division_code", Text),
        column("state", Text),
        column("evidence", Text),
    ];
    let table = |name: &str, columns| Fused {
        schema: TableSchema { name: name.into(), columns },
        title: name.into(),
        keyed: true,
    };
    Layout {
        tables: vec![table("places", places), table("warnings", warnings)],
        shards: 2,
        buckets_per_shard: 2,
    }
}

pub const NANJING: &str = "320106001001";
pub const SUZHOU: &str = "320505001001";

pub struct Scene {
    pub dir: TempDir,
    pub lake: Lake,
    pub sequence: u64,
    pub places: BTreeMap<i64, (String, i64)>,
}

pub fn grant(id: &str, area: &str, more: &str) -> String {
    format!(
        "id: {id}\ntitle: {id}\narea: \"{area}\"\npurposes: [房屋安全]\nuntil: 2099-12-31\ntables:\n  - name: places\n  - name: warnings\nform:\n  delta: {{folder: {id}}}\n{more}"
    )
}

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("grants")).unwrap();
        let lake = Lake::open(dir.path().join("lake").to_str().unwrap(), layout()).unwrap();
        Self { dir, lake, sequence: 0, places: BTreeMap::new() }
    }

    pub fn write_grant(&self, id: &str, text: &str) {
        std::fs::write(self.path(&format!("grants/{id}.yaml")), text).unwrap();
    }

    pub fn path(&self, of: &str) -> PathBuf {
        self.dir.path().join(of)
    }

    /// As the projector would: one commit to the change log, one to each touched bucket. Even places are in
    /// shard 0, odd ones in shard 1.
    pub async fn put(&mut self, places: &[(i64, &str, i64)]) {
        let changes = self.lake.layout().tables[0].changes();
        let mut rows = Vec::new();
        for (place, division, rooms) in places {
            self.sequence += 1;
            self.places.insert(*place, ((*division).to_owned(), *rooms));
            let mut row = vec![
                Value::Int(place % 2),
                Value::Int(self.sequence as i64),
                Value::Text("update".into()),
                Value::Timestamp(1_700_000_000_000),
            ];
            row.extend(self.row(*place));
            rows.push(row);
        }
        let mut table = self.lake.open_table(&changes).await.unwrap();
        let mut writer = table.writer().unwrap();
        writer.write(&batch(&changes.schema, &rows).unwrap()).await.unwrap();
        let add = writer.finish().await.unwrap();
        table.commit(Commit { add, ..Commit::default() }).await.unwrap();

        let base = self.lake.layout().tables[0].base().unwrap();
        let buckets: BTreeSet<i64> = places.iter().map(|(place, ..)| place % 4).collect();
        let mut rows = Vec::new();
        for place in self.places.keys().filter(|place| buckets.contains(&(*place % 4))) {
            let mut row = self.row(*place);
            row.push(Value::Int(place % 4));
            rows.push(row);
        }
        let mut table = self.lake.open_table(&base).await.unwrap();
        let mut writer = table.writer().unwrap();
        writer.write(&batch(&base.schema, &rows).unwrap()).await.unwrap();
        let add = writer.finish().await.unwrap();
        table.commit(Commit { add, replace_buckets: buckets, ..Commit::default() }).await.unwrap();
    }

    pub fn row(&self, place: i64) -> Vec<Value> {
        let (division, rooms) = &self.places[&place];
        let sources = format!(r#"{{"rooms":{{"feed":"police/x"}},"landlord_phone":{{"value":"{CANARY}"}}}}"#);
        vec![
            Value::Int(place),
            Value::Text(division.clone()),
            Value::Int(*rooms),
            Value::Text(CANARY.into()),
            Value::Text(sources),
        ]
    }

    pub async fn warn(&mut self, warnings: &[(&str, i64, &str)]) {
        let changes = self.lake.layout().tables[1].changes();
        let mut rows = Vec::new();
        for (id, place, division) in warnings {
            self.sequence += 1;
            // `-w1`: it is cleared.
            let (id, state) = id.strip_prefix('-').map_or((*id, "raised"), |id| (id, "cleared"));
            rows.push(vec![
                Value::Int(place % 2),
                Value::Int(self.sequence as i64),
                Value::Text("insert".into()),
                Value::Timestamp(1_700_000_000_000),
                Value::Text(id.to_owned()),
                Value::Int(*place),
                Value::Text((*division).to_owned()),
                Value::Text(state.into()),
                Value::Text(format!(
                    r#"{{"area_m2":40,"facts":[{{"column":"landlord_phone","value":"{CANARY}"}}]}}"#
                )),
            ]);
        }
        let mut table = self.lake.open_table(&changes).await.unwrap();
        let mut writer = table.writer().unwrap();
        writer.write(&batch(&changes.schema, &rows).unwrap()).await.unwrap();
        let add = writer.finish().await.unwrap();
        table.commit(Commit { add, ..Commit::default() }).await.unwrap();
    }

    pub fn delivery(&self, client: Option<Client>) -> Result<Delivery, Error> {
        self.delivery_with(client, Config::default())
    }

    pub fn delivery_with(&self, client: Option<Client>, config: Config) -> Result<Delivery, Error> {
        // Another handle than the writer's, as in another process.
        let lake = Lake::open(self.path("lake").to_str().unwrap(), layout()).unwrap();
        Delivery::open(
            &self.path("grants"),
            lake,
            client,
            self.path("out").to_str().unwrap(),
            &self.path("audit.jsonl"),
            Config { interval: Duration::from_millis(20), ..config },
        )
    }

    /// place to rooms, in a centre's base table.
    pub async fn base(&self, centre: &str) -> BTreeMap<i64, i64> {
        let lake = Lake::open(self.path("out").join(centre).to_str().unwrap(), layout()).unwrap();
        let session = lake.session([]).unwrap();
        let batches =
            session.sql("select place_id, rooms from places").await.unwrap().collect().await.unwrap();
        let mut rows = BTreeMap::new();
        for batch in batches {
            let int = |index: usize| batch.column(index).as_primitive::<Int64Type>().clone();
            for row in 0..batch.num_rows() {
                assert_eq!(rows.insert(int(0).value(row), int(1).value(row)), None);
            }
        }
        rows
    }

    /// Sequences in a centre's change log, sorted.
    pub async fn changes(&self, centre: &str, table: &str) -> Vec<i64> {
        let lake = Lake::open(self.path("out").join(centre).to_str().unwrap(), layout()).unwrap();
        let session = lake.session([]).unwrap();
        let sql = format!("select sequence from {table} order by 1");
        let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
        batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }
}
