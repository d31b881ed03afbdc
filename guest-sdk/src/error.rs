//! How does a task end when it returns no value?
//!
//! A [`TaskError`] is a plain value: nothing is asked of the host until the task has returned it. It does not implement
//! `std::error::Error`, so that every type that does converts into it by `?`.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use lovage_model::{Exception, exc_module};
use serde::Serialize;

use crate::host::Raised;
use crate::{Json, Retry, Signature};

/// What a task returns that can end otherwise than with a value.
pub type TaskResult<T> = Result<T, TaskError>;

/// Why a task ends without a value: an exception, or one of Celery's `Retry`, `Ignore`, `Reject` and `replace`.
///
/// Any `std::error::Error` becomes one with `?`. The exception is then named after the Rust type: `exc_type` is the last
/// part of its path, `exc_module` the rest with dots, so `std::num::ParseIntError` is `ParseIntError` of
/// `core.num.error`. A Python client that has no such class makes one of that name. Use [`TaskError::raise`] to raise a
/// class that the client does have.
#[derive(Clone)]
pub struct TaskError(Box<Kind>);

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Raised(Raised),
    Retry(Retry),
    /// A signature as Celery writes it. (As text: who replaces nothing should not carry what writes signatures.)
    Replace(Json),
    Ignore,
    Reject {
        requeue: bool,
    },
}

impl TaskError {
    /// Python's built-in exception of that name with one text, such as `TaskError::builtin("ValueError", "no such page")`.
    #[track_caller]
    pub fn builtin(exc_type: &str, message: impl AsRef<str>) -> Self {
        Self::raise(exc_type, exc_module::BUILTINS, [message.as_ref()])
    }

    /// Any exception by its class, the module that defines it and the arguments of its constructor: an array, a `Vec` or
    /// a tuple; another value is taken as the only argument.
    ///
    /// ```
    /// # use lovage_guest::prelude::*;
    /// let error = TaskError::raise("HTTPError", "requests.exceptions", ("503 from example.com", 503));
    /// assert_eq!(error.exception().exc_message.as_str(), r#"["503 from example.com",503]"#);
    /// ```
    #[track_caller]
    pub fn raise(exc_type: &str, exc_module: &str, args: impl Serialize) -> Self {
        let exc_message = match Json::of(&args) {
            Ok(array) if array.is_array() => array,
            Ok(json) if json.as_str() == "null" => Json::empty_array(),
            Ok(one) => Json::of(&[one]).expect("JSON in an array is JSON"),
            Err(error) => return Self::encode("an exception's arguments", &error),
        };
        let exception = Exception { exc_type: exc_type.to_owned(), exc_message, exc_module: exc_module.to_owned() };
        Self::located(exception, Location::caller(), &[])
    }

    /// An exception whose place in the author's code says nothing: a call that does not fit.
    pub(crate) fn unlocated(exc_type: &str, message: &str) -> Self {
        let exception = Exception::new(exc_module::BUILTINS, exc_type, message);
        Raised { exception, traceback: String::new() }.into()
    }

    /// Kombu's `EncodeError`: a value that JSON cannot hold.
    pub(crate) fn encode(what: &str, error: &serde_json::Error) -> Self {
        let exception = Exception::new("kombu.exceptions", "EncodeError", format!("{what} cannot be JSON: {error}"));
        Raised { exception, traceback: String::new() }.into()
    }

    fn located(exception: Exception, at: &Location<'_>, causes: &[String]) -> Self {
        let mut traceback = format!("  File \"{}\", line {}, column {}\n", at.file(), at.line(), at.column());
        traceback.push_str(&exception.to_string());
        for cause in causes {
            traceback.push_str("\nCaused by: ");
            traceback.push_str(cause);
        }
        Raised { exception, traceback }.into()
    }

    pub(crate) fn ignore() -> Self {
        Self(Box::new(Kind::Ignore))
    }

    pub(crate) fn reject(requeue: bool) -> Self {
        Self(Box::new(Kind::Reject { requeue }))
    }

    pub(crate) fn replace(signature: &Signature) -> Self {
        signature.to_json().map_or_else(|fault| fault, |json| Self(Box::new(Kind::Replace(json))))
    }

    pub(crate) fn into_kind(self) -> Kind {
        *self.0
    }

    /// With its traceback, as a reason that is passed on.
    pub(crate) fn into_raised(self) -> Raised {
        match *self.0 {
            Kind::Raised(raised) => raised,
            ref other => Raised { exception: other.exception(), traceback: String::new() },
        }
    }

    /// The exception; for an ending that is none, the class that stands for it in `celery.exceptions`.
    pub fn exception(&self) -> Exception {
        self.0.exception()
    }

    /// Whether it is the notice that the soft time limit has passed.
    pub fn is_soft_time_limit_exceeded(&self) -> bool {
        matches!(&*self.0, Kind::Raised(raised) if raised.is_soft_time_limit_exceeded())
    }
}

impl Kind {
    fn exception(&self) -> Exception {
        let celery = |class: &str| Exception::with_args::<Json>(exc_module::CELERY, class, &[]);
        match self {
            Self::Raised(raised) => raised.exception.clone(),
            Self::Retry(_) => celery("Retry"),
            Self::Replace(_) | Self::Ignore => celery("Ignore"),
            Self::Reject { .. } => celery("Reject"),
        }
    }
}

impl<E: Error> From<E> for TaskError {
    #[track_caller]
    fn from(error: E) -> Self {
        let (exc_module, exc_type) = python_name(std::any::type_name::<E>());
        let exception = Exception::new(&exc_module, &exc_type, error.to_string());
        let causes: Vec<String> =
            std::iter::successors(error.source(), |cause| Error::source(*cause)).map(ToString::to_string).collect();
        Self::located(exception, Location::caller(), &causes)
    }
}

impl From<Raised> for TaskError {
    fn from(raised: Raised) -> Self {
        Self(Box::new(Kind::Raised(raised)))
    }
}

impl From<Retry> for TaskError {
    fn from(retry: Retry) -> Self {
        Self(Box::new(Kind::Retry(retry)))
    }
}

/// `core::num::error::ParseIntError` as `core.num.error` and `ParseIntError`; type arguments are left out.
fn python_name(path: &str) -> (String, String) {
    let path = path.trim_start_matches('&').split('<').next().unwrap_or_default();
    let (module, class) = path.rsplit_once("::").unwrap_or((exc_module::BUILTINS, path));
    (module.replace("::", "."), class.to_owned())
}

impl fmt::Display for TaskError {
    /// `ValueError: no such page`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exception().fmt(f)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> TaskResult<i64> {
        Ok(text.parse::<i64>()?)
    }

    #[test]
    fn a_rust_error_is_named_after_its_type_and_placed_in_the_source() {
        let raised = parse("x").unwrap_err().into_raised();
        assert_eq!(raised.exception.exc_type, "ParseIntError");
        assert_eq!(raised.exception.exc_module, "core.num.error");
        assert_eq!(raised.exception.message(), "invalid digit found in string");
        assert!(raised.traceback.contains("error.rs\", line "), "{}", raised.traceback);
    }

    #[test]
    fn causes_follow() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no number")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let raised = TaskError::from(Outer("x".parse::<i64>().unwrap_err())).into_raised();
        assert!(raised.traceback.ends_with("Outer: no number\nCaused by: invalid digit found in string"), "{raised:?}");
    }

    #[test]
    fn generic_and_local_names_are_plain() {
        assert_eq!(python_name("a::B<c::D<e::F>>"), ("a".to_owned(), "B".to_owned()));
        assert_eq!(python_name("&a::b::C"), ("a.b".to_owned(), "C".to_owned()));
    }

    #[test]
    fn arguments_of_any_shape_become_an_array() {
        let args = |error: TaskError| error.exception().exc_message.as_str().to_owned();
        assert_eq!(args(TaskError::raise("E", "m", "one")), r#"["one"]"#);
        assert_eq!(args(TaskError::raise("E", "m", ())), "[]");
        assert_eq!(args(TaskError::raise("E", "m", (1, "b"))), r#"[1,"b"]"#);
        let unfit = TaskError::raise("E", "m", std::collections::BTreeMap::from([((1, 2), 3)]));
        assert_eq!(unfit.exception().exc_type, "EncodeError");
    }
}
