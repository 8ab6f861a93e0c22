//! A comparison as people read it.

use std::{collections::BTreeMap, fmt};

use super::{Cells, Comparison, Example, FeedQuarantine, Reasons, TableDifference};
use crate::progress::grouped;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shadow {} against {}", self.shadow, self.with)?;
        for (feed, partitions) in &self.read {
            let ranges = partitions.iter().filter(|(_, range)| !range.is_empty());
            let ranges: Vec<_> = ranges
                .map(|(partition, range)| format!("[{partition}] {} to {}", range.from, range.to))
                .collect();
            let ranges = if ranges.is_empty() { "nothing".to_owned() } else { ranges.join(", ") };
            writeln!(f, "  {:<32}{ranges}", feed.to_string())?;
        }
        writeln!(
            f,
            "\n{:<24}{:>12}{:>14}{:>14}{:>12}",
            "rows of", "compared", "only shadow", "only other", "differing"
        )?;
        for table in &self.tables {
            write_counts(f, &table.table, table)?;
        }
        for (rule, warnings) in &self.warnings {
            write_counts(f, &format!("warnings {rule}"), warnings)?;
        }
        for (what, difference) in self
            .tables
            .iter()
            .map(|table| (table.table.clone(), table))
            .chain(self.warnings.iter().map(|(rule, table)| (format!("warnings {rule}"), table)))
        {
            write_difference(f, &what, difference)?;
        }
        for (feed, quarantine) in
            self.quarantine.iter().filter(|(_, quarantine)| quarantine.differences() > 0)
        {
            writeln!(f, "\nquarantine of {feed} ({} refused by both alike)", grouped(quarantine.same))?;
            write_quarantine(f, quarantine)?;
        }
        for note in &self.notes {
            writeln!(f, "\nnote: {note}")?;
        }
        writeln!(f, "\n{} differences", grouped(self.differences))
    }
}

fn write_counts(f: &mut fmt::Formatter<'_>, what: &str, difference: &TableDifference) -> fmt::Result {
    let TableDifference { compared, only_shadow, only_other, differing, .. } = difference;
    let [compared, only_shadow, only_other, differing] =
        [compared, only_shadow, only_other, differing].map(|count| grouped(*count));
    writeln!(f, "{what:<24}{compared:>12}{only_shadow:>14}{only_other:>14}{differing:>12}")
}

fn write_difference(f: &mut fmt::Formatter<'_>, what: &str, difference: &TableDifference) -> fmt::Result {
    if difference.differences() == 0 && difference.not_compared.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{what}")?;
    if !difference.columns.is_empty() {
        let columns = difference.columns.iter().map(|(name, count)| format!("{name} {}", grouped(*count)));
        writeln!(f, "  differ in: {}", columns.collect::<Vec<_>>().join(", "))?;
    }
    if !difference.not_compared.is_empty() {
        writeln!(f, "  not compared, as only one side has them so: {}", difference.not_compared.join(", "))?;
    }
    difference.examples.iter().try_for_each(|example| write_example(f, example))
}

fn write_example(f: &mut fmt::Formatter<'_>, example: &Example) -> fmt::Result {
    let key = words(&example.key);
    match (&example.shadow, &example.other) {
        (Some(shadow), Some(other)) => {
            let changed = shadow.iter().map(|(column, here)| {
                let there = other.get(column).cloned().flatten();
                format!("{column} {} -> {}", shown(&there), shown(here))
            });
            writeln!(f, "  ~ {key}: {}", changed.collect::<Vec<_>>().join(", "))
        }
        (Some(shadow), None) => writeln!(f, "  + {key}: {}", words(shadow)),
        (None, Some(other)) => writeln!(f, "  - {key}: {}", words(other)),
        (None, None) => Ok(()),
    }
}

fn words(cells: &Cells) -> String {
    let cells = cells.iter().map(|(name, cell)| format!("{name} {}", shown(cell)));
    cells.collect::<Vec<_>>().join(", ")
}

fn shown(cell: &Option<String>) -> &str {
    cell.as_deref().unwrap_or("null")
}

fn write_quarantine(f: &mut fmt::Formatter<'_>, quarantine: &FeedQuarantine) -> fmt::Result {
    let mut write = |mark: &str, groups: &BTreeMap<String, Reasons>| {
        groups.iter().try_for_each(|(reason, reasons)| {
            writeln!(f, "  {mark} {:>8}  {reason}", grouped(reasons.records))?;
            reasons.examples.iter().try_for_each(|example| writeln!(f, "              {example}"))
        })
    };
    write("+", &quarantine.only_shadow)?;
    write("-", &quarantine.only_other)?;
    write("~", &quarantine.another_reason)
}
