//! The engines of one process: one for each flavour of code, with what they have loaded.

use std::future::ready;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use lovage_model::Digest;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::engine::{Allocator, Flavour, Pool};
use super::executor::Executor;
use super::turns::Turns;
use super::{Refusal, Running, SandboxError};
use crate::attempt::{Attempt, Grants, Progress, Report, Stop};

/// Fuel runs at once: their engine has a pool of its own, which reserves address space.
const FUEL_INSTANCES: u32 = 1000;

/// A component, and how its code is interrupted.
pub(super) type Code = (Digest, Flavour);

/// What a component said when it was asked for its tasks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Described {
    /// JSON, not read yet.
    pub(super) tasks: String,
    /// Whether it exports handlers.
    pub(super) has_handlers: bool,
}

/// The engines behind a door.
pub(super) struct Engines {
    places: Pool,
    turns: Arc<Turns>,
    epoch: Executor,
    /// Made when a run first asks for fuel.
    fuel: OnceLock<Executor>,
}

impl Engines {
    /// Engines with so many places for attempts, which share so many threads.
    pub(super) fn new(places: Pool, threads: usize) -> Result<Self, SandboxError> {
        let turns = Arc::new(Turns::new(threads));
        let epoch = executor(Flavour::Epoch, places, &turns)?;
        Ok(Self { places, turns, epoch, fuel: OnceLock::new() })
    }

    pub(super) fn allocator(&self) -> Allocator {
        self.epoch.allocator
    }

    pub(super) fn has(&self, digest: &Digest, flavour: Flavour) -> bool {
        self.made(flavour).is_some_and(|executor| executor.has(digest))
    }

    /// Maps an artifact and links it.
    ///
    /// # Safety
    /// The file must have been made by this program's compiler: it is run as machine code.
    pub(super) unsafe fn load(&self, digest: &Digest, flavour: Flavour, path: &Path) -> Result<(), Refusal> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.executor(flavour)?.load(digest, path) }
    }

    pub(super) fn unload(&self, digest: &Digest) {
        Flavour::ALL.into_iter().filter_map(|flavour| self.made(flavour)).for_each(|executor| executor.unload(digest));
    }

    /// Runs an attempt of a component that was loaded; if it is not, the attempt ends interrupted.
    pub(super) fn run(
        &self,
        attempt: Attempt,
        grants: Grants,
        progress: Arc<dyn Progress>,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Running<'_> {
        match self.made(Flavour::of(&grants)) {
            Some(executor) => Box::pin(executor.run(attempt, grants, progress, stop)),
            None => Box::pin(ready(Report::stopped(Stop::Interrupted))),
        }
    }

    /// Asks a component that was loaded for its tasks.
    pub(super) async fn describe(&self, digest: &Digest, grants: Grants) -> Result<Described, Refusal> {
        let tasks = self.epoch.describe(digest, grants).await?;
        Ok(Described { tasks, has_handlers: self.epoch.has_handlers(digest) })
    }

    fn made(&self, flavour: Flavour) -> Option<&Executor> {
        match flavour {
            Flavour::Epoch => Some(&self.epoch),
            Flavour::Fuel => self.fuel.get(),
        }
    }

    fn executor(&self, flavour: Flavour) -> Result<&Executor, Refusal> {
        if let Some(made) = self.made(flavour) {
            return Ok(made);
        }
        let pool = Pool { instances: self.places.instances.min(FUEL_INSTANCES), ..self.places };
        let made = executor(flavour, pool, &self.turns);
        let made = made.map_err(|error| Refusal { code: "no_engine", message: error.to_string() })?;
        Ok(self.fuel.get_or_init(|| made))
    }
}

fn executor(flavour: Flavour, places: Pool, turns: &Arc<Turns>) -> Result<Executor, SandboxError> {
    Executor::new(flavour, places, Arc::clone(turns)).map_err(|error| SandboxError::Engine(format!("{error:#}")))
}
