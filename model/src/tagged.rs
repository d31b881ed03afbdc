//! What kombu's JSON has for what JSON has not: `{"__type__": "datetime", "__value__": "2026-11-21T12:00:00"}`.
//!
//! A Python client may give a time as a datetime and an id as a UUID. Where these stand in the body of a message, as the options
//! of what follows a task do, they are written so, and a Celery worker reads them as what they are.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a text, or the text that Python has for a value with that tag.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D, tag: &'static str) -> Result<String, D::Error> {
    deserializer.deserialize_any(Text { tag })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tagged {
    #[serde(rename = "__type__")]
    tag: String,
    #[serde(rename = "__value__")]
    value: Value,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string, or the digits of a UUID")]
enum Value {
    Text(String),
    Uuid { hex: String },
}

/// A UUID as its text is written, if these are the digits of one.
pub(crate) fn hyphenated(hex: &str) -> Option<String> {
    let hex = hex.replace('-', "").to_ascii_lowercase();
    let is_one = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

struct Text {
    tag: &'static str,
}

impl<'de> Visitor<'de> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<String, A::Error> {
        let Tagged { tag, value } = Tagged::deserialize(MapAccessDeserializer::new(map))?;
        match value {
            _ if tag != self.tag => Err(A::Error::custom(format_args!("a value of {tag:?} is no {}", self.tag))),
            Value::Text(text) => Ok(text),
            Value::Uuid { .. } if self.tag != "uuid" => {
                Err(A::Error::custom(format_args!("a {} is written as a text, not as the digits of a UUID", self.tag)))
            }
            Value::Uuid { hex } => hyphenated(&hex).ok_or_else(|| {
                let shown: String = hex.chars().take(80).collect();
                A::Error::custom(format_args!("{shown:?} is no UUID: 32 hexadecimal digits"))
            }),
        }
    }
}
