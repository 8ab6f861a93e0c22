//! YAML with the line of every node, so that a problem can be shown where it is.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::problem::Sink;

/// One node and the line it begins on.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub line: u32,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Parses one document; what is wrong with its syntax is reported with its line.
pub(crate) fn parse(text: &str, sink: &mut Sink<'_>) -> Option<Node> {
    // As YAML 1.2 has it: `y`, `no` and `on` are text.
    let options = serde_saphyr::options! { strict_booleans: true };
    match serde_saphyr::from_str_with_options::<Node>(text, options) {
        Ok(node) => Some(node),
        Err(error) => {
            let line = error.location().map_or(0, |location| location.line() as u32);
            let plain = error.without_snippet().to_string();
            let first = plain.lines().next().unwrap_or("not valid YAML").to_owned();
            sink.report(
                line,
                format!("the YAML cannot be read: {first}"),
                "repair the syntax; nothing else of this file was checked",
            );
            None
        }
    }
}

impl Node {
    /// What kind of node this is, for messages.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".into(),
            Kind::Bool(value) => value.to_string(),
            Kind::Int(value) => value.to_string(),
            Kind::Float(value) => value.to_string(),
            Kind::Text(text) => format!("'{}'", crate::text::excerpt(text)),
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "a mapping".into(),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar as it is written (nearly: `1.50` is `1.5`).
    pub fn scalar(&self) -> Option<String> {
        match &self.kind {
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Int(value) => Some(value.to_string()),
            Kind::Float(value) => Some(value.to_string()),
            Kind::Text(text) => Some(text.clone()),
        }
    }

    pub fn list(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => (*value).into(),
            Kind::Int(value) => (*value).into(),
            Kind::Float(value) => (*value).into(),
            Kind::Text(text) => text.as_str().into(),
            Kind::List(items) => items.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect())
            }
        }
    }

    /// The line of the node at a path of keys and indices, or of the deepest of its ancestors that is there.
    pub fn line_at<'p>(&self, path: impl Iterator<Item = &'p str>) -> u32 {
        let mut node = self;
        for segment in path {
            let next = match &node.kind {
                Kind::List(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => node.get(segment),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.line
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Node { line: spanned.referenced.line() as u32, kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any YAML node")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(i64::try_from(value).map_or(Kind::Float(value as f64), Kind::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            map.push((key, entries.next_value()?));
        }
        Ok(Kind::Map(map))
    }
}

/// A mapping of which every key must be known: what is not asked for is reported by [`Section::finish`].
pub(crate) struct Section<'n> {
    node: &'n Node,
    name: String,
    known: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// None, and a problem, where the node is no mapping.
    pub fn open(node: &'n Node, name: impl Into<String>, sink: &mut Sink<'_>) -> Option<Self> {
        let name = name.into();
        if !matches!(node.kind, Kind::Map(_)) {
            sink.report(
                node.line,
                format!("{name} is {}, expected a mapping", node.describe()),
                "write it as `key: value` lines",
            );
            return None;
        }
        Some(Self { node, name, known: Vec::new() })
    }

    pub fn line(&self) -> u32 {
        self.node.line
    }

    pub fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.node.get(key).filter(|node| !matches!(node.kind, Kind::Null))
    }

    pub fn text(&mut self, key: &'static str, sink: &mut Sink<'_>) -> Option<(&'n str, u32)> {
        let node = self.node(key)?;
        match node.text() {
            Some(text) => Some((text, node.line)),
            None => {
                sink.report(
                    node.line,
                    format!("{}.{key} is {}, expected text", self.name, node.describe()),
                    "write text, in quotes if it looks like a number",
                );
                None
            }
        }
    }

    pub fn needed_text(
        &mut self,
        key: &'static str,
        remedy: &str,
        sink: &mut Sink<'_>,
    ) -> Option<(&'n str, u32)> {
        if self.node(key).is_none() {
            sink.report(self.line(), format!("{}.{key} is missing", self.name), remedy);
            return None;
        }
        self.text(key, sink)
    }

    /// A text or a list of texts.
    pub fn texts(&mut self, key: &'static str, sink: &mut Sink<'_>) -> Vec<(&'n str, u32)> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let nodes = match &node.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut texts = Vec::new();
        for node in nodes {
            match node.text() {
                Some(text) => texts.push((text, node.line)),
                None => sink.report(
                    node.line,
                    format!("{}.{key} holds {}, expected text", self.name, node.describe()),
                    "write text, in quotes if it looks like a number",
                ),
            }
        }
        texts
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, sink: &mut Sink<'_>) {
        if let Kind::Map(entries) = &self.node.kind {
            for (key, node) in entries {
                if !self.known.contains(&key.as_str()) {
                    sink.report(
                        node.line,
                        format!("{} has no setting '{key}'", self.name),
                        format!("remove it, or use one of: {}", self.known.join(", ")),
                    );
                }
            }
        }
    }
}
