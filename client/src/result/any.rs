//! A task or a group: what a canvas comes to, what a task has sent, what a set is made of. Celery's `ResultBase`.

use std::sync::Arc;

use lovage_model::{Json, ResultTuple, TaskId};

use super::{AsyncResult, GetOptions, GroupResult};
use crate::{Client, Error, Result};

/// The result of a task, or of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyResult {
    /// Of one task.
    Task(AsyncResult),
    /// Of a group.
    Group(GroupResult),
}

impl Client {
    /// The handle of what a result tuple describes: a task or a group, with what came before it.
    pub fn result_from_tuple(&self, tuple: ResultTuple) -> AnyResult {
        let parent = tuple.parent.map(|parent| Arc::new(self.result_from_tuple(*parent)));
        match tuple.children {
            None => AnyResult::Task(AsyncResult::new(self.clone(), tuple.id).after(parent)),
            Some(children) => {
                let members = children.into_iter().map(|child| self.result_from_tuple(child));
                AnyResult::Group(GroupResult::new(self.clone(), tuple.id, members.collect()).after(parent))
            }
        }
    }
}

impl AnyResult {
    /// The id of the task or the group.
    pub fn id(&self) -> &TaskId {
        match self {
            Self::Task(task) => task.id(),
            Self::Group(group) => group.id(),
        }
    }

    /// What came before it in its chain.
    pub fn parent(&self) -> Option<&Self> {
        match self {
            Self::Task(task) => task.parent(),
            Self::Group(group) => group.parent(),
        }
    }

    /// As Celery passes it around.
    pub fn as_tuple(&self) -> ResultTuple {
        match self {
            Self::Task(task) => task.as_tuple(),
            Self::Group(group) => group.as_tuple(),
        }
    }

    /// The task, if it is one.
    pub fn into_task(self) -> Option<AsyncResult> {
        match self {
            Self::Task(task) => Some(task),
            Self::Group(_) => None,
        }
    }

    /// The group, if it is one.
    pub fn into_group(self) -> Option<GroupResult> {
        match self {
            Self::Task(_) => None,
            Self::Group(group) => Some(group),
        }
    }

    /// Waits for its value; that of a group is a list.
    pub async fn get<'a, T: serde::de::DeserializeOwned>(&self, options: impl Into<GetOptions<'a>>) -> Result<T> {
        let value = self.get_json(options).await?;
        value.read().map_err(|error| Error::decode(format!("result of {}", self.id()), error))
    }

    /// The same, with the value as text.
    pub async fn get_json<'a>(&self, options: impl Into<GetOptions<'a>>) -> Result<Json> {
        match self {
            Self::Task(task) => task.get_json(options).await,
            Self::Group(group) => list(&group.join_native(options).await?),
        }
    }

    /// Whether it succeeded, failed or was revoked: all of it.
    pub async fn ready(&self) -> Result<bool> {
        match self {
            Self::Task(task) => task.ready().await,
            Self::Group(group) => group.ready().await,
        }
    }

    /// Itself, if it is a task; the tasks of a group, in order.
    pub fn leaves(&self) -> Vec<&AsyncResult> {
        match self {
            Self::Task(task) => vec![task],
            Self::Group(group) => group.leaves(),
        }
    }

    /// What it ended with, without asking anybody.
    pub(super) fn value(&self) -> Result<Json> {
        match self {
            Self::Task(task) => Ok(task.value()),
            Self::Group(group) => list(&group.results().iter().map(Self::value).collect::<Result<Vec<_>>>()?),
        }
    }
}

fn list(values: &[Json]) -> Result<Json> {
    Json::of(values).map_err(|error| Error::decode("results", error))
}

impl From<AsyncResult> for AnyResult {
    fn from(task: AsyncResult) -> Self {
        Self::Task(task)
    }
}

impl From<GroupResult> for AnyResult {
    fn from(group: GroupResult) -> Self {
        Self::Group(group)
    }
}
