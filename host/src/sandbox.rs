//! What happened inside?
//!
//! Runs attempts, each in an instance of its own that is dropped afterwards, and says how they ended. The only room that
//! names wasmtime. It knows nothing of stores, queues or what an ending means.
//!
//! Invariants: every limit is armed before the first instruction of a guest; a run returns a [`Report`], whatever the guest
//! does; only code that this program compiled is loaded.

mod admission;
mod apart;
mod artifacts;
mod bindings;
mod capabilities;
mod clocks;
mod compile;
mod confined;
mod ending;
mod engine;
mod engines;
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
mod syscalls;
mod threads;
mod ticker;
mod turns;
mod until;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lovage_model::{Digest, TaskDefinition};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::{Semaphore, watch};

pub use apart::{Executors, executor_child};
pub use compile::{Compiler, compile_child};
pub use prescan::{Shape, check_shape};
pub use threads::{GuestRuntime, guest_threads};

use crate::aside::aside;
use crate::attempt::{Attempt, Grants, Progress, Report, Stop};
use crate::clock;
use apart::Apart;
use artifacts::Artifacts;
use engine::{Flavour, Pool};
use engines::{Described, Engines};
use refused::Refused;

/// Compilations at once. More than one, so that a component built to break compilers does not keep others out.
const COMPILED_AT_ONCE: usize = 2;
const DESCRIBE_TIME: Duration = Duration::from_secs(5);
const DESCRIPTION_BYTES: usize = 1 << 20;
/// The longest message of a refusal: a component may have names of megabytes, and what was refused is remembered.
const MESSAGE_BYTES: usize = 4 << 10;

/// Why a component was not admitted: what, where and the cure.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize)]
#[error("{message}")]
pub struct Refusal {
    /// Stable name, such as `not_a_component`.
    pub code: &'static str,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl Refusal {
    /// One whose message may be about anything: cut where it is very long.
    fn new(code: &'static str, mut message: String) -> Self {
        if message.len() > MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
            message.push_str("...");
            message.shrink_to_fit();
        }
        Self { code, message }
    }

    /// Whether it says that this is no valid component.
    pub fn is_broken(&self) -> bool {
        self.code == "invalid_component"
    }

    /// Whether it says that the component was taken away meanwhile.
    fn is_of_absence(&self) -> bool {
        self.code == "removed"
    }

    /// Whether it is about the component itself, and would be said of it at another time as well.
    fn is_of_component(&self) -> bool {
        !self.is_of_host() && !self.is_of_absence()
    }

    /// Whether it says nothing about the component: this host has no working compiler, cache or engine.
    pub fn is_of_host(&self) -> bool {
        ["cache_unusable", "compiler_unavailable", "disk_full", "no_engine"].contains(&self.code)
    }
}

/// What another process answers with: one of the codes that it may have come to.
impl<'de> Deserialize<'de> for Refusal {
    fn deserialize<D: Deserializer<'de>>(written: D) -> Result<Self, D::Error> {
        const CODES: [&str; 7] = [
            "contract_mismatch",
            "describe_failed",
            "import_not_allowed",
            "no_engine",
            "no_tasks",
            "removed",
            "too_demanding",
        ];
        #[derive(Deserialize)]
        struct Written {
            code: String,
            message: String,
        }
        let Written { code, message } = Written::deserialize(written)?;
        let code = CODES.into_iter().find(|known| *known == code);
        Ok(Self::new(code.ok_or_else(|| D::Error::custom("no code of a refusal"))?, message))
    }
}

/// An attempt under way, until its report. Boxed: it takes kilobytes, and whoever waits for it is itself moved on its way to a
/// thread, several times.
pub type Running<'a> = Pin<Box<dyn Future<Output = Report> + Send + 'a>>;

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
    /// Who runs guests; none: this process.
    pub executors: Option<Executors>,
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

/// What is behind the door.
pub struct Sandbox {
    settings: Settings,
    artifacts: Arc<Artifacts>,
    /// A compiler takes all processors and much memory: many at once would take the machine.
    compiling: Semaphore,
    /// What was compiled in vain: it is not tried again.
    refused: Refused,
    /// What an artifact of a flavour must agree with.
    compatibilities: [OnceLock<String>; Flavour::ALL.len()],
    /// Whether any run has asked for fuel.
    meters: AtomicBool,
    guests: Guests,
}

/// Where guests run.
enum Guests {
    Here(Box<Engines>),
    Apart(Apart),
}

impl Sandbox {
    /// Sets up the engine, or starts the processes that have it, and opens the cache. Processes are looked
    /// after on the runtime of tokio's that this is called on.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        let cache = |source| SandboxError::Cache { path: settings.cache.clone(), source };
        let artifacts = Artifacts::open(&settings.cache).map_err(cache)?;
        let memory_bytes = usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX);
        let places = Pool { instances: settings.concurrency, memory_bytes };
        let guests = match settings.executors.clone() {
            None => {
                let engines = Engines::new(places, guest_threads())?;
                engines.allocator().warn_if_slow();
                Guests::Here(Box::new(engines))
            }
            Some(executors) => {
                Guests::Apart(Apart::new(executors, places, artifacts.code().canonicalize().map_err(cache)?))
            }
        };
        let compiling = Semaphore::new(COMPILED_AT_ONCE);
        Ok(Self {
            settings,
            artifacts: Arc::new(artifacts),
            compiling,
            refused: Refused::default(),
            compatibilities: Default::default(),
            meters: AtomicBool::new(false),
            guests,
        })
    }

    /// Compiles a component, unless that was done before, checks it against the contract and asks it for its tasks.
    /// What is refused leaves nothing behind.
    pub async fn admit(&self, digest: &Digest, component: &[u8]) -> Result<Vec<TaskDefinition>, Refusal> {
        admission::check_kind(component)?;
        if let Some(refusal) = self.refused.get(digest, clock::now()) {
            return Err(refusal);
        }
        let walked = Bytes::copy_from_slice(component);
        aside(move || prescan::check_shape(&walked)).await?;
        // What is here already was admitted once: tasks may be running of it, whatever comes of this.
        let is_known = self.is_compiled(digest).await?;
        let described = match self.make_ready(digest, component, true).await {
            Ok(()) => self.describe(digest).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = described.as_ref()
            && !is_known
        {
            self.forget(digest);
            self.refused.remember(digest, refusal, clock::now());
        }
        described
    }

    /// Whether a component was compiled and loaded already.
    pub fn has(&self, digest: &Digest, fuel: bool) -> bool {
        self.holds(digest, flavour(fuel))
    }

    /// Makes a component ready to run: from the cache, or by compiling it.
    pub async fn prepare(&self, digest: &Digest, component: &[u8]) -> Result<(), Refusal> {
        self.make_ready(digest, component, false).await
    }

    /// The same; with `may_be_refused` unless it was found out meanwhile that it is to be.
    async fn make_ready(&self, digest: &Digest, component: &[u8], may_be_refused: bool) -> Result<(), Refusal> {
        if self.load(digest, Flavour::Epoch).await?
            && (!self.meters.load(Ordering::Relaxed) || self.load(digest, Flavour::Fuel).await?)
        {
            return Ok(());
        }
        self.compile(digest, component, may_be_refused).await?;
        match self.load(digest, Flavour::Epoch).await? {
            true => Ok(()),
            false => Err(broken_cache("what was just compiled does not verify")),
        }
    }

    /// Loads a component from the cache, for runs with or without fuel; whether it was there.
    pub async fn load_cached(&self, digest: &Digest, fuel: bool) -> Result<bool, Refusal> {
        self.load(digest, flavour(fuel)).await
    }

    /// Frees the memory that a component takes while nothing of it runs; it can be loaded again from the cache.
    pub fn unload(&self, digest: &Digest) {
        match &self.guests {
            Guests::Here(engines) => engines.unload(digest),
            Guests::Apart(processes) => processes.unload(digest),
        }
    }

    /// Forgets a component and what was compiled from it.
    pub fn forget(&self, digest: &Digest) {
        self.unload(digest);
        for flavour in Flavour::ALL {
            let Ok(compatibility) = self.compatibility(flavour) else { continue };
            let path = self.artifacts.path(digest, flavour, compatibility);
            if let Err(error) = self.artifacts.discard(&path) {
                tracing::warn!(path = %path.display(), %error, "an artifact could not be removed");
            }
        }
    }

    /// Runs an attempt. The component must have been loaded (see [`Sandbox::has`]); if it is not, the attempt ends
    /// interrupted.
    pub fn run(
        &self,
        attempt: Attempt,
        grants: Grants,
        progress: Arc<dyn Progress>,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Running<'_> {
        match &self.guests {
            Guests::Here(engines) => engines.run(attempt, grants, progress, stop),
            Guests::Apart(processes) => Box::pin(processes.run(attempt, grants, progress, stop)),
        }
    }

    /// Whether guests run in this process.
    pub fn runs_here(&self) -> bool {
        matches!(self.guests, Guests::Here(_))
    }

    async fn describe(&self, digest: &Digest) -> Result<Vec<TaskDefinition>, Refusal> {
        let grants = self.describe_grants();
        let Described { tasks, has_handlers } = match &self.guests {
            Guests::Here(engines) => engines.describe(digest, grants).await?,
            Guests::Apart(processes) => processes.describe(digest, grants).await?,
        };
        let tasks = admission::tasks(&tasks)?;
        admission::check_handlers(&tasks, has_handlers)?;
        Ok(tasks)
    }

    fn describe_grants(&self) -> Grants {
        Grants {
            memory_bytes: self.settings.memory_bytes,
            payload_bytes: DESCRIPTION_BYTES,
            ..Grants::of_time(DESCRIBE_TIME)
        }
    }

    async fn compile(&self, digest: &Digest, component: &[u8], may_be_refused: bool) -> Result<(), Refusal> {
        let _turn = self.compiling.acquire().await;
        // Somebody else may have been before.
        if let Some(refusal) = self.refused.get(digest, clock::now()).filter(|_| may_be_refused) {
            return Err(refusal);
        }
        if self.is_compiled(digest).await? {
            return Ok(());
        }
        let place = self.artifacts.workplace().map_err(broken_disk)?;
        let source = place.path().join("component.wasm");
        tokio::fs::write(&source, component).await.map_err(broken_disk)?;
        self.settings.compiler.compile(&source, place.path()).await?;
        for flavour in Flavour::ALL {
            let path = self.artifacts.path(digest, flavour, self.compatibility(flavour)?);
            let (artifacts, made) = (Arc::clone(&self.artifacts), place.path().join(flavour.name()));
            aside(move || artifacts.adopt(&made, &path)).await.map_err(broken_disk)?;
        }
        Ok(())
    }

    async fn is_compiled(&self, digest: &Digest) -> Result<bool, Refusal> {
        for flavour in Flavour::ALL {
            if !self.verify(digest, flavour).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn verify(&self, digest: &Digest, flavour: Flavour) -> Result<bool, Refusal> {
        let path = self.artifacts.path(digest, flavour, self.compatibility(flavour)?);
        let artifacts = Arc::clone(&self.artifacts);
        aside(move || artifacts.verify(&path)).await.map_err(broken_disk)
    }

    async fn load(&self, digest: &Digest, flavour: Flavour) -> Result<bool, Refusal> {
        if self.holds(digest, flavour) {
            return Ok(true);
        }
        if flavour == Flavour::Fuel {
            self.meters.store(true, Ordering::Relaxed);
        }
        if !self.verify(digest, flavour).await? {
            return Ok(false);
        }
        let path = self.artifacts.path(digest, flavour, self.compatibility(flavour)?);
        match &self.guests {
            // SAFETY: the file carries a MAC of this daemon's key, which only ever signs what its compiler made, and lies in
            // a directory that only this user can write.
            Guests::Here(engines) => unsafe { engines.load(digest, flavour, &path) }?,
            Guests::Apart(processes) => {
                processes.load(digest, flavour, path.canonicalize().map_err(broken_disk)?).await?;
            }
        }
        Ok(true)
    }

    fn holds(&self, digest: &Digest, flavour: Flavour) -> bool {
        match &self.guests {
            Guests::Here(engines) => engines.has(digest, flavour),
            Guests::Apart(processes) => processes.has(digest, flavour),
        }
    }

    fn compatibility(&self, flavour: Flavour) -> Result<&str, Refusal> {
        let known = &self.compatibilities[flavour as usize];
        if let Some(known) = known.get() {
            return Ok(known);
        }
        // No need for an engine that runs, with its pool, only to know what it would accept.
        let engine = engine::compiler(flavour).map_err(|error| broken_cache(error.to_string()))?;
        Ok(known.get_or_init(|| engine::compatibility(&engine)))
    }
}

fn flavour(fuel: bool) -> Flavour {
    if fuel { Flavour::Fuel } else { Flavour::Epoch }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
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
