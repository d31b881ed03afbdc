//! The result of a task that ran here and now, without a daemon: Celery's `EagerResult`.

use lovage_model::{Exception, Json, ResultMeta, State, TaskId, TaskName};
use serde::de::DeserializeOwned;

use crate::{Error, Result, TaskFailure};

/// What is known from the beginning: nobody is asked, and there is nothing to wait for.
#[derive(Debug, Clone, PartialEq)]
pub struct EagerResult {
    id: TaskId,
    name: TaskName,
    state: State,
    result: Json,
    traceback: Option<String>,
}

impl EagerResult {
    /// Of a task that returned a value.
    pub fn success(id: TaskId, name: TaskName, value: Json) -> Self {
        Self { id, name, state: State::Success, result: value, traceback: None }
    }

    /// Of a task that raised.
    pub fn failure(id: TaskId, name: TaskName, exception: &Exception, traceback: Option<String>) -> Self {
        Self { id, name, state: State::Failure, result: exception_json(exception), traceback }
    }

    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// Its name.
    pub fn name(&self) -> &TaskName {
        &self.name
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its value, or its exception.
    pub fn result(&self) -> &Json {
        &self.result
    }

    /// Where it failed.
    pub fn traceback(&self) -> Option<&str> {
        self.traceback.as_deref()
    }

    /// Always: it ran before there was a result.
    pub fn ready(&self) -> bool {
        true
    }

    /// Whether it succeeded.
    pub fn successful(&self) -> bool {
        self.state == State::Success
    }

    /// Whether it failed.
    pub fn failed(&self) -> bool {
        self.state == State::Failure
    }

    /// Never: see [`ResultSet`](crate::ResultSet) for those that can be waited for together.
    pub fn supports_native_join(&self) -> bool {
        false
    }

    /// Its value, or its failure. `null` if it ended in a state that is neither.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        let value = self.get_json(true)?;
        value.read().map_err(|error| Error::decode(format!("result of {}", self.id), error))
    }

    /// The same; Celery's other name for it.
    pub fn wait<T: DeserializeOwned>(&self) -> Result<T> {
        self.get()
    }

    /// Its value as text; unless it is to be propagated, the exception of a failure.
    pub fn get_json(&self, propagate: bool) -> Result<Json> {
        match &self.state {
            State::Success => Ok(self.result.clone()),
            state if state.propagates() && propagate => Err(self.thrown().into()),
            state if state.propagates() => Ok(self.result.clone()),
            _ => Ok(Json::null()),
        }
    }

    /// Calls one of two at once: with its value, or with its failure.
    pub fn then(&self, callback: impl FnOnce(&Self, Json), on_error: impl FnOnce(&Self, Error)) {
        match self.get_json(true) {
            Ok(value) => callback(self, value),
            Err(error) => on_error(self, error),
        }
    }

    /// Does nothing: it is kept nowhere else.
    pub fn forget(&self) {}

    /// Makes it REVOKED. Its value is gone, as if it had not run.
    pub fn revoke(&mut self) {
        self.state = State::Revoked;
        self.result = exception_json(&Exception::revoked("revoked"));
        self.traceback = None;
    }

    fn thrown(&self) -> TaskFailure {
        TaskFailure {
            id: self.id.clone(),
            name: self.name.clone(),
            state: self.state.clone(),
            exception: TaskFailure::exception_in(&self.result),
            traceback: self.traceback.clone(),
            fault: None,
        }
    }
}

impl From<ResultMeta> for EagerResult {
    fn from(meta: ResultMeta) -> Self {
        let ResultMeta { task_id, name, status, result, traceback, .. } = meta;
        Self { id: task_id, name, state: status, result, traceback }
    }
}

fn exception_json(exception: &Exception) -> Json {
    Json::of(exception).unwrap_or_else(|_| Json::null())
}
