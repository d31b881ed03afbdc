//! Task modules: what a component says about the tasks in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ModuleName, TaskName, TaskOptions, Timestamp};

/// SHA-256 of a component's bytes, in lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(std::sync::Arc<str>);

impl Digest {
    /// Of 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in bytes {
            fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}")).expect("writing to a String");
        }
        Self(text.into())
    }

    /// As hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(text.into()))
        } else {
            Err("a digest is 64 lower-case hexadecimal digits".to_owned())
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0.as_ref().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A task that a module exports, as its `describe` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskDefinition {
    /// The name messages call it by.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: TaskName,
    /// What it does: its doc comment.
    #[serde(default)]
    pub doc: String,
    /// Its arguments, in order.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Its options.
    #[serde(default)]
    pub options: TaskOptions,
    /// The handlers it has; the host calls no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handlers: Vec<Handler>,
}

/// What a task may have done before and after its run.
/// See <https://docs.celeryq.dev/en/stable/userguide/tasks.html#handlers>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Handler {
    /// Before the run, in the same instance.
    BeforeStart,
    /// After a run that returned.
    OnSuccess,
    /// After a run that will be tried again.
    OnRetry,
    /// After a run that failed; in a fresh instance if the run's was killed.
    OnFailure,
    /// After a run that returned or failed, and after the other handler.
    AfterReturn,
}

impl Handler {
    /// Celery's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeStart => "before_start",
            Self::OnSuccess => "on_success",
            Self::OnRetry => "on_retry",
            Self::OnFailure => "on_failure",
            Self::AfterReturn => "after_return",
        }
    }
}

/// One argument of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Parameter {
    /// Its name, by which it can be passed as a keyword.
    pub name: String,
    /// Whether it must be passed.
    pub required: bool,
    /// What it takes.
    #[serde(default, skip_serializing_if = "ParameterKind::is_one")]
    pub kind: ParameterKind,
}

impl Parameter {
    /// One that takes one argument.
    pub fn one(name: &str, required: bool) -> Self {
        Self { name: name.to_owned(), required, kind: ParameterKind::One }
    }
}

/// What an argument of a task takes, as in a function of Python's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// One argument, by place or by name.
    #[default]
    One,
    /// All further ones without a name, as a list: `*args`.
    Args,
    /// All further ones with a name, as an object: `**kwargs`.
    Kwargs,
}

impl ParameterKind {
    /// Whether it takes one.
    pub fn is_one(&self) -> bool {
        *self == Self::One
    }
}

impl TaskDefinition {
    /// The parameters that take one argument each.
    pub fn ones(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| parameter.kind.is_one())
    }

    /// Whether it takes any number of arguments of a kind.
    pub fn takes_any(&self, kind: ParameterKind) -> bool {
        self.parameters.iter().any(|parameter| parameter.kind == kind)
    }

    /// How many arguments without a name it takes; none: any number.
    pub fn most_args(&self) -> Option<usize> {
        if self.takes_any(ParameterKind::Args) { None } else { Some(self.ones().count()) }
    }
}

/// One push of a module. Versions are never changed; which one is active may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModuleVersion {
    /// The module's name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ModuleName,
    /// 1 for the first push, and so on.
    pub version: u32,
    /// What it contains.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub digest: Digest,
    /// Size of the component, in bytes.
    pub size_bytes: u64,
    /// When it was pushed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub pushed_at: Timestamp,
    /// Whether messages go to this version.
    pub active: bool,
    /// Its tasks, by name.
    pub tasks: Vec<TaskDefinition>,
}
