//! One table of several runs.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, Result};

/// Figures by what they are of, in the order in which they were first told; then by engine.
#[derive(Default)]
struct Figures {
    order: Vec<(String, String)>,
    engines: Vec<String>,
    values: BTreeMap<(String, String), Vec<f64>>,
}

impl Figures {
    fn add(&mut self, line: &str) -> Result<()> {
        let [engine, what, value, unit] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Ok(());
        };
        let value = value.parse().with_context(|| format!("no number in: {line}"))?;
        if !self.engines.iter().any(|known| known == engine) {
            self.engines.push(engine.to_owned());
        }
        if !self.order.iter().any(|(known, _)| known == what) {
            self.order.push((what.to_owned(), unit.to_owned()));
        }
        self.values.entry((engine.to_owned(), what.to_owned())).or_default().push(value);
        Ok(())
    }

    fn median(&self, engine: &str, what: &str) -> Option<f64> {
        let mut values = self.values.get(&(engine.to_owned(), what.to_owned()))?.clone();
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        Some(if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 })
    }
}

pub fn compare(files: &[PathBuf]) -> Result<()> {
    let mut figures = Figures::default();
    for file in files {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        text.lines().try_for_each(|line| figures.add(line))?;
    }
    println!("| | {} | ratio |", figures.engines.join(" | "));
    println!("|---{}|", "|---".repeat(figures.engines.len() + 1));
    for (what, unit) in &figures.order {
        let medians: Vec<_> = figures.engines.iter().map(|engine| figures.median(engine, what)).collect();
        let cells: Vec<_> = medians
            .iter()
            .map(|median| median.map(|m| format!("{} {unit}", short(m))).unwrap_or_default())
            .collect();
        let ratio = match medians[..] {
            [Some(first), Some(second), ..] if second != 0.0 => format!("{:.2}", first / second),
            _ => String::new(),
        };
        println!("| {what} | {} | {ratio} |", cells.join(" | "));
    }
    Ok(())
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
