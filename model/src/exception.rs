//! Exceptions in the shape in which Celery stores them, so that a Python client can raise them again by name.

use serde::{Deserialize, Serialize};

use crate::Json;

/// The Python modules from which the exceptions of Celery, and ours, come.
pub mod exc_module {
    /// Python's own exceptions: `TypeError`, `ValueError`, ...
    pub const BUILTINS: &str = "builtins";
    /// Celery's: `MaxRetriesExceededError`, `TaskRevokedError`, `NotRegistered`, ...
    pub const CELERY: &str = "celery.exceptions";
    /// The pool's: `SoftTimeLimitExceeded`, `TimeLimitExceeded`, `WorkerLostError`.
    pub const BILLIARD: &str = "billiard.exceptions";
    /// Ours, for what only a sandbox can meet: `MemoryLimitExceeded`, `FuelLimitExceeded`, `Panic`, `Trap`, ...
    pub const LOVAGE: &str = "lovage.exceptions";
}

/// An exception as Celery's result metas hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Class name, such as `ValueError`.
    pub exc_type: String,
    /// The arguments of its constructor: a JSON array.
    pub exc_message: Json,
    /// Module that defines the class, such as `builtins`.
    #[serde(default = "builtins")]
    pub exc_module: String,
}

fn builtins() -> String {
    exc_module::BUILTINS.to_owned()
}

impl Exception {
    /// An exception of one text argument.
    pub fn new(exc_module: &str, exc_type: &str, message: impl AsRef<str>) -> Self {
        Self::with_args(exc_module, exc_type, &[message.as_ref()])
    }

    /// An exception of any arguments; what JSON cannot hold is left out.
    pub fn with_args<T: Serialize>(exc_module: &str, exc_type: &str, args: &[T]) -> Self {
        Self {
            exc_type: exc_type.to_owned(),
            exc_message: Json::of(args).unwrap_or_else(|_| Json::empty_array()),
            exc_module: exc_module.to_owned(),
        }
    }

    /// Celery's `TaskRevokedError`; the reason is `revoked`, `expired` or `terminated`.
    pub fn revoked(reason: &str) -> Self {
        Self::new(exc_module::CELERY, "TaskRevokedError", reason)
    }

    /// As Python's `repr(exception)`: `ValueError('no', {'k': 1})`.
    pub fn repr(&self) -> String {
        let args = match self.exc_message.read::<Vec<serde_json::Value>>() {
            Ok(args) => args.iter().map(python_repr).collect::<Vec<_>>().join(", "),
            Err(_) => self.exc_message.read().map_or_else(|_| self.exc_message.to_string(), |one| python_repr(&one)),
        };
        format!("{}({args})", self.exc_type)
    }

    /// Whether a name in a list of exceptions means this one: its class, its class with its module, or `Exception`.
    pub fn is_a(&self, name: &str) -> bool {
        let full =
            name.rsplit_once('.').is_some_and(|(module, class)| module == self.exc_module && class == self.exc_type);
        name == "Exception" || name == self.exc_type || full
    }

    /// The arguments as text, as Python's `str(exception)` shows them for one text argument.
    pub fn message(&self) -> String {
        match self.exc_message.read::<Vec<serde_json::Value>>() {
            Ok(args) => match args.as_slice() {
                [] => String::new(),
                [serde_json::Value::String(text)] => text.clone(),
                [one] => one.to_string(),
                _ => self.exc_message.to_string(),
            },
            Err(_) => self.exc_message.read::<String>().unwrap_or_else(|_| self.exc_message.to_string()),
        }
    }
}

/// A JSON value as Python's `repr` writes it.
pub fn python_repr(value: &serde_json::Value) -> String {
    use serde_json::Value;
    let all = |items: &[Value]| items.iter().map(python_repr).collect::<Vec<_>>().join(", ");
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", all(items)),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", quoted(name), python_repr(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Python quotes with `'`, unless the text has some of those and no `"`.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c == quote => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

impl std::fmt::Display for Exception {
    /// `ValueError: no such page`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = self.message();
        f.write_str(&self.exc_type)?;
        if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repr_is_pythons() {
        let args = serde_json::json!(["deliberate", {"k": 1}, null, true, [1.5], "it's", "a\nb"]);
        let exception =
            Exception { exc_message: args.into(), ..Exception::new(exc_module::BUILTINS, "ValueError", "") };
        assert_eq!(exception.repr(), r#"ValueError('deliberate', {'k': 1}, None, True, [1.5], "it's", 'a\nb')"#);
    }
}
