//! How is a call described without making it?
//!
//! A [`Signature`] is Celery's, built step by step; a step that cannot be taken (a value that is not JSON, a negative
//! countdown) is kept and raised when the signature is used, so that building needs no `?`.
//!
//! The JSON is the model's [`Canvas`], which knows no dates: the model's own signature would make every module carry the
//! code that writes them.

mod canvas;
mod options;
mod overrides;
mod result;

use std::fmt::Display;

use lovage_model::{Canvas, Json, TaskName};
use serde::Serialize;

use crate::{Context, TaskError, TaskResult};

pub use canvas::{Header, chain, chord, group};
pub use options::Options;
pub use result::AsyncResult;

/// A call of a task, or a canvas of calls, to be sent or to replace the running task: Celery's `add.s(2, 2)`.
///
/// Each `#[task]` makes its own, typed: `add::s(2, 2)`. [`Signature::of`] names a task of another module. [`chain`],
/// [`group`] and [`chord`] put signatures together, `|` puts one after the other.
///
/// ```
/// # use lovage_guest::prelude::*;
/// # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
/// # #[task] fn total(numbers: Vec<i64>) -> i64 { numbers.iter().sum() }
/// let sums = group((0..10).map(|i| add::s(i, i)));
/// let canvas = sums | total::partial() | add::partial().arg(1).set(Options::new().queue("slow"));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a signature only describes a call: send it with delay, or return it with ctx.replace"]
pub struct Signature {
    canvas: Canvas,
    fault: Option<TaskError>,
}

impl Signature {
    /// A call of the task of that name, without arguments.
    pub fn of(task: &str) -> Self {
        let fault = TaskName::new(task).err().map(|error| value_error(&error));
        Self { canvas: Canvas::task(task), fault }
    }

    /// With one more positional argument.
    ///
    /// A canvas takes none by itself: TypeError when it is used. Give them to the tasks in it.
    pub fn arg(mut self, value: impl Serialize) -> Self {
        let value = self.argument("an argument", &value);
        Self { canvas: self.canvas.arg(value), fault: self.fault }
    }

    /// With a keyword argument; as [`Signature::arg`] otherwise.
    pub fn kwarg(mut self, name: &str, value: impl Serialize) -> Self {
        let value = self.argument(&format!("argument '{name}'"), &value);
        Self { canvas: self.canvas.kwarg(name, value), fault: self.fault }
    }

    /// Runs it so: each option given takes the place of one set before.
    pub fn set(self, options: Options) -> Self {
        let (canvas, fault) = options.onto(self.canvas);
        Self { canvas, fault: self.fault.or(fault) }
    }

    /// Leaves the result of the task before it out of its arguments: Celery's `si`.
    pub fn immutable(self) -> Self {
        Self { canvas: self.canvas.immutable(true), fault: self.fault }
    }

    /// Sends that, with its result as first argument, once it has succeeded. Of a chain that is the last task, of a chord
    /// the body; of a group it is the first task alone, without its result.
    pub fn link(self, callback: Self) -> Self {
        Self { canvas: self.canvas.link(callback.canvas), fault: self.fault.or(callback.fault) }
    }

    /// Sends that once it has failed: with its id if that task takes one argument, else with its request, the exception
    /// and the traceback. Of a chain it is sent for whichever task fails, of a chord for the body, of a group for each.
    pub fn link_error(self, errback: Self) -> Self {
        Self { canvas: self.canvas.link_error(errback.canvas), fault: self.fault.or(errback.fault) }
    }

    /// Labels all tasks in it, callbacks and errbacks too, so that they can be found and revoked together.
    pub fn stamp(mut self, name: &str, value: impl Serialize) -> Self {
        let value = self.json(&format!("stamp '{name}'"), &value);
        Self { canvas: self.canvas.stamp(name, &value), fault: self.fault }
    }

    /// Sends it: see [`Context::apply_async`].
    pub fn delay(self, ctx: &Context) -> TaskResult<AsyncResult> {
        ctx.apply_async(self)
    }

    /// As Celery writes it, or what went wrong on the way.
    pub fn to_json(&self) -> Result<Json, TaskError> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => Json::of(&self.canvas).map_err(|error| TaskError::encode("a signature", &error)),
        }
    }

    fn argument(&mut self, what: &str, value: &impl Serialize) -> Json {
        if !self.canvas.is_task() {
            let text = "a canvas takes no arguments by itself: give them to the tasks in it";
            self.fault.get_or_insert(TaskError::unlocated("TypeError", text));
        }
        self.json(what, value)
    }

    fn json(&mut self, what: &str, value: &impl Serialize) -> Json {
        Json::of(value).unwrap_or_else(|error| {
            self.fault.get_or_insert(TaskError::encode(what, &error));
            Json::null()
        })
    }
}

fn value_error(error: &impl Display) -> TaskError {
    TaskError::unlocated("ValueError", &error.to_string())
}

#[cfg(test)]
mod tests;
