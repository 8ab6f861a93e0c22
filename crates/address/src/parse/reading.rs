//! Parsing without an allocation per text: the elements borrow from the text, from the parser's memory and from the
//! divisions.

use super::area::is_gap;
use super::elements::Writer;
use super::label::Label;
use super::sketch::Sketch;
use crate::divisions::{DivisionId, Divisions};
use crate::fold::{Folded, fold};
use std::fmt;

/// Parses texts one after the other. Its memory grows to the longest of them; beyond that nothing is allocated.
///
/// ```
/// use yibiao_address::{Divisions, Parser};
///
/// let mut parser = Parser::default();
/// let reading = parser.parse("南京市鼓楼区上海路十二号2单元", Divisions::bundled(), None);
/// assert_eq!(reading.county.and_then(|county| county.code), Some(320_106_000_000));
/// let number = reading.number.unwrap();
/// assert_eq!((number.value.to_string(), reading.slice(number.span)), ("12".to_owned(), "十二号"));
/// ```
#[derive(Default)]
pub struct Parser {
    folded: Folded,
    sketch: Sketch,
    taken: Vec<bool>,
}

impl Parser {
    /// Parses one text. `area` is the feed's own area (see [`Divisions::area`]), where it has one.
    pub fn parse<'p>(
        &'p mut self,
        text: &'p str,
        divisions: &'p Divisions,
        area: Option<DivisionId>,
    ) -> Reading<'p> {
        let Self { folded, sketch, taken } = self;
        fold(text, folded);
        sketch.read(divisions, folded.chars(), area.as_slice());
        taken.clear();
        taken.resize(folded.chars().len(), false);
        Writer { text, folded, taken }.write(divisions, sketch)
    }
}

/// What a text says, as [`Parsed`](crate::Parsed) does, but borrowed.
#[derive(Debug, Clone)]
pub struct Reading<'p> {
    pub text: &'p str,
    pub province: Option<AreaReading<'p>>,
    pub city: Option<AreaReading<'p>>,
    pub county: Option<AreaReading<'p>>,
    pub township: Option<AreaReading<'p>>,
    pub community: Option<AreaReading<'p>>,
    pub group: Option<ElementReading<'p>>,
    pub road: Option<ElementReading<'p>>,
    pub number: Option<ElementReading<'p>>,
    pub compound: Option<ElementReading<'p>>,
    pub building: Option<ElementReading<'p>>,
    pub unit: Option<ElementReading<'p>>,
    pub floor: Option<ElementReading<'p>>,
    pub room: Option<ElementReading<'p>>,
    folded: &'p Folded,
    taken: &'p [bool],
}

/// A division of the address; see [`AreaElement`](crate::AreaElement).
#[derive(Debug, Clone, Copy)]
pub struct AreaReading<'p> {
    pub name: Wording<'p>,
    /// The 12-digit statistical code.
    pub code: Option<u64>,
    /// [start, end) in characters of the original text.
    pub span: Option<[u32; 2]>,
}

/// Any other element: normalised (numbers in digits, without their counter). As written it is
/// [`slice`](Reading::slice) of its span.
#[derive(Debug, Clone, Copy)]
pub struct ElementReading<'p> {
    pub value: Wording<'p>,
    /// [start, end) in characters of the original text.
    pub span: [u32; 2],
}

/// A few words, wherever they stand. `to_string` copies them.
#[derive(Debug, Clone, Copy)]
pub struct Wording<'p>(pub(super) Words<'p>);

#[derive(Debug, Clone, Copy)]
pub(super) enum Words<'p> {
    Written(&'p str),
    Folded(&'p [char]),
    Number(Label),
}

impl Wording<'_> {
    pub fn chars(&self) -> impl Iterator<Item = char> + '_ {
        let (written, folded) = match &self.0 {
            Words::Written(words) => (*words, &[][..]),
            Words::Folded(words) => ("", *words),
            Words::Number(label) => (label.as_str(), &[][..]),
        };
        written.chars().chain(folded.iter().copied())
    }
}

impl From<Wording<'_>> for String {
    fn from(wording: Wording<'_>) -> Self {
        match wording.0 {
            Words::Written(words) => words.to_owned(),
            Words::Folded(words) => {
                // An ideograph has three bytes: one allocation is enough.
                let mut out = String::with_capacity(words.len() * 3);
                out.extend(words);
                out
            }
            Words::Number(label) => label.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Wording<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        match &self.0 {
            Words::Written(words) => f.write_str(words),
            Words::Folded(words) => words.iter().try_for_each(|&c| f.write_char(c)),
            Words::Number(label) => f.write_str(label.as_str()),
        }
    }
}

impl<'p> Reading<'p> {
    /// Without any element yet.
    pub(super) fn of(text: &'p str, folded: &'p Folded) -> Self {
        Self {
            text,
            province: None,
            city: None,
            county: None,
            township: None,
            community: None,
            group: None,
            road: None,
            number: None,
            compound: None,
            building: None,
            unit: None,
            floor: None,
            room: None,
            folded,
            taken: &[],
        }
    }

    /// `taken`: which of the folded characters the elements took.
    pub(super) fn with_taken(mut self, taken: &'p [bool]) -> Self {
        self.taken = taken;
        self
    }

    /// The characters [start, end) of the original text.
    pub fn slice(&self, span: [u32; 2]) -> &'p str {
        slice(self.text, span)
    }

    /// What none of the elements took, in the order of the text, without the gaps around and between.
    pub fn residue(&self) -> impl Iterator<Item = ElementReading<'p>> + use<'p> {
        let (folded, taken) = (self.folded, self.taken);
        let text = folded.chars();
        let rest = move |at: usize| !taken[at] && !is_gap(text[at]);
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = (next..taken.len()).find(|&at| rest(at))?;
            next = (start..taken.len()).find(|&at| !rest(at)).unwrap_or(taken.len());
            let value = Wording(Words::Folded(&text[start..next]));
            Some(ElementReading { value, span: folded.original(start, next) })
        })
    }
}

/// The characters [start, end) of `text`.
pub(super) fn slice(text: &str, [start, end]: [u32; 2]) -> &str {
    let from = behind(text, start);
    &from[..from.len() - behind(from, end.saturating_sub(start)).len()]
}

/// `text` without its first `count` characters.
fn behind(text: &str, count: u32) -> &str {
    let mut chars = text.chars();
    if let Some(last) = count.checked_sub(1) {
        chars.nth(last as usize);
    }
    chars.as_str()
}
