//! The element of a list, or what is published on a channel: kombu's envelope around a body.
//! See <https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.virtual.html>.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;
use super::pairs::Pairs;

/// The text of an envelope, as JSON.
pub(super) struct Text<'a> {
    text: Cow<'a, str>,
    /// The first number in it that is not finite, as Python shows it; `null` stands in its place.
    pub(super) not_finite: Option<&'static str>,
}

impl<'a> Text<'a> {
    /// The error says why it is no text.
    pub(super) fn of(raw: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(raw).map_err(|error| error.to_string())?;
        let (text, not_finite) = json::finite(text);
        Ok(Self { text, not_finite })
    }
}

/// An envelope, read no further than to its parts.
#[derive(Deserialize)]
pub(super) struct Element<'a> {
    /// Our own mark, if we wrote it.
    #[serde(borrow, default)]
    pub(super) lovage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) body: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "content-type")]
    pub(super) content_type: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "or_none")]
    pub(super) headers: Pairs<'a>,
    #[serde(borrow, default, deserialize_with = "or_none")]
    pub(super) properties: Pairs<'a>,
}

fn or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pairs<'de>, D::Error> {
    Option::<Pairs<'de>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl<'a> Element<'a> {
    /// The error says why it is no envelope.
    pub(super) fn parse(text: &'a Text<'_>) -> Result<Self, String> {
        serde_json::from_str(&text.text).map_err(|error| error.to_string())
    }

    /// A text among the properties.
    pub(super) fn property(&self, name: &str) -> String {
        self.properties.read(name).unwrap_or_default()
    }
}
