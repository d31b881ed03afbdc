//! How often does each word occur?

use std::collections::{BTreeMap, HashMap};

use lovage_guest::prelude::*;
use serde::ser::SerializeMap;

/// Words with their counts, the most frequent first, equally frequent ones in alphabetical order. In JSON an object in
/// that order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(Vec<(String, u64)>);

impl Counts {
    /// The first `most` of them; all of them if there is no such number.
    #[must_use]
    pub fn top(mut self, most: Option<usize>) -> Self {
        self.0.truncate(most.unwrap_or(usize::MAX));
        self
    }
}

impl FromIterator<(String, u64)> for Counts {
    /// Adds the counts of equal words up; a sum stays at the largest number there is.
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(counted: I) -> Self {
        let mut sums: HashMap<String, u64> = HashMap::new();
        for (word, count) in counted {
            let sum = sums.entry(word).or_default();
            *sum = sum.saturating_add(count);
        }
        let mut sorted: Vec<(String, u64)> = sums.into_iter().collect();
        sorted.sort_unstable_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
        Self(sorted)
    }
}

impl IntoIterator for Counts {
    type Item = (String, u64);
    type IntoIter = std::vec::IntoIter<(String, u64)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (word, count) in &self.0 {
            map.serialize_entry(word, count)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<String, u64>::deserialize(deserializer).map(Self::from_iter)
    }
}
