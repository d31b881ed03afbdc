//! Tables with names of the operator's own: the periodic tasks, `[beat.NAME]`.

use std::fmt::Write as _;

use lovage_model::{EntryName, PeriodicTask};

use super::show::Origin;
use crate::beat;

/// For the sample.
pub(super) const SAMPLE: &str = "
# Periodic tasks: a table for each, under a name of its own, such as
# [beat.nightly]
# task = \"report.build\"
# args = [1]                      # and kwargs = {...}, options = {queue = \"slow\", expires = 3600, ...}
# crontab = \"30 7 * * mon-fri\"    # or {minute = 30, hour = 7, day_of_week = \"mon-fri\"}, or instead: every = 30.0
# timezone = \"Europe/Berlin\"      # UTC if left out
# enabled = true
# catch_up = true                 # make up for the latest of the times that came while no daemon ran
";

/// A periodic task as it was declared.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) entry: PeriodicTask,
    pub(super) origin: Origin,
    written: toml::Value,
}

/// Reads one table; the error says what it should be.
pub(super) fn read(name: &str, written: toml::Value, origin: Origin) -> Result<(EntryName, Declared), String> {
    let fault = |why: &str| format!("beat.{name} ({origin}): {why}");
    let entry_name: EntryName = name.parse().map_err(|error: lovage_model::NameError| fault(&error.to_string()))?;
    if !written.is_table() {
        return Err(fault("must be a table, such as [beat.nightly] with task = \"report.build\" and every = 30.0"));
    }
    // By way of JSON, in which arguments are kept as they are written.
    let text = json(&written).to_string();
    let entry: PeriodicTask = serde_json::from_str(&text).map_err(|error| {
        let why = error.to_string();
        // Line and column are those of the JSON.
        fault(why.split(" at line ").next().unwrap_or(&why))
    })?;
    beat::check(&entry).map_err(|why| fault(&why))?;
    Ok((entry_name, Declared { entry, origin, written }))
}

impl Declared {
    /// As TOML.
    pub(super) fn show(&self, name: &EntryName) -> String {
        let mut text = format!("\n[beat.{}]  # from {}\n", toml_key(name), self.origin);
        for (key, value) in self.written.as_table().into_iter().flatten() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }

    /// As `config show -o json` has settings.
    pub(super) fn json(&self, name: &EntryName) -> serde_json::Value {
        serde_json::json!({"name": format!("beat.{name}"), "value": json(&self.written),
            "origin": self.origin.to_string(), "doc": "A periodic task."})
    }
}

fn toml_key(name: &EntryName) -> String {
    let bare = name.as_str().chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
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
