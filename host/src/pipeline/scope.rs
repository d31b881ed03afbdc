//! What is known where settlements are made?

use std::sync::Arc;

use lovage_model::{TaskDefinition, TaskName, TenantId};

use crate::canvas::{Invalid, Tasks};
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
