//! The metrics that the source writes: the names and labels in `counter!(…)`, `gauge!(…)` and `histogram!(…)`.

use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Metric {
    pub name: String,
    /// Those that are literals in the macro.
    pub labels: Vec<String>,
    pub file: String,
}

/// Of all crates, without their tests.
pub fn metrics(crates: &Path) -> Vec<Metric> {
    let folders = std::fs::read_dir(crates).unwrap().map(|folder| folder.unwrap().path().join("src"));
    folders.flat_map(|folder| files(&folder)).flat_map(|file| metrics_of(&file)).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn metrics_of(file: &Path) -> Vec<Metric> {
    let text = std::fs::read_to_string(file).unwrap();
    let file = file.display().to_string();
    let mut found = Vec::new();
    for call in ["counter!(", "gauge!(", "histogram!("] {
        for (at, _) in text.match_indices(call) {
            let is_comment =
                text[..at].lines().last().is_some_and(|line| line.trim_start().starts_with("//"));
            if text[..at].ends_with("describe_") || is_comment {
                continue;
            }
            let arguments = text[at + call.len()..].trim_start();
            let literal = arguments.strip_prefix('"').and_then(|rest| rest.split_once('"'));
            let (name, rest) =
                literal.unwrap_or_else(|| panic!("{file}: the name of a metric is not in the macro"));
            let rest = until_closed(rest);
            let labels = rest.split('"').collect::<Vec<_>>();
            let labels = labels.windows(2).filter(|pair| pair[1].trim_start().starts_with("=>"));
            let labels = labels.map(|pair| pair[0].to_owned()).collect();
            found.push(Metric { name: name.to_owned(), labels, file: file.clone() });
        }
    }
    found
}

/// Up to the bracket that closes the macro.
fn until_closed(text: &str) -> &str {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}
