//! Settings, shown: each with its meaning, its value and where that comes from.

use std::fmt::{self, Write};

use super::keys::{Key, Value};
use super::{Config, granted, periodic, secret};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In a file.
    File(String),
    /// In a variable of the environment.
    Environment(String),
    /// On the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(path),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A setting as it holds.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which.
    pub key: &'static Key,
    /// Its value.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
}

impl Entry {
    /// As it may be shown: a URL without its password.
    pub(super) fn shown(&self) -> Self {
        let value = match &self.value {
            Value::Text(url) if self.key.name == "store.url" => Value::Text(secret::shown(url)),
            value => value.clone(),
        };
        Self { value, ..self.clone() }
    }
}

impl Config {
    /// Every setting as it holds, by section.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The settings as a TOML file: those that nobody set are commented out with a bare `#`, so that taking it away sets
    /// them; the others say where they come from. With nothing set, this is the sample.
    pub fn show(&self) -> String {
        let (mut text, mut section) = (String::new(), "");
        for Entry { key, value, origin } in &self.entries {
            if key.section() != section {
                section = key.section();
                text.push_str(&format!("{}[{section}]\n", if text.is_empty() { "" } else { "\n" }));
            }
            let line = format!("{} = {value}", key.short());
            let written = match origin {
                Origin::Default => writeln!(text, "# {}\n#{line}", key.doc),
                origin => writeln!(text, "# {}\n{line}  # from {origin}", key.doc),
            };
            written.expect("writing to a String");
        }
        if self.periodic.is_empty() {
            text.push_str(periodic::SAMPLE);
        }
        if self.granted.is_empty() {
            text.push_str(granted::SAMPLE);
        }
        text.extend(self.periodic.iter().map(|(name, declared)| declared.show("beat", name.as_str())));
        text.extend(self.granted.iter().map(|(name, declared)| declared.show("grants", &granted::name(name))));
        text
    }

    /// The settings as JSON: an array of objects with `name`, `value`, `origin` and `doc`.
    pub fn json(&self) -> serde_json::Value {
        let entry = |Entry { key, value, origin }: &Entry| serde_json::json!({"name": key.name, "value": value, "origin": origin.to_string(), "doc": key.doc});
        let periodic =
            self.periodic.iter().map(|(name, declared)| declared.json("beat", name.as_str(), "A periodic task."));
        let doc = "What the tasks of a module may reach.";
        let granted = self.granted.iter().map(|(name, declared)| declared.json("grants", &granted::name(name), doc));
        self.entries.iter().map(entry).chain(periodic).chain(granted).collect()
    }
}

impl fmt::Display for Value {
    /// As TOML writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let toml = match self {
            Self::Text(text) => toml::Value::from(text.as_str()),
            Self::Number(number) => return write!(f, "{number}"),
            Self::Names(names) => toml::Value::from(names.clone()),
        };
        toml.fmt(f)
    }
}
