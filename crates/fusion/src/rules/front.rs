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
//! -- silent: water 30, 90            (shape silence: the kind, and after how many days)
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
    /// As `Facts`, and the table `silent`: at places where facts of a kind have not come for so many days, by the clock of
    /// the feed that they came from.
    Silence,
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
    /// By kind: after how many days without a fact its silence counts, rising.
    pub silent: BTreeMap<String, Vec<i32>>,
    /// The whole file, so that positions in the parser's messages are those of the file.
    pub text: String,
}

/// A warning refers to at most so many facts of one kind.
const EVIDENCE_MAX: usize = 20;
/// A silence is counted up to so many days, in so many steps.
const SILENT_DAYS_MAX: i32 = 3650;
const SILENT_STEPS_MAX: usize = 8;

impl Rule {
    /// Reads the front matter; every problem at once.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let mut front = Front { path, ..Front::default() };
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
            "silence" => Shape::Silence,
            other => {
                front.problem(shape_line, format!("shape: '{other}' is not one of row, facts, silence"));
                Shape::Row
            }
        };
        if (shape == Shape::Silence) == front.silent.is_empty() {
            let what = "a rule of shape 'silence', and no other, has lines '-- silent: <kind> <days>'";
            front.problem(shape_line, what.into());
        }
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
            silent: std::mem::take(&mut front.silent),
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
    silent: BTreeMap<String, Vec<i32>>,
}

impl Default for Front<'_> {
    fn default() -> Self {
        Self {
            path: Path::new(""),
            problems: Vec::new(),
            values: BTreeMap::new(),
            evidence: Vec::new(),
            silent: BTreeMap::new(),
        }
    }
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
            "silent" => match silent(value) {
                Some((kind, days)) => {
                    if self.silent.insert(kind.clone(), days).is_some() {
                        self.problem(line, format!("silent: {kind} is given twice"));
                    }
                }
                None => self.problem(
                    line,
                    format!(
                        "silent: '{value}' is not '<kind> <days>[, <days>…]', rising, to {SILENT_DAYS_MAX}, at most {SILENT_STEPS_MAX} of them"
                    ),
                ),
            },
            "rule" | "title" | "version" | "shape" | "level" | "message" | "update_when" => {
                if self.values.insert(key.to_owned(), (line, value.to_owned())).is_some() {
                    self.problem(line, format!("{key} is given twice"));
                }
            }
            _ => self.problem(
                line,
                format!("'{key}' is not one of rule, title, version, shape, level, message, update_when, evidence, silent, param <name>"),
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

fn silent(text: &str) -> Option<(String, Vec<i32>)> {
    let (kind, days) = text.split_once(' ')?;
    let days: Option<Vec<i32>> = days.split(',').map(|days| days.trim().parse().ok()).collect();
    let is_good = |days: &Vec<i32>| {
        days.len() <= SILENT_STEPS_MAX
            && days.is_sorted_by(|a, b| a < b)
            && days.iter().all(|days| (1..=SILENT_DAYS_MAX).contains(days))
    };
    Some((kind.to_owned(), days.filter(is_good)?))
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
            "r.sql:2: shape: 'window' is not one of row, facts, silence",
            "r.sql:1: rule: 'Bad Name'",
            "'-- title: …' is missing",
            "'-- message: …' is missing",
        ] {
            assert!(told.iter().any(|told| told.contains(expected)), "{expected} not in {told:#?}");
        }
    }

    #[test]
    fn days_of_silence_rise_and_belong_to_the_shape_of_silence_only() {
        let parse = |shape: &str, lines: &str| {
            let text = format!(
                "-- rule: a\n-- title: t\n-- version: 1\n-- shape: {shape}\n-- message: m\n{lines}--\nSELECT 1"
            );
            let told = |problems: Vec<Problem>| {
                problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
            };
            Rule::parse(Path::new("r.sql"), &text).map(|rule| rule.silent).map_err(told)
        };
        let silent = parse("silence", "-- silent: water 30, 90\n-- silent: gas 10\n").unwrap();
        assert_eq!(silent, BTreeMap::from([("gas".into(), vec![10]), ("water".into(), vec![30, 90])]));
        for (shape, lines, expected) in [
            ("silence", "-- silent: water 90, 30\n", "r.sql:6: silent: 'water 90, 30' is not"),
            ("silence", "-- silent: water 0\n", "r.sql:6: silent: 'water 0' is not"),
            ("silence", "-- silent: water soon\n", "r.sql:6: silent: 'water soon' is not"),
            ("silence", "-- silent: water 3\n-- silent: water 5\n", "r.sql:7: silent: water is given twice"),
            ("silence", "", "r.sql:4: a rule of shape 'silence', and no other"),
            ("facts", "-- silent: water 3\n", "r.sql:4: a rule of shape 'silence', and no other"),
        ] {
            let told = parse(shape, lines).unwrap_err();
            assert!(told.contains(expected), "{told}");
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
