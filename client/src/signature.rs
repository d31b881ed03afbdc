//! How is a call described before it is sent?
//!
//! A [`Signature`] is Celery's: a task with arguments and options, or a canvas of them (see `canvas`). What is wrong with
//! a value is kept, and told when the signature is sent, so that building one needs no `?`. The first fault counts.

mod canvas;
mod options;

use std::collections::BTreeMap;

use lovage_model::api::SubmitRequest;
use lovage_model::{Canvas, Json, TaskName};
use serde::Serialize;

use crate::{Error, Result};

pub use canvas::{Header, chain, chord, group};

/// A call of a task, or a canvas of calls.
///
/// ```
/// use lovage_client::{Signature, chain, chord, group, s, si};
///
/// let add = s("tour.add", (2, 2)).countdown(5.0).queue("slow");
/// let ten = chain([s("tour.add", (1, 2)), s("tour.add", [3]), s("tour.add", [4])]);
/// let sums = group((0..10).map(|i| s("tour.add", (i, i))));
/// let total = sums | Signature::of("tour.total") | si("tour.notify", ["done"]);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a signature only describes a call: send it with `Client::submit` or `Client::apply_async`"]
pub struct Signature {
    canvas: Canvas,
    wrong: Option<Error>,
    takes_arguments: bool,
    /// Headers of the sender's own, which are one option.
    headers: BTreeMap<String, Json>,
}

/// A call of a task with positional arguments, given as a tuple, an array or a list: Celery's `task.s(...)`. What comes
/// before it in a chain is put in front of them.
pub fn s(task: &str, args: impl Serialize) -> Signature {
    Signature::of(task).args(args)
}

/// The same, and what comes before it in a chain is left out of its arguments: Celery's `task.si(...)`.
pub fn si(task: &str, args: impl Serialize) -> Signature {
    s(task, args).immutable(true)
}

impl Signature {
    /// A call of a task by name, without arguments; the last part of the name is enough while only one task ends in it.
    pub fn of(task: impl AsRef<str>) -> Self {
        let task = task.as_ref();
        let wrong = TaskName::new(task).err().map(|error| Error::invalid("task", error));
        Self { wrong, takes_arguments: true, ..Self::canvas(Canvas::task(task), None) }
    }

    fn canvas(canvas: Canvas, wrong: Option<Error>) -> Self {
        Self { canvas, wrong, takes_arguments: false, headers: BTreeMap::new() }
    }

    /// One more positional argument. Only a call of a task takes any: give them to the tasks of a canvas.
    pub fn arg(self, value: impl Serialize) -> Self {
        let (mut this, value) = self.checked("args", Json::of(&value));
        this.refuse_arguments("args");
        this.with(|canvas| match value {
            Some(value) => canvas.arg(value),
            None => canvas,
        })
    }

    /// More positional arguments: a tuple, an array or a list.
    pub fn args(self, values: impl Serialize) -> Self {
        let list = Json::of(&values).and_then(|all| match all.as_str() {
            "null" => Ok(Vec::new()),
            _ => all.read::<Vec<Json>>(),
        });
        let (this, list) = self.checked("args", list.map_err(|error| format!("{error}: give a tuple or a list")));
        list.into_iter().flatten().fold(this, Self::arg)
    }

    /// One more keyword argument; a later one of the same name takes its place.
    pub fn kwarg(self, name: impl AsRef<str>, value: impl Serialize) -> Self {
        let field = format!("kwargs.{}", name.as_ref());
        let (mut this, value) = self.checked(&field, Json::of(&value));
        this.refuse_arguments(&field);
        this.with(|canvas| match value {
            Some(value) => canvas.kwarg(name.as_ref(), value),
            None => canvas,
        })
    }

    /// Whether what comes before it in a chain is left out of its arguments.
    pub fn immutable(self, immutable: bool) -> Self {
        self.with(|canvas| canvas.immutable(immutable))
    }

    /// Sends that with the result, once this has succeeded. Of a chain that is the result of the last task, of a chord that
    /// of the body; of a group it is sent, immutable, once the first member has succeeded.
    pub fn link(self, callback: impl Into<Self>) -> Self {
        self.and(callback.into(), Canvas::link)
    }

    /// Sends that once this has failed: with its id, or with request, exception and traceback if it takes as many. Of a
    /// chord that is the body; of a group each member.
    pub fn link_error(self, errback: impl Into<Self>) -> Self {
        self.and(errback.into(), Canvas::link_error)
    }

    /// Labels every task in it, callbacks and errbacks included, so that they can be found and revoked together.
    pub fn stamp(self, name: impl AsRef<str>, value: impl Serialize) -> Self {
        let (this, value) = self.checked(&format!("stamp {}", name.as_ref()), Json::of(&value));
        this.with(|canvas| match value {
            Some(value) => canvas.stamp(name.as_ref(), &value),
            None => canvas,
        })
    }

    /// As Celery writes it; or the first fault in it.
    pub fn to_json(&self) -> Result<Json> {
        match &self.wrong {
            Some(wrong) => Err(wrong.clone()),
            None => Json::of(&self.canvas).map_err(|error| Error::invalid("signature", error)),
        }
    }

    /// The body of the request; or the first fault in it.
    pub fn build(self) -> Result<SubmitRequest> {
        let signature = self.to_json()?.read().map_err(|error| Error::invalid("signature", error))?;
        Ok(SubmitRequest { signature: Some(signature), ..SubmitRequest::default() })
    }

    fn with(self, change: impl FnOnce(Canvas) -> Canvas) -> Self {
        Self { canvas: change(self.canvas), ..self }
    }

    /// Takes another one in, with what is wrong with it.
    fn and(self, other: Self, change: impl FnOnce(Canvas, Canvas) -> Canvas) -> Self {
        let wrong = self.wrong.or(other.wrong);
        Self { canvas: change(self.canvas, other.canvas), wrong, ..self }
    }

    fn checked<T, E: std::fmt::Display>(mut self, field: &str, value: std::result::Result<T, E>) -> (Self, Option<T>) {
        let value = value.map_err(|why| self.wrong.get_or_insert_with(|| Error::invalid(field, why))).ok();
        (self, value)
    }

    fn refuse_arguments(&mut self, field: &str) {
        if !self.takes_arguments {
            let why = "a canvas takes no arguments by itself: give them to the tasks in it";
            self.wrong.get_or_insert_with(|| Error::invalid(field, why));
        }
    }
}

#[cfg(test)]
mod tests;
