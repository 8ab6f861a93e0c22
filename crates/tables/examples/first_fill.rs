//! How long a first projection takes: `cargo run --release -p yibiao-tables --example first_fill [facts] [places]`.
//!
//! A made-up shard gives `places` rows and `facts` readings, so that only the projector is measured. The lake is kept
//! in the folder or object store that `YIBIAO_LAKE` names, if it does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use yibiao_records::{Change, Column, ColumnType, Operation, PlaceId, TableSchema, Value};
use yibiao_tables::{
    Error,
    lake::{ChangeSource, ChangeView, Config, Fused, Lake, Layout, Projector},
    objects,
};

const SHARDS: u32 = 4;
const BUCKETS: u32 = 4;

fn column(name: &str, column_type: ColumnType) -> Column {
    Column::new(name, column_type, "")
}

fn layout() -> Layout {
    use ColumnType::{Bool, Decimal, Int, Text, Timestamp};
    let mut places = vec![column("place_id", Int), column("division_code", Text)];
    places.extend((0..18).map(|n| column(&format!("text_{n}"), Text)));
    places.extend((0..14).map(|n| column(&format!("number_{n}"), Decimal)));
    places.extend([column("sources", Text), column("updated_at", Timestamp)]);
    let facts = vec![
        column("statement", Text),
        column("fact_id", Text),
        column("place_id", Int),
        column("division_code", Text),
        column("level", Text),
        column("provisional", Bool),
        column("valid_from", Timestamp),
        column("valid_to", Timestamp),
        column("recorded_at", Timestamp),
        column("feed", Text),
        column("source_key", Text),
        column("raw_topic", Text),
        column("raw_partition", Int),
        column("raw_offset", Int),
        column("contract_version", Text),
        column("match_reason", Text),
        column("amount", Decimal),
    ];
    let table = |name: &str, columns, keyed| Fused {
        schema: TableSchema { name: name.into(), columns },
        title: String::new(),
        keyed,
    };
    Layout {
        tables: vec![table("places", places, true), table("fact_water", facts, false)],
        shards: SHARDS,
        buckets_per_shard: BUCKETS,
    }
}

#[derive(Clone)]
struct Made {
    number: u32,
    places: Arc<Vec<PlaceId>>,
    facts: u64,
    sender: Arc<watch::Sender<u64>>,
}

impl Made {
    fn place_row(&self, place: PlaceId) -> Vec<Value> {
        let mut row = vec![Value::Int(place.get()), Value::Text("320106001001".into())];
        row.extend((0..18).map(|n| Value::Text(format!("鼓楼区国泰新村{n}幢{}", place.get() % 1000))));
        row.extend((0..14).map(|n| Value::Decimal(place.get() % 10_000 + n)));
        let sources = (0..8)
            .map(|n| {
                format!("\"number_{n}\":{{\"feed\":\"utilities/water-readings\",\"offset\":{}}}", place.get())
            })
            .collect::<Vec<_>>();
        row.push(Value::Text(format!("{{{}}}", sources.join(","))));
        row.push(Value::Timestamp(1_700_000_000_000));
        row
    }

    fn change(&self, sequence: u64) -> Change {
        let places = self.places.len() as u64;
        let place = self.places[(sequence % places) as usize];
        let text = |text: &str| Value::Text(text.to_owned());
        let (table, operation, row) = if sequence <= places {
            ("places", Operation::Insert, self.place_row(place))
        } else {
            let row = vec![
                text("assert"),
                Value::Text(format!("{:032x}", u128::from(sequence) * 0x9E37_79B9_7F4A_7C15)),
                Value::Int(place.get()),
                text("320106001001"),
                text("dwelling"),
                Value::Bool(false),
                Value::Timestamp(1_700_000_000_000 + sequence as i64 * 1000),
                Value::Null,
                Value::Timestamp(1_700_000_000_000),
                text("utilities/water-readings"),
                Value::Text(format!("W{:09}\u{1f}2025-11-03", sequence)),
                text("raw.utilities.water-readings"),
                Value::Int(1),
                Value::Int(sequence as i64),
                text("1.0.0"),
                text("exact"),
                Value::Decimal((sequence % 900) as i64),
            ];
            ("fact_water", Operation::Insert, row)
        };
        Change { sequence, table: table.into(), operation, place, recorded_at_ms: 1_700_000_000_000, row }
    }
}

impl ChangeSource for Made {
    type View = Made;
    fn number(&self) -> u32 {
        self.number
    }
    fn view(&self) -> Made {
        self.clone()
    }
    fn persist(&self) -> Result<(), Error> {
        Ok(())
    }
    fn trim_outbox(&self, _through: u64) -> Result<(), Error> {
        Ok(())
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.sender.subscribe()
    }
}

impl ChangeView for Made {
    fn last_sequence(&self) -> u64 {
        self.places.len() as u64 + self.facts
    }
    fn outbox(&self, after: u64) -> Box<dyn Iterator<Item = Result<Change, Error>> + '_> {
        Box::new((after + 1..=self.last_sequence()).map(|sequence| Ok(self.change(sequence))))
    }
    fn bucket_rows<'a>(
        &'a self,
        _table: &'a str,
        bucket: u32,
    ) -> Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + 'a> {
        let here = self.places.iter().filter(move |place| place.bucket(BUCKETS) == bucket);
        Box::new(here.map(|place| Ok(self.place_row(*place))))
    }
    fn rows_at<'a>(
        &'a self,
        _table: &'a str,
        place: PlaceId,
    ) -> Box<dyn Iterator<Item = Result<Vec<Value>, Error>> + 'a> {
        Box::new(std::iter::once(Ok(self.place_row(place))))
    }
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn cpu() -> Duration {
    // User and system time in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let facts = arguments.next().transpose()?.unwrap_or(2_000_000);
    let places = arguments.next().transpose()?.unwrap_or(20_000);
    let dir = tempfile::tempdir()?;
    let kept = std::env::var("YIBIAO_LAKE");
    let lake = Lake::open(kept.as_deref().unwrap_or(&dir.path().to_string_lossy()), layout())?;
    let shards: Vec<_> = (0..SHARDS)
        .map(|number| {
            let ids = (1..=places as i64).filter_map(|n| PlaceId::new(n * 7_919));
            let mine: Vec<_> = ids.filter(|place| place.shard(SHARDS) == number).collect();
            Made {
                number,
                places: Arc::new(mine),
                facts: facts / u64::from(SHARDS),
                sender: Arc::new(watch::Sender::new(0)),
            }
        })
        .collect();
    let (began, before, sent) = (Instant::now(), cpu(), objects::sent());
    let progress = Projector::new(lake.clone(), shards, Config::default()).project_once().await?;
    let (took, used) = (began.elapsed(), cpu() - before);
    println!("CPU {used:.2?}, {} requests", objects::sent() - sent);
    println!(
        "projected {} changes and {} base rows in {took:.2?}: {:.0} changes/s, {} commits, peak {} MiB",
        progress.changes,
        progress.base_rows,
        progress.changes as f64 / took.as_secs_f64(),
        progress.commits,
        peak_mib(),
    );
    let session = lake.session([])?;
    for sql in [
        "select count(*) from fact_water",
        "select number_1 from places where place_id = 79190",
        "select division_code, count(*), sum(amount) from fact_water group by 1",
    ] {
        let began = Instant::now();
        let rows: usize = session.sql(sql).await?.collect().await?.iter().map(|batch| batch.num_rows()).sum();
        println!("{sql}: {rows} rows in {:.2?}", began.elapsed());
    }
    Ok(())
}
