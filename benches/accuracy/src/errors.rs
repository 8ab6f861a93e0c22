//! Errors by cause: what was measured, of which element, and what kind of error it is.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    measure: &'static str,
    element: &'static str,
    kind: String,
}

#[derive(Debug, Default)]
pub(crate) struct Errors {
    by_cause: BTreeMap<Cause, Vec<String>>,
}

impl Errors {
    pub fn add(
        &mut self,
        measure: &'static str,
        element: &'static str,
        kind: impl Into<String>,
        shown: String,
    ) {
        self.by_cause.entry(Cause { measure, element, kind: kind.into() }).or_default().push(shown);
    }

    /// The causes of each measure, the most frequent first, with `each` errors spread over the set.
    pub fn print(&self, set: &str, each: usize, only: &str) {
        let mut causes: Vec<_> = self
            .by_cause
            .iter()
            .filter(|(c, _)| [c.measure, c.element, &c.kind].iter().any(|part| part.contains(only)))
            .collect();
        causes.sort_by_key(|(cause, rows)| (cause.measure, std::cmp::Reverse(rows.len())));
        println!("\n{set}: errors by cause");
        for (cause, rows) in &causes {
            println!("{:6}  {:16} {:10} {}", rows.len(), cause.measure, cause.element, cause.kind);
        }
        for (cause, rows) in causes {
            println!("\n--- {set} {} {} {}: {} in all", cause.measure, cause.element, cause.kind, rows.len());
            let step = rows.len().div_ceil(each).max(1);
            rows.iter().step_by(step).for_each(|row| println!("  {row}"));
        }
        println!();
    }
}
