//! What happened inside?
//!
//! Runs attempts, each in an instance of its own that is dropped afterwards, and says how they ended. The only room that
//! names wasmtime. It knows nothing of stores, queues or what an ending means.
//!
//! Invariants: every limit is armed before the first instruction of a guest; a run returns a [`Report`], whatever the guest
//! does; only code that this program compiled is loaded.

mod admission;
mod artifacts;
mod bindings;
mod capabilities;
mod compile;
mod confined;
mod ending;
mod engine;
mod executor;
mod guest;
mod handlers;
mod imports;
mod limiter;
mod linked;
mod metered;
mod output;
mod prescan;
mod refused;
mod run;
mod ticker;
mod until;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lovage_model::{Digest, TaskDefinition};
use tokio::sync::{Semaphore, watch};

pub use compile::{Compiler, compile_child};
pub use engine::Allocator;

use crate::attempt::{Attempt, Grants, Progress, Report, Stop};
use crate::clock;
use artifacts::Artifacts;
use engine::{Flavour, Pool};
use executor::Executor;
use refused::Refused;

/// Fuel runs at once: their engine has a pool of its own, which reserves address space.
const FUEL_INSTANCES: u32 = 1000;
/// Compilations at once. More than one, so that a component built to break compilers does not keep others out.
const COMPILED_AT_ONCE: usize = 2;
const DESCRIBE_TIME: Duration = Duration::from_secs(5);
const DESCRIPTION_BYTES: usize = 1 << 20;

/// Why a component was not admitted: what, where and the cure.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable name, such as `not_a_component`.
    pub code: &'static str,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl Refusal {
    /// Whether it says nothing about the component: this host has no working compiler, cache or engine.
    pub fn is_of_host(&self) -> bool {
        ["cache_unusable", "compiler_unavailable", "disk_full", "no_engine"].contains(&self.code)
    }
}

/// What a sandbox is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Attempts at once.
    pub concurrency: u32,
    /// The most memory one attempt may ever be granted, in bytes.
    pub memory_bytes: u64,
    /// Where compiled code is kept; must not be shared with anything that is not trusted.
    pub cache: PathBuf,
    /// Who compiles.
    pub compiler: Compiler,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The cache directory cannot be used.
    #[error("the cache of compiled modules in {path} cannot be used: {source}")]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// wasmtime cannot run here.
    #[error("the WebAssembly engine cannot be set up: {0}")]
    Engine(String),
}

/// The engines behind the door.
pub struct Sandbox {
    settings: Settings,
    artifacts: Artifacts,
    /// A compiler takes all processors and much memory: many at once would take the machine.
    compiling: Semaphore,
    /// What was compiled in vain: it is not tried again.
    refused: Refused,
    epoch: Executor,
    /// Made when a run first asks for fuel.
    fuel: OnceLock<Executor>,
}

impl Sandbox {
    /// Sets up the engine and opens the cache.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        let cache = |source| SandboxError::Cache { path: settings.cache.clone(), source };
        let artifacts = Artifacts::open(&settings.cache).map_err(cache)?;
        let epoch = executor(Flavour::Epoch, &settings, settings.concurrency)?;
        let compiling = Semaphore::new(COMPILED_AT_ONCE);
        let refused = Refused::default();
        Ok(Self { settings, artifacts, compiling, refused, epoch, fuel: OnceLock::new() })
    }

    /// How instances get their memory on this machine.
    pub fn allocator(&self) -> Allocator {
        self.epoch.allocator
    }

    /// Compiles a component, unless that was done before, checks it against the contract and asks it for its tasks.
    /// What is refused leaves nothing behind.
    pub async fn admit(&self, digest: &Digest, component: &[u8]) -> Result<Vec<TaskDefinition>, Refusal> {
        admission::check_kind(component)?;
        if let Some(refusal) = self.refused.get(digest, clock::now()) {
            return Err(refusal);
        }
        prescan::check_shape(component)?;
        let described = match self.prepare(digest, component).await {
            Ok(()) => self.describe(digest).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &described {
            self.forget(digest);
            self.refused.remember(digest, refusal, clock::now());
        }
        described
    }

    /// Whether a component was compiled and loaded already.
    pub fn has(&self, digest: &Digest, fuel: bool) -> bool {
        if fuel { self.fuel.get().is_some_and(|executor| executor.has(digest)) } else { self.epoch.has(digest) }
    }

    /// Makes a component ready to run: from the cache, or by compiling it.
    pub async fn prepare(&self, digest: &Digest, component: &[u8]) -> Result<(), Refusal> {
        if self.load(digest, Flavour::Epoch)? && (self.fuel.get().is_none() || self.load(digest, Flavour::Fuel)?) {
            return Ok(());
        }
        self.compile(digest, component).await?;
        match self.load(digest, Flavour::Epoch)? {
            true => Ok(()),
            false => Err(broken_cache("what was just compiled does not verify")),
        }
    }

    /// Loads a component from the cache, for runs with or without fuel; whether it was there.
    pub fn load_cached(&self, digest: &Digest, fuel: bool) -> Result<bool, Refusal> {
        self.load(digest, if fuel { Flavour::Fuel } else { Flavour::Epoch })
    }

    /// Frees the memory that a component takes while nothing of it runs; it can be loaded again from the cache.
    pub fn unload(&self, digest: &Digest) {
        self.epoch.unload(digest);
        if let Some(fuel) = self.fuel.get() {
            fuel.unload(digest);
        }
    }

    /// Forgets a component and what was compiled from it.
    pub fn forget(&self, digest: &Digest) {
        self.unload(digest);
        for flavour in Flavour::ALL {
            let Ok(compatibility) = self.compatibility(flavour) else { continue };
            let path = self.artifacts.path(digest, flavour, &compatibility);
            if let Err(error) = self.artifacts.discard(&path) {
                tracing::warn!(path = %path.display(), %error, "an artifact could not be removed");
            }
        }
    }

    /// Runs an attempt. The component must have been loaded (see [`Sandbox::has`]); if it is not, the attempt ends
    /// interrupted.
    pub async fn run(
        &self,
        attempt: Attempt,
        grants: Grants,
        progress: Arc<dyn Progress>,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Report {
        let executor = if grants.fuel.is_some() { self.fuel.get() } else { Some(&self.epoch) };
        match executor {
            Some(executor) => executor.run(attempt, grants, progress, stop).await,
            None => Report::stopped(Stop::Interrupted),
        }
    }

    async fn describe(&self, digest: &Digest) -> Result<Vec<TaskDefinition>, Refusal> {
        let described = self.epoch.describe(digest, self.describe_grants()).await?;
        let tasks = admission::tasks(&described)?;
        admission::check_handlers(&tasks, self.epoch.has_handlers(digest))?;
        Ok(tasks)
    }

    fn describe_grants(&self) -> Grants {
        Grants {
            fuel: None,
            memory_bytes: self.settings.memory_bytes,
            soft_limit: None,
            hard_limit: DESCRIBE_TIME,
            output_bytes: 0,
            payload_bytes: DESCRIPTION_BYTES,
            subtasks: 0,
            handler_limit: Duration::ZERO,
            handler_fuel: None,
            capabilities: Arc::default(),
        }
    }

    async fn compile(&self, digest: &Digest, component: &[u8]) -> Result<(), Refusal> {
        let _turn = self.compiling.acquire().await;
        let place = self.artifacts.workplace().map_err(broken_disk)?;
        let source = place.path().join("component.wasm");
        tokio::fs::write(&source, component).await.map_err(broken_disk)?;
        self.settings.compiler.compile(&source, place.path()).await?;
        for flavour in Flavour::ALL {
            let path = self.artifacts.path(digest, flavour, &self.compatibility(flavour)?);
            self.artifacts.adopt(&place.path().join(flavour.name()), &path).map_err(broken_disk)?;
        }
        Ok(())
    }

    fn load(&self, digest: &Digest, flavour: Flavour) -> Result<bool, Refusal> {
        let executor = self.executor(flavour)?;
        if executor.has(digest) {
            return Ok(true);
        }
        let path = self.artifacts.path(digest, flavour, &executor.compatibility);
        if !self.artifacts.verify(&path).map_err(broken_disk)? {
            return Ok(false);
        }
        // SAFETY: the file carries a MAC of this daemon's key, which only ever signs what its compiler made, and lies in a
        // directory that only this user can write.
        unsafe { executor.load(digest, &path) }?;
        Ok(true)
    }

    fn executor(&self, flavour: Flavour) -> Result<&Executor, Refusal> {
        if flavour == Flavour::Epoch {
            return Ok(&self.epoch);
        }
        if let Some(fuel) = self.fuel.get() {
            return Ok(fuel);
        }
        let made = executor(flavour, &self.settings, self.settings.concurrency.min(FUEL_INSTANCES));
        let made = made.map_err(|error| Refusal { code: "no_engine", message: error.to_string() })?;
        Ok(self.fuel.get_or_init(|| made))
    }

    fn compatibility(&self, flavour: Flavour) -> Result<String, Refusal> {
        match (flavour, self.fuel.get()) {
            (Flavour::Epoch, _) => Ok(self.epoch.compatibility.clone()),
            (Flavour::Fuel, Some(fuel)) => Ok(fuel.compatibility.clone()),
            // No need for an engine that runs, with its pool, only to know what it would accept.
            (Flavour::Fuel, None) => {
                let engine = engine::compiler(flavour).map_err(|error| broken_cache(error.to_string()))?;
                Ok(engine::compatibility(&engine))
            }
        }
    }
}

fn executor(flavour: Flavour, settings: &Settings, instances: u32) -> Result<Executor, SandboxError> {
    let memory_bytes = usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX);
    Executor::new(flavour, Pool { instances, memory_bytes }).map_err(|error| SandboxError::Engine(format!("{error:#}")))
}

fn broken_disk(error: std::io::Error) -> Refusal {
    let refusal = broken_cache(&error);
    let code = if error.kind() == std::io::ErrorKind::StorageFull { "disk_full" } else { refusal.code };
    Refusal { code, ..refusal }
}

fn broken_cache(why: impl ToString) -> Refusal {
    Refusal {
        code: "cache_unusable",
        message: format!("the cache of compiled modules cannot be used: {}", why.to_string()),
    }
}
