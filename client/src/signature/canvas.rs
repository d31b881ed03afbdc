//! How are calls put together? Chains, groups, chords, and one task over many items; any of them in any other.

use lovage_model::{Canvas, Json};
use serde::Serialize;

use super::Signature;
use crate::Error;

/// One after the other: each gets the result of the one before it as its first argument, unless it is immutable.
pub fn chain(tasks: impl IntoIterator<Item = impl Into<Signature>>) -> Signature {
    gather(tasks, Canvas::chain)
}

/// All at once.
pub fn group(tasks: impl IntoIterator<Item = impl Into<Signature>>) -> Signature {
    gather(tasks, Canvas::group)
}

/// All of the header at once, then the body with the list of their results, in the order of the header.
pub fn chord(header: impl Header, body: impl Into<Signature>) -> Signature {
    header.into_group().and(body.into(), Canvas::chord)
}

/// The header of a [`chord`]: any number of signatures, or one that is a group.
pub trait Header {
    /// As a group.
    fn into_group(self) -> Signature;
}

impl<I: IntoIterator<Item: Into<Signature>>> Header for I {
    fn into_group(self) -> Signature {
        group(self)
    }
}

impl Header for Signature {
    fn into_group(self) -> Signature {
        self
    }
}

/// As Celery's `|`: first this, then that. A group with something after it is the header of a chord.
impl std::ops::BitOr for Signature {
    type Output = Self;
    fn bitor(self, next: Self) -> Self {
        chain([self, next])
    }
}

impl Signature {
    /// One task that calls this one with each item, one after the other, and returns the list of what it returned.
    pub fn map(self, items: impl IntoIterator<Item: Serialize>) -> Self {
        self.each(items, Canvas::map)
    }

    /// The same with a tuple or a list of arguments for each call.
    pub fn starmap(self, items: impl IntoIterator<Item: Serialize>) -> Self {
        self.each(items, Canvas::starmap)
    }

    /// A group of tasks that share such work: each a starmap over `n` items.
    pub fn chunks(self, items: impl IntoIterator<Item: Serialize>, n: usize) -> Self {
        let mut chunks = self.each(items, |task, items| Canvas::chunks(task, items, n));
        if n == 0 {
            chunks.wrong.get_or_insert_with(|| Error::invalid("n", "is 0: a chunk holds at least one item"));
        }
        chunks
    }

    fn each(self, items: impl IntoIterator<Item: Serialize>, canvas: impl FnOnce(Canvas, Vec<Json>) -> Canvas) -> Self {
        let items: serde_json::Result<Vec<Json>> = items.into_iter().map(|item| Json::of(&item)).collect();
        let (this, items) = self.checked("items", items);
        Self::canvas(canvas(this.canvas, items.unwrap_or_default()), this.wrong)
    }
}

/// The first fault is that of the whole.
fn gather(
    tasks: impl IntoIterator<Item = impl Into<Signature>>,
    canvas: impl FnOnce(Vec<Canvas>) -> Canvas,
) -> Signature {
    let mut wrong = None;
    let tasks = tasks
        .into_iter()
        .map(|task| {
            let task: Signature = task.into();
            wrong = wrong.take().or(task.wrong);
            task.canvas
        })
        .collect();
    Signature::canvas(canvas(tasks), wrong)
}
