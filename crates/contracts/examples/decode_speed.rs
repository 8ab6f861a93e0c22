//! How long the door and the decoder take for a record of each sample that is accepted.
//! `cargo run --release -p yibiao-contracts --example decode_speed`

use std::{path::Path, time::Instant};

use yibiao_contracts::{load_dir, load_fact_kinds, try_sample};

const ROUNDS: u32 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let kinds = load_fact_kinds(&pipelines.join("facts"))?;
    println!("{:<32} {:>6} {:>9} {:>10}", "feed", "bytes", "door ns", "decode ns");
    for contract in load_dir(&pipelines.join("feeds"), &kinds)?.iter() {
        let report = try_sample(contract, &kinds)?;
        let records = yibiao_contracts::sample::read_records(contract, &report.sample)?;
        let Some(index) = report.records.iter().position(|tried| tried.outcome.is_ok()) else { continue };
        let record = &records[index];
        let (mut door, mut decoder) = (contract.door(), contract.decoder(&kinds)?);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(door.admit(&record.value, record.columns.as_deref()));
        }
        let door_ns = start.elapsed().as_nanos() / u128::from(ROUNDS);
        let admitted = door.admit(&record.value, record.columns.as_deref());
        let start = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(decoder.decode(&admitted.value, record.columns.as_deref()).is_ok());
        }
        let decode_ns = start.elapsed().as_nanos() / u128::from(ROUNDS);
        println!("{:<32} {:>6} {door_ns:>9} {decode_ns:>10}", contract.feed.as_str(), record.value.len());
    }
    Ok(())
}
