//! A JSON object that is looked into, and mostly not kept: its values are pieces of the text that it was read from.

use std::borrow::Cow;
use std::fmt;

use lovage_model::Json;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The keys of an object with their values, in order. As in JSON, the last of equal keys counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Pairs<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rfind(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// A value that is there and not `null`, read as a type; none if it is not of that type.
    pub(super) fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        self.get(name).filter(|value| !is_null(value)).and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// Takes a key out; none, if it is not there or `null`.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let found = self.get(name)?;
        self.0.retain(|(key, _)| key != name);
        Some(found).filter(|value| !is_null(value))
    }

    /// Takes some keys out, as an object of their own.
    pub(super) fn split_off(&mut self, names: &[&str]) -> Self {
        let (off, rest) = std::mem::take(&mut self.0).into_iter().partition(|(key, _)| names.contains(&key.as_ref()));
        self.0 = rest;
        Self(off)
    }

    /// With another name for a key, if that is there and not `null`: then it counts.
    pub(super) fn renamed(mut self, from: &str, to: &'static str) -> Self {
        if let Some(value) = self.take(from) {
            self.0.push((to.into(), value));
        }
        self
    }

    /// With the keys of another one, which count where both have them.
    pub(super) fn with(mut self, others: &Self) -> Self {
        self.0.extend(others.0.iter().cloned());
        self
    }

    /// The keys with their values, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    /// The keys with their values, to be kept. Fails for what is nested too deep.
    pub(super) fn kept<C: FromIterator<(String, Json)>>(&self) -> serde_json::Result<C> {
        self.iter().map(|(name, value)| Ok((name.to_owned(), Json::of_raw(value)?))).collect()
    }
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A key, without a copy if nothing in it is escaped.
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::with_capacity(24);
                while let Some((Key(key), value)) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_keys_counts() {
        let mut pairs: Pairs<'_> = serde_json::from_str(r#"{"a":1,"\u0062":[2, 3],"a":4,"n":null}"#).unwrap();
        assert_eq!((pairs.read::<u8>("a"), pairs.get("b").unwrap().get()), (Some(4), "[2, 3]"));
        assert!(pairs.take("n").is_none() && pairs.get("n").is_none());
        assert_eq!(pairs.take("a").map(RawValue::get), Some("4"));
        assert!(pairs.get("a").is_none());
        let other: Pairs<'_> = serde_json::from_str(r#"{"b":5}"#).unwrap();
        assert_eq!(pairs.with(&other).read::<u8>("b"), Some(5));
    }
}
