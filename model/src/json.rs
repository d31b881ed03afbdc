//! JSON that is carried, not read: arguments and results pass through as the text they came in, so integers of any
//! size, the order of keys and the spelling of floats survive.

mod finite;

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// A text that is known to be one JSON value.
#[derive(Clone)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The deepest nesting of arrays and objects that is accepted: what common parsers can read.
    pub const MAX_DEPTH: usize = 127;

    /// Takes a text as JSON if it is, and is nested no deeper than [`Json::MAX_DEPTH`].
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        Self::checked(RawValue::from_string(text)?)
    }

    /// `serde_json` skips over a raw value without a limit of depth; who reads it later may not.
    fn checked<E: serde::de::Error>(raw: Box<RawValue>) -> Result<Self, E> {
        let depth = nesting(raw.get().as_bytes());
        if depth <= Self::MAX_DEPTH {
            Ok(Self(raw))
        } else {
            Err(E::custom(format_args!("JSON nested {depth} deep; at most {} is accepted", Self::MAX_DEPTH)))
        }
    }

    /// A piece of a text that was read as JSON already. Fails if it is nested too deep.
    pub fn of_raw(raw: &RawValue) -> Result<Self, serde_json::Error> {
        Self::checked(raw.to_owned())
    }

    /// The JSON of a value. Fails for what JSON cannot hold, such as a map with keys that are not text, or a number that is
    /// infinite.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let raw = serde_json::value::to_raw_value(value)?;
        // So is such a number written.
        if raw.get().contains("null") {
            finite::check(value)?;
        }
        Ok(Self(raw))
    }

    /// `null`
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned())
    }

    /// `[]`
    pub fn empty_array() -> Self {
        Self(RawValue::from_string("[]".to_owned()).expect("an array"))
    }

    /// `{}`
    pub fn empty_object() -> Self {
        Self(RawValue::from_string("{}".to_owned()).expect("an object"))
    }

    /// An array that begins with a value and goes on with this one's items. Fails if it is nested too deep.
    pub fn after(&self, first: &Self) -> Result<Self, serde_json::Error> {
        let items = self.as_str().trim();
        let items = items.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default().trim();
        let comma = if items.is_empty() { "" } else { "," };
        Self::parse(format!("[{first}{comma}{items}]"))
    }

    /// An array with the items of another before this one's. Fails if one is no array.
    pub fn after_all(&self, first: &Self) -> Result<Self, serde_json::Error> {
        let mut all: Vec<Self> = first.read()?;
        all.extend(self.read::<Vec<Self>>()?);
        Self::of(&all)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads it as a type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }

    /// How deep its arrays and objects are nested.
    pub fn depth(&self) -> usize {
        nesting(self.as_str().as_bytes())
    }

    /// Whether it is an array.
    pub fn is_array(&self) -> bool {
        self.as_str().trim_start().starts_with('[')
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.as_str().trim_start().starts_with('{')
    }
}

/// How deep the arrays and objects of a valid JSON text are nested.
fn nesting(text: &[u8]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' => now -= 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    most
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'"' => return,
            _ => {}
        }
    }
}

impl PartialEq for Json {
    /// The same text; `1` and `1.0` differ.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl Hash for Json {
    /// Of the text, by which it is compared.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self::of(&value).expect("a JSON value is JSON")
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).and_then(Self::checked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_integers_and_key_order_survive() {
        let text = r#"{"z":123456789012345678901234567890,"a":1.10}"#;
        let json = Json::parse(text.to_owned()).unwrap();
        assert_eq!(serde_json::to_string(&[&json]).unwrap(), format!("[{text}]"));
    }

    #[test]
    fn a_nesting_bomb_is_an_error() {
        assert!(Json::parse("[".repeat(100_000)).is_err());
        assert!(Json::parse(format!("{}{}", "[".repeat(127), "]".repeat(127))).is_ok());
        assert!(Json::parse(r#""[[[[\"[[[[""#.to_owned()).is_ok_and(|j| j.depth() == 0));
        assert!(Json::parse(format!("{}{}", "[".repeat(1000), "]".repeat(1000))).is_err());
    }
}
