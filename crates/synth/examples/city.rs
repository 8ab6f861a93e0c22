//! Writes a city: `cargo run --release -p yibiao-synth --example city -- <dir> [dwellings] [days] [seed]`.

use std::path::Path;

use yibiao_synth::{Error, Plan, write_city};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| {
        arguments
            .get(at)
            .map(|text| text.parse().map_err(|_| Error::Plan(format!("'{text}' is not a number"))))
    };
    let Some(dir) = arguments.first() else {
        return Err(Error::Plan("say which folder to write to".to_owned()));
    };
    let usual = Plan::default();
    let plan = Plan {
        dwellings: number(1).transpose()?.unwrap_or(usual.dwellings),
        days: number(2).transpose()?.unwrap_or(usual.days),
        seed: number(3).transpose()?.map_or(usual.seed, u64::from),
        ..usual
    };
    let begun = std::time::Instant::now();
    let report = write_city(&plan, Path::new(dir), |step| {
        eprint!("\r{:>3} of {} {:<40}", step.done, step.of, step.what)
    })?;
    eprintln!();
    println!("{report}\n  written in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}
