//! Parse: the elements of one address (after GA/T 2000.32) by structure, each with its span.
//!
//! ```text
//!  江苏省南京市鼓楼区华侨路街道 │ 上海路12号 │ 国泰新村 │ 25幢2单元402室 │ 门口
//!          area                 │   street   │ compound │      door      │ residue
//! ```

pub(crate) mod area;
pub(crate) mod door;
mod elements;
pub(crate) mod label;
pub(crate) mod names;
mod parsed;
mod reading;
mod roles;
mod sketch;
pub(crate) mod street;
pub(crate) mod words;

pub(crate) use elements::code;
pub use label::Label;
pub use parsed::{AreaElement, Element, Parsed, parse};
pub use reading::{AreaReading, ElementReading, Parser, Reading, Wording};
pub(crate) use roles::{Role, roles};
pub(crate) use sketch::Sketch;
pub(crate) use words::Words;

pub(crate) fn contains(text: &[char], word: &str) -> bool {
    (0..text.len()).any(|at| begins(&text[at..], word))
}

pub(crate) fn begins(text: &[char], word: &str) -> bool {
    let mut rest = text.iter();
    word.chars().all(|c| rest.next() == Some(&c))
}
