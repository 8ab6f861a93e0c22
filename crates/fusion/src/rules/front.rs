//! A rule's file: comments that say what it is, then its SQL.
//!
//! ```sql
//! -- rule: crowded_rental
//! -- title: 疑似群租房
//! -- version: 1
//! -- shape: row
//! -- level: dwelling
//! -- message: "{address}：登记{registered_count}人，估计居住{people}人"
//! -- update_when: band
//! -- evidence: water heaviest amount 3
//! -- param people_min: 6
//! --
//! -- After an empty comment line everything is free text.
//! SELECT place_id, …
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use yibiao_tables::Problem;

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The row of the touched place: projections and filters over `places`.
    Row,
    /// All facts of the touched place: joins, aggregates and windows by `place_id`.
    Facts,
}

/// A threshold that the SQL names as `$name`.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    Int(i64),
    Number(f64),
    Text(String),
    Bool(bool),
}

impl Parameter {
    pub fn json(&self) -> serde_json::Value {
        match self {
            Parameter::Int(v) => (*v).into(),
            Parameter::Number(v) => (*v).into(),
            Parameter::Text(v) => v.clone().into(),
            Parameter::Bool(v) => (*v).into(),
        }
    }
}

/// Which facts a warning refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub kind: String,
    pub pick: Pick,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// The latest in event time.
    Newest,
    /// Those with the highest value in this payload column.
    Heaviest(String),
}

/// One rule as its file says it.
#[derive(Debug, Clone)]
pub struct Rule {
    pub path: PathBuf,
    pub name: Arc<str>,
    pub title: String,
    pub version: String,
    pub shape: Shape,
    /// Only places of this level.
    pub level: Option<String>,
    /// With columns of the rule or of the place's row in braces.
    pub message: String,
    /// A firing warning is updated when its severity or one of these columns changes.
    pub update_when: Vec<String>,
    pub evidence: Vec<Evidence>,
    pub parameters: BTreeMap<String, Parameter>,
    /// The whole file, so that positions in the parser's messages are those of the file.
    pub text: String,
}

/// A warning refers to at most so many facts of one kind.
const EVIDENCE_MAX: usize = 20;

impl Rule {
    /// Reads the front matter; every problem at once.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let mut front = Front { path, problems: Vec::new(), values: BTreeMap::new(), evidence: Vec::new() };
        let mut parameters = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let Some(comment) = line.trim().strip_prefix("--") else { break };
            let comment = comment.trim();
            if comment.is_empty() {
                break;
            }
            front.line(index + 1, comment, &mut parameters);
        }
        let name = front.required("rule");
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.is_empty() && !name.chars().all(is_word) {
            front.problem(1, format!("rule: '{name}' is not a name of a-z, 0-9 and _"));
        }
        let (shape_line, shape) = front.values.get("shape").cloned().unwrap_or((1, String::new()));
        let shape = match shape.as_str() {
            "row" => Shape::Row,
            "facts" => Shape::Facts,
            other => {
                front.problem(shape_line, format!("shape: '{other}' is not one of row, facts"));
                Shape::Row
            }
        };
        let rule = Rule {
            path: path.to_path_buf(),
            name: name.as_str().into(),
            title: front.required("title"),
            version: front.required("version"),
            shape,
            level: front.values.get("level").map(|(_, text)| text.clone()),
            message: front.required("message"),
            update_when: front.list("update_when"),
            evidence: std::mem::take(&mut front.evidence),
            parameters,
            text: text.to_owned(),
        };
        if front.problems.is_empty() { Ok(rule) } else { Err(front.problems) }
    }

    pub(super) fn problem(&self, line: usize, what: impl Into<String>) -> Problem {
        Problem { path: self.path.clone(), line, what: what.into() }
    }
}

struct Front<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
    values: BTreeMap<String, (usize, String)>,
    evidence: Vec<Evidence>,
}

impl Front<'_> {
    fn problem(&mut self, line: usize, what: String) {
        self.problems.push(Problem { path: self.path.to_path_buf(), line, what });
    }

    fn required(&mut self, name: &str) -> String {
        match self.values.get(name) {
            Some((_, text)) if !text.is_empty() => text.clone(),
            _ => {
                self.problem(1, format!("a line '-- {name}: …' is missing at the beginning"));
                String::new()
            }
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.values.get(name).map_or("", |(_, text)| text);
        text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn line(&mut self, line: usize, comment: &str, parameters: &mut BTreeMap<String, Parameter>) {
        let Some((key, value)) = comment.split_once(':') else {
            let what = format!("'{comment}' is not 'key: value'; free text goes after an empty comment line");
            return self.problem(line, what);
        };
        let (key, value) = (key.trim(), unquoted(value.trim()));
        if let Some(name) = key.strip_prefix("param ") {
            if parameters.insert(name.trim().to_owned(), parameter(value)).is_some() {
                self.problem(line, format!("the parameter {name} is given twice"));
            }
            return;
        }
        match key {
            "evidence" => match evidence(value) {
                Some(evidence) => self.evidence.push(evidence),
                None => self.problem(
                    line,
                    format!("evidence: '{value}' is not '<kind> newest <n>' or '<kind> heaviest <column> <n>', n to {EVIDENCE_MAX}"),
                ),
            },
            "rule" | "title" | "version" | "shape" | "level" | "message" | "update_when" => {
                if self.values.insert(key.to_owned(), (line, value.to_owned())).is_some() {
                    self.problem(line, format!("{key} is given twice"));
                }
            }
            _ => self.problem(
                line,
                format!("'{key}' is not one of rule, title, version, shape, level, message, update_when, evidence, param <name>"),
            ),
        }
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn parameter(text: &str) -> Parameter {
    match (text, text.parse::<i64>(), text.parse::<f64>()) {
        (_, Ok(int), _) => Parameter::Int(int),
        (_, _, Ok(number)) if number.is_finite() => Parameter::Number(number),
        ("true", ..) => Parameter::Bool(true),
        ("false", ..) => Parameter::Bool(false),
        _ => Parameter::Text(text.to_owned()),
    }
}

fn evidence(text: &str) -> Option<Evidence> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (kind, pick, count) = match words[..] {
        [kind, "newest", count] => (kind, Pick::Newest, count),
        [kind, "heaviest", column, count] => (kind, Pick::Heaviest(column.to_owned()), count),
        _ => return None,
    };
    let count = count.parse().ok().filter(|count| (1..=EVIDENCE_MAX).contains(count))?;
    Some(Evidence { kind: kind.to_owned(), pick, count })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_problem_of_a_rule_is_told_with_its_line() {
        let text = "-- rule: Bad Name\n-- shape: window\n-- evidence: water most 3\n-- colour: red\nSELECT 1";
        let problems = Rule::parse(Path::new("r.sql"), text).unwrap_err();
        let told: Vec<String> = problems.iter().map(Problem::to_string).collect();
        for expected in [
            "r.sql:3: evidence",
            "r.sql:4: 'colour'",
            "r.sql:2: shape: 'window' is not one of row, facts",
            "r.sql:1: rule: 'Bad Name'",
            "'-- title: …' is missing",
            "'-- message: …' is missing",
        ] {
            assert!(told.iter().any(|told| told.contains(expected)), "{expected} not in {told:#?}");
        }
    }

    #[test]
    fn parameters_have_the_type_that_they_are_written_in() {
        let text = "-- rule: a\n-- title: t\n-- version: 1\n-- shape: row\n-- message: \"{address}: x\"\n-- param a: 4\n-- param b: 4.5\n-- param c: 火灾\n--\n-- anything goes here\nSELECT 1";
        let rule = Rule::parse(Path::new("r.sql"), text).unwrap();
        assert_eq!(rule.message, "{address}: x");
        assert_eq!(
            rule.parameters.into_values().collect::<Vec<_>>(),
            [Parameter::Int(4), Parameter::Number(4.5), Parameter::Text("火灾".into())]
        );
    }
}
