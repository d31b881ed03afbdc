//! Tables with names of the operator's own: `[beat.NAME]`, `[grants.NAME]`.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;

use super::show::Origin;

/// What a table declares.
#[derive(Debug, Clone)]
pub(super) struct Declared<T> {
    pub(super) it: T,
    pub(super) origin: Origin,
    written: toml::Value,
}

impl<T: DeserializeOwned> Declared<T> {
    /// Reads one; the error says what is wrong with it.
    pub(super) fn read(written: toml::Value, origin: Origin, such_as: &str) -> Result<Self, String> {
        if !written.is_table() {
            return Err(format!("must be a table, such as {such_as}"));
        }
        // By way of JSON, in which arguments are kept as they are written.
        let text = json(&written).to_string();
        let mut reader = serde_json::Deserializer::from_str(&text);
        let it = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let (key, why) = (error.path().to_string(), error.inner().to_string());
            // Line and column are those of the JSON.
            let why = why.split(" at line ").next().unwrap_or(&why).replace("expected f64", "expected a number");
            if key == "." { why } else { format!("{key}: {why}") }
        })?;
        Ok(Self { it, origin, written })
    }
}

impl<T> Declared<T> {
    /// As TOML.
    pub(super) fn show(&self, section: &str, name: &str) -> String {
        let mut text = format!("\n[{section}.{}]  # from {}\n", toml_key(name), self.origin);
        for (key, value) in self.written.as_table().into_iter().flatten() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }

    /// Hides the values of a table in it from those that it is shown to.
    pub(super) fn hide(mut self, table: &str) -> Self {
        let values = self.written.get_mut(table).and_then(toml::Value::as_table_mut);
        for (_, value) in values.into_iter().flatten() {
            *value = toml::Value::from("***");
        }
        self
    }

    /// As `config show -o json` has settings.
    pub(super) fn json(&self, section: &str, name: &str, doc: &str) -> serde_json::Value {
        serde_json::json!({"name": format!("{section}.{name}"), "value": json(&self.written),
            "origin": self.origin.to_string(), "doc": doc})
    }
}

fn toml_key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { name.to_string() } else { format!("\"{name}\"") }
}

/// Times become texts: JSON has no others.
fn json(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.iter().map(json).collect(),
        toml::Value::Table(table) => {
            serde_json::Value::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
        }
    }
}
