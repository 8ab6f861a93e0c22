//! Durations in configuration files: "10ms", "7d" (`#[serde(with = "yibiao_topics::duration")]`).

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_duration(*duration))
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!("'{text}' is not a duration such as 10ms, 5s or 7d: {error}"))
    })
}
