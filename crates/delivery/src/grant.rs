//! What a centre may have: `pipelines/deliveries/<centre>.yaml`.

use std::{collections::BTreeSet, fmt, path::Path};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::Deserialize;
use yibiao_tables::lake::{Fused, Layout};

use crate::{Error, privacy};

/// One problem of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.file, self.what, self.mend)
    }
}

/// What one centre may have, for which purposes, until when.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Part of folder and topic names: lower-case letters, digits and '-'.
    pub id: String,
    pub title: String,
    /// The first digits of the division codes that it may see: `32`, `3201`, `320106`.
    pub area: String,
    /// Why it may have the data; each delivery's audit entry names them.
    pub purposes: Vec<String>,
    /// The last day of the grant.
    pub until: NaiveDate,
    pub tables: Vec<GrantedTable>,
    pub form: Form,
    /// Where it was read from.
    #[serde(skip)]
    pub file: String,
}

/// A fused table, wholly or some of its columns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedTable {
    pub name: String,
    /// All that are not personal, if none are named.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
}

/// In which form the centre receives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    pub delta: DeltaForm,
    /// Also on the topic `centre.<id>.warnings`.
    #[serde(default)]
    pub warnings_topic: bool,
}

/// Delta tables in a folder of the centre's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaForm {
    /// Below the folder of all deliveries.
    pub folder: String,
}

impl Grant {
    /// Reads every `*.yaml` of a folder; all problems of all files at once.
    pub fn load_dir(dir: &Path, layout: &Layout) -> Result<Vec<Grant>, Error> {
        let reading = |source| Error::Read { path: dir.to_path_buf(), source };
        let mut files = std::fs::read_dir(dir)
            .map_err(reading)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(reading)?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
        let (mut grants, mut problems) = (Vec::new(), Vec::new());
        for path in files {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| Error::Read { path: path.clone(), source })?;
            let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            match Self::parse(&file, &text, layout) {
                Ok(grant) => grants.push(grant),
                Err(found) => problems.extend(found),
            }
        }
        for (key, of) in [("id", id as fn(&Grant) -> &str), ("form.delta.folder", folder)] {
            let mut seen = BTreeSet::new();
            for grant in &grants {
                if !seen.insert(of(grant)) {
                    problems.push(Problem {
                        file: grant.file.clone(),
                        what: format!("{key} '{}' is another centre's too", of(grant)),
                        mend: "give every centre its own".to_owned(),
                    });
                }
            }
        }
        if problems.is_empty() { Ok(grants) } else { Err(Error::Grants { problems }) }
    }

    /// One file's text; `file` is for messages.
    pub fn parse(file: &str, text: &str, layout: &Layout) -> Result<Grant, Vec<Problem>> {
        let problem =
            |what: String, mend: &str| Problem { file: file.to_owned(), what, mend: mend.to_owned() };
        let mut grant: Grant = serde_saphyr::from_str(text)
            .map_err(|error| vec![problem(error.to_string(), "see the other files of this folder")])?;
        grant.file = file.to_owned();
        let mut problems = Vec::new();
        if !is_word(&grant.id) {
            problems.push(problem(
                format!("id '{}' is not a name", grant.id),
                "use lower-case letters, digits and '-', beginning with a letter",
            ));
        }
        if file.strip_suffix(".yaml").is_some_and(|stem| stem != grant.id) {
            problems.push(problem(
                format!("the file of centre '{}' is called {file}", grant.id),
                "name the file as the centre",
            ));
        }
        if !is_word(&grant.form.delta.folder) {
            problems.push(problem(
                format!("folder '{}' is not a name", grant.form.delta.folder),
                "use one folder name, without '/'",
            ));
        }
        let digits = grant.area.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || ![2, 4, 6, 9, 12].contains(&grant.area.len()) {
            problems.push(problem(
                format!("area '{}' is not the beginning of a division code", grant.area),
                "give 2 (province), 4 (city), 6 (county), 9 or 12 digits, in quotes",
            ));
        }
        if grant.purposes.is_empty() || grant.purposes.iter().any(|purpose| purpose.trim().is_empty()) {
            problems.push(problem("no purpose is given".to_owned(), "name what the data may be used for"));
        }
        if grant.tables.is_empty() {
            problems.push(problem("no table is granted".to_owned(), "name tables, or remove the file"));
        }
        let mut seen = BTreeSet::new();
        for table in &grant.tables {
            if !seen.insert(table.name.as_str()) {
                problems.push(problem(format!("table {} is named twice", table.name), "name it once"));
            }
            check_table(table, layout, &mut |what, mend| problems.push(problem(what, mend)));
        }
        if grant.form.warnings_topic && !seen.contains("warnings") {
            problems.push(problem(
                "a topic of warnings is wanted, but the table warnings is not granted".to_owned(),
                "grant the table, or remove warnings_topic",
            ));
        }
        if problems.is_empty() { Ok(grant) } else { Err(problems) }
    }

    /// The end of its last day in China.
    pub fn ends_at(&self) -> DateTime<Utc> {
        let began = self.until.and_time(NaiveTime::MIN).and_utc();
        began.checked_add_signed(TimeDelta::hours(24 - 8)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// Refuses after the last day of the grant.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), Error> {
        if now >= self.ends_at() {
            return Err(Error::Expired {
                centre: self.id.clone(),
                until: self.until,
                file: self.file.clone(),
            });
        }
        Ok(())
    }
}

fn check_table(table: &GrantedTable, layout: &Layout, problem: &mut impl FnMut(String, &str)) {
    let Some(fused) = layout.tables.iter().find(|fused| fused.schema.name == table.name) else {
        let known: Vec<_> = layout.tables.iter().map(|fused| fused.schema.name.as_str()).collect();
        return problem(
            format!("table {} does not exist", table.name),
            &format!("known are {}", known.join(", ")),
        );
    };
    if fused.schema.column(privacy::DIVISION_CODE).is_none() {
        problem(
            format!("table {} has no division_code", table.name),
            "it cannot be divided by area: remove it",
        );
    }
    for column in table.columns.iter().flatten() {
        match find(fused, column) {
            None => problem(format!("{}.{column} does not exist", table.name), "check its name"),
            Some(true) => problem(
                format!("{}.{column} is personal and never leaves", table.name),
                "remove the column from the grant",
            ),
            Some(false) => {}
        }
    }
}

/// Whether the column is personal; None if there is none of that name.
fn find(fused: &Fused, column: &str) -> Option<bool> {
    fused.schema.columns.iter().find(|found| found.name == column).map(|found| found.personal)
}

fn id(grant: &Grant) -> &str {
    &grant.id
}

fn folder(grant: &Grant) -> &str {
    &grant.form.delta.folder
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
