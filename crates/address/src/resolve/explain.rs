//! Explain: the same way once more, in words.

use super::{Language, Query, Resolver, Scratch};
use crate::gazetteer::PlaceIndex;
use std::fmt::Write;

impl Resolver {
    /// How the answer to `query` came about: each step, each candidate with its evidence, and the answer.
    pub fn explain(&self, query: &Query<'_>, language: Language) -> String {
        let mut s = Scratch::default();
        let answer = self.resolve(query, &mut s);
        let say = |chinese: &'static str, english: &'static str| {
            if language == Language::Chinese { chinese } else { english }
        };
        let mut out = String::new();
        let text = s.folded.chars();
        let slice = |start: usize, end: usize| text[start..end].iter().collect::<String>();
        // Writing into a string never fails.
        let _ = writeln!(out, "{}: {}", say("原文", "text"), query.text);
        let _ = writeln!(out, "{}: {}", say("归一", "folded"), s.folded.text());
        for m in &s.sketch.area.mentions {
            let meaning = m.division.map_or(String::from("?"), |d| {
                format!("{} {}", self.divisions.shown_name(d), crate::parse::code(self.divisions, d))
            });
            let _ = writeln!(
                out,
                "{}: {} → {meaning} ({:?})",
                say("区划", "division"),
                slice(m.start, m.end),
                m.naming
            );
        }
        for t in &s.sketch.streets {
            let number = t.number.map_or(String::new(), |n| format!(" № {}", n.value));
            let _ = writeln!(out, "{}: {}{number}", say("街路", "street"), slice(t.start, t.end));
        }
        for p in &s.spots {
            let _ = writeln!(out, "{}: {}", say("库中名称", "known name"), slice(p.start, p.end));
        }
        for d in &s.doors {
            let _ = writeln!(
                out,
                "{}: {} → {:?} {}",
                say("门户", "door"),
                slice(d.start, d.end),
                d.kind,
                d.value
            );
        }
        for e in s.evidence.iter().take(8) {
            let _ = writeln!(
                out,
                "{}: {:.2} {} — {}: {:?}, {}: {:?}, {}: {:?}",
                say("候选", "candidate"),
                e.score,
                self.path((e.compound, e.added)),
                say("名称", "name"),
                e.name,
                say("街路", "street"),
                e.street,
                say("区划", "area"),
                e.area
            );
        }
        let place = answer.place.or(answer.within).and_then(|id| {
            let of_layer = |added: bool| Some((self.layer(added).index_of(id)?, added));
            let added = self.overlay.as_ref().and_then(|_| of_layer(true));
            added.or_else(|| of_layer(false)).map(|at| self.path(at))
        });
        let _ = writeln!(
            out,
            "{}: {} — {} ({}), {} {:.2}{}",
            say("结论", "answer"),
            answer.place.map_or("—".to_owned(), |p| p.to_string()),
            answer.reason.as_str(),
            answer.reason.explanation(language),
            say("置信度", "confidence"),
            answer.confidence,
            if answer.provisional { say("，临时地点", ", provisional") } else { "" },
        );
        if let Some(place) = place {
            let _ = writeln!(out, "{}: {place}", say("地点", "place"));
        }
        out
    }

    /// The names from the division down to the place; what the overlay holds is marked with a +.
    fn path(&self, (index, added): (PlaceIndex, bool)) -> String {
        let gazetteer = self.layer(added);
        let division = gazetteer.division_code(index).and_then(|code| self.divisions.covering(code));
        let division = division.map_or("", |d| self.divisions.shown_name(d));
        let names: Vec<&str> = gazetteer.line(index).iter().map(|&i| gazetteer.label_of(i)).collect();
        let mark = if added { "+ " } else { "" };
        format!("{mark}{division} {}", names.join(" / ")).trim().to_owned()
    }
}
