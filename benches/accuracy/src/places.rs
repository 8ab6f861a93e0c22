//! Queries linked to places: right, wrong, or rightly left unanswered.

use crate::speed::speed;
use crate::{Errors, Score};
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use yibiao_address::{
    Answer, Divisions, Gazetteer, GazetteerBuilder, Level, Query, Resolver, Scratch, StandardAddress,
};

/// A file of columns parted by tabs, without quotes.
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn read(path: &Path) -> Result<Table> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut rows = text.lines().map(|line| line.split('\t').map(str::to_owned).collect());
        Ok(Table { columns: rows.next().unwrap_or_default(), rows: rows.collect() })
    }

    fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|c| c == name).with_context(|| format!("there is no column {name}"))
    }
}

fn cell(row: &[String], at: usize) -> &str {
    row.get(at).map_or("", String::as_str)
}

/// Builds the gazetteer; place n is `ids[n - 1]`.
fn build(path: &Path, out: &Path) -> Result<Vec<String>> {
    let table = Table::read(path)?;
    let (id, city, name, address) =
        (table.column("place_id")?, table.column("city")?, table.column("name")?, table.column("address")?);
    let (lng, lat) = (table.column("lng")?, table.column("lat")?);
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    let (mut ids, mut numbers) = (Vec::new(), HashMap::new());
    for row in &table.rows {
        let place = *numbers.entry(cell(row, id)).or_insert_with(|| {
            ids.push(cell(row, id).to_owned());
            ids.len() as u64
        });
        builder.add(StandardAddress {
            place,
            level: Level::Compound,
            city: cell(row, city).to_owned(),
            name: Some(cell(row, name).to_owned()).filter(|name| !name.is_empty()),
            address: cell(row, address).to_owned(),
            lng_lat: cell(row, lng).parse().ok().zip(cell(row, lat).parse().ok()),
            ..StandardAddress::default()
        })?;
    }
    builder.finish(out)?;
    Ok(ids)
}

pub(crate) fn score(path: &Path, places: &Path, seconds: f64, errors: &mut Errors) -> Result<Vec<Score>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("places.gazetteer");
    let ids = build(places, &file)?;
    let resolver = Resolver::new(Arc::new(Gazetteer::open(&file)?));
    let queries = Table::read(path)?;
    let at = [
        queries.column("city")?,
        queries.column("name")?,
        queries.column("address")?,
        queries.column("gold")?,
    ];
    let mut scores = Vec::new();
    for (mode, with_name) in [("name+address", true), ("address", false)] {
        scores.extend(
            Asked { resolver: &resolver, ids: &ids, queries: &queries, at, mode, with_name }
                .score(seconds, errors),
        );
    }
    Ok(scores)
}

/// The queries in one of the two modes.
struct Asked<'a> {
    resolver: &'a Resolver,
    ids: &'a [String],
    queries: &'a Table,
    /// The columns city, name, address and gold.
    at: [usize; 4],
    mode: &'static str,
    with_name: bool,
}

impl Asked<'_> {
    fn query<'r>(&self, row: &'r [String]) -> Query<'r> {
        let [city, name, address, _] = self.at;
        Query {
            text: cell(row, address),
            city: Some(cell(row, city)),
            name: self.with_name.then(|| cell(row, name)),
        }
    }

    fn id(&self, place: Option<u64>) -> Option<&str> {
        let place = usize::try_from(place?).ok()?;
        self.ids.get(place.wrapping_sub(1)).map(String::as_str)
    }

    fn score(&self, seconds: f64, errors: &mut Errors) -> [Score; 3] {
        let mut scratch = Scratch::default();
        let (mut linked, mut linked_right) = (0, 0);
        let (mut answered, mut none, mut none_right) = (0, 0, 0);
        for row in &self.queries.rows {
            let answer = self.resolver.resolve(&self.query(row), &mut scratch);
            let gold = Some(cell(row, self.at[3])).filter(|gold| *gold != "NONE");
            let got = answer.place.map(|_| self.id(answer.place).unwrap_or("?"));
            answered += usize::from(got.is_some());
            match gold {
                Some(_) => linked += 1,
                None => none += 1,
            }
            if got == gold {
                linked_right += usize::from(gold.is_some());
                none_right += usize::from(gold.is_none());
            } else {
                self.note(row, gold, &answer, errors);
            }
        }
        let speed = speed(self.queries.rows.len(), seconds, || {
            for row in &self.queries.rows {
                std::hint::black_box(self.resolver.resolve(&self.query(row), &mut scratch));
            }
        });
        let line = |measure, right: usize, n: usize| Score {
            set: format!("resolve {}", self.mode),
            measure,
            value: right as f64 / n.max(1) as f64,
            n,
            speed,
        };
        [
            line("resolve.linked", linked_right, linked),
            line("resolve.precision", linked_right, answered),
            line("resolve.none", none_right, none),
        ]
    }

    fn note(&self, row: &[String], gold: Option<&str>, answer: &Answer, errors: &mut Errors) {
        let reason = answer.reason.as_str();
        let listed = answer.candidates.iter().any(|c| self.id(Some(c.place_id)) == gold);
        let kind = match (answer.place, gold) {
            (Some(_), Some(_)) => format!("wrong place: {reason}"),
            (Some(_), None) => format!("should have abstained: {reason}"),
            (None, _) if listed => format!("abstained, right one listed: {reason}"),
            (None, _) => format!("abstained, right one not found: {reason}"),
        };
        let shown = format!(
            "{} | {} | {}  gold {}  got {}",
            cell(row, self.at[0]),
            cell(row, self.at[1]),
            cell(row, self.at[2]),
            gold.unwrap_or("NONE"),
            self.id(answer.place).unwrap_or("NONE"),
        );
        errors.add("resolve", self.mode, kind, shown);
    }
}
