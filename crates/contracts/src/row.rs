//! From bytes to named cells, in the four forms; used by the door and by the decoder.

pub(crate) mod csv;
pub(crate) mod encoding;
pub(crate) mod header;
pub(crate) mod json;
pub(crate) mod protobuf;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::{contract::Field, text::fold_name};

/// One cell as the source wrote it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Cell<'a> {
    /// The record does not have the column.
    #[default]
    Missing,
    Null,
    Text(Cow<'a, str>),
    /// A JSON number, its digits.
    Number(Cow<'a, str>),
    Int(i64),
    Bool(bool),
    /// A JSON object or list, or protobuf bytes.
    Nested,
}

/// Field indices by name, exact or folded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    in_order: Vec<String>,
    folded: HashMap<String, usize>,
}

impl Names {
    pub fn of(fields: &[Field]) -> Self {
        Self {
            in_order: fields.iter().map(|field| field.name.clone()).collect(),
            folded: fields
                .iter()
                .enumerate()
                .map(|(index, field)| (fold_name(&field.name).into_owned(), index))
                .collect(),
        }
    }

    /// `hint` is where the name is if records keep their order.
    pub fn find(&self, name: &str, hint: usize) -> Option<usize> {
        if self.in_order.get(hint).is_some_and(|at| at == name) {
            return Some(hint);
        }
        self.folded.get(fold_name(name).as_ref()).copied()
    }

    pub fn len(&self) -> usize {
        self.in_order.len()
    }
}
