//! The element of a list, or what is published on a channel: kombu's envelope around a body.
//! See <https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.virtual.html>.

use lovage_model::{Fields, Json};
use serde::Deserialize;

use super::json;

/// An envelope, read no further than to its parts.
#[derive(Deserialize)]
pub(super) struct Element {
    /// Our own mark, if we wrote it.
    #[serde(default)]
    pub(super) lovage: Option<Json>,
    #[serde(default)]
    pub(super) body: Option<Json>,
    #[serde(default, rename = "content-type")]
    pub(super) content_type: Option<Json>,
    #[serde(default)]
    headers: Option<Fields>,
    #[serde(default)]
    properties: Option<Fields>,
    /// The first number in it that is not finite, as Python shows it; `null` stands in its place.
    #[serde(skip)]
    pub(super) not_finite: Option<&'static str>,
}

impl Element {
    /// The error says why it is no envelope.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(raw).map_err(|error| error.to_string())?;
        let (text, not_finite) = json::finite(text, "null");
        let element: Self = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(Self { not_finite, ..element })
    }

    pub(super) fn headers(&self) -> &Fields {
        const NONE: &Fields = &Fields::EMPTY;
        self.headers.as_ref().unwrap_or(NONE)
    }

    pub(super) fn properties(&self) -> &Fields {
        const NONE: &Fields = &Fields::EMPTY;
        self.properties.as_ref().unwrap_or(NONE)
    }

    /// A text among the properties.
    pub(super) fn property(&self, name: &str) -> String {
        self.properties().read(name).unwrap_or_default()
    }
}
