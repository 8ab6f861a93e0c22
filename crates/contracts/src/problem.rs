//! What is wrong with contracts: every problem at once, each with its place and what to do about it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One thing that is wrong in one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub file: PathBuf,
    /// From 1; 0 where the file as a whole is meant.
    pub line: u32,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "\n    to do: {}", self.remedy)?;
        }
        Ok(())
    }
}

/// All problems of all files, in the order of files and lines. Never empty where it is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub fn fault(&self) -> yibiao_records::Fault {
        yibiao_records::Fault::OPERATOR
    }

    pub(crate) fn sort(&mut self) {
        self.0.sort();
        self.0.dedup();
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects the problems of one file while it is read to its end.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    file: &'a Path,
    problems: &'a mut Problems,
}

impl<'a> Sink<'a> {
    pub fn new(file: &'a Path, problems: &'a mut Problems) -> Self {
        Self { file, problems }
    }

    pub fn report(&mut self, line: u32, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.0.push(Problem {
            file: self.file.to_path_buf(),
            line,
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}
