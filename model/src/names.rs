//! How things are called. A name that exists here has been checked: it is short, and safe to put into a key or a log
//! line. All but task ids, which may hold anything but spaces and control characters, are safe in a path, too.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::tagged;

/// A text that cannot be the name it was offered as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {rule}")]
pub struct NameError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and takes it as a name; the error says which rule it breaks.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                let text = text.as_ref();
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    let shown: String = text.chars().take(80).collect();
                    Err(NameError { what: $what, text: shown, rule: $rule })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

fn of(text: &str, most: usize, first: fn(char) -> bool, rest: fn(char) -> bool) -> bool {
    text.len() <= most && text.chars().next().is_some_and(first) && text.chars().all(rest)
}

name!(
    /// The id of one task, of the client's making or ours. Celery allows any text; ours are UUIDs.
    TaskId, "task id", "1 to 255 bytes, no spaces or control characters",
    |t| of(t, 255, |_| true, |c| !c.is_control() && !c.is_whitespace())
);
const TASK_NAME_BYTES: usize = 255;

fn is_in_task_names(c: char) -> bool {
    c.is_alphanumeric() || "_.-:".contains(c)
}

name!(
    /// The name of a task, such as `tour.add`: what a message asks for.
    TaskName, "task name", "1 to 255 bytes of letters, digits, '_', '.', '-' or ':'",
    |t| of(t, TASK_NAME_BYTES, |_| true, is_in_task_names)
);
name!(
    /// The name of a task where others than us may know it: in Celery it is any text.
    WireName, "name of a task on Celery's wire", "1 to 1024 bytes, no control characters",
    |t| of(t, 1024, |_| true, |c| !c.is_control())
);
/// Whether a list of this name would be another key: in Redis a queue is a list that is called as it is.
fn is_key(queue: &str) -> bool {
    const KEYS: [&str; 3] = ["unacked", "unacked_index", "unacked_mutex"];
    const BEGINNINGS: [&str; 4] = ["lovage:", "celery-task-meta-", "celery-taskset-meta-", "_kombu."];
    KEYS.contains(&queue) || BEGINNINGS.iter().any(|beginning| queue.starts_with(beginning))
}

name!(
    /// The name of a queue.
    QueueName, "queue name", "1 to 128 ASCII letters, digits, '_', '.', '-' or ':', and none of the keys that Celery and Lovage have in Redis (unacked, lovage:, celery-task-meta-, ...)",
    |t| of(t, 128, |_| true, |c| c.is_ascii_alphanumeric() || "_.-:".contains(c)) && !is_key(t)
);
name!(
    /// Whose modules, tasks and results these are.
    TenantId, "tenant", "1 to 63 of a-z, 0-9, '_' and '-', starting with a letter or digit",
    |t| of(t, 63, |c| c.is_ascii_lowercase() || c.is_ascii_digit(),
        |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
);
name!(
    /// The name under which a module is pushed.
    ModuleName, "module name", "1 to 63 of a-z, 0-9, '_', '-' and '.', starting with a letter or digit",
    |t| of(t, 63, |c| c.is_ascii_lowercase() || c.is_ascii_digit(),
        |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c))
);
name!(
    /// The name of a periodic task.
    EntryName, "name of a periodic task", "1 to 128 ASCII letters, digits, '_', '.', '-' or ':', not beginning with '.', '-' or ':'",
    |t| of(t, 128, |c| c.is_ascii_alphanumeric() || c == '_', |c| c.is_ascii_alphanumeric() || "_.-:".contains(c))
);

name!(
    /// The name of a secret that a tenant sets for the tasks of a module.
    SecretName, "name of a secret", "1 to 63 ASCII letters, digits, '_', '-' or '.', starting with a letter, a digit or '_'",
    |t| of(t, 63, |c| c.is_ascii_alphanumeric() || c == '_', |c| c.is_ascii_alphanumeric() || "_-.".contains(c))
);
name!(
    /// The part of a token that may be shown, by which it is listed and revoked.
    TokenId, "token id", "1 to 63 of a-z and 0-9",
    |t| of(t, 63, |_| true, |c| c.is_ascii_lowercase() || c.is_ascii_digit())
);

macro_rules! read_as_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    )*};
}

read_as_text!(TaskName, WireName, QueueName, TenantId, ModuleName, EntryName, SecretName, TokenId);

impl<'de> Deserialize<'de> for TaskId {
    /// From its text, or from a UUID of Python's.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(tagged::text(deserializer, "uuid")?).map_err(D::Error::custom)
    }
}

impl Default for TenantId {
    /// The tenant of a daemon that was given no tokens: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for QueueName {
    /// Celery's default queue: `celery`.
    fn default() -> Self {
        Self("celery".into())
    }
}

impl TaskId {
    /// A task id from the text of a UUID, which needs no check.
    pub fn from_uuid(uuid: impl fmt::Display) -> Self {
        Self(uuid.to_string().into())
    }
}

impl TaskName {
    /// A name that a task can have, for any text: what is in no name is a `_`.
    pub fn spelled(text: &str) -> Self {
        let one = |c| if is_in_task_names(c) { c } else { '_' };
        let spelled: String = text.chars().take(TASK_NAME_BYTES).map(one).collect();
        let name = Self::new(&spelled[..spelled.floor_char_boundary(TASK_NAME_BYTES)]);
        name.unwrap_or_else(|_| Self("unknown".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_is_refused_with_its_rule() {
        let error = ModuleName::new("../etc").unwrap_err().to_string();
        assert!(error.contains("\"../etc\"") && error.contains("module name"), "{error}");
        for bad in ["", "a b", "a\nb", &"x".repeat(300)] {
            assert!(TaskId::new(bad).is_err(), "{bad:?}");
            assert!(QueueName::new(bad).is_err(), "{bad:?}");
        }
        let error = TaskName::new("\u{e9}".repeat(128)).unwrap_err().to_string();
        assert!(error.contains("1 to 255 bytes of letters"), "{error}");
    }

    #[test]
    fn a_queue_is_not_called_as_a_key_is() {
        for key in [
            "unacked",
            "unacked_index",
            "lovage:tasks",
            "celery-task-meta-a",
            "celery-taskset-meta-a.j",
            "_kombu.binding.a",
        ] {
            let error = QueueName::new(key).unwrap_err().to_string();
            assert!(error.contains("none of the keys"), "{error}");
        }
        assert!(QueueName::new("unacked-mail").is_ok() && QueueName::new("lovage").is_ok());
    }

    #[test]
    fn a_uuid_of_pythons_is_an_id() {
        let uuid = |hex: &str| format!(r#"{{"__type__":"uuid","__value__":{{"hex":"{hex}"}}}}"#);
        let id = TaskId::new("01234567-89ab-cdef-0123-456789abcdef").unwrap();
        for digits in ["0123456789abcdef0123456789abcdef", id.as_str(), "0123456789ABCDEF0123456789ABCDEF"] {
            assert_eq!(serde_json::from_str::<TaskId>(&uuid(digits)).ok(), Some(id.clone()), "{digits}");
        }
        for odd in ["7", "{}", &uuid("0123"), &uuid("x"), r#"{"__type__":"bytes","__value__":"a"}"#] {
            assert!(serde_json::from_str::<TaskId>(odd).is_err(), "{odd}");
        }
        let error = serde_json::from_str::<TaskId>(&uuid("0123")).unwrap_err().to_string();
        assert!(error.contains("\"0123\" is no UUID: 32 hexadecimal digits"), "{error}");
        assert!(serde_json::from_str::<QueueName>(&uuid(id.as_str())).is_err());
    }

    #[test]
    fn any_text_is_spelled_as_a_name_of_a_task() {
        let long = "\u{e9}".repeat(200);
        for (text, name) in
            [("my tasks/add", "my_tasks_add"), ("a.b", "a.b"), ("", "unknown"), (long.as_str(), &long[..254])]
        {
            assert_eq!(TaskName::spelled(text).as_str(), name);
        }
        assert!(WireName::new("reports/build v2").is_ok() && WireName::new("a\nb").is_err());
    }

    #[test]
    fn names_are_their_text_in_json() {
        let id: TaskId = serde_json::from_str("\"a-1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"a-1\"");
        assert!(serde_json::from_str::<TenantId>("\"UPPER\"").is_err());
    }
}
