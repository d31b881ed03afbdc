//! How are calls put together?

use lovage_model::{Canvas, Json};
use serde::Serialize;

use super::Signature;
use crate::TaskError;

/// One after the other: each gets the result of the one before it as its first argument, unless it is immutable.
///
/// ```
/// # use lovage_guest::prelude::*;
/// # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
/// let ten = chain([add::s(1, 2), add::partial().arg(3), add::partial().arg(4)]);
/// ```
pub fn chain(tasks: impl IntoIterator<Item = impl Into<Signature>>) -> Signature {
    gather(tasks, Canvas::chain)
}

/// All at once.
///
/// ```
/// # use lovage_guest::prelude::*;
/// # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
/// let sums = group((0..10).map(|i| add::s(i, i)));
/// ```
pub fn group(tasks: impl IntoIterator<Item = impl Into<Signature>>) -> Signature {
    gather(tasks, Canvas::group)
}

/// All of the header at once, then the body with the list of their results, in the order of the header. A group in the
/// header makes a list in the list; a group as the header is the header.
///
/// ```
/// # use lovage_guest::prelude::*;
/// # #[task] fn add(x: i64, y: i64) -> i64 { x + y }
/// # #[task] fn total(numbers: Vec<i64>) -> i64 { numbers.iter().sum() }
/// let sum = chord((0..10).map(|i| add::s(i, i)), total::partial());
/// ```
pub fn chord(header: impl Header, body: impl Into<Signature>) -> Signature {
    let (header, body) = (header.into_group(), body.into());
    Signature { canvas: Canvas::chord(header.canvas, body.canvas), fault: header.fault.or(body.fault) }
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

/// As Celery's `|`: first this, then that. After a group that makes a chord.
impl std::ops::BitOr for Signature {
    type Output = Self;
    fn bitor(self, next: Self) -> Self {
        chain([self, next])
    }
}

impl Signature {
    /// One task that calls this one with each item, one after the other, and returns the list of what it returned.
    ///
    /// Typed tasks have it too: `add::map(items)`.
    pub fn map(self, items: impl IntoIterator<Item: Serialize>) -> Self {
        self.each(items, Canvas::map)
    }

    /// The same with a tuple or an array of arguments for each call.
    pub fn starmap(self, items: impl IntoIterator<Item: Serialize>) -> Self {
        self.each(items, Canvas::starmap)
    }

    /// A group of such tasks, each for `n` items.
    pub fn chunks(self, items: impl IntoIterator<Item: Serialize>, n: usize) -> Self {
        self.each(items, |task, items| Canvas::chunks(task, items, n))
    }

    fn each(
        mut self,
        items: impl IntoIterator<Item: Serialize>,
        canvas: impl FnOnce(Canvas, Vec<Json>) -> Canvas,
    ) -> Self {
        let items = items.into_iter().map(|item| self.json("an item", &item)).collect();
        Self { canvas: canvas(self.canvas, items), fault: self.fault }
    }
}

/// The first fault is that of the whole.
fn gather(
    tasks: impl IntoIterator<Item = impl Into<Signature>>,
    canvas: impl FnOnce(Vec<Canvas>) -> Canvas,
) -> Signature {
    let mut first: Option<TaskError> = None;
    let tasks = tasks.into_iter().map(|task| {
        let Signature { canvas, fault } = task.into();
        first = first.take().or(fault);
        canvas
    });
    let tasks = tasks.collect();
    Signature { canvas: canvas(tasks), fault: first }
}
