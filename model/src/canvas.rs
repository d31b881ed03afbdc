//! How is a call described, or a canvas of calls, before it is sent?
//!
//! A tree that is built step by step and written as Celery's JSON; [`Signature`](crate::Signature) reads what is written
//! here. Values are JSON already: whoever makes them checks them, and says so in his own words.
//!
//! Two steps are left to the host, which does them for what other clients send as well: a group before a task in a chain
//! becomes the header of a chord, and chunks become a group.

use std::collections::BTreeMap;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::Json;

/// A call of a task, or a canvas of calls: chain, group, chord, map, starmap, chunks, nested in any way.
/// See <https://docs.celeryq.dev/en/stable/userguide/canvas.html>.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Canvas {
    shape: Shape,
    options: BTreeMap<String, Json>,
    link: Vec<Canvas>,
    link_error: Vec<Canvas>,
    stamps: BTreeMap<String, Json>,
    immutable: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Task { name: String, args: Vec<Json>, kwargs: BTreeMap<String, Json> },
    Chain(Vec<Canvas>),
    Group(Vec<Canvas>),
    Chord { header: Box<Canvas>, body: Box<Canvas> },
    Each { name: &'static str, task: Box<Canvas>, it: Vec<Json>, n: Option<usize> },
}

impl Canvas {
    /// A call of the task of that name, without arguments.
    pub fn task(name: &str) -> Self {
        Self::of(Shape::Task { name: name.to_owned(), args: Vec::new(), kwargs: BTreeMap::new() })
    }

    /// One after the other: each gets the result of the one before it as its first argument. Chains in it become part of
    /// it, as in Celery, unless they have options of their own.
    pub fn chain(tasks: impl IntoIterator<Item = Self>) -> Self {
        Self::of(Shape::Chain(tasks.into_iter().flat_map(Self::steps).collect()))
    }

    /// All at once.
    pub fn group(tasks: impl IntoIterator<Item = Self>) -> Self {
        Self::of(Shape::Group(tasks.into_iter().collect()))
    }

    /// All of a header at once, a group, then a body with the list of their results. A header that is no group is one task.
    pub fn chord(header: Self, body: Self) -> Self {
        let header = if matches!(header.shape, Shape::Group(_)) { header } else { Self::group([header]) };
        Self::of(Shape::Chord { header: Box::new(header), body: Box::new(body) })
    }

    /// One task that calls another for each item, one after the other, and returns the list of its results.
    pub fn map(task: Self, items: Vec<Json>) -> Self {
        Self::each("celery.map", task, items, None)
    }

    /// The same with an array of arguments for each call.
    pub fn starmap(task: Self, items: Vec<Json>) -> Self {
        Self::each("celery.starmap", task, items, None)
    }

    /// A starmap for each `n` items: a group of tasks that share the work.
    pub fn chunks(task: Self, items: Vec<Json>, n: usize) -> Self {
        Self::each("celery.chunks", task, items, Some(n))
    }

    fn each(name: &'static str, task: Self, it: Vec<Json>, n: Option<usize>) -> Self {
        Self::of(Shape::Each { name, task: Box::new(task), it, n }).immutable(true)
    }

    fn of(shape: Shape) -> Self {
        let (options, stamps) = (BTreeMap::new(), BTreeMap::new());
        Self { shape, options, link: Vec::new(), link_error: Vec::new(), stamps, immutable: false }
    }

    /// With one more positional argument. Only a call of a task has arguments: no canvas takes any by itself.
    pub fn arg(mut self, value: Json) -> Self {
        if let Shape::Task { args, .. } = &mut self.shape {
            args.push(value);
        }
        self
    }

    /// With a keyword argument. Only a call of a task has arguments: no canvas takes any by itself.
    pub fn kwarg(mut self, name: &str, value: Json) -> Self {
        if let Shape::Task { kwargs, .. } = &mut self.shape {
            kwargs.insert(name.to_owned(), value);
        }
        self
    }

    /// With an option, by Celery's name; one that it has already is replaced.
    pub fn option(mut self, name: &str, value: Json) -> Self {
        self.options.insert(name.to_owned(), value);
        self
    }

    /// Whether the result of the one before it is left out of its arguments: Celery's `si`.
    pub fn immutable(mut self, immutable: bool) -> Self {
        self.immutable = immutable;
        self
    }

    /// Sends that with the result, once this has succeeded: the last of a chain, the body of a chord, and, immutable, the
    /// first of a group.
    pub fn link(mut self, callback: Self) -> Self {
        match &mut self.shape {
            Shape::Chord { body, .. } => in_place(body, |body| body.link(callback)),
            Shape::Group(tasks) if !tasks.is_empty() => {
                in_place(&mut tasks[0], |first| first.link(callback.immutable(true)));
            }
            _ => once(&mut self.link, callback),
        }
        self
    }

    /// Sends that with the id, once this has failed: the body of a chord, each member of a group.
    pub fn link_error(mut self, errback: Self) -> Self {
        match &mut self.shape {
            Shape::Chord { body, .. } => in_place(body, |body| body.link_error(errback)),
            Shape::Group(tasks) if !tasks.is_empty() => {
                tasks.iter_mut().for_each(|task| in_place(task, |task| task.link_error(errback.clone())));
            }
            _ => once(&mut self.link_error, errback),
        }
        self
    }

    /// Labels every task in it, with its callbacks and errbacks; so they can be found and revoked together. (Celery leaves
    /// out the body of a chord.)
    pub fn stamp(mut self, name: &str, value: &Json) -> Self {
        let stamp_all =
            |all: &mut Vec<Self>| all.iter_mut().for_each(|one| in_place(one, |one| one.stamp(name, value)));
        stamp_all(&mut self.link);
        stamp_all(&mut self.link_error);
        match &mut self.shape {
            Shape::Chain(tasks) | Shape::Group(tasks) => stamp_all(tasks),
            Shape::Chord { header, body } => {
                in_place(header, |header| header.stamp(name, value));
                in_place(body, |body| body.stamp(name, value));
            }
            Shape::Task { .. } | Shape::Each { .. } => _ = self.stamps.insert(name.to_owned(), value.clone()),
        }
        self
    }

    /// Whether it is one call of a task: what takes arguments.
    pub fn is_task(&self) -> bool {
        matches!(self.shape, Shape::Task { .. })
    }

    /// The steps of a chain that has no options of its own; anything else is one by itself.
    fn steps(self) -> Vec<Self> {
        let plain = self.is_plain();
        match self.shape {
            Shape::Chain(tasks) if plain => tasks,
            _ => vec![self],
        }
    }

    fn is_plain(&self) -> bool {
        self.options.is_empty() && self.link.is_empty() && self.link_error.is_empty()
    }
}

/// As Celery's `|`: first this, then that.
impl std::ops::BitOr for Canvas {
    type Output = Self;
    fn bitor(self, next: Self) -> Self {
        Self::chain([self, next])
    }
}

fn in_place(canvas: &mut Canvas, change: impl FnOnce(Canvas) -> Canvas) {
    let taken = std::mem::replace(canvas, Canvas::of(Shape::Group(Vec::new())));
    *canvas = change(taken);
}

/// As in Celery, the same callback is sent once.
fn once(all: &mut Vec<Canvas>, one: Canvas) {
    if !all.contains(&one) {
        all.push(one);
    }
}

impl Serialize for Canvas {
    /// Celery's fields, in its order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (task, subtask_type) = self.shape.names();
        let mut fields = serializer.serialize_map(Some(6))?;
        fields.serialize_entry("task", task)?;
        match &self.shape {
            Shape::Task { args, kwargs, .. } => {
                fields.serialize_entry("args", args)?;
                fields.serialize_entry("kwargs", kwargs)?;
            }
            shape => {
                fields.serialize_entry("args", &[(); 0])?;
                fields.serialize_entry("kwargs", &Parts(shape))?;
            }
        }
        fields.serialize_entry("options", &Options(self))?;
        fields.serialize_entry("subtask_type", &subtask_type)?;
        fields.serialize_entry("immutable", &self.immutable)?;
        fields.end()
    }
}

impl Shape {
    /// The task's name, and the `subtask_type`. Celery has none for the last three.
    fn names(&self) -> (&str, Option<&'static str>) {
        match self {
            Self::Task { name, .. } => (name, None),
            Self::Chain(_) => ("celery.chain", Some("chain")),
            Self::Group(_) => ("celery.group", Some("group")),
            Self::Chord { .. } => ("celery.chord", Some("chord")),
            Self::Each { name, .. } => (name, None),
        }
    }
}

/// What a canvas is made of.
struct Parts<'a>(&'a Shape);

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        match self.0 {
            Shape::Task { .. } => {}
            Shape::Chain(tasks) | Shape::Group(tasks) => fields.serialize_entry("tasks", tasks)?,
            Shape::Chord { header, body } => {
                fields.serialize_entry("kwargs", &BTreeMap::<&str, ()>::new())?;
                match &header.shape {
                    // As Celery writes it, which forgets the options of the group; a group is read as well.
                    Shape::Group(tasks) if header.is_plain() => fields.serialize_entry("header", tasks)?,
                    _ => fields.serialize_entry("header", header)?,
                }
                fields.serialize_entry("body", body)?;
            }
            Shape::Each { task, it, n, .. } => {
                fields.serialize_entry("task", task)?;
                fields.serialize_entry("it", it)?;
                if let Some(n) = n {
                    fields.serialize_entry("n", n)?;
                }
            }
        }
        fields.end()
    }
}

/// Options and stamps side by side.
struct Options<'a>(&'a Canvas);

impl Serialize for Options<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Canvas { options, link, link_error, stamps, .. } = self.0;
        let mut fields = serializer.serialize_map(None)?;
        for (name, value) in options.iter().chain(stamps) {
            fields.serialize_entry(name, value)?;
        }
        for (name, all) in [("link", link), ("link_error", link_error)] {
            if !all.is_empty() {
                fields.serialize_entry(name, all)?;
            }
        }
        if !stamps.is_empty() {
            fields.serialize_entry("stamped_headers", &stamps.keys().collect::<Vec<_>>())?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests;
