//! Pairs of addresses: 0 none, 1 one contains the other, 2 the same place.

use crate::speed::speed;
use crate::{Errors, Score};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;
use yibiao_address::match_pair;

#[derive(Deserialize)]
struct Pair {
    query: String,
    candidate: String,
    label: u8,
}

const CLASSES: [&str; 3] = ["none", "partial", "same"];

pub(crate) fn score(path: &Path, set: &str, seconds: f64, errors: &mut Errors) -> Result<Vec<Score>> {
    let pairs: Vec<Pair> = crate::labelled::lines(path)?;
    let class = |n: u8| CLASSES.get(usize::from(n)).copied().context("a label is 0, 1 or 2");
    let mut counts = [[0u32; 3]; 3];
    for pair in &pairs {
        let (gold, got) = (pair.label, match_pair(&pair.query, &pair.candidate));
        let (wanted, answered) = (class(gold)?, class(got)?);
        counts[usize::from(gold)][usize::from(got)] += 1;
        if gold != got {
            let shown = format!("{} | {}", pair.query, pair.candidate);
            errors.add("pairs.macro_f1", wanted, format!("answered {answered}"), shown);
        }
    }
    let f1 = |class: usize| {
        let gold: u32 = counts[class].iter().sum();
        let got: u32 = counts.iter().map(|row| row[class]).sum();
        2.0 * f64::from(counts[class][class]) / f64::from((gold + got).max(1))
    };
    let value = (0..3).map(f1).sum::<f64>() / 3.0;
    let speed = speed(pairs.len(), seconds, || {
        for pair in &pairs {
            std::hint::black_box(match_pair(&pair.query, &pair.candidate));
        }
    });
    Ok(vec![Score { set: set.to_owned(), measure: "pairs.macro_f1", value, n: pairs.len(), speed }])
}
