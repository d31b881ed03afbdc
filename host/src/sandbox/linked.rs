//! A component that can be run: its exports are found once, and looked up by no name afterwards.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::exports::lovage::task::{handlers, tasks};
use super::guest::Guest;

/// A component, linked with what it imports.
#[derive(Clone)]
pub(super) struct Linked {
    pre: InstancePre<Guest>,
    tasks: tasks::GuestIndices,
    handlers: Option<handlers::GuestIndices>,
}

/// An instance.
pub(super) struct Instance {
    pub(super) tasks: tasks::Guest,
    /// None if it exports none, or if nobody asked for them.
    pub(super) handlers: Option<handlers::Guest>,
}

impl Linked {
    /// Fails if it does not export the tasks of the contract.
    pub(super) fn new(pre: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let (tasks, handlers) = (tasks::GuestIndices::new(&pre)?, handlers::GuestIndices::new(&pre).ok());
        Ok(Self { pre, tasks, handlers })
    }

    /// Whether it exports handlers.
    pub(super) fn has_handlers(&self) -> bool {
        self.handlers.is_some()
    }

    /// A fresh instance. The outer error is one of running it; the inner one says that its exports do not fit the contract.
    pub(super) async fn instantiate(
        &self,
        store: &mut Store<Guest>,
        with_handlers: bool,
    ) -> wasmtime::Result<wasmtime::Result<Instance>> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        store.data_mut().began();
        let tasks = self.tasks.load(&mut *store, &instance);
        let handlers = self.handlers.as_ref().filter(|_| with_handlers);
        let handlers = handlers.map(|handlers| handlers.load(&mut *store, &instance)).transpose();
        Ok(tasks.and_then(|tasks| Ok(Instance { tasks, handlers: handlers? })))
    }
}
