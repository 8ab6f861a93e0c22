//! `yibiao.legal`: what the feed may be used for, and until when.

use chrono::NaiveDate;

use crate::{
    contract::Legal,
    problem::Sink,
    yaml::{Node, Section},
};

pub(super) fn read(node: &Node, today: NaiveDate, sink: &mut Sink<'_>) -> Option<Legal> {
    let mut section = Section::open(node, "yibiao.legal", sink)?;
    let basis = section.needed_text("basis", "name the regulation, agreement or catalogue number", sink);
    let purposes: Vec<String> =
        section.texts("purposes", sink).into_iter().map(|(text, _)| text.to_owned()).collect();
    if purposes.is_empty() {
        sink.report(
            section.line(),
            "yibiao.legal.purposes is missing",
            "list at least one purpose that was granted",
        );
    }
    let until = section.needed_text("until", "write the last day, such as 2027-12-31", sink);
    let until = until.and_then(|(text, line)| match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Err(_) => {
            sink.report(line, format!("yibiao.legal.until '{text}' is not a day"), "write it as 2027-12-31");
            None
        }
        Ok(day) => {
            if day < today {
                sink.report(
                    line,
                    format!("the permission ended on {day}"),
                    "have it renewed and write the new last day, or remove the feed",
                );
            }
            Some(day)
        }
    });
    section.finish(sink);
    Some(Legal { basis: basis?.0.to_owned(), purposes, until: until? })
}
