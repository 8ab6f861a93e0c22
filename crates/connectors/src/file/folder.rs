//! Which files there are, and in which order they are read.

use std::{
    fs::Metadata,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::Error;

/// The name endings of one form.
#[derive(Debug, Clone, Copy)]
pub struct Suffixes(pub &'static [&'static str]);

/// One file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Ms since the epoch.
    pub modified_ms: i64,
}

impl Entry {
    /// Whether the file is as it was when it was listed.
    pub fn is_as_listed(&self) -> bool {
        let now = std::fs::metadata(&self.path);
        now.is_ok_and(|now| entry(self.name.clone(), self.path.clone(), &now) == *self)
    }
}

/// What orders files: the numbers in their names, then the names. So `full-0001.csv` comes before
/// `increment-0002.csv` and that before `full-0003.csv`, and `2025-9-30.csv` before `2025-10-01.csv`.
pub type Order = (Vec<u64>, String);

pub fn order(name: &str) -> Order {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let numbers = stem
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(u64::MAX))
        .collect();
    (numbers, name.to_owned())
}

/// The files that `path` (a folder, a file, or a name with `*` and `?`) stands for, in their order. A file that is
/// named exactly may have any ending. Hidden files and those still being written (`~…`, `….tmp`, `….part`) are left.
pub fn list(path: &Path, suffixes: Suffixes) -> Result<Vec<Entry>, Error> {
    let failed = |doing, path: &Path, source| Error::File { doing, path: path.to_owned(), source };
    let pattern = path.file_name().and_then(|name| name.to_str()).filter(|name| name.contains(['*', '?']));
    let folder = match pattern {
        Some(_) => path.parent().unwrap_or(Path::new(".")),
        None => {
            let found = path.metadata().map_err(|error| failed("looking for", path, error))?;
            if found.is_file() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Ok(vec![entry(name, path.to_owned(), &found)]);
            }
            path
        }
    };
    let mut entries = Vec::new();
    for found in std::fs::read_dir(folder).map_err(|error| failed("listing", folder, error))? {
        let found = found.map_err(|error| failed("listing", folder, error))?;
        let name = found.file_name().to_string_lossy().into_owned();
        let wanted = match pattern {
            Some(pattern) => matches(pattern, &name),
            None => suffixes.0.iter().any(|suffix| {
                name.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case(suffix))
            }),
        };
        if !wanted || name.starts_with(['.', '~']) || name.ends_with(".tmp") || name.ends_with(".part") {
            continue;
        }
        match std::fs::metadata(found.path()) {
            Ok(metadata) if metadata.is_file() => entries.push(entry(name, found.path(), &metadata)),
            Ok(_) => {}
            // Gone between the listing and this.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("looking at", &found.path(), error)),
        }
    }
    entries.sort_by_cached_key(|entry| order(&entry.name));
    Ok(entries)
}

fn entry(name: String, path: PathBuf, metadata: &Metadata) -> Entry {
    let modified_ms = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_millis() as i64);
    Entry { name, path, size: metadata.len(), modified_ms }
}

/// `*` is any text, `?` any one character.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            // The last star takes one character more.
            _ => match &mut retry {
                Some((star, taken)) => {
                    *taken += 1;
                    (p, n) = (*star + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["full-0003.csv", "increment-0002.csv", "full-0001.csv", "increment-0010.csv", "a.CSV"];
        for name in names.iter().chain(&[".hidden.csv", "~$x.csv", "full-0004.csv.tmp", "readme.md"]) {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let found = |path: &Path| -> Vec<String> {
            list(path, Suffixes(&["csv"])).unwrap().into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(
            found(folder.path()),
            ["a.CSV", "full-0001.csv", "increment-0002.csv", "full-0003.csv", "increment-0010.csv"]
        );
        assert_eq!(found(&folder.path().join("full-*.csv")), ["full-0001.csv", "full-0003.csv"]);
        assert_eq!(found(&folder.path().join("readme.md")), ["readme.md"]);
        assert!(list(&folder.path().join("absent"), Suffixes(&["csv"])).is_err());
    }

    #[test]
    fn days_without_leading_zeros_stay_in_their_order() {
        assert!(order("水表2025-9-30.csv") < order("水表2025-10-01.csv"));
    }

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, name, matching) in [
            ("*.csv", "水表.csv", true),
            ("full-????.csv", "full-0001.csv", true),
            ("full-????.csv", "full-01.csv", false),
            ("*a*b", "xaabab", true),
            ("*", "", true),
            ("a?", "a", false),
        ] {
            assert_eq!(matches(pattern, name), matching, "{pattern} {name}");
        }
    }
}
