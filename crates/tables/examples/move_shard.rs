//! What it costs to move a shard: checkpoints while batches go on, and a restore, with a folder as object store, or with a real one.
//!
//! ```sh
//! cargo run --release --example move_shard -- FOLDER 1000000 [s3://BUCKET/PREFIX]
//! ```
//! FOLDER must be empty and have room for four times the state. A place has a row of a few hundred bytes and three facts.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use yibiao_records::{Fact, FactId, FactKind, FactKinds, Operation, PlaceId, RawPosition, Statement, Value};
use yibiao_state::Options;
use yibiao_tables::{
    Lake, Shard, Tables,
    checkpoint::{Checkpointer, Checkpoints, acquire},
    lake::Layout,
    objects,
    shard::{PlaceState, StoredFact},
};

const BATCH_PLACES: u64 = 5_000;
/// As a pipeline's shards are opened.
const CACHE_BYTES: u64 = 32 << 20;
const WRITE_BUFFER_BYTES: u64 = 16 << 20;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Bench<'a> {
    root: &'a Path,
    /// Of checkpoints and lake.
    shared: &'a str,
    tables: Tables,
}

impl Bench<'_> {
    async fn take(&self, machine: &str) -> Outcome<Shard> {
        let text = |name: &str| format!("{}/{name}", self.shared);
        let checkpoints = Checkpoints::open(&text("checkpoints"))?;
        let lake = Lake::open(&text("lake"), Layout::new(&self.tables, 1))?;
        let options = Options {
            cache_bytes: CACHE_BYTES,
            write_buffer_bytes: WRITE_BUFFER_BYTES,
            ..Options::default()
        };
        let dir = self.root.join(machine).join("shard-0");
        Ok(acquire(&checkpoints, &lake, &[(0, dir)], &self.tables, &options).await?.remove(0))
    }
}

fn stored(place: PlaceId, number: u64, kind: &Arc<str>) -> StoredFact {
    StoredFact {
        kind: kind.clone(),
        feed: "utilities/water-readings".into(),
        raw_topic: "raw.utilities.water-readings".into(),
        raw_partition: 0,
        contract_version: "1.0.0".into(),
        gazetteer_version: "0123456789abcdef".into(),
        fact: Fact {
            statement: Statement::Assert,
            id: FactId::from_bytes((u128::from(number) * 0x9e37_79b9_7f4a_7c15_f39c_c060).to_be_bytes()),
            place,
            level: "dwelling".into(),
            provisional: false,
            division_code: "320106003001".into(),
            valid_from_ms: 1_760_000_000_000 + number as i64,
            valid_to_ms: None,
            recorded_at_ms: 1_760_000_000_000,
            source_key: format!("W{number:08}"),
            raw: RawPosition { offset: number as i64, index: 0 },
            match_reason: "exact".into(),
            confidence: 1.0,
            payload: vec![Value::Decimal(number as i64)],
        },
    }
}

/// One batch: rows and facts of so many places, spread over all of them.
fn batch(shard: &Shard, places: u64, from: u64) -> Outcome<()> {
    let (table, kind): (Arc<str>, Arc<str>) = ("places".into(), "water".into());
    let mut writer = shard.writer()?;
    let mut writing = writer.begin(from as i64)?;
    for number in from..from + BATCH_PLACES {
        // Odd, so that each place comes once before any comes twice, where their number is a power of two or of ten.
        let spread = number.wrapping_mul(7_368_787) % places;
        let Some(place) = PlaceId::new(spread as i64 + 1) else { continue };
        let row = vec![
            Value::Text(format!("江苏省南京市鼓楼区国泰新村{}幢{spread}室", spread % 97)),
            Value::Int(number as i64),
        ];
        for fact in 0..3 {
            writing.put_fact(&stored(place, spread * 3 + fact, &kind));
        }
        writing.change(&table, Operation::Update, place, &row);
        writing.put_place(place, &PlaceState { row, facts: 3, ..PlaceState::default() });
    }
    writing.commit()?;
    shard.trim_outbox(shard.view().last_sequence())?;
    Ok(())
}

fn tables() -> Outcome<Tables> {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(pipelines.join("facts"))? {
        kinds.push(serde_saphyr::from_str::<FactKind>(&std::fs::read_to_string(entry?.path())?)?);
    }
    Ok(Tables::load(&pipelines.join("tables"), &FactKinds::new(kinds), 16)?)
}

fn bytes(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let (path, length) = {
            let entry = entry?;
            (entry.path(), entry.metadata()?.len())
        };
        bytes += if path.is_dir() { self::bytes(&path)? } else { length };
    }
    Ok(bytes)
}

fn cpu() -> Duration {
    // User and system time in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn told(what: &str, began: Instant, before: Duration) {
    let (took, used) = (began.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    println!("{what}: {took:.2} s, CPU {used:.2} s; {} requests so far", objects::sent());
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (root, places, shared) = match arguments.as_slice() {
        [_, root, places] => (root, places, root),
        [_, root, places, shared] => (root, places, shared),
        _ => return Err("say FOLDER and how many places".into()),
    };
    let places: u64 = places.parse()?;
    let bench = Bench { root: Path::new(root), shared, tables: tables()? };
    let shard = bench.take("a").await?;
    let (began, before) = (Instant::now(), cpu());
    for from in (0..places).step_by(BATCH_PLACES as usize) {
        batch(&shard, places, from)?;
    }
    told(&format!("{places} places"), began, before);
    println!("on disk: {} MB", shard.disk_bytes()? / 1_000_000);
    let (began, before) = (Instant::now(), cpu());
    drop(shard.copy(&bench.root.join("copy"))?);
    told("links and copied journals, batches waiting", began, before);
    let mut checkpointer = Checkpointer::new(vec![shard.clone()], Duration::ZERO, 2);
    for (number, batches) in [0, 10, 10].into_iter().enumerate() {
        for more in 0..batches {
            batch(&shard, places, places + more * BATCH_PLACES)?;
        }
        let (began, before) = (Instant::now(), cpu());
        checkpointer.all().await?;
        told(
            &format!("checkpoint {}, after {} more places", number + 1, batches * BATCH_PLACES),
            began,
            before,
        );
        if shared == root {
            println!(
                "in the checkpoints' folder: {} MB",
                bytes(&bench.root.join("checkpoints"))? / 1_000_000
            );
        }
    }
    let sequence = shard.view().last_sequence();
    drop((shard, checkpointer));
    let (began, before) = (Instant::now(), cpu());
    let shard = bench.take("b").await?;
    told("taken on another machine: epoch, fence, restore, open", began, before);
    assert_eq!(shard.view().last_sequence(), sequence);
    Ok(())
}
