//! One engine with what it has loaded, and the run of one attempt on it.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use lovage_model::{Digest, Json, LogRecord, Usage};
use tokio::sync::{Semaphore, watch};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::bindings::{Task, TaskPre, lovage::task};
use super::ending::{self, HardLimit};
use super::engine::{self, Allocator, Flavour, Pool};
use super::guest::{Deadline, Guest};
use super::metered::Metered;
use super::ticker::Ticker;
use super::{Refusal, admission};
use crate::attempt::{Attempt, Grants, Outcome, Progress, Report, Stop};
use crate::clock;

/// How much fuel a guest burns before it lets others run: about a millisecond's worth.
const FUEL_SLICE: u64 = 1_000_000;
/// Room for the copies of a call besides the largest payload.
const HOSTCALL_ROOM_BYTES: usize = 64 << 10;
/// Components that are asked for their tasks at once.
const ASKED_AT_ONCE: u32 = 1;

/// An engine of one flavour, ready to run.
pub(super) struct Executor {
    pub(super) engine: Engine,
    pub(super) flavour: Flavour,
    pub(super) allocator: Allocator,
    pub(super) compatibility: String,
    linker: Linker<Guest>,
    loaded: Mutex<HashMap<Digest, TaskPre<Guest>>>,
    /// With `asking` as many as the pool has places: the pool refuses where these wait.
    places: Semaphore,
    /// For components that are asked for their tasks: a push must not wait for a task to end.
    asking: Semaphore,
    ticker: Option<Ticker>,
}

/// Why a run ended.
enum End<T> {
    /// By itself.
    Ran(wasmtime::Result<T>),
    /// It waited past its hard limit.
    Late,
    /// It was told to.
    Stopped(Stop),
}

impl Executor {
    /// An executor with so many places for attempts.
    pub(super) fn new(flavour: Flavour, places: Pool) -> wasmtime::Result<Self> {
        let pool = Pool { instances: places.instances.saturating_add(ASKED_AT_ONCE), ..places };
        let (engine, allocator) = engine::executor(flavour, pool)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        task::host::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        task::types::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
        let ticker = (flavour == Flavour::Epoch).then(|| Ticker::start(&engine)).transpose()?;
        Ok(Self {
            compatibility: engine::compatibility(&engine),
            engine,
            flavour,
            allocator,
            linker,
            loaded: Mutex::default(),
            places: Semaphore::new(places.instances as usize),
            asking: Semaphore::new(ASKED_AT_ONCE as usize),
            ticker,
        })
    }

    /// Whether a component can be run at once.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.loaded().contains_key(digest)
    }

    /// Maps an artifact and links it.
    ///
    /// # Safety
    /// The file must have been made by this program's compiler: it is run as machine code.
    pub(super) unsafe fn load(&self, digest: &Digest, path: &Path) -> Result<(), Refusal> {
        // SAFETY: the caller's promise is the one asked for.
        let component = unsafe { Component::deserialize_file(&self.engine, path) };
        let component = component.map_err(|error| admission::unloadable(&error))?;
        admission::check_interface(&self.engine, &component)?;
        let linked = self.linker.instantiate_pre(&component).and_then(TaskPre::new);
        self.loaded().insert(digest.clone(), linked.map_err(|error| admission::mismatch(&error))?);
        Ok(())
    }

    /// Forgets a component; runs under way keep it.
    pub(super) fn unload(&self, digest: &Digest) {
        self.loaded().remove(digest);
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, TaskPre<Guest>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an attempt in an instance of its own.
    pub(super) async fn run(
        &self,
        attempt: Attempt,
        grants: Grants,
        progress: Arc<dyn Progress>,
        stop: watch::Receiver<Option<Stop>>,
    ) -> Report {
        let _place = self.places.acquire().await;
        let _ticking = self.ticker.as_ref().map(Ticker::tick);
        let started = clock::instant();
        let ready = self.loaded().get(&attempt.module).cloned();
        let deadline = Deadline::start(&grants, started);
        let mut store = self.store(Guest::new(attempt, grants, progress, deadline));
        let mut cpu = Duration::ZERO;
        let outcome = match ready {
            Some(ready) => {
                let end = until(call(&ready, &mut store), &mut cpu, deadline.hard, stop).await;
                outcome(store.data(), end)
            }
            // It was unloaded (its module removed) between the check and here: the task goes back.
            None => Outcome::Stopped(Stop::Interrupted),
        };
        report(self.flavour, store, outcome, started, cpu)
    }

    /// Asks a component for its tasks, in an instance of its own.
    pub(super) async fn describe(&self, digest: &Digest, grants: Grants) -> Result<String, Refusal> {
        let _place = self.asking.acquire().await;
        let _ticking = self.ticker.as_ref().map(Ticker::tick);
        let ready = self.loaded().get(digest).cloned().ok_or_else(admission::vanished)?;
        let deadline = Deadline::start(&grants, clock::instant());
        let attempt = admission::question(digest);
        let mut store = self.store(Guest::new(attempt, grants, Arc::new(Nobody), deadline));
        let (mut cpu, (_keep, stop)) = (Duration::ZERO, watch::channel(None));
        let ask = async {
            let instance = ready.instance_pre().instantiate_async(&mut store).await?;
            store.data_mut().instantiated = Some(clock::instant());
            // The names of the exports were found when it was linked; their types are compared only here.
            match Task::new(&mut store, &instance) {
                Ok(task) => task.lovage_task_tasks().call_describe(&mut store).await.map(Ok),
                Err(error) => Ok(Err(admission::mismatch(&error))),
            }
        };
        let end = until(ask, &mut cpu, deadline.hard, stop).await;
        let outcome = match end {
            End::Ran(Ok(described)) => return described,
            End::Ran(Err(error)) => ending::failed(store.data(), &error),
            End::Late => ending::late(store.data()),
            End::Stopped(stop) => Outcome::Stopped(stop),
        };
        Err(admission::speechless(&outcome))
    }

    /// A store with every limit armed, before anything of the guest runs.
    fn store(&self, guest: Guest) -> Store<Guest> {
        let payload_bytes = guest.grants.payload_bytes;
        let fuel = guest.grants.fuel;
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(payload_bytes + HOSTCALL_ROOM_BYTES);
        match self.flavour {
            Flavour::Epoch => {
                store.set_epoch_deadline(1);
                store.epoch_deadline_callback(|store| {
                    if clock::instant() >= store.data().deadline.hard {
                        Err(HardLimit.into())
                    } else {
                        Ok(UpdateDeadline::Yield(1))
                    }
                });
            }
            Flavour::Fuel => {
                let armed = store.set_fuel(fuel.unwrap_or(u64::MAX));
                let armed = armed.and_then(|()| store.fuel_async_yield_interval(Some(FUEL_SLICE)));
                armed.expect("the engine of this flavour counts fuel");
            }
        }
        store
    }
}

async fn call(
    ready: &TaskPre<Guest>,
    store: &mut Store<Guest>,
) -> wasmtime::Result<Result<String, task::types::Ending>> {
    let instance: Task = ready.instantiate_async(&mut *store).await?;
    let guest = store.data_mut();
    guest.instantiated = Some(clock::instant());
    let request = &guest.attempt.request;
    let (name, args, kwargs) = (request.task.clone(), request.args.clone(), request.kwargs.clone());
    instance.lovage_task_tasks().call_run(store, name.as_str(), args.as_str(), kwargs.as_str()).await
}

/// Drives a run to its end, its hard limit or an order, whichever is first. The run is polled first, so that code which
/// runs into the limit ends by itself, with a traceback; what waits in the host is dropped where it stands.
async fn until<T>(
    run: impl Future<Output = wasmtime::Result<T>>,
    cpu: &mut Duration,
    hard: Instant,
    mut stop: watch::Receiver<Option<Stop>>,
) -> End<T> {
    let mut run = pin!(Metered::new(run, cpu));
    let mut limit = pin!(tokio::time::sleep_until(hard.into()));
    let mut stopped = pin!(async move {
        let order = stop.wait_for(Option::is_some).await.map(|order| *order);
        match order {
            Ok(order) => order.unwrap_or(Stop::Interrupted),
            Err(_nobody_can_order_any_more) => std::future::pending().await,
        }
    });
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = run.as_mut().poll(cx) {
            return Poll::Ready(End::Ran(result));
        }
        // A guest that yields without end keeps the runtime from its timers: the clock decides.
        if clock::instant() >= hard || limit.as_mut().poll(cx).is_ready() {
            // Code that had only yielded meets its limit at the next tick by itself, and says where it was.
            return Poll::Ready(match run.as_mut().poll(cx) {
                Poll::Ready(result) => End::Ran(result),
                Poll::Pending => End::Late,
            });
        }
        stopped.as_mut().poll(cx).map(End::Stopped)
    })
    .await
}

fn outcome(guest: &Guest, end: End<Result<String, task::types::Ending>>) -> Outcome {
    match end {
        End::Ran(Ok(result)) => ending::returned(guest, result),
        End::Ran(Err(error)) => ending::failed(guest, &error),
        End::Late => ending::late(guest),
        End::Stopped(stop) => Outcome::Stopped(stop),
    }
}

fn report(flavour: Flavour, store: Store<Guest>, outcome: Outcome, started: Instant, cpu: Duration) -> Report {
    let left = (flavour == Flavour::Fuel).then(|| store.get_fuel().unwrap_or_default());
    let guest = store.into_data();
    let wall = clock::instant().saturating_duration_since(started);
    let instantiate = guest.instantiated.map_or(wall, |at| at.saturating_duration_since(started));
    Report {
        outcome,
        effects: guest.effects,
        usage: Usage {
            fuel: left.map(|left| guest.grants.fuel.unwrap_or(u64::MAX) - left),
            peak_memory_bytes: guest.limiter.peak_bytes() as u64,
            cpu_seconds: cpu.as_secs_f64(),
            wall_seconds: wall.as_secs_f64(),
            instantiate_seconds: instantiate.as_secs_f64(),
        },
        log: guest.output.take(guest.attempt.request.retries),
    }
}

/// Who listens to a component that is only asked for its tasks.
struct Nobody;

impl Progress for Nobody {
    fn state(&self, _: &str, _: Json) {}
    fn wrote(&self, _: &'static str, _: &[u8]) {}
    fn logged(&self, _: &LogRecord) {}
    fn event(&self, _: &str, _: Json) {}
}
