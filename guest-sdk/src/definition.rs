//! What does a module say about its tasks?
//!
//! Definitions are constants, made by `#[task]` and checked by it; [`describe`] writes them in the words of the model,
//! which is what a host reads at push.

mod options;

use lovage_model::Handler;
pub use lovage_model::ParameterKind;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

pub use options::TaskOptions;

use crate::{Arguments, Context, Handlers, Json, TaskError};

/// What `#[task]` makes of a function: a type of the same name that stands for the task.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    note = "put `#[task]` above the function, and name the function here"
)]
pub trait Task {
    /// What it is.
    const DEFINITION: Definition;

    /// What is to be called before and after its run.
    const HANDLERS: Handlers = Handlers::NONE;

    /// Runs it: takes its arguments, calls the function, writes its value as JSON.
    fn call(ctx: &Context, arguments: Arguments) -> Result<Json, TaskError>;
}

/// What a task says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The name that messages call it by.
    pub name: &'static str,
    /// The function's name, for messages about its arguments.
    pub function: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
    /// Its arguments, in order; those that must be passed come first.
    pub parameters: &'static [Parameter],
    /// Its options.
    pub options: TaskOptions,
}

/// One argument of a task.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Parameter {
    /// Its name, by which it can be passed as a keyword.
    pub name: &'static str,
    /// Whether it must be passed.
    pub required: bool,
    /// What it takes.
    #[serde(skip_serializing_if = "ParameterKind::is_one")]
    pub kind: ParameterKind,
}

impl Definition {
    /// In the words of the model, as a host reads it.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to_model(self) -> lovage_model::TaskDefinition {
        let described = Described { definition: self, handlers: Vec::new() };
        Json::of(&described).and_then(|json| json.read()).expect("checked by #[task]")
    }
}

/// A task in the table of a module.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub(crate) definition: Definition,
    pub(crate) handlers: Handlers,
    pub(crate) call: fn(&Context, Arguments) -> Result<Json, TaskError>,
}

impl Entry {
    /// The entry of a task.
    pub const fn of<T: Task>() -> Self {
        Self { definition: T::DEFINITION, handlers: T::HANDLERS, call: T::call }
    }
}

/// The JSON that a host reads at push.
pub fn describe(tasks: &[Entry]) -> String {
    let describe = |task: &Entry| Described { definition: task.definition, handlers: task.handlers.names() };
    let all: Vec<_> = tasks.iter().map(describe).collect();
    serde_json::to_string(&all).expect("a definition is plain data")
}

/// A task as the model's `TaskDefinition` has it; written by hand, since only the host needs all of that type.
struct Described {
    definition: Definition,
    handlers: Vec<Handler>,
}

impl Serialize for Described {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Definition { name, doc, parameters, options, .. } = &self.definition;
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("name", name)?;
        fields.serialize_entry("doc", doc)?;
        fields.serialize_entry("parameters", parameters)?;
        fields.serialize_entry("options", options)?;
        if !self.handlers.is_empty() {
            fields.serialize_entry("handlers", &self.handlers)?;
        }
        fields.end()
    }
}

/// Fails, at compile time when it can, if two tasks have one name.
pub const fn assert_distinct(tasks: &[Entry]) {
    let mut i = 0;
    while i < tasks.len() {
        let mut j = i + 1;
        while j < tasks.len() {
            if same(tasks[i].definition.name.as_bytes(), tasks[j].definition.name.as_bytes()) {
                panic!("export_tasks! lists two tasks of the same name: give one another with #[task(name = \"...\")]");
            }
            j += 1;
        }
        i += 1;
    }
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
