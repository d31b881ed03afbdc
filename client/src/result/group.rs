//! The result of a group: a set of results that has an id, by which it can be saved and found again.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use lovage_model::{ResultTuple, TaskId};

use super::{AnyResult, ResultSet};
use crate::{Client, Result};

/// Celery's `GroupResult`: a [`ResultSet`] with an id, and with what came before it in its chain.
#[derive(Debug, Clone)]
pub struct GroupResult {
    id: TaskId,
    parent: Option<Arc<AnyResult>>,
    set: ResultSet,
}

impl GroupResult {
    pub(crate) fn new(client: Client, id: TaskId, results: Vec<AnyResult>) -> Self {
        Self { id, parent: None, set: ResultSet::of(client, results) }
    }

    pub(crate) fn after(self, parent: Option<Arc<AnyResult>>) -> Self {
        Self { parent, ..self }
    }

    /// The group's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// What came before it in its chain.
    pub fn parent(&self) -> Option<&AnyResult> {
        self.parent.as_deref()
    }

    /// Its members.
    pub fn children(&self) -> &[AnyResult] {
        self.set.results()
    }

    /// As Celery passes it around: `[[id, parent], [member, ...]]`.
    pub fn as_tuple(&self) -> ResultTuple {
        let parent = self.parent().map(|parent| Box::new(parent.as_tuple()));
        let children = Some(self.children().iter().map(AnyResult::as_tuple).collect());
        ResultTuple { id: self.id.clone(), parent, children }
    }

    /// Lets the daemon keep it, as long as it keeps results, for whoever has the id: see [`GroupResult::restore`].
    pub async fn save(&self) -> Result<()> {
        self.client().save_group(&self.as_tuple()).await
    }

    /// The result of a group that was saved; none if there is none of that id.
    pub async fn restore(client: &Client, id: &TaskId) -> Result<Option<Self>> {
        client.restore_group(id).await
    }

    /// Drops what was saved; whether there was anything. Its members stay.
    pub async fn delete(&self) -> Result<bool> {
        self.client().delete_group(&self.id).await
    }
}

impl PartialEq for GroupResult {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.set == other.set && self.parent == other.parent
    }
}

impl Deref for GroupResult {
    type Target = ResultSet;
    fn deref(&self) -> &ResultSet {
        &self.set
    }
}

impl DerefMut for GroupResult {
    fn deref_mut(&mut self) -> &mut ResultSet {
        &mut self.set
    }
}
