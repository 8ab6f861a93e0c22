//! How the row of a place is merged from its facts: `pipelines/tables/places.yaml`, read and checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    sync::Arc,
};

use serde::Deserialize;
use yibiao_records::{Column, ColumnType, FactKind, FactKinds, FeedId};

use crate::{Error, error::Problem};

/// Columns that every installation has, in this order, after `place_id`: other parts of the system read them.
const FIXED: [(&str, ColumnType); 15] = [
    ("external_id", ColumnType::Text),
    ("level", ColumnType::Text),
    ("provisional", ColumnType::Bool),
    ("status", ColumnType::Text),
    ("division_code", ColumnType::Text),
    ("province", ColumnType::Text),
    ("city", ColumnType::Text),
    ("county", ColumnType::Text),
    ("township", ColumnType::Text),
    ("community", ColumnType::Text),
    ("address", ColumnType::Text),
    ("compound", ColumnType::Text),
    ("building", ColumnType::Text),
    ("unit", ColumnType::Text),
    ("room", ColumnType::Text),
];

/// Columns that every warning repeats: a label on them would not reach what it shows.
const IN_WARNINGS: [&str; 3] = ["division_code", "county", "address"];

/// A window of more days than this would make every place's state large.
const WINDOW_DAYS_MAX: u32 = 800;

/// How the rows of `places` are merged.
#[derive(Debug)]
pub struct PlacesSpec {
    pub title: String,
    /// Kinds whose facts make no row: they are about a name, not a place.
    pub placeless: BTreeSet<String>,
    pub columns: Vec<MergedColumn>,
    /// What windowed and counting columns are computed from; columns share one where their sources are equal.
    pub series: Vec<Series>,
    /// Changes when the merged rows may change: rows in the state were made with one of these.
    pub fingerprint: String,
}

/// One merged column of `places`.
#[derive(Debug)]
pub struct MergedColumn {
    pub column: Column,
    pub merge: Merge,
    /// In the order of preference.
    pub sources: Vec<Source>,
}

/// Which facts give values, and which value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// None: facts of every kind.
    pub kind: Option<Arc<str>>,
    pub field: FactField,
    /// Empty: every feed.
    pub feeds: Vec<FeedId>,
    /// Only facts whose payload column (by index) reads so.
    pub only: Vec<(usize, String)>,
}

/// A value that a fact gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactField {
    /// Of the payload, by index.
    Payload(usize),
    Level,
    Provisional,
    DivisionCode,
    /// The fact itself, where facts are counted.
    Itself,
}

/// How one value comes of many facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The first source that has a value; the freshest where it has several.
    SourceOrder,
    /// The freshest of all sources.
    Latest,
    Max,
    Min,
    /// The latest day that any windowed column counts.
    EventDay,
    /// Computed from daily figures.
    Series {
        series: usize,
        measure: Measure,
    },
}

/// Days back from the place's latest event day (which is included), or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    All,
    Days(u32),
}

/// What is computed from daily figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Sum(Span),
    Count(Span),
    /// Distinct days with a fact.
    Days(Span),
    /// The highest mean per day-with-a-fact of any window of `window` days that ends within the last `over` days
    /// and has at least `days` days with a fact. With a lower threshold on the present mean it gives a rule
    /// hysteresis that is a function of the facts alone, not of the order in which they came.
    Peak {
        window: u32,
        over: u32,
        days: u32,
    },
}

/// As a person reads it: `sum of 30 days`.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut over = |what: &str, span: Span| match span {
            Span::All => f.write_str(what),
            Span::Days(days) => write!(f, "{what} of {days} days"),
        };
        match *self {
            Measure::Sum(span) => over("sum", span),
            Measure::Count(span) => over("count", span),
            Measure::Days(span) => over("number of days with a fact", span),
            Measure::Peak { window, over, .. } => {
                write!(f, "highest daily mean of any {window} days that end within {over} days")
            }
        }
    }
}

impl Measure {
    /// How many days back it looks; None for all.
    fn reach(self) -> Option<u32> {
        match self {
            Measure::Sum(Span::All) | Measure::Count(Span::All) | Measure::Days(Span::All) => None,
            Measure::Sum(Span::Days(days))
            | Measure::Count(Span::Days(days))
            | Measure::Days(Span::Days(days)) => Some(days),
            Measure::Peak { window, over, .. } => Some(window + over - 1),
        }
    }
}

/// Daily figures of the facts of some sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    pub sources: Vec<Source>,
    /// How many days back its columns look; None: it is not by day, all facts are one figure.
    pub reach_days: Option<u32>,
}

impl PlacesSpec {
    /// Reads and checks the whole file; every problem at once.
    pub fn parse(path: &Path, text: &str, kinds: &FactKinds) -> Result<Self, Error> {
        let one = |line, what: String| Error::Spec {
            problems: vec![Problem { path: path.to_path_buf(), line, what }],
        };
        let file: File = serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line() as usize);
            one(line, format!("{error}"))
        })?;
        let mut check = Check { path, text, kinds, problems: Vec::new() };
        let spec = check.file(file);
        if check.problems.is_empty() { Ok(spec) } else { Err(Error::Spec { problems: check.problems }) }
    }

    pub fn column(&self, name: &str) -> Option<&MergedColumn> {
        self.columns.iter().find(|merged| merged.column.name == name)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    table: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    placeless: BTreeSet<String>,
    columns: Vec<ColumnFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnFile {
    name: String,
    #[serde(rename = "type")]
    column_type: ColumnType,
    #[serde(default)]
    title: String,
    #[serde(default)]
    unit: Option<String>,
    #[serde(default)]
    personal: bool,
    merge: MergeFile,
    #[serde(default)]
    from: Vec<SourceFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFile {
    kind: String,
    #[serde(default)]
    column: Option<String>,
    #[serde(default)]
    feeds: Vec<FeedId>,
    #[serde(default, rename = "where")]
    only: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MergeFile {
    SourceOrder,
    Latest,
    Max,
    Min,
    EventDay,
    Sum(WindowFile),
    Count(WindowFile),
    Days(WindowFile),
    Peak(PeakFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowFile {
    #[serde(default)]
    window: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeakFile {
    window: String,
    over: String,
    days: u32,
}

struct Check<'a> {
    path: &'a Path,
    text: &'a str,
    kinds: &'a FactKinds,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// The line of a column's entry, found by its name: the parsed value does not carry it.
    fn line(&self, column: &str) -> usize {
        let found = self.text.lines().position(|line| {
            let line = line.trim_start().trim_start_matches("- ").trim_start_matches('{');
            line.strip_prefix("name:").is_some_and(|rest| {
                rest.trim_start()
                    .strip_prefix(column)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            })
        });
        found.map_or(0, |index| index + 1)
    }

    fn problem(&mut self, column: &str, what: String) {
        let line = self.line(column);
        let what = if column.is_empty() { what } else { format!("column {column}: {what}") };
        self.problems.push(Problem { path: self.path.to_path_buf(), line, what });
    }

    fn file(&mut self, file: File) -> PlacesSpec {
        if file.table != crate::spec::PLACES {
            self.problem(
                "",
                format!("table '{}' cannot be merged; the merged table is 'places'", file.table),
            );
        }
        for kind in &file.placeless {
            if self.kinds.get(kind).is_none() {
                self.problem("", format!("placeless: the fact kind '{kind}' does not exist"));
            }
        }
        let mut series: Vec<Series> = Vec::new();
        let mut columns: Vec<MergedColumn> = Vec::new();
        for column in file.columns {
            if columns.iter().any(|other| other.column.name == column.name)
                || ["place_id", "sources", "updated_at"].contains(&column.name.as_str())
            {
                self.problem(&column.name, "the name is taken: choose another".into());
            }
            columns.push(self.column(column, &mut series));
        }
        for (index, (name, column_type)) in FIXED.iter().enumerate() {
            let found =
                columns.get(index).map(|merged| (merged.column.name.as_str(), merged.column.column_type));
            if found != Some((*name, *column_type)) {
                self.problem(name, format!("must be column {} of the file, as {column_type:?}", index + 1));
            }
        }
        let mut spec = PlacesSpec {
            title: file.title,
            placeless: file.placeless,
            columns,
            series,
            fingerprint: String::new(),
        };
        let print = format!("{:?}{:?}{:?}", spec.placeless, spec.columns, spec.series);
        spec.fingerprint = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(print.as_bytes()));
        spec
    }

    fn column(&mut self, file: ColumnFile, series: &mut Vec<Series>) -> MergedColumn {
        let column = Column {
            name: file.name,
            column_type: file.column_type,
            title: file.title,
            unit: file.unit,
            personal: file.personal,
        };
        if column.personal && IN_WARNINGS.contains(&column.name.as_str()) {
            self.problem(
                &column.name,
                "cannot be personal, as every warning shows it: take it from a source that is not personal"
                    .into(),
            );
        }
        let counts = matches!(file.merge, MergeFile::Count(_) | MergeFile::Days(_));
        let sources: Vec<Source> =
            file.from.into_iter().filter_map(|source| self.source(&column, source, counts)).collect();
        if sources.is_empty() && !matches!(file.merge, MergeFile::EventDay) {
            self.problem(&column.name, "has no usable source: name at least one in 'from'".into());
        }
        let merge = self.merge(&column, file.merge, &sources, series);
        MergedColumn { column, merge, sources }
    }

    fn source(&mut self, column: &Column, file: SourceFile, counts: bool) -> Option<Source> {
        let kind = match file.kind.as_str() {
            "*" => None,
            name => match self.kinds.get(name) {
                Some(kind) => Some(kind.clone()),
                None => {
                    let known =
                        self.kinds.iter().map(|kind| kind.name.as_str()).collect::<Vec<_>>().join(", ");
                    self.problem(
                        &column.name,
                        format!("the fact kind '{name}' does not exist; known are {known}"),
                    );
                    return None;
                }
            },
        };
        let (field, found) = self.field(column, kind.as_deref(), file.column.as_deref(), counts)?;
        if !counts && found != Some(column.column_type) {
            self.problem(
                &column.name,
                format!(
                    "is {:?}, its source {} is {found:?}: give both one type",
                    column.column_type, file.kind
                ),
            );
        }
        if let (Some(kind), FactField::Payload(index)) = (&kind, field) {
            self.inherits(column, kind, index);
        }
        let mut only = Vec::new();
        for (name, value) in file.only {
            if let Some((kind, index)) = kind.as_ref().and_then(|kind| Some((kind, kind.column(&name)?))) {
                self.inherits(column, kind, index);
            }
            match kind.as_ref().and_then(|kind| kind.column(&name)) {
                Some(index) => only.push((index, value)),
                None => self.problem(&column.name, format!("where: {} has no column '{name}'", file.kind)),
            }
        }
        Some(Source { kind: kind.map(|kind| kind.name.as_str().into()), field, feeds: file.feeds, only })
    }

    /// What is made of a personal column, or chosen by one, is personal too.
    fn inherits(&mut self, column: &Column, kind: &FactKind, index: usize) {
        let source = &kind.columns[index];
        if source.personal && !column.personal {
            self.problem(
                &column.name,
                format!(
                    "reads {}.{}, which is personal, and is not personal itself: add 'personal: true', so that it \
                     never leaves, or take another source",
                    kind.name, source.name
                ),
            );
        }
    }

    fn field(
        &mut self,
        column: &Column,
        kind: Option<&FactKind>,
        name: Option<&str>,
        counts: bool,
    ) -> Option<(FactField, Option<ColumnType>)> {
        Some(match name {
            None if counts => (FactField::Itself, None),
            None => {
                self.problem(&column.name, "a source needs its 'column'".into());
                return None;
            }
            Some("@level") => (FactField::Level, Some(ColumnType::Text)),
            Some("@provisional") => (FactField::Provisional, Some(ColumnType::Bool)),
            Some("@division_code") => (FactField::DivisionCode, Some(ColumnType::Text)),
            Some(name) => match kind.and_then(|kind| kind.column(name).map(|index| (kind, index))) {
                Some((kind, index)) => (FactField::Payload(index), Some(kind.columns[index].column_type)),
                None => {
                    let kind = kind.map_or("every kind of fact", |kind| kind.name.as_str());
                    self.problem(&column.name, format!("{kind} has no column '{name}'"));
                    return None;
                }
            },
        })
    }

    fn merge(
        &mut self,
        column: &Column,
        file: MergeFile,
        sources: &[Source],
        series: &mut Vec<Series>,
    ) -> Merge {
        let (measure, expected) = match file {
            MergeFile::SourceOrder => return Merge::SourceOrder,
            MergeFile::Latest => return Merge::Latest,
            MergeFile::Max => return Merge::Max,
            MergeFile::Min => return Merge::Min,
            MergeFile::EventDay => {
                if column.column_type != ColumnType::Date {
                    self.problem(&column.name, "event_day is a date".into());
                }
                return Merge::EventDay;
            }
            MergeFile::Sum(file) => (Measure::Sum(self.span(column, file)), None),
            MergeFile::Count(file) => (Measure::Count(self.span(column, file)), Some(ColumnType::Int)),
            MergeFile::Days(file) => (Measure::Days(self.span(column, file)), Some(ColumnType::Int)),
            MergeFile::Peak(file) => {
                let (window, over) = (self.days(column, &file.window), self.days(column, &file.over));
                (Measure::Peak { window, over, days: file.days.max(1) }, Some(ColumnType::Decimal))
            }
        };
        if matches!(measure, Measure::Days(Span::All)) {
            self.problem(&column.name, "days needs a window such as 30d".into());
        }
        let fits = match expected {
            Some(expected) => column.column_type == expected,
            None => matches!(column.column_type, ColumnType::Int | ColumnType::Decimal),
        };
        if !fits {
            self.problem(&column.name, format!("cannot be {:?} with this merge", column.column_type));
        }
        let reach = measure.reach();
        let found = series
            .iter_mut()
            .position(|series| series.sources == sources && series.reach_days.is_none() == reach.is_none());
        let index = found.unwrap_or_else(|| {
            series.push(Series { sources: sources.to_vec(), reach_days: reach });
            series.len() - 1
        });
        series[index].reach_days = series[index].reach_days.max(reach);
        Merge::Series { series: index, measure }
    }

    fn span(&mut self, column: &Column, file: WindowFile) -> Span {
        file.window.map_or(Span::All, |window| Span::Days(self.days(column, &window)))
    }

    fn days(&mut self, column: &Column, text: &str) -> u32 {
        match text.strip_suffix('d').and_then(|days| days.parse().ok()) {
            Some(days) if (1..=WINDOW_DAYS_MAX).contains(&days) => days,
            _ => {
                self.problem(&column.name, format!("'{text}' is not a window of 1d to {WINDOW_DAYS_MAX}d"));
                1
            }
        }
    }
}
