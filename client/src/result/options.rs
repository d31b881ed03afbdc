//! How to wait, and how to revoke.

use std::fmt;
use std::time::Duration;

use lovage_model::{Json, TaskId};

/// Called with the id and the value of each result.
pub type Callback<'a> = Box<dyn FnMut(&TaskId, &Json) + Send + 'a>;

/// How to wait for a result. A timeout alone will do where one is wanted: `result.get(Duration::from_secs(10))`, or `None`
/// to wait as long as it takes.
#[must_use]
pub struct GetOptions<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) propagate: bool,
    pub(crate) follow_parents: bool,
    pub(crate) callback: Option<Callback<'a>>,
}

impl<'a> GetOptions<'a> {
    /// As long as it takes, raising what is raised.
    pub fn new() -> Self {
        Self { timeout: None, propagate: true, follow_parents: true, callback: None }
    }

    /// Waits at most so long: for all of them together, where there are several. The tasks go on after that.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Whether a failure is raised. If not, the value is its exception: `exc_type`, `exc_message`, `exc_module`.
    pub fn propagate(self, propagate: bool) -> Self {
        Self { propagate, ..self }
    }

    /// Whether the failure of a task before it in its chain is raised as soon as that fails.
    pub fn follow_parents(self, follow: bool) -> Self {
        Self { follow_parents: follow, ..self }
    }

    /// Calls that with each id and value. Of several results no list is returned then.
    pub fn callback(self, callback: impl FnMut(&TaskId, &Json) + Send + 'a) -> Self {
        Self { callback: Some(Box::new(callback)), ..self }
    }
}

impl Default for GetOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Option<Duration>> for GetOptions<'_> {
    fn from(timeout: Option<Duration>) -> Self {
        Self { timeout, ..Self::new() }
    }
}

impl From<Duration> for GetOptions<'_> {
    fn from(timeout: Duration) -> Self {
        Self::new().timeout(timeout)
    }
}

impl fmt::Debug for GetOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, propagate, follow_parents, callback } = self;
        let fields = (timeout, propagate, follow_parents, callback.is_some());
        f.debug_tuple("GetOptions").field(&fields).finish()
    }
}

/// How to revoke. Whether to stop it too will do where one is wanted: `result.revoke(true)`.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct RevokeOptions {
    pub(crate) terminate: bool,
    pub(crate) wait: bool,
    pub(crate) timeout: Option<Duration>,
}

impl RevokeOptions {
    /// Keeps it from running.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops it too if it runs.
    pub fn terminate(self, terminate: bool) -> Self {
        Self { terminate, ..self }
    }

    /// Returns only once it has ended: what runs takes a moment to be stopped, or goes on if it is not to be.
    pub fn wait(self, wait: bool) -> Self {
        Self { wait, ..self }
    }

    /// Waits at most so long.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

impl From<bool> for RevokeOptions {
    fn from(terminate: bool) -> Self {
        Self::new().terminate(terminate)
    }
}
