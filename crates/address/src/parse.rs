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
pub(crate) mod street;

pub use elements::{AreaElement, Element, Parsed, parse};
pub(crate) use elements::{Role, Sketch, begins, code, contains, roles};
pub use label::Label;
