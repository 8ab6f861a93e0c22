//! Which column of a CSV file is which field: looked up once for each header row.

use std::sync::Arc;

use yibiao_records::Reason;

use super::{Names, csv, encoding};
use crate::{
    contract::{Dialect, Encoding, Field},
    decode::Reject,
    privacy::suspicion,
};

/// Files of one feed have few distinct headers; more than this and the oldest is forgotten.
const CACHED: usize = 8;

/// One header row, understood.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Per column of the file, the field.
    pub fields: Vec<Option<usize>>,
    /// Per field, the column of the file.
    pub columns: Vec<Option<usize>>,
    /// Columns without a field: position and name.
    pub unknown: Vec<(usize, String)>,
    /// Columns without a field whose names look personal.
    pub suspicious: Vec<usize>,
}

/// A header row's bytes and what they say.
type Cached = (Vec<u8>, Result<Arc<Layout>, Reject>);

/// The layouts of the latest headers, newest last.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    cached: Vec<Cached>,
}

impl Layouts {
    pub fn get(
        &mut self,
        header: &[u8],
        names: &Names,
        dialect: Dialect,
        encoding: Encoding,
    ) -> Result<Arc<Layout>, Reject> {
        let found = self.cached.iter().rev().find(|(bytes, _)| bytes == header);
        if let Some((_, layout)) = found {
            return layout.clone();
        }
        let layout = read(header, names, dialect, encoding).map(Arc::new);
        if self.cached.len() >= CACHED {
            self.cached.drain(..1);
        }
        self.cached.push((header.to_vec(), layout.clone()));
        layout
    }
}

fn read(header: &[u8], names: &Names, dialect: Dialect, encoding: Encoding) -> Result<Layout, Reject> {
    // A GBK file does not begin with a byte order mark, but one saved by mistake may.
    let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
    let mut buffer = String::new();
    let text = encoding::decode(header, encoding, &mut buffer).map_err(|at| {
        Reject::new(
            Reason::Undecodable,
            None,
            format!("the header row is not {} at byte {at}", encoding.name()),
        )
    })?;
    let mut spans = Vec::new();
    csv::split(text.as_bytes(), dialect, &mut spans).map_err(|error| {
        Reject::new(Reason::Malformed, None, format!("the header row: {}", error.detail()))
    })?;
    let mut layout = Layout {
        fields: Vec::with_capacity(spans.len()),
        columns: vec![None; names.len()],
        unknown: Vec::new(),
        suspicious: Vec::new(),
    };
    for (position, span) in spans.iter().enumerate() {
        let name = span.text(text);
        let field = names.find(&name, position);
        layout.fields.push(field);
        match field {
            Some(field) if layout.columns[field].is_some() => {
                return Err(Reject::new(
                    Reason::Malformed,
                    Some(name.into_owned()),
                    "the header row has this column twice".into(),
                ));
            }
            Some(field) => layout.columns[field] = Some(position),
            // Some programs end every line with a delimiter.
            None if name.trim().is_empty() => {}
            None => {
                if suspicion(&name).is_some() {
                    layout.suspicious.push(position);
                }
                layout.unknown.push((position, name.into_owned()));
            }
        }
    }
    Ok(layout)
}

/// The first declared field that the file should have and lacks.
pub(crate) fn missing<'f>(layout: &Layout, fields: &'f [Field], dropped: &[bool]) -> Option<&'f Field> {
    fields
        .iter()
        .enumerate()
        .find(|(index, field)| layout.columns[*index].is_none() && !field.optional_column && !dropped[*index])
        .map(|(_, field)| field)
}
