//! Texts with labelled spans: counties, doors, and the spans themselves.

use crate::names::{door, stem};
use crate::speed::speed;
use crate::{Errors, Score};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::Path;
use yibiao_address::{AreaElement, Divisions, Element, Parsed, Parser, parse};

/// The labels that are scored, and our elements. What else is labelled is left out on both sides.
const TAGS: [(&str, &str); 12] = [
    ("prov", "province"),
    ("city", "city"),
    ("district", "county"),
    ("town", "township"),
    ("community", "community"),
    ("road", "road"),
    ("roadno", "number"),
    ("poi", "compound"),
    ("houseno", "building"),
    ("cellno", "unit"),
    ("floorno", "floor"),
    ("roomno", "room"),
];
const MUNICIPALITIES: [&str; 4] = ["北京", "上海", "天津", "重庆"];
const AREAS: [&str; 3] = ["prov", "city", "district"];
const DOORS: [&str; 3] = ["houseno", "cellno", "roomno"];

#[derive(Deserialize)]
struct Row {
    text: String,
    spans: Vec<(String, usize, usize)>,
}

pub(crate) fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let line = |(n, line)| {
        serde_json::from_str(line).with_context(|| format!("line {} of {}", n + 1, path.display()))
    };
    text.lines().filter(|line| !line.trim().is_empty()).enumerate().map(line).collect()
}

fn element(tag: &str) -> Option<&'static str> {
    TAGS.iter().find(|t| t.0 == tag).map(|t| t.1)
}

fn slice(text: &str, start: usize, end: usize) -> String {
    text.chars().skip(start).take(end.saturating_sub(start)).collect()
}

impl Row {
    fn all<'r>(&'r self, tag: &'r str) -> impl Iterator<Item = String> + 'r {
        self.spans.iter().filter(move |s| s.0 == tag).map(|s| slice(&self.text, s.1, s.2))
    }

    fn first(&self, tag: &str) -> Option<String> {
        self.all(tag).next().filter(|text| !text.is_empty())
    }

    /// The text without the provinces and cities that it names.
    fn bare(&self) -> String {
        let mut chars: Vec<char> = self.text.chars().collect();
        let mut out: Vec<_> = self.spans.iter().filter(|s| s.0 == "prov" || s.0 == "city").collect();
        out.sort_by_key(|s| std::cmp::Reverse(s.1));
        for (_, start, end) in out {
            chars.drain((*start).min(chars.len())..(*end).min(chars.len()));
        }
        chars.into_iter().collect()
    }
}

fn area<'p>(parsed: &'p Parsed, element: &str) -> Option<&'p AreaElement> {
    match element {
        "province" => parsed.province.as_ref(),
        "city" => parsed.city.as_ref(),
        "county" => parsed.county.as_ref(),
        "township" => parsed.township.as_ref(),
        "community" => parsed.community.as_ref(),
        _ => None,
    }
}

fn other<'p>(parsed: &'p Parsed, element: &str) -> Option<&'p Element> {
    match element {
        "road" => parsed.road.as_ref(),
        "number" => parsed.number.as_ref(),
        "compound" => parsed.compound.as_ref(),
        "building" => parsed.building.as_ref(),
        "unit" => parsed.unit.as_ref(),
        "floor" => parsed.floor.as_ref(),
        "room" => parsed.room.as_ref(),
        _ => None,
    }
}

fn span(parsed: &Parsed, element: &str) -> Option<(usize, usize)> {
    let span = area(parsed, element).map_or_else(|| other(parsed, element).map(|e| e.span), |a| a.span)?;
    Some((span[0] as usize, span[1] as usize))
}

pub(crate) fn score(path: &Path, set: &str, seconds: f64, errors: &mut Errors) -> Result<Vec<Score>> {
    let rows: Vec<Row> = lines(path)?;
    let divisions = Divisions::bundled();
    let read = |text: &str| parse(text, divisions, None);
    let timed = |texts: &[&str]| {
        let mut parser = Parser::default();
        speed(texts.len(), seconds, || {
            for text in texts {
                let reading = parser.parse(text, divisions, None);
                std::hint::black_box((reading.residue().count(), &reading));
            }
        })
    };
    let texts: Vec<&str> = rows.iter().map(|r| r.text.as_str()).collect();
    let answers: Vec<Parsed> = texts.iter().map(|text| read(text)).collect();
    let whole = timed(&texts);
    let in_strings = speed(texts.len(), seconds, || {
        texts.iter().for_each(|text| drop(std::hint::black_box(read(text))));
    });
    if let (Some(borrowed), Some(in_strings)) = (whole, in_strings) {
        println!(
            "{set:26} parse: {borrowed:.0}/s with borrowed elements (below), {in_strings:.0}/s in strings"
        );
    }
    let full =
        rows.iter().zip(&answers).filter(|(r, _)| r.spans.iter().any(|s| AREAS.contains(&s.0.as_str())));
    let bare_rows: Vec<&Row> = rows
        .iter()
        .filter(|r| r.first("district").is_some() && (r.first("prov").is_some() || r.first("city").is_some()))
        .collect();
    let bare_texts: Vec<String> = bare_rows.iter().map(|r| r.bare()).collect();
    let bare_answers: Vec<Parsed> = bare_texts.iter().map(|text| read(text)).collect();
    let bare_speed = timed(&bare_texts.iter().map(String::as_str).collect::<Vec<_>>());
    let bare = bare_rows.iter().copied().zip(&bare_answers);
    let line = |measure, (right, n): (usize, usize), speed| Score {
        set: set.to_owned(),
        measure,
        value: right as f64 / n.max(1) as f64,
        n,
        speed,
    };
    Ok(vec![
        line("county.full", counties("county.full", full, errors), whole),
        line("county.bare", counties("county.bare", bare, errors), bare_speed),
        line("door", doors(&rows, &answers, errors), whole),
        spans(set, &rows, &answers, errors, whole),
    ])
}

/// (right, all) of the rows whose counties are asked for.
fn counties<'r>(
    measure: &'static str,
    rows: impl Iterator<Item = (&'r Row, &'r Parsed)>,
    errors: &mut Errors,
) -> (usize, usize) {
    let (mut right, mut n) = (0, 0);
    for (row, answer) in rows {
        n += 1;
        match AREAS.iter().find_map(|tag| area_error(row, answer, tag)) {
            None => right += 1,
            Some((element, kind, gold, got)) => {
                errors.add(measure, element, kind, format!("{}  gold {gold}  got {got}", answer.text));
            }
        }
    }
    (right, n)
}

/// Element, kind, gold and answer, where the division that `tag` labels is not answered.
fn area_error(row: &Row, answer: &Parsed, tag: &str) -> Option<(&'static str, &'static str, String, String)> {
    let gold = row.first(tag)?;
    let element = element(tag)?;
    let got = area(answer, element);
    let name = got.map_or("", |a| a.name.as_str());
    let written = got.and_then(|a| a.span).map(|[s, e]| slice(&answer.text, s as usize, e as usize));
    if stem(name) == stem(&gold) || written.as_ref() == Some(&gold) {
        return None;
    }
    let named = |element| area(answer, element).map_or("", |a| stem(&a.name));
    if tag == "city" && MUNICIPALITIES.contains(&stem(&gold)) && named("province") == stem(&gold) {
        return None;
    }
    // A county-level city that the labellers called a district, or the other way round.
    let elsewhere = if tag == "district" { "city" } else { "county" };
    if tag != "prov" && named(elsewhere) == stem(&gold) && name.is_empty() {
        return None;
    }
    let divisions = Divisions::bundled();
    let kind = match (name, got.and_then(|a| a.code.as_ref())) {
        _ if divisions.named(&gold).is_empty() && divisions.former(&gold).is_empty() => {
            "gold is no division that we know"
        }
        ("", _) => "missing",
        (_, None) => "wrong, unknown by its form",
        _ if got.is_some_and(|a| a.span.is_none()) => "wrong, implied",
        _ => "wrong, read from the text",
    };
    Some((element, kind, gold, format!("{} {} {}", named("province"), named("city"), named("county"))))
}

fn doors(rows: &[Row], answers: &[Parsed], errors: &mut Errors) -> (usize, usize) {
    let (mut right, mut n) = (0, 0);
    for (row, answer) in rows.iter().zip(answers) {
        let gold: Vec<Vec<String>> =
            DOORS.iter().map(|tag| row.all(tag).map(|t| door(&t)).collect()).collect();
        if gold.iter().all(Vec::is_empty) || gold.iter().any(|g| g.len() > 1) {
            continue;
        }
        n += 1;
        let gold: Vec<String> = gold.into_iter().map(|mut g| g.pop().unwrap_or_default()).collect();
        let got: Vec<String> = ["building", "unit", "room"]
            .iter()
            .map(|element| door(other(answer, element).map_or("", |e| e.value.as_str())))
            .collect();
        let Some(at) = (0..3).find(|&i| gold[i] != got[i]) else {
            right += 1;
            continue;
        };
        let numbered = other(answer, "number").map(|e| door(&e.value));
        let kind = match (gold[at].as_str(), got[at].as_str()) {
            (wanted, "") if got.iter().any(|g| g == wanted) => "under another element",
            (wanted, "") if numbered.as_deref() == Some(wanted) => "read as the road's number",
            (_, "") => "missing",
            ("", _) => "extra",
            (wanted, got) if wanted.contains(got) || got.contains(wanted) => "boundary",
            _ => "another value",
        };
        let shown = format!("{}  gold {}  got {}", row.text, gold.join("/"), got.join("/"));
        errors.add("door", ["building", "unit", "room"][at], kind, shown);
    }
    (right, n)
}

fn spans(set: &str, rows: &[Row], answers: &[Parsed], errors: &mut Errors, speed: Option<f64>) -> Score {
    let (mut both, mut extra, mut missing) = (0, 0, 0);
    for (row, answer) in rows.iter().zip(answers) {
        let gold: BTreeSet<(&str, usize, usize)> =
            row.spans.iter().filter_map(|s| Some((element(&s.0)?, s.1, s.2))).collect();
        let mine: BTreeSet<(&str, usize, usize)> =
            TAGS.iter().filter_map(|t| span(answer, t.1).map(|(s, e)| (t.1, s, e))).collect();
        both += gold.intersection(&mine).count();
        extra += mine.difference(&gold).count();
        missing += gold.difference(&mine).count();
        let overlaps = |a: &(&str, usize, usize), b: &(&str, usize, usize)| a.1 < b.2 && b.1 < a.2;
        let shown = |what: &str, s: &(&str, usize, usize)| {
            format!("{}  {what} {} {}", row.text, s.0, slice(&row.text, s.1, s.2))
        };
        for wanted in gold.difference(&mine) {
            let same = mine.iter().find(|m| m.0 == wanted.0 && overlaps(m, wanted));
            let (kind, got) = match same.or_else(|| mine.iter().find(|m| overlaps(m, wanted))) {
                Some(got) if got.0 == wanted.0 => ("boundary".to_owned(), Some(got)),
                Some(got) => (format!("read as {}", got.0), Some(got)),
                None => ("missing".to_owned(), None),
            };
            let got =
                got.map_or_else(String::new, |g| format!("  got {} {}", g.0, slice(&row.text, g.1, g.2)));
            errors.add("spans.f1", wanted_element(wanted.0), kind, shown("gold", wanted) + &got);
        }
        for got in mine.difference(&gold).filter(|got| !gold.iter().any(|g| overlaps(g, got))) {
            errors.add("spans.f1", wanted_element(got.0), "extra", shown("got", got));
        }
    }
    let value = 2.0 * both as f64 / (2 * both + extra + missing).max(1) as f64;
    Score { set: set.to_owned(), measure: "spans.f1", value, n: both + missing, speed }
}

fn wanted_element(name: &str) -> &'static str {
    TAGS.iter().find(|t| t.1 == name).map_or("", |t| t.1)
}
