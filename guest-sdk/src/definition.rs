//! What does a module say about its tasks?
//!
//! Definitions are constants, made by `#[task]` and checked by it; [`describe`] writes them in the words of the model,
//! which is what a host reads at push.

use lovage_model::{Seconds, TaskName};

use crate::{Arguments, Context, Json, TaskError};

/// What `#[task]` makes of a function: a type of the same name that stands for the task.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    note = "put `#[task]` above the function, and name the function here"
)]
pub trait Task {
    /// What it is.
    const DEFINITION: Definition;

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
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name, by which it can be passed as a keyword.
    pub name: &'static str,
    /// Whether it must be passed.
    pub required: bool,
}

/// What `#[task(...)]` was given, with Celery's names.
#[derive(Debug, Clone, Copy)]
pub struct TaskOptions {
    /// How many retries before it fails; none: for ever.
    pub max_retries: Option<u32>,
    /// Seconds to wait before a retry that does not say.
    pub default_retry_delay: f64,
    /// Hard limit in seconds.
    pub time_limit: Option<f64>,
    /// Soft limit in seconds.
    pub soft_time_limit: Option<f64>,
    /// Keep no result.
    pub ignore_result: bool,
    /// 0 (first) to 9 (last), for messages that do not say.
    pub priority: Option<u8>,
}

impl TaskOptions {
    /// Celery's defaults: 3 retries, 180 seconds apart, no limits.
    pub const DEFAULT: Self = Self {
        max_retries: Some(3),
        default_retry_delay: 180.0,
        time_limit: None,
        soft_time_limit: None,
        ignore_result: false,
        priority: None,
    };
}

impl Definition {
    /// In the words of the model. Panics on a name or a number that `#[task]` would have refused.
    pub fn to_model(self) -> lovage_model::TaskDefinition {
        let options = self.options;
        lovage_model::TaskDefinition {
            name: TaskName::new(self.name).expect("checked by #[task]"),
            doc: self.doc.to_owned(),
            parameters: self.parameters.iter().copied().map(Parameter::to_model).collect(),
            options: lovage_model::TaskOptions {
                max_retries: options.max_retries,
                default_retry_delay: seconds(options.default_retry_delay),
                time_limit: options.time_limit.map(seconds),
                soft_time_limit: options.soft_time_limit.map(seconds),
                ignore_result: options.ignore_result,
                priority: options.priority,
                ..lovage_model::TaskOptions::default()
            },
            handlers: Vec::new(),
        }
    }
}

impl Parameter {
    fn to_model(self) -> lovage_model::Parameter {
        lovage_model::Parameter { name: self.name.to_owned(), required: self.required }
    }
}

fn seconds(number: f64) -> Seconds {
    Seconds::new(number).expect("checked by #[task]")
}

/// A task in the table of a module.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub(crate) definition: Definition,
    pub(crate) call: fn(&Context, Arguments) -> Result<Json, TaskError>,
}

impl Entry {
    /// The entry of a task.
    pub const fn of<T: Task>() -> Self {
        Self { definition: T::DEFINITION, call: T::call }
    }
}

/// The JSON that a host reads at push.
pub fn describe(tasks: &[Entry]) -> String {
    let definitions: Vec<_> = tasks.iter().map(|task| task.definition.to_model()).collect();
    serde_json::to_string(&definitions).expect("a definition is plain data")
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
