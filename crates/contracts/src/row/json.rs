//! One JSON object to its members, each with its place in the text.

use std::{borrow::Cow, fmt, ops::Range};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Cell;
use crate::privacy::suspicion;

/// One member of the object.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub name: Cow<'a, str>,
    /// The value's JSON text.
    pub raw: &'a str,
    /// Where the value lies in the whole text.
    pub range: Range<usize>,
}

/// The members of one object in the order of the text, doubled names included; the error says what is wrong.
pub(crate) fn members<'a>(text: &'a str, members: &mut Vec<Member<'a>>) -> Result<(), String> {
    members.clear();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = deserializer.deserialize_map(Object { text, members }).and_then(|()| deserializer.end());
    result.map_err(|error| {
        // The value itself is not repeated: it may be personal.
        match error.classify() {
            serde_json::error::Category::Data => "it is JSON, but no object".to_owned(),
            serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
            _ => format!("it is not JSON at column {}", error.column()),
        }
    })
}

struct Object<'a, 'm> {
    text: &'a str,
    members: &'m mut Vec<Member<'a>>,
}

impl<'a> Visitor<'a> for Object<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let raw: &'a str = map.next_value::<&'a RawValue>()?.get();
            // The raw text is a part of `text`: the distance of the two is its position.
            let start = raw.as_ptr() as usize - self.text.as_ptr() as usize;
            self.members.push(Member { name, raw, range: start..start + raw.len() });
        }
        Ok(())
    }
}

/// A member's name, borrowed unless it holds escapes.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// A member's value as a cell. None where a string's escapes are wrong.
pub(crate) fn cell(raw: &str) -> Option<Cell<'_>> {
    Some(match raw.as_bytes().first()? {
        b'"' => Cell::Text(string(raw)?),
        b'n' => Cell::Null,
        b't' => Cell::Bool(true),
        b'f' => Cell::Bool(false),
        b'{' | b'[' => Cell::Nested,
        _ => Cell::Number(Cow::Borrowed(raw)),
    })
}

fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// Whether an object within this value has a member whose name looks personal or is among `dropped` (folded).
pub(crate) fn holds_personal(raw: &str, dropped: &dyn Fn(&str) -> bool) -> bool {
    if !matches!(raw.as_bytes().first(), Some(b'{' | b'[')) {
        return false;
    }
    let mut found = false;
    let mut deserializer = serde_json::Deserializer::from_str(raw);
    let read = Search { found: &mut found, dropped }.deserialize(&mut deserializer);
    // Too deep to be searched is too deep to be kept.
    found || read.is_err()
}

struct Search<'s> {
    found: &'s mut bool,
    dropped: &'s dyn Fn(&str) -> bool,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Search { found: self.found, dropped: self.dropped })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if (self.dropped)(&name) || suspicion(&name).is_some() {
                *self.found = true;
            }
            map.next_value_seed(Search { found: self.found, dropped: self.dropped })?;
        }
        Ok(())
    }
}
