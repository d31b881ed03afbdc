//! Exceptions in the shape in which Celery stores them, so that a Python client can raise them again by name.

use serde::{Deserialize, Serialize};

use crate::{Json, python};

/// The Python modules from which the exceptions of Celery, and ours, come.
pub mod exc_module {
    /// Python's own exceptions: `TypeError`, `ValueError`, ...
    pub const BUILTINS: &str = "builtins";
    /// Those of Celery's messages: `DecodeError`, `ContentDisallowed`.
    pub const KOMBU: &str = "kombu.exceptions";
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
        let args = python::repr_items(&self.exc_message).unwrap_or_else(|| python::repr(&self.exc_message));
        format!("{}({args})", self.exc_type.rsplit('.').next().unwrap_or_default())
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
