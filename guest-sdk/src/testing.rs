//! How is a task tested without a host?
//!
//! A [`FakeHost`] answers as a real one does and records what it was asked. Arguments, conversions and endings go
//! through the code that a component runs; time is the fake's own, and passes only in `ctx.sleep`.
//!
//! ```
//! use lovage_guest::prelude::*;
//! use lovage_guest::testing::FakeHost;
//!
//! #[task]
//! fn add(x: i64, y: i64) -> i64 {
//!     x + y
//! }
//!
//! assert_eq!(FakeHost::new().run::<add>((2, 3)).value::<i64>(), 5);
//! assert_eq!(
//!     FakeHost::new().run::<add>((2,)).exception().to_string(),
//!     "TypeError: add() missing 1 required positional argument: 'y'"
//! );
//! ```
//!
//! Handlers are called as a host calls them; what one of them raises is logged.
//!
//! Absent: memory and fuel limits, and the hard time limit; a panic is the test's own.

mod answers;
mod handled;
mod outcome;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use lovage_model::{Json, LogLevel, Message, Request, Seconds, Signature, TaskId, TaskName, TaskOptions};
use serde::Serialize;

use crate::host::{Ending, RetryOptions};
use crate::http::{self, Response};
use crate::retry::{keyword, positional};
use crate::{Entry, Task, run};

pub use outcome::Outcome;

/// A host that runs tasks in the test itself. Settings come first, then runs, then the records of all runs.
#[derive(Debug, Clone)]
pub struct FakeHost {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug)]
struct Inner {
    request: Request,
    overrides: BTreeMap<String, Json>,
    random: f64,
    responses: Vec<Response>,
    /// By bucket and key.
    values: BTreeMap<(String, String), Vec<u8>>,
    secrets: BTreeMap<String, String>,
    elapsed: f64,
    told: bool,
    records: Records,
    retry: Option<RetryOptions>,
    late_retry: Option<RetryOptions>,
    replace: Option<Signature>,
    /// Whether the run is over: from then on handlers are called.
    ended: bool,
}

#[derive(Debug, Default)]
struct Records {
    states: Vec<(String, Json)>,
    logs: Vec<(LogLevel, String)>,
    events: Vec<(String, Json)>,
    subtasks: Vec<Signature>,
    added_to_chord: Vec<Signature>,
    requests: Vec<http::Request>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A host without limits whose tasks run for the first time.
    pub fn new() -> Self {
        let inner = Inner {
            request: first_request(),
            overrides: BTreeMap::new(),
            random: 1.0,
            responses: Vec::new(),
            values: BTreeMap::new(),
            secrets: BTreeMap::new(),
            elapsed: 0.0,
            told: false,
            records: Records::default(),
            retry: None,
            late_retry: None,
            replace: None,
            ended: false,
        };
        Self { inner: Rc::new(RefCell::new(inner)) }
    }

    /// Changes what the task finds in its request; its name and arguments are those of the run.
    #[must_use]
    pub fn request(self, change: impl FnOnce(&mut Request)) -> Self {
        change(&mut self.inner.borrow_mut().request);
        self
    }

    /// Runs as if the task had been retried that often before.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        self.request(|request| request.retries = retries)
    }

    /// Runs as if the sender had overridden an option of the task.
    ///
    /// Panics if that is not JSON; the run panics if the task has no such option, or if it cannot have that value.
    #[must_use]
    pub fn option(self, name: &str, value: impl Serialize) -> Self {
        let value = Json::of(&value).expect("an option as JSON");
        self.inner.borrow_mut().overrides.insert(name.to_owned(), value);
        self
    }

    /// What a retry with jitter draws, from 0 up to 1 (the default, which is the longest wait).
    #[must_use]
    pub fn random(self, drawn: f64) -> Self {
        self.inner.borrow_mut().random = drawn;
        self
    }

    /// Answers the next request to a server so. Without an answer left there is no grant either: PermissionError.
    #[must_use]
    pub fn answers(self, response: Response) -> Self {
        self.inner.borrow_mut().responses.push(response);
        self
    }

    /// Has a secret of this name.
    #[must_use]
    pub fn secret(self, name: &str, secret: &str) -> Self {
        self.inner.borrow_mut().secrets.insert(name.to_owned(), secret.to_owned());
        self
    }

    /// Gives each run a soft limit, in seconds of `ctx.sleep`; with 0 it has passed from the start.
    ///
    /// Panics if that is not a time.
    #[must_use]
    pub fn soft_time_limit(self, seconds: f64) -> Self {
        let limit = Seconds::new(seconds).expect("a soft time limit in seconds");
        self.request(|request| request.timelimit.soft = Some(limit))
    }

    /// Runs a task with positional arguments: a tuple, an array, a `Vec`, or `()` for none.
    ///
    /// Panics if they are not that.
    pub fn run<T: Task>(&self, args: impl Serialize) -> Outcome {
        self.call::<T>(args, ())
    }

    /// Runs a task with positional and keyword arguments; the latter are a map, a struct, `json!({..})`, or `()`.
    ///
    /// Panics if they are not that.
    pub fn call<T: Task>(&self, args: impl Serialize, kwargs: impl Serialize) -> Outcome {
        let args = positional(&args).expect("args: a tuple, an array or ()");
        let kwargs = keyword(&kwargs).expect("kwargs: a map or ()");
        self.prepare(&T::DEFINITION.to_model(), &args, &kwargs);
        let (task, host, name) = ([Entry::of::<T>()], Rc::new(self.clone()), T::DEFINITION.name);
        let ended = run::before_start(&task, host.clone(), name)
            .and_then(|()| run::run(&task, host, name, args.as_str(), kwargs.as_str()));
        let outcome = self.outcome(ended);
        self.inner.borrow_mut().ended = true;
        self.tell(&task, &outcome);
        outcome
    }

    fn prepare(&self, task: &lovage_model::TaskDefinition, args: &Json, kwargs: &Json) {
        let inner = &mut *self.inner.borrow_mut();
        inner.request.task = task.name.clone();
        inner.request.args = args.clone();
        inner.request.kwargs = kwargs.clone();
        let unknown = inner.overrides.keys().find(|name| !TaskOptions::knows(name));
        assert!(unknown.is_none(), "there is no option {unknown:?}");
        inner.request.options = task.options.overridden(&inner.overrides).unwrap_or_else(|bad| panic!("{bad}"));
        (inner.elapsed, inner.told, inner.ended) = (0.0, false, false);
        (inner.retry, inner.late_retry, inner.replace) = (None, None, None);
    }

    fn outcome(&self, ended: Result<Json, Ending>) -> Outcome {
        let inner = &mut *self.inner.borrow_mut();
        match ended {
            Ok(value) => Outcome::Returned(value),
            Err(Ending::Failure(raised)) => Outcome::Raised(raised),
            Err(Ending::Retry) => Outcome::Retried(inner.retry.take().expect("a retry was accepted")),
            Err(Ending::Replaced) => {
                Outcome::Replaced(Box::new(inner.replace.take().expect("a replacement was accepted")))
            }
            Err(Ending::Ignore) => Outcome::Ignored,
            Err(Ending::Reject(requeue)) => Outcome::Rejected { requeue },
        }
    }

    /// The states the task set, with their metas, oldest first.
    pub fn states(&self) -> Vec<(String, Json)> {
        self.inner.borrow().records.states.clone()
    }

    /// What the task logged, oldest first.
    pub fn logs(&self) -> Vec<(LogLevel, String)> {
        self.inner.borrow().records.logs.clone()
    }

    /// The events the task sent, with their fields, oldest first.
    pub fn events(&self) -> Vec<(String, Json)> {
        self.inner.borrow().records.events.clone()
    }

    /// The subtasks the task sent, oldest first; their ids are `subtask-1`, `subtask-2`, ... unless they were given one.
    pub fn subtasks(&self) -> Vec<Signature> {
        self.inner.borrow().records.subtasks.clone()
    }

    /// The subtasks the task added to its chord, oldest first.
    pub fn added_to_chord(&self) -> Vec<Signature> {
        self.inner.borrow().records.added_to_chord.clone()
    }

    /// The requests the task sent to servers, oldest first.
    pub fn requests(&self) -> Vec<http::Request> {
        self.inner.borrow().records.requests.clone()
    }

    /// The retry that the last task asked for without ending for it.
    pub fn retry_later(&self) -> Option<RetryOptions> {
        self.inner.borrow().late_retry.clone()
    }

    /// Seconds the last task slept.
    pub fn slept(&self) -> f64 {
        self.inner.borrow().elapsed
    }
}

fn first_request() -> Request {
    let id = TaskId::from_uuid("00000000-0000-4000-8000-000000000000");
    let message = Message::new(id, TaskName::new("testing.none").expect("a name"));
    Request { is_eager: true, ..Request::of(&message, "fake", false) }
}
