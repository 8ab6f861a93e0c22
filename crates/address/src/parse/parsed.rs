//! The elements of one text in strings of their own, for people and for JSON lines.

use super::reading::{AreaReading, ElementReading, Parser, Reading};
use crate::divisions::{DivisionId, Divisions};
use serde::Serialize;
use std::cell::RefCell;

/// A division of the address: today's name and code. `span` is None where the text left it out and the rest implies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AreaElement {
    pub name: String,
    /// 12 digits; None where the text names a division by its form that is not in the tables, or where several bear the
    /// name and nothing decides: then the names are those of the likeliest.
    pub code: Option<String>,
    pub span: Option<[u32; 2]>,
}

/// Any other element: as written, and normalised (numbers in digits, without their counter).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Element {
    pub text: String,
    pub value: String,
    /// [start, end) in characters of the original text.
    pub span: [u32; 2],
}

/// What a text says. Serialises to one JSON object as `yibiao address parse` writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Parsed {
    pub text: String,
    pub province: Option<AreaElement>,
    pub city: Option<AreaElement>,
    pub county: Option<AreaElement>,
    pub township: Option<AreaElement>,
    pub community: Option<AreaElement>,
    pub group: Option<Element>,
    pub road: Option<Element>,
    pub number: Option<Element>,
    pub compound: Option<Element>,
    pub building: Option<Element>,
    pub unit: Option<Element>,
    pub floor: Option<Element>,
    pub room: Option<Element>,
    /// What none of the elements took, in the order of the text, parted by single spaces.
    pub residue: String,
}

thread_local! {
    static PARSER: RefCell<Parser> = RefCell::default();
}

/// Parses one text. `area` is the feed's own area (see [`Divisions::area`]), where it has one. [`Parser`] does the same
/// without strings of its own.
pub fn parse(text: &str, divisions: &Divisions, area: Option<DivisionId>) -> Parsed {
    PARSER.with_borrow_mut(|parser| Parsed::from(&parser.parse(text, divisions, area)))
}

impl From<&Reading<'_>> for Parsed {
    fn from(reading: &Reading<'_>) -> Self {
        let area = |area: &Option<AreaReading<'_>>| {
            area.map(|a| AreaElement { name: a.name.into(), code: a.code.map(code), span: a.span })
        };
        let element = |element: &Option<ElementReading<'_>>| {
            element.map(|e| Element {
                text: reading.slice(e.span).to_owned(),
                value: e.value.into(),
                span: e.span,
            })
        };
        let mut residue = String::new();
        for piece in reading.residue() {
            if !residue.is_empty() {
                residue.push(' ');
            }
            residue.extend(piece.value.chars());
        }
        Parsed {
            text: reading.text.to_owned(),
            province: area(&reading.province),
            city: area(&reading.city),
            county: area(&reading.county),
            township: area(&reading.township),
            community: area(&reading.community),
            group: element(&reading.group),
            road: element(&reading.road),
            number: element(&reading.number),
            compound: element(&reading.compound),
            building: element(&reading.building),
            unit: element(&reading.unit),
            floor: element(&reading.floor),
            room: element(&reading.room),
            residue,
        }
    }
}

/// In 12 digits.
pub(super) fn code(code: u64) -> String {
    let digit = |at: u32| char::from_digit((code / 10u64.pow(at) % 10) as u32, 10).unwrap_or('0');
    let mut out = String::with_capacity(12);
    out.extend((0..12).rev().map(digit));
    out
}
