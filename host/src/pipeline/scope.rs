//! What is known where settlements are made?

use std::sync::Arc;

use lovage_model::{Room, TaskDefinition, TaskId, TaskName, TenantId};

use crate::canvas::{Invalid, Rules, Scope, Tasks};
use crate::clock;
use crate::modules::Modules;

/// The tasks that the modules of a tenant export. What tasks send may name others: they fail when they are run.
pub(super) struct Exported<'a> {
    pub(super) modules: &'a Modules,
    pub(super) tenant: &'a TenantId,
}

impl Tasks for Exported<'_> {
    fn find(&self, name: &TaskName) -> Result<Option<Arc<TaskDefinition>>, Invalid> {
        Ok(self.modules.resolve(self.tenant, name.as_str()).ok().map(|code| Arc::clone(&code.definition)))
    }
}

/// Decides something with new ids, now.
pub(super) fn scoped<T>(tasks: &dyn Tasks, rules: Rules, room: Room, decide: impl FnOnce(&mut Scope<'_>) -> T) -> T {
    let mut ids = || TaskId::from_uuid(uuid::Uuid::now_v7());
    decide(&mut Scope::new(tasks, &mut ids, rules, clock::now()).within(room))
}
